local canary = require "smtptest.fuzz.canary"
local debruijn = require "smtptest.fuzz.debruijn"
local random = require "smtptest.fuzz.random"

describe("random", function()
	it("gives the same numbers everywhere", function()
		local r = random.new(1, 2)
		local list = {}
		for i = 1, 8 do list[i] = r:integer(0, 999) end
		assert.equal("513 847 28 562 491 27 771 606", table.concat(list, " "))
		assert.equal("e8bd7a5406289255", ("%016x"):format(random.new("seed", 3):next()))
	end)

	it("differs for neighbours", function()
		local seen = {}
		for seed = 0, 99 do
			for n = 0, 99 do
				local value = random.new(seed, n):next()
				assert.is_nil(seen[value])
				seen[value] = true
			end
		end
	end)

	it("keeps to a range, and reaches its ends", function()
		local r = random.new(7, 7)
		local seen = {}
		for _ = 1, 1000 do seen[r:integer(-2, 3)] = true end
		for i = -2, 3 do
			assert.is_true(seen[i])
			seen[i] = nil
		end
		assert.is_nil(next(seen))
		for _ = 1, 100 do
			assert.is_true(r:integer(math.mininteger, 0) <= 0)
			assert.equal("integer", math.type(r:integer(math.mininteger, math.maxinteger)))
		end
		assert.equal(5, r:integer(5, 5))
		assert.has_error(function() r:integer(2, 1) end)
	end)

	it("is even", function()
		local r, count, true_ones = random.new(3, 0), {}, 0
		for _ = 1, 10000 do
			local value = r:pick { "a", "b", "c", "d" }
			count[value] = (count[value] or 0) + 1
			if r:chance(250) then true_ones = true_ones + 1 end
		end
		for _, value in ipairs { "a", "b", "c", "d" } do assert.is_true(math.abs(count[value] - 2500) < 200) end
		assert.is_true(math.abs(true_ones - 2500) < 200)
		local weights = { x = 0, y = 0 }
		for _ = 1, 1000 do
			local value = r:weighted { { 0, "z" }, { 1, "x" }, { 9, "y" } }
			weights[value] = weights[value] + 1
		end
		assert.is_true(weights.x > 50 and weights.x < 150)
		assert.is_true(r:chance(1, 1))
		assert.is_false(r:chance(0))
	end)

	it("makes bytes of a length and a set", function()
		local r = random.new(3, 1)
		for n = 0, 20 do
			assert.equal(n, #r:bytes(n))
			assert.is_truthy(r:bytes(n, "ab"):find"^[ab]*$")
		end
	end)

	it("shuffles a copy", function()
		local list = { 1, 2, 3, 4, 5 }
		local other = random.new(1, 1):shuffle(list)
		assert.same({ 1, 2, 3, 4, 5 }, list)
		table.sort(other)
		assert.same(list, other)
	end)

	it("forks by label, whatever was drawn before", function()
		local a, b = random.new(1, 1), random.new(1, 1)
		b:next()
		assert.equal(a:fork("x"):next(), b:fork("x"):next())
		assert.not_equal(a:fork("x"):next(), a:fork("y"):next())
	end)
end)

describe("canary", function()
	it("is found again, whatever its case, and tells where it came from", function()
		local one, two = canary.make(5, 77, "c1"), canary.make(5, 77, "c2")
		assert.is_truthy(one:find "^zq[a-z0-9]+$")
		assert.equal(12, #one)
		assert.not_equal(one, two)
		assert.not_equal(one, canary.make(6, 77, "c1"))
		assert.equal(one, canary.make(random.new(5, 1), 77, 1))
		assert.same({ one, two, one }, canary.find("250 zq" .. one:upper() .. two .. "@x zq " .. one))
		assert.same({ 77, 2 }, { canary.origin(two) })
	end)

	it("isn't seen in what is none", function()
		local r, hits = random.new(9, 9), 0
		for _ = 1, 5000 do
			hits = hits + #canary.find("zq" .. r:bytes(10, "abcdefghijklmnopqrstuvwxyz0123456789"))
		end
		assert.is_true(hits <= 2)
		assert.same({}, canary.find(canary.make(1, 1, 1):sub(1, -2) .. "!"))
	end)

	it("is exchanged for that of another case", function()
		local text = ("a%sb%s"):format(canary.make(5, 77, 1), canary.make(5, 77, 2))
		assert.equal(("a%sb%s"):format(canary.make(6, 78, 1), canary.make(6, 78, 2)), canary.renew(text, 6, 78))
		assert.equal("zq0000000000", canary.renew("zq0000000000", 1, 1))
	end)
end)

describe("debruijn.sequence", function()
	it("holds every word once", function()
		for _, size in ipairs { 5, 7, 11, 13 } do
			local list, order = debruijn.sequence(size), 4
			assert.equal(math.tointeger(size ^ 4), #list)
			local seen = {}
			for i = 1, #list do
				local word = {}
				for k = 0, order - 1 do word[k + 1] = list[(i + k - 1) % #list + 1] end
				local key = table.concat(word, ",")
				assert.is_nil(seen[key])
				seen[key] = true
			end
		end
	end)
end)
