local ehlo = require "smtptest.ehlo"
local reply = require "smtptest.reply"

local function parse(...)
	return ehlo.parse(reply.new(table.concat({ ... }, "\r\n") .. "\r\n"))
end

describe("the capabilities of an EHLO reply", function()
	it("are keywords in order, each with its words", function()
		local c = parse("250-mail.test greets you", "250-PIPELINING", "250-SIZE 10240000", "250-AUTH PLAIN  LOGIN",
			"250 8BITMIME")
		assert.same({ "PIPELINING", "SIZE", "AUTH", "8BITMIME" }, { table.unpack(c) })
		assert.same({}, c.PIPELINING)
		assert.same({ "10240000" }, c.SIZE)
		assert.same({ "PLAIN", "LOGIN" }, c.AUTH)
		assert.same({}, c["8BITMIME"])
		assert.is_nil(c.STARTTLS)
	end)

	it("have keywords in upper case and words as they are", function()
		local c = parse("250-mail.test", "250 Auth plain Cram-md5")
		assert.same({ "plain", "Cram-md5" }, c.AUTH)
		assert.same({ "AUTH" }, { table.unpack(c) })
	end)

	it("know the form AUTH= of old servers, each word once", function()
		local c = parse("250-mail.test", "250-AUTH=LOGIN PLAIN", "250-AUTH PLAIN GSSAPI", "250 auth=login")
		assert.same({ "LOGIN", "PLAIN", "GSSAPI" }, c.AUTH)
		assert.same({ "AUTH" }, { table.unpack(c) })
	end)

	it("keep what comes after an equals sign", function()
		local c = parse("250-mail.test", "250-LIMITS RCPTMAX=20 MAILMAX=5", "250 X=Y=Z")
		assert.same({ "RCPTMAX=20", "MAILMAX=5" }, c.LIMITS)
		assert.same({ "Y=Z" }, c.X)
	end)

	it("never take the first line for one", function()
		assert.same({}, parse("250 STARTTLS"))
		assert.is_nil(parse("250-STARTTLS", "250 HELP").STARTTLS)
	end)

	it("are none in a reply that refuses", function()
		for _, code in ipairs { "500", "421", "334", "199", "000" } do
			assert.same({}, parse(code .. "-x", code .. " SIZE"))
		end
		assert.same({}, parse("nonsense", "STARTTLS"))
	end)

	it("pass over empty lines, and count a number as a keyword", function()
		local c = parse("250-mail.test", "250-", "250- ", "250-=", "250-1 2", "250")
		assert.same({ "1" }, { table.unpack(c) })
		assert.same({ "2" }, c["1"])
	end)

	it("are found whatever ends the lines", function()
		local c = ehlo.parse(reply.new("250-mail.test\n250-SIZE\t5\n250 HELP"))
		assert.same({ "5" }, c.SIZE)
		assert.same({}, c.HELP)
	end)
end)
