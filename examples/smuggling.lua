#!/usr/bin/env -S smtptest -S
-- Which bytes does a server take as the end of a message, beside CR LF "." CR LF (RFC 5321 section 4.1.1.4)? Where the
-- server before it passes them on as text, a message from anybody can be smuggled in behind one of somebody's own.
--
--   smtptest -S smuggling.lua -t "" -a alice --from=alice@example.test --to=bob@example.test mail.example
--
-- Behind each variant stands NOOP, and behind that the right end. One reply: all of it was one message, or was refused
-- ("ok"). More: the server has seen an end too early, and obeyed ("not ok"). See also smugglingout.lua.

local smtptest = require "smtptest"
local plan = smtptest.options
local FROM, TO = plan.from or "sender@example.test", plan.to and plan.to[1] or "recipient@example.test"
local VARIANTS = {
	"\r\n.\r\n",            -- the right end, which shows that counting works
	"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r.\n", "\n.\r", "\n\n.\n\n", "\r\r.\r\r",
	"\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\n\0.\r\n", "\r\n.\0\r\n", "\r\0\n.\r\n", "\r\n.\r\0\n", "\r\n.\t\r\n",
	"\r\n. \r\n", "\r\n \b.\r\n", "\xc2\x85.\xc2\x85",
}

local right = true
for i, variant in ipairs(VARIANTS) do
	local s <close> = smtptest.open()
	s:mail(FROM):expect "2xx"
	s:rcpt(TO):expect "2xx"
	s:command "DATA":expect(354)
	s:send("Subject: a test of ends\r\n\r\ntext" .. variant .. "NOOP\r\n\r\n.\r\nQUIT\r\n")
	local replies = s:drain(30)         -- the server hangs up after QUIT
	if #replies > 1 and replies[#replies].code == 221 then table.remove(replies) end
	local ok = (#replies == 1) == (i > 1)
	right = right and ok
	print(("%-6s %-20s %d: %s"):format(ok and "ok" or "not ok", smtptest.escape(variant), #replies,
		(tostring(replies):gsub("\n", ", "))))
end
return right
