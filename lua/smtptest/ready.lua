--- ready: how one sees that a process is ready.
--
-- A test is a table: is (function(process, deadline) → true | false, why); or pattern, which is found in its output.

local task = require "smtptest.task"
local wire = require "smtptest.wire"

local ready = {}

local ATTEMPT = 5           -- seconds one connection may take

local function connected(plan)
	return function(_, deadline)
		plan.timeout = math.max(0.001, math.min(ATTEMPT, deadline - task.now()))
		local connection, message = wire.connect(plan)
		if not connection then return false, message end
		connection:close()
		return true
	end
end

--- The test that is asked for.
-- @param what  "tcp:HOST:PORT" (an IPv6 address in brackets), "unix:PATH", a Lua pattern, or function(process)
-- @return test; nil for nil | nil, message
function ready.test(what)
	if type(what) == "function" then
		return { is = function(process) return what(process) == true end }
	elseif not what then
		return nil
	end
	local path = what:match "^unix:(.+)$"
	if path then return { is = connected { socket = path } } end
	if what:find "^tcp:" then
		local host, port = what:match "^tcp:%[(.+)%]:(%w+)$"
		if not host then host, port = what:match "^tcp:([^:]+):(%w+)$" end
		if not host then return nil, "expected tcp:HOST:PORT, got " .. what end
		return { is = connected { host = host, port = port } }
	end
	local ok, message = pcall(string.find, "", what)
	if not ok then return nil, message end
	return { pattern = what }
end

return ready
