--- test: the command --test: runs busted's specs in this very interpreter, with this very library.

local failure = require "smtptest.failure"

local test = {}

local MISSING = "busted is not installed (Debian: apt-get install lua-busted; LuaRocks: luarocks install busted)"

-- How the kinds of report are called; another name is a module, or a Lua file, as busted takes it.
local KINDS = { tap = "TAP", junit = "smtptest.junit", json = "json", gtest = "gtest", plain = "plainTerminal",
	utf = "utfTerminal" }

local function refuse(message)
	error(failure.new { message = message, code = "EINVAL", status = 1 }, 0)
end

-- What busted would end the process with.
local Ended = {}

-- A module of busted's, or one line that says why not.
local function busted_module(name)
	local ok, module = pcall(require, name)
	if ok then return module end
	refuse(module:find("^module '" .. name .. "' not found") and MISSING
		or "busted can't be loaded: " .. module:match "^[^\n]*")
end

-- Lets busted end its run instead of the process: we have more to do.
local function keep_alive()
	busted_module "busted.compatibility".exit = function(status) error(setmetatable({ status = status }, Ended), 0) end
	busted_module "busted.runner"
end

-- The run's core, which alone can skip what is left of it.
local function catch_core()
	local make, caught = busted_module "busted.core", { tests = 0 }
	package.loaded["busted.core"] = function()
		caught.core = make()
		return caught.core
	end
	return caught
end

-- ---------------------------------------------------------------- the report

-- "TAP", "junit:report.xml" → the name that busted is given, path or nil
local function report_of(text)
	local kind, path = text:match "^([^:]+):?(.*)$"
	if not kind then refuse("--test-output: no kind of report: " .. text) end
	return KINDS[kind:lower()] or kind, path ~= "" and path or nil
end

-- Loads the module of a report; where busted would look for it.
local function load_report(name)
	for _, module in ipairs { "busted.outputHandlers." .. name, name } do
		local ok, message = pcall(require, module)
		if ok then return end
		if not message:find "^module '[^']*' not found" then refuse("--test-output: " .. message) end
	end
	refuse(("--test-output: no such kind of report: %s (TAP, junit, json, gtest, plain, utf, or a module)"):format(name))
end

-- Loads it while io.write is the file's: what specs write goes elsewhere.
-- @return handle
local function send_to(name, path)
	local handle, message = io.open(path, "wb")
	if not handle then refuse("--test-output: " .. message) end
	local write, flush = io.write, io.flush
	rawset(io, "write", function(...) return handle:write(...) end)
	rawset(io, "flush", function() return handle:flush() end)
	local ok, err = pcall(load_report, name)
	rawset(io, "write", write)
	rawset(io, "flush", flush)
	if ok then return handle end
	handle:close()
	error(err, 0)
end

-- ---------------------------------------------------------------- the run

-- Modules beside a spec are found, wherever we were started from.
local function search_beside(specs)
	local folders, seen = {}, {}
	for _, path in ipairs(specs) do
		local folder = path:find "%.lua$" and (path:match "^(.*)/[^/]*$" or ".") or path:match "^(.-)/*$"
		if not seen[folder] then
			seen[folder] = true
			folders[#folders + 1] = ("%s/?.lua;%s/?/init.lua;"):format(folder, folder)
		end
	end
	package.path = table.concat(folders) .. package.path
end

-- The chunk's name is what busted calls itself.
local start = load([[
	local run = require "busted.runner"
	run { standalone = false }
]], "@smtptest")

--- What busted is told to run before it begins.
function test.begin(stopped, caught)
	local busted = require "busted"
	local expect = require "smtptest.expect"
	busted.subscribe({ "suite", "start" }, function()
		if not test.attached then expect.attach(busted) end
		test.attached = true
		return nil, true
	end)
	-- Where a spec could not be loaded there is no line, and TAP's report fails for want of it.
	busted.subscribe({ "error" }, function(element, _, message, trace)
		if type(trace) == "table" and not trace.currentline then
			trace.short_src = trace.short_src or element.name or "?"
			trace.currentline = type(message) == "string" and tonumber(message:match ":(%d+):") or 0
		end
		return nil, true
	end, { priority = 1 })
	-- An interrupt ends the run, and the report is still written.
	busted.subscribe({ "test", "end" }, function()
		caught.tests = caught.tests + 1
		if stopped() then caught.core.skipAll = true end
		return nil, true
	end)
end

--- Runs specs.
-- @param options  specs (paths of .lua files and folders), words (of the command line, for busted), output (nil, or the
--   kind of report, and behind a colon the file), stopped (function() → whether the user has interrupted)
-- @return 0, or 1 when a spec has failed; raises an error of status 1 when busted or the report can't be had, and when
--   there was no test
function test.run(options)
	keep_alive()
	local caught = catch_core()
	local words, report = { [0] = "smtptest", "--ignore-lua" }, nil
	if options.output then
		local name, path = report_of(options.output)
		if path then report = send_to(name, path) else load_report(name) end
		words[2] = "--output=" .. name
	end
	table.move(options.words, 1, #options.words, #words + 1, words)
	table.move(options.specs, 1, #options.specs, #words + 1, words)
	search_beside(options.specs)
	package.preload["smtptest.test.begin"] = function()
		test.begin(options.stopped, caught)
		return true
	end
	table.insert(words, 2, "-e")
	table.insert(words, 3, [[require "smtptest.test.begin"]])
	_G.arg = words
	local ok, err = pcall(start)
	if report then
		local closed, message = report:close()
		if not closed then refuse("--test-output: " .. message) end
	end
	if not ok and getmetatable(err) ~= Ended then error(err, 0) end
	if not ok and err.status ~= 0 then return 1 end
	-- A list of names is no run.
	if test.attached and caught.tests == 0 and not options.stopped() then refuse "--test: no test was run" end
	return 0
end

return test
