-- Programs that a script starts.

local failure = require "smtptest.failure"
local run = require "support.run"
local smtptest = require "smtptest"
local source = require "smtptest.source"
local task = require "smtptest.task"

local process = smtptest.process

local LIMIT = 30

local function shell(script, options)
	local all = { argv = { "sh", "-c", script } }
	for name, value in pairs(options or {}) do all[name] = value end
	return process.spawn(all)
end

local function refused(options, pattern)
	local ok, err = pcall(process.spawn, options)
	assert.is_false(ok)
	assert.matches(pattern, tostring(err))
	return err
end

-- Whether somebody of a process group runs; the group of a process that we did not start.
local function runs(pid)
	local result = run.command({ "-u", "LD_PRELOAD", "ps", "-eo", "pgid=,stat=" }, { program = "env" })
	for group, state in result.out:gmatch "(%d+) +(%a)" do
		if tonumber(group) == pid and state ~= "Z" then return true end
	end
	return false
end

local function eventually_gone(pid)
	local deadline = task.now() + LIMIT
	while runs(pid) do
		assert.truthy(task.now() < deadline, "still there")
		task.sleep(0.02)
	end
end

describe("a process", function()
	it("has streams, and an end that it tells for ever", function()
		local p <close> = shell "read x; echo got $x; echo bad >&2; exit 3"
		assert.is_true(p:alive())
		assert.is_nil(p.status)
		assert.matches("^smtptest%.process: sh %(pid %d+%), running$", tostring(p))
		assert.is_true(p.stdin:write "abc\n")
		assert.equal("got abc", p.stdout:line(LIMIT))
		assert.equal("bad", p.stderr:line(LIMIT))
		for _ = 1, 2 do assert.same({ "exit", 3 }, { p:wait(LIMIT) }) end
		assert.same({ 3, nil, false }, { p.status, p.signal, p:alive() })
		assert.matches("exit status 3$", tostring(p))
		assert.equal("got abc\nbad\n", p:output())
		assert.is_true(p:close())
		assert.is_true(p:close())
		assert.same({ "exit", 3 }, { p:wait() })
		assert.equal("got abc\nbad\n", p:output())
	end)

	it("that died of a signal is told apart from one that ended", function()
		local p <close> = shell "kill -s TERM $$"
		assert.same({ "signal", "TERM" }, { p:wait(LIMIT) })
		assert.same({ nil, "TERM" }, { p.status, p.signal })
		assert.matches("signal TERM$", tostring(p))
		local q <close> = process.spawn { argv = { "sleep", "1000" } }
		assert.is_true(q:kill "SIGUSR1")
		assert.same({ "signal", "USR1" }, { q:wait(LIMIT) })
		assert.equal("ESRCH", select(3, q:kill()))
		assert.has_error(function() q.stdin:write(1) end, "bad bytes (string expected, got number)")
	end)

	it("is waited for no longer than wait says", function()
		local p <close> = process.spawn { argv = { "sleep", "1000" } }
		local how, message, code = p:wait(0.01)
		assert.is_nil(how)
		assert.equal("sleep: still running after 0.01 s", message)
		assert.equal("TIMEOUT", code)
		assert.equal("TIMEOUT", select(3, p:wait(0)))
		assert.has_error(function() p:kill "NOSUCH" end)
	end)

	it("lets other tasks go on while one waits for it", function()
		local p <close> = process.spawn { argv = { "cat" } }
		local reader = task.spawn(function() return p.stdout:line(LIMIT) end)
		local waiter = task.spawn(function() return p:wait(LIMIT) end)
		assert.is_true(p.stdin:write "across\n")
		assert.equal("across", reader:join(LIMIT))
		assert.is_false(waiter:done())
		p.stdin:close()
		assert.same({ "exit", 0 }, { waiter:join(LIMIT) })
	end)

	it("has the environment, the folder and the words that it is given", function()
		local p <close> = shell("echo \"$NAME-$HOME-$1\"; pwd", { env = { NAME = "v" }, cwd = "/",
			argv = { "/bin/sh", "-c", "echo \"$NAME-$HOME-$1\"; pwd", "sh", "a b" } })
		p:wait(LIMIT)
		assert.equal("v--a b\n/\n", p:output())
	end)

	it("adds its output to a log", function()
		local path = run.file("process.log", "before\n")
		for _ = 1, 2 do
			local p <close> = shell("echo out; echo err >&2", { log = path })
			p:wait(LIMIT)
		end
		local handle <close> = assert(io.open(path))
		local text = handle:read "a"
		assert.equal(#"before\n" + 2 * #"out\nerr\n", #text)
		assert.matches("^before\n", text)
		refused({ argv = { "true" }, log = run.scratch "no/such" }, "^spawn: open .*/no/such: No such file or directory$")
	end)

	it("whose log can't be written says so with its output", function()
		local p <close> = shell("echo out", { log = "/dev/full" })
		p:wait(LIMIT)
		assert.equal("out\n\n(log: write: No space left on device)", p:output())
	end)

	-- A full pipe that nobody reads stops a server for good.
	it("may say more than anybody reads, and the last of it is kept", function()
		local p <close> = shell "yes 0123456789abcde | head -c 4000000; echo; echo the end"
		assert.same({ "exit", 0 }, { p:wait(LIMIT) })
		local said = p:output()
		assert.equal(65536, #said)
		assert.matches("0123456789abcde\n\nthe end\n$", said)
		local bytes, message, code = p.stdout:read()
		assert.is_nil(bytes)
		assert.matches("^%d+ bytes were lost: nobody read them in time$", message)
		assert.equal("TOOLONG", code)
		local rest = p.stdout:read(4000000, 0)
		assert.truthy(#rest >= 1 << 20 and #rest < (1 << 20) + 65536)
		assert.same({ nil, "end of file", "EOF" }, { p.stdout:read() })
	end)

	it("uses a misspelt option, or a bad one, for nothing", function()
		refused({ argv = { "true" }, redy = "x" }, "unknown option 'redy' %(did you mean 'ready'%?%)$")
		refused({}, "option 'argv': expected a list of words, got a nil$")
		for _, value in ipairs { "true", {}, { 1 }, { "a\0" } } do
			refused({ argv = value }, "option 'argv': expected a list of words, got a ")
		end
		for _, value in ipairs { "A=b", { 1 }, { ["A=B"] = "c" }, { [""] = "c" }, { A = 1 } } do
			refused({ argv = { "true" }, env = value }, "option 'env': expected a table of NAME = value, got a ")
		end
		refused({ argv = { "true" }, ready = "(" }, "option 'ready': unfinished capture")
		refused({ argv = { "true" }, ready = "tcp:nowhere" }, "option 'ready': expected tcp:HOST:PORT, got tcp:nowhere$")
		refused({ argv = { "true" }, ready = 1 }, "option 'ready': expected string or function, got a number$")
		refused({ argv = { "true" }, timeout = "1" }, "option 'timeout'")
		local ok, err = pcall(function() process.spawn { argv = { "true" }, nosuch = 1 } end)
		assert.is_false(ok)
		assert.matches("process_spec%.lua:%d+: unknown option 'nosuch'", err)
	end)

	it("that can't be started is one error with a code", function()
		local err = refused({ argv = { "smtptest-nosuch" } },
			"^spawn: execve smtptest%-nosuch: No such file or directory$")
		assert.is_true(failure.is(err))
		assert.equal("ENOENT", err.code)
		assert.equal("ENOENT", refused({ argv = { "true" }, cwd = "/nosuch" }, "^spawn: chdir /nosuch: ").code)
	end)
end)

describe("ready", function()
	it("is a pattern in what stdout or stderr says, in pieces too", function()
		for _, fd in ipairs { 1, 2 } do
			local p <close> = shell(("{ printf 'I am re'; sleep 0.05; echo ady; exec cat; } >&%d"):format(fd),
				{ ready = "re%a+y\n", timeout = LIMIT })
			assert.is_true(p:alive())
			assert.equal("I am ready\n", p:output())
			assert.equal("I am ready", (fd == 1 and p.stdout or p.stderr):line(0))
		end
	end)

	it("is a pattern among much else", function()
		local p <close> = shell("yes | head -c 300000; echo; echo up; yes | head -c 300000; exec cat", { ready = "\nup\n",
			timeout = LIMIT })
		assert.is_true(p:alive())
	end)

	it("is a function that says so", function()
		local asked = {}
		local p <close> = process.spawn { argv = { "cat" }, timeout = LIMIT, ready = function(one)
			asked[#asked + 1] = one
			return #asked == 3
		end }
		assert.same({ p, p, p }, asked)
	end)

	it("is a connection, over TCP or a UNIX socket", function()
		local port, path = run.free_port(), run.scratch "ready.socket"
		for ready, words in pairs { ["tcp:127.0.0.1:" .. port] = { "-p", tostring(port), "127.0.0.1" },
			["tcp:localhost:" .. port] = { "-p", tostring(port), "127.0.0.1" },
			["unix:" .. path] = { "--unix=" .. path } } do
			local argv = { run.program, "--serve", table.unpack(words) }
			local p <close> = process.spawn { argv = argv, ready = ready, timeout = LIMIT }
			assert.matches("^listening on ", p.stdout:line(LIMIT))
			p:kill "INT"
			assert.same({ "exit", 0 }, { p:wait(LIMIT) })
		end
	end)

	it("that never comes is a time-out, with the reason and the last words", function()
		local p
		local err = refused({ argv = { "sh", "-c", "echo no luck; exec cat" }, ready = function(one)
			p = one
			return false
		end, timeout = 0.2 }, "^spawn: sh: not ready after 0%.2 s %(function%); it said: no luck$")
		assert.same({ "TIMEOUT", "no luck\n", 7 }, { err.code, err.output, err.status })
		assert.truthy(err.elapsed >= 0.2)
		assert.same({ "signal", "TERM" }, { p:wait() })
		local port = run.closed_port()
		refused({ argv = { "cat" }, ready = "tcp:127.0.0.1:" .. port, timeout = 0.05 },
			("^spawn: cat: not ready after 0%%.05 s %%(tcp:127.0.0.1:%d: connect: Connection refused%%); it said nothing$"):format(
				port))
		refused({ argv = { "cat" }, ready = "unix:/nosuch", timeout = 0.05 }, "%(unix:/nosuch: .-No such file or directory%)")
	end)

	it("that can't come any more is told at once, with how it ended", function()
		local port = run.closed_port()
		for _, ready in ipairs { "up", "tcp:127.0.0.1:" .. port, function() return false end } do
			local err = refused({ argv = { "sh", "-c", "echo one; echo two >&2; exit 4" }, ready = ready },
				"^spawn: sh: ended with exit status 4 before it was ready %(.*%); it said: one / two$")
			assert.equal("EOF", err.code)
		end
		refused({ argv = { "sh", "-c", "kill -s KILL $$" }, ready = "up" }, "ended with signal KILL before it was ready %(up%)")
	end)

	it("is found in the last words, too", function()
		local p <close> = shell("echo up", { ready = "up" })
		assert.same({ "exit", 0 }, { p:wait(LIMIT) })
	end)

	-- A launcher goes, the server in its group stays.
	it("may come when the launcher has ended well", function()
		local p <close> = shell("sleep 1000 & exit 0", { timeout = LIMIT, ready = function(one) return not one:alive() end })
		assert.same({ "exit", 0 }, { p:wait() })
		assert.is_true(runs(p.pid))
		p:close()
		eventually_gone(p.pid)
	end)

	it("that raises ends the process", function()
		local p
		local err = refused({ argv = { "cat" }, ready = function(one)
			p = one
			error "my own"
		end }, "my own$")
		assert.is_string(err)
		assert.same({ "signal", "TERM" }, { p:wait() })
	end)

	it("is not waited for by who is canceled, and nothing stays", function()
		local p
		local t = task.spawn(process.spawn, { argv = { "cat" }, ready = function(one)
			p = one
			task.sleep(LIMIT)
		end })
		while not p do task.sleep(0) end
		t:cancel()
		assert.same({ "signal", "TERM" }, { p:wait(LIMIT) })
	end)
end)

describe("the end of a process", function()
	local STUBBORN = "trap '' TERM; echo up; while :; do sleep 1; done"

	it("is that of its whole group", function()
		local p = shell("sleep 1000 & sh -c 'sleep 1000; :' & echo up; wait", { ready = "up" })
		assert.is_true(runs(p.pid))
		p:close()
		assert.is_false(runs(p.pid))
		assert.same({ "signal", "TERM" }, { p:wait() })
	end)

	it("is KILL for what does not mind TERM, while other tasks go on", function()
		local ticks = 0
		local ticker = task.spawn(function()
			while true do
				task.sleep(0.1)
				ticks = ticks + 1
			end
		end)
		local p = shell(STUBBORN, { ready = "up" })
		local from = task.now()
		p:close()
		ticker:cancel()
		local took = task.now() - from
		assert.truthy(took >= 5 and took < 8, took)
		assert.truthy(ticks > 10)
		assert.same({ "signal", "KILL" }, { p:wait() })
		assert.is_false(runs(p.pid))
	end)

	it("comes with its scope, and an error on its way gets the last words along", function()
		local p
		local ok, err = pcall(function()
			local q <close> = shell("echo oops; exec cat", { ready = "oops" })
			p = q
			error(failure.new { code = "EOF", message = "x" })
		end)
		assert.is_false(ok)
		assert.equal("oops\n", err.output)
		assert.same({ "signal", "TERM" }, { p:wait() })
	end)

	it("comes with its last reference: TERM at once, KILL later, and nobody waits", function()
		local from = task.now()
		local pids = {}
		for i, script in ipairs { "echo up; sleep 1000 & wait", STUBBORN } do
			pids[i] = shell(script, { ready = "up" }).pid
		end
		local output = shell("echo up; exec cat", { ready = "up" }).stdout
		collectgarbage()
		collectgarbage()
		assert.truthy(task.now() - from < 4)
		for _, pid in ipairs(pids) do eventually_gone(pid) end
		assert.truthy(task.now() - from >= 5)
		-- Who can read it still has it.
		assert.equal("up", output:line(0))
		assert.is_true(output.owner:alive())
		output.owner:close()
	end)

	it("comes to a canceled task's", function()
		local p
		local t = task.spawn(function()
			local q <close> = process.spawn { argv = { "cat" } }
			p = q
			task.sleep(LIMIT)
		end)
		while not p do task.sleep(0) end
		t:cancel()
		assert.same({ "signal", "TERM" }, { p:wait() })
	end)

	it("comes to all with close_all, and nothing of them stays in the loop", function()
		collectgarbage()
		collectgarbage()
		process.close_all()
		local before = 0
		for _ in pairs(source.all) do before = before + 1 end
		local list = {}
		for i = 1, 5 do
			list[i] = shell("sleep 1000 & echo up; wait", { ready = "up" })
			list[i].stdin:write "x"
		end
		process.close_all()
		for _, p in ipairs(list) do assert.same({ "signal", "TERM" }, { p:wait() }) end
		local after = 0
		for _ in pairs(source.all) do after = after + 1 end
		assert.equal(before, after)
	end)

	-- Each has four descriptors while it runs.
	it("gives its descriptors back without close", function()
		local kept = {}
		for i = 1, 300 do
			kept[i] = process.spawn { argv = { "true" } }
			assert.same({ "exit", 0 }, { kept[i]:wait(LIMIT) })
		end
	end)
end)
