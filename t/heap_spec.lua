local heap = require "smtptest.heap"

describe("a heap", function()
	it("gives its entries in the order of their times, however they came", function()
		local entries, times = {}, {}
		for i = 1, 500 do
			times[i] = math.random(1, 100)
			heap.push(entries, { times[i], i })
			if i % 7 == 0 then
				local least = math.huge
				for _, entry in ipairs(entries) do least = math.min(least, entry[1]) end
				assert.equal(least, heap.pop(entries)[1])
			end
		end
		local last, count = 0, #entries
		for _ = 1, count do
			local entry = heap.pop(entries)
			assert.is_true(entry[1] >= last)
			last = entry[1]
		end
		assert.is_nil(heap.pop(entries))
		assert.same({}, entries)
	end)

	it("of one entry is empty after it", function()
		local entries = {}
		heap.push(entries, { 1 })
		assert.same({ 1 }, heap.pop(entries))
		assert.same({}, entries)
	end)
end)
