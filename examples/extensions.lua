#!/usr/bin/env -S smtptest -S
-- Do the extensions that a server offers work as their RFCs say? Prints TAP; those that it does not offer are skipped.
--
--   smtptest -S extensions.lua -t "" -a alice --to=bob@example.test mail.example
--
-- Every check has a connection of its own. It is the keyword in EHLO and the RFC, what is right, then what is sent (or
-- called) and what must be the reply, by turns; false sends nothing, for a further reply. Checks of STARTTLS and AUTH
-- begin where these have not happened yet.

local smtptest = require "smtptest"
local plan = smtptest.options
local MAIL = ("MAIL FROM:<%s>"):format(plan.from or "sender@example.test")
local RCPT = ("RCPT TO:<%s>"):format(plan.to and plan.to[1] or "recipient@example.test")
local TEXT = smtptest.message { from = plan.from, to = plan.to, subject = "a check of extensions" }
local CHUNK = ("BDAT %d LAST\r\n%s"):format(#TEXT, TEXT):sub(1, -3)         -- CR LF is sent behind it
local UNKNOWN, REFUSED = { 501, 504, 555 }, { "4xx", "5xx" }
local CLEAR = plan.tls == "implicit" and "implicit" or "none"
local BEFORE = { STARTTLS = { tls = CLEAR, auth = false }, AUTH = { auth = false } }

local CHECKS = {
	{ "SIZE 1870", "a size that fits", MAIL .. " SIZE=1000", 250 },
	{ "SIZE 1870", "a size of 20 digits", MAIL .. " SIZE=10000000000000000000", { 250, 452, 552 } },
	{ "SIZE 1870", "a size that is no number", MAIL .. " SIZE=many", UNKNOWN },
	{ "ENHANCEDSTATUSCODES 2034", "codes of success", "NOOP", "2.x.x", MAIL, "2.1.x" },
	{ "ENHANCEDSTATUSCODES 2034", "codes of failure", RCPT, "5.x.x", "XNOSUCH", "5.x.x" },
	{ "PIPELINING 2920", "commands in one segment", MAIL .. "\r\n" .. RCPT .. "\r\nRSET", 250, false, "2xx", false, 250 },
	{ "STARTTLS 3207", "no parameter", "STARTTLS now", 501 },
	{ "STARTTLS 3207", "not offered again", function(s) return s:starttls() and s:ehlo() end,
		function(reply) return reply.code == 250 and not reply.text:find "STARTTLS" end },
	{ "STARTTLS 3207", "not done again", function(s) return s:starttls() end, 220, "STARTTLS", REFUSED },
	{ "CHUNKING 3030", "a message in one chunk", MAIL, 250, RCPT, "2xx", CHUNK, 250 },
	{ "CHUNKING 3030", "a chunk needs a size", MAIL, 250, RCPT, "2xx", "BDAT", REFUSED },
	{ "CHUNKING 3030", "no DATA after a chunk", MAIL, 250, RCPT, "2xx", "BDAT 4\r\nab", 250, "DATA", 503 },
	{ "CHUNKING 3030", "RSET forgets chunks", MAIL, 250, RCPT, "2xx", "BDAT 4\r\nab", 250, "RSET", 250, CHUNK, 503 },
	{ "BINARYMIME 3030", "no DATA for it", MAIL .. " BODY=BINARYMIME", 250, RCPT, "2xx", "DATA", 503 },
	{ "AUTH 4954", "no mechanism", "AUTH", 501 },
	{ "AUTH 4954", "a mechanism that nobody knows", "AUTH XNOSUCH", 504 },
	{ "AUTH 4954", "canceled", "AUTH PLAIN", 334, "*", 501 },
	{ "AUTH 4954", "what is not base64", "AUTH PLAIN", 334, "!", 501 },
	{ "8BITMIME 6152", "8BITMIME", MAIL .. " BODY=8BITMIME", 250 },
	{ "8BITMIME 6152", "a body that nobody knows", MAIL .. " BODY=9BIT", UNKNOWN },
	{ "SMTPUTF8 6531", "an address", "MAIL FROM:<s\u{e9}n@example.test> SMTPUTF8", 250 },
	{ "SMTPUTF8 6531", "no value", MAIL .. " SMTPUTF8=1", UNKNOWN },
	{ "DSN 3461", "parameters of MAIL", MAIL .. " RET=HDRS ENVID=QQ314159", 250 },
	{ "DSN 3461", "parameters of RCPT", MAIL, 250, RCPT .. " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b@example.test", "2xx" },
	{ "DSN 3461", "NEVER stands alone", MAIL, 250, RCPT .. " NOTIFY=NEVER,SUCCESS", 501 },
	{ "DSN 3461", "a RET that nobody knows", MAIL .. " RET=ALL,HDRS", 501 },
}

local failures = 0
print("1.." .. #CHECKS)
for number, check in ipairs(CHECKS) do
	local keyword, rfc = check[1]:match "(%S+) (%d+)"
	local s <close> = smtptest.open(smtptest.plan(BEFORE[keyword]))
	local offered = s.capabilities[keyword]
	local right, reply = true, nil
	for i = 3, offered and #check or 0, 2 do
		if type(check[i]) == "string" then s:send(check[i] .. "\r\n") end
		right, reply = pcall(type(check[i]) == "function" and check[i] or s.reply, s)
		right = right and reply:is(check[i + 1])
		if not right then break end
	end
	print(("%sok %d - RFC %s %s: %s%s"):format(right and "" or "not ", number, rfc, keyword, check[2],
		offered and "" or " # SKIP not offered"))
	if not right then
		print("# got " .. tostring(reply))
		failures = failures + 1
	end
end
return failures == 0
