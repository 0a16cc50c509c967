--- supply: the cases of a run, one after the other: those that are a function of (seed, N, corpus), and, where there is
-- feedback, those derived from cases that reached something new.

local case = require "smtptest.case"
local digest = require "smtptest.core.digest"
local failure = require "smtptest.failure"
local folder = require "smtptest.core.folder"
local random = require "smtptest.fuzz.random"

local supply = {}

local Supply = {}
Supply.__index = Supply

local POOL = 512            -- kept cases that others are derived from
local BATCH = 64            -- cases whose bytes are hashed at once

local function refuse(message, code)
	error(failure.new { op = "fuzz", message = message, code = code or "EINVAL" }, 0)
end

--- Reads a folder of cases.
-- @return list of cases, sorted by file name, and the SHA-256 of their texts; raises for one that can't be read
function supply.corpus(path)
	local list, sum = {}, digest.sha256()
	if not path then return list, sum:hex() end
	local names, message, code = folder.list(path)
	if not names then refuse(("corpus %s: %s"):format(path, message), code) end
	table.sort(names)
	for _, name in ipairs(names) do
		local whole = path .. "/" .. name
		local handle = not name:find "^%." and io.open(whole, "rb")
		local text = handle and handle:read "a"
		if handle then handle:close() end
		if text then
			local one, why = case.parse(text, whole)
			if not one then refuse(why) end
			sum:add(text)
			list[#list + 1] = one
		end
	end
	if #list == 0 then refuse(("corpus %s: no case in it"):format(path)) end
	return list, sum:hex()
end

-- Lines of text as a lockstep session.
local function dialogue(lines)
	local steps = { { step = "connect", connection = "c1" }, { step = "reply", connection = "c1", specs = {} } }
	for _, text in ipairs(lines) do
		if not text:find "\n$" then text = text .. "\r\n" end
		steps[#steps + 1] = { step = "send", connection = "c1", bytes = text }
		steps[#steps + 1] = { step = "reply", connection = "c1", specs = {} }
	end
	return steps
end

--- A case as what a generator may give: steps, a text in the case format, or a list of command lines.
-- @return list of steps; raises
function supply.steps(value)
	if type(value) == "string" then
		local parsed, message = case.parse(value)
		if not parsed then refuse(message) end
		return parsed
	elseif type(value) ~= "table" then
		refuse("a case is a list of steps, a text or a list of commands, got a " .. type(value))
	elseif type(value[1]) == "string" then
		return dialogue(value)
	end
	for _, step in ipairs(value) do step.connection = step.connection or "c1" end
	return value
end

--- Makes a supply.
-- @param options  seed, first, last (nil: no end), draw (function(random, n, corpus) → case), derive (function(random,
--   case, corpus) → case), corpus, feedback (boolean)
function supply.new(options)
	return setmetatable({
		seed = options.seed, n = options.first, last = options.last, draw = options.draw, derive = options.derive,
		corpus = options.corpus, feedback = options.feedback, sum = digest.sha256(), waiting = {},
		pool = {}, young = 0, derived = 0, turn = 0,
	}, Supply)
end

local function flush(self)
	self.sum:add(table.concat(self.waiting))
	self.waiting = {}
end

-- All that a case is, as bytes.
local function serialize(self, steps)
	local parts, n = {}, 0
	for _, step in ipairs(steps) do
		local kind = step.step
		n = n + 1
		parts[n] = step.connection .. kind
		-- Most replies are of any kind, and then their name says all.
		if kind ~= "reply" or step.raw or step.specs and step.specs[1] then
			n = n + 1
			parts[n] = step.bytes or case.line(step)
		end
		if step.split then
			parts[n + 1] = table.concat(step.split, ",")
			parts[n + 2] = tostring(step.gap)
			n = n + 2
		end
	end
	parts[n + 1] = "\n"
	self.waiting[#self.waiting + 1] = table.concat(parts, "\0")
	if #self.waiting >= BATCH then flush(self) end
end

-- A descendant of a kept case: of one that is new, where there is one.
local function descend(self)
	self.derived = self.derived + 1
	local r = random.new(self.seed, -self.derived)
	local parent
	if self.young > 0 then
		parent = self.pool[#self.pool - self.young + 1]
		parent.turns = (parent.turns or 0) + 1
		if parent.turns >= 4 then self.young = self.young - 1 end
	else
		parent = r:pick(self.pool)
	end
	return { name = "D" .. self.derived, parent = parent.name, steps = self.derive(r, parent.steps, self.corpus) }
end

--- The case of a number.
function Supply:generate(n)
	return supply.steps(self.draw(random.new(self.seed, n), n, self.corpus))
end

--- The next case.
-- @return {name, n (nil for a derived one), parent, steps} | nil: there are no more
function Supply:next()
	if self.feedback and self.pool[1] then
		self.turn = self.turn + 1
		if self.turn % 3 == 0 then return descend(self) end
	end
	local n = self.n
	if self.last and n > self.last then return nil end
	self.n = n + 1
	local steps = self:generate(n)
	serialize(self, steps)
	return { name = tostring(n), n = n, steps = steps }
end

--- Whether there are more.
function Supply:more()
	return not self.last or self.n <= self.last
end

--- Keeps a case that reached something new.
function Supply:keep(item)
	if not self.feedback then return end
	if #self.pool >= POOL then table.remove(self.pool, 1) end
	table.insert(self.pool, item)
	self.young = math.min(self.young + 1, #self.pool)
end

--- SHA-256 of all cases that were generated, in the order of their numbers.
function Supply:digest()
	flush(self)
	return self.sum:hex()
end

return supply
