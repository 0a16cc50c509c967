#!/usr/bin/env -S smtptest -S
-- Sends one message the whole way that the flags ask for, and says what the server did with it.
--
--   smtptest -S message.lua -t "" -a alice --password-file=secret mail.example -- from@example.test to@example.test
--
-- The exit status is 0 when it was accepted, 6 when the server refused, 3 to 7 for what went wrong before (see
-- smtptest(1), EXIT STATUS).

local smtptest = require "smtptest"
local from, to = arg[1] or "sender@example.test", arg[2] or "recipient@example.test"

local s <close> = smtptest.open()
s:mail(from, s.capabilities.SIZE and { SIZE = 2000 }):expect "2xx"
s:rcpt(to):expect "2xx"
local final = s:data(smtptest.message { from = from, to = to, subject = "Hello from smtptest", size = 2000 })
final:expect "2xx"
print(final)
s:quit()
