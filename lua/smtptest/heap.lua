--- heap: entries by time, the earliest first.
--
-- A heap is a list; entry[1] is its time; heap[1] is the earliest entry.

local heap = {}

local function sooner(a, b)
	return a[1] < b[1]
end

--- Adds an entry.
function heap.push(entries, entry)
	local i = #entries + 1
	while i > 1 do
		local parent = i // 2
		if not sooner(entry, entries[parent]) then break end
		entries[i] = entries[parent]
		i = parent
	end
	entries[i] = entry
end

--- Takes the earliest entry out.
-- @return it, or nil
function heap.pop(entries)
	local top, last = entries[1], table.remove(entries)
	local n = #entries
	if n == 0 then return top end
	local i = 1
	while true do
		local child = 2 * i
		if child > n then break end
		if child < n and sooner(entries[child + 1], entries[child]) then child = child + 1 end
		if not sooner(entries[child], last) then break end
		entries[i] = entries[child]
		i = child
	end
	entries[i] = last
	return top
end

return heap
