-- The server under test: how it is reached, started, watched and started again.

local failure = require "smtptest.failure"
local secret = require "smtptest.secret"
local run = require "support.run"
local targets = require "smtptest.fuzz.target"

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
