--- covered: the same commands in clear and under TLS, which are to get the same codes.

local command = require "smtptest.fuzz.command"
local tuple = require "smtptest.fuzz.tuple"

local covered = {}

--- A case: c1 in clear, c2 the same under TLS.
function covered.draw(self, index)
	self:open "c1"
	local first = #self.steps + 1
	for _, name in ipairs(tuple.names(self.random.seed, index * 5)) do command.symbol(self, "c1", name) end
	local last = #self.steps
	self:quit "c1"
	self:connect "c2"
	self:hello "c2"
	self:secure "c2"
	self:hello "c2"
	for i = first, last do
		local step = self.steps[i]
		if step.step == "send" then self:send("c2", step.bytes) else self:reply "c2" end
	end
	self:quit "c2"
end

return covered
