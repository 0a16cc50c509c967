local core = require "smtptest.core.line"
local smtptest = require "smtptest"
local peer = require "support.peer"
local proxy = require "smtptest.proxy"
local run = require "support.run"
local session = require "smtptest.session"
local task = require "smtptest.task"
local transport = require "smtptest.transport"

local complaint = peer.complaint

local function greets(c) c:send "220 peer.test\r\n" end

describe("connect", function()
	it("reads the greeting", function()
		peer.over_tcp(greets, function(s)
			assert.equal(220, s.greeting.code)
			assert.equal(s.greeting, s.last)
			assert.equal("peer.test", s.greeting.text)
			assert.is_true(s.greeting.elapsed == nil or s.greeting.elapsed >= 0)
		end)
	end)

	it("takes a greeting of any code for a value", function()
		for _, text in ipairs { "554 go away", "421 later", "HTTP/1.1 400 Bad Request", "220" } do
			peer.over_tcp(function(c) c:send(text .. "\r\n") end, function(s)
				assert.equal(text, tostring(s.greeting))
			end)
		end
	end)

	it("leaves the greeting unread where the plan says so", function()
		peer.over_tcp(greets, function(s)
			assert.is_nil(s.greeting)
			assert.equal(220, s:reply().code)
		end, { greeting = false })
	end)

	it("sends the PROXY header before anything else", function()
		local client = peer.over_tcp(function(c)
			c:line()
			greets(c)
		end, function() end, { proxy = { version = 1, source = "192.0.2.9" } })
		assert.matches("^PROXY TCP4 192%.0%.2%.9 127%.0%.0%.1 %d+ %d+$", client.seen[1])
	end)

	it("sends a PROXY header of version 2 with TLVs, from address to address of the connection", function()
		local read
		peer.over_tcp(function(c)
			local bytes = c.transport:read(4096)
			read = proxy.parse(bytes)
			greets(c)
		end, function(s)
			assert.equal(220, s.greeting.code)
			assert.equal(s.transport.wire.sock:address().port, read.source.port)
			assert.equal(s.port, read.target.port)
		end, { proxy = { source = "192.0.2.9", tlvs = { { type = "alpn", value = "smtp" }, "crc32c" } } })
		assert.equal("192.0.2.9", read.source.host)
		assert.equal("127.0.0.1", read.target.host)
		assert.same({ type = 1, value = "smtp" }, read.tlvs[1])
		assert.equal(3, read.tlvs[2].type)
	end)

	it("does not take the PROXY header for commands", function()
		peer.over_tcp(function(c)
			c.transport:unread(select(2, proxy.parse(c.transport:read(4096))))
			greets(c)
			c:reply("535 no", "250 b", "250 c", "354 go")
			repeat until c:line() == "."
			c:send "250 for b\r\n250 for c\r\n"
		end, function(s)
			s:command "AUTH PLAIN AGFsaWNlAHNlY3JldA=="
			assert.not_matches("AGFs", tostring(s.transcript))
			s:rcpt "b"
			s:rcpt "c"
			assert.equal(2, #s:data "x")
		end, { protocol = "lmtp", proxy = { version = 2, tlvs = { "noop" } } })
	end)

	it("sends the PROXY header in clear before implicit TLS", function()
		peer.over_tcp(function(c)
			assert.matches("^PROXY UNKNOWN", c:line())
			c:tls()
			greets(c)
		end, function(s)
			assert.equal("tls", s.transport:layer_name())
			assert.equal(220, s.greeting.code)
		end, { proxy = { version = 1, unknown = true }, tls = "implicit" })
	end)

	it("shakes hands before the greeting under implicit TLS", function()
		peer.over_tcp(function(c)
			c:tls()
			greets(c)
		end, function(s)
			assert.equal(220, s.greeting.code)
			assert.equal("", s.tls.leftover)
		end, { tls = "implicit" })
	end)

	it("shows the beginning to a listener", function()
		local events = {}
		peer.over_tcp(greets, function() end, nil, function(plan)
			return session.connect(plan, function(e) events[#events + 1] = e.event or e.direction end)
		end)
		assert.same({ "receive", "line", "reply", "end" }, events)
	end)

	it("refuses a misspelt field, and blames who wrote it", function()
		assert.matches("^t/session_spec%.lua:%d+: unknown plan field 'hots' %(did you mean 'host'%?%)$",
			complaint(function() smtptest.connect { hots = "x" } end))
		assert.matches("^t/session_spec%.lua:%d+: unknown plan field 'pasword'",
			complaint(function() local s = smtptest.open { pasword = "x" } return s end))
		assert.matches("^t/session_spec%.lua:%d+: plan field 'port': expected",
			complaint(function() local s = smtptest.wrap(transport.pair(), { port = {} }) return s end))
		assert.matches("^t/session_spec%.lua:%d+: unknown plan field 'tsl'",
			complaint(function() local p = smtptest.plan { tsl = "none" } return p end))
	end)

	it("never shows a wrong password in a complaint", function()
		assert.not_matches("12345678", complaint(smtptest.connect, { password = 12345678 }))
	end)

	it("tells a refused connection", function()
		local port = run.closed_port()
		local err = peer.failure("ECONNREFUSED", smtptest.connect, { host = "127.0.0.1", port = port })
		assert.equal("connect", err.op)
		assert.equal(3, err.status)
		assert.equal("clear", err.layer)
		assert.equal("", err.transcript)
		assert.is_true(err.elapsed >= 0)
		assert.equal(("connect to 127.0.0.1:%d: Connection refused"):format(port), tostring(err))
	end)

	it("says so where nothing comes because the script has not started its server", function()
		local path = run.scratch "idle"
		for _, plan in ipairs { {}, { socket = path }, { family = "inet6" } } do
			local server <close> = smtptest.listen(plan)
			local to = { host = server.port and server.host, port = server.port, socket = plan.socket, timeout = 0.05 }
			local err = peer.failure("TIMEOUT", smtptest.connect, to)
			assert.equal("greeting: timed out after 0.05 s (a server of this process listens there, and was not started)",
				tostring(err))
			to.timeout = 20
			server:start()
			smtptest.connect(to):close()
		end
	end)

	it("tells a name that does not resolve", function()
		local err = peer.failure("RESOLVE", smtptest.connect, { host = "no such host", port = 25 })
		assert.equal("getaddrinfo", err.op)
		assert.equal(3, err.status)
	end)

	it("tells a UNIX socket that is not there", function()
		local err = peer.failure("ENOENT", smtptest.connect, { socket = run.scratch "nobody" })
		assert.equal(run.scratch "nobody", err.target)
	end)

	it("connects to a UNIX socket", function()
		local path = run.scratch "lmtp"
		local listener <close> = assert(transport.listen(path))
		local server = task.spawn(function()
			local t <close> = transport.wrap(assert(listener:accept(task.now() + 20)))
			t:write "220 unix\r\n"
			t:read(1)
		end)
		local s = smtptest.connect { socket = path, timeout = 20 }
		assert.equal("220 unix", tostring(s.greeting))
		s:close()
		server:join(20)
	end)

	it("finds a key that can't be read before anybody is connected to", function()
		local err = peer.failure("TLS", smtptest.connect,
			{ port = run.closed_port(), tls = "starttls", certfile = "/nonexistent", keyfile = "/nonexistent" })
		assert.matches("/nonexistent", tostring(err))
		assert.equal(4, err.status)
	end)

	it("gives the end of the connection before the greeting as EOF, and closes", function()
		local err
		peer.over_tcp(function() end, function() end, nil, function(plan)
			err = peer.failure("EOF", session.connect, plan)
			return err.session
		end)
		assert.equal("greeting", err.op)
		assert.equal(3, err.status)
		assert.equal("greeting: the server closed the connection", tostring(err))
		assert.equal("EBADF", peer.failure("EBADF", err.session.noop, err.session).code)
	end)

	it("gives a silent server as TIMEOUT", function()
		local err
		peer.over_tcp(function(c) c:rest() end, function() end, { timeout = 0.05 }, function(plan)
			err = peer.failure("TIMEOUT", session.connect, plan)
			return err.session
		end)
		assert.equal("greeting: timed out after 0.05 s", tostring(err))
		assert.equal(7, err.status)
	end)
end)

describe("wrap", function()
	it("neither reads nor writes", function()
		local s, other = peer.pair()
		assert.is_nil(s.greeting)
		assert.same({ nil, "timed out", "TIMEOUT" }, { other:read(1, 0) })
		s:close()
	end)

	it("brings the plan's limit of a line along", function()
		local s, other = peer.pair { maxline = 10 }
		other:write "250 much too long\r\n"
		peer.failure("TOOLONG", s.reply, s)
		s:close()
	end)

	it("leaves the transport's own limit alone where the plan has none", function()
		local mine, theirs = transport.pair()
		mine.maxline = 10
		local s <close> = session.wrap(mine, {})
		theirs:write "250 much too long\r\n"
		peer.failure("TOOLONG", s.reply, s)
	end)
end)

-- ---------------------------------------------------------------- the whole way

local function open(plan) return session.open(plan) end

describe("open", function()
	it("says EHLO with the plan's name", function()
		local client = peer.over_tcp(function(c)
			greets(c)
			c:capabilities "SIZE 100"
		end, function(s) assert.same({ "100" }, s.capabilities.SIZE) end, { helo = "me.test" }, open)
		assert.same({ "EHLO me.test" }, client.seen)
	end)

	it("falls back to HELO where EHLO is refused", function()
		local client = peer.over_tcp(function(c)
			greets(c)
			c:reply("502 5.5.1 no", "250 peer.test")
		end, function(s) assert.same({}, s.capabilities) end, nil, open)
		assert.same({ "EHLO smtptest", "HELO smtptest" }, client.seen)
	end)

	it("says LHLO for LMTP, and nothing else when that is refused", function()
		local err
		local client = peer.over_tcp(function(c)
			greets(c)
			c:reply "500 what?"
			c:rest()
		end, function() end, { protocol = "lmtp" }, function(plan)
			err = peer.failure("REPLY", open, plan)
			return err.session
		end)
		assert.same({ "LHLO lmtptest" }, client.seen)
		assert.equal(500, err.reply.code)
		assert.equal(6, err.status)
	end)

	it("goes through STARTTLS, EHLO, AUTH and EHLO again under a layer", function()
		local client = peer.over_tcp(function(c)
			greets(c)
			c:capabilities "STARTTLS"
			c:reply "220 go"
			c:tls()
			c:capabilities "AUTH DIGEST-MD5"
			c:auth { mechanisms = "DIGEST-MD5" }
			c:capabilities "SIZE"
		end, function(s)
			assert.equal(3, #s.transport.layers + 1)
			assert.equal("sasl", s.transport:layer_name())
			assert.is_true(s.authenticated)
			assert.is_true(s.ssf > 0)
			assert.same({ "SIZE", SIZE = {} }, s.capabilities)
		end, { tls = "starttls", authname = "alice", password = "secret", maxssf = 1000 }, open)
		assert.equal("EHLO smtptest", client.seen[1])
		assert.equal("STARTTLS", client.seen[2])
		assert.equal("EHLO smtptest", client.seen[3])
		assert.equal("AUTH DIGEST-MD5", client.seen[4])
		assert.equal("EHLO smtptest", client.seen[#client.seen])
	end)

	it("does not authenticate with nothing to authenticate with, or when told not to", function()
		for _, plan in ipairs { {}, { auth = false, authname = "alice", password = "secret" } } do
			local client = peer.over_tcp(function(c)
				greets(c)
				c:capabilities "AUTH PLAIN"
				c:rest()
			end, function(s) assert.is_false(s.authenticated) end, plan, open)
			assert.same({ "EHLO smtptest" }, client.seen)
		end
	end)

	-- What stops the way: one error with the reply, and a session that still works.
	local stops = {
		{ "a greeting of 554", {}, function(c) c:send "554 no\r\n" end, "greeting", 554, "REPLY", 6 },
		{ "a refusal of EHLO for now", {}, function(c) greets(c) c:reply "451 later" end, "EHLO", 451, "REPLY", 6 },
		{ "a refusal of EHLO and HELO", {}, function(c) greets(c) c:reply("500 no", "500 no") end, "HELO", 500, "REPLY", 6 },
		{ "STARTTLS not offered", { tls = "starttls" }, function(c) greets(c) c:capabilities() end,
			"STARTTLS", 250, "REPLY", 6 },
		{ "STARTTLS refused", { tls = "starttls" }, function(c) greets(c) c:capabilities "STARTTLS" c:reply "454 no" end,
			"STARTTLS", 454, "REPLY", 6 },
		{ "AUTH refused", { authname = "alice", password = "secret" },
			function(c) greets(c) c:capabilities "AUTH PLAIN" c:reply "535 5.7.8 no" end, "AUTH", 535, "REPLY", 5 },
		{ "no usable mechanism", { authname = "alice", password = "secret" },
			function(c) greets(c) c:capabilities "AUTH NOSUCH" end, "AUTH", 250, "NOMECH", 5 },
		{ "AUTH not offered", { authname = "alice", password = "secret" },
			function(c) greets(c) c:capabilities() end, "AUTH", 250, "NOMECH", 5 },
	}
	for _, case in ipairs(stops) do
		local name, plan, script, op, number, code, status = table.unpack(case)
		it("is stopped by " .. name, function()
			local err
			peer.over_tcp(function(c)
				script(c)
				c:reply "250 still here"
			end, function(s)
				assert.equal("250 still here", tostring(s:noop()))
			end, plan, function(whole)
				err = peer.failure(code, open, whole)
				return err.session
			end)
			assert.equal(op, err.op)
			assert.equal(number, err.reply.code)
			assert.equal(status, err.status)
			assert.is_nil(tostring(err):find("\n"))
		end)
	end
end)

-- ---------------------------------------------------------------- TLS on the way

describe("starttls", function()
	it("shakes hands after 220 and forgets the capabilities", function()
		peer.with(function(c)
			c:capabilities "STARTTLS"
			c:reply "220 go"
			c:tls()
			c:reply "250 inside"
		end, function(s)
			s:ehlo()
			local answer = s:starttls()
			assert.equal(220, answer.code)
			assert.same({}, s.capabilities)
			assert.equal("TLSv1.3", s.tls.protocol)
			assert.equal("250 inside", tostring(s:noop()))
		end)
	end)

	it("does not shake hands after any other reply", function()
		for _, text in ipairs { "454 4.7.0 no", "501 no", "221 what", "250 ok" } do
			peer.with(function(c) c:reply(text, "250 clear") end, function(s)
				assert.equal(text, tostring(s:starttls()))
				assert.is_nil(s.tls)
				assert.equal("250 clear", tostring(s:noop()))
			end)
		end
	end)

	it("may be said twice", function()
		peer.with(function(c)
			for _ = 1, 2 do
				c:reply "220 go"
				c:tls()
			end
			c:reply "250 deep"
		end, function(s)
			s:starttls()
			s:starttls()
			assert.equal(2, #s.transport.layers)
			assert.equal("250 deep", tostring(s:noop()))
		end)
	end)

	it("takes fields about TLS and refuses others", function()
		peer.with(function(c)
			c:reply "220 go"
			c:tls()
		end, function(s)
			s:starttls { max_version = "1.2" }
			assert.equal("TLSv1.2", s.tls.protocol)
			assert.is_nil(s.plan.max_version)
		end)
		local s <close> = peer.pair()
		assert.matches("^t/session_spec%.lua:%d+: unknown plan field 'max_verison' %(did you mean 'max_version'%?%)",
			complaint(function() local answer = s:starttls { max_verison = "1.2" } return answer end))
		assert.matches("^t/session_spec%.lua:%d+: unknown plan field",
			complaint(function() local info = s:handshake { verfiy = true } return info end))
	end)

	it("says nothing when its own key can't be read", function()
		local client = peer.with(function(c) c:rest() end, function(s)
			local err = peer.failure("TLS", s.starttls, s, { certfile = "/nonexistent" })
			assert.matches("/nonexistent", err.message)
		end)
		assert.same({}, client.seen)
	end)

	it("gives what came in clear with the 220 as leftover, and reads none of it", function()
		local notes = {}
		peer.with(function(c)
			c:line()
			c:send "220 go\r\n250 injected\r\n"
			c:tls()
			c:reply "250 real"
		end, function(s)
			s:on(function(e) if e.event == "leftover" then notes[#notes + 1] = e.bytes end end)
			s:starttls()
			assert.equal("250 injected\r\n", s.tls.leftover)
			assert.same({ "250 injected\r\n" }, notes)
			assert.equal("250 real", tostring(s:noop()))
		end)
	end)
end)

describe("handshake", function()
	it("goes without a command", function()
		local client = peer.with(function(c)
			c:line()
			c:line()
			c:send "220 go\r\n"
			c:tls()
			c:send "250 noop was answered inside\r\n"
		end, function(s)
			s:send "STARTTLS\r\nNOOP\r\n"
			assert.equal(220, s:reply().code)
			local info = s:handshake()
			assert.equal(s.tls, info)
			assert.equal(250, s:reply().code)
		end)
		assert.same({ "STARTTLS", "NOOP" }, client.seen)
	end)

	it("is undone with its layer: tls is what is left", function()
		peer.with(function(c)
			c:tls()
			c:reply "250 once"
			c:tls()
			c:reply "250 twice"
			assert(c.transport:pop())
			c:reply "250 once more"
			assert(c.transport:pop())
			c:reply "250 clear"
		end, function(s)
			local outer = s:handshake()
			s:noop()
			s:handshake()
			s:noop()
			assert.not_equal(outer, s.tls)
			assert(s.transport:pop())
			assert.equal(outer, s.tls)
			assert.equal("250 once more", tostring(s:noop()))
			assert(s.transport:pop())
			assert.is_nil(s.tls)
			assert.equal("250 clear", tostring(s:noop()))
		end)
	end)

	it("counts the lines of a reply that never ended as leftover", function()
		local begun = task.promise()
		peer.with(function(c)
			c:send "250-half a\r\n250-re"
			begun:wait(20)
			c:tls()
			c:reply "250 whole"
		end, function(s)
			peer.failure("TIMEOUT", s.reply, s, 0.02)
			begun:set(true)
			s:handshake()
			assert.equal("250-half a\r\n250-re", s.tls.leftover)
			assert.equal("250 whole", tostring(s:noop()))
		end)
	end)

	it("tells a peer that closes as TLS", function()
		peer.with(function(c) c.transport:read(4096) end, function(s)
			local err = peer.failure("TLS", s.handshake, s)
			assert.equal("TLS handshake: the peer closed during the handshake", tostring(err))
			assert.equal(4, err.status)
		end)
	end)

	it("tells a peer that has closed before as TLS", function()
		local s, other = peer.pair()
		other:close()
		peer.failure("TLS", s.handshake, s)
		s:close()
	end)

	it("tells a peer that resets as TLS", function()
		peer.over_tcp(function(c)
			c.transport:read(4096)
			c.transport:abort()
		end, function(s)
			local err = peer.failure("TLS", s.handshake, s)
			assert.equal("TLS handshake: the peer reset the connection during the handshake", tostring(err))
		end, { greeting = false })
	end)

	it("tells garbage as TLS, with the library's reason", function()
		peer.with(function(c) c:send "500 what is this?\r\n" c:rest() end, function(s)
			local err = peer.failure("TLS", s.handshake, s)
			assert.matches("version number", err.message)
		end)
	end)

	it("drops what was buffered before and says so, also when it fails", function()
		peer.with(function(c)
			c:send "220 a\r\n250 b\r\n"
			c.transport:read(4096)
		end, function(s)
			s:reply()
			local err = peer.failure("TLS", s.handshake, s)
			assert.equal("250 b\r\n", err.leftover)
		end)
	end)

	it("gives a silent peer as TIMEOUT", function()
		peer.with(function(c) c:rest() end, function(s)
			local err = peer.failure("TIMEOUT", s.handshake, s)
			assert.equal("TLS handshake: timed out after 0.05 s", tostring(err))
		end, { timeout = 0.05 })
	end)
end)

-- ---------------------------------------------------------------- the end

describe("the end of a connection", function()
	it("is EOF when the peer closes, and nothing was lost before it", function()
		peer.with(function(c) c:send "421 bye\r\n221 half" end, function(s)
			assert.equal("421 bye", tostring(s:reply()))
			local err = peer.failure("EOF", s.reply, s)
			assert.equal("clear", err.layer)
			assert.equal(s, err.session)
			assert.equal("221 half", s.transport:pending())
		end)
	end)

	it("is ECONNRESET when the peer resets", function()
		peer.over_tcp(function(c)
			c:line()
			c.transport:abort()
		end, function(s)
			local err = peer.failure("ECONNRESET", s.noop, s)
			assert.equal(3, err.status)
			assert.equal("NOOP", err.op)
		end, { greeting = false })
	end)

	it("is EOF after close_notify and TRUNCATED without it", function()
		for _, case in ipairs { { "EOF", true, 3 }, { "TRUNCATED", false, 4 } } do
			peer.with(function(c)
				c:tls()
				c:line()
				if case[2] then c.transport:shutdown() end
			end, function(s)
				s:handshake()
				local err = peer.failure(case[1], s.noop, s)
				assert.equal("tls", err.layer)
				assert.equal(case[3], err.status)
			end)
		end
	end)

	it("is EOF under a SASL layer", function()
		peer.with(function(c) c:auth { mechanisms = "DIGEST-MD5" } end, function(s)
			s:auth { mechanism = "DIGEST-MD5", authname = "alice", password = "secret" }
			local err = peer.failure("EOF", s.reply, s)
			assert.equal("sasl", err.layer)
		end)
	end)

	it("is noted once, with its code", function()
		local codes = {}
		peer.with(function() end, function(s)
			s:on(function(e) if e.event == "closed" then codes[#codes + 1] = e.code end end)
			peer.failure("EOF", s.reply, s)
			peer.failure("EOF", s.reply, s)
		end)
		assert.same({ "EOF" }, codes)
	end)

	it("brings along what the server had said before a write failed", function()
		local s, other = peer.pair()
		other:write "421 4.3.2 shutting down\r\n"
		other:close()
		local err = peer.failure("EPIPE", s.noop, s)
		assert.matches("the server said: 421 4%.3%.2 shutting down", tostring(err))
		assert.equal(421, err.reply.code)
		s:close()
	end)
end)

describe("close", function()
	it("says nothing, in clear and under TLS, and may be repeated", function()
		local client = peer.with(function(c)
			c:tls()
			c:send "220 ready\r\n"
			c:rest()
		end, function(s)
			s:handshake()
			s:reply()
			s:close()
			s:close()
			s:abort()
		end)
		assert.equal("TRUNCATED", client.ended)
		client = peer.with(function(c) assert.equal("", c:rest()) end, function(s) s:close() end)
		assert.equal("EOF", client.ended)
	end)

	it("makes every later call an error object, EBADF", function()
		local s = peer.pair()
		s:close()
		for _, call in ipairs {
			{ s.noop }, { s.ehlo }, { s.mail, "a@b.test" }, { s.send, "x" }, { s.reply }, { s.starttls }, { s.handshake },
			{ s.data, "x" }, { s.bdat, "x" }, { s.pipeline, { "NOOP" } },
			{ s.auth, { mechanism = "PLAIN", authname = "a", password = "b" } },
		} do
			local err = peer.failure("EBADF", call[1], s, call[2])
			assert.equal(3, err.status)
		end
		assert.same({ false, "", "EBADF" }, { s:silent(0) })
		assert.equal("EBADF", s:drain(0).closed)
	end)

	it("happens at the end of a <close> variable's scope", function()
		local s, other = peer.pair()
		do local _ <close> = s end
		assert.equal("EOF", select(3, other:read(1)))
	end)

	it("wakes a task that reads", function()
		local s = peer.pair()
		local reader = task.spawn(function() return peer.failure("CANCELED", s.reply, s).code end)
		task.sleep(0)
		s:close()
		assert.equal("CANCELED", reader:join(20))
	end)
end)

describe("abort", function()
	it("resets", function()
		local client = peer.over_tcp(function(c) c:rest() end, function(s) s:abort() s:abort() end, { greeting = false })
		assert.equal("ECONNRESET", client.ended)
	end)
end)

describe("shutdown", function()
	it("ends sending only", function()
		local client = peer.with(function(c)
			c:rest()
			c:send "250 heard you\r\n"
		end, function(s)
			s:send "NOOP\r\n"
			assert.is_true(s:shutdown())
			assert.equal("250 heard you", tostring(s:reply()))
			peer.failure("EPIPE", s.send, s, "x")
		end)
		assert.equal("EOF", client.ended)
	end)

	it("may be repeated, and may come after close", function()
		peer.with(function(c) c:rest() end, function(s)
			for _ = 1, 2 do assert.is_true(s:shutdown()) end
			s:close()
			assert.is_true(s:shutdown())
		end)
	end)

	it("goes through all layers", function()
		local client = peer.with(function(c)
			c:tls()
			c:auth { mechanisms = "DIGEST-MD5" }
			assert.equal("NOOP\r\n", c:rest())
			c:send "250 heard you\r\n"
		end, function(s)
			s:handshake()
			s:auth { mechanism = "DIGEST-MD5", authname = "alice", password = "secret", maxssf = 1000 }
			s:send "NOOP\r\n"
			s:shutdown()
			assert.equal("250 heard you", tostring(s:reply()))
		end)
		assert.equal("EOF", client.ended)
	end)

	it("says close_notify", function()
		local client = peer.with(function(c)
			c:tls()
			assert.equal("NOOP\r\n", c:rest())
			c:send "250 heard you\r\n"
		end, function(s)
			s:handshake()
			s:send "NOOP\r\n"
			s:shutdown()
			assert.equal("250 heard you", tostring(s:reply()))
		end)
		assert.equal("EOF", client.ended)
	end)
end)

-- ---------------------------------------------------------------- listening in

describe("on", function()
	local function events_of(script, body, options)
		local events = {}
		peer.with(script, function(s)
			local stop = s:on(function(e) events[#events + 1] = e end, options)
			body(s, stop)
		end)
		return events
	end

	local function brief(events)
		local list = {}
		for i, e in ipairs(events) do
			list[i] = ("%s %s %s"):format(e.event or e.direction, e.layer, core.escape(e.bytes or ""))
		end
		return list
	end

	it("tells what is sent, what comes, each line and each reply", function()
		local events = events_of(function(c)
			c:line()
			c:send "250-a\r\n250 b\r\n"
		end, function(s) s:noop() end)
		assert.same({
			[[send clear NOOP\r\n]], [[receive clear 250-a\r\n250 b\r\n]],
			[[line clear 250-a\r\n]], [[line clear 250 b\r\n]], [[reply clear 250-a\r\n250 b\r\n]],
			"end clear ",
		}, brief(events))
		assert.equal(250, events[5].reply.code)
		assert.is_true(math.abs(events[1].time - os.time()) < 100)
		for _, e in ipairs(events) do assert.is_truthy(e.direction) end
	end)

	it("stops when told", function()
		local events = events_of(function(c) c:reply("250 a", "250 b") end, function(s, stop)
			s:noop()
			stop()
			stop()
			s:noop()
		end)
		assert.equal("250 a\r\n", events[#events].bytes)
	end)

	it("shows plain bytes above TLS, and the records below to who asks", function()
		for _, below in ipairs { false, true } do
			local events = events_of(function(c)
				c:tls()
				c:reply "250 ok"
			end, function(s)
				s:handshake()
				s:noop()
			end, { below = below })
			local plain, records = 0, 0
			for _, e in ipairs(events) do
				if e.below then records = records + 1 end
				if e.direction == "send" and not e.below then
					assert.equal("NOOP\r\n", e.bytes)
					assert.equal("tls", e.layer)
					plain = plain + 1
				end
			end
			assert.equal(1, plain)
			assert.equal(below, records > 2)
		end
	end)

	it("tells TLS and AUTH with their objects", function()
		local events = events_of(function(c)
			c:tls()
			c:auth { mechanisms = "PLAIN" }
		end, function(s)
			s:handshake()
			s:auth { mechanism = "PLAIN", authname = "alice", password = "secret" }
		end)
		local found = {}
		for _, e in ipairs(events) do if e.event then found[e.event] = e end end
		assert.equal("TLSv1.3", found.tls.tls.protocol)
		assert.equal("PLAIN", found.auth.mechanism)
		assert.equal(235, found.auth.reply.code)
	end)

	it("says where the secret is, and mask hides it", function()
		local events = events_of(function(c) c:auth { mechanisms = "PLAIN" } end, function(s)
			s:auth { mechanism = "PLAIN", authname = "alice", password = "secret" }
		end)
		assert.equal("AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n", events[1].bytes)
		assert.same({ 12, 31 }, events[1].secret)
		assert.matches("^AUTH PLAIN <20 bytes hidden>", smtptest.mask(events[1]))
		assert.is_nil(events[2].secret)
	end)

	it("wants a function, and no misspelt option", function()
		local s <close> = peer.pair()
		assert.matches("^t/session_spec%.lua:%d+: bad listener %(function expected, got nil%)",
			complaint(function() local stop = s:on(nil) return stop end))
		assert.matches("unknown option 'bellow' %(did you mean 'below'%?%)",
			complaint(function() local stop = s:on(print, { bellow = true }) return stop end))
	end)
end)

-- ---------------------------------------------------------------- errors

describe("an error object", function()
	local SECRETS = { "AGFsaWNlAHM%+c3IzdA==", "s>sr3t", "secret" }

	it("has all fields, is one line, and its transcript hides secrets", function()
		peer.with(function(c) c:reply("535 no", "250 a") c:line() end, function(s)
			s:auth { mechanism = "PLAIN", authname = "alice", password = "s>sr3t" }
			assert.equal(250, s:noop().code)
			local err = peer.failure("EOF", s.noop, s)
			for _, field in ipairs { "code", "message", "op", "layer", "elapsed", "transcript", "session", "status" } do
				assert.is_truthy(err[field], field)
			end
			assert.is_true(smtptest.failed(err))
			assert.is_true(smtptest.failed(err, "REPLY", "EOF"))
			assert.is_false(smtptest.failed(err, "REPLY"))
			assert.is_false(smtptest.failed("EOF"))
			for _, text in ipairs { err.transcript, tostring(s.transcript), tostring(err) } do
				for _, secret in ipairs(SECRETS) do assert.not_matches(secret, text) end
			end
			assert.matches("C: AUTH PLAIN <%d+ bytes hidden>\nS: 535 no\n", err.transcript)
			assert.equal(tostring(s.transcript), err.transcript)
		end)
	end)

	it("hides a secret that send() wrote, in pieces", function()
		peer.with(function(c) c:reply "334 " c:reply "535 no" end, function(s)
			s:send("AUTH PLAIN\r\n", { split = 3 })
			assert.equal(334, s:reply().code)
			s:send("AGFsaWNlAHNlY3JldA==\r\n", { split = 5 })
			s:reply()
			assert.not_matches("AGFs", tostring(s.transcript))
			assert.not_matches("AHN", tostring(s.transcript))
		end)
	end)

	it("hides the secret of a command it names", function()
		peer.with(function(c) c:reply "535 5.7.8 no" end, function(s)
			local err = peer.failure("REPLY", function() s:command("AUTH PLAIN AGFsaWNlAHNlY3JldA=="):expect "2xx" end)
			assert.equal("AUTH PLAIN <20 bytes hidden>: expected 2xx, got 535 5.7.8 no", tostring(err))
			assert.not_matches("AGFs", err.transcript)
		end)
	end)

	it("of an unexpected reply is one line that a person understands", function()
		peer.with(function(c) c:line() c:send "550-5.1.1 no\27[31m\r\n550 5.1.1 such user\r\n" end, function(s)
			local err = peer.failure("REPLY", function() s:rcpt("x"):expect "2xx" end)
			assert.equal("RCPT TO:<x>: expected 2xx, got 550-5.1.1 no\\x1b[31m / 550 5.1.1 such user", tostring(err))
			assert.equal(550, err.reply.code)
			assert.equal(s, err.session)
			assert.equal(6, err.status)
			assert.matches("C: RCPT TO:<x>", err.transcript)
		end)
	end)

	it("maps its code to an exit status", function()
		local failure = require "smtptest.failure"
		for code, status in pairs {
			ECONNREFUSED = 3, EPIPE = 3, EOF = 3, RESOLVE = 3, TLS = 4, CERTIFICATE = 4, TRUNCATED = 4, SASL = 5,
			NOMECH = 5, INTERACT = 5, BASE64 = 5, REPLY = 6, TIMEOUT = 7, TOOLONG = 70, BUSY = 70, CANCELED = 70,
			DEADLOCK = 70,
		} do
			assert.equal(status, failure.new({ code = code, message = "x" }).status, code)
		end
	end)

	it("says how long it waited, not how long it might have", function()
		peer.with(function(c) c:rest() end, function(s)
			local err = peer.failure("TIMEOUT", s.reply, s, 0.01)
			assert.equal("reply: timed out after 0.01 s", tostring(err))
		end)
	end)

	it("of a second reader is BUSY", function()
		local s <close>, other = peer.pair()
		local first = task.spawn(s.reply, s)
		task.sleep(0)
		peer.failure("BUSY", s.reply, s)
		assert.equal("BUSY", peer.failure("BUSY", s.silent, s, 1).code)
		assert.equal("BUSY", peer.failure("BUSY", s.drain, s, 1).code)
		other:write "250 for the first\r\n"
		assert.equal(250, first:join(20).code)
		other:close()
	end)
end)
