--- leak: one session leaves names that nobody else knows, another one asks for them with every command.

local base64 = require "smtptest.base64"
local command = require "smtptest.fuzz.command"
local walk = require "smtptest.fuzz.walk"

local leak = {}

-- What c1 leaves behind; each is quick, and some stop in the middle.
local LEFT = {
	function(self, c, name) self:say(c, ("MAIL FROM:<%s@%s.test>"):format(name, name)) end,
	function(self, c, name)
		self:begin(c)
		self:say(c, ("RCPT TO:<%s@%s.test>"):format(name, name))
	end,
	function(self, c, name)
		self:say(c, "AUTH LOGIN")
		self:say(c, base64.encode(name))
		self:say(c, "*")
	end,
	function(self, c, name) self:say(c, "AUTH PLAIN " .. base64.encode("\0" .. name .. "\0" .. name)) end,
	function(self, c, name) self:data(c, ("Subject: %s\r\n\r\n%s\r\n.\r\n"):format(name, (name .. " "):rep(40))) end,
	function(self, c, name)
		self:begin(c, true)
		self:say(c, "DATA")
		self:send(c, ("Subject: %s\r\n\r\n%s\r\n"):format(name, (name .. "\r\n"):rep(20)))
	end,
	function(self, c, name) self:send(c, "VRFY " .. name:rep(10)) end,
	function(self, c, name) self:send(c, "MAIL FROM:<" .. name .. "@" .. name) end,
	function(self, c, name) self:say(c, "HELP " .. name:rep(20)) end,
	function(self, c, name) self:say(c, "NOOP " .. name:rep(80)) end,
	function(self, c, name) self:say(c, name:rep(45)) end,
	function(self, c, name) self:say(c, "EXPN " .. name) end,
	function(self, c, name)
		self:begin(c, true)
		self:say(c, "BDAT 24\r\n" .. name .. name)
	end,
	function(self, c, name) self:say(c, ("MAIL FROM:<> ENVID=%s RET=HDRS"):format(name)) end,
	function(self, c, name) self:say(c, "VRFY " .. name) end,
	function(self, c, name) self:say(c, "ETRN " .. name .. ".test") end,
}

-- What c2 asks: nothing behind the verb, little, much
local ASKED = { "HELP", "VRFY", "EXPN", "NOOP", "RSET", "MAIL FROM:", "RCPT TO:", "EHLO", "HELO", "AUTH", "DATA",
	"ETRN", "BDAT", "MAIL", "RCPT", "X" }

local LENGTHS = { 0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 498, 610, 987, 1500 }

local function words(length, name)
	if length <= #name then return ("b"):rep(length) end
	return name .. ("b"):rep(length - #name)
end

local function leave(self, index)
	local c = "c1"
	for i = 0, 2 do
		self:idle(c)
		LEFT[(index + i * (index // #LEFT + 1)) % #LEFT + 1](self, c, self:name(c))
		local last = self.steps[#self.steps]
		-- Behind what was not finished nothing follows.
		if last.step == "send" then return end
		self:link(c).mail = "maybe"
	end
end

local function ask(self, c, index)
	for i = 0, 13 do
		local at = index * 14 + i
		local verb = ASKED[at % #ASKED + 1]
		local length = LENGTHS[(at // #ASKED * 5 + at) % #LENGTHS + 1]
		if length > 500 and self.random:chance(1, 2) then length = walk.length(self.random.seed, at) end
		local text = words(length, self:name(c))
		if verb:find ":$" then text = "<" .. text .. ">" end
		self:say(c, text == "" and verb or verb .. (verb:find ":$" and "" or " ") .. text)
		if verb == "MAIL FROM:" and i % 2 == 0 then command.symbol(self, c, "MAIL") end
		if verb == "RCPT TO:" then command.symbol(self, c, "RCPT") end
	end
end

--- A case: c1 leaves something and ends (or not), c2 asks, begun before or after that.
function leak.draw(self, index)
	local early = index % 2 == 1
	if early then
		self:connect "c2"
		self:hello "c2"
	end
	self:open "c1"
	leave(self, index)
	local stays = index % 3 == 2
	if not stays then
		self:add("c1", ({ "close", "abort", "half_close" })[index // 3 % 3 + 1])
	end
	if not early then
		self:connect "c2"
		if index % 4 ~= 2 then self:hello "c2" end
	end
	ask(self, "c2", index)
	self:quit "c2"
	if stays then self:add("c1", "close") end
end

return leak
