#!/usr/bin/env -S smtptest -S
-- Does a client believe a reply that was put in clear text behind the 220 of STARTTLS? Our own server injects one here,
-- and a session of ours meets it: it drops the reply, and keeps it in `s.tls.leftover`.
--
--   smtptest -S injectedreply.lua
--
-- Other clients can be pointed at the same fault: smtptest --serve -t "" -S badserver.lua -- injected-reply

local smtptest = require "smtptest"
local fault = smtptest.fault

local server <close> = smtptest.listen {
	tls = "starttls",
	on = { command = fault.starttls { after = "250-injected.test\r\n250 AUTH PLAIN\r\n" } },
}
server:start()

local s <close> = smtptest.connect { host = server.host, port = server.port }
s:ehlo()
s:starttls()
local reply = s:ehlo()
print("in clear text behind the 220: " .. smtptest.escape(s.tls.leftover))
print("the first reply under TLS:    " .. tostring(reply))
return not reply.text:find "injected"
