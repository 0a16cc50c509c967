--- host: the loop, for a program that has a loop of its own. What task.step, task.fd and task.timeout do.

local alarm = require "smtptest.core.alarm"
local failure = require "smtptest.failure"
local schedule = require "smtptest.schedule"
local source = require "smtptest.source"

local host = {}

local huge = math.huge
local ready = schedule.ready

local DAY = 86400           -- seconds; turn(math.huge) judges for somebody who waits inside the loop

local function anybody()
	return true
end

--- Makes the three functions.
-- @param loop  turn(seconds): one turn of the loop; live(): number of tasks; pending(): whether events wait to be told;
--   background(fd, fn) and report() as in task
-- @return step, fd, timeout
function host.functions(loop)
	local bell, set             -- the alarm, once somebody asked for the descriptor; the time it is set to

	local function timeout()
		if ready.first <= ready.last or loop.pending() then return 0 end
		local till = math.min(source.earliest, schedule.earliest())
		return till == huge and huge or math.max(0, till - loop.now())
	end

	-- The descriptor outside is also readable when a time has come.
	local function wind()
		local seconds = timeout()
		local time = seconds == huge and huge or loop.now() + seconds
		if time == set then return end
		set = time
		bell:set(seconds)
	end

	local function step(seconds)
		seconds = seconds or 0
		if seconds == huge then
			if loop.live() == 0 then return 0 end
			-- Somebody outside may connect: a listening descriptor is a hope for all.
			if timeout() == huge and not source.hope(anybody) then
				error(failure.new { code = "DEADLOCK", message = loop.report() }, 0)
			end
			seconds = DAY
		end
		loop.turn(seconds)
		if bell then wind() end
		return loop.live()
	end

	local function fd()
		local number = source.poller():fd()
		if number and not bell then
			bell = assert(alarm.new())
			loop.background(bell:fd(), function()
				set = huge
				bell:set(huge)
			end)
		end
		if bell then wind() end
		return number
	end

	return step, fd, timeout
end

return host
