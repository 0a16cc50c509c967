--- process: programs that a script starts, and that end with it.
--
--   local server <close> = smtptest.process.spawn { argv = { "smtp-sink", "127.0.0.1:2525", "10" },
--     ready = "tcp:127.0.0.1:2525" }
--
-- Each leads a process group of its own. What is in the group ends when the process is closed, when it is collected,
-- and when we end, however that is: TERM, and KILL for what is left 5 s later.

local argument = require "smtptest.argument"
local core = require "smtptest.core.process"
local failure = require "smtptest.failure"
local file = require "smtptest.core.file"
local guard = require "smtptest.guard"
local poll = require "smtptest.core.poll"
local ready = require "smtptest.ready"
local stream = require "smtptest.stream"
local tail = require "smtptest.tail"
local task = require "smtptest.task"

local process = {}

local GRACE = 5             -- seconds between TERM and KILL
local AFTER_KILL = 1        -- seconds until even that is given up
local STEP = 0.01           -- seconds between two looks at a group whose leader ended
local KEPT = 65536          -- bytes of output
local SHOWN = 1000          -- bytes of it that an error's text has
local FOREVER = 1e6         -- seconds; a wait that has a timer is no deadlock
local READY = 30            -- seconds

-- A process is an object of the script's and a state of ours, which does not hold the object: that one's collection
-- ends the process. A state: core (smtptest.core.process), name, pid, pipes, input, output (tail), log, trouble (of the
-- log), how ("exit" "signal"), status, signal, lost (why nobody knows these), over (promise of its end), news (promise
-- of output or the end), pattern (looked for in the output), seen (what came of each pipe), found, closed, left (it was
-- told to end, and nobody waits).
local states = {}           -- those of which anybody may be left

local Process = { __name = "smtptest.process" }
local methods = {}

-- ---------------------------------------------------------------- what is known

local function tell(state)
	local news = state.news
	state.news = nil
	if news then news:set(true) end
end

local function pull(state)
	for _, pipe in ipairs(state.pipes) do
		local left = 32         -- who writes for ever must not hold us
		while left > 0 and pipe:pull() do left = left - 1 end
	end
end

-- Lets go of all that is left: nobody of the group is there.
local function leave(state)
	if state.closed then return end
	state.closed = true
	states[state] = nil
	if state.unwatch then state.unwatch() end
	state.input:close()
	for _, pipe in ipairs(state.pipes) do pipe:close() end
	if state.log then state.log:close() end
	state.core:close()
	guard.forget(state.pid)
end

-- Whether it ended; then its last words are here, too.
local function look(state)
	if state.how or state.lost then return true end
	local how, value, code = state.core:wait()
	if not how and code == "EAGAIN" then return false end
	pull(state)
	if how == "exit" then
		state.how, state.status = how, value
	elseif how then
		state.how, state.signal = how, core.signal(value)
	else
		state.lost = { value, code }
	end
	if state.unwatch then state.unwatch() end
	state.unwatch = nil
	state.over:set(true)
	tell(state)
	if state.core:gone() ~= false then leave(state) end
	return true
end

-- How it ended, in words.
local function ending(state)
	if state.how == "exit" then return "exit status " .. state.status end
	if state.how then return "signal " .. state.signal end
	return state.lost and state.lost[1]
end

-- Whether nobody of its group is left.
local function gone(state)
	look(state)
	pull(state)
	return state.core:gone() ~= false
end

-- What was told to end before, and has ended.
local function sweep()
	local list = {}
	for state in pairs(states) do
		if state.left and gone(state) then list[#list + 1] = state end
	end
	for _, state in ipairs(list) do leave(state) end
end

-- ---------------------------------------------------------------- its beginning

local function text(value)
	return type(value) == "string" and not value:find "%z"
end

local KINDS = {
	argv = { "a list of words", function(value)
		if type(value) ~= "table" or #value == 0 then return false end
		for _, word in ipairs(value) do
			if not text(word) then return false end
		end
		return true
	end },
	env = { "a table of NAME = value", function(value)
		if type(value) ~= "table" then return false end
		for name, word in pairs(value) do
			if not text(name) or name == "" or name:find "=" or not text(word) then return false end
		end
		return true
	end },
	cwd = { "a path", text },
	log = { "a path", text },
	ready = "string|function",
	timeout = "number",
}

local function raise(fields)
	fields.op = "spawn"
	error(failure.new(fields), 0)
end

-- Looks for the pattern that says it is ready.
local function seek(state, i, bytes)
	local said = (state.seen[i] or "") .. bytes
	state.seen[i] = said:sub(-KEPT)
	if said:find(state.pattern) then state.found, state.pattern, state.seen = true, nil, nil end
end

local function hear(state, i, bytes)
	state.output:add(bytes)
	if state.pattern then seek(state, i, bytes) end
	if state.log then
		local ok, message = state.log:write(bytes)
		if not ok then
			state.log:close()
			state.log, state.trouble = nil, message
		end
	end
	tell(state)
end

local function start(options, pattern)
	local log
	if options.log then
		local message, code
		log, message, code = file.open(options.log, "a")
		if not log then raise { message = message, code = code } end
	end
	local child, message, code = core.spawn { argv = options.argv, env = options.env, cwd = options.cwd }
	if not child then
		if log then log:close() end
		raise { message = message, code = code }
	end
	local state = { core = child, name = options.argv[1], pid = child:pid(), output = tail.new(KEPT), log = log,
		pattern = pattern, seen = {}, over = task.promise "the end of a process", pipes = {},
		input = stream.input(child:stdin()) }
	states[state] = true
	guard.watch(state.pid)
	return state
end

-- Lets the loop hear what it says, and its end.
local function watch(state)
	for i, handle in ipairs { state.core:stdout(), state.core:stderr() } do
		state.pipes[i] = stream.pipe(handle, function(bytes) hear(state, i, bytes) end)
	end
	state.unwatch = task.background(state.core:fd(), function() look(state) end)
end

-- ---------------------------------------------------------------- until it is ready

-- Waits for something new of a process.
local function rest(state, deadline, output_tells)
	local left = math.max(0, deadline - task.now())
	if not output_tells then return task.sleep(math.min(left, 2 * STEP)) end
	state.news = state.news or task.promise "a process to be ready"
	local _, message, code = state.news:wait(left)
	return code ~= "CANCELED" or nil, message, code
end

local function last_words(state)
	local said = state.output:text():gsub("%s+$", "")
	if said == "" then return "; it said nothing" end
	if #said > SHOWN then said = "…" .. said:sub(-SHOWN):gsub("^[\128-\191]+", "") end
	return "; it said: " .. said
end

local function give_up(self, from, message, code)
	local state = self.state
	local said = state.output:text()
	local fields = { message = state.name .. ": " .. message .. last_words(state), code = code, output = said,
		transcript = said, elapsed = task.now() - from, process = self }
	self:close()
	raise(fields)
end

local Pending = {}

function Pending:__close()
	if not self.ready then self.process:close() end
end

-- Goes on once test says so; raises when it never will.
local function await(self, test, options)
	local state, from = self.state, task.now()
	local pending <close> = setmetatable({ process = self }, Pending)
	local seconds = math.min(options.timeout or READY, FOREVER)
	local deadline = from + seconds
	local what = type(options.ready) == "string" and options.ready or "function"
	while true do
		-- A launcher may end well, and leave the server in its group.
		local ended = look(state) and (state.status ~= 0 or test.pattern or state.core:gone() ~= false)
		local is, reason = state.found, nil
		if test.is then is, reason = test.is(self, deadline) end
		if is then
			pending.ready = true
			return
		elseif ended then
			give_up(self, from, ("ended with %s before it was ready (%s)"):format(ending(state), what), "EOF")
		elseif task.now() >= deadline then
			reason = reason and ": " .. reason or ""
			give_up(self, from, ("not ready after %g s (%s%s)"):format(seconds, what, reason), "TIMEOUT")
		end
		local ok, message, code = rest(state, deadline, test.pattern)
		if not ok then give_up(self, from, message, code) end
	end
end

--- Starts a program.
-- @param options  table:
--   argv     list of words; the program is looked for in PATH unless it has a slash
--   env      {NAME = value}, instead of our environment (default: ours)
--   cwd      its folder (default: ours)
--   log      path of a file to which all its output is added
--   ready    when it is ready: "tcp:HOST:PORT" or "unix:PATH": it can be connected to; a Lua pattern: it is found in
--            what stdout or stderr said; function(process): it returned true. Default: at once
--   timeout  seconds until it must be ready (default 30)
-- @return process: pid; stdin (write, close); stdout, stderr (read, line, close); after its end status (exit status) or
--   signal (name without SIG). It is closed by <close>, and when it is collected. Raises one error object, and leaves
--   nothing behind: execve(2)'s and chdir(2)'s codes when it can't be started; TIMEOUT when it is not ready in time,
--   EOF when it ended before: `output` is the end of what it said
function process.spawn(options)
	options = argument.options(options, KINDS, 2)
	if not options.argv then error("option 'argv': expected a list of words, got a nil", 2) end
	local test, why = ready.test(options.ready)
	if options.ready and not test then error("option 'ready': " .. why, 2) end
	sweep()
	local state = start(options, test and test.pattern)
	local self = setmetatable({ state = state }, Process)
	local ok, message = pcall(watch, state)
	if not ok then
		self:close()
		error(message, 0)
	end
	self.stdin = stream.writer(state.input, self)
	self.stdout, self.stderr = stream.reader(state.pipes[1], self), stream.reader(state.pipes[2], self)
	if test then await(self, test, options) end
	return self
end

-- ---------------------------------------------------------------- its life

--- Waits for its end.
-- @param seconds  how long at most (default: for ever)
-- @return "exit", exit status | "signal", name without SIG | nil, message, code: TIMEOUT; CANCELED; ECHILD when
--   somebody else of this process took the status. The same ever after
function methods:wait(seconds)
	local state = self.state
	if not look(state) then
		local ok, message, code = state.over:wait(math.min(seconds or FOREVER, FOREVER))
		if not ok and not look(state) then
			if code == "TIMEOUT" then message = ("%s: still running after %g s"):format(state.name, seconds or FOREVER) end
			return nil, message, code
		end
	end
	if state.lost then return nil, table.unpack(state.lost) end
	return state.how, state.status or state.signal
end

--- Whether it runs.
function methods:alive()
	return not look(self.state)
end

--- Sends it a signal.
-- @param signal  name, with SIG or without, or number (default "TERM")
-- @param group   true: to everything in its process group
-- @return true | nil, message, code: ESRCH once it, or the last of the group, has ended
function methods:kill(signal, group)
	local state = self.state
	if state.closed then return nil, "kill: it has ended", "ESRCH" end
	local ok, result, message, code = pcall(state.core.kill, state.core, signal, group)
	if not ok then error(result, 2) end
	return result, message, code
end

--- What it wrote to stdout and stderr, in the order in which it was read.
-- @return the last 64 kB
function methods:output()
	local state = self.state
	pull(state)
	local said = state.output:text()
	if #said > KEPT then said = said:sub(-KEPT) end
	return said .. (state.trouble and "\n(log: " .. state.trouble .. ")" or "")
end

local function pause(state, seconds)
	if state.how or state.lost then return task.sleep(math.min(seconds, STEP)) end
	return state.over:wait(seconds)
end

--- Ends it: TERM to its group, KILL to what is left 5 s later; other tasks go on meanwhile. What it said can still be
-- read, and how it ended. Idempotent.
-- @return true
function methods:close()
	local state = self.state
	if state.closed or state.left then return true end
	state.core:kill("TERM", true)
	local deadline, killed = task.now() + GRACE, false
	while not gone(state) do
		local left = deadline - task.now()
		if left > 0 then
			-- A task that was canceled, and all once we are interrupted, may not wait: the guard goes on.
			local ok, _, _, code = pcall(pause, state, left)
			if not ok or code == "CANCELED" then
				state.left = true
				guard.finish(state.pid)
				return true
			end
		elseif killed then
			break
		else
			state.core:kill("KILL", true)
			deadline, killed = task.now() + AFTER_KILL, true
		end
	end
	leave(state)
	return true
end

-- ---------------------------------------------------------------- the object

function Process:__index(key)
	if methods[key] then return methods[key] end
	local state = rawget(self, "state")
	if key == "pid" then return state.pid end
	if key == "status" or key == "signal" then
		look(state)
		return state[key]
	end
end

function Process:__tostring()
	local state = self.state
	look(state)
	return ("%s: %s (pid %d), %s"):format(Process.__name, state.name, state.pid, ending(state) or "running")
end

--- An error on its way gets the end of the output along.
function Process:__close(err)
	if failure.is(err) and not err.output then err.output = self:output() end
	self:close()
end

-- Nothing of the loop may be called here: it may be in the middle of anything.
function Process:__gc()
	local state = self.state
	if state.closed or state.left then return end
	state.left = true
	state.core:kill("TERM", true)
	guard.finish(state.pid)
end

--- What the programs that have not been closed wrote: for whoever shows a test's failure.
-- @return list of {name=, text=}, the text as output()
function process.outputs()
	local list = {}
	for state in pairs(states) do list[#list + 1] = { name = state.name, text = methods.output { state = state } } end
	table.sort(list, function(a, b) return a.name < b.name end)
	return list
end

--- Ends all that was started, and waits until it is gone: at most 6 s, in which nothing else happens.
function process.close_all()
	local set <close> = assert(poll.new())
	local function signal(name)
		for state in pairs(states) do state.core:kill(name, true) end
	end
	signal "TERM"
	local deadline, killed = task.now() + GRACE, false
	while true do
		local list = {}
		for state in pairs(states) do list[#list + 1] = state end
		for _, state in ipairs(list) do
			if gone(state) then leave(state) end
		end
		if not next(states) then return end
		if task.now() >= deadline then
			if killed then return end
			signal "KILL"
			deadline, killed = task.now() + AFTER_KILL, true
		end
		set:wait(STEP, {})
	end
end

return process
