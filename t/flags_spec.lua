-- The built program, black box: where it connects, what it sends instead of the keyboard's text, and scripts of the
-- user.

local run = require "support.run"
local scene = require "support.scene"

local PLAIN, START, AUTHED, BYE = scene.PLAIN, scene.START, scene.AUTHED, scene.BYE
local words, polite, open = scene.words, scene.polite, scene.open
local HELLO, AUTH = "EHLO smtptest", "AUTH PLAIN AGFsaWNlAHNlY3JldA=="

-- All words but the port, which is the server's.
local function with_port(...)
	local rest = { ... }
	return function(port)
		return words({ "-p", port }, rest)
	end
end

-- ---------------------------------------------------------------- where to

local IPV6 = { address = { family = "inet6", host = "::1", port = 0 } }
local CLOSED = tostring(run.closed_port())

local function refused(host, name)
	return { "that refuses is told: " .. host, argv = words(PLAIN, { "-p", CLOSED, host }), status = 1,
		err = ("connect: Connection refused\nfailure: Network initialization - cannot connect to %s:%s\n"):format(
			name or host, CLOSED) }
end

local function from_address(name, source, check, flags)
	return { name, argv = words(PLAIN, { "--source=" .. source }, flags or {}), server = function(c)
		c.seen.peer = c.peer
		polite(c)
	end, check = function(r) check(r.seen.peer) end }
end

local SOURCE_PORT = run.free_port()

scene.specs("a host", {
	{ "may be left out, with a warning", argv = with_port(table.unpack(PLAIN)), server = polite, out = AUTHED .. BYE,
		err = "WARNING: no hostname supplied, assuming localhost\n\n" },
	{ "is the first operand, wherever it stands", argv = function(port)
		return { "127.0.0.1", "-p", port, "nosuch.invalid", table.unpack(PLAIN) }
	end, server = polite, out = AUTHED .. BYE },
	{ "may stand behind --", argv = function(port)
		return words({ "-p", port }, PLAIN, { "--", "127.0.0.1", "-m", "NOSUCH" })
	end, server = polite, out = AUTHED .. BYE },
	{ "may be an IPv6 address", argv = PLAIN, host = "::1", listen = IPV6, server = polite, out = AUTHED .. BYE },
	{ "may be one in brackets", argv = PLAIN, host = "[::1]", listen = IPV6, server = polite, out = AUTHED .. BYE },
	{ "is reached by -6", argv = words(PLAIN, { "-6" }), host = "::1", listen = IPV6, server = polite,
		out = AUTHED .. BYE },
	{ "is reached by -4", argv = words(PLAIN, { "-4" }), host = "localhost", server = polite, out = AUTHED .. BYE },
	{ "of the other family is unknown", argv = words(PLAIN, { "-6", "127.0.0.1", "-p", CLOSED }), status = 1,
		err_has = { "getaddrinfo: ", "failure: Network initialization - cannot connect to 127.0.0.1:" } },
	refused "127.0.0.1",
	refused "::1",
	refused "[::1]",
	{ "that refuses is 3 to --strict", argv = words(PLAIN, { "-p", CLOSED, "127.0.0.1", "--strict" }), status = 3,
		err_has = "connect: Connection refused\n" },
	{ "that does not exist is told", argv = words(PLAIN, { "nosuch.invalid" }), status = 1,
		err_has = { "getaddrinfo: ", "failure: Network initialization - cannot connect to nosuch.invalid:smtp\n" } },
	{ "may have a service for a port", argv = words(PLAIN, { "-p", "nosuch-service", "127.0.0.1" }), status = 1,
		err_has = { "getaddrinfo: ", "failure: Network initialization - cannot connect to 127.0.0.1:nosuch-service\n" } },
	from_address("is connected to from --source", "127.0.0.2", function(peer)
		assert.are.equal("127.0.0.2", peer.host)
	end),
	from_address("is connected to from --source with a port", "127.0.0.3:" .. SOURCE_PORT, function(peer)
		assert.are.same({ "127.0.0.3", SOURCE_PORT }, { peer.host, peer.port })
	end),
	{ "cannot be reached from an address that is not ours", argv = words(PLAIN, { "--source=192.0.2.1", "-p", CLOSED,
		"127.0.0.1" }), status = 1, err_has = "failure: Network initialization - cannot connect to 127.0.0.1:" },
})

local SOCKET = run.scratch "server.sock"

scene.specs("--unix", {
	{ "connects to a UNIX socket, and needs no host", argv = function() return words(PLAIN, { "--unix=" .. SOCKET }) end,
		listen = { address = { family = "unix", path = SOCKET } }, server = polite, out = AUTHED .. BYE },
	{ "of a path that is missing is told", argv = words(PLAIN, { "--unix=/nonexistent/s" }), status = 1,
		err = "connect: No such file or directory\n"
			.. "failure: Network initialization - cannot connect to /nonexistent/s\n" },
	{ "of a path that is too long is told", argv = words(PLAIN, { "--unix=/" .. ("x"):rep(200) }), status = 1,
		err_has = "failure: Network initialization - cannot connect to /xxx" },
})

local function proxy(name, argument, check, more)
	local case = { name, argv = words(PLAIN, { "-H", argument }), server = function(c)
		c.seen.header = c:line()
		c.seen.peer = c.peer
		polite(c)
	end, check = function(r)
		check(r.seen.header, r.seen.peer)
		assert.are.equal(("C: %s\r\n"):format(r.seen.header) .. scene.text(AUTHED .. BYE), r.out)
	end }
	for key, value in pairs(more or {}) do case[key] = value end
	return case
end

scene.specs("-H", {
	proxy("announces an IPv4 address", "192.0.2.7", function(header, peer)
		assert.matches(("^PROXY TCP4 192%%.0%%.2%%.7 127%%.0%%.0%%.1 %d %%d+$"):format(peer.port), header)
	end),
	proxy("announces an IPv6 address", "2001:db8::7", function(header, peer)
		assert.matches(("^PROXY TCP6 2001:db8::7 ::1 %d %%d+$"):format(peer.port), header)
	end, { host = "::1", listen = IPV6 }),
	proxy("announces nothing known", "unknown", function(header)
		assert.are.equal("PROXY UNKNOWN", header)
	end),
	{ "announces a local connection", argv = words(PLAIN, { "-H", "local" }), server = function(c)
		c.seen.header = ""
		while #c.seen.header < 16 do c.seen.header = c.seen.header .. c.transport:read(16 - #c.seen.header) end
		polite(c)
	end, has = scene.text(AUTHED .. BYE), check = function(r)
		assert.are.equal("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", r.seen.header)
	end },
	{ "comes before the handshake", argv = words(PLAIN, { "-H", "192.0.2.7", "-s" }), server = function(c)
		c:line()
		c:tls()
		polite(c)
	end, has = "Authenticated.\n" },
	{ "refuses what is no address", argv = words(PLAIN, { "-H", "nonsense", "127.0.0.1" }), status = 1,
		err_has = "failure: -H: " },
})

scene.specs("a name for EHLO", {
	{ "is --helo", argv = words(PLAIN, { "--helo=mx.test" }), server = polite, seen = { "EHLO mx.test", AUTH, "QUIT" } },
	{ "goes into HELO too", argv = { "--no-auth", "--helo=mx.test" }, server = function(c)
		c:send "220 x\r\n"
		c:reply "502 no"
		c:serve()
	end, seen = { "EHLO mx.test", "HELO mx.test", "QUIT" } },
	{ "is lmtptest for LMTP", argv = words(PLAIN, { "-P", "lmtp" }), server = polite,
		has = "C: LHLO lmtptest\r\n", seen = { "LHLO lmtptest", AUTH, "QUIT" } },
	{ "is that of the program's name", argv = with_port("-m", "PLAIN", "-a", "alice", "-w", "secret", "127.0.0.1"),
		program = (os.getenv "BUILD" or "build") .. "/lmtptest", server = polite,
		seen = { "LHLO lmtptest", AUTH, "QUIT" } },
	{ "with a line end in it is not sent", argv = words(PLAIN, { "--helo=x\r\nRSET" }), server = polite, status = 70,
		err_has = "bad command", seen = {} },
})

-- A server that offers three mechanisms and takes any.
local function three(c)
	c:welcome "AUTH SCRAM-SHA-256 LOGIN PLAIN"
	c:serve()
end

local ALICE = { "-a", "alice", "-w", "secret" }

scene.specs("-o", {
	{ "answers the library's question which mechanisms to use", argv = words(ALICE, { "-o", "client_mech_list=PLAIN" }),
		server = three, seen = { HELLO, AUTH, "QUIT" } },
	{ "can be given several times, the last one wins", server = three, seen = { HELLO, AUTH, "QUIT" },
		argv = words(ALICE, { "-o", "log_level=0", "--sasl-option=client_mech_list=LOGIN", "-o", "client_mech_list=PLAIN" }) },
	{ "that has no effect is told by --trace and --explain", server = polite, seen = { HELLO, AUTH, "QUIT" },
		argv = words(PLAIN, { "-o", "mech_list=PLAIN", "--trace", "--explain" }),
		err_has = "] - auth: the option mech_list has no effect: ",
		has = "S: 235 ok\r\n# 235: authentication succeeded\n# the option mech_list has no effect: " },
	{ "that leaves no mechanism is told", argv = words(ALICE, { "-o", "client_mech_list=NTLM" }), server = three,
		has = "Authentication failed. no mechanism available\n", seen = { HELLO, "QUIT" } },
})

local PID = run.scratch "pid"

scene.specs("-I", {
	{ "writes our number, without a line end, before connecting", program = "sh", argv = function(port)
		return { "-c", 'echo $$; exec "$@"', "sh", run.program, "-p", port, "-I", PID, "--no-auth", "127.0.0.1" }
	end, server = function(c)
		c.seen.pid = assert(io.open(PID)):read "a"
		open(c)
	end, check = function(r)
		assert.are.equal(r.out:match "^%d+", r.seen.pid)
	end },
	{ "that cannot be written is fatal, and nobody is connected to", argv = words(PLAIN, { "-I", "/nonexistent/pid" }),
		server = polite, status = 1, out = "", err_has = "/nonexistent/pid", check = function(r)
			assert.are.equal(0, r.connections)
		end },
})

-- ---------------------------------------------------------------- messages

local FROM_TO = { "--from=a@x.test", "--to=b@x.test" }

-- What comes between DATA and QUIT.
local function message(name, data, stdin, ...)
	return { name, argv = words(FROM_TO, { "--data=" .. data }), stdin = stdin, server = open,
		seen = { HELLO, "MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "DATA", ... } }
end

local function answering(...)
	local answers = { ... }
	return function(c)
		c:welcome()
		for _, answer in ipairs(answers) do c:reply(answer) end
		c:serve()
	end
end

scene.specs("--from", {
	{ "sends one message and QUIT", argv = words(FROM_TO, { "--data=Hello" }), stdin = "ignored\n", server = open,
		out = [[
S: 220 stub ESMTP
C: EHLO smtptest
S: 250 stub
C: MAIL FROM:<a@x.test>
S: 250 ok
C: RCPT TO:<b@x.test>
S: 250 ok
C: DATA
S: 354 go
Hello]] .. "\r\n.\r\nS: 250 ok\nC: QUIT\nS: 221 bye\n",
		seen = { HELLO, "MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "DATA", "Hello", ".", "QUIT" } },
	message("sends dots doubled", ".a\r\n..b\r\n", nil, "..a", "...b", ".", "QUIT"),
	message("sends a file", "@" .. run.file("message", "Subject: x\r\n\r\n.y\r\n"), nil, "Subject: x", "", "..y", ".",
		"QUIT"),
	message("sends standard input", "-", "Subject: x\r\n\r\ny", "Subject: x", "", "y", ".", "QUIT"),
	message("sends an empty message", "", nil, ".", "QUIT"),
	{ "with --crlf turns LF into CR LF", argv = words(FROM_TO, { "--crlf", "--data=-" }), stdin = "a\nb\n",
		server = open,
		seen = { HELLO, "MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "DATA", "a", "b", ".", "QUIT" } },
	{ "makes a message where none is given", argv = FROM_TO, server = open, check = function(r)
		local text = table.concat(r.seen)
		for _, field in ipairs { "Date", "Message%-ID", "From", "To", "Subject" } do
			assert.matches("\n" .. field .. ": [^\r\n]+\r\n", text)
		end
	end },
	{ "has the null sender and several recipients", argv = { "--from=<>", "--to=b@x.test", "--to=c@x.test", "--data=x" },
		server = open, seen = { HELLO, "MAIL FROM:<>", "RCPT TO:<b@x.test>", "RCPT TO:<c@x.test>", "DATA", "x", ".",
			"QUIT" } },
	{ "authenticates when there is something to authenticate with", argv = words(FROM_TO, PLAIN, { "--data=x" }),
		server = polite, seen = { HELLO, AUTH, "MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "DATA", "x", ".", "QUIT" } },
	{ "sends nothing after a refused AUTH", argv = words(FROM_TO, PLAIN), server = function(c)
		c:welcome "AUTH PLAIN"
		c:reply "535 no"
		c:serve()
	end, status = 5, seen = { HELLO, AUTH, "QUIT" } },
	{ "ends with 6 when the sender is refused", argv = FROM_TO, server = answering "550 no", status = 6,
		seen = { HELLO, "MAIL FROM:<a@x.test>", "QUIT" } },
	{ "ends with 6 when all recipients are refused, without DATA", argv = FROM_TO, server = answering("250 ok",
		"550 no"),
		status = 6, seen = { HELLO, "MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "QUIT" } },
	{ "ends with 6 when one recipient is refused, and the other is served", status = 6,
		argv = words(FROM_TO, { "--to=c@x.test", "--data=x" }), server = answering("250 ok", "550 no", "250 ok"),
		seen = { HELLO, "MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "RCPT TO:<c@x.test>", "DATA", "x", ".", "QUIT" } },
	{ "ends with 6 when DATA is refused, and sends no message", argv = FROM_TO, server = answering("250 ok", "250 ok",
		"451 no"),
		status = 6, seen = { HELLO, "MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "DATA", "QUIT" } },
	{ "ends with 6 when the message is refused", argv = words(FROM_TO, { "--data=x" }), status = 6, server = function(c)
		c:welcome()
		c:reply "250 ok"
		c:reply "250 ok"
		c:reply "354 go"
		c:line()
		c:reply "554 spam"
		c:serve()
	end, has = "S: 554 spam\r\n" },
	{ "reads a reply for each recipient of LMTP", argv = words(FROM_TO, { "--to=c@x.test", "--data=x", "-P", "lmtp" }),
		server = function(c)
			c:welcome()
			c:reply "250 ok"
			c:reply "250 ok"
			c:reply "250 ok"
			c:reply "354 go"
			c:line()
			c:reply "250 first\r\n450 second"
			c:serve()
		end, status = 6, has = "S: 250 first\r\nS: 450 second\r\nC: QUIT\r\n" },
	{ "of a file that is missing connects to nobody", argv = words(FROM_TO, { "--data=@/nonexistent" }), server = open,
		status = 1, err = "Unable to open file: /nonexistent: No such file or directory\n", seen = {} },
	{ "of a folder connects to nobody", argv = words(FROM_TO, { "--data=@/" }), server = open,
		status = 1, err = "Unable to open file: /: Is a directory\n", seen = {} },
	{ "takes no address of two lines", argv = { "--from=a@x.test\nRSET", "--to=b@x.test" }, server = open,
		status = 1, err_has = "failure: --from: more than one line: a@x.test", seen = {} },
	{ "says SMTPUTF8 and 8BITMIME where they are needed and offered",
		argv = { "--from=s\u{e9}n@x.test", "--to=b\u{f8}@x.test", "--data=caf\u{e9}" }, server = function(c)
			c:welcome("8BITMIME", "SMTPUTF8")
			c:serve()
		end, seen = { HELLO, "MAIL FROM:<s\u{e9}n@x.test> BODY=8BITMIME SMTPUTF8", "RCPT TO:<b\u{f8}@x.test>", "DATA",
			"caf\u{e9}", ".", "QUIT" } },
	{ "says neither where they are not offered", argv = { "--from=a@x.test", "--to=b\u{f8}@x.test", "--data=caf\u{e9}" },
		server = open, seen = { HELLO, "MAIL FROM:<a@x.test>", "RCPT TO:<b\u{f8}@x.test>", "DATA", "caf\u{e9}", ".",
			"QUIT" } },
	{ "says neither where they are not needed", argv = words(FROM_TO, { "--data=x" }), server = function(c)
		c:welcome("8BITMIME", "SMTPUTF8")
		c:serve()
	end, seen = { HELLO, "MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "DATA", "x", ".", "QUIT" } },
	{ "takes the password and then the message from standard input", argv = words(FROM_TO, { "-m", "PLAIN", "-a", "alice",
		"--password-file=-", "--data=-" }), stdin = "secret\nSubject: x\r\n\r\ny\r\n", server = polite,
		seen = { HELLO, AUTH, "MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "DATA", "Subject: x", "", "y", ".", "QUIT" } },
	{ "says no QUIT after a 421, behind which the server closes", argv = FROM_TO, server = function(c)
		c:welcome()
		c:reply "421 later"
	end, status = 6, seen = { HELLO, "MAIL FROM:<a@x.test>" } },
	{ "names no more recipients after a 421", argv = words(FROM_TO, { "--to=c@x.test" }), server = function(c)
		c:welcome()
		c:reply "250 ok"
		c:reply "421 later"
	end, status = 6, seen = { HELLO, "MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>" } },
	{ "ends with 5 after an AUTH that is answered by 421", argv = words(FROM_TO, PLAIN), server = function(c)
		c:welcome "AUTH PLAIN"
		c:reply "421 later"
	end, status = 5, seen = { HELLO, AUTH } },
	{ "ends with 6 where EHLO is refused", argv = FROM_TO, server = function(c)
		c:send "220 stub ESMTP\r\n"
		c:reply "421 later"
	end, status = 6, err = "failure: EHLO refused: 421 later\n", seen = { HELLO } },
	{ "ends with 6 where the greeting is a refusal", argv = FROM_TO, server = function(c)
		c:send "554 no mail here\r\n"
		c:gone()
	end, status = 6, err = "failure: greeting: 554 no mail here\n", seen = {} },
	{ "ends with 4 where STARTTLS is refused", argv = words(FROM_TO, { "-t", "" }), server = function(c)
		c:welcome "STARTTLS"
		c:reply "454 no"
		c:gone()
	end, status = 4, err = "failure: STARTTLS refused: 454 no\n", seen = { HELLO, "STARTTLS" } },
	{ "ends with 3 where the server closes within", argv = FROM_TO, server = function(c)
		c:welcome()
		c:line()
	end, status = 3, err = "failure: MAIL: the server closed the connection\n", seen = { HELLO, "MAIL FROM:<a@x.test>" } },
	{ "ends with 7 where the server is silent", argv = words(FROM_TO, { "--timeout=300ms" }), server = function(c)
		c:welcome()
		c:line()
		c:gone()
	end, status = 7, err = "failure: MAIL: timed out after 0.3 s\n", seen = { HELLO, "MAIL FROM:<a@x.test>" } },
	{ "sends one message in each round", argv = words(FROM_TO, { "--data=x", "-n", "2" }), server = open,
		check = function(r)
		local _, n = table.concat(r.seen):gsub("DATA\r\nx\r\n%.\r\nQUIT\r\n", "")
		assert.are.equal(2, n)
	end },
})

-- ---------------------------------------------------------------- scripts

local PRINTED = assert(io.open "lua/default.lua"):read "a"

-- The printed script with one line more: a NOOP between EHLO and AUTH.
local WITH_NOOP, INSERTED = PRINTED:gsub("\n(\t[^\n]*authenticate%(s%)[^\n]*\n)", "\n\ts:noop()\n%1")
local function script(name, text)
	return run.file(name, text)
end

local OPEN = "local s <close> = require 'smtptest'.open()\n"

scene.specs("a script", {
	{ "that is the printed one behaves as the default", argv = words(PLAIN, { "-S", script("printed.lua", PRINTED),
		"-n", "2" }),
		stdin = "NOOP\n", server = polite, seen = { HELLO, AUTH, "QUIT", HELLO, AUTH, "NOOP", "QUIT" }, check = function(r)
			local default = { argv = words(PLAIN, { "-n", "2" }), stdin = "NOOP\n", server = polite }
			scene.play { default }
			assert.are.equal(default.result.out, r.out)
		end },
	{ "may be the printed one with a line more", argv = words(PLAIN, { "-S", script("noop.lua", WITH_NOOP) }),
		server = polite,
		out = START .. "C: NOOP\nS: 250 ok\n" .. AUTHED:sub(#START + 1) .. BYE, seen = { HELLO, "NOOP", AUTH, "QUIT" },
		check = function() assert.are.equal(1, INSERTED) end },
	{ "of -e has the plan's session", argv = { "--no-auth", "-e", OPEN .. "s:noop 'x' s:quit()" }, server = open,
		out = "",
		seen = { HELLO, "NOOP x", "QUIT" } },
	{ "authenticates with what is given", argv = words(PLAIN, { "-e", OPEN .. "print(s.mechanism, s.authenticated)" }),
		server = polite, out = "PLAIN\ttrue\n", seen = { HELLO, AUTH } },
	{ "ends with what it returns", argv = { "--no-auth", "-e", OPEN .. "return s:noop().code == 250 and 42" },
		server = open,
		status = 42 },
	{ "that leaves a session's error uncaught ends with its status", status = 6, server = open,
		argv = { "--no-auth", "-e", OPEN .. "s:command('X'):expect '5xx'" },
			err = "failure: X: expected 5xx, got 250 ok\n" },
	{ "that makes a mistake is told its line", status = 70, server = open,
		argv = { "-S", script("mistake.lua", "\n\n" .. OPEN .. "s:nosuch()\n"), "--no-auth" },
		err_has = { "/mistake.lua:4: ", "stack traceback:" } },
	{ "gets the words behind --", argv = function(port)
		return { "-p", port, "--no-auth", "127.0.0.1", "-S", script("args.lua",
			OPEN .. "for _, w in ipairs(arg) do s:noop(w) end"),
			"--", "one", "-p" }
	end, server = open, seen = { HELLO, "NOOP one", "NOOP -p" } },
	{ "needs no host", argv = { "-e", "print(require 'smtptest'.options.host)" }, out = "nil\n" },
	{ "may begin with #!", program = "sh", argv = function(port)
		local path = script("bang", ("#!%s -S\n%sprint(#arg)\n"):format(run.absolute, OPEN))
		return { "-c", 'chmod +x "$1" && exec "$@"', "sh", path, "-p", port, "--no-auth", "127.0.0.1" }
	end, server = open, out = "0\n", seen = { HELLO } },
	{ "may come from standard input", argv = { "--no-auth", "-S", "-" }, stdin = OPEN .. "s:noop() return 3",
		server = open,
		status = 3, seen = { HELLO, "NOOP" } },
	{ "that refuses is one error with its reply", argv = { "--no-auth", "-e", [[
		local ok, err = pcall(require 'smtptest'.open)
		print(ok, err.code, err.reply.code, err.session ~= nil, tostring(err))]] }, server = function(c)
			c:send "554 no\r\n"
			c:gone()
		end, out = "false\tREPLY\t554\ttrue\tgreeting refused: 554 no\n" },
})
