-- Assertions about sessions: what they accept, and what their failures say. t/test_spec.lua shows them in a run.

local expect = require "smtptest.expect"
local server = require "smtptest.server"
local smtptest = require "smtptest"

describe("assert", function()
	local peer, s

	before_each(function()
		peer = server.listen {}
		peer:start()
		s = smtptest.open { host = "127.0.0.1", port = peer.port, timeout = 20 }
	end)

	after_each(function()
		s:close()
		peer:stop()
	end)

	-- The text of what fn raises; where it says that it happened must be a line of this file.
	local function fails(fn)
		local ok, err = pcall(fn)
		assert.is_false(ok)
		local text = tostring(err)
		assert.matches("^[^\n]*expect_spec%.lua:%d+: ", text)
		return (text:gsub("^[^\n]-:%d+: ", ""))
	end

	it("reply accepts what Reply.is does, and gives the reply", function()
		local answer = s:noop()
		for _, spec in ipairs { 250, "2xx", "2.0.x", { 550, 250 }, "ok", function(r) return r.code == 250 end } do
			assert.equal(answer, (assert.reply(spec, answer)))
		end
		assert.is_not.reply("5xx", answer)
		assert.reply(250, s:pipeline { "NOOP", "RSET" })
	end)

	it("reply says what it expected and what came, with the transcript's end", function()
		local text = fails(function() assert.reply({ 550, "5.1.x" }, s:noop()) end)
		assert.matches("^NOOP: expected 550 or 5%.1%.x, got 250 2%.0%.0 ok\ntranscript:\n  S: 220 ", text)
		assert.matches("\n  C: NOOP\n  S: 250 2%.0%.0 ok$", text)
		assert.matches("^NOOP: expected anything but 2xx, got 250 ", fails(function() assert.is_not.reply("2xx", s:noop()) end))
	end)

	it("reply escapes what came", function()
		local answer = require "smtptest.reply".new "250 a\27[2J\r\n"
		assert.equal("expected 550, got 250 a\\x1b[2J", fails(function() assert.reply(550, answer) end))
	end)

	it("reply judges a list of replies as one", function()
		assert.matches("^expected 250, got 250 2%.0%.0 ok, 5%d%d ",
			fails(function() assert.reply(250, s:pipeline { "NOOP", "FOO" }) end))
	end)

	it("silent waits for nothing, and shows what came", function()
		assert.silent(s, 0.01)
		s:send "NOOP\r\n"
		assert.matches('^expected silence for 20 s, got "250 2%.0%.0 ok\\r\\n"\n', fails(function() assert.silent(s, 20) end))
		assert.is_not.silent(s, 20)
		s:reply():expect(250)
		assert.matches("^expected anything but silence, got nothing for 0%.01 s\n",
			fails(function() assert.is_not.silent(s, 0.01) end))
	end)

	it("silent knows the end of the connection", function()
		s:send "QUIT\r\n"
		s:reply()
		assert.matches("^expected silence for 20 s, got the end of the connection %(EOF%)\n",
			fails(function() assert.silent(s, 20) end))
	end)

	it("closed waits for the end, behind replies too", function()
		s:send "QUIT\r\n"
		assert.closed(s, "EOF")
		assert.closed(s)
		assert.matches("^expected the server to close with ECONNRESET, got the end with EOF\n",
			fails(function() assert.closed(s, "ECONNRESET") end))
		assert.matches("^expected the connection to stay open, got the end with EOF\n",
			fails(function() assert.is_not.closed(s) end))
	end)

	it("closed says what came instead", function()
		assert.is_not.closed(s)
		s.plan.timeout = 0.01
		assert.matches("^expected the server to close, got nothing in [%d.]+ s\n", fails(function() assert.closed(s) end))
	end)

	it("blames the line of the spec for wrong arguments", function()
		assert.equal("bad argument #2 of assert.reply (reply expected, got number)", fails(function() assert.reply(250, 3) end))
		assert.matches("^bad argument #1 of assert.silent ", fails(function() assert.silent({}, 1) end))
		assert.matches("^bad argument #2 of assert.silent ", fails(function() assert.silent(s) end))
		assert.matches("^bad argument #1 of assert.closed ", fails(function() assert.closed(nil) end))
		assert.matches("^bad argument #2 of assert.closed ", fails(function() assert.closed(s, 1) end))
	end)

	it("hides secrets", function()
		local answer = s:command "AUTH PLAIN AGFsaWNlAHNlY3JldA=="
		assert.is_nil(fails(function() assert.reply(235, answer) end):find("AGFsaW", 1, true))
	end)
end)

describe("expect.story", function()
	it("shows the end of a long transcript", function()
		local lines = {}
		for i = 1, 100 do lines[i] = "S: " .. i end
		local text = expect.story("what", table.concat(lines, "\n"))
		assert.matches("^what\ntranscript:\n  …\n  S: 81\n", text)
		assert.matches("\n  S: 100$", text)
	end)

	it("shows the end of what programs said", function()
		local kept = package.loaded["smtptest.process"]
		package.loaded["smtptest.process"] = { outputs = function()
			return { { name = "mine", text = "start\27\nready\n" }, { name = "mute", text = "" } }
		end }
		local text = expect.story("what", "")
		package.loaded["smtptest.process"] = kept
		assert.equal("what\noutput:\n  last words", expect.story("what", nil, "last words\n"))
		assert.equal("what\noutput of mine:\n  start\\x1b\n  ready", text)
	end)
end)
