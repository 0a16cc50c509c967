#!/usr/bin/env -S smtptest -S
-- Does a message end where it should? Bodies with what is nearly the end of data inside, and commands behind it.
--
--   smtptest -S fuzzbody.lua --from=alice@example.test --to=bob@example.test localhost -- 1000
--
-- What is found is printed with the smallest case that shows it. Only for a server that is yours: it gets the mail.

local smtptest = require "smtptest"
local plan, g = smtptest.options, smtptest.fuzz.g
local FROM, TO = plan.from or "sender@example.test", plan.to and plan.to[1] or "recipient@example.test"

local session = g.map(g.smuggled(), function(body)
	return { "EHLO client.test", ("MAIL FROM:<%s>"):format(FROM), ("RCPT TO:<%s>"):format(TO), "DATA", body }
end)
local result = smtptest.fuzz.run {
	case = session, runs = math.tointeger(tonumber(arg[1] or 500)),
	on_finding = function(record) print(record.signature, record.finding.text, smtptest.case.format(record.min)) end,
}
return #result.findings == 0
