#!/usr/bin/env -S smtptest -S
-- Looks at the certificates of several ports: how long they last, whose they are, whether a client would believe them.
--
--   smtptest -S certificates.lua --cafile=ca.pem -- mail.example:25 mail.example:465/implicit [2001:db8::1]:587
--
-- TLS begins as the flags say (-t or -s), or by STARTTLS; "/implicit" and "/starttls" are for one port. The exit status
-- is 1 when a certificate is not believed, has less than 14 days left, or could not be seen.

local smtptest = require "smtptest"
local plan = smtptest.options
local ENOUGH = 14

-- What a handshake with PLACE came to. What is not believed shall be shown, so nothing is refused.
local function look(place)
	local address, tls = place:match "^(.*)/(%l+)$"
	local host, port = (address or place):match "^(.*):(%d+)$"
	tls = tls or plan.tls or "starttls"
	local s <close> = smtptest.connect(smtptest.plan { host = host or address or place, port = tonumber(port), tls = tls,
		verify = false })
	if tls == "starttls" then
		s:hello()
		s:starttls():expect(220)
	end
	return s.tls
end

local right = true
for _, place in ipairs(arg[1] and arg or { plan.host or "localhost" }) do
	local done, seen = pcall(look, place)
	if done then
		local leaf = seen.peer[1]
		local days = (leaf.not_after - os.time()) // 86400
		local ok = days >= ENOUGH and seen.verified
		right = right and ok
		print(("%-6s %s: %d days left, %s, %s"):format(ok and "ok" or "not ok", place, days, leaf.key, seen.protocol))
		print("       names: " .. table.concat(leaf.names, ", "))
		for _, problem in ipairs(seen.problems) do
			print(("       not believed: %s (%s)"):format(problem.text, problem.subject or "-"))
		end
	else
		right = false
		print(("not ok %s: %s"):format(place, seen))
	end
end
return right
