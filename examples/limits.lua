#!/usr/bin/env -S smtptest -S
-- What are a server's limits, and what does it do beyond them? Command lines, recipients, a message's size, errors.
--
--   smtptest -S limits.lua -t "" -a alice --from=alice@example.test --to=bob@example.test mail.example
--
-- "not ok" is below what RFC 5321 section 4.5.3.1 asks for: lines of 512 octets, 100 recipients. No message is sent.

local smtptest = require "smtptest"
local plan = smtptest.options
local FROM, TO = plan.from or "sender@example.test", plan.to and plan.to[1] or "recipient@example.test"
local REFUSED = { "4xx", "5xx" }
local right = true

local function tell(ok, ...)
	right = right and ok
	print((ok and "ok     " or "not ok ") .. string.format(...))
end

-- Does something again and again, `most` times at most: how often, before a reply was as the spec says or the
-- connection was lost, and that reply or loss.
local function endure(most, spec, fn)
	for n = 1, most do
		local done, reply = pcall(fn, n)
		if not done or reply:is(spec) then return n - 1, reply end
	end
	return most, "we had enough"
end

do
	local s <close> = smtptest.open()
	local doublings, reply = endure(12, REFUSED, function(n) return s:noop(("x"):rep((256 << n) - #"NOOP \r\n")) end)
	tell(doublings > 0, "command lines of %d octets, then, twice as long: %s", 256 << doublings, reply)
end
do
	local s <close> = smtptest.open()
	s:mail(FROM):expect "2xx"
	local count, reply = endure(2000, REFUSED, function() return s:rcpt(TO) end)
	tell(count >= 100, "%d recipients, then: %s", count, reply)
end
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
do
	local s <close> = smtptest.open()
	local count, reply = endure(200, 421, function() return s:command "XNOSUCH" end)
	tell(true, "%d errors, then: %s", count, reply)
end
return right
