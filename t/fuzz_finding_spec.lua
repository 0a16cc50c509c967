local finding = require "smtptest.fuzz.finding"
local folder = require "smtptest.core.folder"
local run = require "support.run"

local STEPS = { { step = "connect", connection = "c1" }, { step = "send", connection = "c1", bytes = "NOOP\r\n" } }

local function record(stable)
	return { finding = { oracle = "drop", detail = "no reply", verb = "NOOP", text = "it closed" }, stable = stable,
		signature = "drop/no reply/NOOP", steps = STEPS, min = STEPS, hits = stable and 4 or 2, total = 4, plays = 4,
		index = "7", elapsed = 1, transcript = "c1 C: NOOP\\r\\n\n", log = "" }
end

local count = 0
local function saved(records)
	count = count + 1
	local out = run.scratch("found" .. count)
	for _, each in ipairs(records) do finding.save(each, { out = out, seed = 1, target = "x", arguments = "-p 25 x" }) end
	local names = folder.list(out)
	table.sort(names)
	return names, folder.list(out .. "/unstable")
end

describe("finding", function()
	it("that comes and goes has its folder under unstable", function()
		local names, unstable = saved { record(false) }
		assert.same({ "unstable" }, names)
		assert.same({ "drop-no-reply-NOOP" }, unstable)
	end)

	it("that is sure leaves nothing there, also of what it was before", function()
		assert.same({ "drop-no-reply-NOOP" }, (saved { record(true) }))
		assert.same({ "drop-no-reply-NOOP" }, (saved { record(false), record(true) }))
	end)

	it("keeps those of others there", function()
		local other = record(false)
		other.signature = "drop/no reply/RSET"
		local names, unstable = saved { other, record(false), record(true) }
		assert.same({ "drop-no-reply-NOOP", "unstable" }, names)
		assert.same({ "drop-no-reply-RSET" }, unstable)
	end)
end)
