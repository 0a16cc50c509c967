--- debruijn: a cyclic sequence that holds every word of a length over an alphabet exactly once.

local debruijn = {}

local known = {}

--- The least one (Fredricksen, Kessler and Maiorana: the Lyndon words whose length divides the order, in order).
-- @param symbols  size of the alphabet
-- @param order    length of the words
-- @return list of symbols^order integers 1 … symbols; the same table each time, not to be changed
function debruijn.sequence(symbols, order)
	local key = symbols << 8 | order
	if known[key] then return known[key] end
	local list, word = {}, {}
	for i = 0, order do word[i] = 0 end
	local function extend(t, p)
		if t > order then
			if order % p == 0 then
				for i = 1, p do list[#list + 1] = word[i] + 1 end
			end
			return
		end
		word[t] = word[t - p]
		extend(t + 1, p)
		for symbol = word[t - p] + 1, symbols - 1 do
			word[t] = symbol
			extend(t + 1, t)
		end
	end
	extend(1, 1)
	known[key] = list
	return list
end

return debruijn
