#!/usr/bin/env -S smtptest -S
-- Tries every mechanism that a server offers (or those of -m) with the right password and in wrong ways, and prints
-- what the server says to each.
--
--   smtptest -S authmatrix.lua -t "" -a alice --password-file=secret mail.example
--
-- "ok" is the reply that RFC 4954 asks for: 235 to the right password; 501 to an exchange that was canceled with "*"; a
-- 4xx or 5xx to the others, with the connection in step afterwards. A mechanism that we can't do is skipped.

local smtptest = require "smtptest"
local REFUSED = { "4xx", "5xx" }
local CASES = {
	{ "good", 235, {} },
	{ "bad", REFUSED, { password = "not the password" } },
	{ "canceled", 501, { initial_response = false, on_challenge = function() return nil end } },
	{ "empty", REFUSED, { initial_response = false, on_challenge = function() return "" end } },
	-- RFC 4954 section 4: at least 12288 octets must be taken as a line.
	{ "oversized", REFUSED, { initial_response = false, on_challenge = function() return ("x"):rep(20000) end } },
}

local function open()
	return smtptest.open(smtptest.plan { auth = false })
end

-- Whether the connection is in step; else what is wrong with it, too.
local function in_step(s)
	local ok, reply = pcall(s.noop, s)
	return ok and reply:is(250), reply
end

local offered
do
	local s <close> = open()
	offered = s.capabilities.AUTH or {}
end
local mechanisms = smtptest.options.mechanism or table.concat(offered, " ")
if mechanisms == "" then print "AUTH is not offered" end
local right = mechanisms ~= ""
for mechanism in mechanisms:gmatch "%S+" do
	for _, case in ipairs(CASES) do
		local name, wanted, fields = table.unpack(case)
		local s <close> = open()
		fields.mechanism = mechanism
		local ok, reply = pcall(s.auth, s, fields)
		local verdict, alive, after = "ok", true, nil
		if ok then alive, after = in_step(s) end
		if not ok and smtptest.failed(reply, "NOMECH", "INTERACT") then
			verdict = "skip"
		elseif not ok or not reply:is(wanted) or not alive then
			verdict, right = "not ok", false
			if not alive then reply = ("%s; then NOOP: %s"):format(reply, after) end
		end
		print(("%-6s %-20s %-9s %s"):format(verdict, mechanism, name, reply))
	end
end
return right
