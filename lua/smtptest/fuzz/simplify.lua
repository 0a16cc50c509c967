--- simplify: makes what was found small, as long as a test says that it is still there.
--
-- A test is a function(value) → true when it is, or {many = function(list) → index of the first that is | nil, width =
-- how many to ask for at once}: a hang costs a time-out each, so that several are played side by side. A budget is the
-- number of values that may be tested.

local unit = require "smtptest.fuzz.unit"

local simplify = {}

local BUDGET = 2000

-- ---------------------------------------------------------------- asking

local Asker = {}
Asker.__index = Asker

-- `key`: a text for a value; no value is asked about twice.
local function asker(test, budget, key)
	if getmetatable(test) == Asker then return test end
	local many = type(test) == "table" and test.many or function(list)
		for i, value in ipairs(list) do
			if test(value) then return i end
		end
	end
	return setmetatable({ many = many, width = type(test) == "table" and test.width or 1, left = budget or BUDGET,
		key = key, seen = {}, used = 0 }, Asker)
end

-- The first of the candidates (an iterator) for which the test holds → it, what else the iterator gave with it; or nil
function Asker:first(candidates)
	local ended = false
	while self.left > 0 and not ended do
		local list, notes = {}, {}
		while #list < self.width and #list < self.left do
			local value, note = candidates()
			ended = value == nil
			if ended then break end
			local key = self.key and self.key(value)
			if not key or not self.seen[key] then
				if key then self.seen[key] = true end
				list[#list + 1], notes[#list + 1] = value, note
			end
		end
		if #list == 0 then return nil end
		self.left, self.used = self.left - #list, self.used + #list
		local index = self.many(list)
		if index then
			-- What was played beside it and comes later is still unknown.
			for i = index + 1, #list do
				if self.key then self.seen[self.key(list[i])] = nil end
			end
			return list[index], notes[index]
		end
	end
end

--- Takes the first simpler variant that still fails, again and again.
-- @param value     to begin with
-- @param variants  function(value) → iterator of simpler ones
-- @param test      see above
-- @param budget    default 2000
-- @param key       function(value) → text, so that nothing is asked twice (default: strings as they are)
-- @return the simplest value found, how many were tested
function simplify.greedy(value, variants, test, budget, key)
	local ask = asker(test, budget, key or type(value) == "string" and function(text) return text end or nil)
	while true do
		local better = ask:first(variants(value))
		if better == nil then return value, ask.used end
		value = better
	end
end

-- ---------------------------------------------------------------- bytes

-- Ranges of a size, then of half of it …: calls give(first, last)
local function ranges(length, largest, smallest, give)
	local size = largest
	while size >= smallest and size >= 1 do
		for first = 1, length, size do give(first, math.min(length, first + size - 1)) end
		size = size // 2
	end
end

local function plain(text)
	return (text:gsub("[^a\r\n]", "a"))
end

local PASSES = {
	-- Without a large part, and the large parts made plain
	function(text, give)
		ranges(#text, (#text + 1) // 2, math.max(8, #text // 32), function(first, last)
			give(text:sub(1, first - 1) .. text:sub(last + 1))
		end)
		local word = text:match "^%a+ ?" or ""
		give(word .. plain(text:sub(#word + 1)))
		ranges(#text, (#text + 1) // 2, math.max(4, #text // 16), function(first, last)
			give(text:sub(1, first - 1) .. plain(text:sub(first, last)) .. text:sub(last + 1))
		end)
	end,
	-- Runs of the same byte made shorter
	function(text, give)
		local at = 1
		while at <= #text do
			local stop = at
			while text:byte(stop + 1) == text:byte(at) do stop = stop + 1 end
			local size = stop - at + 1
			local less = size // 2
			while size > 3 and less >= 1 do
				give(text:sub(1, stop - less) .. text:sub(stop + 1))
				less = less // 2
			end
			at = stop + 1
		end
	end,
	-- Small parts, single bytes
	function(text, give)
		ranges(#text, math.min(4, #text), 1, function(first, last)
			give(text:sub(1, first - 1) .. text:sub(last + 1))
		end)
		for i = 1, #text do give(text:sub(1, i - 1) .. plain(text:sub(i, i)) .. text:sub(i + 1)) end
	end,
}

--- Ever simpler variants of the bytes of a send: parts left out, runs made shorter, bytes replaced by "a". What ends it
--- (CR LF, LF) stays. Each is shorter, or has more of "a".
-- @return iterator of strings
function simplify.bytes(bytes)
	local body, ending = bytes:match "^(.-)(\r?\n)$"
	if not body then body, ending = bytes, "" end
	return coroutine.wrap(function()
		if body ~= "" then coroutine.yield(ending) end
		for _, pass in ipairs(PASSES) do
			pass(body, function(text)
				if text ~= body then coroutine.yield(text .. ending) end
			end)
		end
	end)
end

-- ---------------------------------------------------------------- steps

-- Leaves out ranges of units, large ones first, to a fixpoint: no single one can go any more.
local function sweep(case, units_of, ask)
	local units = units_of(case)
	local size = math.max(1, #units // 2)
	while true do
		local at, changed = 1, false
		local function candidates()
			if at > #units then return nil end
			local last = math.min(#units, at + size - 1)
			local note = { first = at, last = last }
			at = last + 1
			return unit.remove(case, table.move(units, note.first, last, 1, {})), note
		end
		while true do
			local better, note = ask:first(candidates)
			if not better then break end
			local before = #units
			case, changed = better, true
			units = units_of(case)
			-- What stood behind what is gone moves up.
			at = math.max(1, note.last + 1 - (before - #units))
		end
		if size == 1 and not changed then return case end
		if not changed or size > #units // 2 then size = math.max(1, size // 2) end
		if ask.left <= 0 or #units == 0 then return case end
	end
end

local function step_key(value)
	local list = {}
	for i, step in ipairs(value) do
		list[i] = table.concat({ step.step, step.connection or "", step.bytes or tostring(step.parts), step.split and
			table.concat(step.split, ",") or "", tostring(step.gap), step.name or "", tostring(step.seconds),
			step.mechanism or "", step.pattern or "" }, "\1")
	end
	return table.concat(list, "\2")
end

--- Leaves out steps: connections, then sends with the replies behind them (and the same bytes of twins), in halves,
--- quarters … single ones; then single steps, until none can be left out.
-- @param case    as smtptest.case.parse gives it; it isn't changed
-- @param test    of cases, see above
-- @param budget  default 2000
-- @return the smaller case, how many were tested
function simplify.steps(case, test, budget)
	local ask = asker(test, budget, step_key)
	local before
	repeat
		before = #case
		case = sweep(case, unit.list, ask)
		case = sweep(case, unit.single, ask)
	until #case == before or ask.left <= 0
	return case, ask.used
end

-- Without segments, gaps and waiting
local function calmer(case)
	return coroutine.wrap(function()
		for i, step in ipairs(case) do
			local function give(changes)
				local copy, one = table.move(case, 1, #case, 1, { name = case.name }), {}
				for key, value in pairs(step) do one[key] = value end
				for key, value in pairs(changes) do one[key] = value or nil end
				copy[i] = one
				coroutine.yield(copy)
			end
			if step.split then
				give { split = false, gap = false }
				if step.split[2] then
					for k = 1, #step.split do
						local list = table.move(step.split, 1, #step.split, 1, {})
						table.remove(list, k)
						give { split = list }
					end
				end
			end
			if step.gap then give { gap = false } end
		end
	end)
end

-- The bytes of one send after the other made simpler, those of its twins alike.
local function simpler_sends(case, ask)
	local seen, twins = {}, unit.twins(case)
	for at, step in ipairs(case) do
		local led = false
		for _, other in ipairs(twins[step.connection] or {}) do led = led or seen[other] end
		if step.step == "send" and step.bytes and not led then
			seen[step.connection] = true
			case = simplify.greedy(case, function(value)
				return coroutine.wrap(function()
					for bytes in simplify.bytes(value[at].bytes) do
						if bytes ~= "" then coroutine.yield(unit.replace(value, at, bytes)) end
					end
				end)
			end, ask)
		end
	end
	return case
end

--- Everything: steps, segments, the bytes of each send (twins alike), and steps again.
-- @return the simplest case found, how many were tested
function simplify.case(case, test, budget)
	local ask = asker(test, budget, step_key)
	case = simplify.steps(case, ask)
	local before
	repeat
		before = step_key(case)
		case = simplify.greedy(case, calmer, ask)
		case = simpler_sends(case, ask)
		case = simplify.steps(case, ask)
	until step_key(case) == before or ask.left <= 0
	return case, ask.used
end

return simplify
