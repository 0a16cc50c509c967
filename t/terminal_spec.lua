-- The built program in a terminal of its own (util-linux's script): prompts, keys, what it shows, and how it leaves it.

local base64 = require "smtptest.base64"
local run = require "support.run"
local scene = require "support.scene"
local socket = require "smtptest.core.socket"
local task = require "smtptest.task"

local words = scene.words
local PASSWORD, FACTOR, END = { wait = "Please enter your password: " }, { wait = "factor: 0" }, { wait = "[end]" }
local HELLO = "EHLO smtptest"
local NO_PASSWORD = { "-m", "PLAIN", "-a", "alice" }

local function quoted(word)
	return "'" .. word:gsub("'", "'\\''") .. "'"
end

local files = 0

-- A case of scene, played in a terminal; `keys` is what is typed. What the terminal shows is `out`, with LF for line
-- ends; behind it the program's status and whether the terminal still echoes.
local function at(name, case)
	local argv = case.argv or scene.PLAIN
	case[1], case.program, case.stdin = name, "script", words(case.keys, { END })
	case.argv = function(port)
		files = files + 1
		local list = {}
		for i, word in ipairs(words({ run.program, "-p", case.port or port }, argv, { "127.0.0.1" })) do
			list[i] = quoted(word)
		end
		local path = run.file("terminal-" .. files, ([[
			trap : INT TERM
			%s
			echo "[status $?]"
			stty -a | grep -q -- ' -echo ' && echo '[silent]' || echo '[echo]'
			echo '[end]'
		]]):format(table.concat(list, " ")))
		return { "-qec", "exec sh " .. path, "/dev/null" }
	end
	case.status = nil
	local check = case.check
	function case.check(r)
		local shown = r.out:gsub("\r", "")
		assert.is_truthy(shown:find(("[status %d]\n[echo]\n[end]\n"):format(case.ends or 0), 1, true), shown)
		for _, text in ipairs(case.shows or {}) do
			assert.is_truthy(shown:find(text, 1, true), ("%q is not shown:\n%s"):format(text, shown))
		end
		if check then check(r, shown) end
	end
	return case
end

local function plain(password)
	return "AUTH PLAIN " .. base64.encode("\0alice\0" .. password)
end

-- One who is there, says nothing, and tells who waits for him.
local function silent(arrived)
	return function(c)
		arrived:set(true)
		c:gone()
	end
end

local function waits_for(promise)
	return function() promise:wait() end
end

local there, early, greet = task.promise(), task.promise(), task.promise()
local PIDFILE = run.scratch "pid"

-- Until the program has written its number: it is about to connect.
local function written()
	local number
	repeat
		task.sleep(0.005)
		local handle = io.open(PIDFILE)
		number = handle and handle:read "n"
		if handle then handle:close() end
	until number
	return number
end

-- A listening socket whose queue is full: whoever connects waits.
local full = { sockets = {} }
full.listener = assert(socket.listen({ family = "inet", host = "127.0.0.1", port = 0 }, { backlog = 0 }))
for i = 1, 4 do full.sockets[i] = socket.connect(full.listener:address()) end

local function digest(c)
	c:welcome "AUTH DIGEST-MD5"
	c:reply("334 " .. base64.encode 'realm="one",realm="two",nonce="n",qop="auth",algorithm=md5-sess,charset=utf-8')
	c:reply "535 no"
	c:serve()
end

local function answers_realm(realm)
	return function(r)
		local answer = base64.decode((r.seen[3]:gsub("\r\n", "")))
		assert.is_truthy(answer:find(('realm="%s"'):format(realm), 1, true), answer)
	end
end

local cases = {
	at("a password is asked for without echo", { argv = NO_PASSWORD, server = scene.polite,
		keys = { PASSWORD, "s3cret\n", FACTOR, "\4" }, lacks = "s3cret", seen = { HELLO, plain "s3cret", "QUIT" },
		shows = { "S: 250 AUTH PLAIN\nPlease enter your password: \nC: AUTH PLAIN " } }),
	at("a password is asked for in each round", { argv = words(NO_PASSWORD, { "-n", "2" }), server = scene.polite,
		keys = { PASSWORD, "one\n", { wait = "closed.\r\n\r\nS:" }, "two\n", { wait = "C: AUTH PLAIN AGFsaWNlAHR3bw==" },
			"\4" }, seen = { HELLO, plain "one", "QUIT", HELLO, plain "two", "QUIT" } }),
	at("a password typed before the prompt is neither shown nor lost", { argv = NO_PASSWORD, server = function(c)
		early:set(true)
		greet:wait()
		scene.polite(c)
	end, keys = { waits_for(early), "too-early\n", function() greet:set(true) end, FACTOR, "\4" }, lacks = "too-early",
		seen = { HELLO, plain "too-early", "QUIT" } }),
	at("a password may be corrected with the erase key", { argv = NO_PASSWORD, server = scene.polite,
		keys = { PASSWORD, "wronk\127g\n", FACTOR, "\4" }, seen = { HELLO, plain "wrong", "QUIT" } }),
	at("^C at the prompt ends the program and puts the echo back", { argv = NO_PASSWORD, server = scene.polite,
		ends = 130,
		keys = { PASSWORD, "half\3" }, seen = { HELLO }, lacks = "half" }),
	at("^D at the prompt is no password", { argv = NO_PASSWORD, server = scene.polite, ends = 1, keys = { PASSWORD,
		"\4" },
		shows = { "failure: no password given\n" }, seen = { HELLO } }),
	at("^C while the server says nothing ends the program", { argv = NO_PASSWORD, server = silent(there), ends = 130,
		keys = { waits_for(there), "\3" }, seen = {} }),
	at("^C while connecting ends the program", { argv = words(NO_PASSWORD, { "-I", PIDFILE }), server = scene.polite,
		port = tostring(full.listener:address().port), ends = 130, keys = { written, "\3" }, seen = {} }),
	at("^C in the session says QUIT and is no failure", { server = scene.polite, keys = { FACTOR, "\3" },
		seen = { HELLO, plain "secret", "QUIT" }, shows = { "factor: 0\n^CC: QUIT\nConnection closed.\n" } }),
	at("^D in the session says QUIT and waits for the answer", { server = scene.polite, keys = { FACTOR, "\4" },
		seen = { HELLO, plain "secret", "QUIT" }, shows = { "factor: 0\nC: QUIT\n221 bye\nConnection closed.\n" } }),
	at("what is typed in the session is shown by the terminal", { server = scene.polite,
		keys = { FACTOR, "NOOP\n", { wait = "250 ok" }, "QUIT\n" }, seen = { HELLO, plain "secret", "NOOP", "QUIT" },
		shows = { "factor: 0\nNOOP\n250 ok\nQUIT\n221 bye\nConnection closed.\n" } }),
	at("STARTTLS that is typed is followed by the handshake", { server = function(c)
		c:welcome "AUTH PLAIN"
		c:reply "235 ok"
		c:reply "454 later"
		c:reply "220 go"
		c:tls()
		c:serve()
	end, keys = { FACTOR, "STARTTLS\n", { wait = "454 later" }, "STARTTLS\n", { wait = "TLS connection established" },
		"NOOP\n", { wait = "250 ok" }, "\4" }, seen = { HELLO, plain "secret", "STARTTLS", "STARTTLS", "NOOP", "QUIT" },
		shows = { "220 go\nverify error:num=18:self-signed certificate\n", "\nTLS connection established: TLSv1.3 " } }),
	at("a handshake that fails after it ends the session", { server = function(c)
		c:welcome "AUTH PLAIN"
		c:reply "235 ok"
		c:reply "220 go"
		c.transport:read(1)
		c:send "no TLS\r\n"
		c:gone()
	end, keys = { FACTOR, "STARTTLS\n" }, ends = 1, shows = { "220 go\nfailure: TLS negotiation failed: " } }),
	at("control characters of the server do not reach the terminal", { server = function(c)
		c:send "220 \27[2J\7\0stub\r\n"
		c:capabilities "AUTH PLAIN"
		c:reply "235 \194\155ok \27]0;title\7"
		c:reply "250 \27[31mred\8\127"
		c:serve()
	end, keys = { FACTOR, "NOOP\n", { wait = "red" }, "\4" }, lacks = { "\27", "\7", "\0", "\8", "\127", "\194\155" },
		shows = { "S: 220 \\x1b[2J\\x07\\x00stub\n", "250 \\x1b[31mred\\x08\\x7f\n" } }),
	at("control characters of a greeting do not reach the terminal in the failure", { server = function(c)
		c:send "554 \27[2J\r\n"
		c:gone()
	end, keys = {}, ends = 1, lacks = "\27", shows = { "failure: greeting: 554 \\x1b[2J\n" } }),
	at("a realm is asked for with echo", { argv = { "-m", "DIGEST-MD5", "-a", "alice", "-w", "secret" }, server = digest,
		keys = { { wait = "Please enter your realm: " }, "two\n", FACTOR, "\4" },
			shows = { "Please enter your realm: two\n" },
		check = answers_realm "two" }),
	at("a realm is asked for after the password", { argv = { "-m", "DIGEST-MD5", "-a", "alice" }, server = digest,
		keys = { PASSWORD, "s3cret\n", { wait = "Please enter your realm: " }, "one\n", FACTOR, "\4" }, lacks = "s3cret",
		shows = { "Please enter your password: \nPlease enter your realm: one\n" }, check = answers_realm "one" }),
	at("a one-time password is asked for without echo", { argv = { "-c", "-m", "OTP", "-a", "alice" },
		server = function(c)
		c:welcome "AUTH OTP"
		c:reply("334 " .. base64.encode "otp-md5 499 ke1234 ext")
		c:reply "535 no"
		c:serve()
	end, keys = { { wait = "Please enter your one-time password: " }, "WORD SIX\n", FACTOR, "\4" }, lacks = "WORD SIX",
		shows = { "Server challenge: otp-md5 499 ke1234 ext\nPlease enter your one-time password: \n" } }),
	at("SIGTERM at the prompt puts the echo back", { argv = words(NO_PASSWORD, { "-I", PIDFILE .. "2" }),
		server = scene.polite,
		ends = 143, seen = { HELLO }, keys = { PASSWORD, function()
			os.execute("kill -TERM $(cat " .. PIDFILE .. "2)")
		end } }),
}

describe("in a terminal", function()
	setup(function() scene.play(cases) end)
	teardown(function()
		for _, one in ipairs(full.sockets) do one:close() end
		full.listener:close()
	end)
	for _, case in ipairs(cases) do
		it(case[1], function() scene.judge(case) end)
	end
end)
