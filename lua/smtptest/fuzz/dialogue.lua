--- dialogue: sessions at random: half of it as it should be, the rest wrong in one thing or another.

local command = require "smtptest.fuzz.command"
local dictionary = require "smtptest.fuzz.dictionary"
local exchange = require "smtptest.fuzz.exchange"
local mailbox = require "smtptest.fuzz.mailbox"
local message = require "smtptest.fuzz.message"
local parameter = require "smtptest.fuzz.parameter"

local dialogue = {}

local GOOD = { { 3, "NOOP" }, { 2, "RSET" }, { 2, "VRFY" }, { 1, "HELP" }, { 1, "EHLO" }, { 8, "MAIL" }, { 10, "RCPT" },
	{ 4, "DATA" }, { 1, "EXPN" }, { 1, "AUTH" }, { 1, "BDAT" } }

local MAIL, RCPT = parameter.parameters "MAIL", parameter.parameters "RCPT"
local PATH, GOOD_PATH = mailbox.mailbox { wide = true }, mailbox.mailbox { valid = true }
local COMMAND, AUTH = parameter.command(), exchange.auth()
local MESSAGE, SMUGGLED = message.message(), message.smuggled()
local CHUNK, HONEST = message.bdat(), message.bdat { honest = true }
local LARGE = 6000

-- A message, not too large: many are drawn.
local function text(self, one)
	local value = one:draw(self.random, self.n)
	return #value <= LARGE and value or one:draw(self.random, self.n)
end

-- Next good command in the state of a connection
local function good(self, c)
	local link = self:link(c)
	local name = self.random:weighted(GOOD)
	if name == "MAIL" and link.mail == true then name = "RCPT" end
	if name == "RCPT" and link.mail ~= true then name = "MAIL" end
	if name == "MAIL" then
		self:begin(c)
	elseif name == "DATA" then
		self:data(c, text(self, MESSAGE) .. ".\r\n")
	elseif name == "BDAT" and self.random:chance(1, 3) then
		self:begin(c, true)
		self:send(c, text(self, HONEST))
		self:reply(c)
		link.mail, link.rcpt = "maybe", nil
	else
		command.symbol(self, c, name)
	end
end

-- One line, whatever a generator made
local function line(self, c, value)
	self:say(c, (value:gsub("[\r\n]", " ")))
end

-- One thing that is wrong, or unusual, by weight
local BAD = {
	{ 2, function(self, c) self:say(c, self.random:pick(dictionary.mistakes)) end },
	{ 2, function(self, c) self:say(c, self.random:pick(dictionary.commands) .. " " .. self:name(c)) end },
	{ 2, function(self, c)
		local one = self.random:pick(command.walk)
		command.say(self, c, one, (self:name(c) .. self.random:pick(dictionary.strings):gsub("[\r\n]", " ")))
	end },
	{ 4, function(self, c)
		self:idle(c)
		local path = self.random:chance(1, 2) and self:sender(c) or PATH:draw(self.random, self.n)
		line(self, c, ("MAIL FROM:<%s>"):format(path) .. MAIL:draw(self.random, self.n))
		self:link(c).mail = "maybe"
	end },
	{ 4, function(self, c)
		self:begin(c)
		local path = self.random:chance(1, 2) and self:recipient(c) or PATH:draw(self.random, self.n)
		line(self, c, ("RCPT TO:<%s>"):format(path) .. RCPT:draw(self.random, self.n))
	end },
	{ 2, function(self, c)
		self:begin(c)
		line(self, c, ("RCPT TO:<%s>"):format(GOOD_PATH:draw(self.random, self.n)))
	end },
	{ 1, function(self, c)
		local one = self.random:pick(command.walk)
		command.say(self, c, one, self:name(c):rep(self.random:integer(1, 200)))
	end },
	{ 3, function(self, c)
		local value = COMMAND:draw(self.random, self.n)
		-- A DATA or BDAT that is answered by 354 would take the rest for a message; STARTTLS would wait for TLS.
		if value:upper():find "^[DBS]" then return end
		self:send(c, value)
		self:reply(c)
		self:link(c).mail = "maybe"
	end },
	{ 1, function(self, c)
		self:idle(c)
		for _, one in ipairs(AUTH:draw(self.random, self.n)) do
			self:send(c, one)
			self:reply(c)
		end
	end },
	{ 1, function(self, c) self:data(c, text(self, SMUGGLED)) end },
	{ 1, function(self, c)
		self:begin(c, true)
		local value = text(self, CHUNK)
		-- Nobody waits for a chunk that will not come.
		local size = math.tointeger(tonumber(value:match "^BDAT%s+(%d+)"))
		local have = #value:match "\r\n(.*)$"
		if size and size > have then value = size < 8000 and value .. ("x"):rep(size - have) or "BDAT 0\r\n" end
		self:send(c, value)
		self:reply(c)
		self:link(c).mail = "maybe"
	end },
}

--- Says a number of commands.
-- @param count   of commands
-- @param faults  how many of them are wrong at most
function dialogue.say(self, connection, count, faults)
	local random = self.random
	for _ = 1, count do
		if faults > 0 and random:chance(1, 2) then
			faults = faults - 1
			random:weighted(BAD)(self, connection)
		else
			good(self, connection)
		end
	end
end

--- A case of about thirty commands.
function dialogue.draw(self, index)
	self:open "c1"
	if self.random:chance(1, 4) then self:authenticate "c1" end
	dialogue.say(self, "c1", self.random:integer(24, 36), index % 2 == 0 and 8 or 24)
	self:leave "c1"
end

return dialogue
