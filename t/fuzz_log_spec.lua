-- A log that is watched, of a server that we start.

local brittle = require "support.brittle"
local fuzz = require "smtptest.fuzz"
local run = require "support.run"

describe("fuzz.run with a log", function()
	it("finds again what the log of the one server has told", function()
		local log = run.file("watched.log", "")
		local words = brittle.words(([[
			if line:find "^HELP me" then
				io.open(%q, "a"):write("ERROR: AddressSanitizer: heap-x\n"):close()
			end]]):format(log), "{port}")
		local result = fuzz.run { target = { host = "127.0.0.1", port = 0 }, spawn = words, watch_log = log, runs = 20,
			shrink = false, oracles = "death", case = function() return { "EHLO a.test", "HELP me" } end }
		assert.same({}, result.unstable)
		assert.equal(1, #result.findings)
		assert.equal("death/AddressSanitizer heap-x/HELP", result.findings[1].signature)
		assert.is_false(result.gone)
	end)
end)
