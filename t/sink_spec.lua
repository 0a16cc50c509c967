local run = require "support.run"
local sink = require "smtptest.sink"

describe("a sink", function()
	it("is one for a path, and counts connections", function()
		local path = run.file("sink", "old")
		local one = sink.open(path, "--log", "head\n")
		assert.equal(one, sink.open(path, "--log", "head\n"))
		assert.equal(1, one:connection())
		assert.equal(2, one:connection())
		one:write "line\n"
		assert.equal("head\nline\n", run.read(path))
		assert.is_nil(sink.close_all())
	end)

	it("says what went wrong when it is closed, and raises nothing before and after", function()
		if not io.open "/dev/full" then return pending "no /dev/full" end
		local one = sink.open("/dev/full", "--log")
		for _ = 1, 3 do one:write "line\n" end
		assert.equal("--log: /dev/full: No space left on device", sink.close_all())
		one:write "late\n"
		assert.is_nil(sink.close_all())
	end)

	it("raises what keeps it from being opened", function()
		local ok, err = pcall(sink.open, "/nosuch/file", "--log")
		assert.is_false(ok)
		assert.equal("--log: /nosuch/file: No such file or directory", tostring(err))
		assert.equal(1, err.status)
	end)
end)
