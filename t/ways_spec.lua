-- One scenario file, unchanged, comes to the same whether the command runs it, stock Lua, or busted; against our own
-- server, and against one that somebody else wrote.

local child = require "child"
local daemon = require "support.daemon"
local postfix = require "support.postfix"
local run = require "support.run"
local smtptest = require "smtptest"

local SCENARIO = run.file("scenario.lua", [[
#!/usr/bin/env -S smtptest -S
local smtptest = require "smtptest"
local s <close> = smtptest.open()
local lines = {}
local function tell(...) lines[#lines + 1] = table.concat({ ... }, " ") end
tell("authenticated", tostring(s.authenticated), s.mechanism, "under", s.tls and "TLS" or "nothing")
tell("before MAIL:", tostring(s:rcpt("bob@peer.test"):is "5xx"))
s:mail("alice@peer.test", { BODY = "8BITMIME" }):expect(250)
s:rcpt("bob@peer.test"):expect(250)
tell("to nobody:", tostring(s:rcpt("nobody"):is { "2xx", "5xx" }))
s:rset():expect(250)
s:mail "alice@peer.test":expect(250)
s:rcpt "bob@peer.test":expect(250)
local t = smtptest.task.spawn(function() return s:data "Subject: one\r\n\r\n.dot\r\n" end)
tell("sent:", tostring(t:join():is "2xx"))
s:pipeline { "NOOP", "RSET", "NOOP" }:expect(250)
tell("quiet:", tostring(s:silent(0.01)))
local ok, err = pcall(function() s:command "two\r\nlines" end)
tell("two lines:", tostring(ok), (err:gsub("^.*/", "")))
if os.getenv "FAIL" then s:noop():expect "5xx" end
tell("bye:", tostring(s:quit():is(221)), s:drain(30).closed)
io.open(os.getenv "RESULT", "w"):write(table.concat(lines, "\n"))
]])

local EXPECTED = table.concat({ "authenticated true PLAIN under TLS", "before MAIL: true", "to nobody: true", "sent: true",
	"quiet: true", "two lines: false scenario.lua:18: bad command: \\r inside (send() sends exact bytes)", "bye: true EOF" }, "\n")

local SPEC = run.file("scenario_spec.lua", [[
describe("the scenario", function()
	it("plays", function() dofile(os.getenv "SCENARIO") end)
end)
]])

local RESULT = run.scratch "result"

-- Flags as in a shell.
local function flags(port)
	return ("-p %d -t '' -a alice -w secret -m PLAIN 127.0.0.1"):format(port)
end

local function busted(path)
	local argv = child.argv(("arg = { [0] = 'busted', '--ignore-lua', '--output=TAP', %q }\n"
		.. "require 'busted.runner' { standalone = false }"):format(path))
	return { table.unpack(argv, 2) }, argv[1]
end

-- name → how the words and the program for a port are made.
local WAYS = {
	["the command"] = function(port)
		return { "-c", ("exec \"$0\" -S \"$1\" %s"):format(flags(port)), run.absolute, SCENARIO }, "sh"
	end,
	["the file itself"] = function(port)
		return { "-c", ("chmod +x \"$0\" && exec \"$0\" %s"):format(flags(port)), SCENARIO }, "sh"
	end,
	["stock Lua"] = function() return { SCENARIO }, child.argv("")[1] end,
	["busted"] = function() return busted(SPEC) end,
	["busted without a spec"] = function() return busted(SCENARIO) end,
}

-- The sanitizers' leak check makes each take ten seconds; what they look at is the same code in all.
if (os.getenv "SAN" or "") ~= "" then
	WAYS["the file itself"], WAYS["busted"], WAYS["busted without a spec"] = nil, nil, nil
end

-- Plays the scenario in one way.
-- @return what run.command gives, and `told`: what the scenario found, nil when it did not come to its end
local function play(way, port, env)
	os.remove(RESULT)
	local argv, program = WAYS[way](port)
	local all = { SMTPTEST_FLAGS = flags(port), SCENARIO = SCENARIO, RESULT = RESULT, LUA_PATH = package.path,
		LUA_CPATH = package.cpath, PATH = run.absolute:gsub("/smtptest$", "") .. ":" .. os.getenv "PATH" }
	for name, value in pairs(env or {}) do all[name] = value end
	local result = run.command(argv, { program = program, env = all })
	local handle = io.open(RESULT)
	if handle then
		result.told = handle:read "a"
		handle:close()
	end
	return result
end

local function comes_to_the_same(title, start)
	describe(title, function()
		local server

		setup(function() server = start() end)
		teardown(function() server:stop() end)

		for way in pairs(WAYS) do
			it("is played by " .. way, function()
				local result = play(way, server.port)
				assert.are.equal(EXPECTED, result.told, result.out .. result.err)
				assert.are.equal(0, result.status)
				server.took(1)
			end)

			it("fails by " .. way .. " with the same words", function()
				local result = play(way, server.port, { FAIL = "yes" })
				assert.is_nil(result.told)
				assert.matches("NOOP: expected 5xx, got 250 2%.0%.0 [Oo]k", result.out .. result.err)
				assert.are.equal(way:find "^the" and 6 or 1, result.status)
				server.took(1)
			end)
		end
	end)
end

comes_to_the_same("a scenario against our own server", function()
	local server = smtptest.listen { tls = "starttls", sasl = { users = { alice = "secret" } } }
	server:start()
	function server.took(n)
		assert.are.equal(n, #server.messages)
		assert.are.equal("Subject: one\r\n\r\n.dot\r\n", table.remove(server.messages).data)
	end
	return server
end)

describe("a scenario", function()
	local why = daemon.missing "postfix"
	if why then return pending("comes to the same against Postfix: " .. why) end
	comes_to_the_same("against Postfix", function()
		local server = postfix.start()
		function server.took(n)
			for _ = 1, n do assert.matches("\n\n%.dot\n", server:take "mail/box") end
		end
		return server
	end)
end)

