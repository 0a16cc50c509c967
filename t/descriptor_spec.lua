-- Reading and writing what may belong to others as well; through files, as terminals do it the same way.

local child = require "child"
local file = require "smtptest.core.file"
local process = require "smtptest.core.process"

describe("a regular file", function()
	it("is always ready, also at its end", function()
		local path = os.tmpname()
		local f <close> = assert(file.open(path))
		assert.is_true(f:ready())
		os.remove(path)
	end)
end)

describe("a full device", function()
	it("is told", function()
		local f = file.open("/dev/full", "w")
		if not f then
			pending("there is no /dev/full here")
			return
		end
		local count, message, code = f:write("x")
		assert.is_nil(count)
		assert.equal("write: No space left on device", message)
		assert.equal("ENOSPC", code)
	end)
end)

describe("a pipe", function()
	it("is ready when there is something or the end", function()
		local reader, writer = file.pipe()
		assert.is_false(reader:ready())
		assert.is_false(reader:ready(0.001))
		assert.is_false(reader:ready(0))
		writer:write("x")
		assert.is_true(reader:ready())
		assert.is_true(reader:ready(-1))
		assert.is_true(reader:ready(math.huge))
		assert.equal("x", reader:read(10))
		assert.is_nil(reader:size())
		writer:close()
		assert.is_true(reader:ready())
		assert.equal("EOF", select(3, reader:read(10)))
	end)

	it("whose reader is gone is a failure, not a signal", function()
		local reader, writer = file.pipe()
		reader:close()
		for _ = 1, 2 do
			local count, message, code = writer:write("x")
			assert.is_nil(count)
			assert.equal("write: Broken pipe", message)
			assert.equal("EPIPE", code)
		end
	end)

	it("takes all that is written, however often the kernel stops", function()
		local wc <close> = assert(process.spawn {argv = {"wc", "-c"}, stderr = "inherit"})
		assert.equal(1000000, wc:stdin():write(("x"):rep(1000000)))
		wc:stdin():close()
		assert.equal(1000000, tonumber(wc:stdout():read(100)))
	end)
end)

describe("a descriptor that somebody made non-blocking", function()
	it("is read and written blocking all the same", function()
		-- dd switches what it shares with us, as a shell's neighbour would.
		local p <close> = child.run [[
			local file = require "smtptest.core.file"
			local process = require "smtptest.core.process"
			local child = require "child"
			local dd = {"dd", "count=0", "status=none", "iflag=nonblock", "oflag=nonblock"}
			assert(child.wait(assert(process.spawn {argv = dd,
				stdin = "inherit", stdout = "inherit", stderr = "inherit"})) == "exit")
			local input, output = file.fromfd(0), file.fromfd(1)
			assert(not input:ready())
			assert(output:write(("x"):rep(1000000)))
			assert(output:write(assert(input:read(100))))
		]]
		local got = ""
		while #got < 1000000 do
			got = got .. assert(p:stdout():read(50000))
		end
		p:stdin():write("yes")
		assert.equal("yes", p:stdout():read(100))
		assert.same({"exit", 0}, {child.wait(p)})
	end)
end)
