-- The server under test: how it is reached, started, watched and started again.

local brittle = require "support.brittle"
local failure = require "smtptest.failure"
local secret = require "smtptest.secret"
local run = require "support.run"
local targets = require "smtptest.fuzz.target"
local task = require "smtptest.task"
local wire = require "smtptest.wire"

local function raised(fn, ...)
	local ok, err = pcall(fn, ...)
	assert.is_false(ok)
	assert.is_true(failure.is(err), tostring(err))
	return err
end

describe("target.new", function()
	it("reads the password once", function()
		local path = run.file("password", "wordly\nmore\n")
		local plan = { host = "127.0.0.1", port = 25, password = secret.file(path, "--password-file") }
		assert.equal("wordly", targets.new { plan = plan }.plan.password)
		assert.is_function(plan.password)
		assert.is_nil(targets.new { plan = { host = "127.0.0.1" } }.plan.password)
	end)

	it("says which password cannot be read", function()
		local path = run.scratch "no-password"
		local err = raised(targets.new, { plan = { password = secret.file(path, "--password-file") } })
		assert.equal("ENOENT", err.code)
		assert.is_truthy(tostring(err):find("^%-%-password%-file: .*no%-password"), tostring(err))
		err = raised(targets.new, { plan = { password = function() return nil end } })
		assert.equal("EINVAL", err.code)
	end)
end)

describe("target.start", function()
	it("waits for a reply as long as the plan says, or half a minute", function()
		assert.equal(30, targets.new { plan = {} }.patience)
		assert.equal(7, targets.new { plan = { timeout = 7 } }.patience)
	end)

	it("knows the usual ports by name", function()
		local target = targets.new { plan = { host = "127.0.0.2", protocol = "lmtp", timeout = 1 } }
		local err = raised(target.start, target)
		assert.is_truthy(err.message:find("127.0.0.2:lmtp does not answer: ", 1, true), err.message)
		assert.equal(24, target.address.port)
	end)
end)

describe("target.recover", function()
	local function started(port)
		local target = targets.new { plan = { host = "127.0.0.1", port = port }, spawn = brittle.words("", "{port}"),
			log = run.scratch "recover.log" }
		return target:start()
	end

	-- Somebody else on its port, from now on.
	local function occupy(target)
		target:kill()
		return assert(wire.listen { family = "inet", host = "127.0.0.1", port = target.plan.port })
	end

	it("starts the server again", function()
		local target <close> = started(0)
		target.process:kill("KILL", true)
		assert.equal("SIGKILL", (target:dead(5)))
		assert.is_true(target:recover())
		assert.same({ 2, true }, { target.starts, (target:answers()) })
	end)

	it("waits for a port that somebody else still has", function()
		local target <close> = started(0)
		local other = occupy(target)
		task.spawn(function()
			task.sleep(0.5)
			other:close()
		end)
		assert.is_true(target:recover())
		assert.is_false(target.gone)
	end)

	it("gives up in the end, and does not try again", function()
		local target <close> = started(0)
		local _ <close> = occupy(target)
		target.patience = 0.2
		local begin = task.now()
		target.stop = function() return task.now() - begin > 0.5 end
		assert.is_false(target:recover())
		assert.is_true(target.gone)
		assert.is_true(task.now() - begin < 5)
		local starts = target.starts
		assert.is_false(target:recover())
		assert.equal(starts, target.starts)
		assert.is_nil(target:dead())
	end)

	it("waits for one that is not ours until it is told to stop", function()
		local target = targets.new { plan = { host = "127.0.0.1", port = run.closed_port() } }
		target.address = { family = "inet", host = "127.0.0.1", port = target.plan.port }
		local asked = 0
		target.stop = function()
			asked = asked + 1
			return asked == 3
		end
		assert.is_false(target:recover())
		assert.same({ true, 3 }, { target.gone, asked })
	end)
end)
