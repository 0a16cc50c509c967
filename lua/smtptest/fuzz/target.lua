--- target: the server under test: an address, or a process that is started, watched and started again.

local failure = require "smtptest.failure"
local links = require "smtptest.fuzz.link"
local plans = require "smtptest.plan"
local process = require "smtptest.process"
local socket = require "smtptest.core.socket"
local split = require "smtptest.words"
local task = require "smtptest.task"
local wire = require "smtptest.wire"

local target = {}

local Target = {}
Target.__index = Target

local now = task.now

local START = 30            -- seconds until a server that was started must answer
local BACK = 90             -- seconds until one that is not ours must be back: its master may wait for a minute
local PATIENCE = 30         -- seconds that a reply may take until it is known what is usual
local AGAIN = 5             -- seconds in which one that we start must start again
local PAUSE = 0.1           -- seconds between two tries
local LISTENING = "listening on %S*:(%d+)"

-- What a server, or what watches over it, writes when it dies or should have: pattern, what it is called.
local REPORTS = {
	{ "(%a+Sanitizer): ([%w%-]+)" }, { "runtime error: ([^\n]*)", "UndefinedBehaviorSanitizer" },
	{ "stack smashing detected" }, { "double free" }, { "buffer overflow detected" }, { "[Ss]egmentation fault" },
	{ "segfault" }, { "core dumped" }, { "killed by signal (%d+)", "signal" },
	{ "killed with signal (%d+)", "signal" }, { "[Aa]ssertion [^\n]*failed", "assertion" },
	{ "%f[%a][Pp]anic: ", "panic" }, { "Traceback %(most recent", "traceback" },
}

local function refuse(message, code)
	error(failure.new { op = "fuzz", message = message, code = code or "EINVAL" }, 0)
end

-- A password that is to be read is read now: the oracles look for it in what was sent.
local function resolved(plan)
	if type(plan.password) ~= "function" then return plan end
	local password, message, code = plan.password()
	if type(password) ~= "string" then
		error(failure.new { message = message or "password: no text", code = code or "EINVAL" }, 0)
	end
	plan.password = password
	return plan
end

--- Makes a target; nothing is started yet.
-- @param options  plan (where to, and all about the connection); spawn: words of a command, or one text that is cut as
--   a shell does; {port} in it is the plan's port, a free one when that is 0; without {port} and with port 0, the port
--   is read from what it prints ("listening on HOST:PORT"); log: where its output goes, keep_log (true: and
--   stays); watch_log: path of another log
-- @return target: plan (its password a string), address, patience (seconds that a reply may take), brisk and
--   long (the same where much is tried, and where it must be sure), settle, gap, lingering, traits, closing, suspects
--   (list of {steps}: cases that it did not survive when it was calibrated)
function target.new(options)
	local words = options.spawn
	if type(words) == "string" then
		local message
		words, message = split(words)
		if not words then refuse("spawn: " .. message) end
	end
	if words and #words == 0 then refuse "spawn: no command" end
	local plan = resolved(plans.defaults(plans.new({ greeting = false }, options.plan or {})))
	local self = setmetatable({
		plan = plan, words = words, log = options.log, keep_log = options.keep_log, logs = {},
		patience = plan.timeout or PATIENCE, brisk = 5, long = 15, settle = 0.02, gap = 0.005, lingering = 0.5,
		traits = { lf = false, empty = true, long = math.huge, errors = math.huge, idle = math.huge, bounds = {} },
		closing = {}, suspects = {},
		starts = 0,
	}, Target)
	if options.log then
		os.remove(options.log)
		self.logs[1] = { path = options.log, at = 0 }
	end
	if options.watch_log then
		local handle <close> = io.open(options.watch_log) or refuse("cannot read the log " .. options.watch_log, "ENOENT")
		self.logs[#self.logs + 1] = { path = options.watch_log, at = handle:seek "end" }
	end
	return self
end

-- ---------------------------------------------------------------- its life

local function free_port()
	local sock, message = socket.listen { family = "inet", host = "127.0.0.1", port = 0 }
	if not sock then refuse("no free port: " .. message) end
	local port = sock:address().port
	sock:close()
	return port
end

local function command(self)
	local list, named = {}, false
	if self.plan.port == 0 then self.ephemeral = true end
	for i, word in ipairs(self.words) do
		list[i] = word:gsub("{port}", function()
			named = true
			if self.plan.port == 0 then self.plan.port = free_port() end
			return tostring(self.plan.port)
		end)
	end
	return list, named
end

local function resolve(self)
	if self.address then return end
	local list, message, code = wire.addresses(self.plan, now() + START)
	if not list then refuse(("%s: %s"):format(self.plan.host, message), code) end
	-- The one that answers.
	for _, address in ipairs(list) do
		self.address = address
		if list[2] and self:answers() then return end
	end
	self.address = self.address or list[1]
end

--- Starts the process, where there is one, and finds the address.
-- @return target; raises when it does not answer
function Target:start()
	if self.words then
		local words, named = command(self)
		local told = not named and (self.told or self.plan.port == 0)
		self.told = told
		self.process = process.spawn { argv = words, log = self.log, timeout = START,
			ready = told and LISTENING or nil }
		self.starts = self.starts + 1
		if told then
			self.plan.port = tonumber(self.process:output():match(LISTENING))
			self.address = nil
		end
	end
	resolve(self)
	local deadline = now() + (self.words and START or 0)
	local ok, why = self:answers()
	while not ok and now() < deadline do
		if self.process and not self.process:alive() then
			refuse(("the server has ended before it answered: %s"):format(self.process:output():sub(-300)), "EOF")
		end
		task.sleep(0.02)
		ok, why = self:answers()
	end
	if not ok then refuse(("%s does not answer: %s"):format(self:name(), why), "ECONNREFUSED") end
	return self
end

--- Where it is, for people.
function Target:name()
	return self.plan.socket or ("%s:%s"):format(self.plan.host, self.plan.port)
end

-- Starts it again; its port may not be free yet.
local function restarted(self)
	self:kill()
	return (pcall(self.start, self))
end

--- Ends the process and starts a new one; without a process nothing.
-- @return whether it answers, as of recover()
function Target:fresh()
	return not self.words or self:recover()
end

--- Makes it answer again: a new process, or the patience to wait for one that somebody else starts. The target's `stop`
-- (a function, or nil) says whether to wait no longer.
-- @return whether it answers; `gone` is set where it does not, and then it is not tried again
function Target:recover()
	if self.gone then return false end
	local again = self.words and restarted or self.answers
	local deadline = now() + (self.words and AGAIN or BACK)
	local ok = again(self)
	while not ok and now() < deadline and not (self.stop and self.stop()) and task.sleep(PAUSE) do ok = again(self) end
	self.gone = not ok
	return ok
end

--- Ends the process.
function Target:kill()
	if not self.process then return end
	self.process:kill("KILL", true)
	self.process:close()
	self.process = nil
	self:reported()
	self.report = nil
end

--- Ends the process; a log that nobody asked for goes with it.
function Target:close()
	self:kill()
	if self.log and not self.keep_log then os.remove(self.log) end
end

Target.__close = Target.close

-- ---------------------------------------------------------------- how it is

--- Whether a new connection gets a greeting and an answer to QUIT.
-- @return true | false, why, code
function Target:answers()
	local link, message, code = links.open(self, "probe")
	if not link then return false, message, code end
	local raw
	raw, message, code = link:reply(now() + self.patience)
	if raw then
		link:send "QUIT\r\n"
		raw, message, code = link:reply(now() + self.patience)
	end
	link:close()
	if raw then return true end
	return false, "no reply (" .. tostring(message) .. ")", code
end

--- Another one, as this one is configured and known; not started.
-- @param log  where its output goes
function Target:twin(log)
	local twin = target.new { plan = self.plan, spawn = self.words, log = log, keep_log = self.keep_log }
	twin.plan.port = 0
	for _, name in ipairs { "patience", "brisk", "long", "settle", "gap", "lingering", "traits", "closing" } do
		twin[name] = self[name]
	end
	return twin
end

--- Whether it lives and answers.
function Target:well()
	if self.process and not self.process:alive() or self:reported() then return false end
	return (self:answers())
end

-- What a log has got since it was looked at.
local function news(log)
	local handle <close> = io.open(log.path, "rb")
	if not handle then return "" end
	local size = handle:seek "end"
	if size < log.at then log.at = 0 end
	if size == log.at then return "" end
	handle:seek("set", log.at)
	local text = handle:read "a" or ""
	log.at = log.at + #text
	log.last = ((log.last or "") .. text):sub(-16384)
	return text
end

-- What a report is about, in words that do not change from run to run.
local function report_in(text)
	for _, report in ipairs(REPORTS) do
		local a, b = text:match(report[1])
		if a then
			local name = report[2] or b and ("%s %s"):format(a, b) or a
			return (name == "signal" and "signal " .. a or name):gsub("/", " ")
		end
	end
end

--- Whether a log says that something has gone wrong; dead() tells what.
function Target:reported()
	for _, log in ipairs(self.logs) do
		local text = news(log)
		self.report = self.report or text ~= "" and report_in(text) or nil
	end
	return self.report ~= nil
end

--- Whether the process has died, or a log says that something has.
-- @param seconds  how long to wait for that at most
-- @return nil | what ("SIGSEGV", "exit 3", "AddressSanitizer heap-buffer-overflow"), a sentence
function Target:dead(seconds)
	if self.gone then return nil end
	local deadline = now() + (seconds or 0)
	while not self:reported() do
		if self.process and not self.process:alive() then
			task.sleep(0.02)        -- the end of its output may tell more
			if self:reported() then break end
			local how, what = self.process:wait(0)
			local words = how == "signal" and "SIG" .. what or "exit " .. tostring(what)
			return words, "the server has ended with " .. words
		elseif now() >= deadline then
			return nil
		end
		task.sleep(0.005)
	end
	local report = self.report
	self.report = nil
	return report, "its log has a report: " .. report
end

--- Its resident memory with that of its children.
-- @return kB | nil where there is no process, or the system does not tell
function Target:memory()
	if not self.process then return nil end
	local total = 0
	local function add(pid, depth)
		local status <close> = io.open(("/proc/%s/status"):format(pid))
		local size = status and status:read "a":match "VmRSS:%s*(%d+)"
		if not size then return end
		total = total + tonumber(size)
		local children <close> = depth < 3 and io.open(("/proc/%s/task/%s/children"):format(pid, pid)) or nil
		if not children then return end
		for child in children:read "a":gmatch "%d+" do add(child, depth + 1) end
	end
	add(self.process.pid, 0)
	return total > 0 and total or nil
end

--- The end of what its log said, for a report.
function Target:log_text()
	for _, log in ipairs(self.logs) do news(log) end
	local texts = {}
	for _, log in ipairs(self.logs) do texts[#texts + 1] = log.last end
	return table.concat(texts)
end

return target
