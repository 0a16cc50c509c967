#!/usr/bin/env -S smtptest -S
-- Does a server do what RFC 5321 asks for? Prints TAP: a line "ok" or "not ok" for each check.
--
--   smtptest -S rfc5321.lua -t "" -a alice --to=bob@example.test mail.example
--
-- Every check has a connection of its own. It is the section, what is right, then what is sent and what must be the
-- reply, by turns. The address --to must take mail.

local smtptest = require "smtptest"
local plan = smtptest.options
local MAIL = ("MAIL FROM:<%s>"):format(plan.from or "sender@example.test")
local RCPT = ("RCPT TO:<%s>"):format(plan.to and plan.to[1] or "recipient@example.test")
local TEXT = smtptest.message { from = plan.from, to = plan.to, subject = "a check of RFC 5321" }

local CHECKS = {
	{ "2.4", "verbs in any case", "nOoP", "2xx", MAIL:gsub("MAIL FROM", "mAiL fRoM"), "2xx" },
	{ "2.4", "local-parts of mailboxes as they come", 'MAIL FROM:<"A b"@example.test>', "2xx" },
	{ "3.3", "RCPT needs MAIL", RCPT, 503 },
	{ "3.3", "DATA needs RCPT", MAIL, "2xx", "DATA", { 503, 554 } },
	{ "3.3", "a message, and another one", MAIL, 250, RCPT, "2xx", "DATA", 354, TEXT .. ".", 250,
		MAIL, 250, RCPT, "2xx", "DATA", 354, TEXT .. ".", 250 },
	{ "3.3", "a message ends the transaction", MAIL, 250, RCPT, "2xx", "DATA", 354, TEXT .. ".", 250, RCPT, 503 },
	{ "3.5.3", "VRFY says what it can", "VRFY postmaster", { 250, 251, 252, 502, 504, "55x" } },
	{ "4.1.1.1", "HELO", "HELO client.example.test", 250 },
	{ "4.1.1.1", "EHLO says who is there", "EHLO client.example.test", 250 },
	{ "4.1.1.2", "the null reverse-path", "MAIL FROM:<>", 250 },
	{ "4.1.1.3", "the postmaster without a domain", "MAIL FROM:<>", 250, "RCPT TO:<postmaster>", "2xx" },
	{ "4.1.1.4", "dots at the beginning of lines", MAIL, 250, RCPT, "2xx", "DATA", 354, TEXT .. "...\r\n..x\r\n.", 250 },
	{ "4.1.1.5", "RSET forgets the transaction", MAIL, 250, "RSET", 250, RCPT, 503 },
	{ "4.1.1.9", "NOOP takes a string", "NOOP string", 250 },
	{ "4.1.1.10", "QUIT", "QUIT", 221 },
	{ "4.1.1.11", "MAIL with a parameter that nobody knows", MAIL .. " XNOSUCH=1", { 555, 501, 504 } },
	{ "4.1.1.11", "RCPT with a parameter that nobody knows", MAIL, 250, RCPT .. " XNOSUCH=1", { 555, 501, 504 } },
	{ "4.1.2", "MAIL without an address", "MAIL FROM:", 501 },
	{ "4.1.2", "RCPT without an address", MAIL, 250, "RCPT TO:", 501 },
	{ "4.1.4", "MAIL within a transaction", MAIL, 250, MAIL, 503 },
	{ "4.1.4", "EHLO forgets the transaction", MAIL, 250, "EHLO client.example.test", 250, RCPT, 503 },
	{ "4.2.4", "a command that nobody knows", "XNOSUCH", { 500, 502 } },
	{ "4.5.1", "RSET without a transaction", "RSET", 250, "RSET", 250 },
	{ "4.5.3.1.1", "a local-part of 64 octets", ("MAIL FROM:<%s@example.test>"):format(("x"):rep(64)), "2xx" },
	{ "4.5.3.1.4", "a command line of 512 octets", "NOOP " .. ("x"):rep(505), 250 },
	{ "4.5.3.1.6", "a text line of 1000 octets", MAIL, 250, RCPT, "2xx", "DATA", 354,
		TEXT .. ("x"):rep(998) .. "\r\n.", 250 },
}

local failures = 0
print("1.." .. #CHECKS)
for number, check in ipairs(CHECKS) do
	local s <close> = smtptest.open()
	local right, reply = true, nil
	for i = 3, #check, 2 do
		s:send(check[i] .. "\r\n")
		right, reply = pcall(s.reply, s)
		right = right and reply:is(check[i + 1])
		if not right then break end
	end
	print(("%sok %d - RFC 5321 %s: %s"):format(right and "" or "not ", number, check[1], check[2]))
	if not right then
		print("# got " .. tostring(reply))
		failures = failures + 1
	end
end
return failures == 0
