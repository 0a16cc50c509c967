#!/usr/bin/env -S smtptest -S
-- Does a server bear any verb with any argument? Up to twenty of them in a session, as many sessions as you say.
--
--   smtptest -S fuzzverbs.lua localhost -- 1000
--
-- What is found is printed with the smallest case that shows it. Only for a server that is yours.

local smtptest = require "smtptest"
local g = smtptest.fuzz.g

local line = g.sequence { g.verb(), g.optional " ", g.optional(g.text(0, 600)), "\r\n" }
local result = smtptest.fuzz.run {
	case = g.list(line, { min = 1, max = 20 }), runs = math.tointeger(tonumber(arg[1] or 500)),
	on_finding = function(record) print(record.signature, record.finding.text, smtptest.case.format(record.min)) end,
}
return #result.findings == 0
