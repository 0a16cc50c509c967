--- tuple: sessions in which, one case after the other, any four short commands come once in a row.

local base64 = require "smtptest.base64"
local command = require "smtptest.fuzz.command"
local debruijn = require "smtptest.fuzz.debruijn"
local random = require "smtptest.fuzz.random"

local tuple = {}

local CHEAP = { "NOOP", "RSET", "VRFY", "EXPN", "HELP", "EHLO", "HELO", "MAIL", "RCPT", "DATA", "BDAT" }
local MORE = table.move(CHEAP, 1, #CHEAP, 1, {})
table.move({ "AUTH", "UNKNOWN" }, 1, 2, #MORE + 1, MORE)

-- Passes in turn: the symbols, and how many new commands a case has. Shorter ones meet fewer errors.
local PASSES = { { symbols = CHEAP, size = 33 }, { symbols = CHEAP, size = 17 }, { symbols = MORE, size = 29 } }
for _, pass in ipairs(PASSES) do
	pass.length = (#pass.symbols) ^ 4 // 1 | 0
	pass.count = (pass.length + pass.size - 1) // pass.size
end

--- How many cases the first pass has: after it every four of its symbols came.
tuple.first_pass = PASSES[1].count
tuple.symbols = CHEAP

local WORD = 4

-- The pass of an index, and the index within it
local function pass_of(index)
	local number = 0
	while true do
		local pass = PASSES[number % #PASSES + 1]
		if index < pass.count then return pass, index, number end
		index, number = index - pass.count, number + 1
	end
end

--- The names of the commands of a case.
-- @param seed   of the run: it says which symbol is which, and where the sequence begins
-- @param index  of the case among those of this kind, from 0 on
function tuple.names(seed, index)
	local pass, slice, number = pass_of(index)
	local of_pass = random.new(seed, -1 - number)
	local order, offset = of_pass:shuffle(pass.symbols), of_pass:integer(0, pass.length - 1)
	local list = debruijn.sequence(#pass.symbols)
	local names = {}
	for i = 0, pass.size + WORD - 2 do
		names[i + 1] = order[list[(offset + slice * pass.size + i) % pass.length + 1]]
	end
	return names
end

-- What the sequence may come behind: a bug may need it. Most sessions have nothing of it.
local PROLOGUES = {
	[1] = function(self)
		local name = self:name "c1"
		self:say("c1", "AUTH PLAIN " .. base64.encode(("\0%s\0%s"):format(name, name)))
	end,
	[3] = function(self) self:authenticate "c1" end,
	[4] = function(self)
		self:say("c1", "AUTH LOGIN")
		self:say("c1", "*")
	end,
	[5] = function(self)
		if self.context.tls == "implicit" or self:link "c1".secured then return end
		self:secure "c1"
		self:hello "c1"
	end,
	[6] = function(self) self:data "c1" end,
	[7] = function(self)
		if self.context.protocol ~= "lmtp" then self:hello("c1", "HELO") end
	end,
}

--- A case of them.
function tuple.draw(self, index)
	self:open "c1"
	local prologue = PROLOGUES[index % 8]
	if prologue then prologue(self) end
	for _, name in ipairs(tuple.names(self.random.seed, index)) do command.symbol(self, "c1", name) end
	self:leave "c1"
end

return tuple
