--- rearrange: changes of a case's steps: an exchange less, twice, elsewhere; segments, pauses, layers, connections.
--
-- An exchange is a send with what is read behind it. Each change is a function(random, case, corpus, context) → another
-- case. Steps are shared, never changed.

local dictionary = require "smtptest.fuzz.dictionary"

local rearrange = {}
local of_cases = {}

--- The changes by name.
rearrange.of_cases = of_cases

local LONGEST = 240
local GAPS = { 0.001, 0.002, 0.005, 0.01, 0.02 }

local function copy_of(step, changes)
	local copy = {}
	for key, value in pairs(step) do copy[key] = value end
	for key, value in pairs(changes) do copy[key] = value end
	return copy
end

local function list_of(case)
	return table.move(case, 1, #case, 1, {})
end

-- A case with other steps from first to last.
local function replaced(case, first, last, steps)
	local result = table.move(case, 1, first - 1, 1, {})
	table.move(steps, 1, #steps, #result + 1, result)
	table.move(case, last + 1, #case, #result + 1, result)
	return result
end

-- The exchanges of a case: list of {first, last} of a send with the replies and names read behind it.
local function exchanges(case)
	local list = {}
	for i, step in ipairs(case) do
		if step.step == "send" then
			local last = i
			while case[last + 1] and case[last + 1].connection == step.connection
				and (case[last + 1].step == "reply" or case[last + 1].step == "var") do last = last + 1 end
			list[#list + 1] = { i, last }
		end
	end
	return list
end

local function reply(connection)
	return { step = "reply", connection = connection, specs = {} }
end

-- A place behind the greeting → index that something comes before, and the connection that speaks there
local function place(random, case)
	local list = exchanges(case)
	if not list[1] then return #case + 1, case[#case] and case[#case].connection or "c1" end
	local one = random:pick(list)
	return one[1], case[one[1]].connection or "c1"
end

--- Another case in which one send has other bytes.
-- @param fn  function(bytes) → bytes; of a send with late words it gets one of its strings
function rearrange.send(random, case, fn)
	local list = exchanges(case)
	if not list[1] then return list_of(case) end
	local at = random:pick(list)[1]
	local step = case[at]
	local changed
	if step.bytes then
		local bytes = fn(step.bytes)
		changed = copy_of(step, { bytes = bytes })
	else
		local strings = {}
		for i, part in ipairs(step.parts) do
			if type(part) == "string" then strings[#strings + 1] = i end
		end
		if not strings[1] then return list_of(case) end
		local i = random:pick(strings)
		local bytes = fn(step.parts[i])
		if bytes == "" then return list_of(case) end
		local parts = list_of(step.parts)
		parts[i] = bytes
		changed = copy_of(step, { parts = parts })
	end
	return replaced(case, at, at, { changed })
end

--- Without one exchange, or without a few.
function of_cases.drop(random, case)
	local list = exchanges(case)
	if #list < 2 then return list_of(case) end
	local first = random:integer(1, #list)
	local last = math.min(#list, first + (random:chance(1, 3) and random:integer(1, 4) or 0))
	local result = list_of(case)
	for i = last, first, -1 do result = replaced(result, list[i][1], list[i][2], {}) end
	return result
end

--- One exchange again, once or often, at once or later.
function of_cases.again(random, case)
	local list = exchanges(case)
	if not list[1] then return list_of(case) end
	local one = random:pick(list)
	local times = random:pick { 1, 1, 1, 2, 3, 8, 20 }
	local steps = {}
	for _ = 1, times do table.move(case, one[1], one[2], #steps + 1, steps) end
	if #case + #steps > LONGEST then return list_of(case) end
	local at = random:chance(2, 3) and one[2] + 1 or random:pick(list)[2] + 1
	return replaced(case, at, at - 1, steps)
end

--- Two exchanges have changed places.
function of_cases.swap(random, case)
	local list = exchanges(case)
	if #list < 2 then return list_of(case) end
	local i = random:integer(1, #list - 1)
	local j = random:chance(1, 2) and i + 1 or random:integer(i + 1, #list)
	local one, two = list[i], list[j]
	local result = table.move(case, 1, one[1] - 1, 1, {})
	table.move(case, two[1], two[2], #result + 1, result)
	table.move(case, one[2] + 1, two[1] - 1, #result + 1, result)
	table.move(case, one[1], one[2], #result + 1, result)
	return table.move(case, two[2] + 1, #case, #result + 1, result)
end

--- Begins as this one, ends as another one of the corpus; or some exchanges of the other come in between.
function of_cases.cross(random, case, corpus)
	if not corpus or not corpus[1] then return of_cases.interject(random, case) end
	local other = random:pick(corpus)
	local mine, others = exchanges(case), exchanges(other)
	if not mine[1] or not others[1] then return list_of(case) end
	local at = random:pick(mine)
	local from = random:integer(1, #others)
	local connection = case[at[1]].connection
	local result
	if random:chance(1, 2) then
		result = table.move(case, 1, at[2], 1, {})
		for i = others[from][1], #other do
			if other[i].connection == other[others[from][1]].connection then
				result[#result + 1] = copy_of(other[i], { connection = connection })
			end
		end
	else
		local steps = {}
		for k = from, math.min(#others, from + random:integer(0, 5)) do
			for i = others[k][1], others[k][2] do
				steps[#steps + 1] = copy_of(other[i], { connection = connection })
			end
		end
		result = replaced(case, at[2] + 1, at[2], steps)
	end
	return #result <= LONGEST and result or list_of(case)
end

--- A command comes in between: a usual one, one by mistake.
function of_cases.interject(random, case)
	local at, connection = place(random, case)
	local line
	if random:chance(1, 3) then
		line = random:pick(dictionary.mistakes)
	else
		line = random:pick(dictionary.commands)
		if random:chance(1, 2) then line = line .. " " .. random:pick(dictionary.strings):gsub("[\r\n]", "") end
	end
	return replaced(case, at, at - 1, { { step = "send", connection = connection, bytes = line .. "\r\n" },
		reply(connection) })
end

--- TLS or AUTH in the middle.
function of_cases.layer(random, case, _, context)
	local at, connection = place(random, case)
	context = context or {}
	local way = random:integer(1, 4)
	local steps
	if way <= 2 and context.credentials then
		local list = context.mechanisms
		steps = { { step = "auth", connection = connection, mechanism = list and list[1] and random:pick(list) or "PLAIN" },
			reply(connection) }
	elseif context.tls == "implicit" or way == 3 then
		steps = { { step = "send", connection = connection, bytes = "AUTH LOGIN\r\n" }, reply(connection),
			{ step = "send", connection = connection, bytes = "*\r\n" }, reply(connection) }
	elseif way == 1 then
		steps = { { step = "send", connection = connection, bytes = "STARTTLS\r\nNOOP\r\n" }, reply(connection),
			{ step = "handshake", connection = connection } }
	else
		steps = { { step = "starttls", connection = connection }, reply(connection) }
	end
	return replaced(case, at, at - 1, steps)
end

--- A send in segments.
function of_cases.split(random, case)
	local list = exchanges(case)
	if not list[1] then return list_of(case) end
	local at = random:pick(list)[1]
	local size = #(case[at].bytes or "aaaaaaaa")
	local sizes
	local way = random:integer(1, 4)
	if way == 1 then
		sizes = { 1 }
	elseif way == 2 then
		sizes = { math.max(1, size - random:integer(1, 3)), 1 << 20 }
	elseif way == 3 then
		sizes = { random:integer(1, math.max(1, size - 1)), 1 << 20 }
	else
		sizes = { random:integer(1, 8), random:integer(1, 8), random:integer(1, 8) }
	end
	-- Each byte of a long message by itself would take for ever.
	local gap = sizes[2] == 1 << 20 and random:pick(GAPS) or size <= 100 and GAPS[1] or nil
	return replaced(case, at, at, { copy_of(case[at], { split = sizes, gap = gap }) })
end

--- Sends of a connection that follow each other go in one write, their replies come behind it.
function of_cases.join(random, case)
	local list = exchanges(case)
	if #list < 2 then return list_of(case) end
	local i = random:integer(1, #list - 1)
	local first = case[list[i][1]]
	if not first.bytes then return list_of(case) end
	local bytes, replies, last = { first.bytes }, {}, list[i][2]
	table.move(case, list[i][1] + 1, last, 1, replies)
	for k = i + 1, math.min(#list, i + random:integer(1, 7)) do
		local at = list[k][1]
		local step = case[at]
		if at ~= last + 1 or step.connection ~= first.connection or not step.bytes then break end
		bytes[#bytes + 1] = step.bytes
		last = list[k][2]
		table.move(case, at + 1, last, #replies + 1, replies)
	end
	local joined = copy_of(first, { bytes = table.concat(bytes) })
	return replaced(case, list[i][1], last, table.move(replies, 1, #replies, 2, { joined }))
end

--- A short pause.
function of_cases.pause(random, case)
	local at, connection = place(random, case)
	return replaced(case, at, at - 1, { { step = "pause", connection = connection, seconds = random:pick(GAPS) } })
end

--- The connection ends in the middle; half of the time it is made again and goes on.
function of_cases.stop(random, case)
	local at, connection = place(random, case)
	local way = random:pick { "half_close", "abort", "close" }
	local result = table.move(case, 1, at - 1, 1, {})
	result[#result + 1] = { step = way, connection = connection }
	if random:chance(1, 2) then
		result[#result + 1] = { step = "connect", connection = connection }
		result[#result + 1] = reply(connection)
		return table.move(case, at, #case, #result + 1, result)
	end
	for i = at, #case do
		if case[i].connection ~= connection then result[#result + 1] = case[i] end
	end
	return result
end

--- A second connection says the same, step by step beside the first, or another case of the corpus.
function of_cases.second(random, case, corpus)
	local used = 1
	for _, step in ipairs(case) do
		used = math.max(used, tonumber((step.connection or "c1"):match "%d+"))
	end
	if used > 8 or #case > LONGEST // 2 then return list_of(case) end
	local other = corpus and corpus[1] and random:chance(1, 2) and random:pick(corpus) or case
	local result, connection = {}, "c" .. used + 1
	local lead, at = "c1", 1
	local begun = false
	for i, step in ipairs(case) do
		result[#result + 1] = step
		for _ = 1, i > 1 and random:integer(0, 2) or 0 do
			while other[at] and other[at].connection ~= lead do at = at + 1 end
			local one = other[at]
			-- Nothing is said before it is connected.
			if one and (begun or one.step == "connect") then
				begun = true
				result[#result + 1] = copy_of(one, { connection = connection })
			end
			at = at + 1
		end
	end
	return result
end

return rearrange
