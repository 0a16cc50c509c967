-- The fuzzer against all planted bugs at once, with a key that the code has never seen: how many it finds, and that it
-- finds nothing else. FUZZ=1 (make fuzz) gives it a minute, and random commands another one, for comparison; else it
-- gets so many cases, whatever time they take.

local calibrate = require "smtptest.fuzz.calibrate"
local confirm = require "smtptest.fuzz.confirm"
local fuzz = require "smtptest.fuzz"
local oracle = require "smtptest.fuzz.oracle"
local planted = require "support.planted"
local run = require "support.run"
local targets = require "smtptest.fuzz.target"

local WHOLE = os.getenv "FUZZ" == "1"
local SECONDS = tonumber(os.getenv "FUZZ_SECONDS" or "") or 60
local BUDGET = WHOLE and { seconds = SECONDS } or { runs = 1500, feedback = true, shrink = 1 }
local LEAST = 12            -- bugs that must be found

local function has(list, word)
	for _, one in ipairs(list) do
		if one == word then return true end
	end
	return false
end

-- Which bug makes a process die so.
local DEATHS = { SIGABRT = "crash-sequence", SIGSEGV = "crash-length", ["exit 3"] = "exit-byte" }
local STATES = { ["RCPT without MAIL"] = "state-rcpt", ["DATA without a recipient"] = "state-data",
	["BDAT without a recipient"] = "state-data", ["MAIL inside a transaction"] = "state-nested" }

-- Which of these bugs has that verb among its triggers, or none of its own.
local function by_verb(explained, verb, ...)
	for _, name in ipairs { ... } do
		if has(explained[name].verbs, verb) then return name end
	end
end

-- By oracle: function(finding, explained) → the planted bug, or nil
local BUG = {}

function BUG.death(finding)
	return finding.detail:find "^AddressSanitizer" and "sanitizer" or DEATHS[finding.detail]
end

function BUG.hang(finding, explained)
	if finding.detail == "server" then return "hang-server" end
	return by_verb(explained, finding.verb, "hang-session")
end

function BUG.count(finding, explained)
	if finding.verb == "message" then return "dot-desync" end
	return by_verb(explained, finding.verb, "double-reply", "cr-desync")
end

-- The verb is where it shows, which may be behind where it happens.
function BUG.split(finding, explained)
	if finding.detail == "codes" then return "split-code" end
	return by_verb(explained, finding.verb, "split-lost", "pipeline-lost")
end

function BUG.state(finding) return STATES[finding.detail] end

function BUG.auth(finding) return finding.verb == "AUTH" and "auth-null" or "auth-cancel" end

function BUG.leak(finding) return finding.verb == "HELP" and "leak" or "leak-uninitialised" end

for name, verbs in pairs { drop = true, syntax = true, class = true, liveness = false, injection = false,
	memory = false } do
	BUG[name] = function(finding, explained)
		return verbs and by_verb(explained, finding.verb, name) or not verbs and name or nil
	end
end

-- What of it the same server without bugs shows as well: findings that are none.
local function wrong(key, result)
	local set = oracle.set()
	local target <close> = targets.new { plan = { host = "127.0.0.1", port = 0 }, spawn = planted.words(key, "none"),
		log = run.scratch "repaired" }
	target:start()
	calibrate.run(target)
	local context, list = { target = target, oracles = set, checks = oracle.of_reply(set) }, {}
	for _, record in ipairs(result.findings) do
		for _, one in ipairs(confirm.signatures(record.min, context, 1)) do
			list[#list + 1] = ("%s: %s"):format(record.signature, one.signature)
		end
	end
	return list
end

-- Runs with all bugs → set of bugs that were found, the result
local function search(key, options)
	local explained = planted.explain(key)
	local all = { target = { host = "127.0.0.1", port = 0 }, spawn = planted.words(key, "all") }
	for name, value in pairs(options) do all[name] = value end
	local result = fuzz.run(all)
	local bugs = {}
	for _, record in ipairs(result.findings) do
		local bug = BUG[record.finding.oracle](record.finding, explained)
		if bug then bugs[bug] = true end
	end
	return bugs, result
end

local function sorted(set)
	local list = {}
	for name in pairs(set) do list[#list + 1] = name end
	table.sort(list)
	return list
end

-- What everybody knows, right and at any time.
local COMMANDS = { "EHLO a.test", "HELO a.test", "MAIL FROM:<a@a.test>", "RCPT TO:<b@b.test>", "DATA", "RSET", "NOOP",
	"VRFY b", "EXPN b", "HELP", "AUTH PLAIN", "STARTTLS", "ETRN a.test", "QUIT" }

local function random_commands(random)
	local lines = {}
	for i = 1, random:integer(5, 40) do lines[i] = random:pick(COMMANDS) end
	return lines
end

local function told(what, key, bugs, result)
	local names = sorted(bugs)
	print(("\n%s, key %s: %d cases in %.0f s, %d of %d bugs: %s"):format(what, key, result.summary.cases,
		result.summary.seconds, #names, #planted.list(), table.concat(names, " ")))
	return #names
end

describe("all bugs at once", function()
	local key = planted.key()

	it(("show %d of them or more, and nothing else, with key %s"):format(LEAST, key), function()
		local bugs, result = search(key, BUDGET)
		local count = told("fuzz", key, bugs, result)
		for _, record in ipairs(result.unstable) do print("unstable: " .. record.signature) end
		assert.same({}, wrong(key, result))
		assert.is_true(count >= LEAST, count .. " bugs")
	end)

	if WHOLE then
		it("show less to random commands, with key " .. key, function()
			local bugs, result = search(key, { seconds = SECONDS, feedback = false, case = random_commands })
			assert.is_true(told("random commands", key, bugs, result) < LEAST)
		end)
	end
end)
