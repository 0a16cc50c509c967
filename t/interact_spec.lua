local file = require "smtptest.core.file"
local peer = require "support.peer"
local run = require "support.run"
local task = require "smtptest.task"

-- A server that answers every line with 250, and QUIT with 221 and the end.
local function polite(c)
	repeat
		local line = c:line()
		c:send(line == "QUIT" and "221 bye\r\n" or "250 " .. line .. "\r\n")
	until line == "QUIT"
end

-- What comes of interact: its result, the lines that the server read, what went to the output.
local function talk(script, options, plan, during)
	local output, outcome = {}, nil
	local client = peer.with(script, function(s, c)
		options.output = options.output or function(bytes) output[#output + 1] = bytes end
		if during then during(s, c) end
		outcome = s:interact(options)
	end, plan)
	return outcome, client.seen, table.concat(output)
end

-- A pipe, and text in it.
local function pipe(text)
	local reader, writer = assert(file.pipe())
	if text then writer:write(text) end
	return reader, writer
end

describe("interact", function()
	it("copies input to the server and its text to the output: eof, and QUIT is said", function()
		local outcome, seen, output = talk(polite, { input = run.file("lines", "NOOP\nVRFY x") })
		assert.equal("eof", outcome)
		assert.same({ "NOOP", "VRFY x", "QUIT" }, seen)
		assert.equal("250 NOOP\r\n250 VRFY x\r\n221 bye\r\n", output)
	end)

	it("is quit where the input ends with QUIT, in any case of letters", function()
		for _, text in ipairs { "NOOP\nQUIT\n", "NOOP\nquit", "NOOP\r\nQUIT \r\n" } do
			local outcome, seen = talk(function(c)
				c:reply "250 ok"
				c:line()
				c:send "221 bye\r\n"
			end, { input = run.file("lines", text) })
			assert.equal("quit", outcome, text)
			assert.equal(2, #seen)
		end
	end)

	it("says nothing more and is back at once where told not to QUIT", function()
		for text, wanted in pairs { ["NOOP\n"] = "eof", ["QUIT\n"] = "quit" } do
			peer.with(function(c)
				c:line()
				c:rest()
			end, function(s)
				assert.equal(wanted, s:interact { input = run.file("lines", text), quit = false, output = function() end })
				assert.is_false(s.transport.closed)
			end)
		end
	end)

	it("is closed when the server ends it, whatever is still to be typed", function()
		local reader, writer = pipe "NOOP\n"
		local outcome, seen, output = talk(function(c)
			c:line()
			c:send "421 enough\r\n"
		end, { input = reader })
		assert.equal("closed", outcome)
		assert.same({ "NOOP" }, seen)
		assert.equal("421 enough\r\n", output)
		writer:close()
		reader:close()
	end)

	it("is interrupt when the user interrupts, and QUIT is said", function()
		local reader, writer = pipe "NOOP\n"
		local outcome, seen = talk(function(c)
			c:reply "250 ok"
			task.interrupt "interrupted"
			c:line()
		end, { input = reader })
		assert.equal("interrupt", outcome)
		assert.same({ "NOOP", "QUIT" }, seen)
		writer:close()
		reader:close()
	end)

	it("takes one of Lua's files, from where Lua stands in it", function()
		local handle <close> = assert(io.open(run.file("lines", "first\nNOOP\nQUIT\n")))
		assert.equal("first", handle:read "l")
		local outcome, seen = talk(polite, { input = handle })
		assert.equal("quit", outcome)
		assert.same({ "NOOP", "QUIT" }, seen)
		assert.equal("file", io.type(handle))
	end)

	it("tells a file that can't be opened, or that is closed", function()
		local s <close> = peer.pair()
		local err = peer.failure("ENOENT", s.interact, s, { input = "/nonexistent/x" })
		assert.equal("open", err.op)
		local handle = io.tmpfile()
		handle:close()
		assert.equal("read", peer.failure("EBADF", s.interact, s, { input = handle }).op)
	end)

	it("sends LF as CR LF, or exactly what is typed", function()
		for crlf, wanted in pairs { [true] = "a\r\nb\r\n", [false] = "a\nb\r\n" } do
			local got
			talk(function(c) got = c.transport:read(6) end, { input = run.file("lines", "a\nb\r\n"), crlf = crlf, quit = false })
			assert.equal(wanted:sub(1, 6), got)
		end
	end)

	it("in lockstep waits for each reply, not inside a message", function()
		local outcome, seen = talk(function(c)
			for _ = 1, 2 do
				c:line()
				assert.same({ nil, "timed out", "TIMEOUT" }, { c.transport:read(1, 0) })
				c:send "250 ok\r\n"
			end
			c:reply "354 go"
			repeat until c:line() == "."
			c:send "250 queued\r\n"
			c:reply "221 bye"
		end, { input = run.file("lines", "MAIL FROM:<a>\nRCPT TO:<b>\nDATA\nx\ny\n.\nQUIT\n"), lockstep = true })
		assert.equal("quit", outcome)
		assert.same({ "MAIL FROM:<a>", "RCPT TO:<b>", "DATA", "x", "y", ".", "QUIT" }, seen)
	end)

	it("sets what the session knows: last, and the recipients of LMTP", function()
		peer.with(function(c)
			c:reply("250 a", "250 b", "550 c")
		end, function(s)
			local reader <close>, writer = pipe "MAIL FROM:<a>\nRCPT TO:<b>\nRCPT TO:<c>\n"
			assert.equal("closed", s:interact { input = reader, output = function() end })
			writer:close()
			assert.equal(550, s.last.code)
			assert.same({ "b" }, s.recipients)
		end, { protocol = "lmtp" })
	end)

	it("masks what is typed for a 334 from the transcript", function()
		peer.with(function(c)
			c:reply("334 ", "235 in")
			c:line()
		end, function(s)
			s:interact { input = run.file("lines", "AUTH PLAIN\nAGFsaWNlAHNlY3JldA==\n"), lockstep = true, output = function() end }
			assert.not_matches("AGFs", tostring(s.transcript))
			assert.matches("<20 bytes hidden>", tostring(s.transcript))
		end)
	end)

	it("writes to an object, too, and tells when it can't", function()
		local got = {}
		talk(polite, { input = run.file("lines", "QUIT\n"), output = { write = function(_, bytes)
			got[#got + 1] = bytes
			return true
		end } })
		assert.equal("221 bye\r\n", table.concat(got))
		local ok, err = pcall(talk, polite, { input = run.file("lines", "QUIT\n"), output = { write = function()
			return nil, "no room"
		end } })
		assert.is_false(ok)
		assert.equal("no room", err)
	end)

	it("refuses a misspelt option, and blames who wrote it", function()
		local s <close> = peer.pair()
		assert.matches("^t/interact_spec%.lua:%d+: unknown option 'inptu' %(did you mean 'input'%?%)",
			peer.complaint(function() local r = s:interact { inptu = "x" } return r end))
	end)
end)
