--- walk: one thing varied in one command after the other: length, a byte, the line's end, how often.

local command = require "smtptest.fuzz.command"
local dictionary = require "smtptest.fuzz.dictionary"
local random = require "smtptest.fuzz.random"

local walk = {}

local BITS = 11

-- The commands to walk through in this context.
local function commands(self)
	return self.context.protocol == "lmtp" and command.walk_lmtp or command.walk
end

--- The number of commands walked through.
walk.commands = #command.walk

--- The lengths 1 … 2048 in an order in which after any number of them the gaps are about even.
-- @param seed   of the run: moves the order, not its evenness
-- @param index  from 0 on
function walk.length(seed, index)
	local reversed = 0
	for bit = 0, BITS - 1 do reversed = reversed | (index >> bit & 1) << (BITS - 1 - bit) end
	return (reversed ~ random.hash(seed) * 0x9E3779B97F4A7C15 >> 53) + 1
end

--- An argument of a length, with the canary of the connection where there is room.
local function argument(self, connection, length)
	local name = self:name(connection)
	if length < #name then return ("a"):rep(length) end
	return name .. ("a"):rep(length - #name)
end

-- A session of some commands: most within a transaction, most with few errors.
local function session(self, index, say)
	self:open "c1"
	local inside = self.random:chance(3, 4)
	local count = index % 4 == 3 and 30 or 10
	return count, function(one, text)
		if inside and not one.need and not one.drops and self:link "c1".mail ~= true then self:begin("c1", true) end
		command.say(self, "c1", one, text)
		if say then say(one) end
	end
end

-- Where the commands of a case begin: every fourth case is a long one.
local function start(index)
	return index // 4 * 60 + index % 4 * 10
end

--- Where the case `index` begins in the row of commands, and how many it has.
function walk.range(index)
	return start(index), index % 4 == 3 and 30 or 10
end

--- Commands with arguments of many lengths.
function walk.lengths(self, index)
	local list, first = commands(self), start(index)
	local count, say = session(self, index)
	for i = first, first + count - 1 do
		-- A new round of lengths for the next command: no command meets the same ones at the same time.
		local one = list[i % #list + 1]
		local length = walk.length(self.random.seed, i // #list)
		say(one, argument(self, "c1", length))
	end
	if index % 2 == 0 then
		self:say("c1", "QUIT " .. argument(self, "c1", walk.length(self.random.seed, index // 2)))
	end
	self:leave "c1"
end

--- The byte that comes at an index; CR and LF belong to the line ends.
function walk.byte(seed, index)
	-- An odd factor reaches every byte once.
	return (index * 109 + (random.hash(seed) & 255)) % 256
end

-- At the end, at the begin, in the middle
local PLACES = 3

local function with_byte(place, name, char)
	if place == 2 then return char .. name end
	return place == 1 and name .. char or name .. char .. "x"
end

local TOGETHER = 8

-- Eight bytes of the order at a time
local function group(seed, number)
	local chars = {}
	for i = number * TOGETHER, number * TOGETHER + TOGETHER - 1 do
		local byte = walk.byte(seed, i)
		if byte ~= 10 and byte ~= 13 then chars[#chars + 1] = string.char(byte) end
	end
	return table.concat(chars, "x")
end

--- Commands with each byte in an argument: first eight of them at a time, then each by itself, at the end, at the
--- begin, in the middle.
function walk.bytes(self, index)
	local list, first = commands(self), start(index)
	local count, say = session(self, index)
	local seed, groups = self.random.seed, 256 // TOGETHER
	for i = first, first + count - 1 do
		local one, at = list[i % #list + 1], i // #list
		local byte = walk.byte(seed, at - groups)
		if at < groups then
			say(one, self:name "c1" .. group(seed, at) .. "x")
		elseif byte ~= 10 and byte ~= 13 then
			say(one, with_byte((at - groups) // 256 % PLACES + 1, self:name "c1", string.char(byte)))
		end
	end
	self:leave "c1"
end

local ENDED = 4

--- Commands with a wrong line end, each on a connection of its own: nobody knows how many replies follow. First each
--- ends in LF, then in CR … then the same stands in the middle of the line.
function walk.line_ends(self, index)
	local list, ends = commands(self), dictionary.line_ends
	for i = 1, ENDED do
		local connection = "c" .. i
		local at = index * ENDED + i - 1
		local one, round = list[at % #list + 1], at // #list
		local ending = ends[round // 2 % (#ends - 1) + 2]
		self:open(connection)
		command.prepare(self, connection, one)
		local line = one.write:format(self:name(connection))
		if round % 2 == 0 then
			-- A reply comes for the second one, whatever the first was.
			self:send(connection, line .. ending)
			self:say(connection, "NOOP")
		else
			self:send(connection, line .. ending:gsub("\r\n$", "") .. "x\r\n")
			self:reply(connection)
		end
		self:quit(connection)
	end
end

-- What can be said again and again: names of short commands, or lists of lines.
local REPEATED = { "NOOP", "RSET", "VRFY", "EXPN", "HELP", "EHLO", "HELO", "MAIL", "RCPT", "UNKNOWN", "EMPTY", "AUTH",
	"ETRN", "BDAT", { "RCPT TO:<%s@a.test>", prepare = "mail" }, { "MAIL FROM:<%s@a.test>", "RSET" }, { "DATA" },
	{ "MAIL" }, { "RCPT" }, { "AUTH PLAIN AGEAYg==" }, { "AUTH LOGIN", "=", "*" }, { "STARTTLS x" }, { "HELO" },
	{ "HELP %s" }, { "MAIL FROM:<%s@a.test>", "RCPT TO:<%s@b.test>", "DATA", "." } }

walk.repeated = #REPEATED

--- One command many times: in lockstep, then all in few writes.
function walk.repeats(self, index)
	local what = REPEATED[index % #REPEATED + 1]
	local round = index // #REPEATED
	local count = ({ 66, 20, 300, 10 })[round % 4 + 1]
	self:open "c1"
	if type(what) == "string" then
		for _ = 1, count do command.symbol(self, "c1", what) end
	else
		if what.prepare then self:begin "c1" end
		local batch, size = {}, round % 4 == 2 and 30 or 1
		for i = 1, count do
			batch[#batch + 1] = what[(i - 1) % #what + 1]:format(self:name "c1")
			if #batch == size or i == count then
				self:send("c1", table.concat(batch, "\r\n") .. "\r\n")
				self:reply("c1", #batch)
				batch = {}
			end
		end
	end
	self:leave "c1"
end

return walk
