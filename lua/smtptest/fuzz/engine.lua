--- engine: runs cases in many workers. What looks suspicious is investigated on a target of its own, while they go on,
-- or, where there is but one target, while they pause.

local fence = require "smtptest.fuzz.fence"
local investigate = require "smtptest.fuzz.investigate"
local ledgers = require "smtptest.fuzz.ledger"
local oracle = require "smtptest.fuzz.oracle"
local play = require "smtptest.fuzz.play"
local task = require "smtptest.task"

local engine = {}

local Engine = {}
Engine.__index = Engine

local now = task.now

local LOOK = 8                  -- cases between two looks at memory and logs
local RECENT = 256              -- cases that are remembered, for what shows late
-- kB that the process may grow until it is asked which case did that; doubled each time
local STEP, LARGEST = 256, 16384
local OPEN = 16                 -- one case of so many may run into what is known to cost the process
local SHARE = 0.92              -- of the time, for running cases; the rest is for what is being looked into then
local PROGRESS = 1              -- seconds between two words about it

--- Makes an engine.
-- @param options  target (started, calibrated), labs (list of more of the same, not started; empty: investigations are
--   on the target), supply, model, oracles (a set), workers, seconds (nil: no limit), confirm, shrink, budget;
--   suspects (list of {steps} that did it harm already), on_finding(record), on_progress(engine)
function engine.new(options)
	local self = setmetatable({ recent = {}, queue = {}, urgent = {}, again = {}, fences = {}, cases = 0, plays = 0,
		derived = 0, learnt = {}, left = {}, growth = STEP }, Engine)
	for name, value in pairs(options) do self[name] = value end
	self.checks = oracle.of_reply(self.oracles)
	self.plain = { oracles = self.oracles, checks = self.checks, model = self.model }
	self.fenced = { oracles = self.oracles, checks = self.checks, model = self.model, fences = self.fences }
	self.ledger = ledgers.new(self.on_finding)
	self.begin = now()
	return self
end

--- How many transitions the model had at the end of each minute.
-- @return list of integers
function Engine:by_minute()
	local list, known = {}, 0
	for minute = 1, self:age() // 60 + 1 | 0 do
		known = self.learnt[minute] or known
		list[minute] = known
	end
	return list
end

--- For how long it has been running, in seconds.
function Engine:age()
	return math.max(0.001, now() - self.begin)
end

-- Whether the run is to end. What has been found needs some of the time, too.
local function over(self)
	return self.interrupted or self.target.gone or self.seconds and self:age() >= SHARE * self.seconds
end

-- ---------------------------------------------------------------- what is to be looked into

-- @param items   that it is about
-- @param names   signatures that are suspected
-- @param urgent  true: it is for the one who is kept free for that
local function push(self, items, names, fn, urgent)
	table.insert(urgent and self.urgent or self.queue, { run = fn, items = items, names = names })
	if self.awaited then self.awaited:set(true) end
end

-- What there is no time for any more is not forgotten.
local function leave(self, queue)
	for i = #queue, 1, -1 do
		local job = table.remove(queue, i)
		for _, item in ipairs(job.items) do table.insert(self.left, { item = item, names = job.names }) end
	end
end

-- Those that were played last, the latest first.
local function latest(self, count)
	local list = {}
	for i = self.plays - 1, math.max(0, self.plays - math.min(count, RECENT)), -1 do
		list[#list + 1] = self.recent[i % RECENT]
	end
	return list
end

local function investigator(self, target)
	return investigate.new { target = target, ledger = self.ledger, oracles = self.oracles, checks = self.checks,
		confirm = self.confirm, shrink = self.shrink, budget = self.budget, begin = self.begin,
		fences = self.fences, till = self.seconds and self.begin + self.seconds or math.huge,
		recent = function()
			local list, i = latest(self, RECENT), 0
			return function()
				i = i + 1
				return list[i]
			end
		end }
end

-- Ends tasks, at the end of a scope, also when something fails in it.
local function lanes()
	return setmetatable({}, { __close = function(list)
		for _, lane in ipairs(list) do lane:cancel() end
	end })
end

local function traced(message)
	return type(message) == "string" and debug.traceback(message, 2) or message
end

-- One who looks into things on a target of its own.
-- @param queues  list of the lists that the work is taken from, the first one first
local function lab(self, target, queues)
	local who = investigator(self, target)
	while true do
		local job
		for _, queue in ipairs(queues) do job = job or table.remove(queue, 1) end
		if job then
			local ok, message = xpcall(function()
				if not target.process then target:start() end
				job.run(who)
			end, traced)
			if not ok then
				self.failed = self.failed or message
				self:interrupt()
			end
			if over(self) then leave(self, self.queue) end
		elseif self.closing then
			return
		else
			local awaited = self.awaited or task.promise "something suspicious"
			self.awaited = awaited
			local _, _, code = awaited:wait()
			if code == "CANCELED" then return self:interrupt() end          -- every wait ends: so must we
			if self.awaited == awaited then self.awaited = nil end
		end
	end
end

-- ---------------------------------------------------------------- the workers

local function suspicions(self, result)
	local list = {}
	for _, finding in ipairs(result.findings) do
		if self.ledger:news(oracle.signature(finding)) then list[#list + 1] = finding end
	end
	return list
end

-- Whether the process is bigger than it was; what it takes for the first time it keeps.
local function has_grown(self)
	local size = self.oracles.memory and self.target:memory()
	if not size then return false end
	if self.started ~= self.target.starts or not self.size then
		self.started, self.size, self.since = self.target.starts, size, self.plays
	elseif size - self.size >= self.growth then
		self.size = size
		return true
	end
	return false
end

-- One that grows goes on doing so: the next time it takes more of it.
local function look(self)
	if self.target:reported() then self.ill, self.stop = true, true end
	if self.weighing or not has_grown(self) then
		self.since = self.plays
		return
	end
	local items = {}
	for _, item in ipairs(latest(self, self.plays - self.since + self.workers)) do
		if not item.ill then items[#items + 1] = item end
	end
	self.growth, self.weighing = math.min(2 * self.growth, LARGEST), true
	push(self, items, { "memory" }, function(who)
		who:grown(items)
		self.weighing = false
	end)
end

-- A case is over. Whether it has harmed the target is asked at once: what others play then tells nothing.
local function judge(self, item, result)
	item.ill, item.findings = result.suspicious, result.findings
	if result.fresh then
		self.supply:keep(item)
		self.learnt[self:age() // 60 + 1 | 0] = self.model.transitions
	end
	if not self.ill and result.suspicious and not self.target:well() then self.ill, self.stop = true, true end
	if self.ill then
		if result.suspicious then table.insert(self.victims, item) end
		return
	end
	local list = suspicions(self, result)
	if list[1] then
		-- Nobody else needs to see it meanwhile.
		local names = {}
		for i, finding in ipairs(list) do
			names[i] = oracle.signature(finding)
			self.ledger.open[names[i]] = true
		end
		push(self, { item }, names, function(who) who:inspect(item, list) end)
		if not self.labs[1] then self.stop = true end
	end
end

local function work(self)
	while not self.stop do
		local again = not over(self) and table.remove(self.again) or nil
		local item = again or not over(self) and self.supply:next()
		if not item then
			self.stop = true
			return
		end
		self.recent[self.plays % RECENT] = item
		self.plays = self.plays + 1
		if not again then
			self.cases = self.cases + 1
			if not item.n then self.derived = self.derived + 1 end
		end
		judge(self, item, play.run(item.steps, self.target, self.plays % OPEN == 0 and self.plain or self.fenced))
		if self.plays % LOOK == 0 then look(self) end
	end
end

-- Whether a victim was at what is known to be deadly; the others are played once more.
-- @param what  it died of, or nil: it did not answer
local function known_cause(self, what)
	local ledger = self.ledger
	for i, item in ipairs(self.victims) do
		for _, finding in ipairs(item.findings) do
			local signature = what and ("death/%s/%s"):format(what, finding.verb)
				or finding.oracle == "hang" and ("hang/server/%s"):format(finding.verb)
			if signature and (ledger.known[signature] or ledger.open[signature]) then
				table.remove(self.victims, i)
				return true
			end
		end
	end
	return false
end

-- Who has done it? Until that is known more of the same would happen; then a fence keeps others from it until it is
-- known better.
local function autopsy(self, who, suspects, before, what, text)
	local culprit, others, rest = who:autopsy(suspects, before)
	table.move(rest, 1, #rest, #self.again + 1, self.again)
	for _, item in ipairs(others) do push(self, { item }, {}, function(any) any:name(item) end) end
	local last = suspects[1] or before[1]
	if culprit and culprit.new then
		local signature = oracle.signature(culprit.finding)
		local provisional = fence.before(culprit.item.steps, culprit.finding.at)
		self.ledger.open[signature] = true
		table.insert(self.fences, provisional)
		push(self, { culprit.item }, { signature }, function(any)
			self.ledger.open[signature] = nil
			any:name(culprit.item)
			for i, each in ipairs(self.fences) do
				if each == provisional then return table.remove(self.fences, i) end
			end
		end)
	elseif not culprit and what and last then
		push(self, { last }, { "death/" .. what }, function(any) any:unexplained(last, what, text) end)
	end
end

-- All workers until the target is ill, or somebody needs it for himself, or there is no more.
local function round(self)
	self.stop, self.ill, self.victims = false, false, {}
	local workers <close> = lanes()
	for i = 1, self.workers do workers[i] = task.spawn(work, self) end
	for _, worker in ipairs(workers) do worker:join() end
	if not self.ill then return end
	local reported = self.target:reported()
	local what, text = self.target:dead()
	local victims, guilty, before = self.victims, {}, {}
	if not self.target:recover() then
		-- There is nobody left to ask: it is told as it was seen.
		investigator(self, self.target):last(victims[1] or latest(self, 1)[1], what, text)
		return
	end
	if known_cause(self, what) then
		table.move(victims, 1, #victims, #self.again + 1, self.again)
		return
	end
	for _, item in ipairs(victims) do guilty[item] = true end
	for _, item in ipairs(latest(self, (reported and LOOK or 0) + 2 * self.workers)) do
		if not guilty[item] then before[#before + 1] = item end
	end
	local done = task.promise "an autopsy"
	push(self, victims, { what and "death/" .. what or "liveness" }, function(who)
		local _ <close> = setmetatable({}, { __close = function() done:set(true) end })
		autopsy(self, who, victims, before, what, text)
	end, true)
	while self.labs[1] and not done.isset and not over(self) do
		local _, _, code = done:wait(PROGRESS)
		if code == "CANCELED" then self:interrupt() end
	end
end

--- Runs until the supply is empty, the time is over, the target is gone, or interrupt() is called.
-- @return engine: cases, derived, plays, elapsed, ledger, left (list of {item, names}: what was not looked into, or not
--   played again, for want of time)
function Engine:run()
	local ticker <close> = lanes()
	if self.on_progress then
		ticker[1] = task.spawn(function()
			while task.sleep(PROGRESS) do self.on_progress(self) end
		end)
	end
	local labs <close> = lanes()
	for i, target in ipairs(self.labs) do
		labs[i] = task.spawn(lab, self, target, { self.urgent, i > 1 and self.queue or nil })
	end
	for i, suspect in ipairs(self.suspects or {}) do
		local item = { name = "calibration " .. i, steps = suspect.steps }
		push(self, { item }, {}, function(who) who:name(item) end)
	end
	local own = investigator(self, self.target)
	repeat
		while not self.labs[1] and (self.urgent[1] or self.queue[1]) and not over(self) do
			table.remove(self.urgent[1] and self.urgent or self.queue, 1).run(own)
		end
		round(self)
	until over(self) or not self.supply:more() and not self.again[1] and (self.labs[1] or not self.urgent[1]
		and not self.queue[1])
	self.closing = true
	if over(self) then
		leave(self, self.queue)
		leave(self, self.urgent)
		leave(self, { { items = self.again, names = {} } })
	end
	if self.awaited then self.awaited:set(true) end
	for _, one in ipairs(labs) do one:join() end
	self.elapsed = self:age()
	if self.failed then error(self.failed, 0) end
	return self
end

--- Lets what runs come to its end, and no more.
function Engine:interrupt()
	self.interrupted, self.stop = true, true
end

return engine
