local tail = require "smtptest.tail"

describe("a tail", function()
	it("keeps what comes, to its limit", function()
		local t = tail.new(10)
		assert.equal("", t:text())
		t:add "abc"
		t:add "defghi"
		assert.same({ "abcdefghi", 9, 0 }, { t:text(), t.size, t.dropped })
		t:add "jklm"
		assert.same({ "defghijklm", 10, 3 }, { t:text(), t.size, t.dropped })
		t:add(("x"):rep(30))
		assert.same({ ("x"):rep(30), 30, 13 }, { t:text(), t.size, t.dropped })
		t:add "y"
		assert.same({ ("x"):rep(30) .. "y", 31, 13 }, { t:text(), t.size, t.dropped })
	end)

	it("is empty once it was taken", function()
		local t = tail.new(10)
		t:add "abc"
		t:add "def"
		assert.equal("abcdef", t:take())
		assert.same({ "", 0, 0 }, { t:take(), t.size, t.dropped })
		t:add "x"
		assert.equal("x", t:text())
	end)

	it("of an endless stream stays small", function()
		local t = tail.new(1000)
		for i = 1, 100000 do t:add(("%9d\n"):format(i)) end
		assert.equal(1000, t.size)
		assert.equal(999000, t.dropped)
		assert.equal("    99901\n", t:text():sub(1, 10))
		local count = 0
		for _ in pairs(t) do count = count + 1 end
		assert.truthy(count < 110)
	end)
end)
