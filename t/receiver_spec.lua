-- The SMTP and LMTP that a server speaks by itself: what it takes, what it refuses, and what it offers.

local base64 = require "smtptest.base64"
local visit = require "support.visit"

local LIMIT = 20

describe("a message", function()
	it("arrives as it was sent, dots taken away, and tells who sent it", function()
		visit.introduced({}, function(s, self)
			local body = ".\r\n..x\r\na\nb\r\0c\xff\r\n.\n.\r.\r\n"
			visit.deliver(s, body):expect(250)
			local message = assert(self:wait(1, LIMIT))[1]
			assert.equal(body, message.data)
			assert.equal("..\r\n...x\r\na\nb\r\0c\xff\r\n..\n.\r.\r\n.\r\n", message.raw)
			assert.equal("a@client.test", message.from.address)
			assert.equal("b@server.test", message.to[1].address)
			assert.equal("smtptest", message.helo)
			assert.equal("smtp", message.protocol)
			assert.equal("ESMTP", message.with)
			assert.equal("127.0.0.1", message.peer.host)
			assert.is_nil(message.auth)
			assert.is_nil(message.tls)
		end)
	end)

	it("may be empty, or nothing but a line", function()
		visit.introduced({}, function(s, self)
			for _, body in ipairs { "", "\r\n", "x\r\n", "." } do visit.deliver(s, body):expect(250) end
			assert.same({ "", "\r\n", "x\r\n", ".\r\n" }, { self.messages[1].data, self.messages[2].data,
				self.messages[3].data, self.messages[4].data })
			assert.equal(".\r\n", self.messages[1].raw)
		end)
	end)

	it("ends at CR LF . CR LF and nothing else", function()
		visit.introduced({}, function(s, self)
			for _, eod in ipairs { "\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r\n.\r\r\n", "\r\n. \r\n" } do
				visit.deliver(s, "x" .. eod .. "RSET\r\n.y\r\n"):expect(250)
				assert.equal("x" .. eod .. "RSET\r\n.y\r\n", self.messages[#self.messages].data)
			end
		end)
	end)

	it("may come in any pieces", function()
		visit.introduced({}, function(s, self)
			s:pipeline { "MAIL FROM:<a@client.test>", "RCPT TO:<b@server.test>", "DATA" }
			s:send("..a\r\nb\r\n.\r\nNOOP\r\n", { split = 1 })
			s:reply():expect(250)
			s:reply():expect(250)
			assert.equal(".a\r\nb\r\n", self.messages[1].data)
		end)
	end)

	it("may come in thousands of pieces, and is kept in few", function()
		visit.introduced({}, function(s, self)
			local n = 5000
			s:mail("a@client.test")
			s:rcpt("b@server.test")
			for i = 1, n do s:send(("BDAT 1%s\r\n%s"):format(i == n and " LAST" or "", string.char(97 + i % 26))) end
			for _ = 1, n do s:reply():expect(250) end
			local message = self.messages[1]
			assert.is_true(#message.parts <= 1001)
			assert.equal(n, message.size)
			assert.equal("bcd", message.data:sub(1, 3))
			assert.equal(n, #message.data)
		end)
	end)

	it("may begin before the 354, which does not wait for its end", function()
		visit.introduced({}, function(s, self)
			s:send "MAIL FROM:<a@client.test>\r\nRCPT TO:<b@server.test>\r\nDATA\r\n1\r\n"
			for _, code in ipairs { 250, 250, 354 } do s:reply():expect(code) end
			s:send "2\r\n.\r\n"
			s:reply():expect(250)
			assert.equal("1\r\n2\r\n", self.messages[1].data)
		end)
	end)

	it("comes in chunks, unchanged (RFC 3030)", function()
		visit.introduced({}, function(s, self)
			s:mail("a@client.test", { BODY = "8BITMIME", SIZE = 12 }):expect(250)
			s:rcpt("b@server.test"):expect(250)
			s:bdat("..\r\n.\r\n"):expect("250")
			s:bdat("", {}):expect(250)
			s:bdat("x\0\xffy", { last = true }):expect(250)
			assert.equal("..\r\n.\r\nx\0\xffy", self.messages[1].data)
			assert.equal(self.messages[1].data, self.messages[1].raw)
			assert.same({ BODY = "8BITMIME", SIZE = "12" }, self.messages[1].from.params)
		end)
	end)

	it("has a reply for each recipient in LMTP (RFC 2033)", function()
		local plan = { protocol = "lmtp", on = { data = function(_, _, to)
			if to.address == "no@server.test" then return 550, "5.2.2 full" end
		end } }
		visit.introduced(plan, function(s, self)
			s:mail("a@client.test")
			s:rcpt("yes@server.test")
			s:rcpt("no@server.test")
			local replies = s:data("x\r\n")
			assert.equal(250, replies[1].code)
			assert.equal(550, replies[2].code)
			assert.equal(1, #self.messages)
			assert.equal("LMTP", self.messages[1].with)
			-- It is not for whom the handler has refused.
			assert.equal(1, #self.messages[1].to)
			assert.equal("yes@server.test", self.messages[1].to[1].address)
			s:command("EHLO x"):expect(500)
		end)
	end)

	it("is not kept where nobody looks", function()
		visit.introduced({ keep = false }, function(s, self)
			visit.deliver(s, "x\r\n"):expect(250)
			assert.equal(0, #self.messages)
			assert.equal(1, self.received)
		end)
	end)
end)

describe("what the server refuses", function()
	-- Commands in order; the reply to the last one.
	local cases = {
		{ { "MAIL FROM:<a@b>" }, 503, fresh = true },
		{ { "RCPT TO:<a@b>" }, 503 },
		{ { "DATA" }, 503 },
		{ { "MAIL FROM:<a@b>", "DATA" }, 503 },
		{ { "MAIL FROM:<a@b>", "MAIL FROM:<a@b>" }, 503 },
		{ { "MAIL FROM:<a@b>", "RCPT TO:<a@b>", "DATA now" }, 501 },
		{ { "MAIL FROM:<a@b>", "RCPT TO:<a@b>", "RSET", "DATA" }, 503 },
		{ { "MAIL FROM:<a@b>", "EHLO x", "RCPT TO:<a@b>" }, 503 },
		{ { "EHLO" }, 501 }, { { "EHLO a b" }, 501 }, { { "EHLO a@b" }, 501 }, { { "LHLO x" }, 500 },
		{ { "RSET x" }, 501 }, { { "QUIT x" }, 501 }, { { "VRFY" }, 501 }, { { "EXPN x" }, 502 },
		{ { "STARTTLS" }, 502 }, { { "AUTH PLAIN" }, 502 }, { { "FOO" }, 500 }, { { "" }, 500 }, { { " NOOP" }, 500 },
		{ { "MAILFROM:<a@b>" }, 500 }, { { "12345" }, 500 },
	}
	for _, case in ipairs(cases) do
		it(table.concat(case[1], ", "):sub(1, 100), function()
			visit.beside({}, function(_, connect)
				local s <close> = connect()
				if not case.fresh then s:ehlo():expect(250) end
				local last
				for _, line in ipairs(case[1]) do last = s:command(line) end
				assert.equal(case[2], last.code, tostring(last))
				assert.matches("^5%.%d%.%d", last.text)
				assert.equal(250, s:noop().code)
			end)
		end)
	end

	it("AUTH at the wrong time (RFC 4954 section 4)", function()
		visit.introduced({ sasl = { users = { alice = "secret" } } }, function(s)
			local auth = { mechanism = "PLAIN", authname = "alice", password = "secret" }
			s:helo()
			s:command("AUTH PLAIN"):expect(503)
			s:ehlo()
			s:mail("a@b.test", { AUTH = "a+1" }):expect(501)
			s:mail("a@b.test", { AUTH = "a+2Bb" }):expect(250)
			s:command("AUTH PLAIN"):expect(503)
			s:rset()
			for _, name in ipairs { "FOO", "NTLM", "EXTERNAL", "SCRAM-SHA-256-PLUS" } do
				assert.equal(504, s:command("AUTH " .. name).code, name)
			end
			s:auth(auth):expect(235)
			s:command("AUTH PLAIN"):expect(503)
		end)
	end)

	it("AUTH with more than a blank before the mechanism (RFC 4954 section 4)", function()
		visit.introduced({ sasl = { users = { alice = "secret" } } }, function(s)
			for _, command in ipairs { "AUTH", "AUTH ", "AUTH  PLAIN", "AUTH \tPLAIN" } do
				local answer = s:command(command):expect(501)
				assert.equal("5.5.4 AUTH wants one blank and a mechanism (RFC 4954 section 4)", answer.text)
			end
			s:auth { mechanism = "PLAIN", authname = "alice", password = "secret" }
		end)
	end)

	it("what cancels AUTH, whose lines may be longer than others", function()
		visit.introduced({ limits = { line = 1000 }, sasl = { users = { alice = "secret" } } }, function(s)
			s:command("AUTH LOGIN"):expect(334)
			s:command("*"):expect "5.7.0"
			s:command("AUTH LOGIN"):expect(334)
			s:command(("A"):rep(8000)):expect(535)
			s:command("NOOP " .. ("x"):rep(1000)):expect(500)
			s:noop():expect(250)
		end)
	end)

	it("what comes in a new layer before EHLO (RFC 4954 section 4)", function()
		visit.introduced({ sasl = { users = { alice = "secret" } } }, function(s)
			s:auth { mechanism = "DIGEST-MD5", authname = "alice", password = "secret", minssf = 128, maxssf = 128 }:expect(235)
			assert.equal(128, s.ssf)
			s:mail("a@b.test"):expect(503)
			s:ehlo()
			s:mail("a@b.test"):expect(250)
		end)
	end)

	it("lines that end in anything but CR LF, and control characters", function()
		visit.introduced({}, function(s)
			for _, bytes in ipairs { "NOOP\n", "NO\0OP\r\n", "NOOP\r\r\n", "NO\rOP\r\n", "\0\r\n" } do
				s:send(bytes)
				assert.equal(500, s:reply().code)
			end
			assert.equal(250, s:noop().code)
		end)
	end)

	it("BDAT at the wrong time, and takes its chunk away", function()
		visit.introduced({}, function(s)
			assert.equal(503, s:bdat("QUIT\r\n").code)
			s:mail("a@b.test")
			assert.equal(503, s:bdat("QUIT\r\n").code)
			s:rcpt("a@b.test")
			assert.equal(250, s:bdat("x").code)
			assert.equal(503, s:command("DATA").code)
			assert.equal(503, s:rcpt("c@d.test").code)
			assert.equal(250, s:rset().code)
			assert.equal(421, s:command("BDAT many").code)
			assert.equal("EOF", s:drain(1, 5).closed)
		end)
	end)

	it("all of a message whose chunk is too large, whatever follows in the pipeline (RFC 3030 section 2)", function()
		visit.introduced({ limits = { message = 10 } }, function(s, self)
			s:mail("a@b.test")
			s:rcpt("a@b.test")
			local replies = s:pipeline { { bytes = "BDAT 20\r\n" .. ("x"):rep(20) }, { bytes = "BDAT 5 LAST\r\n12345" } }
			assert.equal("5.3.4", replies[1].enhanced)
			assert.equal(503, replies[2].code)
			assert.equal(0, #self.messages)
			s:mail("a@b.test"):expect(250)
		end)
	end)

	it("in LMTP each recipient of a last chunk that is too large", function()
		visit.introduced({ protocol = "lmtp", limits = { message = 10 } }, function(s, self)
			s:mail("a@b.test")
			s:rcpt("a@b.test")
			s:rcpt("b@b.test")
			local replies = s:bdat(("x"):rep(20), { last = true })
			assert.equal("5.3.4", replies[1].enhanced)
			assert.equal("5.3.4", replies[2].enhanced)
			s:noop():expect(250)
			s:mail("a@b.test")
			s:rcpt("a@b.test")
			s:rcpt("b@b.test")
			assert.equal("5.3.4", s:bdat(("x"):rep(20)).enhanced)
			s:noop():expect(250)
			assert.equal(0, #self.messages)
		end)
	end)

	it("a command that it does not offer", function()
		visit.introduced({ capabilities = { "PIPELINING" } }, function(s)
			assert.same({ "PIPELINING", PIPELINING = {} }, s.capabilities)
			assert.equal(555, s:mail("a@b.test", { SIZE = 1 }).code)
			assert.equal(502, s:bdat("x", { last = true }).code)
		end)
	end)
end)

describe("capabilities", function()
	it("are all there, and a map changes them", function()
		visit.introduced({ tls = "starttls", sasl = { users = { alice = "secret" } },
			capabilities = { SIZE = { "1000" }, DSN = false, XFOO = true } }, function(s)
			local offered = s.capabilities
			assert.same({ "1000" }, offered.SIZE)
			assert.is_nil(offered.DSN)
			assert.same({}, offered.XFOO)
			for _, keyword in ipairs { "PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING",
				"STARTTLS" } do
				assert.same({}, offered[keyword], keyword)
			end
			assert.same({ "SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "DIGEST-MD5", "CRAM-MD5", "PLAIN", "LOGIN" },
				offered.AUTH)
		end)
	end)

	it("may be named in a list, each once, in either case", function()
		visit.beside({ tls = "starttls", capabilities = { "PIPELINING", "STARTTLS" } }, function(_, connect)
			local s <close> = connect()
			assert.same({ "PIPELINING", "STARTTLS" }, { table.unpack(s:hello() and s.capabilities) })
			s:starttls():expect(220)
			s:ehlo()
			assert.same({ "PIPELINING" }, { table.unpack(s.capabilities) })
		end)
		visit.introduced({ capabilities = { dsn = false, size = "7" } }, function(s)
			assert.is_nil(s.capabilities.DSN)
			assert.same({ "7" }, s.capabilities.SIZE)
		end)
	end)

	it("name the mechanisms that the strength asked for leaves, and the realm", function()
		local plan = { tls = "starttls", sasl = { users = { alice = "secret" }, minssf = 56, realm = "here.test" } }
		visit.introduced(plan, function(s)
			assert.same({ "DIGEST-MD5" }, s.capabilities.AUTH)
			s:command("AUTH PLAIN"):expect(504)
			assert.matches('realm="here.test"', base64.decode(s:command("AUTH DIGEST-MD5").text), 1, true)
			s:command("*"):expect(501)
			s:starttls():expect(220)
			s:ehlo()
			s:auth { mechanism = "PLAIN", authname = "alice", password = "secret" }:expect(235)
		end)
	end)
end)

describe("pipelined commands", function()
	it("are answered in one write (RFC 2920)", function()
		visit.introduced({}, function(s)
			local chunks = 0
			s:on(function(event) if event.direction == "receive" then chunks = chunks + 1 end end)
			local replies = s:pipeline { "NOOP", "MAIL FROM:<a@b>", "RCPT TO:<a@b>", "RSET", "NOOP" }
			assert.equal(5, #replies)
			assert.equal(1, chunks)
		end)
	end)
end)

describe("HELP", function()
	local function verbs(plan)
		local list
		visit.beside(plan, function(_, connect)
			local s <close> = connect { protocol = plan.protocol }
			list = " " .. s:command("HELP"):expect(214).lines[2] .. " "
		end)
		return list
	end

	it("names the verbs that are of use", function()
		local list = verbs {}
		for word in ("BDAT DATA EHLO HELO MAIL QUIT RCPT"):gmatch "%S+" do assert.truthy(list:find(" " .. word .. " ", 1, true)) end
		for word in ("AUTH LHLO STARTTLS"):gmatch "%S+" do assert.is_nil(list:find(word, 1, true)) end
	end)

	it("names those that are offered", function()
		local list = verbs { protocol = "lmtp", tls = "starttls", sasl = { users = { a = "b" } },
			capabilities = { CHUNKING = false } }
		for word in ("AUTH LHLO STARTTLS"):gmatch "%S+" do assert.truthy(list:find(word, 1, true)) end
		for word in ("BDAT EHLO HELO"):gmatch "%S+" do assert.is_nil(list:find(word, 1, true)) end
	end)
end)
