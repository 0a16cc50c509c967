--- investigate: looks into what seemed suspicious while many sessions ran, on a target of its own or while nobody else
-- plays.

local canary = require "smtptest.fuzz.canary"
local confirm = require "smtptest.fuzz.confirm"
local examine = require "smtptest.fuzz.examine"
local fence = require "smtptest.fuzz.fence"
local oracle = require "smtptest.fuzz.oracle"
local task = require "smtptest.task"

local investigate = {}

local COSTLY = { death = true, liveness = true }       -- what costs the process
local FURTHER = 7       -- added to the numbers of another case's connections

local Investigator = {}
Investigator.__index = Investigator

--- Makes one.
-- @param options  target (that nobody else uses meanwhile), ledger, recent (function() → iterator of items, the latest
--   first), oracles, checks, confirm, shrink, budget (seconds for making a case small), begin and till
--   (times of task.now()), fences (list that gets those of what costs the process)
function investigate.new(options)
	local self = setmetatable({}, Investigator)
	for name, value in pairs(options) do self[name] = value end
	self.plain = { oracles = self.oracles, checks = self.checks }
	self.careful = { oracles = self.oracles, checks = self.checks, careful = true }
	return self
end

local function note(self, item, found, alias)
	found.index, found.parent, found.elapsed = item.name, item.parent, task.now() - self.begin
	self.ledger:record(found, alias)
end

-- From a finding to a record.
-- @param alias  the signature it was first seen under
local function settle(self, item, steps, finding, alias)
	if not self.ledger:begin(finding) then return self.ledger:know(alias) end
	self.doubtful = self.ledger.unstable[oracle.signature(finding)] ~= nil
	local found = confirm.run(steps, finding, self)
	if not found then
		self.ledger:vain(oracle.signature(finding))
		return self.ledger:vain(alias)
	end
	note(self, item, found, oracle.signature(finding))
	if found.stable then self.ledger:know(alias) else self.ledger:vain(alias) end
	if found.stable and (COSTLY[finding.oracle] or finding.detail == "server") then
		table.insert(self.fences, fence.of(found.min))
	end
end

local function says(steps, word)
	for _, step in ipairs(steps) do
		if step.bytes and step.bytes:lower():find(word, 1, true) then return true end
	end
	return false
end

-- Two cases in one, the connections of the first with other names.
-- @param seed  of other canaries for the first; nil: as they are
local function one_after(first, second, seed)
	local steps = {}
	for i, step in ipairs(first) do
		local copy = {}
		for key, value in pairs(step) do copy[key] = value end
		copy.connection = ("c%d"):format(FURTHER + tonumber(step.connection:match "%d+"))
		if seed and copy.bytes then copy.bytes = canary.renew(copy.bytes, seed, 0) end
		steps[i] = copy
	end
	steps[#steps + 1] = { step = "close", connection = steps[#steps].connection }
	return table.move(second, 1, #second, #steps + 1, steps)
end

-- Both sessions in one case: who said it, and then who heard it.
local function joined(self, item, word)
	for other in self.recent() do
		if other ~= item and says(other.steps, word) then
			return { name = ("%s+%s"):format(other.name, item.name), steps = one_after(other.steps, item.steps) }
		end
	end
	return nil
end

-- Two sessions of the same: whoever leaks what a session has said leaks it to the next.
local function doubled(item)
	return { name = item.name .. " twice", steps = one_after(item.steps, item.steps, "before") }
end

-- Seen among many sessions, and not when alone: told as what comes and goes.
local function flaky(self, item, finding)
	local hits, plays = 1, 2 * self.confirm + 2
	for _ = 1, plays do
		if self.target.gone then break end
		if examine.like(examine.run(item.steps, self.target, self.careful), finding) then hits = hits + 1 end
	end
	local signature = oracle.signature(finding)
	note(self, item, { finding = finding, signature = signature, steps = item.steps, min = item.steps, hits = hits,
		total = plays + 2, stable = false, plays = plays, transcript = "", log = self.target:log_text() }, signature)
end

-- Plays a case alone and slowly, so that each thing gets the name of the command that did it; settles what is new.
-- @param ours  set of signatures that are open because we look into them, or nil
-- @return whether there was anything
local function name(self, item, ours)
	local findings = examine.run(item.steps, self.target, self.careful)
	for _, finding in ipairs(findings) do
		local first = oracle.signature(finding)
		if finding.canary and not says(item.steps, finding.canary) then
			self.ledger:vain(first)         -- of a session that is not in here
		elseif ours and ours[first] and not self.ledger.known[first] or self.ledger:news(first) then
			local steps, named = confirm.plain(item.steps, finding, self)
			local signature = oracle.signature(named)
			if signature ~= first and not self.ledger:news(signature) then
				self.ledger:know(first)
			else
				settle(self, item, steps, named, first)
			end
		end
	end
	return findings[1] ~= nil
end

--- What was suspected of a case; its signatures are open in the ledger until this is over.
-- @param item       the case, as smtptest.fuzz.supply gives it
-- @param suspected  list of findings
function Investigator:inspect(item, suspected)
	local ledger, ours = self.ledger, {}
	for _, finding in ipairs(suspected) do
		ours[oracle.signature(finding)] = true
		if finding.canary and not says(item.steps, finding.canary) then
			item = joined(self, item, finding.canary) or doubled(item)
		end
	end
	local named = name(self, item, ours)
	for _, finding in ipairs(suspected) do
		local signature = oracle.signature(finding)
		if not ledger.known[signature] then
			if named then ledger:vain(signature) else flaky(self, item, finding) end    -- it has another name
		end
	end
end

--- Plays a case alone and slowly, and looks into all that is new.
function Investigator:name(item)
	name(self, item)
end

--- After a death, or when the target did not answer any more: those that were at it are played again one by one until
-- it happens again, and, where it was none of them, those just before.
-- @param suspects  list of items
-- @param before    list of items, the latest first
-- @return culprit {item, finding} | nil; list of other items with news; list of suspects that were not played
function Investigator:autopsy(suspects, before)
	local others = {}
	local function harms(item)
		local starts, new = self.target.starts, false
		local findings = examine.run(item.steps, self.target, self.plain)
		for _, finding in ipairs(findings) do new = self.ledger:news(oracle.signature(finding)) or new end
		if self.target.starts > starts and findings[1] then return { item = item, finding = findings[1], new = new } end
		if new then others[#others + 1] = item end
	end
	for i, item in ipairs(suspects) do
		local culprit = not self.target.gone and harms(item)
		if culprit then return culprit, others, table.move(suspects, i + 1, #suspects, 1, {}) end
	end
	for _, item in ipairs(before) do
		local culprit = not self.target.gone and harms(item)
		if culprit then return culprit, others, {} end
	end
	return nil, others, {}
end

--- What was played when the target went for good.
function Investigator:last(item, what, text)
	local finding = { oracle = what and "death" or "liveness", detail = what or "no answer", verb = "other",
		at = #item.steps, text = text or "the target did not come back" }
	local signature = oracle.signature(finding)
	note(self, item, { finding = finding, signature = signature, steps = item.steps, min = item.steps, hits = 1, total = 1,
		stable = false, plays = 1, transcript = "", log = self.target:log_text() }, signature)
end

--- A death that nobody repeated.
function Investigator:unexplained(item, what, text)
	flaky(self, item, { oracle = "death", detail = what, verb = "other", text = text, at = #item.steps })
end

--- The process has grown.
-- @param items  what was played meanwhile
-- @return whether it was one of them
function Investigator:grown(items)
	local grower, finding = examine.grower(items, self.target, self.plain)
	if not finding then return false end
	local signature = oracle.signature(finding)
	if self.ledger:news(signature) then settle(self, grower, grower.steps, finding, signature) end
	return true
end

return investigate
