#!/usr/bin/env -S smtptest -S
-- Sends one message the whole way that the flags ask for, and prints what the server did with it.
--
--   smtptest -S message.lua -t "" -a alice --from=alice@example.test --to=bob@example.test mail.example
--
-- The exit status is 0 when it was accepted, 6 when the server refused, 3 to 7 for what went wrong before (see
-- smtptest(1), EXIT STATUS).

local smtptest = require "smtptest"
local plan = smtptest.options
local from, to = plan.from or "sender@example.test", plan.to or { "recipient@example.test" }
local text = smtptest.message { from = from, to = to, subject = "Hello from smtptest", size = 2000 }

local s <close> = smtptest.open()
s:mail(from, s.capabilities.SIZE and { SIZE = #text }):expect "2xx"
for _, address in ipairs(to) do s:rcpt(address):expect "2xx" end
local final = s:data(text)
final:expect "2xx"
print(final)
s:quit()
