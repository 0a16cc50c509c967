#!/usr/bin/env -S smtptest -S
-- Does a server behind a load balancer believe the PROXY header, and only a right one? Prints what it says to clients
-- of other addresses, with headers of both versions, and what it does with headers that are none.
--
--   smtptest -S proxy.lua --to=bob@example.test mail.example -- 192.0.2.7 2001:db8::7
--
-- The exit status is 1 when a header is not taken, or when the server speaks without a right one.

local smtptest = require "smtptest"
local plan = smtptest.options
local FROM, TO = plan.from or "sender@example.test", plan.to and plan.to[1] or "recipient@example.test"

local HEADERS = {}
for _, address in ipairs(arg[1] and arg or { "192.0.2.7", "2001:db8::7" }) do
	for version = 1, 2 do HEADERS[#HEADERS + 1] = { address, { version = version, source = address } } end
end
HEADERS[#HEADERS + 1] = { "PROXY UNKNOWN", { version = 1, unknown = true } }
HEADERS[#HEADERS + 1] = { "LOCAL", { version = 2, command = "LOCAL" } }

local right = true
for _, header in ipairs(HEADERS) do
	local done, s = pcall(smtptest.open, smtptest.plan { proxy = header[2] })
	local said = s
	if done then
		s:mail(FROM):expect "2xx"
		said = s:rcpt(TO)
		s:close()
	end
	right = right and done
	print(("%-6s version %d, %-16s %s"):format(done and "ok" or "not ok", header[2].version, header[1], said))
end

local WRONG = {
	{ "no header", "EHLO client.example.test\r\n" },
	{ "no family", "PROXY TCP5 192.0.2.7 192.0.2.8 1 2\r\n" },
	{ "no address", "PROXY TCP4 192.0.2.777 192.0.2.8 1 2\r\n" },
	{ "no end", "PROXY TCP4 " .. ("1"):rep(200) .. "\r\n" },
	{ "no version", "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\xc0\0\2\7\xc0\0\2\8\0\1\0\2" },
}
for _, wrong in ipairs(WRONG) do
	local s <close> = smtptest.connect(smtptest.plan { greeting = false, tls = "none" })
	local early = not s:silent(0.2)
	s:send(wrong[2] .. "QUIT\r\n")
	local replies = s:drain(5)
	local ok = not early and not replies:is "2xx"
	right = right and ok
	local said = #replies > 0 and tostring(replies):gsub("\n", ", ") or replies.closed or "silence"
	print(("%-6s %-27s %s"):format(ok and "ok" or "not ok", wrong[1], said))
end
return right
