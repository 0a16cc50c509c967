--- mode: what the command line asks for, beside the plan: which of the things that can be done, with what.

local mode = {}

local EISDIR = 21

-- Each is something else to do: name in the mode, flag.
local ACTIONS = { { "script", "-S" }, { "execute", "-e" }, { "test", "--test" },
	{ "replay", "--replay" }, { "tls_report", "--tls-report" }, { "fuzz", "--fuzz" } }

-- Without the first flag the second one says nothing.
local NEEDS = {
	{ "test", "test_output", "--test-output: only --test has results" },
	{ "replay", "match", "--match: only --replay compares" },
	{ "tls_report", "json", "--json: only with --tls-report" },
	{ "tls_report", "min_days", "--min-days: only with --tls-report" },
	{ "serve", "save", "--save: only --serve saves messages" },
}

-- What only --fuzz has.
local FUZZING = { "seed", "first", "last", "runs", "seconds", "workers", "out", "oracles", "corpus", "state_graph",
	"spawn", "watch_log", "merge", "yes" }
for _, name in ipairs(FUZZING) do
	NEEDS[#NEEDS + 1] = { "fuzz", name, ("--%s: only with --fuzz"):format((name:gsub("_", "-"))) }
end

--- Whether the words after "--" are for what runs.
function mode.takes_words(self)
	return (self.script or self.execute or self.test) ~= nil
end

local function conflict(self)
	local first
	for _, action in ipairs(ACTIONS) do
		if self[action[1]] then
			-- A case that the fuzzer judges.
			if first and not (first == "--replay" and action[1] == "fuzz") then
				return ("%s and %s cannot be combined"):format(first, action[2])
			end
			first = action[2]
		end
	end
	if self.serve and (self.test or self.replay or self.tls_report or self.fuzz) then
		return ("%s and --serve cannot be combined"):format(first)
	end
	for _, need in ipairs(NEEDS) do
		if self[need[2]] and not self[need[1]] then return need[3] end
	end
end

-- Whether there is a folder of that name.
local function is_folder(path)
	local handle <close> = io.open(path)
	return handle ~= nil and select(3, handle:read(0)) == EISDIR
end

-- Operands of --test: the specs go into the mode.
local function take_specs(self, words)
	local hosts = {}
	self.specs = {}
	for _, word in ipairs(words) do
		local list = (word:find "%.lua$" or word:find "/" or is_folder(word)) and self.specs or hosts
		list[#list + 1] = word
	end
	if #self.specs == 0 then return nil, "--test: no spec given (a .lua file or a folder)" end
	if hosts[2] then return nil, ("--test: neither a spec nor the host: %s"):format(hosts[2]) end
	return hosts
end

--- Judges a whole command line.
-- @param self   the mode, as options.parse makes it
-- @param words  list of operands
-- @return the operands that are left for the plan | nil, message of a failure
function mode.finish(self, words)
	local message = conflict(self)
	if message then return nil, message end
	if self.test then return take_specs(self, words) end
	if self.merge then
		if not words[1] then return nil, "--merge: no folder given" end
		self.folders, words = words, {}
	end
	return words
end

return mode
