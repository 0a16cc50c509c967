--- private: whether a server is on an address that only we and ours can reach: no other is to be shot at by mistake.

local plans = require "smtptest.plan"
local task = require "smtptest.task"
local wire = require "smtptest.wire"

local private = {}

local PATIENCE = 30         -- seconds for looking the name up

-- RFC 1122 section 3.2.1.3, RFC 1918, RFC 3927
local function private4(host)
	local a, b = host:match "^(%d+)%.(%d+)%."
	a, b = tonumber(a), tonumber(b)
	return a == 127 or a == 10 or a == 192 and b == 168 or a == 172 and b >= 16 and b <= 31 or a == 169 and b == 254
end

-- RFC 4291 section 2.5.3 and 2.5.6, RFC 4193
local function private6(host)
	local mapped = host:match "^::ffff:(%d+%.%d+%.%d+%.%d+)$"
	if mapped then return private4(mapped) end
	return host == "::1" or host:find "^f[cd]" ~= nil or host:find "^fe[89ab]" ~= nil
end

--- Whether a numeric address is one.
function private.is(host)
	if host:find(":", 1, true) then return private6(host:lower()) end
	return host:find "^%d+%.%d+%.%d+%.%d+$" ~= nil and private4(host)
end

--- Whether all addresses of a plan's server are.
-- @return true | nil, message
function private.check(plan)
	plan = plans.defaults(plan)
	if plan.socket then return true end
	local list, message = wire.addresses(plan, task.now() + PATIENCE)
	if not list then return nil, message end
	for _, address in ipairs(list) do
		if not private.is(address.host) then
			return nil, ("%s is not on a private address (%s): --yes if you may do this to it"):format(plan.host, address.host)
		end
	end
	return true
end

return private
