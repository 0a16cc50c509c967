--- cli: the fuzzer on the command line: what it says while it runs, and its exit status.

local case = require "smtptest.case"
local failure = require "smtptest.failure"
local file = require "smtptest.core.file"
local fuzz = require "smtptest.fuzz"
local merge = require "smtptest.fuzz.merge"
local output = require "smtptest.output"
local private = require "smtptest.private"

local cli = {}

local NOTHING, FOUND, USAGE, GONE = 0, 1, 2, 3      -- exit statuses

local function progress(engine)
	io.stderr:write(("\r%d cases, %.0f/s, %d states, %d transitions, %d findings\27[K"):format(engine.cases,
		engine.cases / engine:age(), engine.model.count, engine.model.transitions, #engine.ledger.records))
end

local function tell(record)
	output.write(("%s%s\n"):format(record.stable and "" or "unstable: ", record.signature))
	if record.paragraph then
		output.write(("    %s\n"):format(record.paragraph))
	else
		output.write(("    %s. Seen in %d of %d plays; case %s:\n"):format(record.finding.text, record.hits, record.total,
			record.index))
		output.write((case.format(record.min):gsub("^[^\n]*\n", ""):gsub("([^\n]+)", "    %1")))
	end
end

local function settings(plan, mode)
	if mode.spawn and not plan.host and not plan.socket then plan.host = "127.0.0.1" end
	local options = { target = plan, spawn = mode.spawn, watch_log = mode.watch_log, oracles = mode.oracles }
	if mode.replay then return options end
	for _, name in ipairs { "seed", "first", "last", "runs", "seconds", "workers", "out", "corpus", "state_graph" } do
		options[name] = mode[name]
	end
	return options
end

-- Judges one case.
local function judge(plan, mode)
	local handle, message = io.open(mode.replay, "rb")
	local text
	if handle then
		text, message = handle:read "a"
		handle:close()
	end
	if not text then error(failure.new { message = "--replay: " .. message, code = "EIO", status = USAGE }, 0) end
	local steps
	steps, message = case.parse(text, mode.replay)
	if not steps then error(failure.new { message = message, code = "EINVAL", status = USAGE }, 0) end
	local list, plays = fuzz.check(steps, settings(plan, mode))
	for _, one in ipairs(list) do
		output.write(("%s, %d of %d times\n    %s\n"):format(one.signature, one.hits, plays, one.finding.text))
	end
	if not list[1] then output.write(("%s: nothing found in %d plays\n"):format(mode.replay, plays)) end
	return list[1] and FOUND or NOTHING
end

local function search(plan, mode)
	local options = settings(plan, mode)
	local terminal = file.fromfd(2):isatty()
	options.on_progress = terminal and progress or nil
	options.on_finding = function(record)
		if terminal then io.stderr:write "\r\27[K" end
		tell(record)
	end
	local result = fuzz.run(options)
	if terminal then io.stderr:write "\r\27[K" end
	local sum = result.summary
	output.write(("%d cases (%d derived) in %.1f s, %.0f/s; %d states, %d transitions, %d of them in the first minute; " ..
		"%d findings, %d unstable\n"):format(sum.cases, sum.derived, sum.seconds, sum.rate, sum.states, sum.transitions,
		sum.transitions_by_minute[1], #result.findings, #result.unstable))
	if sum.left > 0 then output.write(("%d cases were not looked into%s\n"):format(sum.left,
		options.out and ": " .. options.out .. "/left" or "")) end
	if result.gone then
		output.write(("the target is gone; case %d would be next\n"):format(sum.next))
		return GONE
	elseif result.interrupted then
		output.write(("interrupted; go on with --seed=%d --first=%d\n"):format(sum.seed, sum.next))
	end
	return result.findings[1] and FOUND or NOTHING
end

--- The command --fuzz.
-- @param plan  of the command line
-- @param mode  of the command line
-- @return exit status: 0 nothing found, 1 findings, 3 the target is gone; raises with status 2 for what can't be done
--   as asked
function cli.run(plan, mode)
	if mode.merge then return merge.run(mode.merge, mode.folders) > 0 and FOUND or NOTHING end
	if not mode.yes then
		local ok, why = private.check(plan)
		if not ok then error(failure.new { message = "--fuzz: " .. why, code = "EINVAL", status = USAGE }, 0) end
	end
	local ok, result = pcall(mode.replay and judge or search, plan, mode)
	if ok then return result end
	if failure.is(result) then
		if result.code ~= "CANCELED" then result.status = fuzz.gone(result) and GONE or USAGE end
		error(result, 0)
	elseif type(result) == "string" and result:find "fuzz: " then
		local message = "--fuzz: " .. result:match "fuzz: (.*)"
		error(failure.new { message = message, code = "EINVAL", status = USAGE }, 0)
	end
	error(result, 0)
end

return cli
