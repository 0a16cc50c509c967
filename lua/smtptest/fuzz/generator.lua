--- generator: makes values, put together from others: draw(random, n, corpus) → value, shrink(value) → simpler ones.
--
-- shrink gives an iterator. Wherever a generator is expected a plain value stands for the constant.

local dictionary = require "smtptest.fuzz.dictionary"
local simplify = require "smtptest.fuzz.simplify"

local generator = {}

local Generator = {}
Generator.__index = Generator
Generator.__name = "smtptest.fuzz.generator"

local function nothing() return nil end

local function each(list)
	local i = 0
	return function()
		i = i + 1
		return list[i]
	end
end

-- ---------------------------------------------------------------- shrinking by type

local SHRINK = {}

function SHRINK.string(value) return simplify.bytes(value) end

function SHRINK.number(value)
	if math.type(value) ~= "integer" or value == 0 then return nothing end
	local list, seen = {}, { [value] = true }
	local function add(number)
		if not seen[number] then
			seen[number] = true
			list[#list + 1] = number
		end
	end
	add(0)
	if value == math.mininteger then
		add(value + 1)
		return each(list)
	end
	if value < 0 then add(-value) end
	local less = value // 2
	while less ~= 0 and less ~= -1 do
		add(value - less)
		less = less // 2
	end
	add(value > 0 and value - 1 or value + 1)
	return each(list)
end

-- Lists: without a half, a quarter … one.
function SHRINK.table(value)
	return coroutine.wrap(function()
		local size = #value
		while size >= 1 do
			for first = 1, #value, size do
				local last = math.min(#value, first + size - 1)
				local copy = table.move(value, 1, first - 1, 1, {})
				coroutine.yield(table.move(value, last + 1, #value, #copy + 1, copy))
			end
			size = size // 2
		end
	end)
end

--- Simpler values of a string, an integer or a list, whatever made it.
-- @return iterator
function generator.shrink(value)
	local shrink = SHRINK[type(value)]
	return shrink and shrink(value) or nothing
end

-- ---------------------------------------------------------------- objects

--- Makes a generator.
-- @param draw    function(random, n, corpus) → value
-- @param shrink  function(value) → iterator of simpler ones; by default by the value's type
function generator.new(draw, shrink)
	return setmetatable({ draw_value = draw, shrink_value = shrink or generator.shrink }, Generator)
end

function Generator:draw(random, n, corpus)
	return self.draw_value(random, n, corpus)
end

function Generator:shrink(value)
	return self.shrink_value(value)
end

--- Whether a value is a generator.
function generator.is(value)
	return getmetatable(value) == Generator
end

local function lift(value)
	if generator.is(value) then return value end
	return generator.constant(value)
end

local function lifted(list)
	local copy = {}
	for i, value in ipairs(list) do copy[i] = lift(value) end
	return copy
end

--- Always the same.
function generator.constant(value)
	return generator.new(function() return value end, function() return nothing end)
end

--- One of a list of values and generators; plain values shrink to those before them.
function generator.pick(list)
	local generators = lifted(list)
	return generator.new(function(random, n, corpus)
		return random:pick(generators):draw(random, n, corpus)
	end, function(value)
		local simpler = {}
		for _, one in ipairs(list) do
			if one == value then return each(simpler) end
			if not generator.is(one) then simpler[#simpler + 1] = one end
		end
		return generator.shrink(value)
	end)
end

generator.one_of = generator.pick

--- One of a list of {weight, value or generator}.
function generator.weighted(list)
	local weights = {}
	for i, pair in ipairs(list) do weights[i] = { pair[1], lift(pair[2]) } end
	return generator.new(function(random, n, corpus)
		return random:weighted(weights):draw(random, n, corpus)
	end)
end

--- The strings of several, one behind the other.
function generator.sequence(list)
	local generators = lifted(list)
	return generator.new(function(random, n, corpus)
		local parts = {}
		for i, one in ipairs(generators) do parts[i] = one:draw(random, n, corpus) end
		return table.concat(parts)
	end)
end

--- Several of one kind.
-- @param options  min (0), max (4), separator: with it they are one string, else a list
function generator.list(one, options)
	one, options = lift(one), options or {}
	local min, max = options.min or 0, options.max or 4
	local separator = options.separator
	return generator.new(function(random, n, corpus)
		local parts = {}
		for i = 1, random:integer(min, max) do parts[i] = one:draw(random, n, corpus) end
		return separator and table.concat(parts, separator) or parts
	end, not separator and function(value)
		local simpler = SHRINK.table(value)
		return function()
			local copy
			repeat copy = simpler() until copy == nil or #copy >= min
			return copy
		end
	end or nil)
end

--- There or, in `per_thousand` (500) of a thousand draws, not: "".
function generator.optional(one, per_thousand)
	one = lift(one)
	return generator.new(function(random, n, corpus)
		local value = one:draw(random, n, corpus)
		return random:chance(per_thousand or 500) and "" or value
	end, function(value)
		if value == "" then return nothing end
		local rest, first = one:shrink(value), true
		return function()
			if first then
				first = false
				return ""
			end
			return rest()
		end
	end)
end

--- What a function(value, random) makes of it.
function generator.map(one, fn)
	one = lift(one)
	return generator.new(function(random, n, corpus)
		return fn(one:draw(random, n, corpus), random)
	end)
end

-- ---------------------------------------------------------------- numbers and bytes

local EDGES = { 0, 1, -1, 2, 255, 256, 511, 512, 513, 998, 999, 1000, 1001, 2047, 2048, 2049, 4095, 4096, 4097, 32767,
	32768, 65535, 65536, (1 << 31) - 1, 1 << 31, (1 << 31) + 1, -(1 << 31), -(1 << 31) - 1, (1 << 32) - 1, 1 << 32,
	(1 << 32) + 1, math.maxinteger, math.mininteger, math.maxinteger - 1 }

--- An integer of a range (default: all), every third time one at which programs change their mind.
function generator.integer(low, high)
	low, high = low or math.mininteger, high or math.maxinteger
	local edges = {}
	for _, edge in ipairs(EDGES) do
		if edge >= low and edge <= high then edges[#edges + 1] = edge end
	end
	edges[#edges + 1], edges[#edges + 2] = low, high
	return generator.new(function(random)
		return random:chance(1, 3) and random:pick(edges) or random:integer(low, high)
	end, function(value)
		local simpler = SHRINK.number(value)
		return function()
			local number
			repeat number = simpler() until number == nil or number >= low and number <= high
			return number
		end
	end)
end

--- A number as text: any of the dictionary, or digits.
function generator.number()
	return generator.new(function(random)
		if random:chance(1, 2) then return random:pick(dictionary.numbers) end
		return random:bytes(random:integer(1, random:chance(1, 8) and 40 or 10), "0123456789")
	end)
end

-- A length: any, or one of the dictionary.
local function length(random, min, max)
	if random:chance(1, 3) then
		local wanted = random:pick(dictionary.lengths)
		if wanted >= min and wanted <= max then return wanted end
	end
	return random:integer(min, random:chance(3, 4) and math.min(max, min + 32) or max)
end

--- Bytes.
-- @param min  least length (0)
-- @param max  greatest one (2048)
-- @param set  string of the bytes to take (default: all)
function generator.bytes(min, max, set)
	min, max = min or 0, max or 2048
	return generator.new(function(random) return random:bytes(length(random, min, max), set) end, function(value)
		local simpler = simplify.bytes(value)
		return function()
			local text
			repeat text = simpler() until text == nil or #text >= min
			return text
		end
	end)
end

local LETTERS = "abcdefghijklmnopqrstuvwxyz"

--- Text without control characters; with `wide` with characters of UTF-8 above ASCII, right and wrong ones.
function generator.text(min, max, wide)
	local plain = generator.bytes(min or 1, max or 80, LETTERS .. LETTERS:upper() .. "0123456789 .,-_")
	if not wide then return plain end
	return generator.map(plain, function(text, random)
		local at = random:integer(0, #text)
		return text:sub(1, at) .. random:pick { "\u{e9}", "\u{20ac}", "\u{1f600}", "\u{202e}", "\u{0}", "\xff", "\xc0\xaf",
			"\xed\xa0\x80", "\u{feff}", "\u{2028}", "\u{130}" } .. text:sub(at + 1)
	end)
end

--- A verb: usual, obsolete, private, wrong; its letters in any case.
function generator.verb()
	return generator.new(function(random)
		local verb = random:pick(dictionary.verbs)
		if random:chance(1, 6) then
			verb = verb:gsub("%a", function(c) return random:chance(1, 2) and c:lower() or c end)
		end
		return verb
	end)
end

--- A string of the dictionary: "strings", "mistakes", "mechanisms" …
function generator.word(kind)
	return generator.pick(dictionary[kind or "strings"])
end

return generator
