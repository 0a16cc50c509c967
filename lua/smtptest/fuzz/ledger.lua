--- ledger: what a run has found so far, and what it has looked into in vain.

local case = require "smtptest.case"
local oracle = require "smtptest.fuzz.oracle"

local ledger = {}

local Ledger = {}
Ledger.__index = Ledger

-- Findings of one oracle and detail, with other verbs, that are looked into; of memory the verb says least.
local KINDS, GROWING = 12, 3
local WAIT = 4          -- sights of a signature that are skipped after the first time in vain

--- Makes an empty one.
-- @param on_finding  function(record), or nil
function ledger.new(on_finding)
	return setmetatable({ known = {}, open = {}, tries = {}, kinds = {}, shapes = {}, unstable = {}, records = {},
		on_finding = on_finding }, Ledger)
end

--- Whether a signature is to be looked into: it is not known, nobody is at it, and it has not been in vain too often
-- (each time doubles the wait).
function Ledger:news(signature)
	local known = self.known[signature]
	if known then
		known.seen = known.seen + 1
		return false
	end
	if self.open[signature] then return false end
	local try = self.tries[signature]
	if not try then return true end
	try.left = try.left - 1
	return try.left <= 0
end

--- Somebody begins to look into it.
-- @return false where enough of its kind have been looked into: it is known then
function Ledger:begin(finding)
	local signature = oracle.signature(finding)
	local kind = finding.oracle .. "/" .. finding.detail
	self.kinds[kind] = (self.kinds[kind] or 0) + 1
	if self.kinds[kind] > (finding.oracle == "memory" and GROWING or KINDS) then
		self:know(signature)
		return false
	end
	self.open[signature] = true
	return true
end

--- It is known from now on.
function Ledger:know(signature)
	self.known[signature] = self.known[signature] or { seen = 1 }
	self.open[signature] = nil
end

--- Looking into it has led to nothing.
function Ledger:vain(signature)
	local try = self.tries[signature]
	local wait = try and try.wait * 2 or WAIT
	self.tries[signature] = { wait = wait, left = wait }
	self.open[signature] = nil
end

-- Takes a record away.
function Ledger:forget(record)
	for i, each in ipairs(self.records) do
		if each == record then return table.remove(self.records, i) end
	end
end

-- What a case says, without the names that are made up: one that says the same is about the same mistake.
local function shape_of(steps)
	return (case.format(steps):gsub("[zZ][qQ]%w%w%w%w%w%w%w%w%w%w", "zq"):gsub("%f[%w]c%d+ ", ""))
end

--- Writes down what smtptest.fuzz.confirm has made; what is there already under its signature, or with the same
-- smallest case, is left out. What was unstable and is not any more is not told twice.
-- @param alias  the signature it was first seen under
function Ledger:record(found, alias)
	if not found.stable then
		self:vain(alias)
		if self.unstable[found.signature] or self.known[found.signature] then return end
		self.unstable[found.signature] = found
	else
		local shape = shape_of(found.min)
		local new = not self.known[found.signature] and not self.shapes[shape]
		self.shapes[shape] = true
		self:know(alias)
		self:know(found.signature)
		if not new then return end
		self:forget(self.unstable[found.signature])
	end
	table.insert(self.records, found)
	if self.on_finding then self.on_finding(found) end
end

return ledger
