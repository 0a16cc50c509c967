local task = require "smtptest.task"
local failure = require "smtptest.failure"
local poll = require "smtptest.core.poll"
local socket = require "smtptest.core.socket"
local file = require "smtptest.core.file"

-- A loop of its own, for what changes it for good.
local function fresh()
	local parts, kept = { "smtptest.schedule", "smtptest.source", "smtptest.host", "smtptest.meeting", "smtptest.task" }, {}
	for _, name in ipairs(parts) do kept[name], package.loaded[name] = package.loaded[name], nil end
	local loop = require "smtptest.task"
	for _, name in ipairs(parts) do package.loaded[name] = kept[name] end
	return loop
end

local function pair(loop)
	local a, b = assert(socket.pair())
	return a, b, assert((loop or task).source(a:fd(), "edge"))
end

local function caught(fn, ...)
	local ok, err = pcall(fn, ...)
	assert.is_false(ok)
	return err
end

describe("a task", function()
	it("runs from the next turn on, and join gives its results", function()
		local started = false
		local t = task.spawn(function(...)
			started = true
			return select("#", ...), ...
		end, nil, "a", nil)
		assert.is_false(started)
		assert.is_false(t:done())
		assert.same({ 3, nil, "a", nil, n = 4 }, table.pack(t:join()))
		assert.is_true(t:done())
		assert.same({ 3, nil, "a", nil, n = 4 }, table.pack(t:join()))
	end)

	it("that is no function is a mistake", function()
		for _, value in ipairs { 1, "x", {}, false } do
			assert.has_error(function() task.spawn(value) end,
				("bad argument #1 to 'spawn' (function expected, got %s)"):format(type(value)))
		end
	end)

	it("and whatever waits refuses what is no number of seconds, or of tasks", function()
		local function blames(pattern, fn, ...)
			local err = caught(fn, ...)
			assert.truthy(err:find(pattern), err)
		end
		local t = task.spawn(function() end)
		blames("task_spec.lua:%d+: bad argument #1 to 'sleep' %(seconds expected, got nil%)", function() task.sleep() end)
		blames("task_spec.lua:%d+: bad argument #1 to 'sleep' %(seconds expected, got nan%)", function() task.sleep(0 / 0) end)
		blames("task_spec.lua:%d+: bad argument #1 to 'join' %(seconds expected, got string%)", function() t:join "x" end)
		blames("task_spec.lua:%d+: bad argument #1 to 'wait' ", function() task.barrier(2):wait {} end)
		blames("task_spec.lua:%d+: bad argument #1 to 'run' %(function expected, got nil%)", function() task.run() end)
		for _, value in ipairs { "x", 0, 1.5, -1, false } do
			blames("task_spec.lua:%d+: bad argument #1 to 'barrier' ", function() task.barrier(value) end)
		end
		t:join()
	end)

	it("gives its error to join, with its traceback", function()
		local function deeply() error "oh no" end
		local err = caught(function() task.spawn(function() deeply() end):join() end)
		assert.truthy(err:find "task_spec.lua:%d+: oh no\nstack traceback:")
		assert.truthy(err:find "deeply")
		local object = failure.new { code = "EOF", message = "x" }
		assert.equal(object, caught(function() task.spawn(error, object):join() end))
		assert.truthy(object.traceback:find "stack traceback:")
		local value = {}
		assert.equal(value, caught(function() task.spawn(error, value):join() end))
		assert.is_nil(caught(function() task.spawn(error):join() end))
	end)

	it("may be joined by several, before and after its end", function()
		local t = task.spawn(function() task.sleep(0.005) return 7 end)
		local joiners = {}
		for i = 1, 3 do joiners[i] = task.spawn(function() return t:join() end) end
		for i = 1, 3 do assert.equal(7, joiners[i]:join()) end
	end)

	it("is waited for no longer than join says", function()
		local t = task.spawn(function() task.sleep(60) end)
		local value, _, code = t:join(0.005)
		assert.is_nil(value)
		assert.equal("TIMEOUT", code)
		assert.is_false(t:done())
		assert.is_true(t:cancel())
		assert.is_nil(select(2, pcall(t.join, t, 0)).transcript)
	end)

	it("cannot join itself", function()
		local t
		t = task.spawn(function() t:join() end)
		assert.truthy(caught(t.join, t):find("a task cannot join itself", 1, true))
	end)

	it("that calls coroutine.yield ends with an error, and is closed", function()
		local closed = false
		local t = task.spawn(function()
			local _ <close> = setmetatable({}, { __close = function() closed = true end })
			coroutine.yield(1)
		end)
		local err = caught(t.join, t)
		assert.truthy(err:find("must not call coroutine.yield", 1, true))
		assert.is_true(closed)
		t = task.spawn(function() return coroutine.wrap(function() coroutine.yield(5) end)() end)
		assert.equal(5, t:join())
	end)

	it("may wait in pcall, in a metamethod, and while it closes", function()
		local log = {}
		local t = task.spawn(function()
			local ok = pcall(function() assert(task.sleep(0.001)) error "x" end)
			local object = setmetatable({}, { __index = function(_, key) task.sleep(0.001) return key end })
			do
				local _ <close> = setmetatable({}, { __close = function() task.sleep(0.001) log[1] = "closed" end })
			end
			return ok, object.field
		end)
		assert.same({ false, "field" }, { t:join() })
		assert.same({ "closed" }, log)
	end)
end)

describe("a canceled task", function()
	it("ends where it waits; what it holds is closed", function()
		local log = {}
		local t = task.spawn(function()
			local _ <close> = setmetatable({}, { __close = function() log[#log + 1] = "closed" end })
			task.sleep(60)
			log[#log + 1] = "never"
		end)
		task.sleep(0)
		assert.is_true(t:cancel())
		assert.same({ "closed" }, log)
		assert.is_true(t:done())
		assert.is_false(t:cancel())
		local err = caught(t.join, t)
		assert.equal("CANCELED", err.code)
		assert.truthy(err.message:find "^task %d+ was canceled$")
	end)

	it("never began, if it had not", function()
		local began = false
		local t = task.spawn(function() began = true end)
		assert.is_true(t:cancel())
		task.sleep(0.002)
		assert.is_false(began)
		assert.equal("CANCELED", caught(t.join, t).code)
	end)

	it("may wait while it closes", function()
		local slept
		local t = task.spawn(function()
			local _ <close> = setmetatable({}, { __close = function() slept = task.sleep(0.002) end })
			task.sleep(60)
		end)
		task.sleep(0)
		t:cancel()
		assert.is_true(slept)
	end)

	it("may raise while it closes, and hurts nobody", function()
		local t = task.spawn(function()
			local _ <close> = setmetatable({}, { __close = function() error "while closing" end })
			task.sleep(60)
		end)
		task.sleep(0)
		assert.is_true(t:cancel())
		assert.equal("CANCELED", caught(t.join, t).code)
	end)

	it("wakes who joined it", function()
		local t = task.spawn(function() task.sleep(60) end)
		local joiner = task.spawn(function() return pcall(t.join, t) end)
		task.sleep(0)
		t:cancel()
		local ok, err = joiner:join()
		assert.is_false(ok)
		assert.equal("CANCELED", err.code)
	end)

	it("ends at its next wait when it cancels itself, and keeps nobody else from waiting", function()
		local a, b, source = pair()
		local reached = false
		local t
		t = task.spawn(function()
			assert.is_true(t:cancel())
			reached = true
			task.readable(source, task.now() + 60)
			reached = "too far"
		end)
		assert.equal("CANCELED", caught(t.join, t).code)
		assert.is_true(reached)
		b:write "x"
		assert.is_true(task.readable(source, task.now() + 60))
		task.forget(source)
		a:close()
		b:close()
	end)

	it("leaves its descriptor to others", function()
		local a, b, source = pair()
		local t = task.spawn(function() task.readable(source, math.huge) end)
		task.sleep(0)
		t:cancel()
		b:write "x"
		assert.is_true(task.readable(source, task.now() + 60))
		task.forget(source)
		a:close()
		b:close()
	end)
end)

describe("time", function()
	it("passes for sleepers in the order of their ends", function()
		local order, tasks = {}, {}
		local delays = {}
		math.randomseed(3)
		for i = 1, 60 do delays[i] = math.random(0, 40) / 1000 end
		local from = task.now()
		for i, delay in ipairs(delays) do
			tasks[i] = task.spawn(function()
				assert.is_true(task.sleep(from + delay - task.now()))
				assert.truthy(task.now() >= from + delay)
				order[#order + 1] = delay
			end)
		end
		for _, t in ipairs(tasks) do t:join() end
		for i = 2, #order do assert.truthy(order[i - 1] <= order[i]) end
		assert.equal(60, #order)
	end)

	it("of no length, or less, is a turn of the loop", function()
		local ran = false
		local t = task.spawn(function() ran = true end)
		assert.is_true(task.sleep(0))
		assert.is_true(ran)
		assert.is_true(task.sleep(-5))
		t:join()
	end)

	it("does not stand still for others while one waits", function()
		local count = 0
		local t = task.spawn(function()
			while true do
				task.sleep(0.001)
				count = count + 1
			end
		end)
		task.sleep(0.03)
		t:cancel()
		assert.truthy(count > 3)
	end)
end)

describe("a descriptor", function()
	local a, b, source
	before_each(function() a, b, source = pair() end)
	after_each(function()
		task.forget(source)
		a:close()
		b:close()
	end)

	it("wakes who waits for it", function()
		local t = task.spawn(function() return task.readable(source, math.huge) end)
		task.sleep(0)
		assert.is_false(t:done())
		b:write "x"
		assert.is_true(t:join(60))
		assert.is_true(source.readable)
	end)

	it("is waited for until the deadline", function()
		local from = task.now()
		local ok, message, code = task.readable(source, from + 0.01)
		assert.is_nil(ok)
		assert.same({ "timed out", "TIMEOUT" }, { message, code })
		assert.truthy(task.now() - from >= 0.01)
		assert.equal("TIMEOUT", select(3, task.readable(source, from)))
		assert.is_false(source.reader)
	end)

	it("is waited for by one reader and one writer", function()
		local t = task.spawn(function() return task.readable(source, math.huge) end)
		source.writable = false
		local w = task.spawn(function() return task.writable(source, task.now() + 0.01) end)
		task.sleep(0)
		local ok, _, code = task.readable(source, task.now() + 5)
		assert.is_nil(ok)
		assert.equal("BUSY", code)
		b:write "x"
		assert.is_true(t:join(60))
		w:join(60)
	end)

	it("says when the other end hung up", function()
		b:write "x"
		b:shutdown "w"
		assert.is_true(task.readable(source, task.now() + 60))
		assert.is_true(source.hup)
	end)

	it("that is closed wakes who waits with CANCELED", function()
		local t = task.spawn(function() return task.readable(source, math.huge) end)
		task.sleep(0)
		task.forget(source)
		local ok, _, code = t:join(60)
		assert.is_nil(ok)
		assert.equal("CANCELED", code)
	end)

	it("is always ready when poll refuses it", function()
		local f = assert(file.open("README.md", "r"))
		local plain = assert(task.source(f:fd(), "level"))
		assert.is_true(task.readable(plain, task.now()))
		assert.is_true(task.writable(plain, task.now()))
		task.forget(plain)
		f:close()
	end)

	it("of level kind is reported for each wait", function()
		local reader, writer = file.pipe()
		local level = assert(task.source(reader:fd(), "level"))
		for _ = 1, 3 do
			writer:write "x"
			assert.is_true(task.readable(level, task.now() + 60))
			level.readable = false
			assert.equal("x", reader:read(10))
			assert.equal("TIMEOUT", select(3, task.readable(level, task.now() + 0.002)))
		end
		task.forget(level)
	end)

	it("that is not open is refused", function()
		local c = socket.pair()
		local number = c:fd()
		c:close()
		local ok, _, code = task.source(number, "edge")
		assert.is_nil(ok)
		assert.equal("EBADF", code)
	end)

	-- Its number was another's when the events were fetched.
	it("is not told what was reported of one closed before it", function()
		local x, y = socket.pair()
		local old = assert(task.source(x:fd(), "edge"))
		local new, woken, z, w
		local number = x:fd()
		local first = task.spawn(function()
			task.readable(source, task.now() + 60)
			task.forget(old)
			x:close()
			z, w = socket.pair()
			assert(z:fd() == number)
			new = task.source(number, "edge")
			woken = { task.readable(new, task.now() + 0.01) }
		end)
		task.sleep(0)
		b:write "x"
		y:write "x"
		first:join()
		assert.equal("TIMEOUT", woken[3])
		task.forget(new)
		z:close()
		w:close()
		y:close()
	end)
end)

describe("the loop in place", function()
	-- Waiting where a coroutine can't yield, or in a coroutine that is no task.
	local places = {
		["the main chunk"] = function(fn) fn() end,
		["a coroutine of the script"] = function(fn)
			local co = coroutine.wrap(function() fn() return "end" end)
			assert.equal("end", co())
		end,
		["table.sort"] = function(fn)
			local done = false
			table.sort({ 2, 1 }, function(x, y)
				if not done then fn() end
				done = true
				return x < y
			end)
		end,
		["string.gsub"] = function(fn) assert.equal("y", (("x"):gsub("x", function() fn() return "y" end))) end,
		["load"] = function(fn)
			local done = false
			assert(load(function()
				if done then return nil end
				done = true
				fn()
				return "return 1"
			end))
		end,
	}

	for name, place in pairs(places) do
		for _, where in ipairs { "outside a task", "in a task" } do
			it("goes on for all others while " .. name .. " waits " .. where, function()
				local a, b, source = pair()
				local promise = task.promise()
				local helper = task.spawn(function()
					task.sleep(0.002)
					b:write "x"
					task.sleep(0.001)
					promise:set(5)
					return 6
				end)
				local results = {}
				local function wait()
					place(function()
						results = { task.readable(source, task.now() + 60), promise:wait(), helper:join(), task.sleep(0.001) }
					end)
				end
				if where == "in a task" then task.spawn(wait):join() else wait() end
				assert.same({ true, 5, 6, true }, results)
				task.forget(source)
				a:close()
				b:close()
			end)
		end
	end

	-- Both are in the queue: the first waits in place for the second.
	it("takes what its outer loop had not come to", function()
		local second
		local first = task.spawn(function()
			local value
			("x"):gsub("x", function() value = second:join() end)
			return value
		end)
		second = task.spawn(function() return "second" end)
		assert.equal("second", first:join())
	end)

	-- Both descriptors are reported at once, an edge each.
	it("takes events that its outer loop had not come to", function()
		local a, b, source = pair()
		local c, d, other = pair()
		local function waiter(mine, theirs)
			return function()
				assert(task.readable(mine, task.now() + 60))
				local ok
				("x"):gsub("x", function() ok = task.readable(theirs, task.now() + 60) end)
				return ok
			end
		end
		local t = task.spawn(waiter(source, other))
		task.sleep(0)
		b:write "x"
		d:write "x"
		assert.is_true(t:join(30))
		t = task.spawn(waiter(other, source))
		assert.is_true(t:join(30))
		task.forget(source)
		task.forget(other)
		for _, s in ipairs { a, b, c, d } do s:close() end
	end)

	it("may be nested", function()
		local depth = 0
		local function dive(n)
			if n == 0 then return task.sleep(0.001) end
			depth = depth + 1
			return task.spawn(function()
				local value
				("x"):gsub("x", function() value = dive(n - 1) end)
				return value
			end):join()
		end
		assert.is_true(dive(20))
		assert.equal(20, depth)
	end)
end)

describe("a deadlock", function()
	local function deadlock(fn, ...)
		local err = caught(fn, ...)
		assert.is_true(failure.is(err), tostring(err))
		assert.equal("DEADLOCK", err.code)
		return tostring(err)
	end

	it("is raised with what every task waits for", function()
		local loop = fresh()
		local barrier = loop.barrier(3)
		local t = loop.spawn(function() barrier:wait() end)
		loop.spawn(function() t:join() end)
		assert.equal("nothing can happen any more: task 1 waits for barrier; task 2 waits for join of task 1",
			deadlock(t.join, t))
		assert.equal("nothing can happen any more: task 1 waits for barrier; task 2 waits for join of task 1",
			deadlock(barrier.wait, barrier))
	end)

	it("is raised where nothing is left at all", function()
		assert.equal("nothing can happen any more: no task is left", deadlock(function()
			local b = fresh().barrier(2)
			b:wait()
		end))
	end)

	it("is not hidden by garbage collection", function()
		local loop = fresh()
		do
			local promise = loop.promise()
			loop.spawn(function() promise:wait() end)
		end
		loop.step(0)
		collectgarbage()
		collectgarbage()
		local barrier = loop.barrier(2)
		assert.equal("nothing can happen any more: task 1 waits for a promise", deadlock(barrier.wait, barrier))
		assert.equal(1, loop.step(0))
	end)

	-- A deadline that nobody has any more kept the loop waiting for it.
	it("is found at once after a wait with a deadline", function()
		local loop = fresh()
		local a, b, source = pair(loop)
		loop.spawn(function()
			loop.sleep(0.001)
			b:write "x"
		end)
		local from = loop.now()
		assert.is_true(loop.readable(source, from + 300))
		local barrier = loop.barrier(2)
		deadlock(barrier.wait, barrier)
		assert.truthy(loop.now() - from < 60)
		a:close()
		b:close()
	end)

	it("is none while somebody sleeps or waits for a descriptor", function()
		local loop = fresh()
		local a, b, source = pair(loop)
		local barrier = loop.barrier(2)
		loop.spawn(function()
			loop.sleep(0.002)
			b:write "x"
		end)
		loop.spawn(function()
			loop.readable(source, math.huge)
			barrier:wait()
		end)
		assert.is_true(barrier:wait())
		a:close()
		b:close()
	end)

	it("is one when only a listening descriptor is waited for, by who is not awaited", function()
		local loop = fresh()
		local _, _, source = pair(loop)
		source.listening = true
		loop.spawn(function() loop.readable(source, math.huge) end)
		local barrier = loop.barrier(2)
		assert.equal("nothing can happen any more: task 1 waits for accept", deadlock(barrier.wait, barrier))
	end)

	-- A server that serves in the foreground.
	it("is none for who waits in accept, or for the task that does", function()
		local loop = fresh()
		local a, b, source = pair(loop)
		source.listening = true
		local helper = assert(loop.background(b:fd(), function() end))
		local timer = loop.spawn(function()
			loop.sleep(0.002)
			b:write "x"
		end)
		assert.is_true(loop.readable(source, math.huge))
		timer:join()
		source.readable = false
		assert.equal("TIMEOUT", select(3, loop.readable(source, loop.now() + 0.002)))
		local t = loop.spawn(function() return loop.readable(source, math.huge) end)
		local joined = loop.spawn(function() return t:join() end)
		loop.step(0)
		assert.equal(2, loop.step(0))
		b:write "y"
		assert.is_true(joined:join())
		helper()
		a:close()
	end)
end)

describe("task.run", function()
	it("gives the results and cancels what is left", function()
		local closed, left = 0, nil
		local function holder()
			local _ <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
			task.sleep(60)
		end
		local function parent()
			task.spawn(holder)
			holder()
		end
		assert.same({ 1, nil, 3, n = 3 }, table.pack(task.run(function(...)
			left = task.spawn(parent)
			task.sleep(0)
			task.sleep(0)
			return ...
		end, 1, nil, 3)))
		assert.is_true(left:done())
		assert.equal(2, closed)
	end)

	it("raises the function's error, and cancels what is left", function()
		local left
		local err = caught(task.run, function()
			left = task.spawn(function() task.sleep(60) end)
			error "mine"
		end)
		assert.truthy(err:find "mine\nstack traceback")
		assert.is_true(left:done())
	end)

	it("raises the first error of a task that nobody joined", function()
		local err = caught(task.run, function()
			local good = task.spawn(function() error "joined" end)
			pcall(good.join, good)
			task.spawn(function() error "first" end)
			task.sleep(0.001)
			task.spawn(function() error "second" end)
			task.sleep(0.001)
		end)
		assert.truthy(err:find "first")
	end)

	-- Its joiner had gone: nobody would ever hear of it.
	it("raises the error of a task whose joiner gave up", function()
		local err = caught(task.run, function()
			local t = task.spawn(function()
				task.sleep(0.005)
				error "late"
			end)
			assert.equal("TIMEOUT", select(3, t:join(0.001)))
			task.sleep(0.02)
		end)
		assert.truthy(err:find "late")
	end)

	it("may stand inside another", function()
		assert.equal(5, task.run(function()
			local outer = task.spawn(function() task.sleep(0.004) return 5 end)
			task.run(function() task.spawn(function() task.sleep(60) end) end)
			return outer:join()
		end))
	end)

	it("cancels what the canceled begin", function()
		local late
		task.run(function()
			task.spawn(function()
				local _ <close> = setmetatable({}, { __close = function()
					task.sleep(0.001)
					late = true
				end })
				task.sleep(60)
			end)
			task.spawn(function()
				while true do task.spawn(task.sleep, 60) task.sleep(0) end
			end)
			task.sleep(0.003)
		end)
		assert.is_true(late)
	end)
end)

describe("an error that nobody joins", function()
	it("is kept for whoever asks", function()
		local loop = fresh()
		assert.is_nil(loop.failed())
		local t = loop.spawn(error, "lost")
		loop.step(0)
		assert.truthy(loop.failed():find "^lost")
		pcall(t.join, t)
		assert.is_nil(loop.failed())
	end)
end)

describe("an interrupt", function()
	it("ends every wait, now and from now on", function()
		local loop = fresh()
		local a, b, source = pair(loop)
		local sleeper = loop.spawn(function() return loop.sleep(60) end)
		local reader = loop.spawn(function() return loop.readable(source, loop.now() + 60) end)
		local waiter = loop.spawn(function() return loop.promise():wait(60) end)
		loop.step(0)
		loop.interrupt "interrupted"
		for _, t in ipairs { sleeper, reader, waiter } do
			local ok, message, code = t:join()
			assert.is_nil(ok)
			assert.same({ "interrupted", "CANCELED" }, { message, code })
		end
		assert.equal("CANCELED", select(3, loop.sleep(60)))
		assert.equal("CANCELED", select(3, loop.readable(source, math.huge)))
		assert.equal("CANCELED", select(3, loop.promise():wait()))
		assert.equal("CANCELED", select(3, loop.barrier(2):wait()))
		a:close()
		b:close()
	end)

	it("is for its handler, the last one first, unless it is final", function()
		local loop = fresh()
		local log = {}
		local outer = loop.on_interrupt(function(message) log[#log + 1] = "outer " .. message end)
		local inner = loop.on_interrupt(function(message) log[#log + 1] = "inner " .. message end)
		loop.interrupt "1"
		inner()
		loop.interrupt "2"
		assert.is_true(loop.sleep(0.001))
		loop.interrupt("3", true)
		outer()
		assert.same({ "inner 1", "outer 2" }, log)
		assert.equal("CANCELED", select(3, loop.sleep(1)))
	end)
end)

describe("a descriptor in the background", function()
	it("is served while others wait, and keeps nobody alive", function()
		local loop = fresh()
		local reader, writer = file.pipe()
		local got = {}
		local stop = loop.background(reader:fd(), function() got[#got + 1] = reader:read(10) end)
		writer:write "a"
		loop.sleep(0.002)
		writer:write "b"
		loop.sleep(0.002)
		assert.same({ "a", "b" }, got)
		assert.equal("DEADLOCK", caught(function() loop.barrier(2):wait() end).code)
		stop()
		writer:write "c"
		loop.sleep(0.002)
		assert.same({ "a", "b" }, got)
	end)

	it("may be stopped by its own function", function()
		local loop = fresh()
		local reader, writer = file.pipe()
		local count, stop = 0, nil
		stop = loop.background(reader:fd(), function()
			count = count + 1
			stop()
		end)
		writer:write "a"
		loop.sleep(0.002)
		loop.sleep(0.002)
		assert.equal(1, count)
	end)
end)

describe("a host's own loop", function()
	it("steps, polls our descriptor and sleeps as long as it may", function()
		local loop = fresh()
		local a, b, source = pair(loop)
		assert.equal(math.huge, loop.timeout())
		local t = loop.spawn(function()
			assert(loop.readable(source, loop.now() + 30))
			loop.sleep(0.003)
			return "done"
		end)
		assert.equal(0, loop.timeout())
		assert.equal(1, loop.step(0))
		assert.truthy(loop.timeout() > 20 and loop.timeout() <= 30)
		local host = poll.new()
		if loop.fd() then
			host:add(loop.fd(), "level")
			host:want(loop.fd(), "r")
			while host:wait(0, {}) > 0 do
				loop.step(0)
				host:want(loop.fd(), "r")
			end
		end
		b:write "x"
		if loop.fd() then
			assert.equal(1, host:wait(30, {}))
		end
		assert.equal(1, loop.step(0))
		local seconds = loop.timeout()
		assert.truthy(seconds <= 0.003)
		while not t:done() do loop.step(loop.timeout()) end
		assert.equal("done", t:join())
		assert.equal(0, loop.step(0))
		host:close()
		a:close()
		b:close()
	end)

	it("is given back at once, or after the seconds it gave", function()
		local loop = fresh()
		local from = loop.now()
		assert.equal(0, loop.step())
		assert.equal(0, loop.step(0.01))
		assert.truthy(loop.now() - from >= 0.01)
		assert.truthy(loop.now() - from < 5)
	end)
end)

describe("two thousand tasks", function()
	it("run side by side", function()
		local count, barrier = 0, task.barrier(2000)
		local tasks = {}
		for i = 1, 2000 do
			tasks[i] = task.spawn(function()
				task.sleep((i * 7919 % 100) / 10000)
				barrier:wait()
				count = count + 1
				return i
			end)
		end
		for i, t in ipairs(tasks) do assert.equal(i, t:join()) end
		assert.equal(2000, count)
	end)

	it("leave nothing behind", function()
		local function round()
			task.run(function()
				for _ = 1, 2000 do task.spawn(function() task.sleep(0) end) end
				for _ = 1, 2000 do task.spawn(function() task.sleep(60) end) end
				task.sleep(0.001)
			end)
			task.sleep(0.001)
			collectgarbage()
			collectgarbage()
			return collectgarbage "count"
		end
		round()
		local before = round()
		for _ = 1, 3 do round() end
		assert.truthy(round() - before < 500)
	end)
end)
