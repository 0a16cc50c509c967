-- The module's own table: what `require "smtptest"` gives.

local peer = require "support.peer"
local run = require "support.run"
local smtptest = require "smtptest"

local complaint = peer.complaint

-- What the library prints in a stock Lua.
local function plain(chunk, env)
	local command = ("package.path, package.cpath = %q, %q\n%s"):format(package.path, package.cpath, chunk)
	local result = run.command({ "-e", command }, { program = os.getenv "LUA" or "lua5.4", env = env, alone = true })
	assert.equal(0, result.status, result.err)
	return result.out
end

describe("smtptest.options", function()
	it("are empty in plain Lua", function()
		assert.equal("", plain("for k, v in pairs(require 'smtptest'.options) do print(k, v) end", { SMTPTEST_FLAGS = "" }))
		assert.equal("", plain("os.getenv = function() end for k, v in pairs(require 'smtptest'.options) do print(k, v) end"))
	end)

	it("are what SMTPTEST_FLAGS says, also to open", function()
		assert.equal("alice 2525 mx.test starttls\n", plain(
			"local o = require 'smtptest'.options print(o.authname, o.port, o.host, o.tls)",
			{ SMTPTEST_FLAGS = "-a alice -p 2525 -t '' mx.test" }):gsub("\t", " "))
		local port = run.closed_port()
		assert.equal("ECONNREFUSED", plain("local ok, err = pcall(require 'smtptest'.open) io.write(err.code)",
			{ SMTPTEST_FLAGS = ("-p %d 127.0.0.1"):format(port) }))
	end)

	it("take quotes as the shell does", function()
		assert.equal("starttls,,a b,x'y,mx.test", plain(
			"local o = require 'smtptest'.options io.write(table.concat({ o.tls, o.keyfile or '', o.password, o.authname, o.host }, ','))",
			{ SMTPTEST_FLAGS = " -t \"\" -w 'a b' -a x\"'\"y  mx.test " }))
	end)

	it("that are refused raise, with the words of the command line", function()
		local out = plain("print(pcall(function() return require 'smtptest'.options end))", { SMTPTEST_FLAGS = "--nosuch" })
		assert.equal("false\tSMTPTEST_FLAGS: unrecognized option '--nosuch'", (out:gsub("\n$", "")))
		out = plain("print(pcall(require 'smtptest'.open))", { SMTPTEST_FLAGS = "-p 99999" })
		assert.matches("^false\tSMTPTEST_FLAGS: %-p: .*: 99999\n?$", out)
	end)
end)

describe("smtptest.plan", function()
	it("lays changes over a copy of the base", function()
		local base = { host = "a.test", to = { "x" } }
		local plan = smtptest.plan({ port = 25 }, base)
		assert.same({ host = "a.test", to = { "x" }, port = 25 }, plan)
		plan.to[1] = "y"
		assert.equal("x", base.to[1])
	end)

	it("takes the options where no base is given", function()
		local before = smtptest.options
		smtptest.options = { host = "options.test" }
		local plan = smtptest.plan { port = 26 }
		smtptest.options = before
		assert.same({ host = "options.test", port = 26 }, plan)
	end)

	it("is checked, changes and base, and blames who wrote it", function()
		assert.matches("^t/init_spec%.lua:%d+: unknown plan field 'hots' %(did you mean 'host'%?%)",
			complaint(function() local p = smtptest.plan { hots = "x" } return p end))
		assert.matches("unknown plan field 'prot'", complaint(smtptest.plan, {}, { prot = 25 }))
	end)
end)

describe("connect and open", function()
	it("inherit nothing of the options by themselves", function()
		local before = smtptest.options
		smtptest.options = { helo = "options.test", authname = "alice", password = "x" }
		local client = peer.over_tcp(function(c)
			c:send "220 hi\r\n"
			c:capabilities "AUTH PLAIN"
			c:rest()
		end, function(s)
			assert.equal("smtptest", s.plan.helo)
			assert.is_nil(s.plan.authname)
		end, nil, smtptest.open)
		smtptest.options = before
		assert.same({ "EHLO smtptest" }, client.seen)
	end)
end)

describe("smtptest.message", function()
	it("is a string with the fields", function()
		local text = smtptest.message { from = "a@x.test", to = { "b@x.test", "c@x.test" }, subject = "S", header = { ["X-A"] = "1" },
			body = "one\ntwo" }
		for _, part in ipairs { "Date: ", "\r\nMessage-ID: <", "\r\nFrom: <a@x.test>\r\n",
			"\r\nTo: <b@x.test>,\r\n\t<c@x.test>\r\n", "\r\nSubject: S\r\n", "\r\nX-A: 1\r\n", "\r\n\r\none\r\ntwo" } do
			assert.is_truthy(text:find(part, 1, true), part)
		end
		assert.equal(5000, #smtptest.message { size = 5000 })
	end)

	it("needs nothing, and refuses a misspelt field", function()
		assert.matches("^Date: ", smtptest.message())
		assert.matches("^t/init_spec%.lua:%d+: unknown option 'form' %(did you mean 'from'%?%)",
			complaint(function() local m = smtptest.message { form = "x" } return m end))
		assert.matches("option 'size': expected integer", complaint(smtptest.message, { size = "1k" }))
	end)
end)

describe("smtptest.prompt", function()
	it("is nil, a message and ENXIO without a terminal", function()
		assert.equal("nil ENXIO true", plain [[
			local answer, message, code = require "smtptest".prompt("Password: ", { echo = false })
			io.write(tostring(answer), " ", tostring(code), " ", tostring(#message > 0))]])
	end)

	it("refuses a misspelt option, and a question that is none", function()
		assert.matches("^t/init_spec%.lua:%d+: unknown option 'ecoh' %(did you mean 'echo'%?%)",
			complaint(function() local a = smtptest.prompt("x", { ecoh = false }) return a end))
		assert.matches("^t/init_spec%.lua:%d+: bad question %(string expected, got nil%)",
			complaint(function() local a = smtptest.prompt() return a end))
	end)
end)

describe("smtptest.mask", function()
	it("replaces what is secret in an event", function()
		assert.equal("AUTH PLAIN <4 bytes hidden>\r\n", smtptest.mask { bytes = "AUTH PLAIN abcd\r\n", secret = { 12, 15 } })
		assert.equal("NOOP\r\n", smtptest.mask { bytes = "NOOP\r\n" })
	end)
end)
