local explain = require "smtptest.explain"
local failure = require "smtptest.failure"
local reply = require "smtptest.reply"

local function words(raw)
	return explain.event { event = "reply", direction = "note", reply = reply.new(raw) }
end

describe("the explanation", function()
	it("of a reply says what its code means", function()
		assert.equal("# 250: done\n", words "250 ok\r\n")
		assert.equal("# 550: mailbox not available; 5.1.1: permanent failure, address\n", words "550 5.1.1 no\r\n")
		assert.equal("# 451: error in processing; 4.99.1: persistent transient failure, subject 99\n",
			words "451 4.99.1 x\r\n")
	end)

	it("of a code that nobody knows is empty", function()
		for _, raw in ipairs { "299 x\r\n", "x\r\n", "\r\n" } do assert.equal("", words(raw)) end
	end)

	it("of a challenge decodes it, escaped", function()
		assert.equal("# 334: the server's challenge (base64): \"Username:\"\n", words "334 VXNlcm5hbWU6\r\n")
		assert.equal("# 334: the server's challenge (base64): \"\\x1b[2J\"\n", words "334 G1sySg==\r\n")
		assert.equal("# 334: the server's challenge (base64)\n", words "334 !\r\n")
		assert.equal("# 334: the server's challenge (base64): \"\"\n", words "334 \r\n")
	end)

	it("of a mechanism says why it was not taken", function()
		assert.equal("# GSSAPI was not taken: no ticket\n",
			explain.event { event = "auth", mechanism = "GSSAPI", skipped = "no ticket" })
		assert.equal("", explain.event { event = "auth", mechanism = "PLAIN" })
	end)

	it("of an option says why it had no effect", function()
		assert.equal("# the option x has no effect\n",
			explain.event { event = "auth", mechanism = "PLAIN", text = "the option x has no effect" })
	end)

	it("of TLS says how the keys were made", function()
		assert.equal("# key exchange: X25519; a full handshake; the certificate is not trusted\n",
			explain.event { event = "tls", tls = { group = "X25519" } })
		assert.equal("# key exchange: unknown; a resumed session; the certificate is good\n",
			explain.event { event = "tls", tls = { resumed = true, verified = true } })
	end)

	it("of anything else is empty", function()
		for _, event in ipairs { {}, { direction = "send", bytes = "x" }, { event = "closed" } } do
			assert.equal("", explain.event(event))
		end
	end)

	it("of bytes is a dump of sixteen a line", function()
		assert.equal("write to the wire: 17 bytes\n" ..
			"0000 00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f \n" .. "0010 ff \n",
			explain.hexdump { direction = "send", bytes = "\0\1\2\3\4\5\6\7\8\9\10\11\12\13\14\15\255" })
		assert.equal("read from the wire: 0 bytes\n", explain.hexdump { direction = "receive", bytes = "" })
	end)
end)

describe("the error object", function()
	it("is one line, begun with what was being done", function()
		assert.equal("MAIL: timed out", tostring(failure.new { op = "MAIL", code = "TIMEOUT", message = "timed out" }))
		assert.equal("connect: no", tostring(failure.new { op = "connect", code = "EOF", message = "connect: no" }))
		assert.equal("no", tostring(failure.new { code = "EOF", message = "no" }))
		assert.equal("a / b\\x1b\\x00", tostring(failure.new { code = "EOF", message = "a\r\nb\27\0" }))
	end)

	it("knows the exit status that tells what failed", function()
		for code, status in pairs { ECONNREFUSED = 3, EOF = 3, RESOLVE = 3, TLS = 4, CERTIFICATE = 4, TRUNCATED = 4, SASL = 5,
			NOMECH = 5, INTERACT = 5, BASE64 = 5, REPLY = 6, TIMEOUT = 7, DEADLOCK = 70, CANCELED = 70, TOOLONG = 70 } do
			assert.equal(status, failure.new({ code = code, message = "" }).status, code)
		end
		local refused = reply.new "535 no\r\n"
		assert.equal(5, failure.new({ op = "AUTH", code = "REPLY", message = "", reply = refused }).status)
		assert.equal(6, failure.new({ op = "MAIL", code = "REPLY", message = "", reply = refused }).status)
	end)

	it("is told from other values", function()
		assert.is_true(failure.is(failure.new { code = "EOF", message = "" }))
		for _, value in ipairs { {}, "x", 1, false } do assert.is_false(failure.is(value)) end
		assert.is_false(failure.is(nil))
	end)
end)
