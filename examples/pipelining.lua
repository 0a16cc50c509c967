#!/usr/bin/env -S smtptest -S
-- Does a server say the same, however the bytes come? One mail transaction: command by command, several commands in one
-- write (RFC 2920), in writes of one byte each, and cut at seven bytes.
--
--   smtptest -S pipelining.lua -t "" -a alice --from=alice@example.test --to=bob@example.test mail.example
--
-- "ok": the codes of all replies are those of the first way, enhanced codes included. A way that sends commands
-- together is skipped where PIPELINING is not offered.

local smtptest = require "smtptest"
local plan = smtptest.options
local FROM, TO = plan.from or "sender@example.test", plan.to and plan.to[1] or "recipient@example.test"
local MESSAGE = smtptest.message { from = FROM, to = TO, subject = "in pieces" } .. "..\r\n.\r\n"

-- DATA ends a group, because only its 354 says that the message is welcome.
local GROUPS = {
	{ "NOOP", "RCPT TO:<" .. TO .. ">", "MAIL FROM:<" .. FROM .. "> XNOSUCH=1", "MAIL FROM:<" .. FROM .. ">",
		"MAIL FROM:<" .. FROM .. ">", "RCPT TO:<" .. TO .. ">", "RCPT TO:<>", "DATA" },
	{ { bytes = MESSAGE, command = "." }, "DATA", "XNOSUCH", "RSET", "QUIT" },
}
local WAYS = {
	{ "command by command" },
	{ "all that may be in one write", together = true },
	{ "command by command, byte by byte", split = 1 },
	{ "together, byte by byte", together = true, split = 1 },
	{ "together, seven bytes at a time", together = true, split = 7 },
}

-- The codes of all replies.
local function transaction(s, way)
	local codes = {}
	for _, group in ipairs(GROUPS) do
		local size = way.together and #group or 1
		for i = 1, #group, size do
			local replies = s:pipeline({ table.unpack(group, i, i + size - 1) }, { split = way.split })
			for _, reply in ipairs(replies) do codes[#codes + 1] = ("%d/%s"):format(reply.code, reply.enhanced or "-") end
		end
	end
	return table.concat(codes, " ")
end

local right, first = true, nil
for _, way in ipairs(WAYS) do
	local s <close> = smtptest.open()
	if way.together and not s.capabilities.PIPELINING then
		print("skip   " .. way[1])
	else
		local done, codes = pcall(transaction, s, way)
		first = first or codes
		local ok = done and codes == first
		right = right and ok
		print(("%-6s %-32s %s"):format(ok and "ok" or "not ok", way[1], codes))
	end
end
return right
