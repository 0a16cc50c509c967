--- task: the loop, and the only module that waits.
--
-- A wait inside a task yields to the loop. A wait anywhere else (the main chunk, a busted test, a coroutine that
-- a script made, a callback of C) runs the loop in place until its own event comes, so that tasks in the background go
-- on.

local poll = require "smtptest.core.poll"
local failure = require "smtptest.failure"
local heap = require "smtptest.heap"

local task = {}

local now = poll.now
local running, isyieldable, yield = coroutine.running, coroutine.isyieldable, coroutine.yield
local huge = math.huge

local Task = {}
Task.__index = Task
Task.__name = "smtptest.task"

local tasks = {}            -- coroutine -> Task, of those that have not ended
local sources = {}          -- descriptor -> source
local ready = { first = 1, last = 0 }       -- queue of {waiter, turn, value, message, code}
local timers = {}           -- binary heap of {time, waiter, turn}
local earliest = huge       -- the earliest deadline of any source, or before it
local live = 0              -- tasks that have not ended
local names = 0
local interrupted           -- message, once the user wants everything to end
local handlers = {}         -- what an interrupt does instead, the last one first
local poller

-- What the last poll reported. A task may turn the loop itself while this is walked: it goes on where we are, because
-- what it waits for may be in here, and an edge is told once.
local events, next_event, last_event = {}, 1, 0
local polls = 0             -- how often we polled: what was reported before a source was made is not about it

-- The scope of task.run: what was spawned inside it, and the first error nobody joined.
local outermost = { members = setmetatable({}, { __mode = "k" }) }

local TOKEN = {}            -- what our own yields carry

local function soon(waiter, turn, value, message, code)
	local last = ready.last + 1
	ready[last] = { waiter, turn, value, message, code }
	ready.last = last           -- counted when it is there: memory may end before
end

local function soon_all(entries)
	for _, entry in ipairs(entries) do soon(table.unpack(entry, 1, 3)) end
end

-- ---------------------------------------------------------------- waiters
-- A waiter is a Task, or a place: a plain table in whose stead the loop runs. `turn` counts its wake-ups, so that an
-- entry which is late (a timer whose waiter went on) is known by its old turn.

-- Whether somebody is still waiting for the task's end: one whose join timed out, or who was canceled, is not.
local function awaited(self)
	for _, entry in ipairs(self.joiners or {}) do
		if entry[1].turn == entry[2] then return true end
	end
	return false
end

local function finish(self, ok, ...)
	if self.finished then return end
	self.finished, self.ok, self.results = true, ok, table.pack(...)
	tasks[self.thread] = nil
	live = live - 1
	local scope = self.scope
	scope.members[self] = nil
	if not ok and not self.canceled and not awaited(self) then
		scope.failed = scope.failed or self
	end
	soon_all(self.joiners or {})
	self.joiners = nil
end

local function resumed(self, ok, token, ...)
	if coroutine.status(self.thread) == "dead" then
		if not ok then return finish(self, false, token) end
		return finish(self, token, ...)          -- xpcall's own results
	end
	if token ~= TOKEN then
		tasks[self.thread] = nil
		coroutine.close(self.thread)
		finish(self, false, "a task must not call coroutine.yield: use smtptest.task.sleep")
	end
end

local function wake(waiter, value, message, code)
	waiter.turn = waiter.turn + 1
	waiter.waits = nil
	if waiter.thread then
		return resumed(waiter, coroutine.resume(waiter.thread, value, message, code))
	end
	waiter.woken, waiter.value, waiter.message, waiter.code = true, value, message, code
end

-- Who is about to wait. A task that canceled itself, or was canceled while it ran, ends here.
local function current()
	local self = tasks[running()]
	if not self then return { turn = 0 } end
	if self.canceled then error(failure.new { code = "CANCELED", message = "canceled" }, 0) end
	return isyieldable() and self or { turn = 0 }
end

local turn_loop

local function block(waiter, what)
	waiter.waits = what
	if waiter.thread then return yield(TOKEN) end
	while not waiter.woken do
		if not turn_loop(huge) then
			waiter.turn = waiter.turn + 1
			if interrupted then return nil, interrupted, "CANCELED" end
			return nil, task.report(), "DEADLOCK"
		end
	end
	return waiter.value, waiter.message, waiter.code
end

local function after(waiter, deadline)
	if deadline < huge then heap.push(timers, { deadline, waiter, waiter.turn }) end
end

-- ---------------------------------------------------------------- descriptors

local function the_poller()
	if not poller then
		local message
		poller, message = poll.new()
		if not poller then error(message, 0) end
	end
	return poller
end

--- Makes a descriptor known to the loop.
-- @param fd    integer
-- @param mode  "edge" for a non-blocking descriptor of ours, "level" for one that is read only after poll says so
-- @return source: `readable` and `writable` are what is known; whoever finds them wrong (EAGAIN) sets them false
function task.source(fd, mode)
	local source = {
		fd = fd, mode = mode, readable = false, writable = mode == "edge", rdeadline = huge, wdeadline = huge,
		born = polls,
	}
	local ok, message, code = the_poller():add(fd, mode)
	if not ok then
		if code ~= "EPERM" then return nil, message, code end
		source.always, source.readable, source.writable = true, true, true
	end
	-- Level-triggered interest lasts for one event, and poll(2) knows no other.
	source.rearm = not source.always and (mode == "level" or not poller:fd())
	sources[fd] = source
	return source
end

local function wake_source(source, value, message, code)
	local reader, writer = source.reader, source.writer
	source.reader, source.writer = nil, nil
	if reader then soon(reader, reader.turn, value, message, code) end
	if writer then soon(writer, writer.turn, value, message, code) end
end

--- Forgets a descriptor; to be called before it is closed. Whoever waits on it gets CANCELED.
function task.forget(source)
	if sources[source.fd] ~= source then return end
	sources[source.fd] = nil
	if not source.always then the_poller():remove(source.fd) end
	wake_source(source, nil, "closed while waiting", "CANCELED")
end

local function want(source)
	local mode = (source.reader and "r" or "") .. (source.writer and "w" or "")
	the_poller():want(source.fd, mode)
end

local function wait(source, side, deadline, mode)
	if interrupted then return nil, interrupted, "CANCELED" end
	if source[side] then return nil, "another task waits for the same", "BUSY" end
	if deadline <= now() then return nil, "timed out", "TIMEOUT" end
	local waiter = current()
	source[side] = waiter
	if mode == "r" then source.rdeadline = deadline else source.wdeadline = deadline end
	if deadline < earliest then earliest = deadline end
	if source.rearm then want(source) end
	waiter.source, waiter.side = source, side
	local ok, message, code = block(waiter, source.listening and "accept" or mode == "r" and "reading" or "writing")
	if source[side] == waiter then source[side] = nil end
	waiter.source = nil
	return ok, message, code
end

--- Waits until a source is readable.
-- @param deadline  time of task.now() after which it is TIMEOUT; math.huge for ever; one in the past: what is known
-- @return true | nil, message, TIMEOUT CANCELED BUSY DEADLOCK
function task.readable(source, deadline)
	while not source.readable do
		local ok, message, code = wait(source, "reader", deadline, "r")
		if not ok then return nil, message, code end
	end
	return true
end

--- Waits until a source is writable; as task.readable.
function task.writable(source, deadline)
	while not source.writable do
		local ok, message, code = wait(source, "writer", deadline, "w")
		if not ok then return nil, message, code end
	end
	return true
end

--- Calls fn from the loop whenever fd is readable. Such a descriptor never keeps the loop alive.
-- @return a function that ends it
function task.background(fd, fn)
	local source = assert(task.source(fd, "level"))
	source.background = true
	local function rearm()
		source.readable = false
		source.reader = { turn = 0, callback = function()
			fn()
			if sources[fd] == source then rearm() end
		end }
		want(source)
	end
	rearm()
	return function() source.reader = nil; task.forget(source) end
end

-- ---------------------------------------------------------------- the loop

local function scan_deadlines(time)
	earliest = huge
	for _, source in pairs(sources) do
		local late_reader, late_writer
		if source.reader then
			if source.rdeadline <= time then
				late_reader, source.reader = source.reader, nil
			elseif source.rdeadline < earliest then
				earliest = source.rdeadline
			end
		end
		if source.writer then
			if source.wdeadline <= time then
				late_writer, source.writer = source.writer, nil
			elseif source.wdeadline < earliest then
				earliest = source.wdeadline
			end
		end
		if late_reader then soon(late_reader, late_reader.turn, nil, "timed out", "TIMEOUT") end
		if late_writer then soon(late_writer, late_writer.turn, nil, "timed out", "TIMEOUT") end
	end
end

-- What becomes ready meanwhile is for the next turn. A loop inside this one takes from the same queue.
local function dispatch_ready()
	local stop = ready.last
	while ready.first <= stop do
		local i = ready.first
		local entry = ready[i]
		ready[i], ready.first = nil, i + 1
		if entry[1].turn == entry[2] then wake(entry[1], entry[3], entry[4], entry[5]) end
	end
end

local function dispatch_event(source, readable, writable)
	if readable then
		source.readable = true
		if readable == "hup" then source.hup = true end
		local waiter = source.reader
		if waiter then
			source.reader = nil
			if waiter.callback then waiter.callback() else wake(waiter, true) end
		end
	end
	if writable then
		source.writable = true
		local waiter = source.writer
		if waiter then
			source.writer = nil
			wake(waiter, true)
		end
	end
	if source.rearm and (source.reader or source.writer) and sources[source.fd] == source then want(source) end
end

local function dispatch_events()
	while next_event <= last_event do
		local i = next_event
		next_event = i + 3
		local source = sources[events[i]]
		if source and source.born < polls then dispatch_event(source, events[i + 1], events[i + 2]) end
	end
end

-- A listening descriptor is a hope only for who waits in accept, or for the end of the task that does: not for the
-- others, whom no client would wake.
local function hopeful(source)
	local reader = source.reader
	if not source.listening then return reader or source.writer end
	return reader and (source.rdeadline < huge or not reader.thread or awaited(reader))
end

local function must_wait_for_something()
	for _, source in pairs(sources) do
		if not source.background and hopeful(source) then return true end
	end
	return false
end

--- One turn: runs what is ready, waits at most `limit` seconds for more.
-- @return true, or false when nothing could ever happen
function turn_loop(limit)
	if next_event <= last_event then
		dispatch_events()
		limit = 0
	end
	if ready.first <= ready.last then
		dispatch_ready()
		limit = 0
	end
	local time = now()
	local till = earliest
	while timers[1] and timers[1][2].turn ~= timers[1][3] do heap.pop(timers) end
	if timers[1] and timers[1][1] < till then till = timers[1][1] end
	local seconds = limit
	if till < huge and till - time < limit then seconds = till > time and till - time or 0 end
	-- `earliest` may be the deadline of one who is gone.
	if limit == huge and not timers[1] and not must_wait_for_something() then return false end
	local n, message = the_poller():wait(seconds == huge and -1 or seconds, events)
	if not n then error(message, 0) end
	polls = polls + 1
	next_event, last_event = 1, 3 * n
	dispatch_events()
	if #timers == 0 and earliest == huge then return true end
	time = now()
	while timers[1] and timers[1][1] <= time do
		local entry = heap.pop(timers)
		if entry[2].turn == entry[3] then wake(entry[2], nil, "timed out", "TIMEOUT") end
	end
	if earliest <= time then scan_deadlines(time) end
	return true
end

--- What every task waits for, in one line: the text of DEADLOCK.
function task.report()
	local waits = {}
	for _, self in pairs(tasks) do
		waits[#waits + 1] = ("%s waits for %s"):format(self.name, self.waits or "its turn")
	end
	table.sort(waits)
	return "nothing can happen any more: " .. (waits[1] and table.concat(waits, "; ") or "no task is left")
end

-- ---------------------------------------------------------------- tasks

local function traced(err)
	if type(err) == "string" then return debug.traceback(err, 2) end
	if failure.is(err) and not err.traceback then err.traceback = debug.traceback(nil, 2) end
	return err
end

--- Starts fn(...) as a task; it runs from the next turn of the loop on.
-- @return task
function task.spawn(fn, ...)
	if type(fn) ~= "function" then
		error(("bad argument #1 to 'spawn' (function expected, got %s)"):format(type(fn)), 2)
	end
	names = names + 1
	local parent = tasks[running()]
	local self = setmetatable({
		turn = 0,
		name = "task " .. names,
		scope = parent and parent.scope or outermost,
	}, Task)
	local arguments = table.pack(...)
	self.thread = coroutine.create(function()
		return xpcall(fn, traced, table.unpack(arguments, 1, arguments.n))
	end)
	tasks[self.thread] = self
	self.scope.members[self] = true
	live = live + 1
	soon(self, 0)
	return self
end

--- Waits for a task to end.
-- @param seconds  how long at most (default: for ever)
-- @return fn's results; raises its error; nil, message, TIMEOUT
function Task:join(seconds)
	if self.scope.failed == self then self.scope.failed = nil end
	if not self.finished then
		local waiter = current()
		if waiter == self then error("a task cannot join itself", 2) end
		self.joiners = self.joiners or {}
		local entry = { waiter, waiter.turn, true }
		table.insert(self.joiners, entry)
		after(waiter, seconds and now() + seconds or huge)
		local _, message, code = block(waiter, "join of " .. self.name)
		if code == "DEADLOCK" then
			error(failure.new { code = code, message = message }, 2)
		elseif not self.finished then
			return nil, message, code
		end
	end
	if self.canceled then
		error(failure.new { code = "CANCELED", message = self.name .. " was canceled" }, 2)
	elseif not self.ok then
		error(self.results[1], 0)
	end
	return table.unpack(self.results, 1, self.results.n)
end

--- Ends a task where it waits; what it holds in <close> variables is closed.
-- @return true, or false when it had ended before
function Task:cancel()
	if self.finished then return false end
	self.canceled = true
	if coroutine.status(self.thread) ~= "suspended" then return true end   -- ends at its next wait
	if self.source and self.source[self.side] == self then self.source[self.side] = nil end
	self.turn = self.turn + 1
	tasks[self.thread] = nil        -- a handler that waits runs the loop in place
	local ok, message = coroutine.close(self.thread)
	finish(self, false, ok and "canceled" or message)
	return true
end

--- Whether the task has ended.
function Task:done()
	return self.finished == true
end

--- Waits; other tasks go on.
-- @param seconds
function task.sleep(seconds)
	if interrupted then return nil, interrupted, "CANCELED" end
	local waiter = current()
	after(waiter, now() + seconds)
	local _, message, code = block(waiter, "sleep")
	if code ~= "TIMEOUT" then return nil, message, code end
	return true
end

--- Seconds on a clock that only goes forward.
task.now = now

local Barrier = {}
Barrier.__index = Barrier
Barrier.__name = "smtptest.barrier"

--- A meeting point of n tasks.
function task.barrier(n)
	return setmetatable({ missing = n, waiters = {} }, Barrier)
end

--- Waits until all n are here.
-- @param seconds  how long at most (default: for ever)
-- @return true | nil, message, TIMEOUT CANCELED; raises DEADLOCK
function Barrier:wait(seconds)
	self.missing = self.missing - 1
	if self.missing <= 0 then
		soon_all(self.waiters)
		self.waiters = {}
		return true
	end
	local waiter = current()
	table.insert(self.waiters, { waiter, waiter.turn, true })
	after(waiter, seconds and now() + seconds or huge)
	local ok, message, code = block(waiter, "barrier")
	if ok or self.missing <= 0 then return true end
	self.missing = self.missing + 1
	if code == "DEADLOCK" then error(failure.new { code = code, message = message }, 2) end
	return nil, message, code
end

local Promise = {}
Promise.__index = Promise
Promise.__name = "smtptest.promise"

--- A value that one task sets and others wait for.
function task.promise()
	return setmetatable({ waiters = {} }, Promise)
end

--- Sets the value; only the first one counts.
function Promise:set(value)
	if self.isset then return end
	self.isset, self.value = true, value
	soon_all(self.waiters)
	self.waiters = {}
end

--- Waits for the value.
-- @param seconds  how long at most (default: for ever)
-- @return value | nil, message, TIMEOUT DEADLOCK CANCELED
function Promise:wait(seconds)
	if self.isset then return self.value end
	if interrupted then return nil, interrupted, "CANCELED" end
	local waiter = current()
	table.insert(self.waiters, { waiter, waiter.turn, true })
	after(waiter, seconds and now() + seconds or huge)
	local _, message, code = block(waiter, "a promise")
	if self.isset then return self.value end
	return nil, message, code
end

-- What a task does when it is closed may start others.
local function cancel_all(members)
	repeat
		local list = {}
		for member in pairs(members) do
			if not member.canceled then list[#list + 1] = member end
		end
		for _, member in ipairs(list) do member:cancel() end
	until #list == 0
end

--- Runs fn(...) as a task to its end; what it left running is canceled.
-- @return fn's results; raises its error, or the first error of a task that nobody joined
function task.run(fn, ...)
	local first = task.spawn(fn, ...)
	local scope = { members = setmetatable({ [first] = true }, { __mode = "k" }) }
	first.scope.members[first] = nil
	first.scope = scope
	local results = table.pack(pcall(first.join, first))
	cancel_all(scope.members)
	if not results[1] then error(results[2], 0) end
	local failed = scope.failed
	if failed then error(failed.results[1], 0) end
	return table.unpack(results, 2, results.n)
end

--- The error of the first task outside any run() that failed and that nobody joined, or nil.
function task.failed()
	return outermost.failed and outermost.failed.results[1]
end

-- ---------------------------------------------------------------- interrupts, a host's own loop

--- Ends every wait, now and from now on, with CANCELED; or, where somebody handles it, calls that handler.
-- @param message  why
-- @param final    true: handlers are not asked
function task.interrupt(message, final)
	local handler = handlers[#handlers]
	if handler and not final then return handler(message) end
	interrupted = message
	for _, source in pairs(sources) do
		if not source.background then wake_source(source, nil, message, "CANCELED") end
	end
	for _, entry in ipairs(timers) do
		soon(entry[2], entry[3], nil, message, "CANCELED")
	end
end

--- Sets what an interrupt does until the returned function is called.
function task.on_interrupt(fn)
	handlers[#handlers + 1] = fn
	return function()
		for i = #handlers, 1, -1 do
			if handlers[i] == fn then return table.remove(handlers, i) end
		end
	end
end

--- For a host's own loop: runs what is ready, waits at most t seconds.
-- @return the number of live tasks
function task.step(seconds)
	turn_loop(seconds or 0)
	return live
end

--- One descriptor that is readable when step() has something to do, or nil where there is none.
function task.fd()
	return the_poller():fd()
end

--- How many seconds a host may sleep before the next step(); math.huge: until fd() is readable.
function task.timeout()
	if ready.first <= ready.last or next_event <= last_event then return 0 end
	local till = earliest
	if timers[1] and timers[1][1] < till then till = timers[1][1] end
	return till == huge and huge or math.max(0, till - now())
end

return task
