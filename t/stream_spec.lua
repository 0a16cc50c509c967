local file = require "smtptest.core.file"
local stream = require "smtptest.stream"
local task = require "smtptest.task"

local LIMIT = 30

local heard

-- A reader, and the other end of its pipe.
local function reader()
	local mine, theirs = file.pipe()
	heard = {}
	local pipe = stream.pipe(mine, function(bytes) heard[#heard + 1] = bytes end)
	return stream.reader(pipe), theirs
end

local function writer()
	local theirs, mine = file.pipe()
	return stream.writer(stream.input(mine)), theirs
end

describe("a stream that is read", function()
	it("gives what is there, and its end", function()
		local r, w = reader()
		w:write "abcdef"
		assert.equal("ab", r:read(2, LIMIT))
		assert.equal("cdef", r:read(nil, 0))
		assert.equal("TIMEOUT", select(3, r:read(1, 0)))
		assert.equal("TIMEOUT", select(3, r:read(1, 0.01)))
		w:write "gh"
		w:close()
		assert.equal("gh", r:read(10))
		for _ = 1, 2 do assert.same({ nil, "end of file", "EOF" }, { r:read(10) }) end
		assert.same({ "abcdef", "gh" }, heard)
	end)

	it("gives lines without LF, the last one as it is", function()
		local r, w = reader()
		w:write "one\n\ntwo\r\nthr"
		assert.same({ "one", "", "two\r" }, { r:line(), r:line(), r:line() })
		assert.equal("TIMEOUT", select(3, r:line(0.01)))
		w:write "ee\nfour"
		assert.equal("three", r:line(LIMIT))
		w:close()
		assert.equal("four", r:line(LIMIT))
		assert.equal("EOF", select(3, r:line()))
		assert.equal("EOF", select(3, r:read()))
	end)

	it("lets other tasks go on, and several may wait", function()
		local r, w = reader()
		local first, second = task.spawn(r.line, r, LIMIT), task.spawn(r.line, r, LIMIT)
		task.sleep(0)
		w:write "a\nb\n"
		assert.same({ "a", "b" }, { first:join(LIMIT), second:join(LIMIT) })
		local waiting = task.spawn(function() return r:line() end)
		task.sleep(0)
		r:close()
		assert.equal("EBADF", select(3, waiting:join(LIMIT)))
		assert.is_true(r:close())
		w:close()
	end)

	it("refuses an endless line, whose bytes can still be read", function()
		local r, w = reader()
		local long = ("x"):rep(65536)
		local got = 0
		local t = task.spawn(function() return r:line(LIMIT) end)
		for _ = 1, 17 do
			w:write(long)
			task.sleep(0)
			task.sleep(0)
		end
		local line, _, code = t:join(LIMIT)
		assert.is_nil(line)
		assert.equal("TOOLONG", code)
		w:close()
		repeat
			local bytes = r:read(100000)
			got = got + (bytes and #bytes or 0)
		until not bytes
		assert.equal(17 * 65536, got)
	end)

	it("waiting for nothing is no deadlock: a process may still speak", function()
		local r, w = reader()
		local t = task.spawn(function()
			task.sleep(0.01)
			w:write "x\n"
		end)
		assert.equal("x", r:line(math.huge))
		t:join()
		w:close()
		r:close()
	end)

	-- One that is due before them kept them all.
	it("leaves no timers behind", function()
		local r, w = reader()
		local sleeper = task.spawn(task.sleep, 100)
		local t = task.spawn(function()
			while r:line() do end
		end)
		for _ = 1, 2000 do
			w:write "x\n"
			task.sleep(0)
			task.sleep(0)
		end
		w:close()
		t:join(LIMIT)
		sleeper:cancel()
		assert.truthy(#require "smtptest.schedule".timers < 500)
	end)
end)

describe("a stream that is written", function()
	it("takes everything, however slowly it is read", function()
		local w, r = writer()
		local text = ("0123456789"):rep(30000)
		local t = task.spawn(w.write, w, text, LIMIT)
		task.sleep(0)
		assert.equal("BUSY", select(3, w:write "x"))
		local pieces = {}
		while not t:done() do
			while r:ready(0) do pieces[#pieces + 1] = r:read(5000) end
			task.step(0.01)
		end
		assert.is_true(t:join())
		while r:ready(0) do pieces[#pieces + 1] = r:read(5000) end
		assert.truthy(table.concat(pieces) == text)
		w:close()
		assert.equal("EOF", select(3, r:read(1)))
		assert.equal("EBADF", select(3, w:write "x"))
		assert.is_true(w:close())
	end)

	it("is waited for no longer than it says", function()
		local w, r = writer()
		assert.equal("TIMEOUT", select(3, w:write(("x"):rep(1 << 20), 0.02)))
		r:close()
		assert.equal("EPIPE", select(3, w:write "x"))
		assert.is_true(w:write "")
	end)

	it("is free again when the task that wrote is canceled", function()
		local w, r = writer()
		local t = task.spawn(w.write, w, ("x"):rep(1 << 20))
		task.sleep(0)
		task.sleep(0)
		t:cancel()
		while r:ready(0) do r:read(65536) end
		assert.is_true(w:write("y", LIMIT))
		assert.equal("y", r:read(10))
	end)
end)
