-- What is learnt on clean sessions, and what a server does not survive of them.

local brittle = require "support.brittle"
local calibrate = require "smtptest.fuzz.calibrate"
local run = require "support.run"
local targets = require "smtptest.fuzz.target"

local function calibrated(defect)
	local target = targets.new { plan = { host = "127.0.0.1", port = 0 }, spawn = brittle.words(defect),
		log = run.scratch "calibrate.log" }
	target:start()
	calibrate.run(target)
	return target
end

local function sent(steps)
	local list = {}
	for _, step in ipairs(steps) do list[#list + 1] = step.bytes end
	return table.concat(list)
end

describe("calibrate", function()
	it("suspects nothing of a good server", function()
		local target <close> = calibrated ""
		assert.same({}, target.suspects)
		assert.equal(math.huge, target.traits.long)
		assert.equal(1, target.starts)
	end)

	it("goes on behind what kills the server, and remembers it", function()
		local target <close> = calibrated "if #line > 1000 then os.exit(3) end"
		assert.equal(1, #target.suspects)
		assert.equal(1100, target.traits.long)
		assert.equal("EHLO probe.test\r\nXZQZ " .. ("a"):rep(1100) .. "\r\nNOOP\r\n", sent(target.suspects[1].steps))
		local names = {}
		for _, step in ipairs(target.suspects[1].steps) do names[#names + 1] = step.step end
		assert.equal("connect reply send reply send", table.concat(names, " "))
		assert.equal(2, target.starts)
		assert.same({}, target.closing)
		assert.is_true((target:answers()))
	end)

	it("is patient with a greeting that comes late, and only with that", function()
		local target <close> = calibrated "if line == '' then require 'smtptest.task'.sleep(0.3) end"
		assert.same({}, target.suspects)
		assert.is_true(target.patience > 0.6 and target.patience < 5, target.patience)
		assert.is_true(target.settle < 0.05)
		assert.is_true((target:answers()))
	end)

	it("says what the server got last where it does not come back", function()
		local flag = run.scratch "once"
		local ok, err = pcall(calibrated, ([[
			if #line > 1000 then
				io.open(%q, "w"):close()
				os.exit(3)
			end
			if line == "" and io.open(%q) then os.exit(4) end]]):format(flag, flag))
		assert.is_false(ok)
		assert.equal("EOF", err.code)
		assert.matches("^fuzz: 127%.0%.0%.1:%d+ does not answer any more %(exit 3%); it got %d+ bytes last: .*a\\r\\nNOOP\\r\\n$",
			tostring(err))
	end)

	it("remembers a command that kills, and does not take it for a habit", function()
		local target <close> = calibrated "if line:find '^HELP' then os.exit(3) end"
		assert.equal("EHLO probe.test\r\nHELP\r\n", sent(assert(target.suspects[1]).steps))
		assert.equal(1, #target.suspects)
		assert.is_nil(target.traits.bounds.HELP)
	end)
end)
