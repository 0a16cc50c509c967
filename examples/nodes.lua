#!/usr/bin/env -S smtptest -S
-- Sends one message to several servers at the same time, as a front end does to its LMTP stores, and tells how each
-- takes it, for each recipient.
--
--   smtptest -S nodes.lua -P lmtp --from=alice@example.test --to=bob@example.test -- store1.example:24 store2.example
--
-- What a node (HOST or HOST:PORT) does not say is as the flags have it. The exit status is 0 when all nodes have taken
-- the message for all recipients.

local smtptest = require "smtptest"
local task = smtptest.task
local plan = smtptest.options
local FROM, TO = plan.from or "sender@example.test", plan.to or { "recipient@example.test" }
local MESSAGE = smtptest.message { from = FROM, to = TO, subject = "for every node" }

-- What a node says to each recipient: a list of {address, reply}.
local function deliver(node)
	local host, port = node:match "^(.*):(%d+)$"
	local s <close> = smtptest.open(smtptest.plan { host = host or node, port = tonumber(port) })
	s:mail(FROM):expect "2xx"
	local said, taken = {}, {}
	for i, address in ipairs(TO) do
		said[i] = { address, s:rcpt(address) }
		if said[i][2]:is "2xx" then taken[#taken + 1] = said[i] end
	end
	if #taken == 0 then return said end
	local final = s:data(MESSAGE)
	-- LMTP has a reply for each recipient that was taken, SMTP one for all.
	for i, one in ipairs(taken) do one[2] = final[i] or final end
	s:quit()
	return said
end

local nodes = arg[1] and arg or { plan.host or "localhost" }
local tasks = {}
for i, node in ipairs(nodes) do tasks[i] = task.spawn(pcall, deliver, node) end
local right = true
for i, node in ipairs(nodes) do
	local reached, said = tasks[i]:join()
	for _, one in ipairs(reached and said or { { "-", said } }) do
		local ok = reached and one[2]:is "2xx"
		right = right and ok
		print(("%-6s %-24s %-24s %s"):format(ok and "ok" or "not ok", node, one[1], one[2]))
	end
end
return right
