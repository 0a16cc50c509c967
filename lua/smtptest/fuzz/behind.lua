--- behind: pairs of commands right behind something that leaves its mark on a session: an AUTH that failed or was
-- canceled, a message, a chunk, a refused command.

local base64 = require "smtptest.base64"
local command = require "smtptest.fuzz.command"
local tuple = require "smtptest.fuzz.tuple"

local behind = {}

local PAIRS = 5         -- in a session

local MARKS = {
	function(self, c)
		self:say(c, "AUTH PLAIN " .. base64.encode(("\0%s\0%s"):format(self:name(c), self:name(c))))
	end,
	function(self, c) self:data(c) end,
	function(self, c)
		self:say(c, "AUTH PLAIN")
		self:say(c, "*")
	end,
	function(self, c) self:say(c, "MAIL FROM:" .. self:name(c)) end,
	function(self, c)
		self:begin(c, true)
		self:say(c, "BDAT 0 LAST")
		self:link(c).mail, self:link(c).rcpt = nil, nil
	end,
	function(self, c) self:say(c, self:name(c)) end,
}

behind.marks = #MARKS

--- A case; the first mark comes every second time.
function behind.draw(self, index)
	local c, symbols = "c1", tuple.symbols
	local mark, turn = 1, index // 2
	if index % 2 == 1 then
		mark, turn = 2 + turn % (#MARKS - 1), turn // (#MARKS - 1)
	end
	self:open(c)
	for i = 0, PAIRS - 1 do
		local at = (turn * PAIRS + i) % (#symbols * #symbols)
		MARKS[mark](self, c)
		command.symbol(self, c, symbols[at // #symbols + 1])
		command.symbol(self, c, symbols[at % #symbols + 1])
	end
	self:leave(c)
end

return behind
