--- mutate: changes of bytes, of lines and of cases: fuzz.m.
--
-- Each is a function(random, value, corpus) → another value; what it is given stays as it is.

local dictionary = require "smtptest.fuzz.dictionary"
local rearrange = require "smtptest.fuzz.rearrange"

local mutate = {}

local LARGEST = 1 << 17

-- ---------------------------------------------------------------- bytes

-- A place in a text, and what is before and behind it
local function around(random, bytes, size)
	local at = random:integer(1, math.max(1, #bytes - size + 1))
	return bytes:sub(1, at - 1), bytes:sub(at, at + size - 1), bytes:sub(at + size)
end

--- One bit is another.
function mutate.flip(random, bytes)
	if bytes == "" then return bytes end
	local before, char, behind = around(random, bytes, 1)
	return before .. string.char(char:byte() ~ (1 << random:integer(0, 7))) .. behind
end

--- One byte is any other, or one that parsers look at.
function mutate.set(random, bytes)
	if bytes == "" then return bytes end
	local before, _, behind = around(random, bytes, 1)
	return before .. (random:chance(1, 2) and random:pick(dictionary.bytes) or random:bytes(1)) .. behind
end

--- Bytes, or a string of the dictionary, come in between.
function mutate.insert(random, bytes)
	local at = random:integer(0, #bytes)
	local more = random:chance(1, 2) and random:pick(dictionary.strings) or random:bytes(random:integer(1, 4))
	return bytes:sub(1, at) .. more .. bytes:sub(at + 1)
end

--- Some bytes are gone.
function mutate.delete(random, bytes)
	if bytes == "" then return bytes end
	local before, _, behind = around(random, bytes, random:integer(1, math.max(1, #bytes // 4)))
	return before .. behind
end

--- Some bytes stand there more than once.
function mutate.duplicate(random, bytes)
	if bytes == "" then return bytes end
	local before, part, behind = around(random, bytes, random:integer(1, math.max(1, #bytes // 2)))
	local times = math.min(random:pick { 2, 2, 3, 4, 16, 64, 256 }, math.max(2, LARGEST // math.max(1, #part)))
	return before .. part:rep(times) .. behind
end

--- What comes behind a place is gone.
function mutate.truncate(random, bytes)
	return bytes:sub(1, random:integer(0, math.max(0, #bytes - 1)))
end

--- Made as long as a length at which programs change their mind.
function mutate.extend(random, bytes)
	local length = random:pick(dictionary.lengths)
	if length <= #bytes then return bytes:sub(1, length) end
	local at = random:integer(0, #bytes)
	local char = at > 0 and random:chance(1, 2) and bytes:sub(at, at) or "a"
	return bytes:sub(1, at) .. char:rep(length - #bytes) .. bytes:sub(at + 1)
end

--- A number in it is another one.
function mutate.number(random, bytes)
	local places = {}
	for first, last in bytes:gmatch "()%d+()" do places[#places + 1] = { first, last } end
	if not places[1] then return mutate.set(random, bytes) end
	local place = random:pick(places)
	return bytes:sub(1, place[1] - 1) .. random:pick(dictionary.numbers) .. bytes:sub(place[2])
end

-- ---------------------------------------------------------------- lines

--- Letters in upper, lower or mixed case.
function mutate.letters(random, line)
	local way = random:integer(1, 3)
	if way == 1 then return line:upper() end
	if way == 2 then return line:lower() end
	return (line:gsub("%a", function(char) return random:chance(1, 2) and char:upper() or char:lower() end))
end

--- A blank more, less, or another kind of it.
function mutate.blank(random, line)
	local places = {}
	for at in line:gmatch "()[ :<>=]" do places[#places + 1] = at end
	local at = places[1] and random:pick(places) or 1
	local before, char, behind = line:sub(1, at - 1), line:sub(at, at), line:sub(at + 1)
	local way = random:integer(1, 5)
	if way == 1 then return before .. char .. " " .. behind end
	if way == 2 then return before .. " " .. char .. behind end
	if way == 3 then return before .. "\t" .. (char == " " and "" or char) .. behind end
	if way == 4 and char == " " then return before .. behind end
	local text, ending = line:match "^(.-)(\r?\n?)$"
	return (text or line) .. " " .. (ending or "")
end

--- The line ends in another way, or not at all.
function mutate.ending(random, line)
	local text = line:gsub("[\r\n]+$", "")
	return text .. (random:chance(1, 12) and "" or random:pick(dictionary.line_ends))
end

--- The verb is another one, behind which the session goes on.
function mutate.verb(random, line)
	local rest = line:match "^%a+(.*)$" or line
	return random:pick(dictionary.commands) .. rest
end

--- Behind the command there is a parameter, right or wrong.
function mutate.parameter(random, line)
	local text, ending = line:match "^(.-)([\r\n]*)$"
	local list = line:find "^[Rr]" and dictionary.rcpt_parameters or dictionary.mail_parameters
	return text .. " " .. random:pick(list) .. ending
end

--- It is a line that people and programs get wrong.
function mutate.mistake(random)
	return random:pick(dictionary.mistakes) .. "\r\n"
end

local BYTES = { "flip", "set", "insert", "delete", "duplicate", "truncate", "extend", "number" }
local LINES = { "letters", "blank", "verb", "parameter", "number", "set", "insert", "extend", "duplicate", "mistake" }

--- The names of those for any bytes, and of those for a line.
mutate.of_bytes, mutate.of_lines = BYTES, LINES

--- One of them on the bytes of a send: a line keeps its end, a message the end of its data, so that a reply comes.
function mutate.bytes(random, bytes)
	local ending = bytes:match("^\r\n%.\r\n$", -5) or bytes:match("^\r\n$", -2) or bytes:match("^\n$", -1) or ""
	local text = bytes:sub(1, #bytes - #ending)
	local names = (#text < 600 and not text:find "\n") and random:chance(2, 3) and LINES or BYTES
	local result = mutate[random:pick(names)](random, text)
	local last = #result
	while last > 0 and (result:byte(last) == 13 or result:byte(last) == 10) do last = last - 1 end
	result = result:sub(1, last)
	if #result > LARGEST then result = result:sub(1, LARGEST) end
	return result .. ending
end

-- ---------------------------------------------------------------- cases

for name, fn in pairs(rearrange.of_cases) do mutate[name] = fn end

--- The bytes of one send are other ones.
function mutate.content(random, case)
	return rearrange.send(random, case, function(bytes) return mutate.bytes(random, bytes) end)
end

--- A wrong line end in one send; the line behind it brings a reply in any case.
function mutate.unended(random, case)
	return rearrange.send(random, case, function(bytes)
		if not bytes:find "^[^\n]*\r\n$" then return bytes end
		return mutate.ending(random, bytes) .. "NOOP\r\n"
	end)
end

-- What derived cases are made with, by weight.
local CASES = { { 10, "content" }, { 2, "unended" }, { 3, "drop" }, { 3, "again" }, { 3, "swap" }, { 4, "cross" },
	{ 4, "interject" }, { 1, "layer" }, { 2, "split" }, { 2, "join" }, { 1, "pause" }, { 1, "stop" }, { 1, "second" } }

--- Changes a case in one to four ways.
-- @param context  as smtptest.fuzz.default takes it: whether TLS and AUTH may come in
function mutate.any(random, case, corpus, context)
	local result = case
	for _ = 1, random:weighted { { 4, 1 }, { 3, 2 }, { 2, 3 }, { 1, 4 } } do
		result = mutate[random:weighted(CASES)](random, result, corpus, context)
	end
	return result
end

return mutate
