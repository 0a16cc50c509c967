#!/usr/bin/env -S smtptest -S
-- What would a server say to another client? We may ask it, where it believes our XCLIENT (Postfix:
-- smtpd_authorized_xclient_hosts has our address).
--
--   smtptest -S xclient.lua --to=bob@example.test mail.example -- ADDR=192.0.2.7 NAME=spam.example.test HELO=localhost
--
-- The words are XCLIENT's attributes. Prints the replies to us and to that client; nothing is sent. The exit status is
-- 1 when XCLIENT is not offered, or refused.

local smtptest = require "smtptest"
local plan = smtptest.options
local FROM, TO = plan.from or "sender@example.test", plan.to and plan.to[1] or "recipient@example.test"

local function ask(s, who)
	print(("%-9s MAIL  %s"):format(who, s:mail(FROM)))
	print(("%-9s RCPT  %s"):format(who, s:rcpt(TO)))
end

local attributes = {}
for _, word in ipairs(arg[1] and arg or { "ADDR=192.0.2.1" }) do
	local name, value = word:match "^(%a+)=(.*)$"
	attributes[name or "ADDR"] = value or word
end

local s <close> = smtptest.open()
if not s.capabilities.XCLIENT then
	print "XCLIENT is not offered to us"
	return false
end
ask(s, "we")
s:rset()
local reply = s:xclient(attributes)
print("XCLIENT         " .. tostring(reply))
if reply.code ~= 220 then return false end
s:hello()
ask(s, "the other")
