--- random: decisions that are a function of (seed, n), the same on every machine: splitmix64, integers only.

local Random = {}
Random.__index = Random
Random.__name = "smtptest.fuzz.random"

local random = {}

local GOLDEN = 0x9E3779B97F4A7C15

local function mix(z)
	z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ~ (z >> 27)) * 0x94D049BB133111EB
	return z ~ (z >> 31)
end

--- A number of a text (FNV-1a, 64 bits), and of a number the number itself.
local function number_of(value)
	if type(value) ~= "string" then return value end
	local hash = 0xcbf29ce484222325
	for i = 1, #value do hash = (hash ~ value:byte(i)) * 0x100000001b3 end
	return hash
end

random.hash = number_of

--- Makes a generator. It costs one table.
-- @param seed  integer, or a string
-- @param n     number of the case
function random.new(seed, n)
	seed, n = number_of(seed), n or 0
	local origin = mix(mix(seed + GOLDEN) ~ n * 0xD1342543DE82EF95)
	return setmetatable({ seed = seed, n = n, origin = origin, state = origin }, Random)
end

--- 64 bits.
function Random:next()
	local z = self.state + GOLDEN
	self.state = z
	z = (z ~ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ~ (z >> 27)) * 0x94D049BB133111EB
	return z ~ (z >> 31)
end

--- An integer, both ends included.
function Random:integer(low, high)
	local span = high - low + 1
	if span > 0 then return low + (self:next() >> 1) % span end
	if low > high then error("bad range: the low end is above the high one", 2) end
	local value
	repeat value = self:next() until value >= low and value <= high
	return value
end

--- True in `a` of `b` cases (b: 1000 where it isn't given).
function Random:chance(a, b)
	return (self:next() >> 1) % (b or 1000) < a
end

--- One of a list.
function Random:pick(list)
	return list[(self:next() >> 1) % #list + 1]
end

--- One of a list of {weight, value}; the weights are integers from 0 on.
function Random:weighted(list)
	local sum = 0
	for i = 1, #list do sum = sum + list[i][1] end
	local at = (self:next() >> 1) % sum
	for i = 1, #list do
		at = at - list[i][1]
		if at < 0 then return list[i][2] end
	end
end

--- `n` bytes: any, or those of the string `set`.
function Random:bytes(n, set)
	local list = {}
	if not set then
		for i = 1, (n + 7) // 8 do list[i] = ("<i8"):pack(self:next()) end
		return table.concat(list):sub(1, n)
	end
	for i = 1, n do
		local at = (self:next() >> 1) % #set + 1
		list[i] = set:sub(at, at)
	end
	return table.concat(list)
end

--- A copy of a list in another order.
function Random:shuffle(list)
	local copy = table.move(list, 1, #list, 1, {})
	for i = #copy, 2, -1 do
		local j = (self:next() >> 1) % i + 1
		copy[i], copy[j] = copy[j], copy[i]
	end
	return copy
end

--- Another generator, of (seed, n, label): the same for the same label, however much was drawn before.
-- @param label  string or integer
function Random:fork(label)
	local origin = mix(self.origin + mix(number_of(label) + GOLDEN))
	return setmetatable({ seed = self.seed, n = self.n, origin = origin, state = origin }, Random)
end

return random
