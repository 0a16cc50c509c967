--- login: exchanges of AUTH: every mechanism behind every command, canceled, wrong, empty, and what is said afterwards.

local base64 = require "smtptest.base64"
local command = require "smtptest.fuzz.command"
local dictionary = require "smtptest.fuzz.dictionary"

local login = {}

local MECHANISMS = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "XOAUTH2",
	"OAUTHBEARER", "EXTERNAL", "ANONYMOUS", "NTLM", "GSSAPI", "OTP", "SCRAM-SHA-256-PLUS" }

-- The first ones of them
local COMMON = 3

local BEFORE = { "EHLO", "NOOP", "RSET", "MAIL", "RCPT", "VRFY", "HELP", "HELO", "UNKNOWN", "EXPN", "AUTH", "EMPTY" }

local encode = base64.encode

-- The responses of an exchange: function(name of the user) → initial response or nil, further lines
local EXCHANGES = {
	function() return nil, "*" end,
	function() return "=", "*" end,
	function(name) return encode("\0" .. name .. "\0") end,
	function(name) return encode("\0" .. name .. "\0" .. name) end,
	function() return encode("\0\0") end,
	function() return nil, "=", "=" end,
	function(name) return nil, encode(name), encode("") end,
	function(name) return nil, encode(name), encode(name) end,
	function() return nil, "", "" end,
	function() return "!!!!", "*" end,
	function() return "QQ", "*" end,
	function() return "Q===", "*" end,
	function() return "QQ==QQ==", "*" end,
	function() return nil, "QUJD\0", "*" end,
	function(name) return nil, "NOOP " .. name, "*" end,
	function() return nil, "MAIL FROM:<>", "*" end,
	function(name) return encode(name:rep(200)), "*" end,
	function(name) return nil, encode(name:rep(900)), "*" end,
	function(name) return encode(name .. "\0" .. name .. "\0" .. name .. "\0" .. name) end,
	function(name) return encode("n,,n=" .. name .. ",r=" .. name), "*" end,
	function(name) return encode("n,,n=,r="), encode("c=biws,r=" .. name .. ",p="), "*" end,
	function(name) return encode("user=" .. name .. "\1auth=Bearer " .. name .. "\1\1"), "AQ==", "*" end,
	function(name) return encode("n,a=" .. name .. ",\1auth=Bearer x\1\1"), "AQ==", "*" end,
	function(name) return nil, encode(name .. " " .. ("0"):rep(32)) end,
	function(name) return encode(name), encode("") end,
	function() return nil, "* ", "*" end,
	function() return nil, " *", "*" end,
	function() return "*" end,
	function() return nil, "**", "*" end,
	function() return encode("\0\255\0\254") end,
}

login.exchanges = #EXCHANGES
login.mechanisms = #MECHANISMS

local function exchange(self, connection, mechanism, number)
	local answers = table.pack(EXCHANGES[number % #EXCHANGES + 1](self:name(connection)))
	self:say(connection, "AUTH " .. mechanism .. (answers[1] and " " .. answers[1] or ""))
	for i = 2, answers.n do
		if answers[i] then self:say(connection, answers[i]) end
	end
end

-- The mechanism at an index: of three, one that the plan or the server names, where there is one.
local function mechanism_of(self, index)
	local known = self.context.mechanisms
	if known and known[1] and index % 3 ~= 0 then return known[index // 3 % #known + 1] end
	-- Half of the time one that most servers have.
	if index % 2 == 0 then return MECHANISMS[index // 2 % COMMON + 1] end
	return MECHANISMS[index // 2 % #MECHANISMS + 1]
end

--- Three exchanges in a session, each behind another command, and a transaction behind each.
function login.draw(self, index)
	self:open "c1"
	if index % 8 == 7 then self:authenticate "c1" end
	for i = 0, 2 do
		local at = index * 3 + i
		local before = BEFORE[(at + at // #BEFORE) % #BEFORE + 1]
		if before == "RCPT" then command.symbol(self, "c1", "MAIL") end
		command.symbol(self, "c1", before)
		if self.random:chance(1, 12) then
			self:say("c1", "AUTH " .. self.random:pick(dictionary.mechanisms))
			self:say("c1", "*")
		else
			exchange(self, "c1", mechanism_of(self, at), at // 2 + at // 60)
		end
		command.symbol(self, "c1", "MAIL")
		command.symbol(self, "c1", i == 1 and "NOOP" or "RCPT")
		if i == 2 then command.symbol(self, "c1", "DATA") end
	end
	self:leave "c1"
end

-- How far an exchange comes until it is canceled: function(name of the user) → initial response or nil, responses
local CANCELS = {
	function() return nil, "*" end,
	function() return "=", "*" end,
	function(name) return nil, encode(name), "*" end,
	function(name) return encode(name), "*" end,
}

-- The same mechanism with made-up credentials, as its first step has them.
local AGAIN = {
	PLAIN = function(name) return encode(("\0%s\0%s"):format(name, name)) end,
	LOGIN = function(name) return nil, encode(name), encode(name) end,
	["CRAM-MD5"] = function(name) return nil, encode(name .. " " .. ("0"):rep(32)) end,
}

local function attempt(self, mechanism, answers)
	self:say("c1", "AUTH " .. mechanism .. (answers[1] and " " .. answers[1] or ""))
	for i = 2, answers.n do self:say("c1", answers[i]) end
end

--- Cancels: each mechanism behind each command, in a session of few errors; in every second one it is tried again.
function login.cancel(self, index)
	self:open "c1"
	local name, again = self:name "c1", index % 2 == 1
	for i = 0, again and 3 or 4 do
		local at = index * 5 + i
		local mechanism = mechanism_of(self, at)
		command.symbol(self, "c1", BEFORE[(at + at // #MECHANISMS) % #BEFORE + 1])
		attempt(self, mechanism, table.pack(CANCELS[(at // #MECHANISMS + at) % #CANCELS + 1](name)))
		if again and AGAIN[mechanism] then attempt(self, mechanism, table.pack(AGAIN[mechanism](name))) end
	end
	for _, symbol in ipairs { "NOOP", "MAIL", "RCPT", "RSET" } do command.symbol(self, "c1", symbol) end
	self:leave "c1"
end

return login
