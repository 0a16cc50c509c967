-- The loop as a host sees it; the library in a C program: t/host.c, with its own loop, beside libsasl's other users, in
-- threads; and what it must not do there.

local poll = require "smtptest.core.poll"
local task = require "smtptest.task"

local HOST = (os.getenv "BUILD" or "build") .. "/host"

-- Runs a shell command → output (errors too), exit status.
local function run(command)
	local pipe = assert(io.popen("{ " .. command .. "\n} 2>&1", "r"))
	local output = pipe:read "a"
	local _, _, status = pipe:close()
	return output, status
end

local SESSIONS = "SCRAM-SHA-256 TLSv1.3 21\nDIGEST-MD5 TLSv1.3 21\nCRAM-MD5 TLSv1.3 21\nPLAIN TLSv1.3 21\n"

local function comes_to(expected, words)
	local output, status = run(HOST .. " " .. words)
	assert.equal(expected, output)
	assert.equal(0, status)
end

describe("the loop's descriptor", function()
	local host
	local function readable(seconds)
		host:want(task.fd(), "r")
		return host:wait(seconds, {}) == 1
	end

	before_each(function()
		host = poll.new()
		host:add(task.fd(), "level")
		while task.step(0) > 0 do task.step(0.001) end
	end)
	after_each(function() host:close() end)

	it("is not readable while nothing is to be done, and stays the same", function()
		local fd = task.fd()
		assert.is_false(readable(0))
		local t = task.spawn(function() task.sleep(60) end)
		assert.is_true(readable(0))
		task.step(0)
		assert.is_false(readable(0))
		assert.equal(fd, task.fd())
		t:cancel()
	end)

	it("is readable when a time has come, and not before", function()
		local from = task.now()
		local t = task.spawn(function() task.sleep(0.05) return "woken" end)
		task.step(0)
		assert.is_true(readable(30))
		assert.is_true(task.now() - from >= 0.04)
		while task.step(0) > 0 do assert.is_true(readable(30)) end
		assert.equal("woken", t:join())
		assert.is_false(readable(0))
	end)

	it("knows of a later time too, when the first is gone", function()
		local first = task.spawn(function() task.sleep(0.02) end)
		local second = task.spawn(function() task.sleep(0.06) end)
		task.step(0)
		first:cancel()
		local rounds = 0
		while task.step(0) > 0 do
			assert.is_true(readable(30))
			rounds = rounds + 1
		end
		assert.is_true(second:done())
		assert.is_true(rounds < 20, rounds)
	end)

	it("does not wake those who wait inside the loop for nothing", function()
		assert.is_false(readable(0))
		local t = task.spawn(function() task.sleep(0.01) end)
		task.fd()
		t:join()
		task.sleep(0.01)
		task.step(0)
		assert.is_false(readable(0))
	end)
end)

describe("a step without end", function()
	it("ends when something has happened, or when no task is there", function()
		assert.equal(0, task.step(math.huge))
		local t = task.spawn(function() task.sleep(0.01) return 1 end)
		while task.step(math.huge) > 0 do assert.is_false(t:done()) end
		assert.equal(1, t:join())
	end)

	it("is DEADLOCK where nothing can happen, but not where somebody may connect", function()
		local t = task.spawn(function() task.barrier(2):wait() end)
		task.step(0)
		local ok, err = pcall(task.step, math.huge)
		assert.is_false(ok)
		assert.equal("DEADLOCK", err.code)
		t:cancel()
		local server <close> = require "smtptest".listen {}
		server:start()
		task.step(0)
		local caller = require "smtptest.core.socket"
		local s = caller.connect(require "smtptest.wire".resolve({ host = "127.0.0.1", service = tostring(server.port) })[1])
		assert.is_true(task.step(math.huge) > 0)
		s:close()
	end)
end)

describe("a host", function()
	it("runs sessions in its own loop, and gets their results as a table", function()
		comes_to(SESSIONS, "poll")
	end)

	it("that uses libsasl itself keeps its connections, and we have ours, also when it has ended its use", function()
		comes_to(SESSIONS .. SESSIONS, "sasl")
	end)

	it("has a state in each of two threads", function()
		comes_to("10 times two\n", "threads 10")
	end)

	it("is told what went wrong, and finds nothing on its stack otherwise", function()
		comes_to([[
no task: 0, 0 left
no task, for ever: 0, 0 left
one that waits for ever: 1, 0 left
and we with it: -1, 1 left: nothing can happen any more: task 1 waits for barrier
unseen
no modules, fd: -1, 0 left
no modules, step: -1, 1 left: attempt to call a nil value
]], "mistakes")
	end)

	it("finds its signals as they were, nothing written, and lives on", function()
		local output, status = run(HOST .. " quiet")
		assert.equal("", output)
		assert.equal(3, status)
	end)

	-- Where a sandbox refuses ptrace, what stands above is all there is.
	if (os.getenv "SAN" or "") == "" and os.execute "strace -o /dev/null true 2>/dev/null" then
		it("sees no system call of ours that would change signals, end the process or write to its streams", function()
			local output = run("strace -f -qq -e signal=none -e trace=rt_sigaction,exit_group,kill,tgkill,write,writev,pwrite64 "
				.. HOST .. " quiet")
			local ends = 0
			for line in output:gmatch "[^\n]+" do
				local call, rest = line:match "([%l%d_]+)%((.*)"
				if call == "exit_group" then
					ends = ends + 1
					assert.matches("^3%)", rest)    -- the host's own
				elseif call == "rt_sigaction" then
					-- A question; or glibc's, for its own use, when a thread starts.
					assert.is_true(rest:find "^SIG[%w_]+, NULL," ~= nil or rest:find "^SIGRT_1, " ~= nil, line)
				elseif call == "write" then
					assert.is_true(tonumber(rest:match "^%d+") > 2, line)
				elseif call then
					error(line)
				end
			end
			assert.equal(1, ends, output)
		end)
	end
end)
