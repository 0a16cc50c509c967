-- The command, run by plain lua5.4 through cli.main: everything but the sessions of the default script, for which the
-- built program has specs of its own.

local folder

local function path(name)
	return folder .. "/" .. name
end

local function write(name, text)
	local file = assert(io.open(path(name), "wb"))
	file:write(text)
	file:close()
	return path(name)
end

local function read(name)
	local file <close> = assert(io.open(path(name), "rb"))
	return file:read "a"
end

local function quote(word)
	return "'" .. word:gsub("'", "'\\''") .. "'"
end

setup(function()
	folder = os.tmpname()
	os.remove(folder)
	assert(os.execute("mkdir " .. folder))
	write("main.lua", [[
		local conceal = os.getenv "SHOW_CONCEALED" and function(index, first)
			io.write("concealed ", arg[index], " from ", first, "\n")
		end
		arg[0] = os.getenv "AS" or "smtptest"
		os.exit(require "smtptest.cli".main(arg, conceal), true)
	]])
end)

teardown(function() os.execute("rm -r " .. folder) end)

--- The shell's words for running the command.
local function command(words)
	local parts = { "lua5.4", path "main.lua" }
	for _, word in ipairs(words) do parts[#parts + 1] = quote(word) end
	return table.concat(parts, " ")
end

--- Runs a shell script; what stands around it makes it find our modules.
-- @return exit status
local function shell(script, env)
	local set = {
		("LUA_PATH=%s; export LUA_PATH"):format(quote(package.path)),
		("LUA_CPATH=%s; export LUA_CPATH"):format(quote(package.cpath)),
	}
	for name, value in pairs(env or {}) do
		set[#set + 1] = ("%s=%s; export %s"):format(name, quote(value), name)
	end
	write("script.sh", table.concat(set, "\n") .. "\n" .. script .. "\n")
	local _, _, status = os.execute(("sh %s 2>%s"):format(path "script.sh", path "shell"))
	return status
end

--- Runs the command.
-- @param words  its arguments; `input` is its stdin, `env` its environment
-- @return exit status, stdout, stderr
local function run(words)
	write("in", words.input or "")
	local status = shell(("%s <%s >%s 2>%s"):format(command(words), path "in", path "out", path "err"), words.env)
	return status, read "out", read "err"
end

local function usage_of(program)
	return require "smtptest.options".usage(program)
end

describe("the command", function()
	for _, flag in ipairs { "-h", "-?", "--help", "-vh" } do
		it("shows its usage for " .. flag .. ", and ends with 1 as it always did", function()
			assert.same({ 1, usage_of "smtptest", "" }, { run { flag } })
		end)
	end

	it("shows its usage under the name it has", function()
		assert.same({ 1, usage_of "lmtptest", "" }, { run { "-h", env = { AS = "/usr/bin/lmtptest" } } })
	end)

	it("names a bad option on stderr and shows its usage", function()
		assert.same({ 1, usage_of(), "smtptest: invalid option -- 'Z'\n" }, { run { "-Z", "localhost" } })
		assert.same({ 1, usage_of(), "smtptest: option requires an argument -- 'p'\n" }, { run { "-p" } })
		assert.same({ 1, usage_of(), "smtptest: unrecognized option '--verfiy' (did you mean '--verify'?)\n" },
			{ run { "--verfiy" } })
	end)

	it("says last what is wrong, where it is seen on a terminal", function()
		shell(("%s >%s 2>&1"):format(command { "--verfiy" }, path "out"))
		assert.equal(usage_of() .. "smtptest: unrecognized option '--verfiy' (did you mean '--verify'?)\n", read "out")
	end)

	-- The first three as the classic program writes them.
	local failures = {
		{ { "-n", "0", "h" }, "number of auth attempts must be > 0\n" },
		{ { "-z", "h" }, "stress test can only be run for IMAP\n" },
		{ { "-P", "nosuch", "h" }, "unknown protocol\n" },
		{ { "-x", "/s", "-f", "x", "h" }, "cannot pipe a file when using unix domain socket output" },
		{ { "-k", "abc", "h" }, "-k: not a number: abc" },
		{ { "-k", "\27[2J\r", "h" }, "-k: not a number: \\x1b[2J\\x0d" },
		{ { "--verify", "h" }, "--verify: nothing to verify without TLS (-t or -s)" },
		{ { "--from=a", "h" }, "--from: no recipient given (--to)" },
		{ { "--from=a", "--to=b", "-f", "x", "h" }, "--from and -f cannot be combined" },
		{ { "--from=a", "--to=b", "-x", "x", "h" }, "--from and -x cannot be combined" },
		{ { "--to=a", "h" }, "--to: no sender given (--from)" },
		{ { "--data=a", "h" }, "--data: no sender given (--from)" },
		{ { "-S", "/nonexistent/x.lua" }, "/nonexistent/x.lua: No such file or directory" },
		{ { "-S", "no-such-script.lua" }, "no-such-script.lua: No such file or directory" },
		{ { "-S", "/" }, "/: Is a directory" },
	}
	for _, case in ipairs(failures) do
		it("refuses " .. table.concat(case[1], " "):gsub("%c", "?"), function()
			assert.same({ 1, "", "failure: " .. case[2] .. "\n" }, { run(case[1]) })
		end)
	end

	it("says its version and those of its libraries", function()
		local status, out, err = run { "--version" }
		assert.same({ 0, "" }, { status, err })
		assert.matches("^smtptest %d+%.%d+.-\nLua 5%.4\nOpenSSL 3%..-\nCyrus SASL 2%.%d+%.%d+\n$", out)
	end)

	it("prints the default script", function()
		local file <close> = assert(io.open "lua/default.lua")
		local status, out, err = run { "--print-script" }
		assert.same({ 0, "" }, { status, err })
		assert.is_true(out == file:read "a", "not the text of lua/default.lua")
	end)

	it("conceals passwords before it does anything else", function()
		local env = { SHOW_CONCEALED = "1" }
		assert.same({ 0, "concealed -vwsecret from 4\nconcealed other from 1\n", "" },
			{ run { "-vwsecret", "-e", "", "--password", "other", env = env } })
		local _, out = run { "-wsecret", "-h", env = env }
		assert.equal("concealed -wsecret from 3\n" .. usage_of(), out)
	end)
end)

describe("a script", function()
	local results = {
		{ "", 0 }, { "return", 0 }, { "return nil", 0 }, { "return true", 0 }, { "return 0", 0 },
		{ "return false", 1 }, { "return 1", 1 }, { "return 42", 42 }, { "return 255", 255 },
	}
	for _, case in ipairs(results) do
		it(("that does '%s' ends with %d"):format(case[1], case[2]), function()
			assert.same({ case[2], "", "" }, { run { "-e", case[1] } })
		end)
	end

	local mistakes = { ["256"] = "256", ["-1"] = "-1", ["1.5"] = "1.5", ["'yes'"] = "a string", ["{}"] = "a table" }
	for value, words in pairs(mistakes) do
		it("that returns " .. value .. " made a mistake", function()
			assert.same({ 70, "", "smtptest: the script returned " .. words
				.. ": expected nothing, a boolean or an exit status from 0 to 255\n" }, { run { "-e", "return " .. value } })
		end)
	end

	it("gets the words after -- as arg and as its arguments", function()
		local file = write("args.lua", "print(arg[0], #arg, arg[1], arg[2], ...)")
		assert.same({ 0, file .. "\t2\t-x\tb c\t-x\tb c\n", "" }, { run { "-S", file, "h", "--", "-x", "b c" } })
		assert.same({ 0, "smtptest\t0\n", "" }, { run { "-e", "print(arg[0], #arg, ...)", "h" } })
	end)

	it("finds the plan in smtptest.options", function()
		local script = [[
			local plan = require "smtptest".options
			print(plan.host, plan.port, plan.verbose, plan.auth, plan.protocol)]]
		assert.same({ 0, "h\t25\ttrue\tnil\tnil\n", "" }, { run { "-vp25", "-e", script, "h" } })
		assert.same({ 0, "nil\tnil\tnil\tfalse\tlmtp\n", "" },
			{ run { "--no-auth", "-e", script, env = { AS = "lmtptest" } } })
	end)

	it("may have what the default script could only ignore", function()
		assert.same({ 0, "", "" }, { run { "--verify", "--to=b", "-e", "" } })
	end)

	it("comes from stdin for -", function()
		assert.same({ 3, "-\n", "" }, { run { "-S", "-", input = "#!/usr/bin/smtptest -S\nprint(arg[0]) return 3" } })
	end)

	it("may begin with #! and a byte order mark, and keeps its line numbers", function()
		local file = write("bang.lua", "\239\187\191#!/usr/bin/env smtptest\nprint(debug.getinfo(1, 'l').currentline)")
		assert.same({ 0, "2\n", "" }, { run { "-S", file } })
	end)

	it("finds modules beside itself, wherever it was started", function()
		write("beside.lua", "return 'found'")
		local file = write("needs.lua", "print((require 'beside'))")
		assert.same({ 0, "found\n", "" }, { run { "-S", file } })
		shell(("cd %s && lua5.4 main.lua -S needs.lua >out 2>err"):format(folder), {
			LUA_PATH = package.path:gsub("%f[^\0;]lua/", os.getenv "PWD" .. "/lua/"),
			LUA_CPATH = package.cpath:gsub("%f[^\0;]build/", os.getenv "PWD" .. "/build/"),
		})
		assert.same({ "found\n", "" }, { read "out", read "err" })
	end)

	it("shows a traceback that ends at its own beginning", function()
		local file = write("broken.lua", "local function deep()\n\tlocal x\n\treturn x.y\nend\nlocal z = deep()\nreturn z")
		local status, out, err = run { "-S", file }
		assert.same({ 70, "" }, { status, out })
		assert.equal(("smtptest: @:3: attempt to index a nil value (local 'x')\nstack traceback:\n"
			.. "\t@:3: in local 'deep'\n\t@:5: in main chunk\n"):gsub("@", file), err)
	end)

	it("keeps a traceback that it made itself", function()
		local _, _, err = run { "-e", "local function f() error 'deep' end\nassert(xpcall(f, debug.traceback))" }
		assert.matches("^smtptest: .-%(command line%):1: deep\nstack traceback:\n.-in function 'xpcall'\n", err)
		assert.matches("\n\t%[C%]: in function 'assert'\n\t%(command line%):2: in main chunk\n$", err)
	end)

	it("is refused with the line of a syntax error", function()
		local file = write("syntax.lua", "local x = 1\nif x then")
		local status, out, err = run { "-S", file }
		assert.same({ 70, "" }, { status, out })
		assert.matches("^smtptest: .*syntax%.lua:2: 'end' expected", err)
	end)

	it("is text, never a precompiled chunk", function()
		local status, _, err = run { "-S", write("binary.lua", string.dump(function() end)) }
		assert.equal(70, status)
		assert.matches("attempt to load a binary chunk", err)
	end)

	local errors = {
		{ "error({})", "smtptest: %(error object is a table value%)\nstack traceback:\n" },
		{ "error(nil)", "smtptest: %(error object is a nil value%)\n" },
		{ "error(setmetatable({}, {__tostring = function() return 'mine' end}))", "smtptest: mine\n" },
		{ "error({status = 'x'})", "smtptest: %(error object is a table value%)\n" },
		{ "error(setmetatable({}, {__index = error}))", "smtptest: %(error object is a table value%)\n" },
		{ "error('\\27[31mred', 0)", "smtptest: \\x1b%[31mred\n" },
	}
	for _, case in ipairs(errors) do
		it("may raise what it likes: " .. case[1], function()
			local status, out, err = run { "-e", case[1] }
			assert.same({ 70, "" }, { status, out })
			assert.matches("^" .. case[2], err)
		end)
	end

	it("that leaves a session's error uncaught ends with its status and one line", function()
		local script = [[error(require "smtptest.failure".new { op = "RCPT TO:<x>", message = "got 550", code = "%s" })]]
		for code, expected in pairs { ECONNREFUSED = 3, TLS = 4, SASL = 5, REPLY = 6, TIMEOUT = 7, CANCELED = 70 } do
			assert.same({ expected, "", "failure: RCPT TO:<x>: got 550\n" }, { run { "-e", script:format(code) } })
		end
	end)
end)

describe("output", function()
	it("that nobody could write is a failure", function()
		local status = shell(command { "--version" } .. " >/dev/full 2>" .. path "err")
		assert.same({ 1, "failure: stdout: No space left on device\n" }, { status, read "err" })
	end)

	it("that its reader had enough of is none", function()
		-- The reader is gone before the first byte is written.
		shell(([[
			mkfifo %s
			{ read line <%s; trap '' PIPE; %s 2>%s; echo $? >%s; } | { exec <&-; echo >%s; }
		]]):format(path "gone", path "gone", command { "--version" }, path "err", path "out", path "gone"))
		assert.same({ "0\n", "" }, { read "out", read "err" })
	end)
end)

describe("a signal", function()
	-- The script says when it waits; then the signal comes. `wait` gives 128 and the number when the signal was the end.
	local function signalled(name, script)
		write("script.lua", script)
		os.remove(path "ready")
		local status = shell(([[
			mkfifo %s
			env --default-signal=INT,TERM,HUP %s >%s 2>%s &
			timeout 20 head -n 1 %s >/dev/null
			kill -%s $!
			wait $!
		]]):format(path "ready", command { "-S", path "script.lua" }, path "out", path "err", path "ready", name))
		return status, read "out", read "err"
	end

	local sleep = [[
		local task = require "smtptest.task"
		local closing <close> = setmetatable({}, { __close = function() print "closed" end })
		local ready = io.open("READY", "w")
		ready:write "ready\n"
		ready:close()
		]]

	for name, case in pairs { INT = { 130, "interrupted" }, TERM = { 143, "terminated" }, HUP = { 129, "hung up" } } do
		it("SIG" .. name .. " ends every wait, then the process", function()
			local status, out, err = signalled(name, sleep:gsub("READY", path "ready") .. [[
				print(task.sleep(60))
				error "not shown"]])
			assert.same({ case[1], "nil\t" .. case[2] .. "\tCANCELED\nclosed\n", "" }, { status, out, err })
		end)
	end

	it("is the script's own, where it asked for interrupts", function()
		local status, out, err = signalled("INT", sleep:gsub("READY", path "ready") .. [[
			local pressed = false
			local release = task.on_interrupt(function() pressed = true end)
			while not pressed do task.step(1) end
			release()
			return 7]])
		assert.same({ 7, "closed\n", "" }, { status, out, err })
	end)
end)
