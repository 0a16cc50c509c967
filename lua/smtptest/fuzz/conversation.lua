--- conversation: generators of steps and of whole cases.

local default = require "smtptest.fuzz.default"
local dialogue = require "smtptest.fuzz.dialogue"
local generator = require "smtptest.fuzz.generator"
local talk = require "smtptest.fuzz.talk"
local unit = require "smtptest.fuzz.unit"

local conversation = {}

-- A case without one unit after the other, large parts first.
local function shrink(case)
	return coroutine.wrap(function()
		local units = unit.list(case)
		local size = #units
		while size >= 1 do
			for first = 1, #units, size do
				local last = math.min(#units, first + size - 1)
				coroutine.yield(unit.remove(case, table.move(units, first, last, 1, {})))
			end
			size = size // 2
		end
	end)
end

--- Steps of a connection that is open already.
-- @param options  connection ("c1"), min (1) and max (30) commands, faults (10): how many of them are wrong at most,
--   context
function conversation.dialogue(options)
	options = options or {}
	return generator.new(function(random, n)
		local self = talk.new(random, n or random.n, options.context or {})
		dialogue.say(self, options.connection or "c1", random:integer(options.min or 1, options.max or 30),
			options.faults or 10)
		return self.steps
	end, shrink)
end

--- A case: of the default generator; with `kind` of one of its kinds.
-- @param context  of smtptest.fuzz.default
-- @param kind     name, or nil
function conversation.case(context, kind)
	return generator.new(function(random, n, corpus)
		n = n or random.n
		if not kind then return default.draw(random, n, corpus, context) end
		local self = talk.new(random, n, context or {})
		default.kinds[kind](self, n)
		return self.steps
	end, shrink)
end

return conversation
