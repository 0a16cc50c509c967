#!/usr/bin/env -S smtptest -S
-- A bad server, for a look at what a client makes of it. Which fault it has is the word behind "--".
--
--   smtptest --serve -p 2525 -t "" -a alice -w secret -S badserver.lua -- greylist
--
-- Without a word it tells which there are. All that the fault leaves alone is as the flags say; faults of STARTTLS need
-- -t. The exit status is 1 for a word that is no fault, and without --serve.

local fault = require "smtptest".fault
local server, name = ...

if type(server) ~= "table" then
	io.stderr:write "failure: badserver.lua has no server to spoil: run it with --serve\n"
	return false
end

local FAULTS = {
	["busy"] = { connect = fault.reply(421, "4.3.2 too many connections") },
	["no-service"] = { connect = fault.reply(554, "5.3.2 no mail here") },
	["no-greeting"] = { connect = fault.close "silence" },
	["hang-up"] = { connect = fault.close() },
	["no-extensions"] = { ehlo = fault.reply(250, "localhost\nSIZE") },         -- neither STARTTLS nor AUTH
	["byte-by-byte"] = { connect = fault.split(1) },
	["greylist"] = { rcpt = fault.first(1, fault.reply(451, "4.7.1 come back later")) },
	["second-recipient"] = { rcpt = fault.nth(2, fault.reply(550, "5.1.1 nobody of that name")) },
	["refused"] = { data = fault.reply(554, "5.7.1 spam") },
	["full"] = { data = fault.reply(452, "4.3.1 no space") },
	["lost-answer"] = { data = fault.close "reset" },           -- was it taken, or not?
	["half-answer"] = { data = fault.cut(8) },
	["no-answer"] = { data = fault.close "silence" },
	["no-password"] = { auth = fault.reply(454, "4.7.0 nobody can log in now") },
	["mixed-codes"] = { mail = fault.malformed "mixed-codes" },
	["endless-line"] = { mail = fault.malformed "long-line" },
	["no-code"] = { mail = fault.malformed "no-code" },
	["extra-reply"] = { mail = fault.inject "250 2.0.0 for nothing\r\n" },
	["no-starttls"] = { command = fault.starttls { code = 454, text = "4.7.0 no TLS now" } },
	["injected-reply"] = { command = fault.starttls { after = "250-injected.test\r\n250 AUTH PLAIN\r\n" } },
	["early-reply"] = { command = fault.starttls { inside = "250 2.0.0 nobody asked\r\n" } },
	["expired"] = { command = fault.starttls { tls = fault.certificate "expired" } },
	["wrong-name"] = { command = fault.starttls { tls = fault.certificate "wrong-name" } },
	["no-close-notify"] = { quit = fault.truncate() },
}

if not FAULTS[name] then
	local names = {}
	for known in pairs(FAULTS) do names[#names + 1] = known end
	table.sort(names)
	print("which fault? " .. table.concat(names, " "))
	server:stop()
	return false
end
for event, handler in pairs(FAULTS[name]) do server.on[event] = handler end
