--- debruijn: a cyclic sequence that holds every word of four symbols exactly once, each part of it well mixed.

local debruijn = {}

-- By size of the alphabet (a prime), the coefficients of a primitive polynomial of degree 4: the next symbol is a sum
-- of the last four, the sequence one of maximum length.
local COEFFICIENTS = { [5] = { 1, 2, 0, 2 }, [7] = { 1, 1, 0, 2 }, [11] = { 4, 1, 0, 3 }, [13] = { 1, 1, 0, 2 } }

local known = {}

--- @param size  of the alphabet: 5, 7, 11 or 13
-- @return list of size^4 integers 1 … size; the same table each time, not to be changed
function debruijn.sequence(size)
	if known[size] then return known[size] end
	local one, two, three, four = table.unpack(COEFFICIENTS[size])
	local list = {}
	local a, b, c, d = 0, 0, 0, 1
	for i = 1, size ^ 4 // 1 - 1 | 0 do
		list[i] = a + 1
		a, b, c, d = b, c, d, (one * d + two * c + three * b + four * a) % size
	end
	-- Three of the first symbol begin it; with one more it holds the word that such a sequence lacks.
	list[#list + 1] = 1
	known[size] = list
	return list
end

return debruijn
