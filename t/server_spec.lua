local peer = require "support.peer"
local server = require "smtptest.server"
local smtptest = require "smtptest"
local task = require "smtptest.task"

local LIMIT = 20

-- Runs body(server, connect) beside a started server; connect(plan) gives a session with it.
local function with(plan, body)
	local self <close> = server.listen(plan)
	self:start()
	body(self, function(changes)
		return smtptest.connect(peer.laid({ host = "127.0.0.1", port = self.port, timeout = LIMIT }, changes))
	end)
	self:stop()
end

-- One session after EHLO.
local function session_with(plan, body)
	with(plan, function(self, connect)
		local s <close> = connect { protocol = plan and plan.protocol }
		s:hello()
		body(s, self)
	end)
end

local function send(s, body, options)
	s:mail("a@client.test"):expect(250)
	s:rcpt("b@server.test"):expect(250)
	return s:data(body, options)
end

describe("server.listen", function()
	it("binds at once, and accepts when it is started", function()
		with({}, function(self, connect)
			assert.equal("127.0.0.1", self.host)
			assert.is_true(self.port > 0)
			local s <close> = connect()
			assert.equal(220, s.greeting.code)
			assert.equal("localhost ESMTP smtptest", s.greeting.text)
		end)
	end)

	it("listens on a UNIX socket, and removes it", function()
		local path = os.tmpname()
		os.remove(path)
		local self = server.listen { socket = path }
		self:start()
		local s <close> = smtptest.connect { socket = path, timeout = LIMIT }
		assert.equal(250, s:ehlo().code)
		self:stop()
		assert.is_nil(io.open(path))
	end)

	it("says where it could not listen", function()
		with({}, function(self)
			local err = peer.failure("EADDRINUSE", server.listen, { port = self.port })
			assert.matches("^listen: 127%.0%.0%.1:%d+: ", tostring(err))
		end)
	end)

	it("knows the loopback of each family", function()
		local self <close> = server.listen { family = "inet6" }
		assert.equal("::1", self.host)
	end)

	it("refuses a mechanism that nobody could offer, whose name may be misspelt", function()
		for _, names in ipairs { "PLAIN SCRAM-SHA256", { "SCRAM-SHA256" } } do
			local err = peer.failure("NOMECH", server.listen, { sasl = { users = { alice = "secret" }, mechanisms = names } })
			assert.equal("sasl: the Cyrus library has no mechanism 'SCRAM-SHA256' for servers", tostring(err))
		end
		server.listen { sasl = { mechanisms = "scram-sha-256-plus EXTERNAL ANONYMOUS" } }:stop()
	end)

	it("refuses a certificate that can't be used before anybody connects", function()
		local err = peer.failure("TLS", server.listen, { tls = "starttls", certfile = "/nonexistent/cert" })
		assert.matches("/nonexistent/cert", tostring(err), 1, true)
	end)

	local wrong = {
		{ { prot = 1 }, "unknown option 'prot' %(did you mean 'port'%?%)" },
		{ { tls = "ssl" }, "option 'tls': expected one of" },
		{ { sasl = { user = {} } }, "unknown option 'user' of sasl %(did you mean 'users'%?%)" },
		{ { on = { rctp = print } }, "unknown handler 'rctp' %(did you mean 'rcpt'%?%)" },
		{ { on = { rcpt = 550 } }, "handler 'rcpt': expected a function" },
		{ { capabilities = { "" } }, "capability '1': expected text" },
		{ { capabilities = { SIZE = { 5 } } }, "capability 'SIZE': expected text" },
		{ { limits = { lines = 1 } }, "unknown option 'lines' of limits %(did you mean 'line'%?%)" },
	}
	for _, case in ipairs(wrong) do
		it("blames its caller: " .. case[2], function()
			local ok, message = pcall(function() server.listen(case[1]) end)
			assert.is_false(ok)
			assert.matches("server_spec.lua:%d+: .*" .. case[2], message)
		end)
	end
end)

describe("a message", function()
	it("arrives as it was sent, dots taken away, and tells who sent it", function()
		session_with({}, function(s, self)
			local body = ".\r\n..x\r\na\nb\r\0c\xff\r\n.\n.\r.\r\n"
			send(s, body):expect(250)
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
		session_with({}, function(s, self)
			for _, body in ipairs { "", "\r\n", "x\r\n", "." } do send(s, body):expect(250) end
			assert.same({ "", "\r\n", "x\r\n", ".\r\n" }, { self.messages[1].data, self.messages[2].data,
				self.messages[3].data, self.messages[4].data })
			assert.equal(".\r\n", self.messages[1].raw)
		end)
	end)

	it("ends at CR LF . CR LF and nothing else", function()
		session_with({}, function(s, self)
			for _, eod in ipairs { "\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r\n.\r\r\n", "\r\n. \r\n" } do
				send(s, "x" .. eod .. "RSET\r\n.y\r\n"):expect(250)
				assert.equal("x" .. eod .. "RSET\r\n.y\r\n", self.messages[#self.messages].data)
			end
		end)
	end)

	it("may come in any pieces", function()
		session_with({}, function(s, self)
			s:pipeline { "MAIL FROM:<a@client.test>", "RCPT TO:<b@server.test>", "DATA" }
			s:send("..a\r\nb\r\n.\r\nNOOP\r\n", { split = 1 })
			s:reply():expect(250)
			s:reply():expect(250)
			assert.equal(".a\r\nb\r\n", self.messages[1].data)
		end)
	end)

	it("may come in thousands of pieces, and is kept in few", function()
		session_with({}, function(s, self)
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
		session_with({}, function(s, self)
			s:send "MAIL FROM:<a@client.test>\r\nRCPT TO:<b@server.test>\r\nDATA\r\n1\r\n"
			for _, code in ipairs { 250, 250, 354 } do s:reply():expect(code) end
			s:send "2\r\n.\r\n"
			s:reply():expect(250)
			assert.equal("1\r\n2\r\n", self.messages[1].data)
		end)
	end)

	it("comes in chunks, unchanged (RFC 3030)", function()
		session_with({}, function(s, self)
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
		session_with(plan, function(s, self)
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
		session_with({ keep = false }, function(s, self)
			send(s, "x\r\n"):expect(250)
			assert.equal(0, #self.messages)
			assert.equal(1, self.received)
		end)
	end)
end)

describe("server:wait", function()
	it("waits for messages, and says how many came when there are too few", function()
		session_with({}, function(s, self)
			local waiting = task.spawn(function() return self:wait(2, LIMIT) end)
			send(s, "1\r\n")
			send(s, "2\r\n")
			assert.equal(2, #waiting:join(LIMIT))
			local list, message, code = self:wait(3, 0.01)
			assert.is_nil(list)
			assert.equal("2 of 3 messages came in 0.01 s", message)
			assert.equal("TIMEOUT", code)
		end)
	end)

	it("ends with the server, and leaves nothing when it is canceled", function()
		session_with({}, function(s, self)
			local canceled = task.spawn(self.wait, self, 2)
			local waiting = task.spawn(function() return table.pack(self:wait(2)) end)
			send(s, "1\r\n")
			canceled:cancel()
			assert.equal(1, #self.waiters)
			self:stop()
			assert.same({ nil, "the server is stopped", "CANCELED", n = 3 }, waiting:join(LIMIT))
			assert.equal("CANCELED", select(3, self:wait(2)))
			assert.equal(1, #self:wait(1))
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
		{ { "MAIL FROM:<a@b> SIZE=x" }, 501 },
		{ { "MAIL FROM:<a@b> SIZE=99999999999" }, 552 },
		{ { "MAIL FROM:<a@b> BODY=9BIT" }, 501 },
		{ { "MAIL FROM:<a@b> BODY=BINARYMIME" }, 501 },
		{ { "MAIL FROM:<a@b> SMTPUTF8=yes" }, 501 },
		{ { "MAIL FROM:<a@b> RET=ALL" }, 501 },
		{ { "MAIL FROM:<a@b> ENVID=a+1" }, 501 },
		{ { "MAIL FROM:<a@b> ENVID=" .. ("x"):rep(101) }, 501 },
		{ { "MAIL FROM:<a@b> SIZE=" .. ("9"):rep(21) }, 501 },
		{ { "MAIL FROM:<a@b>", "RCPT TO:<a@b> ORCPT=rfc822;" .. ("x"):rep(494) }, 501 },
		{ { "MAIL FROM:<a@b> FOO=1" }, 555 },
		{ { "MAIL FROM:<a@b> AUTH=x" }, 555 },
		{ { "HELO x", "MAIL FROM:<a@b> SIZE=1" }, 555 },
		{ { "MAIL FROM:<a@b>", "RCPT TO:<a@b> NOTIFY=NEVER,DELAY" }, 501 },
		{ { "MAIL FROM:<a@b>", "RCPT TO:<a@b> NOTIFY=SUCCESS,SUCCESS" }, 501 },
		{ { "MAIL FROM:<a@b>", "RCPT TO:<a@b> ORCPT=x" }, 501 },
		{ { "MAIL FROM:<a@b>", "RCPT TO:<a@b> ORCPT=utf-8;\u{fc}" }, 501 },
		{ { "MAIL FROM:<a@b>", "RCPT TO:<a@b> SIZE=1" }, 555 },
		{ { "EHLO" }, 501 }, { { "EHLO a b" }, 501 }, { { "EHLO a@b" }, 501 }, { { "LHLO x" }, 500 },
		{ { "RSET x" }, 501 }, { { "QUIT x" }, 501 }, { { "VRFY" }, 501 }, { { "EXPN x" }, 502 },
		{ { "STARTTLS" }, 502 }, { { "AUTH PLAIN" }, 502 }, { { "FOO" }, 500 }, { { "" }, 500 }, { { " NOOP" }, 500 },
		{ { "MAILFROM:<a@b>" }, 500 }, { { "12345" }, 500 },
	}
	for _, case in ipairs(cases) do
		it(table.concat(case[1], ", "):sub(1, 100), function()
			with({}, function(_, connect)
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
		session_with({ sasl = { users = { alice = "secret" } } }, function(s)
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
		session_with({ sasl = { users = { alice = "secret" } } }, function(s)
			for _, command in ipairs { "AUTH", "AUTH ", "AUTH  PLAIN", "AUTH \tPLAIN" } do
				local answer = s:command(command):expect(501)
				assert.equal("5.5.4 AUTH wants one blank and a mechanism (RFC 4954 section 4)", answer.text)
			end
			s:auth { mechanism = "PLAIN", authname = "alice", password = "secret" }
		end)
	end)

	it("what cancels AUTH, whose lines may be longer than others", function()
		session_with({ limits = { line = 1000 }, sasl = { users = { alice = "secret" } } }, function(s)
			s:command("AUTH LOGIN"):expect(334)
			s:command("*"):expect "5.7.0"
			s:command("AUTH LOGIN"):expect(334)
			s:command(("A"):rep(8000)):expect(535)
			s:command("NOOP " .. ("x"):rep(1000)):expect(500)
			s:noop():expect(250)
		end)
	end)

	it("what comes in a new layer before EHLO (RFC 4954 section 4)", function()
		session_with({ sasl = { users = { alice = "secret" } } }, function(s)
			s:auth { mechanism = "DIGEST-MD5", authname = "alice", password = "secret", minssf = 128, maxssf = 128 }:expect(235)
			assert.equal(128, s.ssf)
			s:mail("a@b.test"):expect(503)
			s:ehlo()
			s:mail("a@b.test"):expect(250)
		end)
	end)

	it("lines that end in anything but CR LF, and control characters", function()
		session_with({}, function(s)
			for _, bytes in ipairs { "NOOP\n", "NO\0OP\r\n", "NOOP\r\r\n", "NO\rOP\r\n", "\0\r\n" } do
				s:send(bytes)
				assert.equal(500, s:reply().code)
			end
			assert.equal(250, s:noop().code)
		end)
	end)

	it("BDAT at the wrong time, and takes its chunk away", function()
		session_with({}, function(s)
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
		session_with({ limits = { message = 10 } }, function(s, self)
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
		session_with({ protocol = "lmtp", limits = { message = 10 } }, function(s, self)
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
		session_with({ capabilities = { "PIPELINING" } }, function(s)
			assert.same({ "PIPELINING", PIPELINING = {} }, s.capabilities)
			assert.equal(555, s:mail("a@b.test", { SIZE = 1 }).code)
			assert.equal(502, s:bdat("x", { last = true }).code)
		end)
	end)
end)

describe("capabilities", function()
	it("are all there, and a map changes them", function()
		session_with({ tls = "starttls", sasl = { users = { alice = "secret" } },
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
		with({ tls = "starttls", capabilities = { "PIPELINING", "STARTTLS" } }, function(_, connect)
			local s <close> = connect()
			assert.same({ "PIPELINING", "STARTTLS" }, { table.unpack(s:hello() and s.capabilities) })
			s:starttls():expect(220)
			s:ehlo()
			assert.same({ "PIPELINING" }, { table.unpack(s.capabilities) })
		end)
		session_with({ capabilities = { dsn = false, size = "7" } }, function(s)
			assert.is_nil(s.capabilities.DSN)
			assert.same({ "7" }, s.capabilities.SIZE)
		end)
	end)

	it("name the mechanisms that the strength asked for leaves, and the realm", function()
		local plan = { tls = "starttls", sasl = { users = { alice = "secret" }, minssf = 56, realm = "here.test" } }
		session_with(plan, function(s)
			assert.same({ "DIGEST-MD5" }, s.capabilities.AUTH)
			s:command("AUTH PLAIN"):expect(504)
			assert.matches('realm="here.test"', require "smtptest.base64".decode(s:command("AUTH DIGEST-MD5").text), 1, true)
			s:command("*"):expect(501)
			s:starttls():expect(220)
			s:ehlo()
			s:auth { mechanism = "PLAIN", authname = "alice", password = "secret" }:expect(235)
		end)
	end)

	it("bring their parameters, and BINARYMIME refuses DATA (RFC 3030 section 3)", function()
		session_with({ capabilities = { BINARYMIME = true, REQUIRETLS = true } }, function(s, self)
			s:mail("a@b.test", { BODY = "BINARYMIME", REQUIRETLS = true }):expect(250)
			s:rcpt("a@b.test", { REQUIRETLS = true }):expect(250)
			s:command("DATA"):expect(503)
			s:bdat("a\nb\0", { last = true }):expect(250)
			assert.equal("a\nb\0", self.messages[1].data)
		end)
	end)

	it("do what they say: SMTPUTF8 and DSN", function()
		session_with({}, function(s, self)
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
end)

describe("pipelined commands", function()
	it("are answered in one write (RFC 2920)", function()
		session_with({}, function(s)
			local chunks = 0
			s:on(function(event) if event.direction == "receive" then chunks = chunks + 1 end end)
			local replies = s:pipeline { "NOOP", "MAIL FROM:<a@b>", "RCPT TO:<a@b>", "RSET", "NOOP" }
			assert.equal(5, #replies)
			assert.equal(1, chunks)
		end)
	end)
end)

describe("limits", function()
	it("of a line: a longer one is taken away and refused", function()
		session_with({ limits = { line = 1000 } }, function(s)
			assert.equal(250, s:command("NOOP " .. ("x"):rep(900)).code)
			assert.equal(500, s:command("NOOP " .. ("x"):rep(100000)).code)
			assert.equal(250, s:noop().code)
			local replies = s:pipeline { "NOOP " .. ("x"):rep(2000), "VRFY a", "NOOP" }
			assert.same({ 500, 252, 250 }, { replies[1].code, replies[2].code, replies[3].code })
		end)
	end)

	it("of a message: a larger one is read to its end and refused", function()
		session_with({ limits = { message = 1000 } }, function(s, self)
			assert.same({ "1000" }, s.capabilities.SIZE)
			send(s, ("x"):rep(900) .. "\r\n"):expect(250)
			send(s, ("x\r\n"):rep(100000)):expect("5.3.4")
			assert.equal(1, #self.messages)
			s:mail("a@b.test")
			s:rcpt("a@b.test")
			s:bdat(("x"):rep(600)):expect(250)
			s:bdat(("x"):rep(600), { last = true }):expect("5.3.4")
			s:noop():expect(250)
		end)
	end)

	it("of a message are of its own bytes: no dots before lines, no end (RFC 1870)", function()
		session_with({ limits = { message = 9 } }, function(s, self)
			for _, body in ipairs { "1234567\r\n", ".\r\n.\r\n.\r\n", "\r\n..\r\n.\r\n" } do
				s:mail("a@b.test", { SIZE = 9 }):expect(250)
				s:rcpt("a@b.test")
				s:data(body):expect(250)
				assert.equal(body, self.messages[#self.messages].data)
			end
			for _, body in ipairs { "12345678\r\n", ".\r\n.\r\n.2\r\n", ("\r\n"):rep(5), ("."):rep(20) } do
				send(s, body):expect("5.3.4")
			end
			assert.equal(3, #self.messages)
		end)
	end)

	it("of recipients", function()
		session_with({ limits = { recipients = 2 } }, function(s)
			s:mail("a@b.test")
			s:rcpt("a@b.test"):expect(250)
			s:rcpt("b@b.test"):expect(250)
			s:rcpt("c@b.test"):expect(452)
		end)
	end)

	it("of refusals on one connection", function()
		session_with({ limits = { errors = 3 } }, function(s)
			s:command("FOO"):expect(500)
			s:command("FOO"):expect(500)
			local replies = s:pipeline { { bytes = "FOO\r\nFOO\r\n", replies = 2 } }
			assert.equal(421, replies[2].code)
			assert.equal("EOF", s:drain(1, 5).closed)
		end)
	end)

	it("of refusals are not of what may be tried again", function()
		session_with({ limits = { errors = 2, recipients = 1 } }, function(s)
			s:mail("a@b.test")
			for _ = 1, 4 do s:rcpt("a@b.test") end
			s:noop():expect(250)
		end)
	end)

	it("of connections: one more is told so", function()
		with({ limits = { connections = 1 } }, function(_, connect)
			do
				local first <close> = connect()
				local second <close> = connect()
				assert.equal(421, second.greeting.code)
				first:quit()
				assert.equal("EOF", first:drain(1, 5).closed)
			end
			local third <close> = connect()
			assert.equal(220, third.greeting.code)
		end)
	end)

	it("of time: a message that comes a byte now and then is not waited for for ever", function()
		for _, command in ipairs { "DATA", "BDAT 100000 LAST" } do
			with({ timeout = 0.1 }, function(self, connect)
				local s <close> = connect()
				s:hello()
				s:mail("a@client.test"):expect(250)
				s:rcpt("b@server.test"):expect(250)
				s:send(command .. "\r\n")
				if command == "DATA" then s:reply():expect(354) end
				local till = task.now() + LIMIT
				local answer
				repeat
					pcall(s.send, s, "x")
					task.sleep(0.02)
					local ok, reply = pcall(s.reply, s, 0)
					answer = ok and reply
				until answer or task.now() > till
				assert.equal(421, answer.code)
				assert.equal(0, #self.messages)
			end)
		end
	end)

	it("of time: a client that says nothing is sent away", function()
		with({ timeout = 0.05 }, function(_, connect)
			local s <close> = connect()
			assert.equal(421, s:reply(LIMIT).code)
			assert.equal("EOF", s:drain(1, 5).closed)
		end)
	end)
end)

describe("a listener of the server", function()
	it("may take itself away while it is told", function()
		with({}, function(self, connect)
			local told, remove = {}, nil
			remove = self:on_event(function(event)
				told[#told + 1] = "once " .. event.event
				remove()
			end)
			self:on_event(function(event) told[#told + 1] = event.event end)
			local s <close> = connect()
			s:hello()
			send(s, "x\r\n"):expect(250)
			assert.same({ "once connect", "connect", "message" }, told)
		end)
	end)
end)

describe("TLS", function()
	it("starts after STARTTLS, and what was sent before it is dropped", function()
		with({ tls = "starttls" }, function(self, connect)
			local told
			self:on_event(function(event, client)
				if event.event == "leftover" then told = { event.bytes, client.leftover } end
			end, { traffic = true })
			local s <close> = connect()
			s:ehlo()
			assert.equal(501, s:command("STARTTLS x").code)
			s:send("STARTTLS\r\nNOOP\r\nMAIL FROM:<a@b.test>\r\n")
			s:reply():expect(220)
			s:handshake()
			assert.is_true(s:silent(0.05))
			assert.equal(503, s:mail("a@b.test").code)
			s:ehlo():expect(250)
			assert.is_nil(s.capabilities.STARTTLS)
			assert.equal(503, s:command("STARTTLS").code)
			send(s, "x\r\n"):expect(250)
			assert.equal("ESMTPS", self.messages[1].with)
			assert.equal("TLSv1.3", self.messages[1].tls.protocol)
			local leftover = "NOOP\r\nMAIL FROM:<a@b.test>\r\n"
			assert.equal(leftover, self.messages[1].tls.leftover)
			assert.same({ leftover, leftover }, told)
		end)
	end)

	it("is there from the first byte", function()
		with({ tls = "implicit" }, function(_, connect)
			local s <close> = connect { tls = "implicit", host = "localhost" }
			assert.equal("CN=localhost", s.tls.peer[1].subject:gsub("^/", ""))
			s:ehlo():expect(250)
			assert.is_nil(s.capabilities.STARTTLS)
		end)
	end)

	it("can be verified by who has the certificate", function()
		local path = os.tmpname()
		local file <close> = assert(io.open(path, "w"))
		file:write((server.certificate "localhost"))
		file:close()
		with({ tls = "starttls" }, function(self)
			local s <close> = smtptest.open { host = "localhost", family = "inet", port = self.port, tls = "starttls",
				cafile = path, verify = true, timeout = LIMIT }
			assert.is_true(s.tls.verified)
		end)
		os.remove(path)
	end)

	it("shows its certificate to who shall trust it, unless that is a file's", function()
		local cert = require "smtptest.core.cert"
		local function shown(plan)
			local one <close> = server.listen(plan)
			return one.certificate
		end
		local certificate, key = cert.self_signed { name = "localhost" }
		assert.equal(server.certificate "localhost", shown { tls = "starttls" })
		assert.equal(certificate, shown { tls = "implicit", cert = certificate, key = key })
		assert.is_nil(shown {})
		local path = os.tmpname()
		local file <close> = assert(io.open(path, "w"))
		file:write(certificate, key)
		file:flush()
		assert.is_nil(shown { tls = "starttls", certfile = path, keyfile = path })
		os.remove(path)
	end)

	it("takes a client's certificate only from the authorities that are named, by file, folder, or for this client", function()
		local cert = require "smtptest.core.cert"
		local folder = os.tmpname()
		os.remove(folder)
		assert(os.execute("mkdir " .. folder))
		local function keep(name)
			local certificate, key = cert.self_signed { name = name }
			local path = folder .. "/" .. name .. ".pem"
			local file <close> = assert(io.open(path, "w"))
			file:write(certificate, key)
			return path
		end
		local good, bad = keep "alice", keep "mallory"
		assert(os.execute(("mkdir %s/ca && cp %s %s/ca && openssl rehash %s/ca"):format(folder, good, folder, folder)))
		local function try(plan)
			plan.tls, plan.sasl = "starttls", { mechanisms = "EXTERNAL" }
			with(plan, function(_, connect)
				for _, path in ipairs { good, bad } do
					local s <close> = connect { certfile = path, keyfile = path, host = "localhost", family = "inet" }
					s:ehlo()
					s:starttls():expect(220)
					if path == bad then
						peer.failure("TLS", s.ehlo, s)
					else
						s:ehlo():expect(250)
						s:auth { mechanism = "EXTERNAL" }:expect(235)
					end
				end
			end)
		end
		try { cafile = good }
		try { capath = folder .. "/ca" }
		try { on = { command = function(client, verb)
			if verb ~= "STARTTLS" then return nil end
			client:reply(220, "2.0.0 go ahead")
			if not client:starttls { cafile = good } then return false end
			client:forget()
			return true
		end } }
		os.execute("rm -r " .. folder)
	end)

	it("insists on a client's certificate where that is asked for", function()
		with({ tls = "starttls", verify = true }, function(_, connect)
			local s <close> = connect()
			s:ehlo()
			s:starttls():expect(220)
			peer.failure("TLS", s.ehlo, s)
		end)
	end)

	it("offers EXTERNAL to who has a certificate, and to nobody else, in any order", function()
		local path = os.tmpname()
		local file <close> = assert(io.open(path, "w"))
		file:write(require "smtptest.core.cert".self_signed { name = "alice" })
		file:close()
		with({ tls = "implicit", sasl = { mechanisms = "EXTERNAL PLAIN" } }, function(_, connect)
			for _, name in ipairs { false, path, false, path } do
				local s <close> = connect { tls = "implicit", certfile = name or nil, keyfile = name or nil }
				s:ehlo()
				assert.equal(name and 2 or 1, #s.capabilities.AUTH)
				s:command("AUTH EXTERNAL ="):expect(name and 235 or 504)
			end
		end)
		os.remove(path)
	end)

	it("resumes sessions", function()
		with({ tls = "starttls" }, function(self)
			local plan = { host = "localhost", family = "inet", port = self.port, tls = "starttls", timeout = LIMIT }
			local first <close> = smtptest.open(plan)
			assert.is_false(first.tls.resumed)
			local second <close> = smtptest.open(peer.laid(plan, { session = first.tls.session }))
			assert.is_true(second.tls.resumed)
		end)
	end)

	it("that fails harms nobody else", function()
		with({ tls = "starttls" }, function(_, connect)
			for _, bytes in ipairs { "garbage\r\n", ("\22\3\1"):rep(100), "\22\3\1\255\255" } do
				local s <close> = connect()
				s:ehlo()
				s:command("STARTTLS"):expect(220)
				s:send(bytes)
				s:shutdown()
				s.transport:read(65536, LIMIT)
			end
			local s <close> = connect()
			assert.equal(250, s:ehlo().code)
		end)
	end)
end)

describe("the PROXY protocol", function()
	it("names the client, in version 1 and 2", function()
		with({ proxy = true }, function(self, connect)
			local seen = {}
			self.on.connect = function(client) seen[#seen + 1] = client.peer.host end
			do local _ <close> = connect { proxy = { version = 1, source = "192.0.2.7" } } end
			do local _ <close> = connect { proxy = { version = 2, source = "2001:db8::7" } } end
			do local _ <close> = connect { proxy = { version = 2, command = "LOCAL" } } end
			assert.same({ "192.0.2.7", "2001:db8:0:0:0:0:0:7", "127.0.0.1" }, seen)
		end)
	end)

	it("is not waited for longer than the time-out, though a byte comes now and then", function()
		for _, way in ipairs { "none", "implicit" } do
			with({ proxy = true, timeout = 0.1, tls = way }, function(_, connect)
				local s <close> = connect { greeting = false }
				local slow = task.spawn(pcall, s.send, s, "PROXY TCP4 " .. ("1"):rep(90), { split = 1, gap = 0.02 })
				local bytes = s.transport:read(4096, 1)
				assert.equal(way == "none" and "421 4.4.2 timed out\r\n" or nil, bytes)
				slow:cancel()
			end)
		end
	end)

	it("may come with what follows it", function()
		with({ proxy = true }, function(_, connect)
			local s <close> = connect { greeting = false }
			s:send "PROXY TCP4 192.0.2.7 192.0.2.8 1 25\r\nNOOP\r\n"
			s:reply():expect(220)
			s:reply():expect(250)
		end)
	end)

	it("is asked for: without it there is no greeting", function()
		with({ proxy = true }, function(_, connect)
			local s <close> = connect { greeting = false }
			s:send("EHLO x\r\n")
			local _, _, code = s:silent(LIMIT)
			assert.equal("EOF", code)
		end)
	end)
end)

describe("server:stop", function()
	it("is idempotent, aborts who is there, and lets nobody in", function()
		local self = server.listen {}
		self:start()
		local s <close> = smtptest.connect { host = "127.0.0.1", port = self.port, timeout = LIMIT }
		assert.is_true(self:stop())
		assert.is_true(self:stop())
		assert.equal("ECONNRESET", s:drain(1, LIMIT).closed)
		peer.failure("ECONNREFUSED", smtptest.connect, { host = "127.0.0.1", port = self.port })
		assert.has_error(function() self:start() end)
	end)

	it("ends serve()", function()
		local self = server.listen {}
		local serving = task.spawn(self.serve, self)
		local s <close> = smtptest.connect { host = "127.0.0.1", port = self.port, timeout = LIMIT }
		assert.equal(220, s.greeting.code)
		self:stop()
		assert.is_true(serving:join(LIMIT))
	end)

	it("raises what a handler raised, once; its client is told that something failed", function()
		local self = server.listen { on = { mail = function() error("oops", 0) end } }
		self:start()
		local s <close> = smtptest.connect { host = "127.0.0.1", port = self.port, timeout = LIMIT }
		s:ehlo()
		assert.equal(421, s:mail("a@b.test").code)
		local ok, message = pcall(self.stop, self)
		assert.is_false(ok)
		assert.matches("^oops\nstack traceback", message)
		assert.is_true(self:stop())
	end)

	it("ends a handler that waits, and raises what was raised first", function()
		local before = task.step(0)
		local self = server.listen { on = { mail = function() error("first", 0) end, ehlo = function(_, name)
			if name == "second" then error("second", 0) end
		end, command = function() task.sleep(60) end } }
		self:start()
		local function connect()
			return smtptest.connect { host = "127.0.0.1", port = self.port, timeout = LIMIT }
		end
		local waiting <close> = connect()
		local one <close> = connect()
		local other <close> = connect()
		waiting:send "NOOP\r\n"
		one:ehlo()
		one:mail("a@b.test"):expect(421)
		other:ehlo("second"):expect(421)
		assert.matches("^first", select(2, pcall(self.stop, self)))
		assert.equal(before, task.step(0))
	end)

	it("does not raise the end of a connection that a script told by error()", function()
		local self = server.listen {}
		local ended = task.promise()
		self:script(function(client)
			client:reply(220, "hello")
			local ok, err = pcall(function() return assert(client:line()) end)
			ended:set(true)
			assert(ok, err)
		end)
		self:start()
		do local _ <close> = smtptest.connect { host = "127.0.0.1", port = self.port, timeout = LIMIT } end
		ended:wait(LIMIT)
		assert.is_true(self:stop())
	end)

	it("raises at the end of a block, unless another error is under way", function()
		local function run(also)
			local self <close> = server.listen { on = { ehlo = function() error("oops", 0) end } }
			self:start()
			local s <close> = smtptest.connect { host = "127.0.0.1", port = self.port, timeout = LIMIT }
			s:command("EHLO x")
			if also then error(also, 0) end
		end
		assert.matches("^oops", select(2, pcall(run)))
		assert.equal("other", select(2, pcall(run, "other")))
	end)
end)

describe("many clients", function()
	it("are served at once", function()
		with({}, function(self)
			local tasks = {}
			for i = 1, 300 do
				tasks[i] = task.spawn(function()
					local s <close> = smtptest.connect { host = "127.0.0.1", port = self.port, timeout = 60 }
					s:ehlo()
					send(s, ("message %d\r\n"):format(i)):expect(250)
					s:quit()
				end)
			end
			for _, one in ipairs(tasks) do one:join(60) end
			assert.equal(300, #self.messages)
		end)
	end)
end)

describe("HELP", function()
	local function verbs(plan)
		local list
		with(plan, function(_, connect)
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
