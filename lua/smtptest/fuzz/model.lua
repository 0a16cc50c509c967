--- model: the state machine that a server shows: in which state which verb got which reply, and where that led.

local core = require "smtptest.core.reply"

local model = {}

local Model = {}
Model.__index = Model

--- Makes an empty model.
function model.new()
	return setmetatable({ states = {}, count = 0, transitions = 0 }, Model)
end

--- A reply has come.
-- @param state  before it, in one word
-- @param verb   that it answers
-- @param code   integer
-- @param flaws  of its form, as smtptest.core.reply tells
-- @param after  state behind it
-- @return true where this is the first of its kind
function Model:see(state, verb, code, flaws, after)
	local verbs = self.states[state]
	if not verbs then
		verbs = {}
		self.states[state], self.count = verbs, self.count + 1
	end
	local replies = verbs[verb]
	if not replies then
		replies = {}
		verbs[verb] = replies
	end
	local key = code << 16 | flaws
	local seen = replies[key]
	if seen then
		seen.n = seen.n + 1
		return false
	end
	replies[key] = { n = 1, after = after }
	self.transitions = self.transitions + 1
	return true
end

local function sorted(t)
	local list = {}
	for key in pairs(t) do list[#list + 1] = key end
	table.sort(list)
	return list
end

-- A code and the names of its flaws.
local function label(key)
	local words = { tostring(key >> 16) }
	for i, name in ipairs(core.flaws) do
		if key & 1 << i - 1 ~= 0 then words[#words + 1] = name end
	end
	return table.concat(words, " ")
end

--- The machine as Graphviz DOT: a node a state, an edge a transition with its verb, reply and count.
function Model:dot()
	local lines = { "digraph smtp {\n\trankdir=LR;\n\tnode [shape=box, style=rounded];\n" }
	for _, state in ipairs(sorted(self.states)) do
		for _, verb in ipairs(sorted(self.states[state])) do
			local replies = self.states[state][verb]
			for _, key in ipairs(sorted(replies)) do
				lines[#lines + 1] = ('\t"%s" -> "%s" [label="%s %s (%d)"];\n'):format(state, replies[key].after, verb, label(key),
					replies[key].n)
			end
		end
	end
	lines[#lines + 1] = "}\n"
	return table.concat(lines)
end

return model
