#!/usr/bin/env -S smtptest -S
-- Does a server bear any exchange of AUTH: broken base64, cancels, too much and too little of it, and lets nobody in?
--
--   smtptest -S fuzzauth.lua localhost -- 1000
--
-- What is found is printed with the smallest case that shows it. Only for a server that is yours.

local smtptest = require "smtptest"
local g = smtptest.fuzz.g

local session = g.map(g.auth { mechanisms = { "PLAIN", "LOGIN", "CRAM-MD5", "XOAUTH2" } }, function(lines)
	return table.move(lines, 1, #lines, 2, { "EHLO client.test" })
end)
local result = smtptest.fuzz.run {
	case = session, runs = math.tointeger(tonumber(arg[1] or 500)),
	on_finding = function(record) print(record.signature, record.finding.text, smtptest.case.format(record.min)) end,
}
return #result.findings == 0
