-- The built program's sessions, black box: what it prints, what it says to the server, how it ends.

local base64 = require "smtptest.base64"
local run = require "support.run"
local saslserver = require "support.saslserver"
local scene = require "support.scene"

local PLAIN, START, AUTHED, BYE = scene.PLAIN, scene.START, scene.AUTHED, scene.BYE
local words, polite = scene.words, scene.polite

local HELLO, AUTH = "EHLO smtptest", "AUTH PLAIN AGFsaWNlAHNlY3JldA=="

-- A shell around the program, which is "$@".
local function shell(command, ...)
	local rest = { ... }
	return function(port)
		return { "-c", command, "sh", run.program, "-p", port, table.unpack(words(PLAIN, rest, { "127.0.0.1" })) }
	end
end

-- ---------------------------------------------------------------- input

-- What the server sees for what is typed.
local function typed(name, stdin, ...)
	return { name, stdin = stdin, server = polite, seen = { HELLO, AUTH, ... } }
end

scene.specs("standard input", {
	{ "that is empty says QUIT", server = polite, out = AUTHED .. BYE, seen = { HELLO, AUTH, "QUIT" } },
	{ "goes out while the server's text is copied", stdin = { "NOOP\n", { wait = "250 ok" }, "VRFY x\n",
		{ wait = "250 ok\r\n250 ok" } }, server = polite, out = AUTHED .. "250 ok\n250 ok\n" .. BYE },
	typed("has its LF made CR LF, and keeps CR LF", "NOOP\nRSET\r\n", "NOOP", "RSET", "QUIT"),
	typed("has no dots doubled", "DATA\n.hidden\n..two\n.\n", "DATA", ".hidden", "..two", ".", "QUIT"),
	typed("that ends with QUIT says it once", "NOOP\nQUIT\n", "NOOP", "QUIT"),
	typed("that ends with QUIT without a line end has it completed", "NOOP\nQUIT", "NOOP", "QUIT"),
	typed("that ends with quit in lower case says it once", "quit\n", "quit"),
	typed("without a last line end is completed before QUIT", "NOOP", "NOOP", "QUIT"),
	typed("with QUIT in a message says it again", "DATA\nQUIT\n.\n", "DATA", "QUIT", ".", "QUIT"),
	{ "may have NUL, 8-bit bytes and bare CR", stdin = "NOOP \0\255\rx\n", server = polite,
		seen = HELLO .. "\r\n" .. AUTH .. "\r\nNOOP \0\255\rx\r\nQUIT\r\n" },
	{ "may have a line of 100,000 bytes", stdin = "NOOP " .. ("x"):rep(100000) .. "\n", server = polite,
		seen = { HELLO, AUTH, "NOOP " .. ("x"):rep(100000), "QUIT" } },
	{ "may come in pieces that part CR from LF", stdin = { "NOOP", { wait = "factor" }, "X\r", { wait = "heard" },
		"\n" },
		server = function(c)
			c:welcome "AUTH PLAIN"
			c:reply "235 ok"
			local bytes = ""
			while not bytes:find "\r" do bytes = bytes .. c.transport:read(100) end
			c.transport:unread(bytes)
			c:send "250 heard\r\n"
			c:serve()
		end, seen = { HELLO, AUTH, "NOOPX", "QUIT" } },
	{ "that is closed is at its end", program = "sh", argv = shell 'exec "$@" <&-', server = polite,
		out = AUTHED .. BYE },
	{ "may be a file", program = "sh", argv = shell('exec "$@" <' .. run.file("typed", "NOOP\nRSET\n")), server = polite,
		seen = { HELLO, AUTH, "NOOP", "RSET", "QUIT" } },
	{ "that is a folder cannot be read", program = "sh", argv = shell 'exec "$@" </', server = polite, status = 1,
		err = "read: Is a directory\nfailure: read\n", seen = { HELLO, AUTH } },
	{ "in lockstep waits for each reply, but not inside a message", argv = words(PLAIN, { "--lockstep" }),
		stdin = "MAIL\nRCPT\nDATA\na\n.b\n.\nNOOP\nQUIT\n", server = function(c)
			c:welcome "AUTH PLAIN"
			c:reply "235 ok"
			local early = ""
			local function answer(text)
				-- Nothing may come before the answer: a deadline, not a wait for luck.
				early = early .. c.transport:pending() .. (c.transport:read(1, 0.02) or "")
				c:send(text .. "\r\n")
			end
			for _, text in ipairs { "250-one\r\n250 m", "250 r", "354 go" } do
				c:line()
				answer(text)
			end
			repeat until c:line() == "."
			answer "250 taken"
			c:line()
			answer "250 noop"
			c:line()
			c.seen.early = early
			c:send "221 bye\r\n"
		end, seen = false, check = function(r)
			assert.are.equal("", r.seen.early)
			assert.are.equal(10, #r.seen)
		end,
			has = "250-one\r\n250 m\r\n250 r\r\n354 go\r\n250 taken\r\n250 noop\r\n221 bye\r\nC: QUIT\r\nConnection closed.\n" },
	{ "in lockstep goes on after a refused DATA", argv = words(PLAIN, { "--lockstep" }), stdin = "DATA\nNOOP\n",
		server = function(c)
			c:welcome "AUTH PLAIN"
			c:reply "235 ok"
			c:reply "503 no"
			c:serve()
		end, seen = { HELLO, AUTH, "DATA", "NOOP", "QUIT" } },
})

local FILE = run.file("mail", "NOOP\nDATA\r\n.x\n\0.\n.\nRSET\n")
local BIG = ("0123456789abcdef"):rep(20000)

local function file(name, content, out, ...)
	local path = run.file(name:gsub("%W", "-"), content)
	return { name, argv = words(PLAIN, { "-f", path, ... }), stdin = "ignored\n", server = function(c)
		c:welcome "AUTH PLAIN"
		c:reply "235 ok"
		local bytes = {}
		while not table.concat(bytes):find "QUIT\r?\n$" do bytes[#bytes + 1] = assert(c.transport:read(65536)) end
		c.seen.rest = table.concat(bytes)
		c:send "221 bye\r\n"
	end, check = function(r, case)
		assert.are.equal(scene.text(AUTHED) .. out .. "C: QUIT\r\n221 bye\r\nConnection closed.\n", r.out)
		assert.are.equal(case.wire, r.seen.rest)
	end }
end

local function on_wire(bytes, case)
	case.wire = bytes
	return case
end

scene.specs("-f", {
	on_wire("NOOP\nRSET\r\n\0\255\r\nQUIT\r\n",
		file("sends the bytes as they are and echoes them; a last line is completed",
		"NOOP\nRSET\r\n\0\255", "NOOP\nRSET\r\n\0\255\r\n")),
	on_wire("QUIT\r\n", file("of an empty file says QUIT", "", "")),
	on_wire("NOOP\nQUIT\n", file("of a file that says QUIT says no other", "NOOP\nQUIT\n", "NOOP\nQUIT\n")),
	on_wire("NOOP\r\nRSET\r\nQUIT\r\n", file("with --crlf turns LF into CR LF", "NOOP\nRSET\r\n", "NOOP\r\nRSET\r\n",
		"--crlf")),
	on_wire(BIG .. "\nQUIT\r\n", file("of a large file sends all of it", BIG .. "\n", BIG .. "\n")),
	{ "of a missing file is told after authentication", argv = words(PLAIN, { "-f", "/nonexistent" }), server = polite,
		status = 1, out = AUTHED, err = "Unable to open file: /nonexistent:No such file or directory\n",
		seen = { HELLO, AUTH } },
	{ "of a folder cannot be read", argv = words(PLAIN, { "-f", "/" }), server = polite, status = 1, out = AUTHED,
		err = "read: Is a directory\nfailure: read\n" },
	{ "in lockstep waits for the replies", argv = words(PLAIN, { "-f", run.file("lock", "DATA\n.\nNOOP\n"),
		"--lockstep" }),
		server = function(c)
			c:welcome "AUTH PLAIN"
			c:reply "235 ok"
			c:reply "500 no data"
			c:reply "500 no dot"
			c:serve()
		end, seen = HELLO .. "\r\n" .. AUTH .. "\r\nDATA\n.\nNOOP\nQUIT\r\n" },
	{ "is sent in the last round of -n only", argv = words(PLAIN, { "-f", FILE, "-n", "2" }), server = polite,
		seen = HELLO .. "\r\n" .. AUTH .. "\r\nQUIT\r\n" .. HELLO .. "\r\n" .. AUTH .. "\r\n"
			.. "NOOP\nDATA\r\n.x\n\0.\n.\nRSET\nQUIT\r\n" },
})

-- ---------------------------------------------------------------- passwords

local NO_PASSWORD = { "-m", "PLAIN", "-a", "alice" }

local function plain(password)
	return base64.encode("\0alice\0" .. password)
end

-- PLAIN with a password that comes from elsewhere.
local function from(name, password, argv, more)
	local case = { name, argv = words(NO_PASSWORD, argv), server = polite, alone = true, lacks = "Please enter",
		seen = { HELLO, "AUTH PLAIN " .. plain(password), "QUIT" } }
	for key, value in pairs(more or {}) do case[key] = value end
	return case
end

local function no_password(name, argv, message, more)
	local case = { name, argv = words(NO_PASSWORD, argv), server = polite, alone = true, seen = { HELLO, "QUIT" },
		has = "Authentication failed. " .. message .. "\n" }
	for key, value in pairs(more or {}) do case[key] = value end
	return case
end

local LONG = ("p"):rep(200000)

-- 11 + 4 * ceil(n / 3) + 2 bytes: 372 give 509, 373 give 513.
local function held_back(n, is_held)
	local password = ("x"):rep(n - 7)
	return { ("of %d bytes in all is %s"):format(n, is_held and "held back" or "sent with AUTH"),
		argv = words(NO_PASSWORD, { "-w", password }), server = is_held and function(c)
			c:welcome "AUTH PLAIN"
			c:reply "334 "
			c:reply "235 ok"
			c:serve()
		end or polite, has = "Authenticated.\n", seen = is_held and { HELLO, "AUTH PLAIN", plain(password), "QUIT" }
			or { HELLO, "AUTH PLAIN " .. plain(password), "QUIT" } }
end

scene.specs("a password", {
	held_back(372, false),
	held_back(373, true),
	held_back(5000, true),
	from("from a file is its first line", "of file", { "--password-file", run.file("password",
		"of file\r\nnot this\n") }),
	from("from a file may have any bytes and no line end", "\255\1 x\t", { "--password-file", run.file("p2",
		"\255\1 x\t") }),
	{ "of 200,000 bytes is sent", argv = words(NO_PASSWORD, { "--password-file", run.file("long", LONG) }),
		server = function(c)
			c:welcome "AUTH PLAIN"
			c:reply "334 "
			c:reply "235 ok"
			c:serve()
		end, has = "Authenticated.\n", seen = { HELLO, "AUTH PLAIN", plain(LONG), "QUIT" } },
	from("that is empty is sent", "", { "-w", "" }),
	from("from the environment", "of env", { "--password-env=SECRET" }, { env = { SECRET = "of env" } }),
	from("from a descriptor is its next line", "of fd", { "--password-fd=0" }, { stdin = "of fd\nNOOP\n",
		seen = { HELLO, "AUTH PLAIN " .. plain "of fd", "NOOP", "QUIT" } }),
	from("from a command is its first line", "of command", { "--password-command=echo of command; echo not this" }),
	from("from standard input by name leaves the rest", "one", { "--password-file=-" }, { stdin = "one\nNOOP\n",
		seen = { HELLO, "AUTH PLAIN " .. plain "one", "NOOP", "QUIT" } }),
	from("without a terminal is asked of standard input, and the rest goes on", "from stdin", {},
		{ stdin = "from stdin\nNOOP\n",
		lacks = {}, has = "Please enter your password: C: AUTH PLAIN",
		seen = { HELLO, "AUTH PLAIN " .. plain "from stdin", "NOOP", "QUIT" } }),
	from("that is an empty line of standard input is one", "", {}, { stdin = "\n", lacks = {} }),
	from("is asked for again in each round", "one", { "-n", "2" }, { stdin = "one\ntwo\nNOOP\n", lacks = {},
		seen = { HELLO, "AUTH PLAIN " .. plain "one", "QUIT", HELLO, "AUTH PLAIN " .. plain "two", "NOOP", "QUIT" } }),
	no_password("that nobody gives, without a terminal and with empty input, is a failure", {}, "", { status = 1,
		stdin = "",
		has = "Please enter your password: ", err = "failure: no password given\n", seen = { HELLO } }),
	no_password("that nobody gives is 5 to --strict", { "--strict" }, "", { status = 5, has = {},
		err = "failure: no password given\n", seen = { HELLO } }),
	{ "is asked for after the challenge, where there is one", argv = { "-m", "CRAM-MD5", "-a", "alice" }, alone = true,
		stdin = "secret\n", server = saslserver.script("CRAM-MD5"), has = "Authenticated.\n" },
	{ "that nobody gives cancels an open exchange", argv = { "-m", "LOGIN", "-a", "alice" }, alone = true, status = 1,
		server = function(c)
			c:welcome "AUTH LOGIN"
			c:reply "334 VXNlcm5hbWU6"
			c:reply "334 UGFzc3dvcmQ6"
			c:serve()
		end, err = "failure: no password given\n" },
})

for _, source in ipairs {
	{ "a missing file", "--password-file=/nonexistent/p",
		"--password-file: open /nonexistent/p: No such file or directory" },
	{ "an empty file", "--password-file=/dev/null", "--password-file: /dev/null is empty" },
	{ "a missing variable", "--password-env=SMTPTEST_NOT_SET",
		"--password-env: no variable SMTPTEST_NOT_SET in the environment" },
	{ "a descriptor that is not open", "--password-fd=99", "--password-fd: descriptor 99: " },
	{ "a command that fails", "--password-command=echo hidden; exit 3", "--password-command: exit status 3" },
	{ "a command that prints nothing", "--password-command=true", "--password-command: nothing was printed" },
} do
	describe("a password of " .. source[1], function()
		it("ends the session with the reason, before AUTH, and names no secret", function()
			local case = { argv = words(NO_PASSWORD, { source[2] }), server = polite, alone = true, status = 1,
				err_has = "failure: ", lacks = { "hidden", "Authenticated" }, seen = { HELLO } }
			scene.play { case }
			assert.is_truthy(case.result.err:find(source[3], 1, true), case.result.err .. case.result.out)
			scene.judge(case)
		end)
	end)
end

-- ---------------------------------------------------------------- what is shown

local SECRETS = { "secret", base64.encode "secret", plain "secret", (base64.encode "\0alice\0secret") }

local function hides(mechanism, server, flags, ...)
	return { ("%s %s shows no secret"):format(mechanism, flags[1]), server = server,
		argv = words({ "-m", mechanism, "-a", "alice", "--password-file", run.file("hidden", "secret") }, flags),
		lacks = SECRETS, err_has = "", ... }
end

local login = saslserver.script "LOGIN"

scene.specs("--hide-secrets", {
	{ "masks what stdout shows, and the server gets it", argv = words(PLAIN, { "--hide-secrets" }), server = polite,
		out = START .. "C: AUTH PLAIN <20 bytes hidden>\nS: 235 ok\nAuthenticated.\nSecurity strength factor: 0\n" .. BYE,
		seen = { HELLO, AUTH, "QUIT" } },
	hides("LOGIN", login, { "--hide-secrets" }),
	hides("PLAIN", polite, { "--hide-secrets", "-i", "--explain", "--times" }),
})

scene.specs("--trace", {
	{ "writes a transcript to stderr and leaves stdout as it is", argv = words(PLAIN, { "--trace" }), server = polite,
		out = AUTHED .. BYE, err_has = { "S clear 220 stub ESMTP\\r\\n\n", "C clear AUTH PLAIN <20 bytes hidden>\\r\\n\n",
			"C clear QUIT\\r\\n\n", "S clear 221 bye\\r\\n\n" }, check = function(r)
			for _, secret in ipairs(SECRETS) do assert.is_nil(r.err:find(secret, 1, true)) end
			for line in r.err:gmatch "[^\n]+" do assert.matches("^%[ *%d+%.%d%d%d%] [CS-] ", line) end
		end },
	{ "hides what is typed after a 334", argv = { "--no-auth", "--trace" }, stdin = { "AUTH LOGIN\n", { wait = "334" },
		"YWxpY2U=\n", { wait = "334 UGFzc3dvcmQ6" }, "c2VjcmV0\n", { wait = "235" } }, server = function(c)
			c:welcome "AUTH LOGIN"
			c:reply "334 VXNlcm5hbWU6"
			c:reply "334 UGFzc3dvcmQ6"
			c:reply "235 ok"
			c:serve()
		end, err_has = "C clear AUTH LOGIN", check = function(r)
			assert.is_nil(r.err:find("c2VjcmV0", 1, true), r.err)
		end },
	hides("LOGIN", login, { "--trace", "--hide-secrets" }),
})

scene.specs("what more is shown", {
	{ "--times: how long each reply took", argv = words(PLAIN, { "--times" }), server = polite, check = function(r)
		local text = r.out:gsub("%(%d+%.%d%d%d s%)\n", "(T)\n")
		assert.matches("S: 250 AUTH PLAIN\r\n%(T%)\nC: AUTH [^\n]+\nS: 235 ok\r\n%(T%)\nAuthenticated%.\n", text)
	end },
	{ "--explain: codes in words", argv = words(PLAIN, { "--explain" }), server = polite,
		has = { "S: 235 ok\r\n# 235: ", "S: 220 stub ESMTP\r\n# 220: " } },
	{ "--explain: challenges decoded", argv = { "-m", "LOGIN", "-a", "alice", "-w", "secret", "--explain" },
		server = login,
		has = '# 334: ' },
	{ "-v without TLS adds nothing", argv = words(PLAIN, { "-v" }), server = polite, out = AUTHED .. BYE },
	{ "a line of 3,000 bytes in the classic pieces", argv = PLAIN, server = function(c)
		c:send("220 " .. ("x"):rep(3000) .. "\r\n")
		c:capabilities "AUTH PLAIN"
		c:reply "235 ok"
		c:serve()
	end, has = "S: 220 " .. ("x"):rep(1019) .. "S: " .. ("x"):rep(1023) .. "S: " .. ("x"):rep(958) .. "\r\nC: EHLO" },
})

-- ---------------------------------------------------------------- authentication

local function layer(name, flags, server_options, factor, more)
	local case = { name, argv = words({ "-m", "DIGEST-MD5", "-a", "alice", "-w", "secret" }, flags), stdin = "NOOP\n",
		server = saslserver.script("DIGEST-MD5", server_options),
		has = { "Authenticated.\n", ("Security strength factor: %d\n"):format(factor), "250 ok\r\n", "221 bye\r\n" },
		lacks = "WARNING", check = function(r)
			assert.are.equal("QUIT\r\n", r.seen[#r.seen])
			local hellos = 0
			for _, line in ipairs(r.seen) do hellos = hellos + (line:find "^EHLO" and 1 or 0) end
			assert.are.equal(factor > 0 and 2 or 1, hellos)
		end }
	for key, value in pairs(more or {}) do case[key] = value end
	return case
end

local function through(mechanism, server_options, ...)
	return { "goes through " .. mechanism, argv = { "-m", mechanism, "-a", "alice", "-w", "secret", ... },
		server = saslserver.script(mechanism:upper(), server_options),
			has = "Authenticated.\nSecurity strength factor: 0\n",
		seen = false }
end

local NOMECH = START .. "Authentication failed. no mechanism available\nSecurity strength factor: 0\n" .. BYE

scene.specs("authentication", {
	through "PLAIN", through "LOGIN", through "login", through "CRAM-MD5", through "SCRAM-SHA-1",
		through "SCRAM-SHA-256",
	through("DIGEST-MD5", nil, "-l", "0"), through("PLAIN", nil, "-i"), through("SCRAM-SHA-256", nil, "-i"),
	layer("has DIGEST-MD5's integrity with -l 1", { "-l", "1" }, {}, 1),
	layer("has DIGEST-MD5's strongest layer by default", {}, {}, 128),
	layer("takes a weaker layer if the server has no other", {}, { maxssf = 1 }, 1),
	{ "with a wrong password fails and goes on", argv = { "-m", "DIGEST-MD5", "-a", "alice", "-w", "wrong" },
		stdin = "NOOP\n",
		server = saslserver.script "DIGEST-MD5", has = { "Authentication failed. 535 no\nSecurity strength factor: 0\n",
			"250 ok" } },
	{ "warns when the list inside the layer differs", argv = { "-m", "DIGEST-MD5", "-a", "alice", "-w", "secret" },
		server = function(c)
			c:welcome "AUTH DIGEST-MD5"
			saslserver.auth(c)
			c:capabilities "AUTH DIGEST-MD5 PLAIN"
			c:serve()
		end, has = "WARNING: possible MITM attack: list of available SASL mechanisms changed\n" },
	{ "does not warn when AUTH is gone inside the layer", argv = { "-m", "DIGEST-MD5", "-a", "alice", "-w", "secret" },
		server = function(c)
			c:welcome "AUTH DIGEST-MD5"
			saslserver.auth(c)
			c:capabilities()
			c:serve()
		end, has = "Authenticated.", lacks = "WARNING" },
	{ "with -k 1 does not take PLAIN", argv = words(PLAIN, { "-k", "1" }), server = polite, out = NOMECH,
		seen = { HELLO, "QUIT" } },
	{ "with a strength that nobody has cancels", argv = { "-m", "DIGEST-MD5", "-a", "alice", "-w", "secret", "-k", "1" },
		server = function(c)
			c:welcome "AUTH DIGEST-MD5"
			c:reply("334 " .. base64.encode 'realm="x",nonce="y",qop="auth",algorithm=md5-sess,charset=utf-8')
			c:reply "501 canceled"
			c:serve()
		end, has = { "C: *\r\n",
			"Authentication failed. mechanism too weak for this user\nSecurity strength factor: 0\n" } },
	{ "with an unknown mechanism sends nothing", argv = { "-m", "NOSUCH", "-a", "alice", "-w", "secret" },
		server = polite,
		out = NOMECH, seen = { HELLO, "QUIT" } },
	{ "with -m '' sends nothing", argv = { "-m", "", "-a", "alice", "-w", "secret" }, server = polite, out = NOMECH,
		seen = { HELLO, "QUIT" } },
	{ "sends a mechanism that is not offered", server = function(c)
		c:welcome "AUTH LOGIN"
		c:reply "504 no"
		c:serve()
	end, has = "Authentication failed. 504 no\n" },
	{ "with -u sends the other name", argv = words(PLAIN, { "-u", "bob" }), server = polite,
		seen = { HELLO, "AUTH PLAIN " .. base64.encode "bob\0alice\0secret", "QUIT" } },
	{ "with -u excludes mechanisms that know one name", argv = { "-m", "LOGIN", "-a", "alice", "-u", "bob", "-w",
		"secret" },
		server = function(c) c:welcome "AUTH LOGIN"; c:serve() end, has = "no mechanism available", seen = { HELLO,
			"QUIT" } },
	{ "with EXTERNAL has no mechanism where no certificate says who we are", argv = { "-m", "EXTERNAL" },
		server = function(c)
		c:welcome "AUTH EXTERNAL"
		c:serve()
	end, has = "no mechanism available", seen = { HELLO, "QUIT" } },
	{ "with ANONYMOUS sends its trace", argv = { "-m", "ANONYMOUS", "-a", "me" }, server = function(c)
		c:welcome "AUTH ANONYMOUS"
		c:reply "235 ok"
		c:serve()
	end, has = "Authenticated.\n" },
	{ "with a SASL option goes on", argv = words(PLAIN, { "-o", "foo", "-o", "bar=x=y", "-q" }), server = polite,
		out = AUTHED .. BYE },
	{ "with --no-auth is left out", argv = { "--no-auth" }, server = polite, out = START .. BYE, seen = { HELLO,
		"QUIT" } },
})

-- ---------------------------------------------------------------- rounds

local ROUND = AUTHED .. "C: QUIT\nS: 221 bye\nConnection closed.\n\n"

scene.specs("-n", {
	{ "goes round after round, and converses in the last", argv = words(PLAIN, { "-n", "3" }), stdin = "NOOP\n",
		server = polite, has = scene.text(ROUND .. ROUND .. AUTHED),
		seen = { HELLO, AUTH, "QUIT", HELLO, AUTH, "QUIT", HELLO, AUTH, "NOOP", "QUIT" } },
	{ "goes on after a refusal", argv = words(PLAIN, { "-n", "2" }), server = function(c)
		c:welcome "AUTH PLAIN"
		c:reply "535 no"
		c:serve()
	end, seen = { HELLO, AUTH, "QUIT", HELLO, AUTH, "QUIT" } },
	{ "is 5 to --strict when the last round is refused", argv = words(PLAIN, { "-n", "2", "--strict" }), status = 5,
		server = function(c, n)
			c:welcome "AUTH PLAIN"
			c:reply(n == 1 and "235 ok" or "535 no")
			c:serve()
		end },
	{ "is 5 to --strict when another round is refused", argv = words(PLAIN, { "-n", "2", "--strict" }), status = 5,
		server = function(c, n)
			c:welcome "AUTH PLAIN"
			c:reply(n == 1 and "535 no" or "235 ok")
			c:serve()
		end },
	{ "ends when a server that has closed does not answer QUIT", argv = words(PLAIN, { "-n", "2" }), status = 1,
		server = function(c)
			c:welcome "AUTH PLAIN"
			c:reply "235 ok"
			c:line()
		end, err = "failure: QUIT: the server closed the connection\n" },
})
