-- What is true of all examples. Each is run against a real server in one of t/examples_*_spec.lua.

local example = require "support.example"
local run = require "support.run"
local server = require "smtptest.server"

local function list(command)
	local names = {}
	local pipe <close> = assert(io.popen(command))
	for name in pipe:lines() do names[#names + 1] = name end
	return names
end

-- Those that do not begin with a connection to the host.
local ALONE = { injectedreply = true, badserver = true, certificates = true, nodes = true, smugglingout = true,
	fuzzverbs = true, fuzzauth = true, fuzzbody = true }

describe("an example", function()
	local specs = {}
	for _, path in ipairs(list "ls t/examples_*_spec.lua") do specs[#specs + 1] = run.read(path) end
	specs = table.concat(specs)

	for _, path in ipairs(list "ls examples/*.lua") do
		local name = path:match "([^/]+)%.lua$"
		local text = run.read(path)

		it(path .. " begins with what it shows and how it is run", function()
			local comment = text:match "^#!/usr/bin/env %-S smtptest %-S\n(%-%- .-\n)\n"
			assert.is_truthy(comment and comment:find("\n--   smtptest [^\n]*%-S " .. name .. "%.lua"), comment)
		end)

		it(path .. " is short", function()
			local _, lines = text:gsub("\n", "")
			assert.is_true(lines >= 10 and lines <= 70, lines .. " lines")
		end)

		it(path .. " is run against a real program", function()
			assert.is_truthy(specs:find(name .. ".lua ", 1, true))
		end)

		if not ALONE[name] then
			it(path .. " says what failed where there is no server", function()
				local port = tostring(run.closed_port())
				local result = run.command { "-S", path, "-p", port, "127.0.0.1" }
				assert.are.equal(3, result.status, result.out .. result.err)
				assert.are.equal(("failure: connect to 127.0.0.1:%s: Connection refused\n"):format(port), result.err)
			end)
		end
	end
end)

describe("the folder of examples", function()
	-- Others than scripts: which spec runs them.
	local OTHERS = { ["host.c"] = "install" }

	it("has nothing that no spec runs", function()
		for _, path in ipairs(list "ls examples/*") do
			local name = path:match "[^/]+$"
			if not name:find "%.lua$" then
				local spec = OTHERS[name] and run.read(("t/%s_spec.lua"):format(OTHERS[name]))
				assert.is_truthy(spec and spec:find(path, 1, true), "nothing runs " .. path)
			end
		end
	end)

	it("is where specs find what they run", function()
		local names = {}
		for _, path in ipairs(list "ls examples/*") do names[path] = true end
		for _, path in ipairs(list "ls t/*_spec.lua") do
			for named in run.read(path):gmatch "[^%w%%](examples/%w+%.%l+)" do assert.is_true(names[named], path .. ": " .. named) end
		end
	end)
end)

describe("with our own server, the example", function()
	local ours

	setup(function() ours = server.listen({ tls = "starttls", sasl = { users = { alice = "secret" } } }):start() end)

	teardown(function() ours:stop() end)

	for _, name in ipairs { "message", "rfc5321", "extensions", "authmatrix", "injection", "smuggling", "pipelining", "limits",
		"bdat" } do
		it(name .. ".lua finds nothing wrong", function()
			example.content(name, { "-p", tostring(ours.port), "-a", "alice", "-w", "secret", "127.0.0.1" })
			example.content(name, { "-t", "", "-p", tostring(ours.port), "-a", "alice", "-w", "secret", "127.0.0.1" })
		end)
	end

	it("message.lua is a command itself, where smtptest is in PATH", function()
		local result = run.command({ "-p", tostring(ours.port), "127.0.0.1", "--", "a@x.test", "b@x.test" }, {
			program = os.getenv "PWD" .. "/examples/message.lua",
			env = { PATH = run.absolute:gsub("/smtptest$", "") .. ":" .. os.getenv "PATH" } })
		assert.are.same({ 0, "" }, { result.status, result.err })
		assert.matches("^250 ", result.out)
	end)
end)
