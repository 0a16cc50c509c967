local ledger = require "smtptest.fuzz.ledger"
local oracle = require "smtptest.fuzz.oracle"

-- What smtptest.fuzz.confirm makes.
local function found(name, verb, min, unstable)
	local finding = { oracle = name, detail = "x", verb = verb }
	local bytes = (min or "NOOP " .. name .. verb) .. "\r\n"
	return { finding = finding, signature = oracle.signature(finding), stable = not unstable,
		min = { { step = "connect", connection = "c1" }, { step = "send", connection = "c1", bytes = bytes } } }
end

describe("ledger", function()
	local one, told

	before_each(function()
		told = {}
		one = ledger.new(function(record) told[#told + 1] = record.signature end)
	end)

	it("knows what is written down, and counts how often it was seen", function()
		assert.is_true(one:news "drop/x/NOOP")
		one:record(found("drop", "NOOP"), "drop/x/NOOP")
		for _ = 1, 3 do assert.is_false(one:news "drop/x/NOOP") end
		assert.equal(4, one.known["drop/x/NOOP"].seen)
		assert.same({ "drop/x/NOOP" }, told)
		assert.is_true(one:news "drop/x/RSET")
	end)

	it("knows it under the name it was first seen as, too", function()
		one:record(found("drop", "NOOP"), "count/missing/RSET")
		assert.is_false(one:news "count/missing/RSET")
		assert.is_false(one:news "drop/x/NOOP")
	end)

	it("writes down once what has one signature, or one smallest case", function()
		one:record(found("drop", "NOOP"), "drop/x/NOOP")
		one:record(found("drop", "NOOP", "NOOP other"), "drop/x/NOOP")
		one:record(found("drop", "RSET", "NOOP dropNOOP"), "drop/x/RSET")
		assert.same({ "drop/x/NOOP" }, told)
		assert.is_false(one:news "drop/x/RSET")
		one:record(found("drop", "RSET", "RSET"), "drop/x/RSET")
		assert.equal(1, #one.records)
	end)

	it("takes cases that differ in made-up names and in connections for one", function()
		local a, b = found("drop", "NOOP", "NOOP zqabcdefghij"), found("drop", "RSET", "NOOP zq0123456789")
		for _, step in ipairs(b.min) do step.connection = "c7" end
		one:record(a, a.signature)
		one:record(b, b.signature)
		assert.equal(1, #one.records)
	end)

	it("lets nobody look into what somebody looks into", function()
		assert.is_true(one:begin { oracle = "drop", detail = "x", verb = "NOOP" })
		assert.is_false(one:news "drop/x/NOOP")
		one:vain "drop/x/NOOP"
		assert.is_nil(one.open["drop/x/NOOP"])
	end)

	it("waits twice as long each time that it was in vain", function()
		local waits = {}
		for i = 1, 3 do
			one:vain "drop/x/NOOP"
			waits[i] = 1
			while not one:news "drop/x/NOOP" do waits[i] = waits[i] + 1 end
		end
		assert.same({ 4, 8, 16 }, waits)
		assert.is_true(one:news "drop/x/RSET")
	end)

	it("looks into so many of a kind, and no more", function()
		local begun = 0
		for i = 1, 30 do
			if one:begin { oracle = "drop", detail = "x", verb = "V" .. i } then begun = begun + 1 end
		end
		assert.equal(12, begun)
		assert.is_false(one:news "drop/x/V30")
		assert.is_true(one:begin { oracle = "drop", detail = "y", verb = "V30" })
		assert.is_true(one:begin { oracle = "hang", detail = "x", verb = "V30" })
		for i = 1, 3 do assert.is_true(one:begin { oracle = "memory", detail = "grows", verb = "V" .. i }) end
		assert.is_false(one:begin { oracle = "memory", detail = "grows", verb = "V4" })
	end)

	it("tells what comes and goes once, and is not content with it", function()
		one:record(found("drop", "NOOP", nil, true), "drop/x/NOOP")
		one:record(found("drop", "NOOP", nil, true), "drop/x/NOOP")
		assert.same({ "drop/x/NOOP" }, told)
		local sights = 1
		while not one:news "drop/x/NOOP" do sights = sights + 1 end
		assert.equal(8, sights)
		one:record(found("drop", "NOOP"), "drop/x/NOOP")
		assert.same({ "drop/x/NOOP", "drop/x/NOOP" }, told)
		assert.equal(1, #one.records)
		assert.is_true(one.records[1].stable)
	end)

	it("needs nobody to tell it to", function()
		one = ledger.new()
		one:record(found("drop", "NOOP"), "drop/x/NOOP")
		assert.equal(1, #one.records)
	end)
end)
