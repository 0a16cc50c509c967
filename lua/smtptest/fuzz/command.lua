--- command: the commands of SMTP, as data: how each is written, and what must have been said before.
--
-- A command is {name=, write = "format with one %s", need = nil | "idle" | "mail" (a transaction) | "rcpt",
-- sets = "mail" | "maybe" (a transaction is open, perhaps), drops = true (none is)}.

local dictionary = require "smtptest.fuzz.dictionary"

local command = {}

--- Commands that take an argument of any length and any bytes, one reply each; none waits for more, none ends.
command.walk = {
	{ name = "NOOP", write = "NOOP %s" },
	{ name = "VRFY", write = "VRFY %s" },
	{ name = "HELP", write = "HELP %s" },
	{ name = "EXPN", write = "EXPN %s" },
	{ name = "RCPT", write = "RCPT TO:<%s@a.test>", need = "mail" },
	{ name = "MAIL", write = "MAIL FROM:<%s@a.test>", need = "idle", sets = "maybe" },
	{ name = "RSET", write = "RSET %s", drops = true },
	{ name = "DATA", write = "DATA %s", need = "idle" },
	{ name = "AUTH", write = "AUTH %s", need = "idle" },
	{ name = "EHLO", write = "EHLO %s", drops = true },
	{ name = "HELO", write = "HELO %s", drops = true },
	{ name = "unknown", write = "%s" },
	{ name = "domain", write = "MAIL FROM:<a@%s.test>", need = "idle", sets = "maybe" },
	{ name = "recipient domain", write = "RCPT TO:<a@%s.test>", need = "mail" },
	{ name = "parameter", write = "MAIL FROM:<> X%s=1", need = "idle", sets = "maybe" },
	{ name = "ETRN", write = "ETRN %s", need = "idle" },
	{ name = "value", write = "RCPT TO:<a@a.test> ORCPT=rfc822;%s", need = "mail" },
	{ name = "BDAT", write = "BDAT 0 %s", need = "idle" },
	{ name = "mechanism", write = "AUTH X%s =", need = "idle" },
	{ name = "source route", write = "RCPT TO:<@%s.test:a@b.test>", need = "mail" },
}

--- The same for LMTP.
command.walk_lmtp = {}
for i, one in ipairs(command.walk) do
	command.walk_lmtp[i] = one
	if one.name == "EHLO" then
		command.walk_lmtp[i] = { name = "LHLO", write = "LHLO %s", drops = true }
	end
end

--- Brings a connection where the command makes sense, and says it.
-- @param self      smtptest.fuzz.talk
-- @param one       a command
-- @param argument  of it
function command.say(self, connection, one, argument)
	command.prepare(self, connection, one)
	self:say(connection, one.write:format(argument))
	command.follow(self, connection, one)
end

function command.prepare(self, connection, one)
	if one.need == "idle" then
		self:idle(connection)
	elseif one.need then
		self:begin(connection, one.need == "rcpt")
	end
end

--- What the talk knows behind the command.
function command.follow(self, connection, one)
	local link = self:link(connection)
	if one.sets then link.mail, link.rcpt = one.sets, nil end
	if one.drops then link.mail, link.rcpt = one.drops and "maybe", nil end
end

-- ---------------------------------------------------------------- short ones

local SYMBOLS = {}

-- Arguments of what takes any: a word, a string (RFC 5321 section 4.1.1.8), a mailbox, a verb.
local ARGUMENTS = {
	function(self, c) return self:name(c) end,
	function(self, c) return '"' .. self:name(c) .. '"' end,
	function(self, c) return "<" .. self:recipient(c) .. ">" end,
	function(self) return self.random:pick(dictionary.cheap) end,
}

-- Mostly without an argument
local function seldom(self, c, verb)
	if not self.random:chance(1, 4) then return verb end
	return verb .. " " .. self.random:pick(ARGUMENTS)(self, c)
end

-- Mostly with its name
local function mostly(self, c, verb)
	local argument = self.random:chance(3, 4) and ARGUMENTS[1] or self.random:pick(ARGUMENTS)
	return verb .. " " .. argument(self, c)
end

-- Paths that are refused, for one reason or another.
local REFUSED = {
	function(name) return "<" .. name end,
	function(name) return "<" .. name .. ("a"):rep(65 - #name) .. "@a.test>" end,
	function(name) return "<" .. name .. "@>" end,
	function(name) return "<@" .. name .. ">" end,
	function(name) return "<" .. name .. "@a..test>" end,
	function(name) return "<" .. name .. "@a.test> X" .. name .. "=1" end,
	function(name) return name end,
	function() return "" end,
}

-- Seldom: the state of a session must be as if it had not been said.
local function refused(self, c, verb)
	return self.random:chance(1, 8) and verb .. self.random:pick(REFUSED)(self:name(c)) or nil
end

function SYMBOLS.NOOP(self, c) return seldom(self, c, "NOOP") end
function SYMBOLS.RSET(self, c)
	if self.random:chance(1, 8) then return "RSET " .. self:name(c) end
	self:link(c).mail, self:link(c).rcpt = nil, nil
	return "RSET"
end
function SYMBOLS.VRFY(self, c) return mostly(self, c, "VRFY") end
function SYMBOLS.EXPN(self, c) return mostly(self, c, "EXPN") end
function SYMBOLS.HELP(self, c) return seldom(self, c, "HELP") end
function SYMBOLS.EHLO(self, c)
	local link = self:link(c)
	link.mail, link.rcpt, link.greeted = nil, nil, true
	return (self.context.protocol == "lmtp" and "LHLO " or "EHLO ") .. link.canary .. ".test"
end
function SYMBOLS.HELO(self, c)
	local link = self:link(c)
	link.mail, link.rcpt, link.greeted = nil, nil, true
	return "HELO " .. link.canary .. ".test"
end
function SYMBOLS.MAIL(self, c)
	local line, link = refused(self, c, "MAIL FROM:"), self:link(c)
	if line then return line end
	if link.mail ~= true then link.mail, link.rcpt = true, nil end
	return ("MAIL FROM:<%s>"):format(self:sender(c))
end
function SYMBOLS.RCPT(self, c)
	local line, link = refused(self, c, "RCPT TO:"), self:link(c)
	if line then return line end
	link.rcpt = link.mail
	return ("RCPT TO:<%s>"):format(self:recipient(c))
end
function SYMBOLS.DATA(self, c)
	local link = self:link(c)
	if not link.rcpt then return "DATA" end
	link.mail, link.rcpt = nil, nil
	-- A refused DATA makes one unknown command of it, with one reply.
	return "DATA", ".\r\n"
end
function SYMBOLS.BDAT(self, c)
	local link = self:link(c)
	local last = link.rcpt and self.random:chance(1, 2)
	if last then link.mail, link.rcpt = nil, nil end
	return last and "BDAT 0 LAST" or "BDAT 0"
end
function SYMBOLS.AUTH(self) return "AUTH " .. self:mechanism():gsub("^PLAIN$", "LOGIN"), "*\r\n" end
function SYMBOLS.ETRN(self, c) return "ETRN " .. self:name(c) .. ".test" end
function SYMBOLS.UNKNOWN(self, c) return self:name(c):upper() end
function SYMBOLS.EMPTY() return "" end

--- Short commands by name: function(talk, connection) → line without its end, and what follows its reply (or nil). It
--- keeps the talk's link up to date.
command.symbols = SYMBOLS

--- Says a short one.
function command.symbol(self, connection, name)
	local line, more = SYMBOLS[name](self, connection)
	self:say(connection, line)
	if more then
		self:send(connection, more)
		self:reply(connection)
	end
end

return command
