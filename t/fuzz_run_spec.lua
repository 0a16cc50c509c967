-- The fuzzer as a program, against the server with planted bugs: what it finds, writes and ends with.

local calibrate = require "smtptest.fuzz.calibrate"
local case = require "smtptest.case"
local confirm = require "smtptest.fuzz.confirm"
local folder = require "smtptest.core.folder"
local fuzz = require "smtptest.fuzz"
local json = require "dkjson"
local leak = require "support.leak"
local oracle = require "smtptest.fuzz.oracle"
local planted = require "support.planted"
local run = require "support.run"
local server = require "smtptest.server"
local supply = require "smtptest.fuzz.supply"
local targets = require "smtptest.fuzz.target"
local task = require "smtptest.task"
local wire = require "smtptest.wire"

local LIMIT = 90
local SIGTERM = 15
local CASES = "1000"        -- in which each of these bugs shows
local LANES = 3

local key = planted.key()

local function spawn(bugs, ...)
	return "--spawn=" .. table.concat(planted.words(key, bugs, ...), " ")
end

local function fuzzed(argv, options)
	local words = { "--fuzz", table.unpack(argv) }
	local all = { limit = LIMIT }
	for name, value in pairs(options or {}) do all[name] = value end
	return run.command(words, all)
end

local function summary(path) return json.decode(run.read(path .. "/summary.json")) end

-- The folders of findings.
local function found(path)
	local list = {}
	for _, name in ipairs(folder.list(path) or {}) do
		if folder.list(path .. "/" .. name) and name ~= "unstable" then list[#list + 1] = name end
	end
	table.sort(list)
	return list
end

-- Bugs that show early, whatever the key, each with its oracle.
local BUGS = { ["crash-length"] = "death", ["double-reply"] = "count", ["state-nested"] = "state",
	["injection"] = "injection" }

local SEVERAL = "state-nested,double-reply"

-- Runs that need nothing of each other: name → words, and how
local RUNS = {}
for bug in pairs(BUGS) do
	RUNS[bug] = { { spawn(bug), "-p", "0", "--runs=" .. CASES, "--out=" .. run.scratch("out-" .. bug) } }
end
for _, workers in ipairs { "1", "16" } do
	RUNS[workers] = { { spawn(SEVERAL), "-p", "0", "--last=" .. CASES, "--workers=" .. workers,
		"--out=" .. run.scratch("workers-" .. workers) } }
end
RUNS.nothing = { { spawn "none", "-p", "0", "--runs=300", "--out=" .. run.scratch "nothing",
	"--state-graph=" .. run.scratch "nothing.dot" } }
RUNS.flake = { { spawn("double-reply", "--flake=50"), "-p", "0", "--runs=" .. CASES, "--out=" .. run.scratch "flake" } }
RUNS.password = { { spawn(SEVERAL), "-p", "0", "--runs=" .. CASES, "-a", "alice", "-w",
	planted.explain(key).alice.password, "--out=" .. run.scratch "password" } }

describe("smtptest --fuzz with key " .. key, function()
	local results = {}

	setup(function()
		local waiting = {}
		for name, one in pairs(RUNS) do waiting[#waiting + 1] = { name, one } end
		local lanes = {}
		for i = 1, LANES do
			lanes[i] = task.spawn(function()
				while waiting[1] do
					local name, one = table.unpack(table.remove(waiting, 1))
					local ok, result = pcall(fuzzed, one[1], one[2])
					results[name] = ok and result or { out = "", err = tostring(result) }
				end
			end)
		end
		for _, lane in ipairs(lanes) do lane:join() end
	end)

	for bug, name in pairs(BUGS) do
		describe("finds " .. bug, function()
			local out = run.scratch("out-" .. bug)

			it("under the name of its oracle, and nothing else", function()
				local result = results[bug]
				assert.equal(1, result.status, result.out .. result.err)
				assert.equal("", result.err)
				local sum = summary(out)
				assert.equal(1, #sum.findings, result.out)
				assert.equal(name, sum.findings[1]:match "^%l+")
				assert.same({}, sum.unstable)
				assert.is_truthy(result.out:find(sum.findings[1] .. "\n    ", 1, true))
			end)

			it("and writes all of it into a folder", function()
				local ids = found(out)
				assert.equal(1, #ids)
				local names = folder.list(out .. "/" .. ids[1])
				table.sort(names)
				assert.same({ "case", "meta.json", "min", "server.log", "transcript" }, names)
				local path = out .. "/" .. ids[1]
				local meta = json.decode(run.read(path .. "/meta.json"))
				assert.equal(summary(out).findings[1], meta.signature)
				assert.equal(name, meta.oracle)
				assert.is_true(meta.stable)
				assert.equal(meta.hits, meta.total)
				local steps, min = assert(case.parse(run.read(path .. "/case"))), assert(case.parse(run.read(path .. "/min")))
				local function plain(list)
					local n = 0
					for _, step in ipairs(list) do n = n + (step.step ~= "comment" and 1 or 0) end
					return n
				end
				assert.same({ meta.steps, meta.min_steps }, { plain(steps), plain(min) })
				assert.is_true(meta.min_steps <= meta.steps and meta.min_steps <= 10, run.read(path .. "/min"))
				assert.is_truthy(run.read(path .. "/transcript"):find "^c%d+ [SC]: ")
				assert.is_truthy(run.read(path .. "/server.log"):find("listening on", 1, true))
				assert.is_truthy(results[bug].out:find(meta.paragraph, 1, true))
			end)

			it("as a case of which each step is needed", function()
				local min = assert(case.parse(run.read(("%s/%s/min"):format(out, found(out)[1]))))
				local set = oracle.set()
				local target <close> = targets.new { plan = { host = "127.0.0.1", port = 0 }, spawn = planted.words(key, bug),
					log = run.scratch("log-" .. bug) }
				target:start()
				calibrate.run(target)
				local signature = summary(out).findings[1]
				local function shows(steps)
					for _, one in ipairs(confirm.signatures(steps, { target = target, oracles = set,
						checks = oracle.of_reply(set) }, 1)) do
						if one.signature == signature then return true end
					end
					return false
				end
				assert.is_true(shows(min))
				for i, step in ipairs(min) do
					if step.step ~= "comment" then
						local less = table.move(min, 1, i - 1, 1, {})
						table.move(min, i + 1, #min, i, less)
						assert.is_false(shows(less), ("step %d, %s, is not needed in\n%s"):format(i, step.step, case.format(min)))
					end
				end
			end)
		end)
	end

	it("says how the finding is played again, and that works", function()
		local out = run.scratch "out-state-nested"
		local meta = json.decode(run.read(("%s/%s/meta.json"):format(out, found(out)[1])))
		local words = meta.replay:gsub("^smtptest ", run.absolute .. " ")
		local result = run.command({ "-c", words }, { program = "sh", limit = LIMIT })
		assert.equal(1, result.status, result.out .. result.err)
		assert.is_truthy(result.out:find(meta.signature .. ", 3 of 3 times\n    ", 1, true), result.out)
		words = words:gsub("%-%-bugs=state%-nested", "--bugs=none")
		result = run.command({ "-c", words }, { program = "sh", limit = LIMIT })
		assert.equal(0, result.status, result.out .. result.err)
		assert.is_truthy(result.out:find("nothing found in 3 plays", 1, true), result.out)
	end)

	it("plays the same cases and finds the same with one worker and with sixteen", function()
		local one, many = summary(run.scratch "workers-1"), summary(run.scratch "workers-16")
		assert.same({ 1, 1 }, { results["1"].status, results["16"].status })
		assert.equal(one.cases_sha256, many.cases_sha256)
		assert.same({ 1, 16 }, { one.workers, many.workers })
		assert.same(one.findings, many.findings)
		assert.equal(2, #one.findings)
	end)

	it("finds nothing in a good server, and draws what it has learnt", function()
		local result = results.nothing
		assert.equal(0, result.status, result.out .. result.err)
		assert.matches("^300 cases %(0 derived%) in [%d.]+ s, %d+/s; %d+ states, %d+ transitions, %d+ of them in the " ..
			"first minute; 0 findings, 0 unstable\n$", result.out)
		local sum = summary(run.scratch "nothing")
		assert.equal(sum.transitions, sum.transitions_by_minute[#sum.transitions_by_minute])
		assert.same({ 300, 1, 301, 300 }, { sum.cases, sum.first, sum.next, sum.last })
		assert.same({}, found(run.scratch "nothing"))
		assert.matches('^digraph smtp {.*"greeted" %-> "helo" %[label="EHLO 250 %(%d+%)"%];.*}\n$', run.read(run.scratch "nothing.dot"))
	end)

	it("calls nothing a finding that comes and goes", function()
		local result = results.flake
		local sum = summary(run.scratch "flake")
		assert.same({}, sum.findings)
		assert.same({}, found(run.scratch "flake"))
		assert.equal(0, result.status, result.out .. result.err)
		assert.is_true(#sum.unstable > 0, result.out)
		local ids = found(run.scratch "flake/unstable")
		assert.equal(#sum.unstable, #ids)
		local meta = json.decode(run.read(("%s/%s/meta.json"):format(run.scratch "flake/unstable", ids[1])))
		assert.is_false(meta.stable)
		assert.is_true(meta.hits < meta.total)
		assert.is_truthy(result.out:find("unstable: " .. meta.signature, 1, true))
	end)

	it("shows the password nowhere", function()
		local password = planted.explain(key).alice.password
		local result = results.password
		assert.equal(1, result.status, result.out .. result.err)
		assert.is_nil(leak.find(result.out .. result.err, { password }))
		local pipe <close> = assert(io.popen(("find '%s' -type f"):format(run.scratch "password")))
		local files = 0
		for path in pipe:lines() do
			files = files + 1
			assert.is_nil(leak.find(run.read(path), { password }), path)
		end
		assert.is_true(files > 10)
	end)
end)

-- ---------------------------------------------------------------- parts of a run

describe("smtptest --fuzz", function()
	it("ends at once at SIGTERM, and so do the servers that it has started", function()
		local up = task.promise()
		local out = run.scratch "terminated"
		local result = fuzzed({ spawn "all", "-p", "0", "--seconds=60", "--out=" .. out }, {
			on_output = function(text)
				if text:find "\n" then up:set(true) end
			end,
			stdin = { function(child)
				up:wait(LIMIT)
				child:kill "TERM"
			end } })
		assert.equal(SIGTERM, result.signal, result.out .. result.err)
		for number in run.read(out .. "/server.log"):gmatch "listening on 127%.0%.0%.1:(%d+)" do
			local _, _, code = wire.open({ family = "inet", host = "127.0.0.1", port = tonumber(number) }, nil, task.now() + 5)
			assert.equal("ECONNREFUSED", code)
		end
	end)

	it("ends at SIGINT and says with which case to go on: no gap, and no case twice", function()
		local first, second = run.scratch "first", run.scratch "second"
		local seen = task.promise()
		local result = fuzzed({ spawn "state-nested", "-p", "0", "--seed=7", "--last=1000000", "--out=" .. first }, {
			on_output = function(text)
				if text:find "\n" then seen:set(true) end
			end,
			stdin = { function(child)
				seen:wait(LIMIT)
				child:kill "INT"
			end } })
		assert.equal(1, result.status, result.out .. result.err)
		local sum = summary(first)
		assert.is_true(sum.interrupted)
		assert.is_truthy(result.out:find(("interrupted; go on with --seed=7 --first=%d\n"):format(sum.next), 1, true), result.out)
		assert.equal(sum.next - 1, sum.cases)
		assert.equal(sum.left > 0, folder.list(first .. "/left") ~= nil)
		local last = sum.next + 19
		result = fuzzed { spawn "none", "-p", "0", "--seed=7", "--first=" .. sum.next, "--last=" .. last, "--out=" .. second }
		assert.equal(0, result.status, result.out .. result.err)
		assert.same({ sum.next, 20 }, { summary(second).first, summary(second).cases })
		-- What was played is what those numbers are.
		local function digest(from, to)
			local one = supply.new { seed = 7, first = from, last = to, draw = function(_, n)
				return fuzz.case(n, { seed = 7, target = { host = "127.0.0.1", port = 1 } })
			end }
			while one:next() do end
			return one:digest()
		end
		assert.equal(digest(1, sum.next - 1), sum.cases_sha256)
		assert.equal(digest(sum.next, last), summary(second).cases_sha256)
		-- Both in one folder.
		local all = run.scratch "merged"
		result = fuzzed { "--merge=" .. all, first, second }
		assert.equal(1, result.status, result.out .. result.err)
		assert.same(found(first), found(all))
		assert.is_truthy(result.out:find(first .. ": 1 new findings, 0 unstable\n" .. second .. ": 0 new findings", 1, true),
			result.out)
		result = fuzzed { "--merge=" .. all, first }
		assert.is_truthy(result.out:find(first .. ": 0 new findings", 1, true))
		assert.equal(0, fuzzed { "--merge=" .. run.scratch "empty", second }.status)
	end)

	it("ends with 2 for what it can't do as asked", function()
		local text = run.file("no.case", "nonsense\n")
		for _, words in ipairs {
			{ "--oracles=x" }, { "--last=0" }, { "--first=5", "--last=4" }, { "--last=5", "--runs=5" },
			{ "--corpus=" .. run.scratch "none" }, { "--merge=" .. run.scratch "m", run.scratch "none" },
			{ "--replay=" .. run.scratch "none" }, { "--replay=" .. text }, { "--spawn=" }, { "--watch-log=/none/x" },
			{ "--seconds=x" }, { "--workers=0" }, { "--frist=1" },
		} do
			local argv = table.move(words, 1, #words, 1, {})
			if not words[1]:find "merge" then
				for _, word in ipairs { "-p", tostring(run.closed_port()), "127.0.0.1" } do argv[#argv + 1] = word end
			end
			local result = fuzzed(argv)
			local told = table.concat(words, " ") .. ": " .. result.out .. result.err
			assert.equal(2, result.status, told)
			assert.is_true(#result.out + #result.err > 0, told)
			assert.is_nil(result.err:find "traceback", told)
		end
	end)

	it("ends with 3 where nobody answers", function()
		local result = fuzzed { "-p", tostring(run.closed_port()), "127.0.0.1" }
		assert.equal(3, result.status, result.out .. result.err)
		assert.is_truthy(result.err:find("does not answer: ", 1, true), result.err)
		result = fuzzed { "--spawn=false", "-p", "0" }
		assert.equal(3, result.status, result.out .. result.err)
	end)

	it("does not touch a server elsewhere without --yes, whoever starts it", function()
		for _, words in ipairs { { "192.0.2.1" }, { "--spawn=true", "192.0.2.1" } } do
			local result = fuzzed(words)
			assert.same({ 2, "" }, { result.status, result.out })
			assert.is_truthy(result.err:find("192.0.2.1 is not on a private address (192.0.2.1): --yes if you may do this to it",
				1, true), result.err)
		end
	end)

	it("takes a server that is there, with a corpus", function()
		local one <close> = server.listen {}
		one:start()
		local corpus = run.scratch "corpus"
		assert(folder.make(corpus))
		run.file("corpus/a", case.head .. 'connect\nreply\nsend "NOOP\\r\\n"\nreply\n')
		local result = fuzzed { "--runs=50", "--corpus=" .. corpus, "--oracles=syntax,count", "-p", tostring(one.port),
			one.host }
		assert.equal(0, result.status, result.out .. result.err)
	end)
end)
