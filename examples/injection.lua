#!/usr/bin/env -S smtptest -S
-- Does a server obey commands that were sent in clear text behind STARTTLS (CVE-2011-0411)? One write has STARTTLS and
-- a command; whoever is between client and server could have added that.
--
--   smtptest -S injection.lua mail.example
--
-- The exit status is 0 when the server drops the command, or hangs up; RFC 3207 section 4.2 asks for no more.

local smtptest = require "smtptest"

local clear = smtptest.options.tls == "implicit" and "implicit" or "none"
local s <close> = smtptest.open(smtptest.plan { tls = clear, auth = false })
if not s.capabilities.STARTTLS then
	print "STARTTLS is not offered"
	return false
end
s:send "STARTTLS\r\nXINJECTED\r\n"
local reply = s:reply()
if reply.code ~= 220 then
	print("refused: " .. tostring(reply))
	return true
end
local ok, err = pcall(s.handshake, s)
if not ok then
	print("refused: " .. tostring(err))
	return smtptest.failed(err)
end
-- A reply to the injected command would come before the one to NOOP, and be a 500.
reply = s:noop()
if reply.code == 250 then
	print("dropped: NOOP under TLS got " .. tostring(reply))
	return true
end
print("INJECTED: the first reply under TLS is " .. tostring(reply))
return false
