--- tail: the last bytes of something that never ends.

local tail = {}

local Tail = {}
Tail.__index = Tail

--- Makes one that keeps at least the last `limit` bytes.
-- @return tail: `size` (bytes in it), `dropped` (bytes that were taken off the front)
function tail.new(limit)
	return setmetatable({ limit = limit, first = 1, last = 0, size = 0, dropped = 0 }, Tail)
end

--- Adds bytes; whole pieces of the oldest are dropped.
function Tail:add(bytes)
	local last = self.last + 1
	self[last], self.last = bytes, last
	self.size = self.size + #bytes
	while self.size - #self[self.first] >= self.limit do
		local first = self.first
		self.size, self.dropped = self.size - #self[first], self.dropped + #self[first]
		self[first], self.first = nil, first + 1
	end
end

--- All that is in it.
function Tail:text()
	return table.concat(self, "", self.first, self.last)
end

--- Takes out all that is in it.
function Tail:take()
	local text = self:text()
	for i = self.first, self.last do self[i] = nil end
	self.first, self.last, self.size = 1, 0, 0
	return text
end

return tail
