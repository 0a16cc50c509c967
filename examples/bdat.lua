#!/usr/bin/env -S smtptest -S
-- Does BDAT (RFC 3030) work as it should? Chunks of all sizes, sizes that lie, and chunks that nobody wants.
--
--   smtptest -S bdat.lua -t "" -a alice --from=alice@example.test --to=bob@example.test mail.example
--
-- The server has to take exactly as many bytes as BDAT says: NOOP behind them is a command, within them it is text.

local smtptest = require "smtptest"
local plan = smtptest.options
local FROM, TO = plan.from or "sender@example.test", plan.to and plan.to[1] or "recipient@example.test"
local TEXT = smtptest.message { from = FROM, to = TO, subject = "in chunks", body = ".\n..\n.\n" }

local CASES = {
	{ "one chunk", function(s) return s:bdat(TEXT, { last = true }):is(250) end },
	{ "chunks of a byte", function(s)
		for i = 1, 20 do s:bdat(TEXT:sub(i, i)):expect(250) end
		return s:bdat(TEXT:sub(21), { last = true }):is(250)
	end },
	{ "an empty last chunk", function(s) return s:bdat(TEXT):is(250) and s:bdat("", { last = true }):is(250) end },
	{ "chunks in one write", function(s)
		local bytes = ("BDAT %d\r\n%sBDAT 0 LAST\r\n"):format(#TEXT, TEXT)
		return s:pipeline({ { bytes = bytes, replies = 2 }, "NOOP" }):is(250)
	end },
	{ "NOOP within a chunk is text", function(s)
		return s:bdat(TEXT .. "NOOP\r\n", { last = true }):is(250) and s:command("XNOSUCH"):is "5xx"
	end },
	{ "NOOP behind a chunk is a command", function(s)
		return s:bdat(TEXT .. "NOOP\r\n", { size = #TEXT, last = true }):is(250) and s:reply():is(250)
	end },
	{ "the server waits for all bytes", function(s)
		s:send(("BDAT %d LAST\r\n%s"):format(#TEXT + 6, TEXT))
		if not s:silent(0.5) then return false end
		s:send "NOOP\r\n"
		return s:reply():is(250) and s:command("XNOSUCH"):is "5xx"
	end },
	{ "a chunk is taken, though refused", function(s)
		s:rset()
		return s:bdat("NOOP\r\n", { last = true }):is "5xx" and s:command("XNOSUCH"):is { 500, 502 }
	end },
	{ "a size that is no number", function(s) return s:command("BDAT many LAST"):is { "4xx", "5xx" } end },
	{ "words behind LAST", function(s) return s:command("BDAT 0 LAST NOW"):is { "4xx", "5xx" } end },
}

local right = true
for _, case in ipairs(CASES) do
	local s <close> = smtptest.open()
	if not s.capabilities.CHUNKING then
		print "CHUNKING is not offered"
		return false
	end
	s:mail(FROM):expect "2xx"
	s:rcpt(TO):expect "2xx"
	local done, ok = pcall(case[2], s)
	right = right and done and ok
	print(("%-6s %-35s %s"):format(done and ok and "ok" or "not ok", case[1], done and s.last or ok))
end
return right
