-- Playing a case: the bytes that the server sees, what is a difference, and the command --replay.

local case = require "smtptest.case"
local failure = require "smtptest.failure"
local run = require "support.run"
local server = require "smtptest.server"

local function parse(text)
	return assert(case.parse("smtptest case 1\n" .. text, "x"))
end

-- Plays a case against a scripted server → result, what that read
local function play(text, script, plan, options)
	local peer = run.server(script)
	local all = { host = "127.0.0.1", port = peer.port, timeout = 20 }
	for name, value in pairs(plan or {}) do all[name] = value end
	local ok, result = pcall(case.play, parse(text), all, options)
	peer.stop()
	if not ok then error(result, 0) end
	assert.same({}, peer.errors)
	return result, table.concat(peer.seen)
end

-- line, expected, got of the differences
local function differences(result)
	local list = {}
	for i, one in ipairs(result.differences) do list[i] = ("%d|%s|%s"):format(one.line, one.expected, one.got) end
	return list
end

local function polite(c)
	c:send "220 stub\r\n"
	c:serve()
	c:gone()
end

describe("case.play", function()
	it("sends what the case says, and is content with what it expects", function()
		local result, seen = play([[
connect
reply 220
send "EHLO a\r\nNOOP\r\n" split 3,1 gap 0.001
reply 2xx
reply
send "QUIT\r\n"
reply 221
close
]], polite)
		assert.same({ same = true, replies = 4, differences = {} }, result)
		assert.equal("EHLO a\r\nNOOP\r\nQUIT\r\n", seen)
	end)

	it("tells each reply that differs, and goes on", function()
		local told = {}
		local result, seen = play('connect\nreply 554\nsend "NOOP\\r\\n"\nreply 5xx 4.1.x\nsend "QUIT\\r\\n"\nreply 221\n', polite,
			nil, { on_difference = function(one) told[#told + 1] = one.line end })
		assert.same({ "3|554|220 stub", "5|5xx or 4.1.x|250 ok" }, differences(result))
		assert.is_false(result.same)
		assert.same({ 3, 5 }, told)
		assert.equal("NOOP\r\nQUIT\r\n", seen)
	end)

	it("compares the string of a reply by its code, to the byte, or not at all", function()
		local text = 'connect\nreply 220 "220 other\\r\\n"\nsend "NOOP\\r\\n"\nreply "550 no\\r\\n"\n'
		assert.same({ "5|550|250 ok" }, differences(play(text, polite)))
		assert.same({ "3|220 other\\r\\n|220 stub\\r\\n", "5|550 no\\r\\n|250 ok\\r\\n" },
			differences(play(text, polite, nil, { match = "exact" })))
		assert.same({}, differences(play(text, polite, nil, { match = "none" })))
	end)

	it("fills in what an earlier reply said", function()
		local result, seen = play([[
connect
reply 220
var WORD "^(%w+)"
send "NOOP ${WORD} \x24{WORD}\r\n"
reply 250
]], polite)
		assert.is_true(result.same)
		assert.equal("NOOP stub ${WORD}\r\n", seen)
	end)

	it("tells a reply without what var looks for, and a variable that is not there", function()
		assert.same({ '4|a reply with "%d+x"|220 stub' },
			differences(play('connect\nreply\nvar A "%d+x"\nsend "${A}\\r\\n"\n', polite)))
		local err = select(2, pcall(play, 'connect\nsend "${B}"\n', polite))
		assert.equal("x:3: no variable 'B'", tostring(err))
	end)

	it("tells the end of a connection once, and leaves out the rest of that one", function()
		local result, seen = play([[
connect
c2 connect
reply 220
c2 reply 220
send "NOOP\r\n"
reply 250
send "RSET\r\n"
reply 250
c2 send "QUIT\r\n"
c2 reply 221
]], function(c, n)
			c:send "220 stub\r\n"
			if n == 1 then return c:line() end
			c:serve()
		end)
		assert.same({ "7|250|the server closed the connection" }, differences(result))
		assert.equal("NOOP\r\nQUIT\r\n", seen)
	end)

	it("sends no message for commands where DATA is refused", function()
		local result, seen = play('connect\nreply\nsend "DATA\\r\\n"\nreply 354\nsend "x\\r\\n.\\r\\n"\nreply 250\n', function(c)
			c:send "220 stub\r\n"
			c:reply "503 no"
			c:gone()
		end)
		assert.same({ "5|354|503 no" }, differences(result))
		assert.equal("DATA\r\n", seen)
	end)

	it("waits for silence", function()
		local result = play('connect\nsilent 0.01\nc2 connect\nc2 silent 20\nc2 reply\nc2 silent 20\n', function(c, n)
			if n == 2 then return c:send "220 stub\r\n" end
			c:gone()
		end)
		assert.same({ "5|silence for 20 s|220 stub\\r\\n", "7|silence for 20 s|the end of the connection (EOF)" },
			differences(result))
	end)

	it("half-closes, resets and closes", function()
		local result, seen = play('connect\nreply\nhalf_close\nreply 421\nc2 connect\nc2 reply\nc2 abort\nc3 connect\nc3 close\n',
			function(c)
				c:send "220 stub\r\n"
				c:gone()
				pcall(c.send, c, "421 bye\r\n")
			end)
		assert.is_true(result.same)
		assert.equal("", seen)
	end)

	for name, text in pairs {
		starttls = 'connect\nreply 220\nstarttls\nreply 220\nsend "NOOP\\r\\n"\nreply 250\n',
		["a bare starttls"] = 'connect\nreply 220\nstarttls\nsend "NOOP\\r\\n"\nreply 250\n',
		handshake = 'connect\nreply 220\nsend "STARTTLS\\r\\n"\nreply 220\nhandshake\nsend "NOOP\\r\\n"\nreply 250\n',
	} do
		it("shakes hands: " .. name, function()
			local secure
			local result, seen = play(text, function(c)
				c:send "220 stub\r\n"
				c:reply "220 go"
				secure = c:tls()
				c:serve()
			end, { tls = "starttls" })
			assert.same({}, differences(result))
			assert.equal("STARTTLS\r\nNOOP\r\n", seen)
			assert.is_truthy(secure)
		end)
	end

	it("shakes hands once where TLS is implicit", function()
		local result = play('connect\nhandshake\nreply 220\n', function(c)
			c:tls()
			c:send "220 stub\r\n"
			c:gone()
		end, { tls = "implicit" })
		assert.same({}, differences(result))
	end)

	it("tells a handshake that fails, or is refused", function()
		local result = play('connect\nreply\nstarttls\nsend "NOOP\\r\\n"\n', function(c)
			c:send "220 stub\r\n"
			c:reply "454 not now"
			c:reply "250 ok"
		end)
		assert.same({ "4|220|454 not now" }, differences(result))
		result = play('connect\nhandshake\nreply\n', function(c) c:send "220 stub\r\n" end)
		assert.equal(1, #result.differences)
		assert.equal("a handshake", result.differences[1].expected)
	end)

	it("blames the line that called it for wrong options", function()
		local case_of = parse "connect\n"
		for words, fn in pairs { ["unknown option 'mtach'"] = function() case.play(case_of, {}, { mtach = "code" }) end,
			["bad match 'some'"] = function() case.play(case_of, {}, { match = "some" }) end,
			["unknown plan field 'prot'"] = function() case.play(case_of, { prot = 1 }) end } do
			local ok, err = pcall(fn)
			assert.is_false(ok)
			assert.matches("^%S*t/replay_spec%.lua:%d+: " .. words, err)
		end
	end)

	it("refuses a connection that is not there, and what it can't rebuild", function()
		local function why(text) return tostring(select(2, pcall(play, text, polite))) end
		assert.equal("x:2: c1 is not connected", why 'reply\n')
		assert.equal("x:4: what was sent here is hidden (record it with --show-secrets)",
			why 'connect\nsecret\nsend "X <3 bytes hidden>\\r\\n"\n')
		assert.has_error(function() case.play(parse "", {}, { match = "some" }) end, "bad match 'some' (code, exact or none)")
	end)
end)

describe("a case with AUTH", function()
	local peer

	setup(function()
		peer = server.listen { sasl = { users = { alice = "wonderland" } } }
		peer:start()
	end)
	teardown(function() peer:stop() end)

	local function authenticate(text, password)
		return case.play(parse('connect\nreply 220\nsend "EHLO a\\r\\n"\nreply 250\n' .. text), { host = "127.0.0.1",
			port = peer.port, authname = "alice", password = password or "wonderland", timeout = 20 })
	end

	it("authenticates through the session", function()
		assert.same({}, differences(authenticate 'auth PLAIN\nreply 235\nsend "NOOP\\r\\n"\nreply 250\n'))
		assert.same({}, differences(authenticate 'auth SCRAM-SHA-256\nsend "NOOP\\r\\n"\nreply 250\n'))
		assert.same({}, differences(authenticate('auth PLAIN\nreply 535\n', "bad")))
		local result = authenticate("auth PLAIN\n", "bad")
		assert.equal("235", result.differences[1].expected)
		assert.matches("^535 ", result.differences[1].got)
	end)

	it("makes an exchange again that was masked", function()
		assert.same({}, differences(authenticate(table.concat({ "secret", 'send "AUTH PLAIN <24 bytes hidden>\\r\\n"',
			"reply 235", 'send "NOOP\\r\\n"', "reply 250", "" }, "\n"))))
		assert.same({}, differences(authenticate(table.concat({ 'send "AUTH LOGIN\\r\\n"', "reply 334", "secret",
			'send "<8 bytes hidden>\\r\\n"', 'reply 334 "334 UGFzc3dvcmQ6\\r\\n"', "secret", 'send "<16 bytes hidden>\\r\\n"',
			"reply 235", 'send "NOOP\\r\\n"', "reply 250", "" }, "\n"))))
	end)

	it("makes one again that has an empty answer", function()
		assert.same({}, differences(authenticate(table.concat({ "secret", 'send "AUTH SCRAM-SHA-256 <60 bytes hidden>\\r\\n"',
			"reply 334", "secret", 'send "<160 bytes hidden>\\r\\n"', "reply 334", 'send "\\r\\n"', "reply 235",
			'send "NOOP\\r\\n"', "reply 250", "" }, "\n"))))
	end)

	it("plays an exchange that was not masked as it is", function()
		local base64 = require "smtptest.base64"
		assert.same({}, differences(authenticate(('send "AUTH PLAIN\\r\\n"\nreply 334\nsecret\nsend "%s\\r\\n"\nreply 235\n'):format(
			base64.encode "\0alice\0wonderland"), "unused")))
	end)

	it("raises what the person must mend", function()
		local ok, err = pcall(case.play, parse "connect\nreply\nauth NOSUCH\n", { host = "127.0.0.1", port = peer.port })
		assert.is_false(ok)
		assert.is_true(failure.is(err))
		assert.equal("NOMECH", err.code)
	end)

	local function command(text, words, options)
		local path = run.file("replay.case", "smtptest case 1\n" .. text)
		local all = { "--replay=" .. path, "-p", tostring(peer.port), "127.0.0.1", table.unpack(words or {}) }
		return run.command(all, options), path
	end

	it("is played by --replay, status 0 and a line", function()
		local r, path = command('connect\nreply 220\nsend "NOOP\\r\\n"\nreply 250\n')
		assert.equal(0, r.status, r.err)
		assert.equal(path .. ": 2 replies, no difference\n", r.out)
		assert.equal("", r.err)
	end)

	it("has a line for each difference, and status 6", function()
		local r, path = command('connect\nreply 554\nsend "NOOP\\r\\n"\nreply 250 "250 x\\r\\n"\n', { "--match=exact" })
		assert.equal(6, r.status, r.err)
		assert.equal(("%s:3: expected 554, got 220 localhost ESMTP smtptest\n%s:5: expected 250 x\\r\\n, got 250 2.0.0 ok\\r\\n\n")
			:format(path, path), r.out)
	end)

	it("asks for the password, or takes it from a file", function()
		local text = 'connect\nreply 220\nsend "EHLO a\\r\\n"\nreply 250\nauth PLAIN\nreply 235\n'
		local r = command(text, { "-a", "alice" }, { stdin = "wonderland\n", alone = true })
		assert.equal(0, r.status, r.out .. r.err)
		assert.matches("^Please enter your password: ", r.out)
		r = command(text, { "-a", "alice", "--password-file=" .. run.file("replay.password", "wonderland\n") })
		assert.equal(0, r.status, r.out .. r.err)
		r = command(text, { "-a", "alice" }, { stdin = "", alone = true })
		assert.equal(5, r.status, r.out .. r.err)
		assert.matches("failure: no password given\n", r.err)
	end)

	it("says what is wrong with a file", function()
		local r, path = command "connect\nblow\n"
		assert.equal(1, r.status)
		assert.equal(("failure: %s:3: unknown step 'blow'\n"):format(path), r.err)
		-- What is recorded where nobody listens: nothing has been compared.
		for _, text in ipairs { "", "# nothing\n" } do
			r, path = command(text)
			assert.equal(1, r.status)
			assert.equal("", r.out)
			assert.equal(("failure: %s: the case has no step\n"):format(path), r.err)
		end
		r = run.command { "--replay=/nosuch/case", "127.0.0.1" }
		assert.equal(1, r.status)
		assert.equal("failure: --replay: /nosuch/case: No such file or directory\n", r.err)
		r = run.command { "--match=code", "127.0.0.1" }
		assert.equal("failure: --match: only --replay compares\n", r.err)
		r = run.command { "--replay=x", "--match=some" }
		assert.equal("failure: --match: not code, exact or none: some\n", r.err)
	end)

	it("ends with the network's status where nobody listens", function()
		local path = run.file("closed.case", "smtptest case 1\nconnect\n")
		local r = run.command { "--replay=" .. path, "-p", tostring(run.closed_port()), "127.0.0.1" }
		assert.equal(3, r.status)
	end)
end)
