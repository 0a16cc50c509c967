--- meeting: where tasks wait for each other: barriers, and promises. What task.barrier and task.promise do.

local argument = require "smtptest.argument"
local failure = require "smtptest.failure"
local poll = require "smtptest.core.poll"
local schedule = require "smtptest.schedule"

local meeting = {}

local now, huge = poll.now, math.huge
local soon_all, after = schedule.soon_all, schedule.after

local Barrier = {}
Barrier.__index = Barrier
Barrier.__name = "smtptest.barrier"

local Promise = {}
Promise.__index = Promise
Promise.__name = "smtptest.promise"

-- Waits among `waiters` for soon_all().
local function wait(self, seconds, what)
	local waiter = self.loop.current()
	table.insert(self.waiters, { waiter, waiter.turn, true })
	after(waiter, seconds and now() + seconds or huge)
	return self.loop.block(waiter, what)
end

local function go_on(self)
	soon_all(self.waiters)
	self.waiters = {}
end

--- Waits until all n are here.
-- @param seconds  how long at most (default: for ever)
-- @return true | nil, message, TIMEOUT CANCELED; raises DEADLOCK
function Barrier:wait(seconds)
	if seconds ~= nil then argument.seconds(seconds, "wait") end
	self.missing = self.missing - 1
	if self.missing <= 0 then
		go_on(self)
		return true
	end
	local ok, message, code = wait(self, seconds, "barrier")
	if ok or self.missing <= 0 then return true end
	self.missing = self.missing + 1
	if code == "DEADLOCK" then error(failure.new { code = code, message = message }, 2) end
	return nil, message, code
end

--- Sets the value; only the first one counts.
function Promise:set(value)
	if self.isset then return end
	self.isset, self.value = true, value
	go_on(self)
end

--- Waits for the value.
-- @param seconds  how long at most (default: for ever)
-- @return value | nil, message, TIMEOUT DEADLOCK CANCELED
function Promise:wait(seconds)
	if seconds ~= nil then argument.seconds(seconds, "wait") end
	if self.isset then return self.value end
	local message = self.loop.interrupted()
	if message then return nil, message, "CANCELED" end
	local _, why, code = wait(self, seconds, self.what)
	if self.isset then return self.value end
	return nil, why, code
end

--- Makes the two functions.
-- @param loop  current(): who is about to wait; block(waiter, what): waits; interrupted(): why every wait ends
-- @return barrier(n), promise(what)
function meeting.functions(loop)
	local function barrier(n)
		if math.type(n) ~= "integer" or n < 1 then
			error(("bad argument #1 to 'barrier' (a number of tasks expected, got %s)"):format(tostring(n)), 2)
		end
		return setmetatable({ loop = loop, missing = n, waiters = {} }, Barrier)
	end

	local function promise(what)
		return setmetatable({ loop = loop, waiters = {}, what = what or "a promise" }, Promise)
	end

	return barrier, promise
end

return meeting
