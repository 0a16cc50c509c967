--- secure: what goes wrong around STARTTLS: commands before, in the same write, twice, state that survives.

local command = require "smtptest.fuzz.command"

local secure = {}

-- STARTTLS, with something in the same write, and the handshake
local function injected(self, connection, more)
	self:send(connection, "STARTTLS\r\n" .. more)
	self:reply(connection)
	self:add(connection, "handshake")
	self:link(connection).mail, self:link(connection).rcpt = nil, nil
end

local function symbols(self, ...)
	for _, name in ipairs { ... } do command.symbol(self, "c1", name) end
end

local WAYS = {
	function(self)
		injected(self, "c1", ("EHLO %s.test\r\n"):format(self:name "c1"))
		symbols(self, "NOOP", "EHLO", "MAIL", "RCPT", "RSET")
	end,
	function(self)
		injected(self, "c1", "NOOP\r\n")
		symbols(self, "NOOP", "HELP", "NOOP")
	end,
	function(self)
		injected(self, "c1", ("MAIL FROM:<%s@a.test>\r\nRCPT TO:<%s@b.test>\r\n"):format(self:name "c1", self:name "c1"))
		symbols(self, "EHLO", "RCPT", "DATA", "RSET", "NOOP")
	end,
	function(self)
		injected(self, "c1", "RSET\r\nQUIT\r\n")
		symbols(self, "EHLO", "NOOP", "MAIL")
	end,
	function(self)
		injected(self, "c1", "")
		symbols(self, "EHLO", "NOOP", "VRFY", "EXPN", "HELP", "MAIL", "RCPT", "DATA", "RSET", "HELO", "AUTH")
	end,
	-- What was said before must be forgotten (RFC 3207 section 4.2).
	function(self)
		symbols(self, "MAIL")
		self:secure "c1"
		symbols(self, "RCPT", "DATA", "NOOP", "EHLO", "MAIL", "RCPT", "RSET")
	end,
	function(self)
		symbols(self, "MAIL", "RCPT")
		self:secure "c1"
		symbols(self, "NOOP", "RSET", "DATA", "BDAT", "MAIL", "RCPT", "EHLO")
	end,
	function(self)
		self:secure "c1"
		symbols(self, "MAIL", "RCPT", "DATA", "NOOP", "VRFY", "HELP")
	end,
	function(self)
		self:secure "c1"
		self:hello "c1"
		self:say("c1", "STARTTLS")
		symbols(self, "NOOP", "EHLO", "MAIL", "RCPT")
	end,
	function(self)
		self:secure "c1"
		self:say("c1", "STARTTLS x")
		self:say("c1", "STARTTLS ")
		symbols(self, "EHLO", "NOOP", "AUTH", "MAIL", "AUTH")
	end,
	function(self)
		self:authenticate "c1"
		self:secure "c1"
		symbols(self, "AUTH", "MAIL", "EHLO", "AUTH", "MAIL", "RCPT")
		self:authenticate "c1"
		symbols(self, "MAIL", "RCPT")
	end,
	function(self)
		symbols(self, "AUTH")
		self:secure "c1"
		self:hello "c1"
		self:data "c1"
		symbols(self, "NOOP")
	end,
	function(self)
		self:say("c1", "HELO " .. self:name "c1")
		self:secure "c1"
		symbols(self, "HELO", "MAIL", "RCPT", "DATA", "NOOP")
	end,
	-- Rubbish instead of a handshake
	function(self)
		self:say("c1", "STARTTLS")
		self:send("c1", "\22\3\1\255\255" .. ("\0"):rep(100))
		self:add("c1", "pause", { seconds = 0.01 })
		self:add("c1", "abort")
		self:open "c2"
		self:quit "c2"
	end,
	function(self)
		self:say("c1", "STARTTLS")
		self:add("c1", "abort")
		self:open "c2"
		self:quit "c2"
	end,
}

secure.ways = #WAYS

--- One way in turn.
function secure.draw(self, index)
	if self.context.tls == "implicit" then
		self:open "c1"
		symbols(self, "NOOP")
		self:say("c1", "STARTTLS x")
		symbols(self, "EHLO", "MAIL", "RCPT", "AUTH")
		return self:leave "c1"
	end
	self:connect "c1"
	if index // #WAYS % 3 ~= 2 then self:hello "c1" end
	WAYS[index % #WAYS + 1](self)
	self:leave "c1"
end

return secure
