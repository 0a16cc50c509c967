--- calibrate: learns on clean sessions what is normal for a target, so that it is not taken for a finding: how long it
-- takes, which line ends it knows, how many errors it bears, with which replies it says goodbye.

local base64 = require "smtptest.base64"
local failure = require "smtptest.failure"
local line = require "smtptest.core.line"
local links = require "smtptest.fuzz.link"
local task = require "smtptest.task"

local calibrate = {}

local now = task.now

local ERRORS, IDLE, REPEATS = 30, 120, 30   -- commands in a row that are tried: bad, without effect, of one kind
local SLOW = 0.25           -- seconds: what takes longer is held back on purpose
local ENOUGH = 5            -- seconds for one of these questions
local LONG_AUTH = 45        -- seconds that a refused AUTH may take where it is held back
local MANY = 100            -- replies to a few lines, of a server that does not stop
local LENGTHS = { 600, 1100, 2100, 4200, 9000, 20000 }
local SHORT, LONG = 0.3, 10 -- bounds of the patience, seconds
local DYING = 0.1           -- seconds that a server which has hung up may need to end
local SHOWN = 60            -- bytes of what was sent last, in a message

-- A connection whose every reply is timed, and that knows what was sent.
local Probe = {}
Probe.__index = Probe

-- What a server does not survive is a case for those who look into such things.
-- @param what  it died of, or nil
local function suspect(self, steps, what)
	local target = self.target
	table.insert(target.suspects, { steps = steps })
	self.last = nil
	if target:recover() then return end
	local text = {}
	for _, step in ipairs(steps) do text[#text + 1] = step.bytes end
	text = table.concat(text)
	error(failure.new { op = "fuzz", code = "EOF", message = ("%s does not answer any more%s; it got %d bytes last: %s")
		:format(target:name(), what and (" (%s)"):format(what) or "", #text, line.escape(text:sub(-SHOWN))) }, 0)
end

-- What the server has died of behind a probe, or false.
local function killed(probe)
	return probe.state.target:dead(probe.ended and probe.ended ~= "TIMEOUT" and DYING or 0) or false
end

function Probe:__close(why)
	self.link:close()
	local state = self.state
	state.last = self.steps
	if why ~= nil then return end
	if self.dead == nil then self.dead = killed(self) end
	if self.dead or self.ended and not state.target:answers() then
		suspect(state, self.steps, self.dead or nil)
	end
end

function Probe:step(name, bytes)
	table.insert(self.steps, { step = name, connection = self.link.name, bytes = bytes,
		specs = name == "reply" and {} or nil })
end

local function connect(self)
	local link, message, code = links.open(self.target, "c1")
	if not link and self.last then
		suspect(self, self.last, self.target:dead())
		link, message, code = links.open(self.target, "c1")
	end
	if not link then
		error(failure.new { op = "fuzz", message = ("%s does not answer any more: %s"):format(self.target:name(), message),
			code = code or "EOF" }, 0)
	end
	local probe = setmetatable({ link = link, state = self, steps = {} }, Probe)
	probe:step "connect"
	return probe
end

local function open(self)
	local probe = connect(self)
	probe.greeting = true
	probe:reply()
	probe.greeting = false
	return probe
end

function Probe:reply(seconds)
	local begin = now()
	local raw, code, flaws = self.link:reply(begin + (seconds or self.state.target.patience))
	if not raw then
		self.ended = flaws
		return nil, flaws
	end
	self:step "reply"
	local elapsed = now() - begin
	self.elapsed = elapsed
	if self.greeting and elapsed > SLOW then
		self.state.greeted = math.max(self.state.greeted, elapsed)
	elseif not self.apart then
		self.state.slowest = math.max(self.state.slowest, elapsed)
		table.insert(self.state.times, elapsed)
	end
	self.link.track:answered(code)
	return code, raw
end

function Probe:send(bytes)
	self:step("send", bytes)
	self.link:send(bytes)
end

function Probe:say(text)
	self:send(text .. "\r\n")
	return self:reply()
end

-- Replies to these bytes until there is silence → codes, how it ended
function Probe:all(bytes, seconds)
	self:send(bytes)
	local codes = {}
	while #codes < MANY do
		local code, raw = self:reply(seconds)
		if not code then return codes, raw end
		codes[#codes + 1] = code
	end
	return codes, "TIMEOUT"
end

local function hello(self, probe)
	if self.target.plan.protocol == "lmtp" then return probe:say "LHLO probe.test" end
	return probe:say "EHLO probe.test"
end

local function mailbox(self, which)
	local plan = self.target.plan
	if which == "from" then return plan.from or "probe@sender.test" end
	return plan.to and plan.to[1] or "probe@recipient.test"
end

-- What a session without AUTH may do.
local function transaction(self)
	local probe <close> = open(self)
	local traits = self.target.traits
	local _, raw = hello(self, probe)
	traits.keywords = {}
	for keyword, rest in (raw or ""):gmatch "\n250[- ]([%w%-]+)([^\r\n]*)" do traits.keywords[keyword:upper()] = rest end
	local mail = probe:say(("MAIL FROM:<%s>"):format(mailbox(self, "from")))
	traits.needs_auth = mail == 530
	local rcpt = probe:say "RCPT TO:<probe@relay.invalid>"
	traits.no_relay = rcpt ~= nil and rcpt >= 400
	probe:say(("RCPT TO:<%s>"):format(mailbox(self, "to")))
	probe:say "RSET"
	probe:say "NOOP"
	_, raw = probe:say "QUIT"
	traits.goodbye = raw and calibrate.goodbye(raw)
end

--- A reply to QUIT without its numbers, which may be new each time.
function calibrate.goodbye(raw)
	return (raw:gsub("%d+", "0"))
end

local function without_hello(self)
	local probe <close> = open(self)
	local code = probe:say(("MAIL FROM:<%s>"):format(mailbox(self, "from")))
	self.target.traits.helo_required = code == 503
end

-- Codes that these bytes get in a session of their own, how it ended, and whether it killed the server.
local function codes_of(self, bytes)
	local probe <close> = open(self)
	hello(self, probe)
	probe.apart = true
	local codes, ended = probe:all(bytes, math.max(0.2, 10 * self.slowest))
	probe.dead = killed(probe)
	return codes, ended, probe.dead
end

local function line_ends(self)
	local traits = self.target.traits
	traits.lf = #codes_of(self, "NOOP\n") > 0
	traits.empty = #codes_of(self, "\r\n") > 0
end

local function goodbye(self, code)
	if code and code >= 400 then self.target.closing[code] = true end
end

-- From which length on a line is answered in pieces, or not at all.
local function long_lines(self)
	for _, length in ipairs(LENGTHS) do
		local codes, ended, dead = codes_of(self, "XZQZ " .. ("a"):rep(length) .. "\r\nNOOP\r\n")
		if ended ~= "TIMEOUT" and not dead then goodbye(self, codes[#codes]) end
		if #codes ~= 2 then
			self.target.traits.long = length
			return
		end
	end
end

-- How many commands of a kind a session may say until it gets slow, or the server has enough. A server that ends
-- without a word, or falls silent, has another reason.
local function bears(self, most, ...)
	local commands = table.pack(...)
	local probe <close> = open(self)
	hello(self, probe)
	probe.apart = true
	local begin, last = now(), nil
	for i = 1, most do
		local code, ended = probe:say(commands[(i - 1) % commands.n + 1])
		if not code then
			probe.dead = killed(probe)
			-- Where the first one kills it is not their number.
			if probe.dead then return i > 2 and i - 1 or math.huge end
			if ended == "TIMEOUT" or not last or last < 400 then return math.huge end
			goodbye(self, last)
			return i - 1
		elseif code == 421 then
			return i - 1
		elseif probe.elapsed > math.max(SLOW, 20 * self.slowest) then
			self.slow = math.max(self.slow or 0, probe.elapsed)
			return math.max(1, i - 1)
		end
		last = code
		if now() - begin > ENOUGH then return i end         -- more than these nobody has seen
	end
	return math.huge
end

local FAMILIES = { EXPN = "VRFY", HELO = "EHLO", LHLO = "EHLO" }

--- Under which verb servers count a command.
function calibrate.family(verb)
	return FAMILIES[verb] or verb
end

local function bounds(self)
	local traits = self.target.traits
	traits.errors = math.min(bears(self, ERRORS, "XZQZ"), bears(self, ERRORS, "MAIL FROM:<probe", "RCPT TO:<probe"))
	traits.idle = bears(self, IDLE, "NOOP", "RSET", "VRFY probe", "RSET")
	local logins = bears(self, REPEATS, "AUTH LOGIN", "*")
	if logins < math.huge then traits.bounds.AUTH = math.max(1, logins // 2) end
	local name = self.target.plan.protocol == "lmtp" and "LHLO" or "EHLO"
	for _, command in ipairs { name .. " probe.test", "HELO probe.test", "NOOP", "RSET", "VRFY probe", "EXPN probe",
		"HELP", "ETRN probe.test" } do
		local most = bears(self, REPEATS, command)
		local family = calibrate.family(command:match "^%a+")
		if most < (traits.bounds[family] or math.huge) then traits.bounds[family] = most end
	end
end

-- Those who are to be kept from guessing passwords wait.
local function refused(self)
	local traits = self.target.traits
	if not (traits.keywords and traits.keywords.AUTH) then return end
	local probe <close> = open(self)
	hello(self, probe)
	probe.apart = true
	for _ = 1, 2 do
		local code = probe:say("AUTH PLAIN " .. base64.encode "\0probe\0probe")
		if not code then return end
		if probe.elapsed > math.max(SLOW, 20 * self.slowest) then
			traits.auth = math.max(LONG_AUTH, 4 * probe.elapsed)
			traits.bounds.AUTH = 1
			return
		end
	end
end

-- Servers that want the client to wait say so before they go.
local function impatient(self)
	local probe <close> = connect(self)
	probe.apart = true
	local codes, ended = probe:all("EHLO probe.test\r\nNOOP\r\n", math.max(0.2, 10 * self.slowest) + self.greeted)
	probe.dead = killed(probe)
	if ended ~= "TIMEOUT" and not probe.dead then goodbye(self, codes[#codes]) end
end

--- Calibrates a target that answers.
-- @param target  smtptest.fuzz.target, started; its patience, settle, traits and closing are set; what it died of, or
--   did not answer after, is added to its suspects
-- @return target; raises when it can't be talked to any more
function calibrate.run(target)
	local self = { target = target, slowest = 0, greeted = 0, times = {} }
	for _ = 1, 3 do transaction(self) end
	target.patience = math.min(target.patience, math.max(ENOUGH, 3 * self.slowest, 3 * self.greeted))
	for _, step in ipairs { without_hello, line_ends, long_lines, impatient, bounds, refused } do step(self) end
	target.patience = math.max(SHORT, math.min(ENOUGH, 20 * self.slowest),
		math.min(LONG, 3 * math.max(self.slow or 0, self.greeted)), 1.5 * math.max(self.slowest, self.greeted))
	target.long = self.slow and math.max(15, 6 * self.slow) or math.max(1.5, 3 * target.patience)
	target.brisk = math.min(target.patience, math.max(0.1, 20 * self.slowest))
	table.sort(self.times)
	target.settle = math.max(0.001, math.min(0.05, 4 * self.times[#self.times // 2 + 1]))
	return target
end

return calibrate
