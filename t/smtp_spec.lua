local peer = require "support.peer"
local socket = require "smtptest.core.socket"
local task = require "smtptest.task"
local transport = require "smtptest.transport"

local complaint, seen = peer.complaint, peer.seen

-- ---------------------------------------------------------------- commands

describe("a verb is sent as its line:", function()
	local lines = {
		{ "EHLO smtptest", function(s) return s:ehlo() end },
		{ "EHLO [192.0.2.1]", function(s) return s:ehlo "[192.0.2.1]" end },
		{ "HELO smtptest", function(s) return s:helo() end },
		{ "HELO me", function(s) return s:helo "me" end },
		{ "LHLO smtptest", function(s) return s:lhlo() end },
		{ "RSET", function(s) return s:rset() end },
		{ "NOOP", function(s) return s:noop() end },
		{ "NOOP a b", function(s) return s:noop "a b" end },
		{ "VRFY alice", function(s) return s:vrfy "alice" end },
		{ "EXPN list", function(s) return s:expn "list" end },
		{ "HELP", function(s) return s:help() end },
		{ "HELP MAIL", function(s) return s:help "MAIL" end },
		{ "QUIT", function(s) return s:quit() end },
		{ "MAIL FROM:<a@b.test>", function(s) return s:mail "a@b.test" end },
		{ "MAIL FROM:<>", function(s) return s:mail "" end },
		{ "MAIL FROM:<<a>>", function(s) return s:mail "<a>" end },
		{ "MAIL FROM:<a> BODY=8BITMIME SIZE=1", function(s) return s:mail("a", { "BODY=8BITMIME", "SIZE=1" }) end },
		{ "MAIL FROM:<a> SIZE=100 SMTPUTF8", function(s) return s:mail("a", { SMTPUTF8 = true, SIZE = 100 }) end },
		{ "MAIL FROM:<a> SIZE=0", function(s) return s:mail("a", { SMTPUTF8 = false, SIZE = 0 }) end },
		{ "MAIL FROM:<a>", function(s) return s:mail("a", {}) end },
		{ "RCPT TO:<b@c.test>", function(s) return s:rcpt "b@c.test" end },
		{ "RCPT TO:<b> NOTIFY=NEVER ORCPT=rfc822;b", function(s)
			return s:rcpt("b", { ORCPT = "rfc822;b", NOTIFY = "NEVER" })
		end },
		{ "", function(s) return s:command "" end },
		{ "xyzzy \1\255", function(s) return s:command "xyzzy \1\255" end },
	}
	for _, case in ipairs(lines) do
		it(case[1], function()
			local answer
			assert.equal(case[1] .. "\r\n", seen(function(s) answer = case[2](s) end))
			assert.equal(250, answer.code)
			assert.equal(case[1], answer.command)
			assert.is_true(answer.elapsed >= 0)
		end)
	end

	it("with the plan's name in EHLO, HELO and LHLO", function()
		assert.equal("EHLO me\r\nHELO me\r\nLHLO me\r\nEHLO you\r\n", seen(function(s)
			s:ehlo()
			s:helo()
			s:lhlo()
			s:ehlo "you"
		end, { helo = "me" }))
	end)
end)

describe("a command", function()
	it("is refused with CR, LF or NUL inside, and the line that wrote it is blamed", function()
		local bytes = seen(function(s)
			for bad, shown in pairs { ["\r"] = "\\r", ["\n"] = "\\n", ["\0"] = "\\0" } do
				for _, call in ipairs {
					function() local r = s:command("NOOP" .. bad) return r end,
					function() local r = s:mail("a>" .. bad .. "RCPT TO:<b") return r end,
					function() local r = s:mail("a", { "X=" .. bad }) return r end,
					function() local r = s:rcpt("a", { X = bad }) return r end,
					function() local r = s:noop(bad) return r end,
					function() local r = s:ehlo("me" .. bad) return r end,
					function() local r = s:helo("me" .. bad) return r end,
					function() local r = s:vrfy("me" .. bad) return r end,
				} do
					local message = complaint(call)
					assert.matches("^t/smtp_spec%.lua:%d+: bad command: ", message)
					assert.is_truthy(message:find(shown, 1, true), message)
				end
			end
		end)
		assert.equal("", bytes)
	end)

	it("must be a string, an address too", function()
		assert.equal("", seen(function(s)
			assert.matches("^t/smtp_spec%.lua:%d+: bad command %(string expected, got nil%)",
				complaint(function() local r = s:command(nil) return r end))
			assert.matches("^t/smtp_spec%.lua:%d+: bad address %(string expected, got nil%)",
				complaint(function() local r = s:mail() return r end))
			assert.matches("^t/smtp_spec%.lua:%d+: bad address %(string expected, got table%)",
				complaint(function() local r = s:rcpt {} return r end))
			assert.matches("^t/smtp_spec%.lua:%d+: bad parameters",
				complaint(function() local r = s:mail("a", "SIZE=1") return r end))
		end))
	end)

	it("wants words and times of the right kind", function()
		assert.equal("", seen(function(s)
			for _, verb in ipairs { "ehlo", "helo", "lhlo", "noop", "vrfy", "expn", "help" } do
				assert.matches("^t/smtp_spec%.lua:%d+: bad argument %(string expected, got a table%)",
					complaint(function() local r = s[verb](s, {}) return r end))
			end
			for _, call in ipairs { function() local r = s:reply "5" return r end, function() local r = s:drain() return r end,
				function() local r = s:drain(1, "2") return r end, function() local r = s:silent() return r end } do
				assert.matches("^t/smtp_spec%.lua:%d+: bad time %(seconds expected, got a ", complaint(call))
			end
		end))
	end)

	it("is a value whatever its reply is", function()
		for _, text in ipairs { "550 no", "421 bye", "000 zero", "999 big", "hello", "", "25", "250" } do
			peer.with(function(c) c:reply(text, "250 next") end, function(s)
				local answer = s:noop()
				assert.equal(tonumber(text:match "^%d%d%d") or 0, answer.code)
				assert.equal(text .. "\r\n", answer.raw)
				assert.equal(250, s:noop().code)
			end)
		end
	end)
end)

describe("the capabilities", function()
	it("come with EHLO, are gone after HELO and after a refused EHLO", function()
		peer.with(function(c)
			c:capabilities("PIPELINING", "SIZE 1000", "AUTH PLAIN", "AUTH=LOGIN")
			c:reply "250 HELO"
			c:capabilities "DSN"
			c:reply "500 no"
		end, function(s)
			s:ehlo()
			assert.same({ "PIPELINING", "SIZE", "AUTH", PIPELINING = {}, SIZE = { "1000" }, AUTH = { "PLAIN", "LOGIN" } },
				s.capabilities)
			s:helo()
			assert.same({}, s.capabilities)
			s:ehlo()
			assert.same({ "DSN", DSN = {} }, s.capabilities)
			s:ehlo()
			assert.same({}, s.capabilities)
		end)
	end)
end)

-- ---------------------------------------------------------------- replies

describe("a reply", function()
	it("ends only at a line whose fourth byte is no hyphen, however it is cut", function()
		local wire = "250-a\r\n250-b\n250\r\n354 go\r\nxyz-\r\n200 c\r\n"
		local s, other = peer.pair()
		local writer = task.spawn(function()
			for i = 1, #wire do
				other:write(wire:sub(i, i))
				task.sleep(0)
			end
		end)
		assert.equal("250-a\r\n250-b\n250\r\n", s:reply(5).raw)
		assert.equal("354 go\r\n", s:reply(5).raw)
		assert.equal("xyz-\r\n200 c\r\n", s:reply(5).raw)
		writer:join(20)
		s:close()
	end)

	it("that is not complete in time is kept for the next call", function()
		local s, other = peer.pair()
		other:write "250-a\r\n250-b\r\n25"
		peer.failure("TIMEOUT", s.reply, s, 0.01)
		peer.failure("TIMEOUT", s.reply, s, 0)
		other:write "0 c\r\n"
		assert.equal("250-a\r\n250-b\r\n250 c\r\n", s:reply(5).raw)
		s:close()
	end)

	it("has a time-out for the whole", function()
		local s, other = peer.pair()
		local dripping = task.spawn(function()
			while true do
				other:write "250-x\r\n"
				task.sleep(0.01)
			end
		end)
		peer.failure("TIMEOUT", s.reply, s, 0.1)
		dripping:cancel()
		s:close()
	end)

	it("may be of a line too long: TOOLONG, and its bytes are kept", function()
		local s, other = peer.pair { maxline = 20 }
		other:write(("250 %s\r\n"):format(("x"):rep(14)))
		assert.equal(250, s:reply(5).code)
		other:write "250-ok\r\n250 123456789012345678901234567890"
		local err = peer.failure("TOOLONG", s.reply, s, 5)
		assert.equal(70, err.status)
		assert.matches("20 bytes", tostring(err))
		peer.failure("TOOLONG", s.reply, s, 5)
		assert.equal("250 123456789012345678901234567890", s.transport:read(100))
		s:close()
	end)

	it("may be of too many lines: TOOLONG at 16 times maxline", function()
		local s, other = peer.pair { maxline = 10 }
		other:write(("250-5678\r\n"):rep(16) .. "250-more\r\n250 end\r\n")
		local err = peer.failure("TOOLONG", s.reply, s, 5)
		assert.matches("a reply of more than 160 bytes", tostring(err))
		s:close()
	end)
end)

-- ---------------------------------------------------------------- exact bytes

-- What arrives, a write each.
local function writes(bytes, options)
	local s, other = peer.pair(nil, "seqpacket")
	s:send(bytes, options)
	s:close()
	local got = {}
	for i = 1, 100 do
		got[i] = other:read(100000)
		if not got[i] then break end
	end
	other:close()
	return got
end

describe("send", function()
	it("sends what it is given, nothing corrected", function()
		local all = {}
		for i = 0, 255 do all[#all + 1] = string.char(i) end
		local bytes = table.concat(all) .. "\n.\n\r.\r\r\n.\r\n"
		assert.same({ bytes }, writes(bytes))
		assert.same({}, writes "")
	end)

	it("makes one write of each piece", function()
		assert.same({ "abcdefg" }, writes("abcdefg", { split = 100 }))
		assert.same({ "ab", "cd", "ef", "g" }, writes("abcdefg", { split = 2 }))
		assert.same({ "a", "bcd", "ef", "g" }, writes("abcdefg", { split = { 1, 3, 2 } }))
		assert.same({ "abc", "d", "e", "f", "g" }, writes("abcdefg", { split = { 3, 1 } }))
		local calls = {}
		assert.same({ "a", "bc", "def", "g" }, writes("abcdefg", { split = function(offset, rest)
			calls[#calls + 1] = { offset, rest }
			return #calls
		end }))
		assert.same({ { 0, 7 }, { 1, 6 }, { 3, 4 }, { 6, 1 } }, calls)
	end)

	it("refuses a split that never ends", function()
		local s <close> = peer.pair()
		for _, split in ipairs { 0, -1, {}, { 1, 0 }, { "x" }, function() end, function() return 1.5 end } do
			assert.matches("^t/smtp_spec%.lua:%d+: bad split: a size of at least 1 expected",
				complaint(function() s:send("abc", { split = split }) end))
		end
		assert.matches("unknown option 'spilt' %(did you mean 'split'%?%)",
			complaint(function() s:send("", { spilt = 1 }) end))
		assert.matches("^t/smtp_spec%.lua:%d+: bad bytes %(string expected, got nil%)", complaint(function() s:send() end))
		assert.matches("^t/smtp_spec%.lua:%d+: options are a table, got number", complaint(function() s:send("", 5) end))
	end)

	it("waits between pieces, not after the last", function()
		local s, other = peer.pair(nil, "seqpacket")
		local times = {}
		s:on(function(e) if e.direction == "send" then times[#times + 1] = task.now() end end)
		s:send("abc", { split = 1, gap = 0.03 })
		local rest = task.now() - times[3]
		assert.is_true(times[2] - times[1] >= 0.03)
		assert.is_true(times[3] - times[2] >= 0.03)
		assert.is_true(rest < 0.03)
		assert.equal("a", other:read(10))
		s:close()
	end)

	it("switches TCP_NODELAY on", function()
		peer.over_tcp(function(c) c:rest() end, function(s)
			s.transport.wire.sock:option("nodelay", false)
			s:send("ab", { split = 1 })
			assert.is_true(s.transport.wire.sock:option "nodelay")
		end, { greeting = false })
	end)

	it("makes one TLS record of each piece", function()
		-- One SSL_read gives at most one record.
		local sizes = {}
		peer.with(function(c)
			c:tls()
			c:send "220 go\r\n"
			local bytes = c.transport:read(16384)
			while bytes do
				sizes[#sizes + 1] = #bytes
				bytes = c.transport:read(16384)
			end
		end, function(s)
			s:handshake()
			s:reply()
			s:send(("x"):rep(10), { split = { 1, 2, 3 } })
			s:shutdown()
			s:silent(20)
		end)
		assert.same({ 1, 2, 3, 3, 1 }, sizes)
	end)
end)

-- ---------------------------------------------------------------- silence

describe("drain", function()
	it("collects until nothing comes", function()
		local s, other = peer.pair()
		other:write "250 a\r\n250-b\r\n250 c\r\n550-unf\r\n550 in"
		local replies = s:drain(0.01)
		assert.equal(2, #replies)
		assert.equal("550-unf\r\n550 in", replies.rest)
		assert.is_nil(replies.closed)
		other:write "ished\r\n"
		assert.equal("550-unf\r\n550 inished\r\n", s:reply(5).raw)
		assert.same({ 0, "" }, { #s:drain(0), s:drain(0).rest })
		s:close()
	end)

	it("waits as long as bytes come, also for a reply that takes longer than the quiet", function()
		local s, other = peer.pair()
		local writer = task.spawn(function()
			for c in ("250-slow\r\n250 but steady\r\n"):gmatch "." do
				other:write(c)
				task.sleep(0.005)
			end
		end)
		local replies = s:drain(0.1)
		assert.equal(1, #replies)
		assert.equal("slow\nbut steady", replies[1].text)
		writer:join(20)
		s:close()
	end)

	it("ends after the longest time, whatever comes", function()
		local s, other = peer.pair()
		local writer = task.spawn(function()
			while other:write "250 again\r\n" do task.sleep(0.01) end
		end)
		local start = task.now()
		local replies = s:drain(5, 0.1)
		assert.is_true(task.now() - start < 2)
		assert.is_true(#replies > 1)
		s:close()
		writer:join(20)
	end)

	it("tells how the connection ended and raises nothing", function()
		local s, other = peer.pair()
		other:write "421 bye\r\nhal"
		other:close()
		local replies = s:drain(5)
		assert.equal("EOF", replies.closed)
		assert.equal("421 bye", tostring(replies[1]))
		assert.equal("hal", replies.rest)
		assert.is_true(replies:is(421))
		assert.equal("EOF", s:drain(5).closed)
		s:close()
	end)

	it("tells a reset and a truncation", function()
		peer.over_tcp(function(c)
			c:line()
			c.transport:abort()
		end, function(s)
			s:send "x\r\n"
			assert.equal("ECONNRESET", s:drain(5).closed)
		end, { greeting = false })
		peer.with(function(c) c:tls() end, function(s)
			s:handshake()
			assert.equal("TRUNCATED", s:drain(5).closed)
		end)
	end)

	it("raises TOOLONG with what came before", function()
		local s, other = peer.pair { maxline = 10 }
		other:write "250 a\r\n250 much too long\r\n"
		local err = peer.failure("TOOLONG", s.drain, s, 0.1)
		assert.equal(1, #err.replies)
		s:close()
	end)

	it("leaves no listener behind", function()
		local s, other = peer.pair()
		other:write "250 a\r\n"
		s:drain(0.01)
		assert.equal(0, #s.transport.listeners)
		s:close()
	end)
end)

describe("silent", function()
	it("is true when nothing comes, and waits that long", function()
		local s, other = peer.pair()
		local start = task.now()
		assert.is_true(s:silent(0.03))
		assert.is_true(task.now() - start >= 0.03)
		assert.is_truthy(other)
		s:close()
	end)

	it("is false at once with the bytes, which are left unread", function()
		local s, other = peer.pair()
		other:write "250 a\r\n250 b\r\n"
		local start = task.now()
		assert.same({ false, "250 a\r\n250 b\r\n" }, { s:silent(20) })
		assert.is_true(task.now() - start < 5)
		assert.equal("250 a", tostring(s:reply()))
		assert.same({ false, "250 b\r\n" }, { s:silent(0) })
		assert.equal("250 b", tostring(s:reply()))
		s:close()
	end)

	it("is false as soon as a byte comes, in clear and under TLS", function()
		for _, secure in ipairs { false, true } do
			local waiting = task.promise()
			peer.with(function(c)
				if secure then c:tls() end
				c:send "220 ready\r\n"
				waiting:wait(20)
				c:send "2"
				c:rest()
			end, function(s)
				if secure then s:handshake() end
				s:reply()
				local writer = task.spawn(function() waiting:set(true) end)
				local start = task.now()
				assert.same({ false, "2" }, { s:silent(5) })
				assert.is_true(task.now() - start < 2.5)
				writer:join(20)
				s:shutdown()
			end)
		end
	end)

	it("tells an end of the connection", function()
		local s, other = peer.pair()
		other:close()
		assert.same({ false, "", "EOF" }, { s:silent(20) })
		s:close()
	end)

	it("knows a TLS record that says nothing from bytes", function()
		peer.with(function(c)
			c:tls()
			c:rest()
		end, function(s)
			s:handshake()
			assert.is_true(s:silent(0.02))
			s:shutdown()
		end)
	end)
end)

describe("sequences that break the protocol", function()
	it("are sent like any other", function()
		assert.equal("DATA\r\nRCPT TO:<x>\r\nAUTH PLAIN\r\nQUIT\r\nNOOP\r\n", seen(function(s)
			s:data "never sent"
			s:rcpt "x"
			s:command "AUTH PLAIN"
			s:quit()
			s:noop()
		end))
	end)

	it("may be driven from a transport of the script's own", function()
		local a, b = transport.pair()
		assert.is_true(a:write "250 x\r\n")
		assert.equal("250 x\r\n", b:line())
		a:close()
		assert.equal("EOF", select(3, b:line()))
		local one, two = socket.pair()
		local t = transport.fromfd(one:detach())
		two:write "hello"
		assert.equal("hello", t:read(10))
		t:close()
	end)
end)
