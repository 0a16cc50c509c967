#!/usr/bin/env -S smtptest -S
-- What does a relay make of wrong ends that stand inside a message? We are the client before it and the server behind
-- it, and show the bytes that arrive there: what comes through unchanged is an end for a next server that is lax.
--
--   smtptest -S smugglingout.lua -t "" -a alice --from=alice@example.test --to=bob@behind.test mail.example -- 2525
--
-- The relay must bring mail for --to to our port 2525: Postfix does with behind.test smtp:[our.address]:2525 in its
-- transport_maps. "ok": refused, or changed; "not ok": passed on as it was, or taken for an end by the relay itself.

local smtptest = require "smtptest"
local plan = smtptest.options
local FROM, TO = plan.from or "sender@example.test", plan.to and plan.to[1] or "recipient@behind.test"
local VARIANTS = {
	"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r.\n", "\n.\r", "\n\n.\n\n", "\r\r.\r\r",
	"\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\n\0.\r\n", "\r\n.\0\r\n", "\r\0\n.\r\n", "\r\n.\r\0\n",
}

local sink <close> = smtptest.listen { host = "0.0.0.0", port = tonumber(arg[1] or 2525) }
sink:start()

-- The message in which a mark stands, as it was sent to us.
local function arrived(mark)
	for n = 1, math.huge do
		local messages = sink:wait(n, 60)
		if not messages then return "" end
		if messages[n].raw:find(mark, 1, true) then return messages[n].raw end
	end
end

local right = true
for i, variant in ipairs(VARIANTS) do
	local s <close> = smtptest.open()
	s:mail(FROM):expect "2xx"
	s:rcpt(TO):expect "2xx"
	s:command "DATA":expect(354)
	local mark = ("begin-%d-%d"):format(os.time(), i)
	s:send("Subject: a test of ends\r\n\r\n" .. mark .. variant .. "NOOP end\r\n.\r\nQUIT\r\n")
	local reply = s:reply()
	local ok, result = true, "refused: " .. tostring(reply)
	if reply:is "2xx" then
		local raw = arrived(mark)
		local bytes = raw:match(mark:gsub("%-", "%%-") .. "(.*)NOOP end")
		ok = bytes ~= nil and bytes ~= variant
		result = bytes and smtptest.escape(bytes) or raw == "" and "nothing came" or "an end: the rest did not come"
	end
	right = right and ok
	print(("%-6s %-20s %s"):format(ok and "ok" or "not ok", smtptest.escape(variant), result))
end
return right
