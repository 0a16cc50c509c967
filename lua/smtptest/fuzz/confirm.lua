--- confirm: from a suspicion to a finding: seen again on fresh connections and a fresh process, named, made small.

local canary = require "smtptest.fuzz.canary"
local examine = require "smtptest.fuzz.examine"
local oracle = require "smtptest.fuzz.oracle"
local play = require "smtptest.fuzz.play"
local simplify = require "smtptest.fuzz.simplify"
local task = require "smtptest.task"

local confirm = {}

local LANES = 8             -- plays at once, where they do not disturb each other
-- Plays of the smallest case, at least, and where it came and went before: what shows every other time must not pass.
local FINAL, DOUBTFUL = 10, 20
local SURE = 0.05           -- seconds in which a reply too many comes, also where much else runs

-- What one session does to itself; anything else must be played alone.
local OWN = { hang = true, drop = true, syntax = true, count = true, split = true, class = true, state = true,
	auth = true, injection = true }

-- What needs no time between two commands to be told whose it is.
local EXACT = { death = true, liveness = true, leak = true, memory = true }

local Case = {}
Case.__index = Case

local function options_of(self, transcript)
	return { oracles = self.oracles, checks = self.checks, careful = not (self.finding and EXACT[self.finding.oracle]),
		transcript = transcript,
		brief = self.finding ~= nil and self.finding.oracle ~= "liveness" }
end

-- Each line in a segment of its own, and a reply waited for behind it.
local function lockstep(steps)
	local list, rest = {}, {}
	for _, step in ipairs(steps) do
		if step.step ~= "send" or not step.bytes then
			list[#list + 1] = step
		else
			local bytes = (rest[step.connection] or "") .. step.bytes
			local position = 1
			for line, after in bytes:gmatch "(.-\r\n)()" do
				list[#list + 1] = { step = "send", connection = step.connection, bytes = line }
				list[#list + 1] = { step = "reply", connection = step.connection, specs = {} }
				position = after
			end
			rest[step.connection] = bytes:sub(position)
		end
	end
	for connection, bytes in pairs(rest) do
		if bytes ~= "" then list[#list + 1] = { step = "send", connection = connection, bytes = bytes } end
	end
	return list
end

local function said(steps, word)
	for _, step in ipairs(steps) do
		if step.bytes and step.bytes:lower():find(word, 1, true) then return true end
	end
	return false
end

local SEGMENTED = { hang = true, count = true, drop = true, state = true, auth = true, class = true }

-- Whether these findings have ours; one that needs its segments is ours only if it is gone without them, a leak only
-- if it is of what this case has said.
local function has(self, findings, steps)
	local found = examine.like(findings, self.finding)
	if not found or found.canary and not said(steps, found.canary) then return false end
	if not self.split then return true end
	return not examine.akin(play.run(lockstep(steps), self.target, options_of(self)).findings, self.finding)
end

-- A case as it has not been played before: what a server remembers of the last time is no news.
local function renewed(self, steps)
	if self.finding.oracle ~= "leak" then return steps end
	self.renewals = self.renewals + 1
	local list = {}
	for i, step in ipairs(steps) do
		local copy = {}
		for key, value in pairs(step) do copy[key] = value end
		if copy.bytes then copy.bytes = canary.renew(copy.bytes, step.connection, self.renewals) end
		list[i] = copy
	end
	return list
end

-- Whether a case still shows it.
local function shows(self, steps)
	self.plays = self.plays + 1
	if self.finding.oracle == "memory" then
		return examine.growth(steps, self.target, options_of(self)) ~= nil
	end
	steps = renewed(self, steps)
	return has(self, examine.run(steps, self.target, options_of(self)), steps)
end

-- The same of several at once → list of booleans
local function show_all(self, cases)
	local lanes, got = {}, {}
	for i, steps in ipairs(cases) do
		lanes[i] = task.spawn(function()
			got[i] = has(self, play.run(steps, self.target, options_of(self)).findings, steps)
		end)
	end
	for _, lane in ipairs(lanes) do lane:join() end
	self.plays = self.plays + #cases
	if self.target:dead() or not self.target:answers() then self.target:recover() end
	return got
end

local function alone(self)
	return not OWN[self.finding.oracle] or self.finding.detail == "server"
end

-- How often a case shows it in n plays.
local function count(self, steps, n)
	local hits = 0
	if self.finding.oracle == "memory" then     -- that are many plays each
		self.target:fresh()
		return examine.growth(steps, self.target, options_of(self), true) and n or 0
	end
	if not alone(self) then
		local cases = {}
		for i = 1, n do cases[i] = steps end
		for _, yes in ipairs(show_all(self, cases)) do hits = hits + (yes and 1 or 0) end
		return hits
	end
	for _ = 1, n do
		if self.target.gone then break end
		if self.fresh then self.target:fresh() end
		hits = hits + (shows(self, steps) and 1 or 0)
	end
	return hits
end

-- The ordinal of the first case that shows it, for smtptest.fuzz.simplify.
local function first(self, cases)
	if task.now() > self.deadline or self.target.gone then return nil end
	if #cases == 1 then return shows(self, cases[1]) and 1 or nil end
	for i, yes in ipairs(show_all(self, cases)) do
		if yes then return i end
	end
end

-- What fn gives while the target's times are others.
-- @param times  {name = seconds}, names as smtptest.fuzz.target has them
local function with_times(self, times, fn, ...)
	local target, usual = self.target, {}
	for name, seconds in pairs(times) do usual[name], target[name] = target[name], seconds end
	local ok, result = pcall(fn, self, ...)
	for name, seconds in pairs(usual) do target[name] = seconds end
	if not ok then error(result, 0) end
	return result
end

-- How often a case shows it in n plays, on a machine that may have other things to do.
local function patient_count(self, steps, n)
	return with_times(self, { settle = math.max(SURE, self.target.settle) }, count, steps, n)
end

local function shrink(self, steps)
	self.deadline = math.min(task.now() + self.budget, self.till)
	-- What comes behind the step where it showed is not needed.
	local at = self.finding.at
	if at and at < #steps then
		local head = table.move(steps, 1, at, 1, {})
		if shows(self, head) then steps = head end
	end
	local test = { many = function(cases) return first(self, cases) end, width = alone(self) and 1 or LANES }
	return (simplify.case(steps, test))
end

-- Where nothing comes, waiting is what takes the time: less of it is tried first.
local function smaller(self, steps)
	local finding, target = self.finding, self.target
	if finding.oracle ~= "hang" and finding.detail ~= "missing" then return shrink(self, steps) end
	return with_times(self, { patience = target.brisk }, shrink, steps)
end

-- Its name where it is the segments that matter.
local function as_split(finding)
	return { oracle = "split", detail = finding.detail == "session" and "hang" or finding.detail, verb = finding.verb,
		text = finding.text .. "; not so when each line comes in a segment of its own", at = finding.at }
end

--- A finding about replies in its plainest form: each line in a segment of its own, where it is there as well.
-- @param context  as run() takes it
-- @return steps, finding: others where it is, those that were given where it is not
function confirm.plain(steps, finding, context)
	if not SEGMENTED[finding.oracle] then return steps, finding end
	local plain = lockstep(steps)
	local self = setmetatable({ oracles = context.oracles, checks = context.checks }, Case)
	local other = examine.akin(examine.run(plain, context.target, options_of(self)), finding)
	if other then return plain, other end
	return steps, finding
end

--- Confirms a finding and makes its case small.
-- @param steps    the case
-- @param finding  of a careful play of it
-- @param context  target, oracles, checks; confirm (how often it must show itself), shrink (boolean), budget (seconds
--   for shrinking), till (time of task.now() at which that ends at the latest), doubtful (true: it came and went
--   before)
-- @return {finding, signature, steps, min (the case, smaller or not), hits, total, stable, plays, transcript, log}
--   | nil: what seemed to hang takes longer than usual
function confirm.run(steps, finding, context)
	local self = setmetatable({ target = context.target, oracles = context.oracles, checks = context.checks,
		finding = finding, budget = context.budget, till = context.till or math.huge,
		fresh = context.target.words ~= nil, plays = 0, renewals = 0 }, Case)
	local hits, total = 1 + patient_count(self, steps, context.confirm), 1 + context.confirm
	local min = steps
	-- A hang must outlast more than our usual patience; else it is slow.
	local slow = hits == total and finding.oracle == "hang"
		and not with_times(self, { patience = self.target.long }, shows, steps)
	if slow then return nil end
	if hits == total then
		if SEGMENTED[finding.oracle] and context.oracles.split and not alone(self) then
			self.split = true
			self.split = shows(self, steps)
		end
		if context.shrink and task.now() < self.till then min = smaller(self, steps) end
	end
	-- What has become smaller must show it as surely; where time is over, nothing has.
	if hits == total and task.now() < self.till then
		local least = context.doubtful and DOUBTFUL or FINAL
		local again = alone(self) and context.confirm or math.max(context.confirm, least)
		local seen = patient_count(self, min, again)
		if seen < again and context.shrink then
			min = shrink(self, steps)
			seen = patient_count(self, min, again)
		end
		hits, total = hits + seen, total + again
	elseif hits == total then
		min = steps
	end
	local result = play.run(renewed(self, min), self.target, options_of(self, true))
	local transcript = table.concat(result.transcript)
	local seen = examine.like(examine.verdict(result, self.target, self.oracles, true), finding)
	if finding.oracle == "memory" then seen = examine.growth(min, self.target, options_of(self)) end
	if seen then
		finding.verb, finding.text = seen.verb, seen.text
	elseif hits == total then
		hits, total = hits, total + 1
	end
	local named = self.split and as_split(finding) or finding
	return { finding = named, signature = oracle.signature(named), steps = steps, min = min, hits = hits, total = total,
		stable = hits == total, plays = self.plays, transcript = transcript, log = self.target:log_text() }
end

--- What the oracles say of a case in several plays.
-- @param context  target, oracles, checks
-- @return list of {signature, finding, hits}
function confirm.signatures(steps, context, plays)
	local self = setmetatable({ target = context.target, oracles = context.oracles, checks = context.checks }, Case)
	local list, by_name = {}, {}
	for _ = 1, plays do
		local findings, seen = examine.run(steps, self.target, options_of(self)), {}
		for _, finding in ipairs(findings) do
			local named = finding
			if SEGMENTED[finding.oracle] and self.oracles.split then
				local plain, other = confirm.plain(steps, finding, context)
				named = plain == steps and as_split(finding) or other
			end
			local signature = oracle.signature(named)
			if not by_name[signature] then
				by_name[signature] = { signature = signature, finding = named, hits = 0 }
				list[#list + 1] = by_name[signature]
			end
			if not seen[signature] then by_name[signature].hits = by_name[signature].hits + 1 end
			seen[signature] = true
		end
	end
	local growth = context.oracles.memory and self.target.process and examine.growth(steps, self.target, options_of(self))
	if growth then list[#list + 1] = { signature = oracle.signature(growth), finding = growth, hits = plays } end
	return list
end

return confirm
