--- planted: the server with bugs (t/planted.c) for the fuzzer's specs.

local canary = require "smtptest.fuzz.canary"
local case = require "smtptest.case"
local process = require "smtptest.process"

local planted = {}

planted.program = (os.getenv "BUILD" or "build") .. "/planted"

--- Runs it to its end → output
function planted.run(...)
	local child <close> = process.spawn { argv = { planted.program, ... } }
	local _, status = child:wait(30)
	assert(status == 0, child:output())
	return child:output()
end

--- A key that the code has never seen; two of a run differ.
function planted.key()
	planted.count = (planted.count or 0) + 1
	return ("%x.%d"):format(os.time(), planted.count)
end

--- The bugs: list of {name, oracle}.
function planted.list()
	local bugs = {}
	for name, oracle in planted.run "--list":gmatch "([%w-]+)\t(%l+)\n" do
		bugs[#bugs + 1] = { name = name, oracle = oracle }
	end
	return bugs
end

--- What triggers each bug, and the account: name → table of fields, `verbs` a list.
function planted.explain(key)
	local all = {}
	for name, rest in planted.run("--key=" .. key, "--explain"):gmatch "([%w-]+)([^\n]*)\n" do
		local fields = { verbs = {} }
		for field, value in rest:gmatch "\t(%l+)=([^\t]+)" do fields[field] = value end
		if type(fields.verbs) == "string" then
			local verbs = {}
			for verb in fields.verbs:gmatch "%u+" do verbs[#verbs + 1] = verb end
			fields.verbs = verbs
		end
		all[name] = fields
	end
	return all
end

--- Words that start it.
function planted.words(key, bugs, ...)
	-- What a sanitizer needs in front of us is not for a server whose memory is watched.
	return { "env", "-u", "LD_PRELOAD", planted.program, "--key=" .. key, "--bugs=" .. bugs, ... }
end

--- A server → process, port
function planted.start(key, bugs, ...)
	local child = process.spawn { argv = planted.words(key, bugs, ...), ready = "listening on" }
	return child, tonumber(child:output():match "^listening on 127%.0%.0%.1:(%d+)\n")
end

-- The same on a second connection, whole.
local function with_twin(steps)
	local list = table.move(steps, 1, #steps, 1, {})
	for _, step in ipairs(steps) do
		local copy = {}
		for name, value in pairs(step) do copy[name] = value end
		copy.connection, copy.split, copy.gap = "c2", nil, nil
		list[#list + 1] = copy
	end
	return list
end

-- What leaks is known by its canary.
local function with_canary(steps)
	local word = canary.make(1, 1, "c2")
	for _, step in ipairs(steps) do
		if step.connection == "c2" and step.bytes then
			step.bytes = step.bytes:gsub("<a@", "<" .. word .. "@"):gsub("^Subject: planted", word):gsub("^AGFs%w+\r", word .. "\r")
		end
	end
	return steps
end

--- A case that triggers a bug, as the fuzzer would have drawn it: split-code shows beside a twin, a leak by a canary.
function planted.trigger(key, name)
	local steps = assert(case.parse(planted.run("--key=" .. key, "--trigger=" .. name)))
	if name == "split-code" then return with_twin(steps) end
	if name:find "^leak" then return with_canary(steps) end
	return steps
end

return planted
