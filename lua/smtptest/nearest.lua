--- nearest: the known name that a misspelt one was probably meant to be.

--- Edits between two words: insertions, deletions, replacements and swaps of neighbours (optimal string alignment).
local function distance(a, b)
	local before, last = nil, {}
	for j = 0, #b do last[j] = j end
	for i = 1, #a do
		local this = { [0] = i }
		for j = 1, #b do
			local x, y = a:byte(i), b:byte(j)
			local best = math.min(last[j] + 1, this[j - 1] + 1, last[j - 1] + (x == y and 0 or 1))
			if i > 1 and j > 1 and x == b:byte(j - 1) and y == a:byte(i - 1) then
				best = math.min(best, before[j - 2] + 1)
			end
			this[j] = best
		end
		before, last = last, this
	end
	return last[#b]
end

--- Upper case, "_" and "-" are no mistakes worth an edit.
local function fold(word)
	return (word:lower():gsub("_", "-"))
end

--- Finds the nearest known name.
-- @param word  string, as the user wrote it
-- @param list  list of known names; among equally near ones the first wins
-- @return a member of list; or nil when none is near: at most one edit in three letters, and one in a shorter word
local function nearest(word, list)
	local folded = fold(word)
	local limit = math.max(1, #word // 3)
	local found
	for _, name in ipairs(list) do
		if math.abs(#name - #word) <= limit then
			local edits = distance(folded, fold(name))
			-- A word of which no letter is left is another word.
			if edits <= limit and edits < #word then
				found, limit = name, edits - 1
			end
		end
	end
	return found
end

return nearest
