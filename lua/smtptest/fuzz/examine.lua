--- examine: plays a case alone and looks at the target afterwards: does it live, does it answer, has it grown?

local oracle = require "smtptest.fuzz.oracle"
local play = require "smtptest.fuzz.play"
local task = require "smtptest.task"

local examine = {}

local BLOCK = 6         -- plays of a case between two looks at the memory
local GROWTH = 32       -- kB that each block must add
local LEFT = 0.01       -- seconds that a server may need to die of what it got last
local GROWERS = 4       -- cases that are looked at closely

-- What follows from a death is no finding of its own.
local CONSEQUENCE = { drop = true, hang = true, count = true }

local function without_consequences(findings)
	local list, effect = {}, nil
	for _, finding in ipairs(findings) do
		if CONSEQUENCE[finding.oracle] then effect = effect or finding else list[#list + 1] = finding end
	end
	return list, effect
end

-- The verb that a case ends with, for what no reply tells.
-- @param connection  its name, or nil: the last one
local function last_verb(result, connection)
	local link = result.links[connection] or result.order[#result.order]
	return link and (link.before_quit or link.track:last_sent()) or "connect"
end

-- The process has died: that is the finding.
local function death(result, target, oracles, what, text)
	local list, effect = without_consequences(result.findings)
	if oracles.death then
		table.insert(list, 1, { oracle = "death", detail = what, verb = last_verb(result, effect and effect.connection),
			text = text, at = effect and effect.at or result.at, connection = effect and effect.connection })
	end
	target:recover()
	return list
end

-- It lives, and does not answer: a server that hangs, or one that serves nobody else.
local function illness(result, target, oracles, why, code)
	local findings, hung = result.findings, false
	for _, finding in ipairs(findings) do
		if finding.oracle == "hang" then finding.detail, hung = "server", true end
	end
	if not hung then
		findings = without_consequences(findings)
		if oracles.liveness then
			table.insert(findings, { oracle = "liveness", detail = code == "TIMEOUT" and "no answer" or "refused",
				verb = last_verb(result), text = "afterwards the server does not serve a new connection: " .. tostring(why),
				at = result.at })
		end
	end
	target:recover()
	return findings
end

--- What a play that is over says about the target. A process that has died is started again.
-- @param result   of play.run
-- @param target   smtptest.fuzz.target
-- @param oracles  a set
-- @param alone    true: nobody else plays; it is asked whether it answers
-- @return list of findings
function examine.verdict(result, target, oracles, alone)
	-- Whoever hangs up does not see what comes of it.
	local wait = result.suspicious and 0.1 or result.left and LEFT or 0
	local what, text = target:dead(wait)
	if what then return death(result, target, oracles, what, text) end
	if not alone and not result.suspicious then return result.findings end
	local ok, why, code = target:answers()
	if ok then return result.findings end
	what, text = target:dead(wait)
	if what then return death(result, target, oracles, what, text) end
	return illness(result, target, oracles, why, code)
end

--- Plays a case alone.
-- @param steps    the case
-- @param target   smtptest.fuzz.target
-- @param options  as play.run; brief (true: whether it still answers is not asked where the play was as usual)
-- @return list of findings, what play.run returned
function examine.run(steps, target, options)
	-- What was played before may have been slow to kill.
	if target.process and not target.process:alive() then target:recover() end
	local result = play.run(steps, target, options)
	if result.refused and not result.order[1] then
		target:recover()
		result = play.run(steps, target, options)
	end
	if #target.logs > 0 then task.sleep(target.settle) end       -- its last words come by another way
	return examine.verdict(result, target, options.oracles, not options.brief), result
end

-- ---------------------------------------------------------------- memory

-- By how much it is bigger after these; 0 where they ended it.
local function grown(target, cases, rounds, options)
	if not target.process or not target.process:alive() then target:recover() end
	local starts, before = target.starts, target:memory()
	for _ = 1, rounds do
		for _, steps in ipairs(cases) do play.run(steps, target, options) end
	end
	if target:dead() then target:recover() end
	local after = target.starts == starts and target:memory()
	return before and after and after - before or 0
end

--- Whether the process grows with each play of a case.
-- @param strict  true: a longer look
-- @return finding | nil
function examine.growth(steps, target, options, strict)
	local plain = { oracles = {}, checks = oracle.of_reply {} }
	local block, blocks = strict and 3 * BLOCK or BLOCK, strict and 3 or 2
	grown(target, { steps }, block, plain)
	local least = math.huge
	for _ = 1, blocks do
		least = math.min(least, grown(target, { steps }, block, plain))
		if least < GROWTH then break end
	end
	if least < GROWTH or not options.oracles.memory then return nil end
	local result = play.run(steps, target, options)
	return { oracle = "memory", detail = "grows", verb = last_verb(result), at = #steps,
		text = ("each play of this case adds about %d kB to the server"):format(least // block) }
end

--- Finds the case that lets the process grow.
-- @param items  those played since it was smaller
-- @return item, finding | nil: none does again
function examine.grower(items, target, options)
	local plain, sizes, order = { oracles = {}, checks = oracle.of_reply {} }, {}, {}
	for i, item in ipairs(items) do
		sizes[item], order[i] = grown(target, { item.steps }, 2, plain), item
	end
	table.sort(order, function(a, b) return sizes[a] > sizes[b] end)
	for i = 1, math.min(#order, GROWERS) do
		if sizes[order[i]] <= 0 then return nil end
		local finding = examine.growth(order[i].steps, target, options)
		if finding then return order[i], finding end
	end
end

-- Its verb is what the case happens to end with.
local LATE = { death = true, liveness = true, memory = true }

--- The finding of a list that is of one kind with another one, whatever the verb, or nil. Whether what a server closes
-- behind has been answered depends on how much of it was sent at once.
function examine.akin(findings, other)
	for _, finding in ipairs(findings) do
		if finding.oracle == other.oracle and (finding.detail == other.detail or other.oracle == "drop") then
			return finding
		end
	end
end

--- The finding of a list that is like another one, or nil.
function examine.like(findings, other)
	for _, finding in ipairs(findings) do
		if finding.oracle == other.oracle and finding.detail == other.detail and
			(finding.verb == other.verb or LATE[other.oracle]) then return finding end
	end
end

return examine
