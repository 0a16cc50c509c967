local peer = require "support.peer"
local run = require "support.run"
local task = require "smtptest.task"

local complaint, seen = peer.complaint, peer.seen

-- What the server sees of data(body, options), with the final reply.
local function data(body, options)
	local got
	local client = peer.with(function(c)
		c:reply "354 go"
		c:send "250 2.0.0 queued\r\n"
		got = c:rest()
	end, function(s)
		local answer, go = s:data(body, options)
		assert.equal("250 2.0.0 queued", tostring(answer))
		assert.equal(354, go.code)
	end)
	assert.equal("DATA", client.seen[1])
	return got
end

local function iterator(...)
	local list, i = { ... }, 0
	return function()
		i = i + 1
		return list[i]
	end
end

describe("data", function()
	-- What is sent for a body, its end included.
	local wire = {
		{ "", ".\r\n" },
		{ "a", "a\r\n.\r\n" },
		{ "a\r\n", "a\r\n.\r\n" },
		{ "a\n", "a\n\r\n.\r\n" },
		{ "a\r", "a\r\r\n.\r\n" },
		{ "\r\n", "\r\n.\r\n" },
		{ "\n", "\n\r\n.\r\n" },
		{ ".", "..\r\n.\r\n" },
		{ "..", "...\r\n.\r\n" },
		{ ".\r\n", "..\r\n.\r\n" },
		{ "a\r\n.\r\nb", "a\r\n..\r\nb\r\n.\r\n" },
		{ "a\n.\nb", "a\n.\nb\r\n.\r\n" },
		{ "a\r.\rb", "a\r.\rb\r\n.\r\n" },
		{ "a\r\n\r\n.b", "a\r\n\r\n..b\r\n.\r\n" },
		{ "a.b\r\nc.", "a.b\r\nc.\r\n.\r\n" },
		{ "\0\255.\r\n", "\0\255.\r\n.\r\n" },
	}
	for _, case in ipairs(wire) do
		it(("sends %q whole and byte by byte the same"):format(case[1]), function()
			assert.equal(case[2], data(case[1]))
			local pieces = {}
			for c in case[1]:gmatch "." do pieces[#pieces + 1] = c end
			assert.equal(case[2], data(iterator(table.unpack(pieces))))
			assert.equal(case[2], data(iterator("", table.unpack(pieces))))
		end)
	end

	it("does not stuff where told so", function()
		assert.equal(".\r\n.\r\n", data("", { stuff = false, eod = ".\r\n.\r\n" }))
		assert.equal(".a\r\n.b\r\n.\r\n", data(".a\r\n.b", { stuff = false }))
	end)

	it("sends a given end of data as it is", function()
		for _, eod in ipairs { "\n.\n", "\r\n.\n", ".\r\n", "\r.\r", "\r\n.\r\nMAIL FROM:<x>\r\n", "" } do
			assert.equal("a" .. eod, data("a", { eod = eod }))
		end
	end)

	it("takes a file handle", function()
		local handle <close> = io.tmpfile()
		local body = (".line\r\n"):rep(30000)
		handle:write(body)
		handle:seek("set", 0)
		assert.equal(("..line\r\n"):rep(30000) .. ".\r\n", data(handle))
	end)

	it("stuffs across the borders of its own chunks", function()
		local body = ("x"):rep(65534) .. "\r\n.y"
		assert.equal(("x"):rep(65534) .. "\r\n..y\r\n.\r\n", data(body))
		body = ("x"):rep(65535) .. "\r\n.y"
		assert.equal(("x"):rep(65535) .. "\r\n..y\r\n.\r\n", data(body))
	end)

	it("keeps constant memory with an iterator", function()
		local chunk, n = ("x"):rep(65535) .. "\n", 0
		collectgarbage()
		local before, most = collectgarbage "count", 0
		local mine, other = peer.pair()
		local server = task.spawn(function()
			other:line()
			other:write "354 go\r\n"
			local size = 0
			while size < 256 * 65536 + 5 do size = size + #other:read(1 << 20) end
			other:write "250 ok\r\n"
		end)
		mine:data(function()
			n = n + 1
			if n % 16 == 0 then
				collectgarbage()
				most = math.max(most, collectgarbage "count")
			end
			return n <= 256 and chunk or nil
		end)
		server:join(20)
		mine:close()
		assert.is_true(most - before < 4000, ("%.0f kB of 16384"):format(most - before))
	end)

	-- Sanitizers keep what is freed.
	local measured = (os.getenv "SAN" or "") == "" and it or function() end
	measured("needs at most 4 MB more of the whole process for a message that is 64 times as large", function()
		local chunk = [[
			local smtptest = require "smtptest"
			local s = smtptest.connect(smtptest.options)
			local piece, left = ("."):rep(78) .. "\r\n", %d << 20
			s:data(function()
				left = left - 800 * #piece
				return left > 0 and piece:rep(800) or nil
			end):expect(250)
			for line in io.lines "/proc/self/status" do io.write(line:match "^VmHWM:%%s*(%%d+)" or "") end]]
		local function peak(megabytes)
			local result = run.against(function(c)
				c:send "220 sink\r\n"
				c:reply "354 go"
				local tail = ""
				repeat
					tail = tail:sub(-5) .. assert(c.transport:read(1 << 20)):sub(-5)
				until tail:sub(-5) == "\r\n.\r\n"
				c:send "250 ok\r\n"
				c:gone()
			end, { "-e", chunk:format(megabytes) })
			assert.equal(0, result.status, result.err)
			return tonumber(result.out)
		end
		local small, large = peak(1), peak(64)
		assert.is_true(large - small <= 4096, ("%d kB, %d kB"):format(small, large))
	end)

	it("that is not answered by 354 is both results, and nothing more is sent", function()
		for _, text in ipairs { "503 5.5.1 no", "451 later", "250 what?", "35 4" } do
			local called = false
			local client = peer.with(function(c)
				c:reply(text)
				c:rest()
			end, function(s)
				local answer, go = s:data(function() called = true end)
				assert.equal(text, tostring(answer))
				assert.equal(answer, go)
			end)
			assert.same({ "DATA" }, client.seen)
			assert.is_false(called)
		end
	end)

	it("refuses a body of another kind and misspelt options before anything is sent", function()
		assert.equal("", seen(function(s)
			assert.matches("^t/content_spec%.lua:%d+: bad body %(string, file handle or function expected, got nil%)",
				complaint(function() local a = s:data() return a end))
			local handle = io.tmpfile()
			handle:close()
			assert.matches("got closed file", complaint(function() local a = s:data(handle) return a end))
			assert.matches("^t/content_spec%.lua:%d+: unknown option 'stuf' %(did you mean 'stuff'%?%)",
				complaint(function() local a = s:data("", { stuf = false }) return a end))
			assert.matches("option 'eod': expected string, got a boolean",
				complaint(function() local a = s:data("", { eod = false }) return a end))
		end))
	end)

	it("has a time-out of progress, not of the whole", function()
		local mine, other = peer.pair { timeout = 0.2 }
		mine.transport.wire.sock:option("sndbuf", 4096)
		local server = task.spawn(function()
			other:line()
			other:write "354 go\r\n"
			local got = ""
			repeat
				task.sleep(0.02)
				got = got:sub(-4) .. other:read(16384)
			until got:find "%.\r\n$"
			other:write "250 ok\r\n"
		end)
		local start = task.now()
		assert.equal(250, mine:data(("x"):rep(400000)).code)
		assert.is_true(task.now() - start > 0.2)
		server:join(20)
		mine:close()
	end)

	it("raises TIMEOUT when the server stops reading", function()
		local mine, other = peer.pair { timeout = 0.05 }
		other:write "354 go\r\n"
		local err = peer.failure("TIMEOUT", mine.data, mine, ("x"):rep(4000000))
		assert.equal("DATA", err.op)
		mine:close()
	end)

	it("tells what the server said before it hung up", function()
		local mine, other = peer.pair()
		local server = task.spawn(function()
			other:line()
			other:write "354 go\r\n"
			other:read(1)
			other:write "552 5.3.4 too big\r\n"
			other:close()
		end)
		local err = peer.failure("EPIPE", mine.data, mine, ("x"):rep(4000000))
		assert.equal(552, err.reply.code)
		server:join(20)
		mine:close()
	end)

	it("wants strings of the iterator", function()
		local mine, other = peer.pair()
		other:write "354 go\r\n"
		assert.matches("^t/content_spec%.lua:%d+: bad chunk %(string expected, got number%)",
			complaint(function() local a = mine:data(function() return 5 end) return a end))
		mine:close()
	end)

	it("raises what the iterator raised", function()
		local mine, other = peer.pair()
		other:write "354 go\r\n"
		assert.equal("no more", select(2, pcall(mine.data, mine, function() error("no more", 0) end)))
		mine:close()
	end)
end)

describe("over LMTP, data", function()
	it("gives one reply for each recipient that was accepted", function()
		peer.with(function(c)
			c:reply("250 a", "250 b", "550 no", "251 c", "354 go")
			repeat until c:line() == "."
			c:send "250 for b\r\n452 for d\r\n"
			c:reply "250 in step"
		end, function(s)
			s:mail "a"
			s:rcpt "b"
			s:rcpt "c"
			s:rcpt "d"
			local replies, go = s:data "x"
			assert.equal(354, go.code)
			assert.equal(2, #replies)
			assert.equal("b", replies[1].recipient)
			assert.equal("d", replies[2].recipient)
			assert.equal(452, replies[2].code)
			assert.is_false(replies:is "2xx")
			local err = peer.failure("REPLY", replies.expect, replies, "2xx")
			assert.equal(452, err.reply.code)
			assert.equal("250 in step", tostring(s:noop()))
		end, { protocol = "lmtp" })
	end)

	it("forgets the recipients of an earlier transaction", function()
		for _, forget in ipairs { "rset", "mail", "lhlo" } do
			peer.with(function(c)
				c:reply("250 b", "250 forget", "250 c", "354 go")
				repeat until c:line() == "."
				c:send "250 for c\r\n"
			end, function(s)
				s:rcpt "b"
				s[forget](s, "x")
				s:rcpt "c"
				local replies = s:data "x"
				assert.equal(1, #replies)
				assert.equal("c", replies[1].recipient)
				assert.same({}, s.recipients)
			end, { protocol = "lmtp" })
		end
	end)

	it("counts recipients whoever named them: command, pipeline or exact bytes", function()
		peer.with(function(c)
			c:reply("250 a", "250 b", "250 c", "250 d", "550 e", "250 f", "354 go")
			repeat until c:line() == "."
			for _, name in ipairs { "b", "c", "d", "f" } do c:send(("250 for %s\r\n"):format(name)) end
			c:reply "250 in step"
		end, function(s)
			s:command "MAIL FROM:<a>"
			s:command "rcpt to:<b>"
			s:pipeline { "RCPT TO:<c>" }
			s:send "RCPT TO:<d>\r\nRCPT TO:<e>\r\n"
			assert.equal(250, s:reply().code)
			assert.equal(550, s:reply().code)
			s:rcpt "f"
			assert.same({ "b", "c", "d", "f" }, s.recipients)
			local replies, names = s:data "x", {}
			for i, answer in ipairs(replies) do names[i] = answer.recipient end
			assert.same({ "b", "c", "d", "f" }, names)
			assert.equal("250 in step", tostring(s:noop()))
		end, { protocol = "lmtp" })
	end)

	it("keeps them when the server refuses to begin anew", function()
		peer.with(function(c)
			c:reply("250 b", "503 5.5.1 nested", "354 go")
			repeat until c:line() == "."
			c:send "250 for b\r\n"
		end, function(s)
			s:rcpt "b"
			assert.equal(503, s:mail("x").code)
			assert.equal("b", s:data("x")[1].recipient)
		end, { protocol = "lmtp" })
	end)

	it("reads what a message of an odd end is answered with", function()
		peer.with(function(c)
			c:reply("250 b", "250 c", "354 go")
			repeat until c:line() == "."
			c:send "250 for b\r\n250 for c\r\n"
			c:reply "250 in step"
		end, function(s)
			s:rcpt "b"
			s:rcpt "c"
			assert.equal(2, #s:data("x", { eod = "\n.\n" }))
			assert.equal("250 in step", tostring(s:noop()))
		end, { protocol = "lmtp" })
	end)

	it("raises with the replies that came when fewer came", function()
		peer.with(function(c)
			c:reply("250 b", "250 c", "354 go")
			repeat until c:line() == "."
			c:send "250 for b\r\n"
		end, function(s)
			s:rcpt "b"
			s:rcpt "c"
			local err = peer.failure("EOF", s.data, s, "x")
			assert.equal("end of DATA", err.op)
			assert.equal(1, #err.replies)
			assert.equal("b", err.replies[1].recipient)
		end, { protocol = "lmtp" })
	end)

	it("reads a reply even where no recipient is known", function()
		peer.with(function(c)
			c:reply "354 go"
			repeat until c:line() == "."
			c:send "503 5.5.1 no valid recipients\r\n"
		end, function(s)
			local replies = s:data "x"
			assert.equal(1, #replies)
			assert.is_nil(replies[1].recipient)
		end, { protocol = "lmtp" })
	end)

	it("is one reply, twice, when DATA is refused", function()
		peer.with(function(c) c:reply("250 b", "503 no") end, function(s)
			s:rcpt "b"
			local answer, go = s:data "x"
			assert.equal(503, answer.code)
			assert.equal(answer, go)
		end, { protocol = "lmtp" })
	end)
end)

describe("bdat", function()
	it("sends the command and the chunk in one write", function()
		local s, other = peer.pair(nil, "seqpacket")
		other:write "250 1\r\n"
		other:write "250 2\r\n"
		assert.equal("BDAT 5", s:bdat("a\r\n.b").command)
		s:bdat("", { last = true })
		assert.equal("BDAT 5\r\na\r\n.b", other:read(100))
		assert.equal("BDAT 0 LAST\r\n", other:read(100))
		s:close()
	end)

	it("lies about the size where told so", function()
		assert.equal("BDAT 1000000 LAST\r\nabc\r\n", seen(function(s) s:bdat("abc\r\n", { size = 1000000, last = true }) end))
	end)

	it("gives a list over LMTP for the last chunk", function()
		peer.with(function(c)
			c:reply("250 b", "250 c", "250 chunk")
			c:line()
			c:reply "250 for b"
			c:send "550 for c\r\n"
			c:line()
			c:reply "250 in step"
		end, function(s)
			s:rcpt "b"
			s:rcpt "c"
			assert.equal(250, s:bdat("x\r\n").code)
			local replies = s:bdat("y\r\n", { last = true })
			assert.equal(2, #replies)
			assert.equal("c", replies[2].recipient)
			assert.equal("BDAT 3 LAST", replies[2].command)
			assert.equal("250 in step", tostring(s:noop()))
		end, { protocol = "lmtp" })
	end)

	it("is one reply over LMTP where an earlier chunk was refused", function()
		peer.with(function(c)
			c:reply("250 b", "250 c", "552 5.3.4 too big")
			c:line()
			c:reply "503 5.5.1 no transaction"
			c:line()
			c:reply "250 in step"
		end, function(s)
			s:rcpt "b"
			s:rcpt "c"
			assert.equal(552, s:bdat("x\r\n").code)
			local replies = s:bdat("y\r\n", { last = true })
			assert.equal(1, #replies)
			assert.is_nil(replies[1].recipient)
			assert.equal("250 in step", tostring(s:noop()))
		end, { protocol = "lmtp" })
	end)

	it("takes a string only", function()
		assert.equal("", seen(function(s)
			assert.matches("^t/content_spec%.lua:%d+: bad chunk %(string expected, got nil%)",
				complaint(function() local a = s:bdat() return a end))
			assert.matches("unknown option 'lats' %(did you mean 'last'%?%)",
				complaint(function() local a = s:bdat("", { lats = true }) return a end))
			assert.matches("option 'size': expected integer", complaint(s.bdat, s, "", { size = 1.5 }))
		end))
	end)
end)
