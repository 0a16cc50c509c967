local peer = require "support.peer"
local server = require "smtptest.server"
local smtptest = require "smtptest"
local task = require "smtptest.task"
local visit = require "support.visit"

local LIMIT = 20

describe("server.listen", function()
	it("binds at once, and accepts when it is started", function()
		visit.beside({}, function(self, connect)
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
		visit.beside({}, function(self)
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

describe("server:wait", function()
	it("waits for messages, and says how many came when there are too few", function()
		visit.introduced({}, function(s, self)
			local waiting = task.spawn(function() return self:wait(2, LIMIT) end)
			visit.deliver(s, "1\r\n")
			visit.deliver(s, "2\r\n")
			assert.equal(2, #waiting:join(LIMIT))
			local list, message, code = self:wait(3, 0.01)
			assert.is_nil(list)
			assert.equal("2 of 3 messages came in 0.01 s", message)
			assert.equal("TIMEOUT", code)
		end)
	end)

	it("ends with the server, and leaves nothing when it is canceled", function()
		visit.introduced({}, function(s, self)
			local canceled = task.spawn(self.wait, self, 2)
			local waiting = task.spawn(function() return table.pack(self:wait(2)) end)
			visit.deliver(s, "1\r\n")
			canceled:cancel()
			assert.equal(1, #self.waiters)
			self:stop()
			assert.same({ nil, "the server is stopped", "CANCELED", n = 3 }, waiting:join(LIMIT))
			assert.equal("CANCELED", select(3, self:wait(2)))
			assert.equal(1, #self:wait(1))
		end)
	end)
end)

describe("limits", function()
	it("of a line: a longer one is taken away and refused", function()
		visit.introduced({ limits = { line = 1000 } }, function(s)
			assert.equal(250, s:command("NOOP " .. ("x"):rep(900)).code)
			assert.equal(500, s:command("NOOP " .. ("x"):rep(100000)).code)
			assert.equal(250, s:noop().code)
			local replies = s:pipeline { "NOOP " .. ("x"):rep(2000), "VRFY a", "NOOP" }
			assert.same({ 500, 252, 250 }, { replies[1].code, replies[2].code, replies[3].code })
		end)
	end)

	it("of a message: a larger one is read to its end and refused", function()
		visit.introduced({ limits = { message = 1000 } }, function(s, self)
			assert.same({ "1000" }, s.capabilities.SIZE)
			visit.deliver(s, ("x"):rep(900) .. "\r\n"):expect(250)
			visit.deliver(s, ("x\r\n"):rep(100000)):expect("5.3.4")
			assert.equal(1, #self.messages)
			s:mail("a@b.test")
			s:rcpt("a@b.test")
			s:bdat(("x"):rep(600)):expect(250)
			s:bdat(("x"):rep(600), { last = true }):expect("5.3.4")
			s:noop():expect(250)
		end)
	end)

	it("of a message are of its own bytes: no dots before lines, no end (RFC 1870)", function()
		visit.introduced({ limits = { message = 9 } }, function(s, self)
			for _, body in ipairs { "1234567\r\n", ".\r\n.\r\n.\r\n", "\r\n..\r\n.\r\n" } do
				s:mail("a@b.test", { SIZE = 9 }):expect(250)
				s:rcpt("a@b.test")
				s:data(body):expect(250)
				assert.equal(body, self.messages[#self.messages].data)
			end
			for _, body in ipairs { "12345678\r\n", ".\r\n.\r\n.2\r\n", ("\r\n"):rep(5), ("."):rep(20) } do
				visit.deliver(s, body):expect("5.3.4")
			end
			assert.equal(3, #self.messages)
		end)
	end)

	it("of recipients", function()
		visit.introduced({ limits = { recipients = 2 } }, function(s)
			s:mail("a@b.test")
			s:rcpt("a@b.test"):expect(250)
			s:rcpt("b@b.test"):expect(250)
			s:rcpt("c@b.test"):expect(452)
		end)
	end)

	it("of refusals on one connection", function()
		visit.introduced({ limits = { errors = 3 } }, function(s)
			s:command("FOO"):expect(500)
			s:command("FOO"):expect(500)
			local replies = s:pipeline { { bytes = "FOO\r\nFOO\r\n", replies = 2 } }
			assert.equal(421, replies[2].code)
			assert.equal("EOF", s:drain(1, 5).closed)
		end)
	end)

	it("of refusals are not of what may be tried again", function()
		visit.introduced({ limits = { errors = 2, recipients = 1 } }, function(s)
			s:mail("a@b.test")
			for _ = 1, 4 do s:rcpt("a@b.test") end
			s:noop():expect(250)
		end)
	end)

	it("of connections: one more is told so", function()
		visit.beside({ limits = { connections = 1 } }, function(_, connect)
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
			visit.beside({ timeout = 0.1 }, function(self, connect)
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
		visit.beside({ timeout = 0.05 }, function(_, connect)
			local s <close> = connect()
			assert.equal(421, s:reply(LIMIT).code)
			assert.equal("EOF", s:drain(1, 5).closed)
		end)
	end)
end)

describe("a listener of the server", function()
	it("may take itself away while it is told", function()
		visit.beside({}, function(self, connect)
			local told, remove = {}, nil
			remove = self:on_event(function(event)
				told[#told + 1] = "once " .. event.event
				remove()
			end)
			self:on_event(function(event) told[#told + 1] = event.event end)
			local s <close> = connect()
			s:hello()
			visit.deliver(s, "x\r\n"):expect(250)
			assert.same({ "once connect", "connect", "message" }, told)
		end)
	end)
end)

describe("TLS", function()
	it("starts after STARTTLS, and what was sent before it is dropped", function()
		visit.beside({ tls = "starttls" }, function(self, connect)
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
			visit.deliver(s, "x\r\n"):expect(250)
			assert.equal("ESMTPS", self.messages[1].with)
			assert.equal("TLSv1.3", self.messages[1].tls.protocol)
			local leftover = "NOOP\r\nMAIL FROM:<a@b.test>\r\n"
			assert.equal(leftover, self.messages[1].tls.leftover)
			assert.same({ leftover, leftover }, told)
		end)
	end)

	it("is there from the first byte", function()
		visit.beside({ tls = "implicit" }, function(_, connect)
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
		visit.beside({ tls = "starttls" }, function(self)
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
			visit.beside(plan, function(_, connect)
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
		visit.beside({ tls = "starttls", verify = true }, function(_, connect)
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
		visit.beside({ tls = "implicit", sasl = { mechanisms = "EXTERNAL PLAIN" } }, function(_, connect)
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
		visit.beside({ tls = "starttls" }, function(self)
			local plan = { host = "localhost", family = "inet", port = self.port, tls = "starttls", timeout = LIMIT }
			local first <close> = smtptest.open(plan)
			assert.is_false(first.tls.resumed)
			local second <close> = smtptest.open(peer.laid(plan, { session = first.tls.session }))
			assert.is_true(second.tls.resumed)
		end)
	end)

	it("that fails harms nobody else", function()
		visit.beside({ tls = "starttls" }, function(_, connect)
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
		visit.beside({ proxy = true }, function(self, connect)
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
			visit.beside({ proxy = true, timeout = 0.1, tls = way }, function(_, connect)
				local s <close> = connect { greeting = false }
				local slow = task.spawn(pcall, s.send, s, "PROXY TCP4 " .. ("1"):rep(90), { split = 1, gap = 0.02 })
				local bytes = s.transport:read(4096, 1)
				assert.equal(way == "none" and "421 4.4.2 timed out\r\n" or nil, bytes)
				slow:cancel()
			end)
		end
	end)

	it("may come with what follows it", function()
		visit.beside({ proxy = true }, function(_, connect)
			local s <close> = connect { greeting = false }
			s:send "PROXY TCP4 192.0.2.7 192.0.2.8 1 25\r\nNOOP\r\n"
			s:reply():expect(220)
			s:reply():expect(250)
		end)
	end)

	it("is asked for: without it there is no greeting", function()
		visit.beside({ proxy = true }, function(_, connect)
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
		visit.beside({}, function(self)
			local tasks = {}
			for i = 1, 300 do
				tasks[i] = task.spawn(function()
					local s <close> = smtptest.connect { host = "127.0.0.1", port = self.port, timeout = 60 }
					s:ehlo()
					visit.deliver(s, ("message %d\r\n"):format(i)):expect(250)
					s:quit()
				end)
			end
			for _, one in ipairs(tasks) do one:join(60) end
			assert.equal(300, #self.messages)
		end)
	end)
end)
