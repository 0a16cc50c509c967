--- dialogue: sessions at random: half of it as it should be, the rest wrong in one thing or another.

local body = require "smtptest.fuzz.body"
local command = require "smtptest.fuzz.command"
local dictionary = require "smtptest.fuzz.dictionary"

local dialogue = {}

local GOOD = { { 3, "NOOP" }, { 2, "RSET" }, { 2, "VRFY" }, { 1, "HELP" }, { 1, "EHLO" }, { 8, "MAIL" }, { 10, "RCPT" },
	{ 4, "DATA" }, { 1, "EXPN" }, { 1, "AUTH" }, { 1, "BDAT" } }

-- Next good command in the state of a connection
local function good(self, c)
	local link = self:link(c)
	local name = self.random:weighted(GOOD)
	if name == "MAIL" and link.mail == true then name = "RCPT" end
	if name == "RCPT" and link.mail ~= true then name = "MAIL" end
	if name == "MAIL" then
		self:begin(c)
	elseif name == "DATA" then
		local text = body.message(self.random:integer(0, body.messages - 1), self:name(c))
		self:data(c, (#text < 3000 and text or self:text(c)) .. ".\r\n")
	else
		command.symbol(self, c, name)
	end
end

local function parameters(self, list)
	local text = {}
	for i = 1, self.random:integer(1, 3) do text[i] = " " .. self.random:pick(list) end
	return table.concat(text)
end

-- One thing that is wrong, or unusual
local BAD = {
	function(self, c) self:say(c, self.random:pick(dictionary.mistakes)) end,
	function(self, c) self:say(c, self.random:pick(dictionary.verbs) .. " " .. self:name(c)) end,
	function(self, c)
		local one = self.random:pick(command.walk)
		local text = self:name(c) .. self.random:pick(dictionary.strings)
		if not text:find "[\r\n]" then command.say(self, c, one, text) end
	end,
	function(self, c)
		self:idle(c)
		self:say(c, ("MAIL FROM:<%s>"):format(self:sender(c)) .. parameters(self, dictionary.mail_parameters))
		self:link(c).mail = "maybe"
	end,
	function(self, c)
		self:begin(c)
		self:say(c, ("RCPT TO:<%s>"):format(self:recipient(c)) .. parameters(self, dictionary.rcpt_parameters))
	end,
	function(self, c)
		local one = self.random:pick(command.walk)
		command.say(self, c, one, (self:name(c):rep(self.random:integer(1, 200))))
	end,
	function(self, c)
		self:idle(c)
		self:say(c, ("MAIL FROM:<%s> SIZE=%s"):format(self:sender(c), self.random:pick(dictionary.numbers)))
		self:link(c).mail = "maybe"
	end,
}

--- A case of about thirty commands.
function dialogue.draw(self, index)
	local random = self.random
	local faults = index % 2 == 0 and 8 or 24
	self:open "c1"
	if random:chance(1, 4) then self:authenticate "c1" end
	for _ = 1, random:integer(24, 36) do
		if faults > 0 and random:chance(1, 2) then
			faults = faults - 1
			random:pick(BAD)(self, "c1")
		else
			good(self, "c1")
		end
	end
	self:leave "c1"
end

return dialogue
