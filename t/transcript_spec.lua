local transcript = require "smtptest.transcript"

-- Sends bytes in the given pieces; the same bytes, with "_" for each byte that is said to be secret.
local function masked(pieces, tracker)
	tracker = tracker or transcript.tracker()
	local out = {}
	for _, piece in ipairs(pieces) do
		local from, to = tracker:sent(piece)
		if from then
			assert(from >= 1 and from <= to and to <= #piece, "a range that is none")
			piece = piece:sub(1, from - 1) .. ("_"):rep(to - from + 1) .. piece:sub(to + 1)
		end
		out[#out + 1] = piece
	end
	return table.concat(out)
end

-- Cuts text at random.
local function cut(text)
	local pieces, position = {}, 1
	local most = ({ 1, 3, 10, 40, 5000 })[math.random(5)]
	while position <= #text do
		local size = math.random(most)
		pieces[#pieces + 1] = text:sub(position, position + size - 1)
		position = position + size
	end
	return pieces
end

-- What is sent, and what may be shown of it.
local LINES = {
	{ "AUTH PLAIN AGEAYg==\r\n", "AUTH PLAIN ________\r\n" },
	{ "AUTH PLAIN AGEAYg==\n", "AUTH PLAIN ________\n" },
	{ "auth plain AGEAYg==\r\n", "auth plain ________\r\n" },
	{ "aUtH\tPLAIN\tAGEAYg==\r\n", "aUtH\tPLAIN\t________\r\n" },
	{ "AUTH  PLAIN   x\r\n", "AUTH  PLAIN ___\r\n" },
	{ "AUTH PLAIN x y z\r\n", "AUTH PLAIN _____\r\n" },
	{ "AUTH PLAIN x\ry\r\n", "AUTH PLAIN ___\r\n" },
	{ "AUTH PLAIN x\0y\r\n", "AUTH PLAIN ___\r\n" },
	{ "AUTH PLAIN =\r\n", "AUTH PLAIN _\r\n" },
	{ "AUTH PLAIN \r\n", "AUTH PLAIN \r\n" },
	{ "AUTH PLAIN\r\n", "AUTH PLAIN\r\n" },
	{ "AUTH PLAIN", "AUTH PLAIN" },
	{ "AUTH PLAIN x", "AUTH PLAIN _" },
	{ "AUTH\r\n", "AUTH\r\n" },
	{ "AUTH " .. ("M"):rep(300) .. " x\r\n", "AUTH " .. ("M"):rep(300) .. " _\r\n" },
	{ "AUTH" .. (" "):rep(300) .. "M x\r\n", "AUTH" .. (" "):rep(300) .. "M _\r\n" },
	{ "AUTHENTIC PLAIN x\r\n", "AUTHENTIC PLAIN x\r\n" },
	{ "XAUTH PLAIN x\r\n", "XAUTH PLAIN x\r\n" },
	{ "NOOP AUTH PLAIN x\r\n", "NOOP AUTH PLAIN x\r\n" },
	{ "AUT\r\nH PLAIN x\r\n", "AUT\r\nH PLAIN x\r\n" },
	{ "AUTH\rPLAIN x\r\n", "AUTH\rPLAIN x\r\n" },
	{ "EHLO a\r\nAUTH PLAIN x\r\nMAIL FROM:<a>\r\n", "EHLO a\r\nAUTH PLAIN _\r\nMAIL FROM:<a>\r\n" },
	{ "\r\n\nAUTH PLAIN x\r\nQUIT\r\n", "\r\n\nAUTH PLAIN _\r\nQUIT\r\n" },
	{ ("x"):rep(5000) .. "\r\nAUTH PLAIN x\r\n", ("x"):rep(5000) .. "\r\nAUTH PLAIN _\r\n" },
	{ ("MAIL FROM:<a>\r\n"):rep(300) .. "AUTH PLAIN x\r\n", ("MAIL FROM:<a>\r\n"):rep(300) .. "AUTH PLAIN _\r\n" },
	{ "", "" }, { "\n", "\n" }, { "AUTH", "AUTH" }, { "AU", "AU" },
}

-- Answers to two 334s.
local ANSWERS = {
	{ "dXNlcg==\r\n", "________\r\n" },
	{ "dXNlcg==\n", "________\n" },
	{ "dXNlcg==", "________" },
	{ "\r\nQUI T\r\n", "\r\n_____\r\n" },
	{ "*\r\n", "*\r\n" },
	{ "*x\r\n", "*_\r\n" },
	{ "AUTH PLAIN x\r\n", "____________\r\n" },
	{ "QUIT\r\n", "____\r\n" },
	{ "a\rb\r\n", "___\r\n" },
	{ ("x"):rep(5000) .. "\r\n", ("_"):rep(5000) .. "\r\n" },
}

local function challenged(n)
	local tracker = transcript.tracker()
	for _ = 1, n do tracker:challenged() end
	return tracker
end

-- A CR at the end of a write may or may not end the line: it hides nothing.
local function without_cr(text)
	return (text:gsub("\r", ""))
end

describe("the secrets in what is sent", function()
	it("are what follows the mechanism of AUTH", function()
		for _, case in ipairs(LINES) do assert.equal(case[2], masked { case[1] }) end
	end)

	it("are the lines in answer to a 334", function()
		for _, case in ipairs(ANSWERS) do assert.equal(case[2], masked({ case[1] }, challenged(2))) end
		local tracker = challenged(1)
		assert.equal("____\r\n", masked({ "QUIT\r\n" }, tracker))
		assert.equal("QUIT\r\n", masked({ "QUIT\r\n" }, tracker))
	end)

	it("stay the same however the bytes are cut into writes", function()
		math.randomseed(7)
		for _, list in ipairs { LINES, ANSWERS } do
			for _, case in ipairs(list) do
				for _ = 1, 60 do
					local pieces = cut(case[1])
					local got = masked(pieces, list == ANSWERS and challenged(2) or nil)
					-- A CR at the end of a write is shown; a command cut behind AUTH could be an answer.
					if not case[1]:find("%w\r[^\n]") and not case[1]:find("AUTH .*\n.") then
						assert.equal(without_cr(case[2]), without_cr(got))
					end
				end
			end
		end
	end)

	it("are hidden in any conversation, whatever way it is cut", function()
		math.randomseed(11)
		for _ = 1, 3000 do
			local tracker = transcript.tracker()
			local shown, mails = {}, 0
			for _ = 1, math.random(4) do
				local dialogue = math.random(3)
				if dialogue == 1 then
					shown[#shown + 1] = masked(cut "MAIL FROM:<me>\r\nDATA\r\nhello\r\n.\r\n", tracker)
					mails = mails + 1
				elseif dialogue == 2 then
					shown[#shown + 1] = masked(cut "AUTH X-M zqzqzq\r\n", tracker)
				else
					shown[#shown + 1] = masked(cut "Auth LOGIN\r\n", tracker)
					for _ = 1, math.random(3) do
						tracker:challenged()
						shown[#shown + 1] = masked(cut "zqzqzq\r\n", tracker)
					end
				end
			end
			local text = table.concat(shown)
			assert.is_nil(text:find "[zq]", text)
			-- "MAIL" alone, cut behind AUTH, could be an answer.
			local _, shown_mails = text:gsub(" FROM:<me>\r\nDATA\r\nhello\r\n%.\r\n", "")
			assert.equal(mails, shown_mails)
		end
	end)

	-- A file of commands is piped to us: all is sent before the first 334 comes.
	describe("that are sent before the server asks", function()
		local BURST = "EHLO a\r\nAUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\nMAIL FROM:<a>\r\nQUIT\r\n"

		it("are what looks like base64 behind AUTH", function()
			local tracker = transcript.tracker()
			local from, to = tracker:sent(BURST)
			assert.equal("dXNlcg==\r\ncGFzcw==", BURST:sub(from, to))
			tracker:challenged()
			tracker:challenged()
			assert.equal("RCPT TO:<a>\r\n", masked({ "RCPT TO:<a>\r\n" }, tracker))
		end)

		it("are hidden wherever the bytes are cut", function()
			for size = 1, #BURST do
				local pieces = {}
				for i = 1, #BURST, size do pieces[#pieces + 1] = BURST:sub(i, i + size - 1) end
				local got = masked(pieces)
				assert.is_nil(got:find("[dXlcGzw=][Nnlgs=]"), got)
				assert.truthy(got:find("^EHLO a\r\nAUTH LOGIN\r\n"))
				assert.truthy(got:find " FROM:<a>\r\nQUIT\r\n$", got)
			end
		end)

		it("are not the commands that follow", function()
			for _, verb in ipairs { "QUIT", "rset", "NOOP", "DATA", "HELP", "STARTTLS", "MAIL FROM:<a>", "*", "" } do
				local text = "AUTH PLAIN AGEAYg==\r\n" .. verb .. "\r\n"
				assert.equal("AUTH PLAIN ________\r\n" .. verb .. "\r\n", masked { text })
			end
		end)

		it("do not make the answers to a later AUTH public", function()
			local tracker = transcript.tracker()
			masked({ "AUTH LOGIN\r\ndXNlcg==\r\ncGFzcw==\r\n" }, tracker)
			-- Both were refused: no 334 came. Now what is no base64, by mistake.
			masked({ "AUTH LOGIN\r\n" }, tracker)
			tracker:challenged()
			assert.equal("__________\r\n", masked({ "my se.cret\r\n" }, tracker))
		end)

		it("come after an empty answer too", function()
			assert.equal("AUTH LOGIN\r\n\r\n________\r\n", masked { "AUTH LOGIN\r\n\r\ncGFzcw==\r\n" })
		end)
	end)

	it("are hidden in a command line that an error tells", function()
		assert.equal("AUTH PLAIN <4 bytes hidden>", transcript.command("AUTH PLAIN AGEA"))
		for _, text in ipairs { "AUTH PLAIN", "AUTH PLAIN ", "MAIL FROM:<a b>", "" } do
			assert.equal(text, transcript.command(text))
		end
	end)

	it("are found in no time in a long message", function()
		local from = os.clock()
		local tracker = transcript.tracker()
		local chunk = (("x"):rep(70) .. "\r\n"):rep(900)
		for _ = 1, 200 do assert.is_nil(tracker:sent(chunk)) end
		chunk = ("x"):rep(65536)
		for _ = 1, 200 do assert.is_nil(tracker:sent(chunk)) end
		assert.truthy(os.clock() - from < 2)
	end)
end)

describe("a transcript", function()
	it("is text, a line for a line, secrets masked", function()
		local t = transcript.new()
		t:add("S", "220 mail.test\r\n")
		t:add("C", "AUTH PLAIN AGEAYg==\r\n", { 12, 19 })
		t:add("-", "TLS is on")
		t:add("S", "250-a\27\r\n250 b\n")
		assert.equal("S: 220 mail.test\nC: AUTH PLAIN <8 bytes hidden>\n-: TLS is on\nS: 250-a\\x1b\nS: 250 b", tostring(t))
		assert.equal("", tostring(transcript.new()))
	end)

	it("keeps the last entries, and says how many it lost", function()
		local t = transcript.new()
		for i = 1, 64 do t:add("C", "NOOP " .. i .. "\r\n") end
		assert.truthy(tostring(t):find("^C: NOOP 1\n"))
		for i = 65, 1000 do t:add("C", "NOOP " .. i .. "\r\n") end
		local text = tostring(t)
		assert.truthy(text:find("^%- 936 earlier entries\nC: NOOP 937\n"), text)
		assert.truthy(text:find("C: NOOP 1000$"))
	end)

	it("keeps the beginning and the end of a long entry", function()
		local t = transcript.new()
		for _ = 1, 100 do t:add("C", "begin" .. ("x"):rep(100000) .. "end\r\n") end
		local text = tostring(t)
		assert.truthy(#text < 64 * 2200)
		assert.truthy(text:find("C: beginx+<97962 bytes>x+end\n"))
		local kept = 0
		for i = 1, 64 do kept = kept + #t[i] end
		assert.truthy(kept < 64 * 2100)
	end)

	it("shows no part of a secret that is cut", function()
		for _, range in ipairs { { 1, 10000 }, { 500, 600 }, { 900, 9000 }, { 9000, 9900 }, { 1000, 10000 } } do
			local bytes = ("a"):rep(range[1] - 1) .. ("S"):rep(range[2] - range[1] + 1) .. ("a"):rep(10000 - range[2])
			local t = transcript.new()
			t:add("C", bytes, range)
			assert.is_nil(tostring(t):find("S", 1, true))
			assert.truthy(tostring(t):find(("<%d bytes hidden>"):format(range[2] - range[1] + 1), 1, true))
		end
	end)

	it("forgets a secret with its entry", function()
		local t = transcript.new()
		t:add("C", "AUTH PLAIN x\r\n", { 12, 12 })
		for _ = 1, 64 do t:add("C", "NOOP\r\n") end
		assert.is_nil(tostring(t):find("hidden"))
	end)
end)
