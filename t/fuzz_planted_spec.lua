-- The fuzzer against all planted bugs at once, with a key that the code has never seen: how many it finds in a minute,
-- that it finds nothing else, and what random commands find in the same time. FUZZ=1 (make fuzz) runs it whole, which
-- takes two minutes; else it is a short form of it.

local fuzz = require "smtptest.fuzz"
local planted = require "support.planted"
local task = require "smtptest.task"

local WHOLE = os.getenv "FUZZ" == "1"
local SECONDS = tonumber(os.getenv "FUZZ_SECONDS" or "") or 60
local LEAST = 12            -- bugs that must be found in that time

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
	return by_verb(explained, finding.verb, "split-lost", "pipeline-lost") or "split-lost"
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

-- Runs with all bugs → set of bugs that were found, list of signatures that no bug explains, the result
local function search(key, options)
	local explained = planted.explain(key)
	local all = { target = { host = "127.0.0.1", port = 0 }, spawn = planted.words(key, options.bugs or "all") }
	for name, value in pairs(options) do
		if name ~= "bugs" then all[name] = value end
	end
	local result = fuzz.run(all)
	local bugs, strange = {}, {}
	for _, record in ipairs(result.findings) do
		local bug = BUG[record.finding.oracle](record.finding, explained)
		if bug then bugs[bug] = true else strange[#strange + 1] = record.signature end
	end
	return bugs, strange, result
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

if WHOLE then
	describe("a minute of all bugs", function()
		local key = planted.key()

		it(("finds %d of them or more, and nothing else, with key %s"):format(LEAST, key), function()
			local bugs, strange, result = search(key, { seconds = SECONDS })
			local count = told("fuzz", key, bugs, result)
			for _, record in ipairs(result.unstable) do print("unstable: " .. record.signature) end
			assert.same({}, strange)
			assert.is_true(count >= LEAST)
		end)

		it("finds more than random commands do, with key " .. key, function()
			local bugs, _, result = search(key, { seconds = SECONDS, feedback = false, case = random_commands })
			assert.is_true(told("random commands", key, bugs, result) < LEAST)
		end)
	end)
else
	-- One for each oracle, with a key for which they show early: a test must not depend on luck.
	local EARLY = { death = "crash-length", count = "double-reply", state = "state-rcpt", injection = "injection",
		syntax = "syntax", split = "split-lost" }

	describe("a few seconds of one bug", function()
		local key = "early"
		local results = {}

		setup(function()
			local lanes = {}
			for oracle, bug in pairs(EARLY) do
				lanes[#lanes + 1] = task.spawn(function()
					results[oracle] = table.pack(pcall(search, key, { bugs = bug, runs = 800, workers = 4, shrink = 1 }))
				end)
			end
			for _, lane in ipairs(lanes) do lane:join() end
		end)

		for oracle, bug in pairs(EARLY) do
			it(("finds %s, and nothing else, with key %s"):format(bug, key), function()
				local ok, bugs, strange, result = table.unpack(results[oracle])
				assert.is_true(ok, tostring(bugs))
				assert.same({ bug }, sorted(bugs), result.summary.cases .. " cases")
				assert.same({}, strange)
			end)
		end
	end)
end
