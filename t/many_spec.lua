-- Thousands of sessions at once against our own server, both in one process.

local child = require "child"
local run = require "support.run"

-- With a sanitizer all is ten times as slow.
local SESSIONS = (os.getenv "SAN" or "") == "" and 2000 or 300

local SCRIPT = [[
local smtptest = require "smtptest"
local N = ]] .. SESSIONS .. [[

local server <close> = smtptest.listen { keep = false }
server:start()
local barrier = smtptest.task.barrier(N)
local function kilobytes()
	collectgarbage()
	collectgarbage()
	return collectgarbage "count"
end
local before, during = kilobytes()
local tasks = {}
for i = 1, N do
	tasks[i] = smtptest.task.spawn(function()
		local s <close> = smtptest.connect { host = "127.0.0.1", port = server.port, timeout = 60 }
		s:ehlo():expect(250)
		assert(barrier:wait())
		during = during or kilobytes()
		s:mail("a@b.test"):expect(250)
		s:rcpt("c@d.test"):expect(250)
		s:data("x"):expect(250)
		s:quit():expect(221)
		return 1
	end)
end
local done = 0
for _, one in ipairs(tasks) do done = done + one:join() end
io.write(done, " ", server.received, " ", (during - before) / N, "\n")
]]

-- Runs argv with descriptors for both ends of each session.
local function play(argv, env)
	local need = 2 * SESSIONS + 100
	local result = run.command({ "-c", ("ulimit -n %d || exit 99; exec \"$@\""):format(need), "sh", table.unpack(argv) },
		{ program = "sh", env = env, limit = 120 })
	if result.status == 99 then return pending(("no %d descriptors here"):format(need)) end
	assert.are.equal(0, result.status, result.err)
	local done, received, size = result.out:match "^(%d+) (%d+) ([%d.]+)\n$"
	assert.are.equal(SESSIONS, tonumber(done))
	assert.are.equal(SESSIONS, tonumber(received))
	-- Both ends; some 15 kB where this was written.
	assert.is_truthy(tonumber(size) < 40, size .. " kB a session")
end

describe(SESSIONS .. " sessions at once", function()
	it("are served by the command, in one process", function()
		play { run.program, "-e", SCRIPT }
	end)

	it("are served in plain Lua", function()
		play(child.argv(SCRIPT))
	end)
end)
