local run = require "support.run"

local function examples()
	local list = {}
	local pipe <close> = assert(io.popen "ls examples/*.lua")
	for path in pipe:lines() do list[#list + 1] = path end
	return list
end

-- What each example is run with, and what it must come to.
local RUNS = {
	["examples/message.lua"] = {
		words = { "--", "a@x.test", "b@x.test" },
		out = "250 ok\n",
		sees = "MAIL FROM:<a@x.test> SIZE=2000",
	},
}

describe("an example", function()
	for _, path in ipairs(examples()) do
		it(path .. " does what its comment says", function()
			local expected = assert(RUNS[path], path .. " has no test")
			local server = run.server(function(c)
				c:send "220 stub ESMTP\r\n"
				c:capabilities("SIZE 1000000")
				c:serve()
			end)
			local words = { "-S", path, "-p", tostring(server.port), "127.0.0.1", table.unpack(expected.words) }
			local result = run.command(words)
			server.stop()
			assert.are.equal("", result.err)
			assert.are.equal(expected.out, result.out)
			assert.are.equal(0, result.status)
			assert.is_truthy(table.concat(server.seen):find(expected.sees, 1, true))
		end)

		it(path .. " is a command itself, where smtptest is in PATH", function()
			local expected = RUNS[path]
			local server = run.server(function(c)
				c:send "220 stub ESMTP\r\n"
				c:capabilities("SIZE 1000000")
				c:serve()
			end)
			local result = run.command({ "-p", tostring(server.port), "127.0.0.1", table.unpack(expected.words) }, {
				program = os.getenv "PWD" .. "/" .. path,
				env = { PATH = run.absolute:gsub("/smtptest$", "") .. ":" .. os.getenv "PATH" } })
			server.stop()
			assert.are.same({ 0, expected.out, "" }, { result.status, result.out, result.err })
		end)

		it(path .. " says what failed where there is no server", function()
			local result = run.command { "-S", path, "-p", tostring(run.closed_port()), "127.0.0.1" }
			assert.are.equal(3, result.status)
			assert.are.equal("failure: connect: Connection refused\n", result.err)
		end)
	end
end)
