local json = require "smtptest.json"

describe("JSON", function()
	local CASES = {
		{ nil, "null" }, { true, "true" }, { false, "false" }, { 0, "0" }, { -12, "-12" }, { math.mininteger, "-9223372036854775808" },
		{ 0.5, "0.5" }, { 1e300, "1e+300" }, { math.huge, "null" }, { -math.huge, "null" }, { 0 / 0, "null" },
		{ "", '""' }, { "a\"b\\c/d", '"a\\"b\\\\c/d"' }, { "\r\n\t\b\f", '"\\r\\n\\t\\b\\f"' },
		{ "\0\1\31\127", '"\\u0000\\u0001\\u001f\\u007f"' },
		{ "grün €", '"grün €"' }, { "gr\252n", '"grün"' }, { "\255\0", '"ÿ\\u0000"' },
		{ {}, "[]" }, { { 1, "a", { true } }, '[1,"a",[true]]' },
		{ { b = 1, a = { c = false }, ["x y"] = "z" }, '{"a":{"c":false},"b":1,"x y":"z"}' },
	}
	for i = 1, #CASES do
		local value, expected = CASES[i][1], CASES[i][2]
		it("has " .. expected, function() assert.equal(expected, json.encode(value)) end)
	end

	it("has no functions", function()
		assert.has_error(function() json.encode(print) end, "no JSON for a function")
		assert.has_error(function() json.encode { a = { print } } end)
	end)
end)
