-- What a server must bear: whatever a client does, it is told so where that is possible, the next one is served, and
-- neither a task nor a descriptor stays behind.

local base64 = require "smtptest.base64"
local daemon = require "support.daemon"
local lfs = require "lfs"
local peer = require "support.peer"
local serve = require "support.serve"
local server = require "smtptest.server"
local smtptest = require "smtptest"
local task = require "smtptest.task"

local LIMIT = 20

local function descriptors()
	collectgarbage()
	collectgarbage()
	local n = 0
	for _ in lfs.dir "/proc/self/fd" do n = n + 1 end
	return n
end

-- Waits until no connection is left.
local function deserted(self)
	while self.count > 0 do
		self.left = task.promise()
		assert(self.left:wait(LIMIT), "a client is left")
	end
end

local function deliver(s)
	s:mail("a@client.test"):expect(250)
	s:rcpt("b@server.test"):expect(250)
	s:data("x\r\n"):expect(250)
	s:quit():expect(221)
end

-- Runs body(connect, server) beside a server, and looks at what is there afterwards; connect(plan) gives a session.
local function beside(plan, body)
	local all = { sasl = { users = { alice = "secret" }, maxssf = 512 } }
	for name, value in pairs(plan) do all[name] = value end
	local tasks, open = task.step(0), descriptors()
	do
		local self <close> = server.listen(all)
		self:on_event(function(event)
			if event.event == "gone" and self.left then self.left:set(true) end
		end)
		self:start()
		local function connect(changes)
			return smtptest.connect(peer.laid({ host = "localhost", family = "inet", port = self.port, timeout = LIMIT,
				protocol = plan.protocol, tls = plan.tls == "implicit" and "implicit" or nil }, changes))
		end
		body(connect, self)
		deserted(self)
		assert.equal(tasks + 1, task.step(0))
		local before = #self.messages
		do
			local s <close> = connect()
			s:hello()
			deliver(s)
		end
		assert.equal(before + 1, #self.messages)
	end
	assert.equal(tasks, task.step(0))
	-- A thread that has looked a name up closes its end of a pipe when it comes to it.
	daemon.eventually("as many descriptors as before", function() return descriptors() == open end)
end

-- The same with one session, after EHLO.
local function session_beside(plan, body)
	beside(plan, function(connect, self)
		local s <close> = connect()
		s:hello()
		body(s, self)
	end)
end

-- Fails unless the server ends the connection; gives the replies before that.
local function dropped(s)
	local replies = s:drain(LIMIT)
	assert.is_truthy(replies.closed, "the connection is still there")
	return replies
end

-- Bytes that nobody chose, the same in each run.
local function noise(n)
	local bytes, state = {}, 12345
	for i = 1, n do
		state = (state * 1103515245 + 12345) % 2147483648
		bytes[i] = string.char(state >> 16 & 255)
	end
	return table.concat(bytes)
end

describe("a client that does not speak SMTP", function()
	local lines = {
		"\0\r\n", "\255\254\r\n", "\27[31m\r\n", "GET / HTTP/1.1\r\n", "\r\n", " \r\n", "\r\r\n", "EHLO\0x\r\n", "MAIL FROM:\0\r\n",
		"MAIL FROM:<a@b\0c>\r\n", "EHLO \255\r\n", "\22\3\1\2\0\1\0\n", ("A"):rep(60000) .. "\r\n", "NOOP\n",
		("MAIL FROM:<a@%s>\r\n"):format(("b"):rep(60000)), "RCPT TO:<" .. ("@a,"):rep(10000) .. ":b@c>\r\n", "AUTH\r\n",
		"AUTH =\r\n", "AUTH \0\r\n", "AUTH " .. ("X"):rep(60000) .. "\r\n", "BDAT\0\r\n", ("%s%n"):rep(100) .. "\r\n",
	}
	it("is refused line by line, and may go on", function()
		session_beside({}, function(s)
			for _, line in ipairs(lines) do
				s:send(line)
				local reply = s:reply()
				assert.is_true(reply.code >= 421 and reply.code < 560, ("%q: %s"):format(line:sub(1, 100), reply))
				if reply.code == 421 then return end
			end
			s:noop():expect("250")
		end)
	end)

	it("is told so when the size of a chunk is none", function()
		for _, size in ipairs { "-1", "1e3", "0x10", ("9"):rep(19), "99999999999999999999999", "1 NOTLAST", "1LAST",
			"1 LAST x", "\255" } do
			session_beside({}, function(s)
				s:send(("BDAT %s\r\n"):format(size))
				assert.equal(421, dropped(s)[1].code)
			end)
		end
	end)

	it("is sent away after too many errors, whatever it sends", function()
		for _, bytes in ipairs { noise(200000), ("\r\n"):rep(1000), ("\n"):rep(1000), ("\0\r\n"):rep(1000) } do
			session_beside({}, function(s)
				-- It may be closed before all is sent.
				pcall(s.send, s, bytes .. "\n" .. ("X\r\n"):rep(200))
				local replies = dropped(s)
				assert.equal(421, replies[#replies].code)
			end)
		end
	end)

	it("may go in the middle of a line", function()
		for _, bytes in ipairs { "", "E", "EHLO x\r", "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.",
			(noise(5000):gsub("\n", "")) } do
			session_beside({}, function(s, self)
				s:send(bytes)
				s:shutdown()
				dropped(s)
				assert.equal(0, #self.messages)
			end)
		end
	end)

	it("may half-close, and is answered to the end", function()
		session_beside({}, function(s, self)
			s:send "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\nNOOP\r\nQUIT\r\n"
			s:shutdown()
			local codes = {}
			for i, reply in ipairs(dropped(s)) do codes[i] = reply.code end
			assert.same({ 250, 250, 354, 250, 250, 221 }, codes)
			assert.equal("x\r\n", self.messages[1].data)
		end)
	end)
end)

describe("a client that never pauses", function()
	it("keeps nobody waiting", function()
		serve({}, function(port)
			local function connect()
				return smtptest.connect { host = "127.0.0.1", port = port, timeout = LIMIT }
			end
			local hasty <close> = connect()
			local lines = ("NOOP\r\n"):rep(20000)
			local writing = task.spawn(function() while hasty.transport:write(lines, LIMIT) do end end)
			local reading = task.spawn(function() while hasty.transport:read(65536, LIMIT) do end end)
			for _ = 1, 5 do
				local other <close> = connect()
				other:ehlo():expect(250)
			end
			writing:cancel()
			reading:cancel()
		end)
	end)
end)

describe("a slow client", function()
	it("is sent away after the time-out, though it sends a byte now and then", function()
		beside({ timeout = 0.2 }, function(connect)
			local slow <close> = connect()
			local writing = task.spawn(pcall, slow.send, slow, ("x"):rep(1000), { split = 1, gap = 0.02 })
			local other <close> = connect()
			other:ehlo():expect(250)
			assert.equal(421, slow:reply().code)
			writing:cancel()
		end)
	end)

	it("is served when it is in time, one byte after the other", function()
		session_beside({}, function(s, self)
			s:send("MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n..\r\n.\r\nQUIT\r\n", { split = 1, gap = 0.001 })
			assert.equal(5, #dropped(s))
			assert.equal(".\r\n", self.messages[1].data)
		end)
	end)

	it("that never reads is left without a word, and keeps nobody waiting", function()
		local said = {}
		beside({ timeout = 0.5, on = { connect = function(client)
			client:through(function(bytes, write)
				said[#said + 1] = bytes:sub(-100)
				return write(bytes)
			end)
		end } }, function(connect, self)
			local deaf <close> = connect()
			deaf:ehlo()
			local lines = ("NOOP\r\n"):rep(10000)
			local writing = task.spawn(function()
				while true do
					local ok, _, code = deaf.transport:write(lines, LIMIT)
					if not ok then return code end
				end
			end)
			local other <close> = connect()
			other:ehlo():expect(250)
			other:quit()
			local code = writing:join(LIMIT)
			assert.is_true(code == "ECONNRESET" or code == "EPIPE", code)
			assert.equal(0, #self.messages)
			-- Which would have been waited for once more.
			assert.is_nil(table.concat(said):find("421 ", 1, true))
		end)
	end)
end)

describe("TLS", function()
	local hello = "\22\3\1\2\0\1\0\1\252\3\3"         -- the first bytes of a ClientHello of 512

	for _, way in ipairs { "starttls", "implicit" } do
		local function clear(connect)
			local s = connect { tls = "none", greeting = way == "starttls" }
			if way == "starttls" then
				s:ehlo()
				s:command("STARTTLS"):expect(220)
			end
			return s
		end

		it("may be broken off in the handshake: " .. way, function()
			for _, bytes in ipairs { "", "\22", hello, hello .. noise(300), "EHLO x\r\n", noise(1000), "\22\3\1\0\0", "\22\3\3\255\255",
				"\21\3\3\0\2\2\40", "\23\3\3\0\1x" } do
				for _, ending in ipairs { "shutdown", "close", "abort" } do
					beside({ tls = way }, function(connect)
						local s <close> = clear(connect)
						s:send(bytes)
						s[ending](s)
						if ending == "shutdown" then
							while s.transport:read(4096, LIMIT) do end
						end
					end)
				end
			end
		end)

		it("is not waited for longer than the time-out: " .. way, function()
			beside({ tls = way, timeout = 0.1 }, function(connect)
				local s <close> = clear(connect)
				s:send(hello)
				-- Nothing in clear, either.
				assert.is_nil((s.transport:read(4096, LIMIT)))
			end)
		end)

		it("ends when a record is no record: " .. way, function()
			for _, bytes in ipairs { noise(100), "\23\3\3\0\32" .. noise(32), "\23\3\3\255\255", "QUIT\r\n", "\21\3\3\0\2\2\40" } do
				beside({ tls = way }, function(connect, self)
					local s <close> = connect()
					if way == "starttls" then s:starttls():expect(220) end
					s:ehlo():expect(250)
					s:mail("a@b.test"):expect(250)
					s:rcpt("a@b.test"):expect(250)
					s.transport.wire:write(bytes .. noise(70000), task.now() + LIMIT)
					s.transport.wire:shutdown()
					assert.is_truthy(dropped(s).closed)
					assert.equal(0, #self.messages)
				end)
			end
		end)
	end
end)

describe("AUTH", function()
	local STARTS = { ["PLAIN"] = true, ["LOGIN"] = true, ["CRAM-MD5"] = true, ["DIGEST-MD5"] = true, ["SCRAM-SHA-256"] = true }

	it("with what is not base64 is refused, first or later", function()
		for mechanism in pairs(STARTS) do
			session_beside({}, function(s)
				for _, text in ipairs { "?", "A", "AAA", "AA=A", "====", "QUJD QUJD", "\255\255\255\255", "==", "Q===" } do
					assert.equal(501, s:command(("AUTH %s %s"):format(mechanism, text)).code, text)
					assert.equal(334, s:command("AUTH " .. mechanism).code)
					assert.equal(501, s:command(text).code, text)
					assert.equal(250, s:noop().code)
				end
			end)
		end
	end)

	it("has no initial response where the server begins (RFC 4954 section 4)", function()
		session_beside({}, function(s)
			assert.equal(501, s:command("AUTH CRAM-MD5 QUJD").code)
			assert.equal(501, s:command("AUTH CRAM-MD5 =").code)
		end)
	end)

	it("may be canceled in any step, and begun again", function()
		for mechanism in pairs(STARTS) do
			session_beside({}, function(s)
				for _ = 1, 3 do
					assert.equal(334, s:command("AUTH " .. mechanism).code)
					assert.equal(501, s:command("*").code)
				end
				assert.equal(334, s:command("AUTH LOGIN").code)
				assert.equal(334, s:command(base64.encode "alice").code)
				assert.equal(501, s:command("*").code)
				assert.equal(235, s:auth { mechanism = mechanism, authname = "alice", password = "secret", maxssf = 0 }.code)
			end)
		end
	end)

	it("with random responses is refused", function()
		for mechanism in pairs(STARTS) do
			session_beside({}, function(s)
				for _, bytes in ipairs { "", "\0", "\0\0", "\0\0\0", "=", ",", ("a,"):rep(1000), noise(10), noise(1000), "n,,n=,r=",
					"y,,n=alice,r=" .. ("r"):rep(3000), "username=\"alice", 'nonce="",', ("\255"):rep(500) } do
					local reply = s:command(("AUTH %s %s"):format(mechanism, bytes == "" and "=" or base64.encode(bytes)))
					local steps = 0
					while reply.code == 334 and steps < 5 do
						reply, steps = s:command(base64.encode(bytes)), steps + 1
					end
					assert.is_true(reply.code == 535 or reply.code == 501, tostring(reply))
				end
				assert.equal(250, s:noop().code)
			end)
		end
	end)

	it("with a line that is too long is refused, and the line is read away", function()
		session_beside({}, function(s)
			assert.equal(500, s:command("AUTH PLAIN " .. ("A"):rep(100000)).code)
			for mechanism in pairs(STARTS) do
				assert.equal(334, s:command("AUTH " .. mechanism).code)
				assert.equal(535, s:command(("A"):rep(1000000)).code)
				assert.equal(334, s:command("AUTH " .. mechanism).code)
				assert.equal(500, s:command(("A"):rep(4000000)).code)
				assert.equal(250, s:noop().code)
			end
		end)
	end)
end)

describe("a SASL layer", function()
	for _, factor in ipairs { 1, 128 } do
		it(("ends the connection when a packet of factor %d lies"):format(factor), function()
			for _, bytes in ipairs { "\0\0\0\0", "\255\255\255\255", "\127\255\255\255", "\0\1\0\1", "\0\0\0\1x", "\0\0\0\32" .. noise(32),
				"\0\0\255\255" .. noise(65535), noise(5000), "QUIT\r\n", ("\0"):rep(1000) } do
				session_beside({}, function(s, self)
					s:auth { mechanism = "DIGEST-MD5", authname = "alice", password = "secret", minssf = factor, maxssf = factor }
						:expect(235)
					assert.equal(factor, s.ssf)
					s:ehlo():expect(250)
					s:mail("a@b.test"):expect(250)
					s.transport.wire:write(bytes, task.now() + LIMIT)
					s.transport.wire:shutdown()
					dropped(s)
					assert.equal(0, #self.messages)
				end)
			end
		end)

		it(("ends the connection when a packet of factor %d comes twice"):format(factor), function()
			session_beside({}, function(s)
				s:auth { mechanism = "DIGEST-MD5", authname = "alice", password = "secret", minssf = factor, maxssf = factor }
					:expect(235)
				local packet
				s:on(function(event)
					if event.direction == "send" and event.below then packet = event.bytes end
				end, { below = true })
				s:ehlo():expect(250)
				assert.is_string(packet)
				s.transport.wire:write(packet, task.now() + LIMIT)
				dropped(s)
			end)
		end)
	end
end)

describe("a session", function()
	-- Each leaves the session in a state in which it may end.
	local steps = {
		{ "a connection", function() end },
		{ "half a command", function(s) s:send "EH" end },
		{ "EHLO", function(s) s:send "LO x\r\n"; s:reply():expect(250) end },
		{ "STARTTLS", function(s) s:command("STARTTLS"):expect(220) end },
		{ "the handshake", function(s) s:handshake() end },
		{ "EHLO in TLS", function(s) s:ehlo():expect(250) end },
		{ "AUTH", function(s) s:command("AUTH CRAM-MD5"):expect(334); s:command("*"):expect(501)
			s:send "AUTH CRAM-MD5\r\n" end },
		{ "the challenge", function(s) s:reply():expect(334) end },
		{ "the layer", function(s)
			s:command("*"):expect(501)
			s:auth { mechanism = "DIGEST-MD5", authname = "alice", password = "secret", minssf = 128, maxssf = 512 }:expect(235)
			assert.equal(128, s.ssf)
		end },
		{ "EHLO in the layer", function(s) s:ehlo():expect(250) end },
		{ "MAIL", function(s) s:mail("a@b.test"):expect(250) end },
		{ "RCPT", function(s) s:rcpt("a@b.test"):expect(250) end },
		{ "a chunk", function(s) s:bdat("x"):expect(250) end },
		{ "half a chunk", function(s) s:send "BDAT 10\r\nxxxxx" end },
		{ "the chunk's end", function(s) s:send "xxxxx"; s:reply():expect(250); s:rset():expect(250) end },
		{ "DATA", function(s)
			s:mail("a@b.test"):expect(250)
			s:rcpt("a@b.test"):expect(250)
			s:command("DATA"):expect(354)
		end },
		{ "half a message", function(s) s:send(("x\r\n"):rep(50000) .. "\r\n.") end },
		{ "a reply that is not read", function(s) s:send "\r\nNOOP\r\nNOOP\r\n" end },
		{ "QUIT", function(s) s:send "QUIT\r\n" end },
	}

	for _, ending in ipairs { "abort", "close", "shutdown" } do
		it("may end anywhere, by " .. ending, function()
			for last = 1, #steps do
				local ok, err = pcall(beside, { tls = "starttls" }, function(connect)
					local s <close> = connect()
					for i = 1, last do steps[i][2](s) end
					s[ending](s)
					if ending == "shutdown" then dropped(s) end
				end)
				if not ok then error(("after %s: %s"):format(steps[last][1], err), 0) end
			end
		end)
	end
end)

describe("the memory of a server", function()
	-- A sanitizer keeps what is freed: it looks at the same with less.
	local PLAIN = (os.getenv "SAN" or "") == ""
	local MEBIBYTES = PLAIN and 300 or 30
	local SPARE = PLAIN and 8 << 10 or math.huge       -- KiB
	local PIECE = ("x"):rep(1 << 20)

	local function peak(child)
		local file <close> = assert(io.open(("/proc/%d/status"):format(child:pid())))
		return tonumber(file:read("a"):match "VmHWM:%s*(%d+) kB")
	end

	-- Runs body(session, port), during which a server, a process of its own, does not grow.
	-- @param flags  of the server
	-- @param plan   of the session
	local function bounded(body, flags, plan)
		local words = { "-a", "alice", "-w", "secret", "-e", "(...).limits.message = 100000" }
		table.move(flags or {}, 1, #(flags or {}), #words + 1, words)
		serve(words, function(port, child)
			local s <close> = smtptest.open(peer.laid({ host = "localhost", family = "inet", port = port, timeout = 60 }, plan))
			local before = peak(child)
			body(s, port)
			local grown = peak(child) - before
			assert.is_true(grown < SPARE, ("it has grown by %d KiB"):format(grown))
		end)
	end

	local function stream(s, piece)
		for _ = 1, MEBIBYTES do s:send(piece) end
	end

	for where, how in pairs {
		["in clear"] = {},
		["inside TLS"] = { flags = { "-s" }, plan = { tls = "implicit" } },
		["inside a SASL layer"] = { plan = { mechanism = "DIGEST-MD5", authname = "alice", password = "secret", minssf = 128 } },
	} do
		it("is bounded when a line does not end " .. where, function()
			bounded(function(s)
				stream(s, PIECE)
				s:send "\r\n"
				assert.equal(500, s:reply().code)
				s:noop():expect(250)
			end, how.flags, how.plan)
		end)
	end

	it("is bounded when an answer to a challenge does not end", function()
		bounded(function(s)
			s:command("AUTH LOGIN"):expect(334)
			stream(s, PIECE)
			s:send "\r\n"
			assert.equal(500, s:reply().code)
			s:noop():expect(250)
		end)
	end)

	for name, piece in pairs { ["of one line"] = PIECE, ["of many lines"] = ("..\r\nx\r\n"):rep(1 << 17) } do
		it("is bounded when a message does not end: " .. name, function()
			bounded(function(s)
				s:mail("a@b.test"):expect(250)
				s:rcpt("a@b.test"):expect(250)
				s:command("DATA"):expect(354)
				stream(s, piece)
				s:send "\r\n.\r\n"
				assert.equal("5.3.4", s:reply().enhanced)
				s:noop():expect(250)
			end)
		end)
	end

	it("is bounded when a chunk is too large, or many are", function()
		bounded(function(s)
			s:mail("a@b.test"):expect(250)
			s:rcpt("a@b.test"):expect(250)
			s:send(("BDAT %d\r\n"):format(MEBIBYTES << 20))
			stream(s, PIECE)
			assert.equal("5.3.4", s:reply().enhanced)
			s:mail "a@b.test"
			s:rcpt "a@b.test"
			for _ = 1, 20 do s:bdat(PIECE) end
			s:noop():expect(250)
		end)
	end)

	it("is bounded when a client never reads", function()
		bounded(function(s, port)
			local lines = ("EHLO x\r\n"):rep(1 << 17)
			local ok, code, _
			repeat ok, _, code = s.transport:write(lines, 60) until not ok
			assert.is_true(code == "ECONNRESET" or code == "EPIPE", code)
			local other <close> = smtptest.connect { host = "127.0.0.1", port = port, timeout = 60 }
			other:ehlo():expect(250)
		end, { "--timeout=1" })
	end)
end)
