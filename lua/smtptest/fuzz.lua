--- fuzz: sequences that no client would send, made from a seed; what the server may never do; the smallest case of it.
--
-- A case is a function of (seed, N, corpus) and the same on every machine, for any number of workers.

local argument = require "smtptest.argument"
local calibrate = require "smtptest.fuzz.calibrate"
local cases = require "smtptest.case"
local engine = require "smtptest.fuzz.engine"
local failure = require "smtptest.failure"
local findings = require "smtptest.fuzz.finding"
local json = require "smtptest.json"
local masks = require "smtptest.fuzz.mask"
local model = require "smtptest.fuzz.model"
local oracle = require "smtptest.fuzz.oracle"
local supply = require "smtptest.fuzz.supply"
local targets = require "smtptest.fuzz.target"
local task = require "smtptest.task"

local fuzz = { oracles = oracle.names }

-- Loaded when somebody looks: generators and mutators.
local LATER = { g = "smtptest.fuzz.generate", m = "smtptest.fuzz.mutate" }

setmetatable(fuzz, { __index = function(self, key)
	if LATER[key] then self[key] = require(LATER[key]) end
	return rawget(self, key)
end })

local OPTIONS = {
	name = "string", seed = "number", first = "number", last = "number", runs = "number", seconds = "number",
	case = "table|function", corpus = "string", target = "table", spawn = "string|table", watch_log = "string",
	oracles = "string", confirm = "number", shrink = "boolean|number", out = "string", workers = "number",
	feedback = "boolean", state_graph = "string", on_finding = "function", on_progress = "function",
}

local SECONDS = 60          -- of a run without any bound
local LARGEST = 1 << 53     -- number of a case
local WORKERS = 8
local LABS = 4              -- further processes: one to find out who has killed the first, others for suspicions
local CONFIRM = 3
local BUDGET = 10           -- seconds for making one case small

local function refuse(message, level)
	error("fuzz: " .. message, level + 1)
end

-- first and last of the numbers, or seconds.
local function range(options, level)
	local first = math.tointeger(options.first or 1)
	local last = options.last and math.tointeger(options.last)
	if options.runs then
		if options.last then refuse("last and runs say the same", level + 1) end
		last = first and math.tointeger(first + options.runs - 1)
	end
	if not first or first < 1 then refuse("first must be a number from 1 on", level + 1) end
	if (last or first) > LARGEST or first > LARGEST then
		refuse(("the numbers of cases end at %d"):format(LARGEST), level + 1)
	end
	if (options.last or options.runs) and (not last or last < first) then
		refuse("the last case must not be before the first", level + 1)
	end
	local seconds = options.seconds
	if not last and not seconds then seconds = SECONDS end
	return first, last, seconds
end

-- An integer from a lowest one on.
local function integer(name, value, lowest, level)
	local number = math.tointeger(value)
	if not number or number < lowest then
		refuse(lowest == math.mininteger and name .. " must be an integer"
			or ("%s must be an integer from %d on"):format(name, lowest), level + 1)
	end
	return number
end

-- What the types of the options don't tell.
local function check_options(options, level)
	for name, lowest in pairs { workers = 1, confirm = 0, seed = math.mininteger } do
		if options[name] then integer(name, options[name], lowest, level + 1) end
	end
	for _, name in ipairs { "seconds", "shrink" } do
		local value = options[name]
		if type(value) == "number" and (value < 0 or value ~= value) then
			refuse(name .. " must not be below 0", level + 1)
		end
	end
	if type(options.case) == "table" and type(options.case.draw) ~= "function" then
		refuse("case must be a function or a generator", level + 1)
	end
end

-- What a generator may be: nothing, a function, or an object with draw().
local function drawing(case, context)
	if not case then
		local default = require "smtptest.fuzz.default"
		return function(random, n, corpus) return default.draw(random, n, corpus, context) end
	elseif type(case) == "function" then
		return case
	end
	return function(random, n, corpus) return case:draw(random, n, corpus) end
end

-- What the default generator may know of the target.
local function context_of(plan)
	local mechanisms = {}
	for name in (plan.mechanism or ""):gmatch "[^%s,]+" do mechanisms[#mechanisms + 1] = name:upper() end
	return { from = plan.from, to = plan.to, protocol = plan.protocol or "smtp", tls = plan.tls or "none",
		mechanisms = mechanisms, credentials = plan.password ~= nil }
end

-- A word as a shell takes it.
local function quoted(word)
	word = tostring(word)
	if word:find "^[%w_@%%+=:,./-]+$" then return word end
	return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- Fields of a plan that are texts or numbers, and their flags.
local FLAGS = {
	{ "helo", "--helo=" }, { "timeout", "--timeout=" }, { "mechanism", "-m " }, { "authname", "-a " },
	{ "username", "-u " }, { "realm", "-r " }, { "minssf", "-k " }, { "maxssf", "-l " }, { "certfile", "--cert=" },
	{ "keyfile", "--key=" }, { "cafile", "--cafile=" }, { "capath", "--capath=" }, { "verify", "--verify=" },
	{ "sni", "--sni=" }, { "min_version", "--tls-min=" }, { "max_version", "--tls-max=" }, { "groups", "--groups=" },
	{ "from", "--from=" },
}

local function address_of(source)
	if not source.port then return source.host end
	return (source.host:find ":" and "[%s]:%d" or "%s:%d"):format(source.host, source.port)
end

local function proxy_of(spec)
	return spec.unknown and "unknown" or spec.command == "LOCAL" and "local"
		or type(spec.source) == "string" and spec.source or nil
end

-- The flags of a plan; a word stands for each secret.
local function flags_of(plan, add)
	if plan.protocol == "lmtp" then add("-P ", "lmtp") end
	if plan.tls == "implicit" then add "-s" elseif plan.tls == "starttls" then add("-t ", "") end
	if plan.family then add(plan.family == "inet" and "-4" or "-6") end
	if plan.source then add("--source=", address_of(plan.source)) end
	if plan.proxy and proxy_of(plan.proxy) then add("-H ", proxy_of(plan.proxy)) end
	for _, flag in ipairs(FLAGS) do
		local value = plan[flag[1]]
		if value == math.huge then value = "inf" end
		if type(value) == "string" or type(value) == "number" then add(flag[2], value) end
	end
	if plan.verify == true then add "--verify" end
	if plan.ciphers or plan.ciphersuites then
		add("--ciphers=", table.concat({ plan.ciphers or plan.ciphersuites, plan.ciphers and plan.ciphersuites }, ":"))
	end
	if plan.initial_response == false then add "-i" end
	for name, value in pairs(plan.sasl_options or {}) do add("-o ", name .. "=" .. value) end
	for _, to in ipairs(plan.to or {}) do add("--to=", to) end
	if plan.password then add("-w ", "PASSWORD") end
	if plan.keypass then add("--key-password-file=", "FILE") end
end

-- How a target is reached, for a command line.
local function arguments_of(target, options)
	local plan, words = target.plan, {}
	local function add(flag, value) words[#words + 1] = flag .. (value and quoted(value) or "") end
	local spawn = options.spawn
	if type(spawn) == "table" then
		local list = {}
		for i, word in ipairs(spawn) do list[i] = quoted(word) end
		spawn = table.concat(list, " ")
	end
	if spawn then add("--spawn=", spawn) end
	if options.watch_log then add("--watch-log=", options.watch_log) end
	flags_of(options.target or require "smtptest".options, add)
	if plan.socket then
		add("--unix=", plan.socket)
	else
		add("-p ", target.ephemeral and 0 or plan.port)
		add("", plan.host)
	end
	return table.concat(words, " ")
end

-- Where the output of a process goes; without a folder a file that is gone at the end.
local function log_path(options, name)
	if not options.spawn then return nil end
	return options.out and ("%s/%s.log"):format(options.out, name) or os.tmpname()
end

-- A target that has been started and that we know.
local function prepared(options)
	local target = targets.new { plan = options.target or require "smtptest".options, spawn = options.spawn,
		watch_log = options.watch_log, log = log_path(options, "server"), keep_log = options.out ~= nil }
	local ok, message = pcall(function()
		target:start()
		calibrate.run(target)
	end)
	if not ok then
		target:close()
		error(message, 0)
	end
	return target
end

-- More of the same, where each finds a port of its own; a log that is watched tells of one server only.
local function twins(target, options)
	local list = setmetatable({}, { __close = function(list)
		for _, twin in ipairs(list) do twin:close() end
	end })
	local count = target.ephemeral and not options.watch_log and LABS or 0
	for i = 1, count do list[i] = target:twin(log_path(options, "server." .. i)) end
	return list
end

-- What a run is, before there is a target.
local function described(options, level)
	check_options(options, level + 1)
	local first, last, seconds = range(options, level + 1)
	local set, message = oracle.set(options.oracles)
	if not set then refuse(message, level + 1) end
	local corpus, digest = supply.corpus(options.corpus)
	return { out = options.out, seed = math.tointeger(options.seed or 1), first = first, last = last, seconds = seconds,
		oracles = set, cases = corpus, corpus = digest }
end

local function supply_of(run, options, plan)
	local context = context_of(plan)
	local feedback = options.feedback
	if feedback == nil then feedback = run.last == nil end
	return supply.new { seed = run.seed, first = run.first, last = run.last, corpus = run.cases, feedback = feedback,
		draw = drawing(options.case, context),
		derive = function(random, steps, corpus)
			return require "smtptest.fuzz.default".derive(random, steps, corpus, context)
		end }
end

local function budget_of(options, seconds)
	if type(options.shrink) == "number" then return options.shrink end
	return math.max(1, math.min(BUDGET, (seconds or math.huge) / 12))
end

local function signatures(records)
	local list = {}
	for i, record in ipairs(records) do list[i] = record.signature end
	table.sort(list)
	return list
end

-- How often each known signature was seen.
local function counts(ledger)
	if not next(ledger.known) then return nil end
	local seen = {}
	for signature, one in pairs(ledger.known) do seen[signature] = one.seen end
	return seen
end

-- Cases that there was no time to look into, so that nothing is lost.
local function save_left(self, out)
	for _, one in ipairs(self.left) do
		local steps = { { step = "comment", text = ("case %s: seen once, not looked into: %s"):format(one.item.name,
			table.concat(one.names, ", ")) } }
		findings.folder(out .. "/left")
		findings.write(("%s/left/%s.case"):format(out, one.item.name:gsub("%W+", "-")),
			cases.format(table.move(one.item.steps, 1, #one.item.steps, 2, steps)))
	end
end

local function result_of(self, run, options)
	local result = { findings = {}, unstable = {}, interrupted = self.interrupted or false,
		gone = self.target.gone or false }
	for _, record in ipairs(self.ledger.records) do
		table.insert(record.stable and result.findings or result.unstable, record)
	end
	result.summary = {
		name = options.name, seed = run.seed, first = run.first, next = self.supply.n, last = run.last,
		cases = self.cases, derived = self.derived, cases_sha256 = self.supply:digest(), corpus = run.corpus,
		target = run.target, workers = self.workers, seconds = self.elapsed, rate = self.cases / self.elapsed,
		states = self.model.count, transitions = self.model.transitions, transitions_by_minute = self:by_minute(),
		findings = signatures(result.findings),
		unstable = signatures(result.unstable), seen = counts(self.ledger), left = #self.left,
		gone = result.gone, interrupted = result.interrupted,
	}
	if run.out then
		findings.write(run.out .. "/summary.json", json.encode(result.summary) .. "\n")
		save_left(self, run.out)
	end
	if options.state_graph then findings.write(options.state_graph, self.model:dot()) end
	return result
end

--- Fuzzes a server.
-- @param options  table:
--   target     plan: where to, TLS, who we are (default: smtptest.options)
--   spawn      the server's command (words, or one text as in a shell): started, watched, started again; {port} in it
--              is the plan's port, a free one where that is 0
--   watch_log  path of a log that is watched
--   seed       integer (default 1); first, last: numbers of the cases, or runs: how many; or seconds (default 60)
--   case       function(random, n, corpus) → case, or a generator of fuzz.g; a case is a list of steps, a text in the
--              case format, or a list of command lines (default: all that we know of SMTP)
--   corpus     folder of cases
--   oracles    names between commas, or "-name,…": all but these (default: all)
--   confirm    how often a finding must show itself again (default 3); shrink: false, or seconds for it (default 10)
--   out        folder for findings and summary.json
--   workers    connections at once (default 8)
--   feedback   derive cases from those that reached something new (default: where there is no last)
--   state_graph  path: the learnt machine as Graphviz DOT
--   on_finding function(record): signature, finding, min, hits, total, stable, paragraph, folder; on_progress
--              function(engine), once a second
-- @return table: findings and unstable (lists of records), summary (as summary.json has it), interrupted, gone.
--   Raises for bad options, and when the target does not answer at the beginning
function fuzz.run(options)
	options = argument.options(options, OPTIONS, 2)
	local run = described(options, 2)
	if run.out then findings.folder(run.out) end
	if options.state_graph then findings.writable(options.state_graph) end
	local target <close> = prepared(options)
	local labs <close> = twins(target, options)
	local mask = masks.new { plan = target.plan, spawn = options.spawn, cases = run.cases }
	run.target, run.arguments = target:name(), mask:text(arguments_of(target, options))
	local self = engine.new {
		target = target, labs = labs, suspects = target.suspects, model = model.new(),
		supply = supply_of(run, options, target.plan),
		oracles = run.oracles, workers = options.workers or WORKERS, seconds = run.seconds,
		confirm = options.confirm or CONFIRM, shrink = options.shrink ~= false, budget = budget_of(options, run.seconds),
		on_progress = options.on_progress,
		on_finding = function(record)
			mask:record(record)
			if run.out then record.folder = findings.save(record, run) end
			if options.on_finding then options.on_finding(record) end
		end,
	}
	target.stop = function() return self.interrupted end
	local restore = task.on_interrupt(function() self:interrupt() end)
	local ok, why = pcall(self.run, self)
	restore()
	if not ok then error(why, 0) end
	return result_of(self, run, options)
end

--- Plays a case against a server and says what the oracles say.
-- @param steps    case, as smtptest.case.parse gives it, or its text
-- @param options  target, spawn, watch_log, oracles, confirm (how often, default 3) as run() takes them
-- @return list of {signature, finding, hits}, how often it was played; raises as run() does, and EINVAL for what is no
--   case
function fuzz.check(steps, options)
	options = argument.options(options, OPTIONS, 2)
	check_options(options, 2)
	steps = supply.steps(steps)
	local set, message = oracle.set(options.oracles)
	if not set then refuse(message, 2) end
	local target <close> = prepared(options)
	local plays = options.confirm or CONFIRM
	local context = { target = target, oracles = set, checks = oracle.of_reply(set) }
	local list = require "smtptest.fuzz.confirm".signatures(steps, context, plays)
	local mask = masks.new { plan = target.plan, spawn = options.spawn, cases = { steps } }
	for _, one in ipairs(list) do one.finding.text = mask:text(one.finding.text) end
	return list, plays
end

--- The case of a number, as run() would play it.
-- @param n        from 1 on
-- @param options  seed, case, corpus (a folder), target: as run() takes them
-- @return list of steps, as smtptest.case.format writes; raises for bad options, EINVAL for what is no case
function fuzz.case(n, options)
	options = argument.options(options, OPTIONS, 2)
	check_options(options, 2)
	n = integer("the number of a case", n, 1, 2)
	local one = supply.new { seed = math.tointeger(options.seed or 1), first = n, corpus = supply.corpus(options.corpus),
		draw = drawing(options.case, context_of(options.target or require "smtptest".options)) }
	return one:generate(n)
end

local GONE = { ECONNREFUSED = true, EOF = true, TIMEOUT = true, RESOLVE = true }

--- Whether a failure is that of a target that is not there.
function fuzz.gone(value)
	return failure.is(value) and (value.op == "fuzz" or value.op == "spawn") and GONE[value.code] == true
end

return fuzz
