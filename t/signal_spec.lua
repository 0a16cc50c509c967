-- Signals change the whole process: everything here runs in another one.
local child = require "child"

local prelude = [[
	local signal = require "smtptest.core.signal"
	local file = require "smtptest.core.file"
	local socket = require "smtptest.core.socket"
	local poll = require "smtptest.core.poll"
	local process = require "smtptest.core.process"
	local child = require "child"
	local me = file.getpid()
	-- The signal is there when kill has ended. (os.execute ignores some.)
	local function send(name)
		local p = process.spawn {argv = {"sh", "-c", "kill -" .. name .. " " .. me},
			stdin = "null", stdout = "null", stderr = "inherit"}
		assert(child.wait(p) == "exit")
	end
	local function say(...) io.stdout:write(table.concat({...}, " "), "\n") io.stdout:flush() end
]]

-- How a process that runs source ended, and what it said.
local function run(source)
	local p <close> = child.run(prelude .. source, {stdin = "null"})
	local said = child.all(p:stdout())
	local kind, value = child.wait(p)
	return kind .. " " .. value, said
end

describe("a caught signal", function()
	it("is read by its name, in the order they came", function()
		assert.same({"exit 0", "TERM HUP nil EAGAIN\n"}, {run [[
			signal.catch {"INT", "TERM", "HUP"}
			send "TERM"
			send "HUP"
			local first, second = signal.read(), signal.read()
			local none, _, code = signal.read()
			say(first, second, tostring(none), code)
		]]})
	end)

	it("makes one descriptor readable", function()
		assert.same({"exit 0", "true 0 1 0\n"}, {run [[
			local fd = signal.catch {"INT"}
			local same = signal.catch {"SIGUSR1", 12} == fd
			local set = poll.new()
			set:add(fd, "level")
			set:want(fd, "r")
			local before = set:wait(0, {})
			send "USR1"
			set:want(fd, "r")
			local after = set:wait(30, {})
			signal.read()
			set:want(fd, "r")
			say(tostring(same), before, after, set:wait(0, {}))
		]]})
	end)

	it("may come again once it was read", function()
		assert.same({"exit 0", "INT INT INT\n"}, {run [[
			signal.catch {"INT"}
			local names = {}
			for i = 1, 3 do
				send "INT"
				names[i] = signal.read()
			end
			say(table.unpack(names))
		]]})
	end)

	it("kills when it comes again before it was read", function()
		assert.same({"signal 2", "first\n"}, {run [[
			signal.catch {"INT"}
			send "INT"
			say "first"
			send "INT"
			say "never"
		]]})
	end)

	it("does not kill for another's sake", function()
		assert.same({"exit 0", "INT TERM\n"}, {run [[
			signal.catch {"INT", "TERM"}
			send "INT"
			send "TERM"
			say(signal.read(), signal.read())
		]]})
	end)

	it("stays ignored when it was ignored before us", function()
		assert.same({"exit 0", "survived nil\n"}, {run [[
			signal.ignore "HUP"
			signal.catch {"HUP"}
			send "HUP"
			send "HUP"
			say("survived", tostring((signal.read())))
		]]})
	end)

	it("does not disturb a read that waits", function()
		local p <close> = child.run(prelude .. [[
			signal.catch {"USR1"}
			say "ready"
			say(file.fromfd(0):read(10), signal.read())
		]])
		child.expect(p:stdout(), "ready")
		p:kill("USR1")
		p:stdin():write("data")
		assert.equal("data USR1\n", child.all(p:stdout()))
	end)
end)

describe("a signal's disposition", function()
	it("is to ignore it, or what the system does", function()
		assert.same({"signal 13", "alive\n"}, {run [[
			assert(signal.ignore "PIPE")
			send "PIPE"
			say "alive"
			assert(signal.default "PIPE")
			send "PIPE"
			say "never"
		]]})
	end)

	it("cannot be changed for KILL", function()
		assert.same({"exit 0", "EINVAL EINVAL EINVAL\n"}, {run [[
			say(select(3, signal.ignore "KILL"), select(3, signal.default "STOP"),
				select(3, signal.catch {"KILL"}))
		]]})
	end)
end)

describe("raise", function()
	it("ends us as the signal itself would have", function()
		assert.same({"signal 2", ""}, {run [[
			signal.catch {"INT"}
			signal.raise "INT"
			say "never"
		]]})
		assert.same({"signal 15", ""}, {run 'signal.ignore "TERM" signal.raise "TERM"'})
	end)

	it("comes back from a signal that ends nobody", function()
		assert.same({"exit 0", "true\n"}, {run 'say(tostring(signal.raise "CHLD"))'})
	end)
end)

describe("signals", function()
	it("are not there before they are caught", function()
		assert.same({"exit 0", "EBADF\n"}, {run 'say(select(3, signal.read()))'})
	end)

	it("raise for names that are none", function()
		assert.same({"exit 0", "good\n"}, {run [[
			for _, name in ipairs {"", "SIG", "int", "TERMINATE", "SIGSIGINT", 0, -1, 1000, {}, true} do
				assert(not pcall(signal.catch, {name}), name)
				assert(not pcall(signal.ignore, name), name)
				assert(not pcall(signal.default, name), name)
				assert(not pcall(signal.raise, name), name)
			end
			assert(not pcall(signal.catch))
			assert(not pcall(signal.catch, "INT"))
			say "good"
		]]})
	end)

	for name, source in pairs {
		["the second of two"] = 'signal.catch {"TERM"} send "TERM" send "TERM"',
		["raise"] = 'signal.raise "TERM"',
	} do
		it("put the terminal back: " .. name, function()
			local p, remove = child.terminal(prelude .. [[
				local t = require "smtptest.core.tty".open()
				assert(t:echo(false))
				os.execute "stty -a"
			]] .. source, "stty -a; echo THE END")
			if not p then
				remove()
				pending("there is no script(1) here")
				return
			end
			local seen = child.expect(p:stdout(), "THE END")
			child.wait(p)
			p:close()
			remove()
			assert.truthy(seen:match(" %-echo .* echo .*THE END"), seen)
		end)
	end
end)
