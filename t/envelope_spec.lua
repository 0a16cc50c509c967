local envelope = require "smtptest.envelope"

-- Plays a conversation: ">" what is sent, "<" a reply's code, "=" the recipients and how many replies end the message that
-- is answered next ("-": the next reply ends none).
local function play(steps, cut)
	local e = envelope.new()
	for i, step in ipairs(steps) do
		local kind, text = step:sub(1, 1), step:sub(2)
		if kind == ">" then
			for first = 1, #text, cut do e:sent(text:sub(first, first + cut - 1)) end
		elseif kind == "<" then
			for code in text:gmatch "%d+" do e:answered(tonumber(code)) end
		else
			local got = table.concat(e.recipients, ",") .. " " .. tostring(e:owed() or "-")
			assert.equal(text, got, ("step %d, in pieces of %d"):format(i, cut))
		end
	end
end

local BEGIN = { ">LHLO x\r\nMAIL FROM:<a>\r\n", "<250 250" }

local CASES = {
	["counts those that were accepted"] = { ">RCPT TO:<b>\r\nrcpt to: <c> NOTIFY=NEVER\r\nRCPT TO:d\r\nRCPT TO:<>\r\n",
		"<250 251 250 550", "=b,c,d -", ">DATA\r\n", "=b,c,d -", "<354", ">x\r\n.\r\n", "=b,c,d 3", "<250", "=b,c,d 3",
		"<452 250", "= -", ">NOOP\r\n", "<250", "= -" },
	["owes one reply when there is nobody"] = { ">DATA\r\n", "<354", ">.\r\n", "= 1", "<503", "= -" },
	["knows the end of a message by CR LF . CR LF only"] = { ">RCPT TO:<b>\r\nDATA\r\n", "<250 354",
		">.a\n.\nRCPT TO:<c>\r\n..\r\n\r.\r\r\n.\n", "=b 1", ">\r\n.\r\nRCPT TO:<c>\r\n", "=b 1", "<250", "= -", "<250", "=c -" },
	["takes message data behind a DATA that was refused for commands"] = { ">RCPT TO:<b>\r\nDATA\r\n", "<250 451",
		">RCPT TO:<c>\r\n", "<250", "=b,c -" },
	["does so too when its end was sent with it"] = { ">RCPT TO:<b>\r\nDATA\r\n.\r\nRCPT TO:<c>\r\n", "<250 503", "=b -",
		"<500", "<250", "=b,c -" },
	["knows chunks by their size"] = { ">RCPT TO:<b>\r\nBDAT 13\r\nRCPT TO:<x>\r\nBDAT 3 LAST\r\n.\r\n", "<250 250", "=b 1",
		"<250", "= -" },
	["forgets all after a chunk that was refused"] = { ">RCPT TO:<b>\r\nRCPT TO:<c>\r\nBDAT 1\r\nxBDAT 1 LAST\r\ny",
		"<250 250 552", "= 1", "<503", "= -" },
	["knows a chunk that is not there yet"] = { ">RCPT TO:<b>\r\nRCPT TO:<c>\r\n", "<250 250", ">BDAT 9999 LAST\r\nx", "=b,c 2" },
	["begins anew with MAIL, RSET and LHLO, once they are accepted"] = { ">RCPT TO:<b>\r\n", "<250", ">MAIL FROM:<c>\r\n", "<503",
		"=b -", ">RSET\r\n", "=b -", "<250", "= -", ">RCPT TO:<c>\r\nLHLO y\r\n", "<250 250", "= -" },
	["takes no notice of a reply to nothing"] = { "<421 250", ">RCPT TO:<b>\r\n", "<250", "=b -" },
}

describe("an envelope", function()
	for name, steps in pairs(CASES) do
		it(name, function()
			for _, cut in ipairs { 1, 2, 5, 1000 } do
				play(table.move(steps, 1, #steps, #BEGIN + 1, { table.unpack(BEGIN) }), cut)
			end
		end)
	end

	it("keeps of a long line what it needs", function()
		local e = envelope.new()
		for _ = 1, 100 do e:sent(("x"):rep(10000)) end
		assert.is_true(#e.line < 20000)
		e:sent "\r\nRCPT TO:<b>\r\n"
		e:answered(500)
		e:answered(250)
		assert.same({ "b" }, e.recipients)
	end)

	it("may be told that message data has ended, and that no more replies come", function()
		local e = envelope.new()
		e:sent "RCPT TO:<b>\r\nRCPT TO:<c>\r\nDATA\r\n"
		for _, code in ipairs { 250, 250, 354 } do e:answered(code) end
		e:sent "x\n.\n"
		e:ended()
		e:ended()
		assert.equal(2, e:owed())
		e:settle()
		assert.equal(2, e:owed())
		e:answered(250)
		e:settle()
		assert.is_nil(e:owed())
		assert.same({}, e.recipients)
	end)

	it("forgets what was said before TLS", function()
		local e = envelope.new()
		e:sent "RCPT TO:<b>\r\nSTART"
		e:restart()
		e:sent "RCPT TO:<c>\r\n"
		e:answered(250)
		assert.same({ "c" }, e.recipients)
	end)
end)
