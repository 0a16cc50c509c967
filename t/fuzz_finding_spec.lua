local case = require "smtptest.case"
local finding = require "smtptest.fuzz.finding"
local fuzz = require "smtptest.fuzz"
local folder = require "smtptest.core.folder"
local run = require "support.run"
local server = require "smtptest.server"

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

	it("has no folder where a file is, and no file where there is no folder", function()
		local path = run.file("taken", "x")
		local ok, message = pcall(finding.folder, path)
		assert.is_false(ok)
		assert.matches("taken: not a folder", tostring(message))
		ok, message = pcall(finding.writable, run.scratch "none/graph.dot")
		assert.is_false(ok)
		assert.matches("none/graph.dot", tostring(message))
		finding.writable(path)
		assert.equal("x", run.read(path))
	end)

	it("keeps those of others there", function()
		local other = record(false)
		other.signature = "drop/no reply/RSET"
		local names, unstable = saved { other, record(false), record(true) }
		assert.same({ "drop-no-reply-NOOP", "unstable" }, names)
		assert.same({ "drop-no-reply-RSET" }, unstable)
	end)

	it("of fuzz.run has no password, told or written", function()
		local token = "AGFsaWNlAHNlY3JldA=="     -- \0alice\0secret
		local one <close> = server.listen { on = {
			command = function(client, verb)
				if verb ~= "VRFY" then return nil end
				client:reply(250, "5.1.1 secret " .. token)
				return true
			end,
		} }
		one:start()
		local out, told = run.scratch "masked", nil
		local target = { host = one.host, port = one.port, authname = "alice", password = "secret" }
		local steps = { "EHLO a", "VRFY " .. token }
		local result = fuzz.run { target = target, out = out, runs = 3, workers = 1, shrink = false, oracles = "class",
			case = function() return steps end, on_finding = function(found) told = found end }
		assert.equal(1, #result.findings)
		assert.is_truthy(told.paragraph:find("250 5.1.1 <6 bytes hidden> <20 bytes hidden>", 1, true), told.paragraph)
		assert.is_nil((told.finding.text .. told.transcript):find "secret")
		local shown = case.format(told.min)
		assert.is_truthy(shown:find("VRFY <20 bytes hidden>", 1, true), shown)
		for _, name in ipairs(folder.list(told.folder)) do
			local text = run.read(told.folder .. "/" .. name)
			assert.is_nil(text:find("secret", 1, true) or text:find(token, 1, true), name)
		end
		assert.is_truthy(case.parse(run.read(told.folder .. "/min")))
		local list = fuzz.check(steps, { target = target, oracles = "class", confirm = 1 })
		assert.is_truthy(list[1].finding.text:find("<20 bytes hidden>", 1, true))
	end)
end)
