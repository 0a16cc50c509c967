local peer = require "support.peer"
local smtptest = require "smtptest"
local task = require "smtptest.task"

local complaint, seen = peer.complaint, peer.seen

describe("pipeline", function()
	it("writes once and reads the replies in order", function()
		local s, other = peer.pair(nil, "seqpacket")
		for _, text in ipairs { "250 a\r\n", "250-b\r\n250 c\r\n", "354 d\r\n", "250 e\r\n" } do other:write(text) end
		local replies = s:pipeline {
			"MAIL FROM:<a>", { bytes = "RCPT TO:<b>\nDATA\r\n", replies = 2 }, { bytes = "x\r\n.\r\n" },
		}
		assert.equal("MAIL FROM:<a>\r\nRCPT TO:<b>\nDATA\r\nx\r\n.\r\n", other:read(1000))
		assert.equal(4, #replies)
		local commands = {}
		for i, answer in ipairs(replies) do commands[i] = answer.command end
		assert.same({ "MAIL FROM:<a>", "RCPT TO:<b>", "RCPT TO:<b>", "x" }, commands)
		assert.is_true(replies:is { 250, 354 })
		s:close()
	end)

	it("takes an item that is not answered, and its pieces", function()
		local s, other = peer.pair(nil, "seqpacket")
		other:write "250 a\r\n"
		local replies = s:pipeline({ { bytes = "NO", replies = 0 }, "OP" }, { split = 3 })
		assert.equal(1, #replies)
		assert.equal("OP", replies[1].command)
		assert.equal("NOO", other:read(10))
		s:close()
	end)

	it("reads replies while it still writes, so that neither side waits for the other", function()
		local n = 10000
		local mine, other = peer.pair()
		local server = task.spawn(function()
			for _ = 1, n do
				other:line()
				other:write "250 2.0.0 all of this is answered at once\r\n"
			end
			local _, _, code = other:line()
			return code
		end)
		local lines = {}
		for i = 1, n do lines[i] = "NOOP " .. i end
		local replies = mine:pipeline(lines)
		assert.equal(n, #replies)
		assert.equal("NOOP " .. n, replies[n].command)
		mine:close()
		assert.equal("EOF", server:join(20))
	end)

	it("that is too much for a server which hangs up raises with the replies", function()
		local mine, other = peer.pair()
		local server = task.spawn(function()
			other:line()
			other:write "421 enough\r\n"
			other:close()
		end)
		local lines = {}
		for i = 1, 30000 do lines[i] = "NOOP " .. i end
		local ok, err = pcall(mine.pipeline, mine, lines)
		assert.is_false(ok)
		assert.is_true(err.code == "EOF" or err.code == "ECONNRESET", tostring(err))
		assert.equal(421, err.replies[1].code)
		server:join(20)
		mine:close()
	end)

	it("raises with the replies that came when fewer came", function()
		for code, ends in pairs { EOF = true, TIMEOUT = false } do
			local s, other = peer.pair { timeout = 0.05 }
			other:write "250 a\r\n550 b\r\n"
			if ends then other:shutdown() end
			local err = peer.failure(code, s.pipeline, s, { "A", "B", "C" })
			assert.equal(2, #err.replies)
			assert.equal(550, err.replies[2].code)
			assert.is_false(err.replies:is "2xx")
			s:close()
			other:close()
		end
	end)

	it("matches the replies of every command: DATA has its 354, its message is an item", function()
		local client = peer.with(function(c)
			c:reply("250 from", "250 to", "354 go")
			repeat until c:line() == "."
			c:send "250 queued\r\n"
			c:reply "221 bye"
		end, function(s)
			local replies = s:pipeline {
				"MAIL FROM:<a>", "RCPT TO:<b>", "data", { bytes = "Subject: x\r\n\r\n..\r\n.\r\n" }, "QUIT",
			}
			local got = {}
			for i, answer in ipairs(replies) do got[i] = answer.command .. ": " .. tostring(answer) end
			assert.same({ "MAIL FROM:<a>: 250 from", "RCPT TO:<b>: 250 to", "data: 354 go", "Subject: x: 250 queued",
				"QUIT: 221 bye" }, got)
		end)
		assert.equal("..", client.seen[6])
	end)

	it("takes chunks of BDAT", function()
		peer.with(function(c)
			c:reply("250 from", "250 to")
			assert.equal("BDAT 3", c:line())
			assert.equal("abc", c.transport:read(3))
			c:send "250 3 bytes\r\n"
			assert.equal("BDAT 2 LAST", c:line())
			c:send "250 2.0.0 queued\r\n"
		end, function(s)
			local replies = s:pipeline { "MAIL FROM:<a>", "RCPT TO:<b>", { bytes = "BDAT 3\r\nabc" },
				{ bytes = "BDAT 2 LAST\r\n\r\n" } }
			assert.is_true(replies:is(250))
			assert.equal("BDAT 2 LAST", replies[4].command)
		end)
	end)

	it("takes the whole exchange of AUTH, and tells none of its secrets", function()
		peer.with(function(c)
			c:reply("334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 in", "250 ok")
		end, function(s)
			local replies = s:pipeline { "AUTH LOGIN", "YWxpY2U=", "c2VjcmV0", "NOOP" }
			local got = {}
			for i, answer in ipairs(replies) do got[i] = answer.code .. " " .. answer.command end
			assert.same({ "334 AUTH LOGIN", "334 <8 bytes hidden>", "235 <8 bytes hidden>", "250 NOOP" }, got)
			assert.not_matches("c2Vj", tostring(s.transcript))
			assert.not_matches("YWxp", tostring(s.transcript))
		end)
		peer.with(function(c) c:reply("535 no", "250 ok") end, function(s)
			local replies = s:pipeline { "AUTH PLAIN AGFsaWNlAHNlY3JldA==", "NOOP" }
			local err = peer.failure("REPLY", replies.expect, replies, "2xx")
			assert.equal("AUTH PLAIN <20 bytes hidden>: expected 2xx, got 535 no", tostring(err))
		end)
	end)

	it("answers a 334 that came before", function()
		peer.with(function(c) c:reply("334 ", "235 in", "250 ok") end, function(s)
			assert.equal(334, s:command("AUTH PLAIN").code)
			local replies = s:pipeline { "AGFsaWNlAHNlY3JldA==", "NOOP" }
			assert.equal("<20 bytes hidden>", replies[1].command)
			assert.equal("NOOP", replies[2].command)
		end)
	end)

	it("knows how many replies end a message over LMTP, and for whom they are", function()
		local function body(last)
			return function(s)
				local replies = s:pipeline { "LHLO x", "MAIL FROM:<a>", "RCPT TO:<b>", "RCPT TO:<c> NOTIFY=NEVER", "RCPT TO:<d>",
					table.unpack(last) }
				local got = {}
				for i, answer in ipairs(replies) do got[i] = answer.code .. (answer.recipient or "") end
				return table.concat(got, " "), s
			end
		end
		local function upto(c)
			c:reply("250 hi", "250 a", "250 b", "550 c", "251 d")
		end
		peer.with(function(c)
			upto(c)
			c:reply "354 go"
			repeat until c:line() == "."
			c:send "250 for b\r\n452 for d\r\n"
			c:reply "250 in step"
		end, function(s)
			assert.equal("250 250 250 550 251 354 250b 452d 250", (body { "DATA", { bytes = "x\r\n.\r\n" }, "NOOP" } (s)))
			assert.same({}, s.recipients)
		end, { protocol = "lmtp" })
		peer.with(function(c)
			upto(c)
			c:line()
			c.transport:read(1)
			c:send "250 for b\r\n452 for d\r\n"
			c:reply "250 in step"
		end, function(s)
			assert.equal("250 250 250 550 251 250b 452d 250", (body { { bytes = "BDAT 1 LAST\r\nx" }, "NOOP" } (s)))
		end, { protocol = "lmtp" })
		peer.with(function(c)
			upto(c)
			c:reply "354 go"
			repeat until c:line() == "."
			c:send "250 for b\r\n"
			c:reply "250 in step"
		end, function(s)
			-- A number that is given is the script's word.
			assert.equal("250 250 250 550 251 354 250b 250",
				(body { "DATA", { bytes = "x\r\n.\r\n", replies = 1 }, "NOOP" } (s)))
		end, { protocol = "lmtp" })
		peer.with(function(c)
			c:reply("250 hi", "250 a", "550 b", "550 c", "550 d", "503 no", "500 what?", "250 in step")
		end, function(s)
			assert.equal("250 250 550 550 550 503 500 250", (body { "DATA", { bytes = ".\r\n" }, "NOOP" } (s)))
		end, { protocol = "lmtp" })
	end)

	it("goes through a whole LMTP session with our own server", function()
		local server <close> = smtptest.listen { protocol = "lmtp", sasl = { users = { alice = "secret" }, mechanisms = "LOGIN" },
			on = { rcpt = function(_, address) if address == "no@x.test" then return 550, "5.1.1 nobody" end end } }
		server:start()
		local s <close> = smtptest.connect { host = server.host, port = server.port, protocol = "lmtp" }
		local replies = s:pipeline {
			"LHLO x.test", "AUTH LOGIN", "YWxpY2U=", "c2VjcmV0", "MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>",
			"RCPT TO:<no@x.test>", "RCPT TO:<d@x.test>", "DATA", { bytes = "Subject: x\r\n\r\nx\r\n.\r\n" }, "MAIL FROM:<>",
			"RCPT TO:<e@x.test>", "RCPT TO:<f@x.test>", { bytes = "BDAT 5\r\nabc\r\n" }, { bytes = "BDAT 0 LAST\r\n" }, "QUIT",
		}
		local got = {}
		for i, answer in ipairs(replies) do got[i] = answer.code .. (answer.recipient and " " .. answer.recipient or "") end
		assert.equal("250,334,334,235,250,250,550,250,354,250 b@x.test,250 d@x.test,250,250,250,250,250 e@x.test,250 f@x.test,221",
			table.concat(got, ","))
		assert.equal("abc\r\n", server.messages[2].data)
	end)

	it("gives the end of a message the time that it has", function()
		local s, other = peer.pair()
		other:write "250 a\r\n354 b\r\n250 c\r\n250 d\r\n250 e\r\n"
		local phases = {}
		s.seconds = function(_, phase)
			phases[#phases + 1] = phase
			return 5
		end
		s:pipeline { "RCPT TO:<b>", "DATA", { bytes = ".\r\n" }, "XFOO", { bytes = "BDAT 0\r\n" } }
		assert.same({ "command", "RCPT", "DATA", "end of DATA", "command", "BDAT" }, phases)
		s:close()
	end)

	it("never waits for a server that waits for us, whatever the buffers are", function()
		for _, options in ipairs { {}, { split = 100 }, { split = { 1, 7, 1000 } }, { split = function() return 500 end } } do
			local mine, other = peer.pair()
			for _, t in ipairs { mine.transport, other } do
				t.wire.sock:option("sndbuf", 4096)
				t.wire.sock:option("rcvbuf", 4096)
			end
			local server = task.spawn(function()
				while other:line() do other:write(("250 %s\r\n"):format(("x"):rep(100))) end
			end)
			local lines = {}
			for i = 1, 2000 do lines[i] = "NOOP " .. ("y"):rep(20) end
			assert.equal(2000, #mine:pipeline(lines, options))
			mine:close()
			server:join(20)
		end
	end)

	it("that takes its time to write has its replies waited for", function()
		local mine, other = peer.pair { timeout = 0.05 }
		local server = task.spawn(function()
			while other:line() do other:write "250 ok\r\n" end
		end)
		local long = { bytes = ("x"):rep(5000) .. "\r\n" }
		assert.equal(2, #mine:pipeline({ long, "NOOP" }, { split = 500, gap = 0.02 }))
		mine:close()
		server:join(20)
	end)

	it("refuses a line that is more than one, and what is no list", function()
		assert.equal("", seen(function(s)
			assert.matches("^t/pipeline_spec%.lua:%d+: bad command: \\n inside",
				complaint(function() local r = s:pipeline { "NOOP", "NO\nOP" } return r end))
			assert.matches("^t/pipeline_spec%.lua:%d+: bad pipeline %(list expected, got string%)",
				complaint(function() local r = s:pipeline "NOOP" return r end))
			assert.matches("^t/pipeline_spec%.lua:%d+: bad split: a size of at least 1 expected, got 0",
				complaint(function() local r = s:pipeline({ "NOOP" }, { split = 0 }) return r end))
		end))
	end)

	it("of nothing is nothing", function()
		local s <close> = peer.pair()
		assert.same({}, { table.unpack(s:pipeline {}) })
	end)

	it("refuses items of another kind", function()
		assert.equal("", seen(function(s)
			assert.matches("^t/pipeline_spec%.lua:%d+: bad item", complaint(function() local r = s:pipeline { 5 } return r end))
			assert.matches("^t/pipeline_spec%.lua:%d+: bad item", complaint(function() local r = s:pipeline { {} } return r end))
			assert.matches("^t/pipeline_spec%.lua:%d+: unknown option 'repiles' %(did you mean 'replies'%?%)",
				complaint(function() local r = s:pipeline { { bytes = "x", repiles = 2 } } return r end))
		end))
	end)
end)
