-- What several runs have found, in one folder.

local finding = require "smtptest.fuzz.finding"
local folder = require "smtptest.core.folder"
local json = require "dkjson"
local run = require "support.run"

local STEPS = { { step = "connect", connection = "c1" }, { step = "send", connection = "c1", bytes = "NOOP\r\n" } }

local function record(verb, stable)
	return { finding = { oracle = "drop", detail = "no reply", verb = verb, text = "it closed" }, stable = stable,
		signature = "drop/no reply/" .. verb, steps = STEPS, min = STEPS, hits = stable and 4 or 2, total = 4, plays = 4,
		index = "7", elapsed = 1, transcript = "", log = "" }
end

local count = 0
-- A folder of --out with these records.
local function out_of(cases, ...)
	count = count + 1
	local out = run.scratch("merge-out" .. count)
	finding.folder(out)
	for _, each in ipairs { ... } do finding.save(each, { out = out, seed = 1, target = "x", arguments = "-p 25 x" }) end
	finding.write(out .. "/summary.json", json.encode { cases = cases } .. "\n")
	return out
end

local function merged(into, ...)
	local result = run.command { "--fuzz", "--merge=" .. into, ... }
	assert.equal("", result.err)
	return result.status, json.decode(run.read(into .. "/summary.json"))
end

describe("smtptest --fuzz --merge", function()
	it("lists once what is stable in one folder and comes and goes in another", function()
		local unsure, sure = out_of(1, record("NOOP", false), record("RSET", false)), out_of(2, record("NOOP", true))
		for i, list in ipairs { { unsure, sure }, { sure, unsure } } do
			local into = run.scratch("merge-once" .. i)
			local status, summary = merged(into, table.unpack(list))
			assert.equal(1, status)
			assert.same({ "drop/no reply/NOOP" }, summary.findings)
			assert.same({ "drop/no reply/RSET" }, summary.unstable)
			assert.same({ "drop-no-reply-RSET" }, folder.list(into .. "/unstable"))
			assert.equal(3, summary.cases)
		end
	end)

	it("makes a folder that can be merged again, and counts each run once", function()
		local a, b, c = out_of(1, record("NOOP", true)), out_of(20), out_of(300, record("RSET", true))
		local one, two = run.scratch "merge-one", run.scratch "merge-two"
		merged(one, a, b)
		local _, summary = merged(one, a)
		assert.equal(21, summary.cases)
		_, summary = merged(two, one, c)
		assert.equal(321, summary.cases)
		assert.same({ "drop/no reply/NOOP", "drop/no reply/RSET" }, summary.findings)
		assert.is_nil(folder.list(two .. "/unstable"))
	end)

	it("says how a finding is played from where it is now", function()
		local from, into = out_of(1, record("NOOP", true)), run.scratch "merge it's"
		merged(into, from)
		local path = into .. "/drop-no-reply-NOOP"
		local meta = json.decode(run.read(path .. "/meta.json"))
		local quoted = ("'%s/min'"):format(path:gsub("'", "'\\''"))
		assert.equal(("smtptest --fuzz --replay=%s -p 25 x"):format(quoted), meta.replay)
		for _, text in ipairs { meta.paragraph, run.read(path .. "/min") } do
			assert.is_truthy(text:find(quoted, 1, true), text)
			assert.is_nil(text:find(from, 1, true), text)
		end
	end)
end)
