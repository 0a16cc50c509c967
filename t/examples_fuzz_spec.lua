-- The examples of the fuzzer against the server with planted bugs.

local example = require "support.example"
local planted = require "support.planted"
local run = require "support.run"

local key = planted.key()

-- Runs one against a server of its own.
local function against(bugs, fn, name, count)
	local child <close>, port = planted.start(key, bugs)
	local out = fn(name, { "-p", tostring(port), "127.0.0.1", "--", count })
	assert.is_true(child:alive())
	return out
end

describe("with the planted server, the example", function()
	for _, title in ipairs { "fuzzverbs.lua finds nothing wrong", "fuzzauth.lua finds nothing wrong",
		"fuzzbody.lua finds nothing wrong" } do
		it(title .. " where nothing is", function()
			assert.equal("", against("none", example.content, title:match "%w+", "200"))
		end)
	end

	it("fuzzverbs.lua finds what long arguments do", function()
		local server = run.server(function(c)
			c:send "220 stub\r\n"
			repeat
				local line = c:line()
				c:send(line:upper() == "QUIT" and "221 bye\r\n" or #line > 40 and "500 too long\n" or "250 ok\r\n")
			until line:upper() == "QUIT"
		end)
		local out = example.complains("fuzzverbs", { "-p", tostring(server.port), "127.0.0.1", "--", "50" })
		server.stop()
		assert.is_truthy(out:find("syntax/bare-lf/", 1, true), out)
		assert.is_truthy(out:find("\tsmtptest case 1\n", 1, true), out)
	end)

	it("fuzzbody.lua finds another end of data", function()
		assert.matches("^count/surplus/message\t", against("dot-desync", example.complains, "fuzzbody", "200"))
	end)
end)
