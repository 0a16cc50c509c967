#!/usr/bin/env -S smtptest -S
-- Logs in with a token, by each mechanism for it that the server offers, and shows the server's reason when it refuses:
-- JSON in a challenge, which most clients never show (RFC 7628 section 3.2.2).
--
--   smtptest -S oauth.lua -t "" -a alice@example.test --password-file=token mail.example
--
-- The exit status is 0 when the token is good for all of them.

local smtptest = require "smtptest"
local plan = smtptest.plan { auth = false }

local offered
do
	local s <close> = smtptest.open(plan)
	offered = table.concat(s.capabilities.AUTH or {}, " ")
end
local tried, right = 0, true
for _, mechanism in ipairs { "OAUTHBEARER", "XOAUTH2" } do
	if offered:find(mechanism, 1, true) then
		local s <close> = smtptest.open(plan)
		local reply = s:auth { mechanism = mechanism }
		print(mechanism, reply)
		if reply.code ~= 235 then
			if reply.challenge then print("", "the server's reason: " .. smtptest.escape(reply.challenge)) end
			right = false
		end
		tried = tried + 1
	end
end
if tried == 0 then print("neither is offered, but: " .. offered) end
return right and tried > 0
