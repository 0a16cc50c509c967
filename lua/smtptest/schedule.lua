--- schedule: who goes on, and when: a queue of those who are ready, and timers. Nothing here waits.
--
-- A waiter is a table whose `turn` counts its wake-ups, so that an entry which is late (a timer whose waiter went on)
-- is known by its old turn.

local heap = require "smtptest.heap"

local schedule = {}

local huge = math.huge

local ready = { first = 1, last = 0 }       -- queue of {waiter, turn, value, message, code}
local timers = {}                           -- heap of {time, waiter, turn}
local ROOM = 64
local room = ROOM                           -- how many timers there may be before those whose waiter went on go

--- The queue, for who walks it: entries `first` to `last`.
schedule.ready = ready

--- The timers, the earliest first.
schedule.timers = timers

--- Lets a waiter go on at the next turn of the loop, unless it has gone on before.
-- @param turn  of the waiter when the entry was thought of
-- @param value, message, code  what its wait gives
local function soon(waiter, turn, value, message, code)
	local last = ready.last + 1
	ready[last] = { waiter, turn, value, message, code }
	ready.last = last           -- counted when it is there: memory may end before
end

schedule.soon = soon

--- The same for a list of {waiter, turn, value}.
function schedule.soon_all(entries)
	for _, entry in ipairs(entries) do soon(table.unpack(entry, 1, 3)) end
end

-- Takes out the timers of those who went on: one that is due late would stay as long.
local function tidy()
	local live = {}
	for _, entry in ipairs(timers) do
		if entry[2].turn == entry[3] then live[#live + 1] = entry end
	end
	for i = #timers, 1, -1 do timers[i] = nil end       -- now that memory has not ended
	for _, entry in ipairs(live) do heap.push(timers, entry) end
	room = math.max(ROOM, 2 * #live)
end

--- Sets a timer.
-- @param deadline  time of task.now(); math.huge: none
function schedule.after(waiter, deadline)
	if deadline == huge then return end
	if #timers >= room then tidy() end
	heap.push(timers, { deadline, waiter, waiter.turn })
end

--- The time of the earliest timer whose waiter still waits, or math.huge.
function schedule.earliest()
	while timers[1] and timers[1][2].turn ~= timers[1][3] do heap.pop(timers) end
	return timers[1] and timers[1][1] or huge
end

--- Takes off the earliest timer that has passed.
-- @return the waiter, which still waits; nil when no timer has passed
function schedule.due(time)
	if schedule.earliest() > time then return nil end
	return heap.pop(timers)[2]
end

--- Lets all who have a timer go on with CANCELED.
function schedule.cancel(message)
	for _, entry in ipairs(timers) do
		soon(entry[2], entry[3], nil, message, "CANCELED")
	end
end

return schedule
