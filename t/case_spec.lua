local case = require "smtptest.case"

local function parse(...)
	return case.parse("smtptest case 1\n" .. table.concat({ ... }, "\n") .. "\n", "x")
end

-- The only step of a line, without what every step has.
local function step(line)
	local self = assert(parse(line))
	assert.equal(1, #self)
	local one = self[1]
	assert.equal(2, one.line)
	one.line = nil
	return one
end

describe("case.parse", function()
	it("reads every step", function()
		for _, name in ipairs { "connect", "starttls", "handshake", "half_close", "abort", "close" } do
			assert.same({ step = name, connection = "c1" }, step(name))
			assert.same({ step = name, connection = "c12" }, step("\t c12  " .. name .. "  # words"))
		end
		assert.same({ step = "auth", connection = "c1", mechanism = "PLAIN" }, step "auth PLAIN")
		assert.same({ step = "send", connection = "c2", bytes = "a b" }, step 'c2 send "a b"')
		assert.same({ step = "send", connection = "c1", bytes = "", split = { 1, 20 }, gap = 0.5 },
			step 'send "" split 1,20 gap 0.5')
		assert.same({ step = "reply", connection = "c1", specs = {} }, step "reply")
		assert.same({ step = "reply", connection = "c1", specs = { 250, "5xx", "5.7.x" }, raw = "250 x\r\n" },
			step 'reply 250 5xx 5.7.x "250 x\\r\\n"')
		assert.same({ step = "silent", connection = "c1", seconds = 2 }, step "silent 2")
		assert.same({ step = "pause", connection = "c1", seconds = 0.25 }, step "pause 0.25")
		assert.same({ step = "var", connection = "c1", name = "A_1", pattern = "(%d+)" }, step 'var A_1 "(%d+)"')
		assert.same({ step = "comment", text = "what" }, step "# what")
		assert.same({}, { table.unpack(parse("", "  ", "\t")) })
	end)

	it("knows Lua's escapes", function()
		assert.equal("\a\b\f\n\r\t\v\\\"'\0\xff\65z\u{20ac}#", step [[send "\a\b\f\n\r\t\v\\\"\'\0\xfF\065z\u{20ac}#"]].bytes)
	end)

	it("knows variables from text that looks like them", function()
		assert.same({ "a ", { var = "NAME" }, "$ {x} ${y}\n" }, step [[send "a ${NAME}$ {x} \x24{y}\n"]].parts)
		assert.equal("${", step [[send "${"]].bytes)
	end)

	it("marks the send behind secret", function()
		local self = assert(parse("c2 secret", "# why", 'c2 send "x"', 'c2 send "y"'))
		assert.is_true(self[2].secret)
		assert.is_nil(self[3].secret)
	end)

	it("reads text with CR LF, and without a last line end", function()
		assert.equal(2, #assert(case.parse "smtptest case 1\r\nconnect\r\nclose"))
		assert.equal(0, #assert(case.parse "smtptest case 1"))
	end)

	local BAD = {
		["blow"] = "unknown step 'blow'", ["c1"] = "a step is expected behind c1", ["c1 c2 close"] = "unknown step 'c2'",
		['"x"'] = "a step is expected, not a string", ["connect now"] = "connect: nothing is expected behind it",
		["auth"] = "auth: one mechanism is expected", ["auth A B"] = "auth: one mechanism is expected",
		["send x"] = "send: a quoted string is expected", ['send "x'] = "a string without its closing quote",
		['send "x"y'] = "a blank is expected behind a string", ['send "\\q"'] = "unknown escape: \\q",
		['send "\\300"'] = "escape above 255: \\300", ['send "\\u{ffffffff}"'] = "escape out of range: \\u{ffffffff}",
		['send "\\"'] = "a string without its closing quote",
		['send "x" split 0'] = "send: split: sizes from 1 on are expected, commas between",
		['send "x" split'] = "send: split: sizes from 1 on are expected, commas between",
		['send "x" gap -1'] = "send: gap: seconds are expected", ['send "x" gap 1.2.3'] = "send: gap: seconds are expected",
		['send "x" fast'] = "send: only split and gap may follow the string",
		["reply ok"] = "reply: not a code: ok (as 250, 2xx, 5.7.x)", ['reply "a" "b"'] = "reply: one string is enough",
		['reply "${A}"'] = "reply: no variables are known here", ["silent"] = "silent: seconds are expected",
		["pause x"] = "pause: seconds are expected", ["var A"] = "var: a name and a quoted pattern are expected",
		['var 1 "x"'] = "var: a name and a quoted pattern are expected",
		['var A "("'] = "var: unfinished capture", ["secret"] = "secret: a send is expected behind it",
		["secret\nclose"] = "secret: a send is expected behind it",
		['secret\nc2 send "x"'] = "secret: a send is expected behind it", ['send "\255"'] = "not UTF-8",
	}
	for text, message in pairs(BAD) do
		it(("refuses %q with its line"):format(text), function()
			local self, why, code = parse("# one", text)
			assert.is_nil(self)
			assert.equal("x:3: " .. message, why)
			assert.equal("EINVAL", code)
		end)
	end

	it("refuses what is no case", function()
		for _, text in ipairs { "", "smtptest case 2\n", "\nsmtptest case 1", "EHLO x" } do
			assert.equal("case:1: the first line is expected to be 'smtptest case 1'", (select(2, case.parse(text))))
		end
	end)
end)

describe("case.format", function()
	it("writes what it read", function()
		local text = table.concat({ "smtptest case 1", "# recorded", "#", "connect", 'reply 220 "220 a\\r\\n"', "c2 connect",
			'send "EHLO \\x00\\xff\\r\\n" split 1,2 gap 0.5', "reply 2xx 5.1.x", 'var A "x(\\"%d+)"', 'send "${A} \\x24{B} ü"',
			"silent 0.5", "pause 1", "c2 secret", 'c2 send "AUTH PLAIN <3 bytes hidden>\\r\\n"', "auth PLAIN", "c2 half_close",
			"abort", "" }, "\n")
		assert.equal(text, case.format(assert(case.parse(text))))
	end)

	it("keeps every byte", function()
		local all = {}
		for i = 0, 255 do all[i + 1] = string.char(i) end
		for _, bytes in ipairs { table.concat(all), "${A}", "\\x24{", '"', "ü\r\n", "ü\xff" } do
			local text = case.format { { step = "send", connection = "c1", bytes = bytes } }
			assert.is_truthy(utf8.len(text))
			assert.equal(bytes, assert(case.parse(text))[1].bytes)
		end
	end)

	it("writes a comment as one line", function()
		assert.equal('# a\\x1b\\nclose "\\"\n', case.line { step = "comment", text = 'a\27\nclose "\\"' })
	end)
end)
