-- Parameters of MAIL and RCPT, as our server takes them.

local parameter = require "smtptest.parameter"
local visit = require "support.visit"

describe("a parameter of MAIL", function()
	local cases = {
		{ "SIZE=x", 501 }, { "SIZE", 501 }, { "SIZE=" .. ("9"):rep(21), 501 }, { "SIZE=99999999999", 552 },
		{ "SIZE=" .. ("0"):rep(19) .. "1", 250 },
		{ "BODY=9BIT", 501 }, { "BODY", 501 }, { "BODY=BINARYMIME", 501 }, { "BODY=8bitmime", 250 }, { "BODY=7BIT", 250 },
		{ "SMTPUTF8=yes", 501 }, { "SMTPUTF8", 250 },
		{ "RET=ALL", 501 }, { "RET", 501 }, { "RET=full", 250 },
		{ "ENVID=a+1", 501 }, { "ENVID", 501 }, { "ENVID=" .. ("x"):rep(101), 501 }, { "ENVID=" .. ("x"):rep(100), 250 },
		{ "NOTIFY=NEVER", 555 }, { "FOO=1", 555 }, { "AUTH=x", 555 }, { "CHUNKING", 555 }, { "PIPELINING", 555 },
	}
	for _, case in ipairs(cases) do
		it(("%.40s is answered with %d"):format(case[1], case[2]), function()
			visit.introduced({}, function(s)
				local answer = s:command("MAIL FROM:<a@b> " .. case[1])
				assert.equal(case[2], answer.code, tostring(answer))
				assert.matches("^[25]%.%d%.%d", answer.text)
				s:noop():expect(250)
			end)
		end)
	end

	it("is unknown after HELO", function()
		visit.connected({}, function(s)
			s:helo():expect(250)
			s:command("MAIL FROM:<a@b> SIZE=1"):expect(555)
		end)
	end)

	it("may be AUTH where the server has it, in xtext (RFC 4954 section 5)", function()
		visit.introduced({ sasl = { users = { alice = "secret" } } }, function(s)
			s:command("MAIL FROM:<a@b> AUTH"):expect(501)
			s:command("MAIL FROM:<a@b> AUTH=a+1"):expect(501)
			s:command("MAIL FROM:<a@b> AUTH=<>"):expect(250)
		end)
	end)
end)

describe("a parameter of RCPT", function()
	local cases = {
		{ "NOTIFY=NEVER,DELAY", 501 }, { "NOTIFY=SUCCESS,SUCCESS", 501 }, { "NOTIFY", 501 }, { "NOTIFY=ALWAYS", 501 },
		{ "NOTIFY=NEVER", 250 }, { "NOTIFY=success,failure,delay", 250 },
		{ "ORCPT=x", 501 }, { "ORCPT", 501 }, { "ORCPT=utf-8;\u{fc}", 501 }, { "ORCPT=rfc822;" .. ("x"):rep(494), 501 },
		{ "ORCPT=rfc822;" .. ("x"):rep(493), 250 },
		{ "SIZE=1", 555 }, { "FOO", 555 },
	}
	for _, case in ipairs(cases) do
		it(("%.40s is answered with %d"):format(case[1], case[2]), function()
			visit.introduced({}, function(s)
				s:mail("a@b"):expect(250)
				local answer = s:command("RCPT TO:<a@b> " .. case[1])
				assert.equal(case[2], answer.code, tostring(answer))
				s:noop():expect(250)
			end)
		end)
	end
end)

describe("parameters", function()
	it("come with the capability that brings them, and BINARYMIME refuses DATA (RFC 3030 section 3)", function()
		visit.introduced({ capabilities = { BINARYMIME = true, REQUIRETLS = true } }, function(s, self)
			s:mail("a@b.test", { BODY = "BINARYMIME", REQUIRETLS = true }):expect(250)
			s:rcpt("a@b.test", { REQUIRETLS = true }):expect(250)
			s:command("DATA"):expect(503)
			s:bdat("a\nb\0", { last = true }):expect(250)
			assert.equal("a\nb\0", self.messages[1].data)
		end)
	end)

	it("do what they say: SMTPUTF8 and DSN", function()
		visit.introduced({}, function(s, self)
			s:mail("m\u{fc}ller@m\u{fc}nchen.test", { SMTPUTF8 = true, RET = "HDRS", ENVID = "a+2Bb" }):expect(250)
			s:rcpt("gr\u{fc}n@server.test", { NOTIFY = "SUCCESS,DELAY", ORCPT = "rfc822;a+40b" }):expect(250)
			s:rcpt("b@server.test", { ORCPT = "utf-8;gr\u{fc}n@server.test" }):expect(250)
			s:rcpt("b@server.test", { ORCPT = "rfc822;gr\u{fc}n@server.test" }):expect(501)
			s:rcpt("b@server.test", { ORCPT = "utf-8;gr\xfcn@server.test" }):expect(501)
			s:data("x\r\n")
			assert.equal("UTF8SMTP", self.messages[1].with)
			assert.equal("SUCCESS,DELAY", self.messages[1].to[1].params.NOTIFY)
		end)
	end)

	it("whose names are long are not repeated whole in a reply (RFC 5321 section 4.5.3.1.5)", function()
		local client = { esmtp = true, server = { capabilities = {}, plan = {} } }
		local code, text = parameter.refusal(client, "rcpt", ("X"):rep(900), true)
		assert.equal(555, code)
		assert.equal("5.5.4 unknown parameter " .. ("X"):rep(64), text)
	end)
end)
