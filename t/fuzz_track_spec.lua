-- Which reply belongs to which command of a connection, and in which state the session is.

local track = require "smtptest.fuzz.track"

local USUAL = { lf = false, empty = true, long = math.huge }

-- A tracker whose greeting has come.
local function greeted(traits, lmtp)
	local all = {}
	for name, value in pairs(USUAL) do all[name] = value end
	for name, value in pairs(traits or {}) do all[name] = value end
	local one = track.new(all, lmtp)
	assert(one:answered(220) == "greeting")
	return one
end

-- Bytes, and the replies to them: the verbs that those answer.
local function answers(one, bytes, ...)
	if bytes ~= "" then one:sent(bytes) end
	local verbs = {}
	for _, code in ipairs { ... } do verbs[#verbs + 1] = one:answered(code) end
	return table.concat(verbs, " ")
end

-- One with a transaction in which DATA may come.
local function in_transaction(traits, lmtp, recipients)
	local one = greeted(traits, lmtp)
	answers(one, "EHLO a\r\nMAIL FROM:<>\r\n", 250, 250)
	for _ = 1, recipients or 1 do answers(one, "RCPT TO:<b@b.test>\r\n", 250) end
	return one
end

describe("a tracker", function()
	it("begins with the greeting", function()
		local one = track.new(USUAL)
		assert.same({ "greeting", "greeting", "greeting" }, { one:outstanding(), one:state(), one:current() })
		assert.equal("greeting", one:answered(220))
		assert.is_nil(one:outstanding())
		assert.equal("greeted", one:state())
		assert.equal("surplus", one:answered(220))
	end)

	it("counts commands that came before the greeting", function()
		local one = track.new(USUAL)
		one:sent "EHLO a\r\nNOOP\r\n"
		assert.equal("greeting EHLO NOOP surplus", answers(one, "", 220, 250, 250, 250))
	end)

	it("passes over blanks before a verb, as some servers do", function()
		local one = greeted()
		assert.equal("NOOP STARTTLS", answers(one, " NOOP\r\n\t STARTTLS\r\n", 250, 220))
		assert.equal("tls", one:state())
		one = greeted()
		assert.equal("STARTTLS NOOP", answers(one, " STARTTLS\r\nNOOP\r\n", 500, 250))
	end)

	it("is unsure when a server hears what was not said", function()
		for code, text in pairs { [220] = '"STARTTLS"', [250] = "VERB", [334] = "*AUTH PLAIN", [354] = ".data" } do
			local one = greeted()
			assert.equal("other", answers(one, text .. "\r\n", code))
			assert.is_true(one.unsure, text)
		end
		local one = greeted()
		answers(one, "DATAX\r\nX\r\n", 500, 354)
		assert.is_false(one.unsure)
	end)

	it("knows verbs in any case, and others as other", function()
		local one = greeted()
		assert.equal("EHLO MAIL other NOOP other other QUIT", answers(one,
			"ehlo a\r\nMail FROM:<>\r\nXYZZY\r\n NOOP\r\n\r\nNOOPS\r\nqUIT\r\n", 250, 250, 500, 500, 500, 500, 221))
		assert.is_true(one.quit)
		one = greeted()
		assert.equal("NOOP NOOP other MAIL", answers(one, "NOOP\r\nNOOP\ta\r\nNOOP9\r\nMAIL:\r\n", 250, 250, 500, 500))
	end)

	it("puts bytes together, however they came", function()
		local one = greeted()
		for _, byte in ipairs { "N", "O", "OP", "\r" } do
			one:sent(byte)
			assert.is_nil(one:outstanding())
		end
		assert.is_false(one:drained())
		one:sent "\nRS"
		assert.equal("NOOP", one:outstanding())
		assert.equal("NOOP", one:answered(250))
		assert.is_nil(one:outstanding())
		one:sent "ET\r\n"
		assert.equal("RSET", one:answered(250))
		assert.is_true(one:drained())
	end)

	it("gives pipelined replies their commands, and a reply too many none", function()
		local one = greeted()
		assert.equal("EHLO MAIL RCPT RCPT RSET surplus", answers(one,
			"EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nRSET\r\n", 250, 250, 550, 250, 250, 250))
	end)

	it("tells the state", function()
		local one = greeted()
		local states = {}
		for _, pair in ipairs { { "NOOP", 250 }, { "EHLO a", 550 }, { "EHLO a", 250 }, { "MAIL FROM:<>", 550 },
			{ "MAIL FROM:<>", 250 }, { "RCPT TO:<>", 550 }, { "RCPT TO:<>", 250 }, { "DATA", 354 } } do
			answers(one, pair[1] .. "\r\n", pair[2])
			states[#states + 1] = one:state()
		end
		assert.equal("greeted greeted helo helo mail mail rcpt message", table.concat(states, " "))
		answers(one, ".\r\n", 250)
		assert.equal("helo", one:state())
		for _, verb in ipairs { "RSET", "EHLO a", "HELO a" } do
			answers(one, "MAIL FROM:<>\r\n", 250)
			answers(one, verb .. "\r\n", 500)
			assert.equal("mail", one:state())
			answers(one, verb .. "\r\n", 250)
			assert.equal("helo", one:state())
		end
	end)
end)

describe("a tracker and DATA:", function()
	it("accepted, what follows is a message", function()
		local one = in_transaction()
		assert.equal("DATA", answers(one, "DATA\r\nSubject: x\r\n\r\nNOOP\r\n..\r\n", 354))
		assert.is_nil(one:outstanding())
		assert.equal("message", one:state())
		assert.equal("message NOOP", answers(one, ".\r\nNOOP\r\n", 250, 250))
		assert.equal("helo", one:state())
	end)

	it("refused, what follows is commands", function()
		local one = in_transaction()
		assert.equal("DATA other other NOOP", answers(one, "DATA\r\nx\r\n.\r\nNOOP\r\n", 554, 500, 500, 250))
		assert.equal("rcpt", one:state())
	end)

	it("the end may come in pieces, or at once", function()
		local one = in_transaction()
		answers(one, "DATA\r\n", 354)
		for _, bytes in ipairs { "x\r", "\n", ".", "\r" } do
			one:sent(bytes)
			assert.is_nil(one:outstanding())
		end
		assert.equal("message", answers(one, "\n", 250))
		one = in_transaction()
		assert.equal("DATA message", answers(one, "DATA\r\n.\r\n", 354, 250))
		assert.equal("", one.line)
	end)

	it("nothing else ends it", function()
		local one = in_transaction()
		assert.equal("DATA", answers(one, "DATA\r\nx\n.\r\n.\n\r\n.\n\r.\r\n..\r\n", 354))
		assert.is_nil(one:outstanding())
		assert.equal("message", answers(one, ".\r\n", 250))
		assert.equal("x\n.\r\n.\n\r\n.\n\r.\r\n..\r\n", one.line)
	end)

	it("a reply before the end of the message is that to the message", function()
		local one = in_transaction()
		answers(one, "DATA\r\nhalf", 354)
		assert.equal("message", one:answered(451))
		assert.equal("message", one.early)
		assert.equal("surplus", one:answered(451))
		assert.equal("NOOP", answers(one, "way\r\n.\r\nNOOP\r\n", 250))
	end)
end)

describe("a tracker and BDAT:", function()
	it("the chunk belongs to the command", function()
		local one = in_transaction()
		one:sent "BDAT 6\r\nNOO"
		assert.is_nil(one:outstanding())
		assert.equal("BDAT BDAT NOOP", answers(one, "P\r\nBDAT 0 LAST\r\nNOOP\r\n", 250, 250, 250))
		assert.equal("helo", one:state())
		assert.is_false(one.unsure)
	end)

	it("the chunk may have anything in it", function()
		local one = in_transaction()
		assert.equal("BDAT QUIT", answers(one, "bdat 7 last\r\n.\r\n\0\n\r\nQUIT\r\n", 250, 221))
		assert.equal(".\r\n\0\n\r\n", one.chunk)
	end)

	it("refused, it leaves open whether there is a transaction", function()
		local one = in_transaction()
		answers(one, "BDAT 1\r\nx", 503)
		assert.is_true(one.vague)
		assert.is_false(one.unsure)
		answers(one, "RSET\r\n", 250)
		assert.is_false(one.vague)
	end)

	it("a server that does not know it takes the chunk for commands", function()
		local one = in_transaction()
		answers(one, "BDAT 6 LAST\r\nNOOP\r\n", 500)
		assert.is_true(one.unsure)
	end)

	for _, size in ipairs { " 6  LAST", "  6", " 6 ", "", " x", " -1", " 1 FIRST", " 1234567890", " 1 LAST x" } do
		it(("of BDAT%s nobody knows what follows"):format(size), function()
			local one = in_transaction()
			assert.equal("BDAT", answers(one, "BDAT" .. size .. "\r\n", 501))
			assert.is_true(one.unsure)
		end)
	end
end)

describe("a tracker and AUTH:", function()
	it("responses are no commands", function()
		local one = greeted()
		answers(one, "EHLO a\r\n", 250)
		assert.equal("AUTH response", answers(one, "AUTH LOGIN\r\nNOOP\r\n", 334, 334))
		assert.equal("response", one:state())
		assert.equal("response NOOP", answers(one, "\r\nNOOP\r\n", 235, 250))
		assert.is_true(one.authed)
		assert.equal("auth+helo", one:state())
	end)

	it("a cancel and a refusal end it", function()
		local one = greeted()
		for _, code in ipairs { 501, 535 } do
			assert.equal("AUTH response NOOP", answers(one, "AUTH PLAIN\r\n*\r\nNOOP\r\n", 334, code, 250))
			assert.is_false(one.authed)
		end
		assert.equal("AUTH NOOP", answers(one, "AUTH PLAIN AA==\r\nNOOP\r\n", 535, 250))
	end)

	it("an empty response is one, also where empty lines get no reply", function()
		local one = greeted { empty = false }
		assert.equal("AUTH response", answers(one, "AUTH PLAIN\r\n\r\n", 334, 535))
	end)
end)

describe("a tracker and STARTTLS:", function()
	it("what was sent behind it in clear is kept apart", function()
		local one = greeted()
		answers(one, "EHLO a\r\nMAIL FROM:<>\r\n", 250, 250)
		assert.equal("STARTTLS", answers(one, "STARTTLS\r\nNOOP\r\n", 220))
		assert.equal("tls", one:state())
		one:sent "RSET\r\n"
		assert.equal("NOOP\r\nRSET\r\n", one.injected)
		assert.is_nil(one:outstanding())
		assert.equal("surplus", one:answered(250))
		one:secured()
		assert.equal("tls+greeted", one:state())
		assert.is_nil(one:outstanding())
		assert.equal("EHLO", answers(one, "EHLO a\r\n", 250))
		assert.equal("tls+helo", one:state())
	end)

	it("nothing changes where it is refused", function()
		local one = greeted()
		assert.equal("STARTTLS NOOP", answers(one, "STARTTLS\r\nNOOP\r\n", 454, 250))
		assert.equal("greeted", one:state())
	end)
end)

describe("a tracker of LMTP", function()
	it("wants a reply for each recipient", function()
		local one = in_transaction(nil, true, 3)
		answers(one, "RCPT TO:<no>\r\n", 550)
		assert.equal("DATA message message message NOOP surplus", answers(one, "DATA\r\n.\r\nNOOP\r\n", 354, 250, 452, 250,
			250, 250))
	end)

	it("wants them for the last BDAT, not for the others", function()
		local one = in_transaction(nil, true, 2)
		assert.equal("BDAT BDAT BDAT NOOP", answers(one, "BDAT 1\r\nxBDAT 0 LAST\r\nNOOP\r\n", 250, 250, 250, 250))
	end)

	it("is content with one where there is one", function()
		local one = in_transaction(nil, true, 1)
		assert.equal("DATA message surplus", answers(one, "DATA\r\n.\r\n", 354, 250, 250))
	end)
end)

describe("a tracker and odd lines:", function()
	it("a bare LF ends a command where calibration says so", function()
		assert.equal("NOOP surplus", answers(greeted(), "NOOP\nRSET\r\n", 250, 250))
		local one = greeted { lf = true }
		assert.equal("NOOP RSET other NOOP", answers(one, "NOOP\nRSET\r\n\nNOOP\r\n", 250, 250, 500, 250))
		assert.equal("NOOP", one.line)
	end)

	it("CR alone is like another character", function()
		local one = greeted()
		assert.equal("NOOP surplus", answers(one, "NOOP\rRSET\r\n", 501, 250))
		assert.equal("NOOP\rRSET", one.line)
	end)

	it("empty ones have no reply where calibration says so", function()
		assert.equal("other other NOOP", answers(greeted(), "\r\n\r\nNOOP\r\n", 500, 500, 250))
		assert.equal("NOOP surplus", answers(greeted { empty = false }, "\r\n\r\nNOOP\r\n", 250, 250))
	end)

	it("behind one that is too long nothing is sure", function()
		local one = greeted { long = 100 }
		answers(one, ("x"):rep(99) .. "\r\n", 500)
		assert.is_false(one.unsure)
		answers(one, ("x"):rep(100) .. "\r\n", 500)
		assert.is_true(one.unsure)
	end)

	it("an answer before its end is that to the line, which gets no other", function()
		local one = greeted()
		one:sent(("x"):rep(3000))
		assert.equal("other", one:answered(500))
		assert.equal("NOOP surplus", answers(one, "xxx\r\nNOOP\r\n", 250, 250))
	end)
end)

describe("a tracker of an end", function()
	it("names what would have been answered next", function()
		local one = greeted()
		assert.equal("greeting", one:current())
		one:sent "RSET\r\nNO"
		assert.equal("RSET", one:current())
		one:answered(250)
		assert.equal("other", one:current())
		one:sent "OP x"
		assert.equal("NOOP", one:current())
		one = in_transaction()
		answers(one, "DATA\r\nx", 354)
		assert.equal("message", one:current())
	end)

	it("names the last that was sent, answered or not", function()
		local one = greeted()
		one:sent "NOOP\r\nRSET\r\nHELP\r\nNO"
		one:answered(250)
		assert.equal("HELP", one:last_sent())
		assert.equal("EHLO", (function()
			local other = track.new(USUAL)
			other:sent "EHLO a\r\n"
			return other:last_sent()
		end)())
	end)
end)
