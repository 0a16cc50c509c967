--- body: what follows DATA and BDAT: messages, false ends of data, lying sizes.

local command = require "smtptest.fuzz.command"
local dictionary = require "smtptest.fuzz.dictionary"

local body = {}

local FALSE_ENDS = #dictionary.data_ends - 1

-- What a server that ends the message too early takes for commands
local SMUGGLED = {
	"NOOP %s\r\n", "MAIL FROM:<%s@a.test>\r\nRCPT TO:<%s@b.test>\r\nDATA\r\n%s\r\n", "RSET\r\n", "HELP %s\r\n",
	"VRFY %s\r\nEXPN %s\r\n", "%s\r\n", "QUIT\r\n", "EHLO %s.test\r\n",
}

body.ends = FALSE_ENDS

--- Messages with a false end of data inside, and commands behind it: three sessions.
function body.smuggle(self, index)
	for i = 1, 3 do
		local connection, at = "c" .. i, index * 3 + i - 1
		local name = self:name(connection)
		self:open(connection)
		local inside = SMUGGLED[at // FALSE_ENDS % #SMUGGLED + 1]:gsub("%%s", name)
		self:data(connection, ("Subject: %s\r\n\r\n%s%s%s\r\n.\r\n"):format(name, name,
			dictionary.data_ends[at % FALSE_ENDS + 2], inside))
		self:say(connection, "NOOP " .. name)
		command.symbol(self, connection, "MAIL")
		command.symbol(self, connection, "RCPT")
		self:quit(connection)
	end
end

local function long(length)
	return function(name) return name .. ("b"):rep(length - #name) end
end

-- Messages, without their end
local MESSAGES = {
	function() return "" end,
	function(name) return name .. "\r\n" end,
	function(name) return "\r\n" .. name .. "\r\n" end,
	function(name) return "Subject: " .. name .. "\r\n" end,
	function(name) return "Subject: " .. name .. "\r\n\r\n..\r\n..x\r\n...\r\n" end,
	function(name) return "Subject: x\r\n\r\n" .. (name .. "\r\n"):rep(200) end,
	function(name) return "Subject: x\r\n\r\n" .. long(998)(name) .. "\r\n" end,
	function(name) return "Subject: x\r\n\r\n" .. long(1001)(name) .. "\r\n" end,
	function(name) return "Subject: x\r\n\r\n" .. long(2049)(name) .. "\r\n" end,
	function(name) return "Subject: x\r\n\r\n" .. long(70000)(name) .. "\r\n" end,
	function(name) return "Subject: " .. long(5000)(name) .. "\r\n\r\nx\r\n" end,
	function(name) return "Subject: x\r\n\r\n" .. name .. "\0y\r\n" end,
	function(name) return "Subject: x\r\n\r\n" .. name .. "\200\255\128\r\n" end,
	function(name) return "Subject: x\r\n\r\n" .. name .. "\ry\r\n" end,
	function(name) return "Subject: x\r\n\r\n" .. name .. "\ny\r\n" end,
	function(name) return ("X-%s: y\r\n"):format(name):rep(300) .. "\r\nx\r\n" end,
	function(name)
		return ("Received: from x by %s.test; Mon, 1 Jan 2024 00:00:00 +0000\r\n"):format(name):rep(120) .. "\r\nx\r\n"
	end,
	function(name) return ": " .. name .. "\r\n x\r\n\tx\r\n\r\nx\r\n" end,
	function(name) return " folded first\r\nSubject: " .. name .. "\r\n\r\nx\r\n" end,
	function(name) return "Subject:\r\n " .. (name .. "\r\n "):rep(50) .. "x\r\n\r\nx\r\n" end,
	function(name)
		return "From: =?utf-8?q?" .. name .. "?=\r\nFrom: <\r\nTo: " .. (name .. "@a.test,"):rep(80) .. "\r\n\r\nx\r\n"
	end,
	function(name)
		return ("MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=%s\r\n\r\n--%s\r\n\r\nx\r\n--%s--\r\n"):format(
			name, name, name)
	end,
	function(name)
		return ("Content-Type: multipart/mixed; boundary=\"\"\r\nContent-Transfer-Encoding: base64\r\n\r\n%s===\r\n")
			:format(name)
	end,
	function(name)
		return "Date: x\r\nDate: Mon, 99 Xyz 0000 99:99:99 +9999\r\nMessage-ID: <" .. name .. "\r\n\r\nx\r\n"
	end,
	function(name)
		return ("Bcc: %s@a.test\r\nReturn-Path: <>\r\nX: y\r\n\r\nFrom %s\r\n>From x\r\n"):format(name, name)
	end,
}

body.messages = #MESSAGES

--- A message of a list, without its end; its lines are stuffed where they begin with a dot.
function body.message(index, name)
	return MESSAGES[index % #MESSAGES + 1](name)
end

-- Twins: DATA with the message on c1, BDAT LAST with the same on c2.
local function both(self, message)
	for _, connection in ipairs { "c1", "c2" } do
		-- The same words on both, so that only DATA and BDAT differ.
		self:open(connection)
		self:link(connection).canary = self:name "c1"
		self:begin(connection, true)
		if connection == "c1" then
			self:data(connection, message .. ".\r\n")
		else
			local plain = ("\r\n" .. message):gsub("\r\n%.", "\r\n"):sub(3)
			self:send(connection, ("BDAT %d LAST\r\n%s"):format(#plain, plain))
			self:reply(connection)
		end
		self:link(connection).mail, self:link(connection).rcpt = nil, nil
		command.symbol(self, connection, "NOOP")
		self:quit(connection)
	end
end

--- Messages by DATA and by BDAT.
function body.twice(self, index)
	both(self, body.message(index, self:name "c1"))
end

-- A size, the chunk behind it, and how it goes on: fill = so many bytes are sent until the size is reached; nil: it is
-- refused, or nothing more comes. `LAST` and its relatives stand in the size.
local SIZES = {
	{ "4", "abcd" }, { "4 LAST", "abcd" }, { "2147483647", "a", huge = true }, { "0", "" }, { "0 LAST", "" },
	{ "2147483648", "a", huge = true }, { "2", "abcd\r\n" }, { "1 LAST", "a\r\nNOOP\r\n" },
	{ "4294967295", "a", huge = true }, { "0", "NOOP\r\n" }, { "20", "abcd", fill = 16 },
	{ "4294967296", "a", huge = true }, { "30 LAST", "ab", fill = 28 }, { "6", "RSET\r\n" },
	{ "4294967300", "abcd", huge = true }, { "0004", "abcd" }, { "00000000000000000000000000000004", "abcd" },
	{ "9223372036854775807", "a", huge = true }, { "+4", "" }, { "-1", "" },
	{ "9223372036854775808", "a", huge = true }, { "-1 LAST", "" }, { "0x4", "" },
	{ "18446744073709551615", "a", huge = true }, { "4x", "" }, { "x", "" },
	{ "18446744073709551616", "a", huge = true }, { "", "" }, { " 4", "abcd" },
	{ "18446744073709551620", "abcd", huge = true }, { "4  LAST", "abcd" }, { "4 last", "abcd" },
	{ "-2147483648", "a", huge = true }, { "4 LASTX", "" }, { "4 LAST LAST", "" },
	{ "-9223372036854775808", "a", huge = true }, { "4 L", "" }, { "LAST", "" },
	{ "-4294967292", "abcd", huge = true }, { "4.0", "" }, { "4e0", "" }, { ("9"):rep(60), "a", huge = true },
	{ "4,4", "" }, { "4\0", "" }, { "4\t", "abcd" }, { "4 LAST ", "abcd" }, { "٤", "" },
}

body.sizes = #SIZES

-- One chunk with a size that may be wrong. Nobody waits for the rest of a huge one.
local function chunk(self, connection, made)
	local line = ("BDAT %s\r\n%s"):format(made[1], made[2])
	if made.fill then
		self:send(connection, line)
		self:send(connection, (("NOOP\r\n"):rep(made.fill // 6 + 1)):sub(1, made.fill))
		self:reply(connection)
	elseif made.huge then
		self:send(connection, line)
		self:add(connection, "pause", { seconds = 0.01 })
		self:add(connection, "half_close")
		self:add(connection, "close")
	else
		self:send(connection, line)
		self:reply(connection)
	end
end

--- Chunks with sizes of every kind, within and outside of transactions, several sessions.
function body.lies(self, index)
	for i = 1, 3 do
		local connection, at = "c" .. i, index * 3 + i - 1
		local made = SIZES[at % #SIZES + 1]
		self:open(connection)
		local round = at // #SIZES
		if round % 2 == 0 then self:begin(connection, true) end
		if round % 3 == 1 then chunk(self, connection, { "6", "ab\r\ncd" }) end
		chunk(self, connection, made)
		if not made.huge then
			command.symbol(self, connection, "NOOP")
			if round % 2 == 1 then command.symbol(self, connection, "DATA") end
			self:say(connection, "RSET")
			self:link(connection).mail = nil
			command.symbol(self, connection, "MAIL")
			self:quit(connection)
		end
	end
	self:open "c9"
	self:quit "c9"
end

return body
