#!/usr/bin/env -S smtptest -S
-- What are a server's limits, and what does it do beyond them? Command lines, recipients, a message's size, errors.
--
--   smtptest -S limits.lua -t "" -a alice --from=alice@example.test --to=bob@example.test mail.example
--
-- "not ok" is below what RFC 5321 section 4.5.3.1 asks for: lines of 512 octets, 100 recipients. No message is sent.

local smtptest = require "smtptest"
local plan = smtptest.options
local FROM, TO = plan.from or "sender@example.test", plan.to and plan.to[1] or "recipient@example.test"
local right = true

local function tell(ok, ...)
	right = right and ok
	print((ok and "ok     " or "not ok ") .. string.format(...))
end

-- Command lines: twice as long each time.
do
	local s <close> = smtptest.open()
	local size = 256
	local done, reply
	repeat
		size = size * 2
		done, reply = pcall(s.noop, s, ("x"):rep(size - #"NOOP \r\n"))
	until not done or reply.code ~= 250 or size >= 1 << 20
	tell(size > 512, "a command line of %d octets: %s", size, reply)
end

-- Recipients: a hundred in one write, as long as they are taken.
do
	local s <close> = smtptest.open()
	s:mail(FROM):expect "2xx"
	local count, refused = 0, nil
	while not refused and count < 10000 do
		local lines = {}
		for i = 1, 100 do lines[i] = ("RCPT TO:<%s>"):format(TO) end
		for _, reply in ipairs(s:pipeline(lines)) do
			if reply:is "2xx" and not refused then count = count + 1 else refused = refused or reply end
		end
	end
	tell(count >= 100, "%d recipients, then: %s", count, refused or "we had enough")
end

-- The size of a message, as it is declared.
do
	local s <close> = smtptest.open()
	local limit = math.tointeger(tonumber((s.capabilities.SIZE or {})[1])) or 0
	if limit == 0 then
		tell(true, "no limit of a message's size is declared")
	else
		tell(s:mail(FROM, { SIZE = limit }):is "2xx", "a message of %d octets: %s", limit, s.last)
		s:rset()
		tell(s:mail(FROM, { SIZE = limit + 1 }):is { 452, 552 }, "one octet more: %s", s.last)
	end
end

-- Errors: how many commands that nobody knows.
do
	local s <close> = smtptest.open()
	local count = 0
	local done, reply
	repeat
		count = count + 1
		done, reply = pcall(s.command, s, "XNOSUCH")
	until not done or reply.code == 421 or count == 200
	tell(true, "%d errors: %s", count, reply)
end
return right
