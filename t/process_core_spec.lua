local poll = require "smtptest.core.poll"
local socket = require "smtptest.core.socket"
local child = require "child"
local variant = require "variant"

-- A sanitizer's LD_PRELOAD is unset for ps, which may hang with it.

-- What is true of both.
local function behaves(process, name)
	local function run(argv, more)
		local options = {argv = argv, stdin = "null", stderr = "inherit"}
		for key, value in pairs(more or {}) do options[key] = value end
		return assert(process.spawn(options))
	end

	describe("a process with " .. name, function()
		it("has a status", function()
			for _, status in ipairs {0, 1, 127, 255} do
				local p <close> = run {"sh", "-c", "exit " .. status}
				assert.same({"exit", status}, {child.wait(p)})
				assert.same({"exit", status}, {p:wait()})
				assert.is_false(p:alive())
			end
		end)

		it("that died of a signal says which", function()
			for signal, number in pairs {TERM = 15, KILL = 9, SIGINT = 2, [10] = 10} do
				local p <close> = run {"sleep", "1000"}
				assert.is_true(p:alive())
				assert.is_true(p:kill(signal))
				assert.same({"signal", number}, {child.wait(p)})
			end
			local p <close> = run {"sleep", "1000"}
			assert.is_true(p:kill())
			assert.same({"signal", 15}, {child.wait(p)})
		end)

		it("runs until it ends: wait never waits", function()
			local p <close> = run({"cat"}, {stdin = "pipe"})
			local kind, message, code = p:wait()
			assert.is_nil(kind)
			assert.equal("wait: Resource temporarily unavailable", message)
			assert.equal("EAGAIN", code)
			local set <close> = poll.new()
			set:add(p:fd(), "level")
			set:want(p:fd(), "r")
			assert.equal(0, set:wait(0, {}))
			p:stdin():close()
			assert.equal(1, set:wait(30, {}))
			set:remove(p:fd())
			assert.same({"exit", 0}, {child.wait(p)})
		end)

		it("has three streams", function()
			local p <close> = run({"sh", "-c", "cat; echo error >&2"},
				{stdin = "pipe", stderr = "pipe"})
			p:stdin():write("through\0it")
			p:stdin():close()
			assert.equal("through\0it", child.all(p:stdout()))
			assert.equal("error\n", child.all(p:stderr()))
		end)

		it("may have one stream for output and errors", function()
			local p <close> = run({"sh", "-c", "echo one; echo two >&2; echo three"},
				{stderr = "stdout"})
			assert.is_nil(p:stderr())
			assert.equal("one\ntwo\nthree\n", child.all(p:stdout()))
		end)

		it("may have no streams", function()
			local p <close> = run({"sh", "-c", "cat; echo lost; echo lost >&2"},
				{stdout = "null", stderr = "null"})
			assert.is_nil(p:stdin())
			assert.is_nil(p:stdout())
			assert.is_nil(p:stderr())
			assert.same({"exit", 0}, {child.wait(p)})
		end)

		it("has no descriptor of ours but those", function()
			local another <close> = run({"cat"}, {stdin = "pipe"})
			local set <close> = poll.new()
			local a <close>, b = socket.pair()
			local descriptors = {another:stdin():fd(), another:stdout():fd(), another:fd(),
				a:fd(), b:fd(), set:fd()}
			local p <close> = run {"sh", "-c",
				"for fd; do test -h /proc/$$/fd/$fd && echo $fd; done", "sh",
				1, table.unpack(descriptors)}
			local open = child.all(p:stdout())
			if open == "" then
				pending("there is no /proc/self/fd here")
				return
			end
			assert.equal("1\n", open)
		end)

		it("has its arguments as they are", function()
			local arguments = {"", " ", "a b", "'\"$x`", "\xff\n", "-n", "7"}
			local p <close> = run {"printf", "<%s>", table.unpack(arguments)}
			assert.equal("<" .. table.concat(arguments, "><") .. ">", child.all(p:stdout()))
			local many = {"sh", "-c", "echo $#", "sh"}
			for i = 1, 5000 do many[#many + 1] = i end
			local q <close> = run(many)
			assert.equal("5000\n", child.all(q:stdout()))
		end)

		it("has our environment, or the one that it is given", function()
			local p <close> = run {"sh", "-c", "echo $HOME"}
			assert.equal(os.getenv("HOME") .. "\n", child.all(p:stdout()))
			local q <close> = run({"env"}, {env = {ONE = "1", TWO = "a=b c", THREE = 3}})
			local lines = {}
			for line in child.all(q:stdout()):gmatch("[^\n]+") do lines[#lines + 1] = line end
			table.sort(lines)
			assert.same({"ONE=1", "THREE=3", "TWO=a=b c"}, lines)
			local r <close> = run({"env"}, {env = {}})
			assert.equal("", child.all(r:stdout()))
		end)

		it("may run in another folder", function()
			local p <close> = run({"pwd"}, {cwd = "/"})
			assert.equal("/\n", child.all(p:stdout()))
		end)

		it("leads its own group", function()
			local p <close> = run {"sh", "-c", "unset LD_PRELOAD; ps -o pgid= -p $$"}
			assert.equal(p:pid(), tonumber(child.all(p:stdout())))
		end)

		it("starts with the signals that the system gives", function()
			local script = [[
				local signal = require "smtptest.core.signal"
				local process = require "smtptest.core.process"
				signal.ignore "PIPE"
				signal.ignore "INT"
				local p = process.spawn {argv = {"grep", "^Sig[BI]", "/proc/self/status"},
					stdin = "null", stderr = "inherit"}
				io.write((p:stdout():read(1000)))
			]]
			local p <close> = run(child.argv(script))
			for set, mask in child.all(p:stdout()):gmatch("(%w+):%s*(%x+)") do
				-- 32 and 33 belong to the C library, which lets nobody touch them.
				assert.equal(0, tonumber(mask, 16) & ~(3 << 31), set)
			end
		end)

		it("that died of a signal knows its name", function()
			assert.same({"TERM", "KILL", "63"}, {process.signal(15), process.signal(9), process.signal(63)})
		end)

		it("that cannot start has a reason", function()
			local cases = {
				{{"/nonexistent/program"}, nil,
					"execve /nonexistent/program: No such file or directory", "ENOENT"},
				{{"no-such-program"}, nil,
					"execve no-such-program: No such file or directory", "ENOENT"},
				{{""}, nil, "execve : No such file or directory", "ENOENT"},
				{{"/"}, nil, "execve /: Permission denied", "EACCES"},
				{{"Makefile/x"}, nil, "execve Makefile/x: Not a directory", "ENOTDIR"},
				{{"true"}, "/nonexistent", "chdir /nonexistent: No such file or directory", "ENOENT"},
				{{("x"):rep(10000)}, nil, nil, "ENAMETOOLONG"},
			}
			for i, case in ipairs(cases) do
				local p, message, code = process.spawn {argv = case[1], cwd = case[2]}
				assert.is_nil(p, i)
				assert.equal(case[4], code, i)
				if case[3] then assert.equal(case[3], message, i) end
			end
		end)

		it("takes its whole group along when it is told so", function()
			local p <close> = run {"sh", "-c", "sleep 1000 & echo started; wait"}
			child.expect(p:stdout(), "started")
			assert.is_true(p:kill("KILL", true))
			-- The pipe ends with its last writer.
			assert.equal("", child.all(p:stdout()))
			assert.same({"signal", 9}, {child.wait(p)})
		end)

		it("that ended is not killed: its number may be another's", function()
			local p <close> = run {"true"}
			child.wait(p)
			for _, group in ipairs {false, true} do
				local ok, message, code = p:kill("TERM", group)
				assert.is_nil(ok)
				assert.equal("kill: No such process", message)
				assert.equal("ESRCH", code)
			end
		end)

		-- Whoever is left keeps the number of the group, so that a signal for it never meets a stranger.
		it("that ended may leave others of its group, to whom signals go", function()
			local p <close> = run {"sh", "-c", "trap '' TERM; sleep 1000 & echo"}
			child.expect(p:stdout(), "\n")
			assert.same({"exit", 0}, {child.wait(p)})
			assert.is_false(p:alive())
			assert.is_false(p:gone())
			assert.equal("ESRCH", select(3, p:kill("KILL")))
			assert.is_true(p:kill("KILL", true))
			local deadline = poll.now() + 30
			while not p:gone() and poll.now() < deadline do p:stdout():ready(0.01) end
			assert.is_true(p:gone())
			assert.equal("ESRCH", select(3, p:kill("KILL", true)))
			assert.equal("EOF", select(3, p:stdout():read(1)))
		end)

		it("that somebody else reaped has no status", function()
			local script = [[
				local process = require "smtptest.core.process"
				local poll = require "smtptest.core.poll"
				require "smtptest.core.signal".ignore "CHLD"
				local p = process.spawn {argv = {"true"}}
				local set = poll.new()
				set:add(p:fd(), "level")
				set:want(p:fd(), "r")
				set:wait(30, {})
				local _, _, code
				repeat _, _, code = p:wait() until code ~= "EAGAIN"
				print(code, p:alive(), select(3, p:kill()))
			]]
			local p <close> = run(child.argv(script))
			assert.equal("ECHILD\tfalse\tESRCH\n", child.all(p:stdout()))
		end)
	end)

	describe("the life of a process with " .. name, function()
		-- A process whose end we see: its output ends with it.
		local function witness()
			local p = run {"sh", "-c", "sleep 1000 & echo started; wait"}
			child.expect(p:stdout(), "started")
			local fd = p:stdout():fd()
			local dup = assert(io.open("/proc/self/fd/" .. fd))
			return p, dup
		end

		it("ends with close, that of its whole group too", function()
			local p, output = witness()
			assert.is_true(p:close())
			assert.is_true(p:close())
			assert.equal("", output:read("a"))
		end)

		it("ends with close, that of its group after it ended by itself", function()
			local p = run {"sh", "-c", "sleep 1000 & echo started"}
			child.expect(p:stdout(), "started")
			local output = assert(io.open("/proc/self/fd/" .. p:stdout():fd()))
			child.wait(p)
			p:close()
			assert.equal("", output:read("a"))
		end)

		it("ends with its scope", function()
			local _, output
			do
				local p <close>, seen = witness()
				output = seen
				_ = p
			end
			assert.equal("", output:read("a"))
		end)

		it("ends with its last reference", function()
			local p, output = witness()
			assert.truthy(p)
			p = nil
			collectgarbage()
			collectgarbage()
			assert.is_nil(p)
			assert.equal("", output:read("a"))
		end)

		it("leaves no zombie behind", function()
			local pids = {}
			for _ = 1, 20 do
				local p = run({"true"}, {stdout = "null"})
				pids[p:pid()] = true
				p:close()
			end
			local deadline = poll.now() + 30
			local left
			repeat
				-- Each spawn sweeps up.
				local p <close> = run {"sh", "-c", "unset LD_PRELOAD; ps -o pid= --ppid $PPID"}
				left = 0
				for pid in child.all(p:stdout()):gmatch("%d+") do
					left = left + (pids[tonumber(pid)] and 1 or 0)
				end
				child.wait(p)
			until left == 0 or poll.now() > deadline
			assert.equal(0, left)
		end)

		it("lets its streams outlive it, closed", function()
			local p = run({"cat"}, {stdin = "pipe"})
			local input, output = p:stdin(), p:stdout()
			p:close()
			assert.equal("EBADF", select(3, input:write("x")))
			assert.equal("EBADF", select(3, output:read(1)))
			p = run({"cat"}, {stdin = "pipe"})
			input, output = p:stdin(), p:stdout()
			assert.truthy(p)
			p = nil
			collectgarbage()
			collectgarbage()
			assert.is_nil(p)
			assert.equal("EBADF", select(3, input:write("x")))
			assert.equal("EBADF", select(3, output:read(1)))
		end)

		it("leaves a failure for whoever uses it after close", function()
			local p = run {"sleep", "1000"}
			local pid = p:pid()
			p:close()
			assert.is_nil(p:fd())
			assert.equal(pid, p:pid())
			for _, method in ipairs {"wait", "alive", "gone", "kill"} do
				local value, message, code = p[method](p)
				assert.is_nil(value)
				assert.equal("closed", message)
				assert.equal("EBADF", code)
			end
			-- What is known stays known.
			p = run {"sh", "-c", "exit 3"}
			child.wait(p)
			p:close()
			assert.same({"exit", 3}, {p:wait()})
			assert.is_false(p:alive())
		end)

		it("raises for another self and for wrong arguments", function()
			local p <close> = run {"true"}
			for _, method in ipairs {"pid", "fd", "stdin", "stdout", "stderr", "wait", "alive",
				"gone", "kill", "close"} do
				assert.is_false(pcall(p[method], {}))
				assert.is_false(pcall(p[method], p:stdout()))
			end
			assert.is_false(pcall(p.kill, p, "NOSUCH"))
			assert.is_false(pcall(p.kill, p, 0))
			for i, options in ipairs {
				{}, {argv = {}}, {argv = "true"}, {argv = {{}}}, {argv = {"true", false}},
				{argv = {"a\0b"}}, {argv = {"true"}, env = 1}, {argv = {"true"}, env = {"x"}},
				{argv = {"true"}, env = {["a=b"] = "c"}}, {argv = {"true"}, env = {[""] = "c"}},
				{argv = {"true"}, env = {a = "b\0"}}, {argv = {"true"}, env = {a = {}}},
				{argv = {"true"}, cwd = {}}, {argv = {"true"}, cwd = "/\0"},
				{argv = {"true"}, stdin = "stdout"}, {argv = {"true"}, stdout = "stdout"},
				{argv = {"true"}, stdin = "socket"}, {argv = {"true"}, stderr = 1},
			} do
				assert.is_false(pcall(process.spawn, options), i)
			end
			assert.is_false(pcall(process.spawn))
		end)
	end)
end

behaves(require "smtptest.core.process", "the system's best call")
behaves(variant("process", "-DSMTPTEST_PIDFD=0", "src/process.c src/group.c src/orphan.c src/spawn.c " ..
	"src/thread.c src/descriptor.c src/file.c src/signal.c src/tty.c"), "a thread that waits")
