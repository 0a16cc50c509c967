--- keyword: the words that EHLO's reply names, whatever they are, tried as verbs and as parameters.

local walk = require "smtptest.fuzz.walk"

local keyword = {}

-- Most servers name no more than FEW; MANY are tried as well.
local FEW, MANY = 12, 30

-- The i-th keyword behind the first line, and the words behind it
local function patterns(i)
	local before = "^" .. ("[^\n]*\n"):rep(i)
	return before .. "([%w_.-]+)", before .. "[%w_.-]+[ =]([^ \n]+)"
end

-- Ways to use the word NAME (and the one behind it, NAMEV)
local WAYS = {
	function(self, c, word) self:late(c, "", word, " " .. self:name(c) .. "\r\n") end,
	function(self, c, word) self:late(c, "", word, " " .. self:name(c) .. " 1 2 3\r\n") end,
	function(self, c, word, value) self:late(c, "", word, " ", value, " " .. self:name(c) .. "\r\n") end,
	function(self, c, word) self:late(c, "", word, "=" .. self:name(c) .. "\r\n") end,
	function(self, c, word, _, length) self:late(c, "", word, " " .. ("a"):rep(length) .. "\r\n") end,
	function(self, c, word) self:late(c, "", word, " \255\0\1%s%n<>\"\\\r\n") end,
	function(self, c, word) self:late(c, "HELP ", word, "\r\n") end,
	function(self, c, word)
		self:idle(c)
		self:late(c, "MAIL FROM:<> ", word, "\r\n")
		self:link(c).mail = "maybe"
	end,
	function(self, c, word, value)
		self:idle(c)
		self:late(c, "MAIL FROM:<> ", word, "=", value, "\r\n")
		self:link(c).mail = "maybe"
	end,
	function(self, c, word)
		self:begin(c)
		self:late(c, "RCPT TO:<" .. self:name(c) .. "@a.test> ", word, "=" .. self:name(c) .. "\r\n")
	end,
	function(self, c, word, _, length)
		self:idle(c)
		self:late(c, "MAIL FROM:<> ", word, "=" .. ("9"):rep(length) .. "\r\n")
		self:link(c).mail = "maybe"
	end,
	function(self, c, _, value)
		self:idle(c)
		self:late(c, "AUTH ", value, " =\r\n")
		self:say(c, "*")
	end,
	function(self, c, word) self:late(c, "", word, " NAME=" .. self:name(c) .. "\r\n") end,
	function(self, c, word) self:late(c, "", word, "X\r\n") end,
	function(self, c, word) self:late(c, " ", word, "\r\n") end,
	function(self, c, word) self:late(c, "X", word, " " .. self:name(c) .. "\r\n") end,
}

-- Which keyword (from 1 on) comes at an index
local function number(index)
	if index // FEW % 3 == 2 then return index // 3 % MANY + 1 end
	return index % FEW + 1
end

-- Two keywords as verbs, with arguments of many lengths
local function lengths(self, index)
	for k = 1, 2 do
		self:late("c1", "", "KW" .. k, " " .. self:name "c1" .. "\r\n")
		for i = 0, 4 do
			local size = walk.length(self.random.seed, (index // FEW * 5 + i) * 2 + k)
			self:late("c1", "", "KW" .. k, " " .. ("a"):rep(size) .. "\r\n")
		end
	end
end

-- Three, in many ways
local function ways(self, index)
	for i = 0, 3 do
		for k = 1, 3 do
			local at = index // 4 * 4 + i + (index + k) * 5
			WAYS[at % #WAYS + 1](self, "c1", "KW" .. k, "KV" .. k, walk.length(self.random.seed, index * 12 + i * 3 + k))
		end
	end
end

--- A case: some keywords of the reply that was just read.
function keyword.draw(self, index)
	self:open "c1"
	local count = index % 2 == 0 and 2 or 3
	for k = 1, count do
		local word, value = patterns(number(index // 2 * count + k - 1))
		self:add("c1", "var", { name = "KW" .. k, pattern = word })
		self:add("c1", "var", { name = "KV" .. k, pattern = value })
	end
	if count == 2 then lengths(self, index // 2) else ways(self, index // 2) end
	self:leave "c1"
end

return keyword
