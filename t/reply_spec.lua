local reply = require "smtptest.reply"
local failure = require "smtptest.failure"

local function lint(raw)
	local names = {}
	for name in pairs(reply.new(raw).lint) do names[#names + 1] = name end
	table.sort(names)
	return table.concat(names, " ")
end

-- raw, code, lines, enhanced
local FORMS = {
	{ "250 ok\r\n", 250, { "ok" } },
	{ "250\r\n", 250, { "" } },
	{ "250 \r\n", 250, { "" } },
	{ "250ok\r\n", 250, { "k" } },
	{ "25\r\n", 0, { "" } },
	{ "\r\n", 0, { "" } },
	{ "", 0, { "" } },
	{ "ok\r\n", 0, { "" } },
	{ " 250 ok\r\n", 0, { " ok" } },
	{ "2500 ok\r\n", 250, { " ok" } },
	{ "999 ok\r\n", 999, { "ok" } },
	{ "250-a\r\n250-b\r\n250 c\r\n", 250, { "a", "b", "c" } },
	{ "250-a\r\n550 c\r\n", 550, { "a", "c" } },
	{ "250-a\r\nfoo\r\n", 0, { "a", "" } },
	{ "250-a\n250 b\n", 250, { "a", "b" } },
	{ "250-a\r\n250 b", 250, { "a", "b" } },
	{ "250-a\n\n", 0, { "a", "" } },
	{ "250 a\rb\r\r\n", 250, { "a\rb\r" } },
	{ "250 a\0b\255\r\n", 250, { "a\0b\255" } },
	{ "550 5.1.1 no such user\r\n", 550, { "5.1.1 no such user" }, "5.1.1" },
	{ "550 5.1.1\r\n", 550, { "5.1.1" }, "5.1.1" },
	{ "550 5.123.456\n", 550, { "5.123.456" }, "5.123.456" },
	{ "550 5.1.1: no\r\n", 550, { "5.1.1: no" }, "5.1.1" },
	{ "550 5.1.1.\r\n", 550, { "5.1.1." }, "5.1.1" },
	{ "550-5.1.1 no\r\n550 5.7.1 such user\r\n", 550, { "5.1.1 no", "5.7.1 such user" }, "5.7.1" },
	{ "550-5.1.1 no\r\n550 such user\r\n", 550, { "5.1.1 no", "such user" } },
	{ "550 x 5.1.1\r\n", 550, { "x 5.1.1" } },
	{ "550 5.1.1.1 is not welcome\r\n", 550, { "5.1.1.1 is not welcome" } },
	{ "550 5.1\r\n", 550, { "5.1" } },
	{ "550 5.1234.1\r\n", 550, { "5.1234.1" } },
	{ "550 5.1.1234\r\n", 550, { "5.1.1234" } },
	{ "550 3.1.1 x\r\n", 550, { "3.1.1 x" } },
	{ "550  5.1.1 x\r\n", 550, { " 5.1.1 x" } },
}

local LINT = {
	["250 ok\r\n"] = "", ["250\r\n"] = "", ["250-a\r\n250 b\r\n"] = "", ["550 5.1.1 x\r\n"] = "", ["250 a\tb\r\n"] = "",
	["250 ok\n"] = "bare-lf", ["250-a\n250 b\r\n"] = "bare-lf",
	["250 a\rb\r\n"] = "bare-cr", ["250 a\r\r\n"] = "bare-cr", ["250 a\r"] = "bare-cr",
	["250 a\0\r\n"] = "nul", ["250 \195\182\r\n"] = "8bit", ["250 \27[2J\r\n"] = "control", ["250 \127\r\n"] = "control",
	["250 " .. ("x"):rep(506) .. "\r\n"] = "", ["250 " .. ("x"):rep(507) .. "\r\n"] = "long-line",
	["250-a\r\n251 b\r\n"] = "mixed-codes",
	["250ok\r\n"] = "bad-code", ["199 x\r\n"] = "bad-code", ["600 x\r\n"] = "bad-code", ["260 x\r\n"] = "bad-code",
	["hello\r\n"] = "bad-code", ["\n"] = "bad-code bare-lf", ["250-a\r\nhello\r\n"] = "bad-code mixed-codes",
	["250 5.1.1 x\r\n"] = "enhanced-mismatch", ["550 2.1.1\r\n"] = "enhanced-mismatch",
	["550-2.1.1 x\r\n550 5.1.1 y\r\n"] = "enhanced-mismatch", ["550-5.1.1 x\r\n550 5.1.2 y\r\n"] = "enhanced-mismatch",
	["550-5.1.1 x\r\n550 5.1.1 y\r\n"] = "", ["550-5.1.1 x\r\n550 y\r\n"] = "", ["250 5.1.1.1 is you\r\n"] = "",
}

describe("a reply", function()
	it("has the code of its last line, and the lines after their fourth byte", function()
		for _, form in ipairs(FORMS) do
			local r = reply.new(form[1])
			assert.equal(form[2], r.code, form[1])
			assert.same(form[3], r.lines)
			assert.equal(table.concat(form[3], "\n"), r.text)
			assert.equal(form[4], r.enhanced)
			assert.equal(form[1], r.raw)
		end
	end)

	it("ends at a line whose fourth byte is no hyphen", function()
		for _, text in ipairs { "250 ok\r\n", "250\r\n", "25\r\n", "\n", "250", "", "foo\n", "2-0 x\n", "250_-\n" } do
			assert.is_true(reply.ends(text), text)
		end
		for _, text in ipairs { "250-\r\n", "foo-bar\n", "\r\n\r-" } do assert.is_false(reply.ends(text), text) end
	end)

	it("names what is wrong with its form", function()
		for raw, names in pairs(LINT) do assert.equal(names, lint(raw), raw) end
	end)

	it("makes its fields when they are asked for, once", function()
		local r = reply.new("250-a\r\n250 b\r\n", "NOOP", 0.5)
		for _, key in ipairs { "lines", "text", "lint" } do assert.is_nil(rawget(r, key)) end
		assert.equal(r.lines, r.lines)
		assert.equal(r.lint, r.lint)
		assert.equal("NOOP", r.command)
		assert.equal(0.5, r.elapsed)
		assert.is_nil(r.no_such_field)
		assert.is_true(reply.is(r))
		for _, value in ipairs { {}, 1, "250", false } do assert.is_false(reply.is(value)) end
	end)

	it("is shown as escaped wire text", function()
		assert.equal([[250-a\x1b / 250 b\0c]], tostring(reply.new("250-a\27\r\n250 b\0c\r\n")))
		assert.equal("", tostring(reply.new("")))
		assert.is_nil(tostring(reply.new("250 \1\2\n\r\n\127")):find("%c"))
	end)

	-- A pattern that begins anew at every byte took minutes.
	it("is made in no time however long its lines are", function()
		local long = ("x"):rep(300000)
		local from = os.clock()
		for _, raw in ipairs { "250-%s\r\n250 ok\r\n", "250-%s\r\n250 %s", "250-%s\r\n\r\n%s" } do
			local r = reply.new((raw:gsub("%%s", long)))
			assert.is_table(r.lint)
			assert.is_true(r.lint["long-line"])
			assert.is_string(tostring(r))
		end
		assert.truthy(os.clock() - from < 5)
	end)
end)

describe("a reply's spec", function()
	local ok = reply.new("250 2.1.0 Ok queued as ABC\r\n")
	local refused = reply.new("550-5.7.1 no\r\n550 5.7.12 relaying for you\r\n", "RCPT TO:<a@b>", 0.1)
	local none = reply.new("nonsense\r\n")

	it("is a number, a class, an enhanced code, a pattern, a list or a function", function()
		for _, spec in ipairs { 250, 250.0, "250", "2xx", "25x", "2.1.0", "2.x.x", "2.1.x", "x.1.0", "queued as %u+",
			{ 354, 250 }, { "5xx", { "2xx" } }, function(r) return r.code == 250 end } do
			assert.is_true(ok:is(spec), tostring(spec))
		end
		for _, spec in ipairs { 251, "251", "5xx", "24x", "5.1.0", "2.1.1", "2.2.x", "queued as %l+", {}, { 354 },
			function() end } do
			assert.is_false(ok:is(spec), tostring(spec))
		end
		assert.is_true(refused:is "5.7.x")
		assert.is_true(refused:is "5.7.12")
		assert.is_false(refused:is "5.7.1")
		assert.is_true(refused:is "^5.7.1 no\n")
		assert.is_true(none:is(0))
		assert.is_false(none:is "2xx")
		assert.is_false(none:is "5.7.x")
	end)

	it("of another type is a mistake of the script", function()
		for _, spec in ipairs { false, true, print and coroutine.create(print) } do
			assert.has_error(function() ok:is(spec) end, ("bad reply spec (number, string, table or function expected, got %s)")
				:format(type(spec)))
		end
		assert.has_error(function() ok:is(nil) end)
	end)

	it("that is not met raises one line that says what came", function()
		assert.equal(ok, ok:expect "2xx")
		local good, err = pcall(refused.expect, refused, { "2xx", 354 })
		assert.is_false(good)
		assert.is_true(failure.is(err))
		assert.equal("RCPT TO:<a@b>: expected 2xx or 354, got 550-5.7.1 no / 550 5.7.12 relaying for you", tostring(err))
		assert.equal("REPLY", err.code)
		assert.equal(refused, err.reply)
		assert.equal(6, err.status)
		assert.equal(0.1, err.elapsed)
	end)

	it("that is not met does not show what AUTH sent", function()
		local r = reply.new("535 no\r\n", "auth  PLAIN AGFsaWNlAHNlY3JldA==")
		local _, err = pcall(r.expect, r, 235)
		assert.equal("auth  PLAIN <20 bytes hidden>: expected 235, got 535 no", tostring(err))
	end)

	it("judges the members of a list together", function()
		local list = reply.list { ok, ok }
		assert.is_true(list:is(250))
		assert.equal(list, list:expect "2xx")
		list = reply.list { ok, refused }
		assert.is_false(list:is(250))
		assert.is_true(list:is { 250, 550 })
		local _, err = pcall(list.expect, list, 250)
		assert.equal(refused, err.reply)
		assert.is_false(reply.list():is(250))
		_, err = pcall(reply.list().expect, reply.list(), 250)
		assert.equal("expected 250, got no reply", tostring(err))
	end)

	it("shows the members of a list, one a line", function()
		assert.equal("250 ok\n550-5.7.1 no / 550 5.7.12 relaying for you", tostring(reply.list {
			reply.new "250 ok\r\n", reply.new "550-5.7.1 no\r\n550 5.7.12 relaying for you\r\n" }))
		assert.equal("", tostring(reply.list()))
	end)
end)
