--- task: the loop, and the only module that waits.
--
-- A wait inside a task yields to the loop. A wait anywhere else (the main chunk, a busted test, a coroutine that
-- a script made, a callback of C) runs the loop in place until its own event comes, so that tasks in the background go
-- on.

local argument = require "smtptest.argument"
local poll = require "smtptest.core.poll"
local failure = require "smtptest.failure"
local host = require "smtptest.host"
local meeting = require "smtptest.meeting"
local schedule = require "smtptest.schedule"
local source = require "smtptest.source"

local task = {}

local now = poll.now
local running, isyieldable, yield = coroutine.running, coroutine.isyieldable, coroutine.yield
local resume, status = coroutine.resume, coroutine.status
local huge = math.huge
local ready, timers = schedule.ready, schedule.timers
local soon, soon_all, after = schedule.soon, schedule.soon_all, schedule.after
local sources, want = source.all, source.want

local Task = {}
Task.__index = Task
Task.__name = "smtptest.task"

local tasks = {}            -- coroutine -> Task, of those that have not ended
local live = 0              -- tasks that have not ended
local names = 0
local interrupted           -- message, once the user wants everything to end
local handlers = {}         -- what an interrupt does instead, the last one first

-- What the last poll reported. A task may turn the loop itself while this is walked: it goes on where we are, because
-- what it waits for may be in here, and an edge is told once.
local events, next_event, last_event = {}, 1, 0

-- The scope of task.run: what was spawned inside it, and the first error nobody joined.
local outermost = { members = setmetatable({}, { __mode = "k" }) }

local TOKEN = {}            -- what our own yields carry

-- ---------------------------------------------------------------- waiters
-- A waiter is a Task, or a place: a plain table in whose stead the loop runs.

-- Whether somebody is still waiting for the task's end: one whose join timed out, or who was canceled, is not.
local function awaited(self)
	for _, entry in ipairs(self.joiners or {}) do
		if entry[1].turn == entry[2] then return true end
	end
	return false
end

-- `results`: what fn gave, a table of table.pack; its error alone where not ok.
local function finish(self, ok, results)
	if self.finished then return end
	self.finished, self.ok, self.results = true, ok, results
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

-- A coroutine has given something else than TOKEN.
local function ended(self, ok, value, results)
	if status(self.thread) == "dead" then
		if not ok then return finish(self, false, { value }) end
		return finish(self, value, results)          -- xpcall's own
	end
	tasks[self.thread] = nil
	coroutine.close(self.thread)
	finish(self, false, { "a task must not call coroutine.yield: use smtptest.task.sleep" })
end

local function wake(waiter, value, message, code)
	waiter.turn = waiter.turn + 1
	local thread = waiter.thread
	if not thread then
		if waiter.callback then return waiter.callback() end
		waiter.woken, waiter.value, waiter.message, waiter.code = true, value, message, code
	else
		local ok, token, results = resume(thread, value, message, code)
		if token ~= TOKEN then ended(waiter, ok, token, results) end
	end
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
	if waiter.thread then
		waiter.waits = what
		local value, message, code = yield(TOKEN)
		waiter.waits = nil
		return value, message, code
	end
	while not waiter.woken do
		if not turn_loop(huge) then
			waiter.turn = waiter.turn + 1
			if interrupted then return nil, interrupted, "CANCELED" end
			return nil, task.report(), "DEADLOCK"
		end
	end
	return waiter.value, waiter.message, waiter.code
end

-- ---------------------------------------------------------------- descriptors

--- Makes a descriptor known to the loop; as source.new.
task.source = source.new

--- Forgets a descriptor; as source.forget.
task.forget = source.forget

local function wait(self, side, limit, deadline)
	if interrupted then return nil, interrupted, "CANCELED" end
	if self[side] then return nil, "another task waits for the same", "BUSY" end
	if deadline <= now() then return nil, "timed out", "TIMEOUT" end
	local waiter = current()
	self[side], self[limit] = waiter, deadline
	if deadline < source.earliest then source.earliest = deadline end
	if self.rearm then want(self) end
	if waiter.thread then
		waiter.source = self
		return yield(TOKEN)         -- whoever wakes it has taken it out
	end
	local ok, message, code = block(waiter)
	if self[side] == waiter then self[side] = false end
	return ok, message, code
end

--- Waits for the next event of a source, whatever is known of it.
-- @param side, limit  "reader", "rdeadline" or "writer", "wdeadline"
-- @param deadline     as of task.readable
-- @return true | nil, message, TIMEOUT CANCELED BUSY DEADLOCK
task.event = wait

--- Waits until a source is readable.
-- @param deadline  time of task.now() after which it is TIMEOUT; math.huge for ever; one in the past: what is known
-- @return true | nil, message, TIMEOUT CANCELED BUSY DEADLOCK
function task.readable(self, deadline)
	while not self.readable do
		local ok, message, code = wait(self, "reader", "rdeadline", deadline)
		if not ok then return nil, message, code end
	end
	return true
end

--- Waits until a source is writable; as task.readable.
function task.writable(self, deadline)
	while not self.writable do
		local ok, message, code = wait(self, "writer", "wdeadline", deadline)
		if not ok then return nil, message, code end
	end
	return true
end

--- Calls fn from the loop whenever fd is readable. Such a descriptor never keeps the loop alive.
-- @return a function that ends it
function task.background(fd, fn)
	local self = assert(source.new(fd, "level"))
	self.background = true
	local function rearm()
		self.readable = false
		self.reader = { turn = 0, callback = function()
			fn()
			if sources[fd] == self then rearm() end
		end }
		want(self)
	end
	rearm()
	return function() self.reader = false; source.forget(self) end
end

-- ---------------------------------------------------------------- the loop

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

local function dispatch_events()
	while next_event <= last_event do
		local i = next_event
		next_event = i + 3
		local self, readable, writable = sources[events[i]], events[i + 1], events[i + 2]
		if self and self.born < source.polls then
			if readable then
				self.readable = true
				if readable == "hup" then self.hup = true end
				local waiter = self.reader
				if waiter then
					self.reader = false
					wake(waiter, true)
				end
			end
			if writable then
				self.writable = true
				local waiter = self.writer
				if waiter then
					self.writer = false
					wake(waiter, true)
				end
			end
			if self.rearm and (self.reader or self.writer) and sources[self.fd] == self then want(self) end
		end
	end
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
	local till, timer = source.earliest, timers[1] and schedule.earliest() or huge
	if timer < till then till = timer end
	local seconds = limit
	if till < huge and till - time < limit then seconds = till > time and till - time or 0 end
	-- `source.earliest` may be the deadline of one who is gone.
	if limit == huge and timer == huge and not source.hope(awaited) then return false end
	local n, message = source.poller():wait(seconds == huge and -1 or seconds, events)
	if not n then error(message, 0) end
	source.polls = source.polls + 1
	next_event, last_event = 1, 3 * n
	dispatch_events()
	if not timers[1] and source.earliest == huge then return true end
	time = now()
	if timers[1] then
		for waiter in schedule.due, time do wake(waiter, nil, "timed out", "TIMEOUT") end
	end
	if source.earliest <= time then source.expire(time) end
	return true
end

local function doing(self)
	local what = self.source
	if not what then return nil end
	return what.reader == self and (what.listening and "accept" or "reading") or what.writer == self and "writing"
end

--- What every task waits for, in one line: the text of DEADLOCK.
function task.report()
	local waits = {}
	for _, self in pairs(tasks) do
		waits[#waits + 1] = ("%s waits for %s"):format(self.name, self.waits or doing(self) or "its turn")
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

local function packed(ok, ...)
	return ok, table.pack(...)
end

--- Starts fn(...) as a task; it runs from the next turn of the loop on.
-- @return task
function task.spawn(fn, ...)
	argument.callable(fn, "spawn")
	names = names + 1
	local parent = tasks[running()]
	local self = setmetatable({
		turn = 0,
		name = "task " .. names,
		scope = parent and parent.scope or outermost,
	}, Task)
	local arguments = table.pack(...)
	self.thread = coroutine.create(function()
		return packed(xpcall(fn, traced, table.unpack(arguments, 1, arguments.n)))
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
	if seconds ~= nil then argument.seconds(seconds, "join") end
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
	local what = self.source
	if what and what.reader == self then what.reader = false end
	if what and what.writer == self then what.writer = false end
	self.turn = self.turn + 1
	tasks[self.thread] = nil        -- a handler that waits runs the loop in place
	local ok, message = coroutine.close(self.thread)
	finish(self, false, { ok and "canceled" or message })
	return true
end

--- Whether the task has ended.
function Task:done()
	return self.finished == true
end

--- Waits; other tasks go on.
-- @param seconds  math.huge: for ever
-- @return true | nil, message, CANCELED DEADLOCK
function task.sleep(seconds)
	argument.seconds(seconds, "sleep")
	if interrupted then return nil, interrupted, "CANCELED" end
	local waiter = current()
	after(waiter, now() + seconds)
	local _, message, code = block(waiter, "sleep")
	if code ~= "TIMEOUT" then return nil, message, code end
	return true
end

--- Seconds on a clock that only goes forward.
task.now = now

local barrier, promise = meeting.functions {
	current = current, block = block, interrupted = function() return interrupted end,
}

--- A meeting point of n tasks.
-- @return barrier with wait(seconds) -> true | nil, message, TIMEOUT CANCELED; raises DEADLOCK
task.barrier = barrier

--- A value that one task sets and others wait for.
-- @param what  it is, in words, for the text of DEADLOCK
-- @return promise with set(value), wait(seconds) -> value | nil, message, TIMEOUT DEADLOCK CANCELED
task.promise = promise

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
	argument.callable(fn, "run")
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
	source.cancel(message)
	schedule.cancel(message)
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

local step, fd, timeout = host.functions {
	turn = turn_loop, now = now, background = task.background, report = task.report,
	live = function() return live end,
	pending = function() return next_event <= last_event end,
}

--- For a host's own loop: runs what is ready, waits at most t seconds (default 0); math.huge: until something happens.
-- @return the number of live tasks; raises DEADLOCK where t is math.huge and nothing could ever happen
task.step = step

--- One descriptor that is readable when step() has something to do, or nil where there is none. To be asked again, or
-- step() called, after a call from outside that may have started or ended a wait.
task.fd = fd

--- How many seconds a host may sleep before the next step(); math.huge: until fd() is readable.
task.timeout = timeout

return task
