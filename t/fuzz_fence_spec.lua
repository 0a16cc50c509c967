local fence = require "smtptest.fuzz.fence"

local function case(...)
	local steps = { { step = "connect", connection = "c1" } }
	for _, bytes in ipairs { ... } do
		steps[#steps + 1] = { step = "reply", connection = "c1", specs = {} }
		steps[#steps + 1] = { step = "send", connection = "c1", bytes = bytes }
	end
	return steps
end

local function stops(min, said, bytes)
	return fence.stops({ fence.of(min) }, said, bytes)
end

describe("fence", function()
	it("knows a verb, whatever its case", function()
		assert.equal("MAIL", fence.verb "mail FROM:<>\r\n")
		assert.equal("", fence.verb "\r\n")
		assert.equal("", fence.verb "1\r\n")
	end)

	it("stops the last of a sequence of verbs", function()
		local min = case("EHLO a\r\n", "NOOP\r\n", "RSET\r\n", "HELP\r\n")
		assert.is_true(stops(min, { "EHLO", "NOOP", "RSET" }, "HELP\r\n"))
		assert.is_true(stops(min, { "X", "EHLO", "NOOP", "RSET" }, "help me\r\n"))
		assert.is_false(stops(min, { "EHLO", "NOOP", "RSET" }, "NOOP\r\n"))
		assert.is_false(stops(min, { "EHLO", "RSET" }, "HELP\r\n"))
		assert.is_false(stops(min, { "EHLO", "NOOP", "RSET", "X" }, "HELP\r\n"))
		assert.is_false(stops(min, {}, "HELP\r\n"))
	end)

	it("stops a command that is as long", function()
		local min = case("HELP " .. ("x"):rep(100) .. "\r\n")
		assert.is_true(stops(min, {}, "HELP " .. ("y"):rep(100) .. "\r\n"))
		assert.is_true(stops(min, { "NOOP" }, "HELP " .. ("y"):rep(200) .. "\r\n"))
		assert.is_false(stops(min, {}, "HELP " .. ("y"):rep(99) .. "\r\n"))
		assert.is_false(stops(min, {}, "NOOP " .. ("y"):rep(100) .. "\r\n"))
	end)

	it("stops a command with the same odd byte", function()
		local min = case("EHLO a\r\n", "NOOP \xb1\r\n")
		assert.is_true(stops(min, { "EHLO" }, "NOOP a\xb1a\r\n"))
		assert.is_false(stops(min, { "EHLO" }, "NOOP a\xb2a\r\n"))
		assert.is_false(stops(min, { "EHLO" }, "NOOP\r\n"))
	end)

	it("is none for what says nothing, is told by variables, or is too long", function()
		assert.is_nil(fence.of { { step = "connect", connection = "c1" } })
		assert.is_nil(fence.of(case("A", "B", "C", "D", "E", "F", "G")))
		assert.is_nil(fence.of { { step = "send", connection = "c1", parts = { { var = "x" } } } })
		assert.is_false(fence.stops({}, {}, "NOOP\r\n"))
	end)
end)
