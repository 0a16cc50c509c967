--- cli: the command. Reads the command line, runs a script, and says how it ended.

local options = require "smtptest.options"

local cli = {}

local USAGE, FAILURE, INTERNAL = 1, 1, 70   -- exit statuses

-- ---------------------------------------------------------------- saying what went wrong

--- Writes to stderr. What a user or a peer wrote may be in it, so nothing but line feeds and tabs controls a terminal.
local function complain(text)
	io.stderr:write((text:gsub("[^%C\n\t]", function(c) return ("\\x%02x"):format(c:byte()) end)), "\n")
end

local function failed(message)
	complain("failure: " .. message)
	return FAILURE
end

-- ---------------------------------------------------------------- the script

--- Finds a script: as it is named, then, if it is a bare name, among the installed examples.
-- @return text, path | nil, message
local function read_script(name)
	if name == "-" then return io.read "a", nil end
	local paths = { name }
	local ok, embed = pcall(require, "smtptest.core.embed")
	if ok and not name:find "/" then
		paths[2] = embed.examples .. "/" .. name
		paths[3] = paths[2] .. ".lua"
	end
	local why
	for _, path in ipairs(paths) do
		local file, message = io.open(path, "rb")
		local text
		if file then
			text, message = file:read "a"
			file:close()
			if text then return text, path end
			message = path .. ": " .. message
		end
		why = why or message
	end
	return nil, why
end

--- Lua's text as load() wants it: a mark of its encoding and a #! line are for others. Line numbers stay.
local function strip(text)
	return (text:gsub("^\239\187\191", ""):gsub("^#[^\n]*", ""))
end

--- Modules beside a script are found, wherever it was started from.
local function search_beside(path)
	local folder = path:match "^(.*)/[^/]*$" or "."
	if folder == "" then folder = "/" end
	package.path = ("%s/?.lua;%s/?/init.lua;%s"):format(folder, folder, package.path)
end

local function default_text()
	return require "smtptest.core.embed".source "default.lua"
end

--- Loads what the command line chose.
-- @return function, name for arg[0] | nil, message, exit status
local function load_script(mode, program)
	local text, name, path
	if mode.execute then
		text, name = mode.execute, "=(command line)"
	elseif mode.script then
		local message
		text, message = read_script(mode.script)
		if not text then return nil, "failure: " .. message, FAILURE end
		path = message
		name = path and "@" .. path or "=stdin"
	else
		local message
		text, message = default_text()
		if not text then return nil, "failure: no default script" .. (message and ": " .. message or ""), FAILURE end
		name = "@default.lua"
	end
	local chunk, message = load(strip(text), name, "t")
	if not chunk then return nil, "smtptest: " .. message, INTERNAL end
	if path then search_beside(path) end
	return chunk, mode.script or program
end

-- ---------------------------------------------------------------- how it ended

--- An error of a session knows its exit status and is one line.
local function status_of(err)
	if type(err) ~= "table" and type(err) ~= "userdata" then return nil end
	local ok, status = pcall(function() return err.status end)
	return ok and math.type(status) == "integer" and status or nil
end

--- The message handler: a session's error as it is, any other one as text with a traceback that ends where we begin.
local function traced(err)
	if status_of(err) then return err end
	local meta = getmetatable(err)
	if type(err) ~= "string" and not (type(meta) == "table" and meta.__tostring) then
		err = ("(error object is a %s value)"):format(type(err))
	end
	local trace = debug.traceback(tostring(err), 2)
	return trace:match "^(.*)\n\t%[C%]: in function 'xpcall'.*$" or trace
end

--- @param fatal  status of a session's error, where it is not its own
local function status_of_error(err, fatal)
	local status = status_of(err)
	if not status then
		complain("smtptest: " .. tostring(err))
		return INTERNAL
	end
	-- A reader that had enough (smtptest … | head) needs no words.
	if not (err.code == "EPIPE" and err.op == "standard output") then
		complain("failure: " .. tostring(err))
	end
	return fatal or status
end

local function status_of_result(result)
	if result == nil or result == true then return 0 end
	if result == false then return 1 end
	if math.type(result) == "integer" and result >= 0 and result <= 255 then return result end
	complain(("smtptest: the script returned %s: expected nothing, a boolean or an exit status from 0 to 255"):format(
		type(result) == "number" and tostring(result) or "a " .. type(result)))
	return INTERNAL
end

--- Output that nobody could write is a failure, unless the reader had enough.
local function flush(status)
	local EPIPE = 32
	local ok, message, errno = io.stdout:flush()
	if ok or errno == EPIPE then return status end
	complain("failure: stdout: " .. message)
	return status == 0 and FAILURE or status
end

-- ---------------------------------------------------------------- signals

local MEANING = { INT = "interrupted", TERM = "terminated", HUP = "hung up" }

--- Makes signals end the waits of the script, so that it ends in order: the terminal as it was, children gone.
-- A second one of the same kind ends the process at once.
-- @return table whose `name` is the signal that the script ended by, and `raise`
local function catch_signals()
	local caught = {}
	local ok, signal = pcall(require, "smtptest.core.signal")
	if not ok then return caught end
	local fd, message = signal.catch { "INT", "TERM", "HUP" }
	if not fd then error(message, 0) end
	local task = require "smtptest.task"
	-- At the bottom of the handlers: it is asked when no interactive session takes the interrupt for itself.
	task.on_interrupt(function(why)
		caught.name = "INT"
		task.interrupt(why, true)
	end)
	task.background(fd, function()
		local name = signal.read()
		while name do
			if name ~= "INT" then caught.name = name end
			task.interrupt(MEANING[name] or name, name ~= "INT")
			name = signal.read()
		end
	end)
	caught.raise = signal.raise
	return caught
end

local function close_processes()
	local process = package.loaded["smtptest.process"]
	if process and process.close_all then process.close_all() end
end

-- Closes the files of --record and --log.
-- @return exit status: 0, or 1 when one could not be written
local function close_files()
	local sink = package.loaded["smtptest.sink"]
	local trouble = sink and sink.close_all()
	if not trouble then return 0 end
	complain("failure: " .. trouble)
	return FAILURE
end

-- ---------------------------------------------------------------- a session

--- What the default script could only ignore, and the user would not notice.
-- @return nil | message
local function contradiction(plan)
	if plan.verify and not plan.tls then
		return "--verify: nothing to verify without TLS (-t or -s)"
	end
	if plan.from then
		if not plan.to then return "--from: no recipient given (--to)" end
		if plan.input then return "--from and -f cannot be combined" end
		if plan.output_socket then return "--from and -x cannot be combined" end
	elseif plan.to then
		return "--to: no sender given (--from)"
	elseif plan.data then
		return "--data: no sender given (--from)"
	end
end

--- Fits the plan to the default script.
-- @return true | nil, message
local function prepare_default(plan)
	local message = contradiction(plan)
	if message then return nil, message end
	-- The classic program always authenticates; a message is sent as its sender's server would.
	if plan.auth == nil and not plan.from then plan.auth = true end
	if not plan.host and not plan.socket then
		complain "WARNING: no hostname supplied, assuming localhost\n"
	end
	return true
end

-- The script, or none, as what the server runs.
local function serving(plan, mode, script)
	return function(...)
		return require "smtptest.serve".run(plan, { save = mode.save, script = script, args = { ... } })
	end
end

-- What is no script of the person's, as what runs; nil for one that is.
local function built_in(plan, mode, caught)
	if mode.fuzz then
		return function() return require "smtptest.fuzz.cli".run(plan, mode) end
	elseif mode.replay then
		return function() return require "smtptest.replay".run(mode.replay, plan, mode.match) end
	elseif mode.tls_report then
		return function()
			return require "smtptest.report".run(plan, { json = mode.json, min_days = mode.min_days })
		end
	elseif mode.test then
		return function()
			return require "smtptest.test".run { specs = mode.specs, words = mode.args, output = mode.test_output,
				stopped = function() return caught.name ~= nil end }
		end
	end
end

local function session(plan, mode, program)
	local other = mode.test or mode.replay or mode.tls_report or mode.fuzz
	local default = not (mode.script or mode.execute or other)
	if default and not mode.serve then
		local ok, message = prepare_default(plan)
		if not ok then return failed(message) end
	end
	local chunk, name, status
	if not (default and mode.serve or other) then
		chunk, name, status = load_script(mode, program)
		if not chunk then
			complain(name)
			return status
		end
	end
	if mode.serve then chunk = serving(plan, mode, chunk) end
	local caught = catch_signals()
	chunk = built_in(plan, mode, caught) or chunk
	-- What is written is seen at once, and before what stderr says next.
	io.stdout:setvbuf "no"
	require "smtptest".options = plan
	_G.arg = table.move(mode.args, 1, #mode.args, 1, { [0] = name or program })

	local ok, result = xpcall(chunk, traced, table.unpack(mode.args))
	-- An interrupt is how a server is ended; what went wrong before is then the news.
	if mode.serve and (ok or status_of(result) == nil or result.code ~= "CANCELED") then caught.name = nil end
	local task = package.loaded["smtptest.task"]
	if ok and task and task.failed() then ok, result = false, task.failed() end
	close_processes()
	local written = close_files()
	if caught.name then
		io.stdout:flush()
		caught.raise(caught.name)
	end
	if ok then
		status = status_of_result(result)
	else
		status = status_of_error(result, default and not mode.serve and not plan.strict and FAILURE or nil)
	end
	return flush(status == 0 and written or status)
end

-- ---------------------------------------------------------------- the other actions

local function version()
	local lines = { "smtptest " .. require "smtptest.core.embed".version, _VERSION }
	local ok, tls = pcall(require, "smtptest.core.tls")
	if ok then lines[#lines + 1] = tls.version() end
	local sasl
	ok, sasl = pcall(require, "smtptest.core.sasl")
	if ok then lines[#lines + 1] = "Cyrus SASL " .. sasl.version() end
	io.write(table.concat(lines, "\n"), "\n")
	return flush(0)
end

local function print_script()
	local text, message = default_text()
	if not text then return failed("no default script" .. (message and ": " .. message or "")) end
	io.write(text)
	return flush(0)
end

local function usage(program)
	io.write(options.usage(program))
	return flush(USAGE)
end

-- A fuzzer's 1 is that it has found something.
local function status_of_usage(argv)
	for _, word in ipairs(argv) do
		if word == "--fuzz" then return 2 end
	end
	return USAGE
end

--- The command.
-- @param argv     list of words; argv[0] is the program's name
-- @param conceal  nil, or function(index, first): overwrites argv[index] from byte `first` on where ps shows it
-- @return exit status
function cli.main(argv, conceal)
	local program = argv[0] or "smtptest"
	local plan, words, mode = options.parse(argv, program)
	if not plan then
		local message, code = words, mode
		if code == "FAILURE" then
			failed(message)
		else
			-- Last, where it is seen: the usage text is long.
			usage(program)
			complain(message)
		end
		return status_of_usage(argv)
	end
	for _, place in ipairs(conceal and mode.secrets or {}) do conceal(place[1], place[2]) end
	if mode.action == "help" then return usage(program) end
	if mode.action == "version" then return version() end
	if mode.action == "print-script" then return print_script() end
	return session(plan, mode, program)
end

return cli
