-- Nothing that a script started is left behind, however the script ends: the built program, from outside.

local child = require "child"
local process = require "smtptest.core.process"
local run = require "support.run"
local task = require "smtptest.task"

local LIMIT = 30

-- Starts a shell whose own child runs, too, and prints the number of their group.
local START = [[
local process = require "smtptest".process
local p = process.spawn { argv = { "sh", "-c", "sleep 1000 & echo $$; wait" } }
io.write(p.stdout:line(), "\n")
]]

-- Whether anybody in the process group runs.
local function runs(group)
	local result = run.command({ "-u", "LD_PRELOAD", "ps", "-eo", "pgid=,stat=" }, { program = "env" })
	for number, state in result.out:gmatch "(%d+) +(%a)" do
		if number == group and state ~= "Z" then return true end
	end
	return false
end

local function gone_by(group, seconds)
	local deadline = task.now() + seconds
	while runs(group) do
		if task.now() > deadline then return false end
		task.sleep(0.02)
	end
	return true
end

describe("what a script started is gone when", function()
	local function ends(name, script, expected)
		it(name, function()
			local result = run.command { "-e", START .. script }
			assert.are.same({ expected.status, expected.signal }, { result.status, result.signal }, result.err)
			local group = result.out:match "^(%d+)\n"
			assert.is_truthy(group, result.err)
			if expected.at_once then
				assert.is_false(runs(group))
			else
				assert.is_true(gone_by(group, LIMIT))
			end
			assert.matches(expected.err or "^$", result.err)
		end)
	end

	ends("it ends", "", { status = 0, at_once = true })
	ends("it returns a status", "return 3", { status = 3, at_once = true })
	ends("it forgets the process", "p = nil collectgarbage() collectgarbage()", { status = 0, at_once = true })
	ends("it raises", "local x = nil + 1", { status = 70, at_once = true,
		err = "^smtptest: %(command line%):4: attempt to perform arithmetic on a nil value" })
	ends("a session fails", "require 'smtptest'.connect { socket = '/nosuch' }", { status = 3, at_once = true,
		err = "^failure: connect to /nosuch: No such file or directory\n$" })
	ends("a task fails that nobody joins", "local task = require 'smtptest'.task\n"
		.. "task.spawn(error, 'lost')\ntask.sleep(0)", { status = 70, at_once = true, err = "^smtptest: lost\n" })
	ends("it calls os.exit", "os.exit(5)", { status = 5 })
	ends("it calls os.exit and closes the state", "os.exit(5, true)", { status = 5 })
	ends("it is killed", "require 'smtptest.core.signal'.raise 'KILL'", { signal = 9 })

	for name, number in pairs { INT = 2, TERM = 15, HUP = 1 } do
		it("SIG" .. name .. " comes", function()
			local p <close> = assert(process.spawn {
				argv = { run.program, "-e", START .. "io.stdout:flush() print(p:wait())" }, stdin = "null" })
			local group = child.expect(p:stdout(), "\n"):match "%d+"
			assert.is_true(p:kill(name))
			assert.are.same({ "signal", number }, { child.wait(p) })
			assert.is_false(runs(group))
			assert.are.equal("nil\t" .. ({ INT = "interrupted", TERM = "terminated", HUP = "hung up" })[name] .. "\tCANCELED\n",
				child.all(p:stdout()))
		end)
	end

	it("it is in plain Lua, too", function()
		for _, ending in ipairs { "", "error 'x'", "os.exit(3)", "os.exit(3, true)" } do
			local p <close> = child.run(START .. "io.stdout:flush() " .. ending, { stderr = "null", stdin = "null" })
			local group = child.expect(p:stdout(), "\n"):match "%d+"
			child.wait(p)
			assert.is_true(gone_by(group, LIMIT), ending)
		end
	end)

	-- The one who sends KILL later is not the one who ended.
	it("os.exit comes and it does not mind TERM", function()
		local result = run.command { "-e", [[
			local p = require "smtptest".process.spawn {
				argv = { "sh", "-c", "trap '' TERM; echo $$; while :; do sleep 1; done" } }
			io.write(p.stdout:line(), "\n")
			os.exit(0)]] }
		local group = result.out:match "%d+"
		assert.is_true(runs(group))
		assert.is_true(gone_by(group, LIMIT))
	end)

	it("a test of busted forgets it", function()
		local spec = run.file("forget_spec.lua", [[
			it("forgets", function()
				local p = require "smtptest".process.spawn { argv = { "sh", "-c", "sleep 1000 & echo $$; wait" } }
				local file = io.open(os.getenv "GROUP", "w")
				file:write(p.stdout:line(), "\n")
				file:close()
				error "failed"
			end)]])
		local path = run.scratch "group"
		local argv = child.argv(("arg = { [0] = 'busted', '--ignore-lua', %q } require 'busted.runner' { standalone = false }")
			:format(spec))
		local result = run.command({ table.unpack(argv, 2) }, { program = argv[1], env = { GROUP = path } })
		assert.are_not.equal(0, result.status, result.out)
		local handle = assert(io.open(path), result.out .. result.err)
		local group = handle:read "l"
		handle:close()
		assert.is_true(gone_by(group, LIMIT))
	end)
end)

describe("a script that starts nothing", function()
	it("has no helper", function()
		local result = run.command { "-e", [[
			local process = require "smtptest".process
			print(package.loaded["smtptest.process"] == process)
			local handle = io.popen "unset LD_PRELOAD; ps -o args= --ppid $PPID | grep -c '[k]ill -s KILL'"
			print(handle:read "n")]] }
		assert.are.equal("true\n0\n", result.out)
	end)
end)
