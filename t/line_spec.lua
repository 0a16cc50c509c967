local line = require "smtptest.core.line"

-- bytes through step (line.crlf or line.stuff) whole and in every two pieces,
-- and byte for byte: the cut must not matter.
local function every_cut(step, bytes, state)
	local whole, last = step(bytes, state)
	local function pieces(list)
		local out, s = {}, state
		for i, piece in ipairs(list) do
			out[i], s = step(piece, s)
		end
		assert.equal(whole, table.concat(out))
		assert.equal(last, s)
	end
	for cut = 0, #bytes do
		pieces {bytes:sub(1, cut), bytes:sub(cut + 1)}
	end
	local single = {}
	for i = 1, #bytes do single[i] = bytes:sub(i, i) end
	pieces(single)
	return whole, last
end

describe("line.find", function()
	local cases = {
		{{"QUIT\r\n", "QUIT"}, 1},
		{{"quit", "QUIT"}, 1},
		{{"QuIt", "qUiT"}, 1},
		{{"a\nQUIT", "QUIT"}, 3},
		{{"a\r\nQUIT", "QUIT"}, 4},
		{{"a\rQUIT", "QUIT"}, nil},
		{{" QUIT", "QUIT"}, nil},
		{{"QUI\nQUITE", "QUIT"}, 5},
		{{"\n\n\nQUIT", "QUIT"}, 4},
		{{"QUI", "QUIT"}, nil},
		{{"a\nQUI", "QUIT"}, nil},
		{{"", "QUIT"}, nil},
		{{"\n", "QUIT"}, nil},
		{{"xQUIT", "QUIT", 2}, 2},
		{{"xQUIT", "QUIT", 2, true}, 2},
		{{"xQUIT", "QUIT", 2, false}, nil},
		{{"QUIT\nQUIT", "QUIT", 1, false}, 6},
		{{"QUIT\nQUIT", "QUIT", 2}, 6},
		{{"QUIT", "QUIT", 5}, nil},
		{{"QUIT", "QUIT", 500}, nil},
		{{"\0\nQ\0", "q\0"}, 3},
		{{"\xe4\n", "\xc4"}, nil},
		{{"[\n", "{"}, nil},
		{{"@\n`", "`"}, 3},
		{{"x", ""}, 1},
	}

	it("finds a word at the start of a line, in upper or lower case", function()
		for i, case in ipairs(cases) do
			assert.equal(case[2], (line.find(table.unpack(case[1]))), i)
		end
	end)

	it("raises for a position before the first", function()
		assert.is_false(pcall(line.find, "x", "x", 0))
		assert.is_false(pcall(line.find, "x", "x", -1))
		assert.is_false(pcall(line.find, "x"))
	end)
end)

describe("line.command", function()
	it("gives verb and argument", function()
		for bytes, parts in pairs {
			["NOOP\r\n"] = { "NOOP", "" }, ["noop x \t \r\n"] = { "NOOP", "x" }, ["Mail FROM:<a@b>\r\n"] = { "MAIL", "FROM:<a@b>" },
			["A  b  c\r\n"] = { "A", " b  c" }, ["X \xff\1\r\n"] = { "X", "\xff\1" },
		} do
			assert.same(parts, { line.command(bytes) }, bytes)
		end
	end)

	it("gives no verb where there is none", function()
		for _, text in ipairs { "", " NOOP", "12345", "MAIL-FROM", "A\tB", "\xe4" } do
			local verb, argument, why = line.command(text .. "\r\n")
			assert.is_nil(verb, text)
			assert.equal(text, argument)
			assert.is_nil(why)
		end
	end)

	it("says what is wrong with a line", function()
		for bytes, why in pairs { ["NOOP\n"] = "end", ["NOOP"] = "end", ["\n"] = "end", [""] = "end", ["NOOP\r"] = "end",
			["NO\0OP\r\n"] = "control", ["NO\rOP\r\n"] = "control", ["NOOP\r\r\n"] = "control", ["A\nB\r\n"] = "control" } do
			assert.equal(why, select(3, line.command(bytes)), bytes)
		end
	end)
end)

describe("line.mailbox", function()
	it("knows an address as nearly all are", function()
		for _, address in ipairs { "a@b", "a.b.c1@d-e.f", "A@1.2" } do
			assert.equal(address, line.mailbox("FROM:<" .. address .. ">", "FROM"))
			assert.equal(address, line.mailbox("from:<" .. address .. ">", "FROM"))
		end
	end)

	it("leaves all others, good or bad, to a closer look", function()
		for _, text in ipairs { "FROM:<>", "FROM:<a>", "FROM:<a@>", "FROM:<@b>", "FROM:<a..b@c>", "FROM:<.a@c>", "FROM:<a.@c>",
			"FROM:<a@b.>", "FROM:<a@-b>", "FROM:<a@b->", "FROM:<a@b.-c>", "FROM:<a@b-.c>", "FROM:<a@b--c>", "FROM:<a+b@c>",
			"FROM:<a@b> SIZE=1", "FROM:<a@b>x", "FROM:<a@b", "FROM:a@b>", "TO:<a@b>", "FROM:<a-b@c>", "FROM:<a@b@c>",
			"FROM:<a@" .. ("x"):rep(64) .. ">", "FROM", "" } do
			assert.is_nil(line.mailbox(text, "FROM"), text)
		end
	end)
end)

describe("line.crlf", function()
	local cases = {
		{"", ""},
		{"a", "a"},
		{"\n", "\r\n"},
		{"\r\n", "\r\n"},
		{"a\nb\n", "a\r\nb\r\n"},
		{"a\r\nb\n\n", "a\r\nb\r\n\r\n"},
		{"a\rb\r", "a\rb\r"},
		{"\r\r\n", "\r\r\n"},
		{"\n\r", "\r\n\r"},
		{"\0\n\xff\n", "\0\r\n\xff\r\n"},
	}

	it("puts a CR before an LF that has none, wherever the bytes are cut", function()
		for _, case in ipairs(cases) do
			local out, lastcr = every_cut(line.crlf, case[1], false)
			assert.equal(case[2], out)
			assert.equal(case[1]:sub(-1) == "\r", lastcr)
		end
	end)

	it("remembers a CR at the end of the chunk before", function()
		assert.same({"\n", false}, {line.crlf("\n", true)})
		assert.same({"\r\n", false}, {line.crlf("\n", false)})
		assert.same({"", true}, {line.crlf("", true)})
		assert.same({"\r\n", false}, {line.crlf("\n")})
	end)

	it("takes much more than a buffer", function()
		local text = ("x"):rep(70) .. "\n"
		assert.equal((text:gsub("\n", "\r\n")):rep(5000), (line.crlf(text:rep(5000))))
	end)
end)

describe("line.stuff", function()
	local cases = {
		{"", "", "start"},
		{".", "..", "mid"},
		{"..", "...", "mid"},
		{"a.b", "a.b", "mid"},
		{"\r\n.", "\r\n..", "mid"},
		{"\r\n.\r\n", "\r\n..\r\n", "start"},
		{"\n.", "\n.", "mid"},
		{"\r.", "\r.", "mid"},
		{"\r\r\n.", "\r\r\n..", "mid"},
		{"\n\r.", "\n\r.", "mid"},
		{"a\r", "a\r", "cr"},
		{"a\r\n", "a\r\n", "start"},
		{"a\n", "a\n", "mid"},
		{".\r\n.\r\n.\r\n", "..\r\n..\r\n..\r\n", "start"},
		{"a\n.\r\n..\n", "a\n.\r\n...\n", "mid"},
		{"\0.\r\n.\0", "\0.\r\n..\0", "mid"},
	}

	it("doubles a dot after CR LF and at the start, wherever the bytes are cut", function()
		for _, case in ipairs(cases) do
			local out, state = every_cut(line.stuff, case[1], "start")
			assert.equal(case[2], out)
			assert.equal(case[3], state)
		end
	end)

	it("begins in the middle of a line when it is told so", function()
		assert.same({".", "mid"}, {line.stuff(".", "mid")})
		assert.same({".", "mid"}, {line.stuff(".", "cr")})
		assert.same({"\n..", "mid"}, {line.stuff("\n.", "cr")})
		assert.same({"\n.", "mid"}, {line.stuff("\n.", "mid")})
		assert.same({"", "cr"}, {line.stuff("", "cr")})
		assert.same({"..", "mid"}, {line.stuff(".")})
	end)

	it("raises for a state that it does not know", function()
		assert.is_false(pcall(line.stuff, ".", "end"))
		assert.is_false(pcall(line.stuff))
	end)
end)

-- Bytes, as escape and as visible show them.
local shown = {
	{"plain text", "plain text", "plain text"},
	{"a\r\n\tb", "a\\r\\n\\tb", "a\r\n\tb"},
	{"\0", "\\0", "\\x00"},
	{"\0001", "\\x001", "\\x001"},
	{"\0a", "\\0a", "\\x00a"},
	{"\\", "\\\\", "\\"},
	{"\27[2J", "\\x1b[2J", "\\x1b[2J"},
	{"\127\7\8", "\\x7f\\x07\\x08", "\\x7f\\x07\\x08"},
	{"é€𝄞", "é€𝄞", "é€𝄞"},
	{"\xc3", "\\xc3", "\xc3"},
	{"\xc3\xc3\xa9", "\\xc3é", "\xc3é"},
	{"\xa9", "\\xa9", "\xa9"},
	{"\x9b2J", "\\x9b2J", "\\x9b2J"},
	{"\xc2\x9b2J", "\\xc2\\x9b2J", "\\xc2\\x9b2J"},
	{"\xc2\x80\xc2\x9f\xc2\xa0", "\\xc2\\x80\\xc2\\x9f\xc2\xa0", "\\xc2\\x80\\xc2\\x9f\xc2\xa0"},
	{"\xc0\x9b", "\\xc0\\x9b", "\xc0\\x9b"},
	{"\xe0\x82\x9b", "\\xe0\\x82\\x9b", "\xe0\\x82\\x9b"},
	{"\xed\xa0\x80", "\\xed\\xa0\\x80", "\xed\xa0\\x80"},
	{"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80", "\xf4\\x90\\x80\\x80"},
	{"\xf5\x80\x80\x80", "\\xf5\\x80\\x80\\x80", "\xf5\\x80\\x80\\x80"},
	{"\xf0\x80\x82\x9b", "\\xf0\\x80\\x82\\x9b", "\xf0\\x80\\x82\\x9b"},
	{"\xe2\x82", "\\xe2\\x82", "\xe2\\x82"},
	{"\u{202e}x", "\\xe2\\x80\\xaex", "\u{202e}x"},
	{"\u{2028}", "\\xe2\\x80\\xa8", "\u{2028}"},
	{"\xff\xfe", "\\xff\\xfe", "\xff\xfe"},
	{"\u{10ffff}\u{fffd}\u{7ff}\u{800}\u{10000}", "\u{10ffff}\u{fffd}\u{7ff}\u{800}\u{10000}",
		"\u{10ffff}\u{fffd}\u{7ff}\u{800}\u{10000}"},
	{"", "", ""},
}

describe("line.unstuff", function()
	it("takes away what line.stuff adds", function()
		for _, text in ipairs { "", ".", "..", "\r\n.", "\n.", "\r.", ".\r\n..\r\n.x\r\n", "a\0.\r\n.\xff" } do
			assert.equal(text, line.unstuff((line.stuff(text))))
		end
	end)

	it("leaves a dot after anything but CR LF", function()
		assert.equal("a.\n.\r.\r\r\n", line.unstuff "a.\n.\r.\r\r\n.")
		assert.equal("\n.", line.unstuff "\n.")
	end)
end)

describe("line.escape", function()
	it("shows every byte on one line", function()
		for _, case in ipairs(shown) do
			assert.equal(case[2], line.escape(case[1]))
		end
	end)

	it("is read by Lua as the bytes it was made of", function()
		for a = 0, 255 do
			for _, b in ipairs {"", "0", "9", "a", "\0", "\x9b", "\xa9"} do
				local bytes = string.char(a) .. b
				local quoted = line.escape(bytes):gsub('"', '\\"')
				assert.equal(bytes, load('return "' .. quoted .. '"')())
			end
		end
	end)
end)

describe("line.visible", function()
	it("leaves nothing that a terminal obeys", function()
		for _, case in ipairs(shown) do
			assert.equal(case[3], line.visible(case[1]))
		end
	end)

	it("never lets a control through, wherever the bytes are cut", function()
		for _, case in ipairs(shown) do
			for cut = 0, #case[1] do
				local out = line.visible(case[1]:sub(1, cut)) .. line.visible(case[1]:sub(cut + 1))
				assert.is_nil(out:find("[\0-\8\11\12\14-\31\127]"))
				assert.is_nil(out:find("\xc2[\x80-\x9f]"))
			end
		end
	end)
end)

describe("line.eod", function()
	local cases = {
		{ ".\r\n", 3 },
		{ "\r\n.\r\n", 5 },
		{ "a\r\n.\r\nQUIT\r\n", 6 },
		{ "a\r\n..\r\n.\r\n", 10 },
		{ "a\r\n\r\n.\r\n", 8 },
		{ "a\r\r\n.\r\n", 7 },
		{ "a\r\n.\r\r\n.\r\n", 10 },
		{ ".\r.\r\n.\r\n", 8 },
		{ "a.\r\n" },
		{ "a\n.\r\n" },
		{ "a\r\n.\n" },
		{ "a\r.\r\n" },
		{ "a\n.\n" },
		{ "..\r\n" },
		{ "\0\r\n\0.\r\n" },
		{ "" },
	}

	it("finds the end of a message, wherever it is cut", function()
		for i, case in ipairs(cases) do
			local bytes, want = case[1], case[2]
			assert.equal(want, (line.eod(bytes)), i)
			for cut = 0, #bytes do
				local last, seen = line.eod(bytes:sub(1, cut))
				if not last then
					last = line.eod(bytes:sub(cut + 1), seen)
					last = last and last + cut
				end
				assert.equal(want, last, i)
			end
			local seen, last
			for at = 1, #bytes do
				local found
				found, seen = line.eod(bytes:sub(at, at), seen)
				last = last or found and at
			end
			assert.equal(want, last, i)
		end
	end)

	it("begins anew behind it", function()
		assert.same({ 3, 0 }, { line.eod ".\r\n" })
		assert.is_nil((line.eod("\r\n", 0)))
	end)

	it("raises for what it never gave", function()
		assert.is_false(pcall(line.eod, "", -1))
		assert.is_false(pcall(line.eod, "", 5))
	end)
end)
