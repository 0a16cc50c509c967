-- Side by side with the classic program, where it can be had: the same stdout, stderr, exit status and bytes to the
-- server.

local base64 = require "smtptest.base64"
local cert = require "smtptest.core.cert"
local run = require "support.run"
local scene = require "support.scene"

-- Made by `make check`.
local CLASSIC = "build/peers/bin/smtptest"

local PLAIN, words = scene.PLAIN, scene.words
local polite = scene.polite

local function answering(capabilities, ...)
	local answers = { ... }
	return function(c)
		c:welcome(table.unpack(capabilities))
		for _, answer in ipairs(answers) do c:reply(answer) end
		c:serve()
	end
end

local certificate, key = assert(cert.self_signed { name = "localhost", names = { "DNS:localhost" } })

local function with(mechanism, ...)
	return { "-m", mechanism, "-a", "alice", "-w", "secret", ... }
end

-- A server with TLS; both programs get their own, so that neither resumes a session of the other.
local function tls(version, implicit)
	return function()
		local context = run.server_context { cert = certificate, key = key, max_version = version }
		return function(c)
			if implicit then
				c:tls(context)
				c:welcome "AUTH PLAIN"
			else
				c:welcome("STARTTLS", "AUTH PLAIN")
				c:reply "220 go"
				c:tls(context)
				c:capabilities "AUTH PLAIN"
			end
			c:serve()
			-- OpenSSL forgets a session that is cut off.
			c.transport:shutdown()
			c:gone()
		end
	end
end

-- Answers nothing before QUIT: the classic program's echo of a file and the replies come in any order.
local function patient(c)
	c:welcome "AUTH PLAIN"
	c:reply "235 ok"
	local answers = ""
	while not c:line():find "^QUIT" do answers = answers .. "250 ok\r\n" end
	c:send(answers .. "221 bye\r\n")
end

local STARTTLS = words(PLAIN, { "-t", "" })
local CRLF_FILE = run.file("classic.crlf", "NOOP\r\nRSET\r\n")
local LF_FILE = run.file("classic.lf", "NOOP\nRSET\n")
local EMPTY = run.file("classic.empty", "")
local CLOSED = tostring(run.closed_port())

local scenarios = {
	{ "a session without input", server = polite },
	{ "a session with input", server = polite, stdin = { { wait = "factor" }, "NOOP\n", { wait = "250 ok" },
		"VRFY x\r\n",
		{ wait = "250 ok\r\n250 ok" } } },
	{ "a message that is typed", server = polite, stdin = { { wait = "factor" }, "DATA\n", { wait = "354" }, ".x\n\n.\n",
		{ wait = "250 ok" } } },
	{ "a server that closes after authentication", server = answering({ "AUTH PLAIN" }, "235 ok", "250 ok"),
		stdin = { { wait = "factor" }, "NOOP\n", { wait = "250 ok" } } },
	{ "-m LOGIN", argv = with "LOGIN",
		server = answering({ "AUTH LOGIN" }, "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 ok") },
	{ "-m login", argv = with "login",
		server = answering({ "AUTH LOGIN" }, "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 ok") },
	{ "-m CRAM-MD5", argv = with "CRAM-MD5",
		server = answering({ "AUTH CRAM-MD5" }, "334 " .. base64.encode "<1@stub>", "235 ok") },
	{ "-m ANONYMOUS", argv = { "-m", "ANONYMOUS", "-a", "me" }, server = answering({ "AUTH ANONYMOUS" }, "235 ok") },
	{ "-m NOSUCH", argv = with "NOSUCH", server = polite },
	{ "-m ''", argv = with "", server = polite },
	{ "no -m", argv = { "-a", "alice", "-w", "secret" }, server = answering({ "AUTH PLAIN", "HELP" }, "235 ok") },
	{ "no AUTH offered", argv = { "-a", "alice", "-w", "secret" }, server = scene.open },
	{ "a mechanism that is not offered", server = answering({ "AUTH LOGIN" }, "235 ok") },
	{ "-i", argv = with("PLAIN", "-i"), server = answering({ "AUTH PLAIN" }, "334 ", "235 ok") },
	{ "-u", argv = with("PLAIN", "-u", "bob"), server = polite },
	{ "-u that is -a", argv = with("PLAIN", "-u", "alice"), server = polite },
	{ "-u with LOGIN", argv = with("LOGIN", "-u", "bob"), server = scene.open },
	{ "-k 1 with PLAIN", argv = with("PLAIN", "-k", "1"), server = polite },
	{ "-c with PLAIN", argv = with("PLAIN", "-c"), server = polite },
	{ "-o and -q", argv = with("PLAIN", "-o", "foo=bar", "-q"), server = polite },
	{ "-v without TLS", argv = with("PLAIN", "-v"), server = polite },
	{ "-w ''", argv = { "-m", "PLAIN", "-a", "alice", "-w", "" }, server = polite },
	{ "a password of 300 bytes", argv = { "-m", "PLAIN", "-a", "alice", "-w", ("x"):rep(300) }, server = polite },
	{ "a password from standard input", argv = { "-m", "PLAIN", "-a", "alice" }, alone = true, stdin = "secret\n",
		server = polite },
	{ "-n 2", argv = with("PLAIN", "-n", "2"), server = polite },
	{ "-n 0", argv = with("PLAIN", "-n", "0", "localhost") },
	{ "-P lmtp", argv = with("PLAIN", "-P", "lmtp"), server = polite },
	{ "-P nosuch", argv = with("PLAIN", "-P", "nosuch", "localhost") },
	{ "-z", argv = with("PLAIN", "-z", "localhost") },
	{ "-x with -f", argv = with("PLAIN", "-x", "/nonexistent/x", "-f", "y", "localhost") },
	{ "-f with CR LF", argv = with("PLAIN", "-f", CRLF_FILE), server = patient },
	{ "-f with LF", argv = with("PLAIN", "-f", LF_FILE), server = patient, stdin = "ignored\n" },
	{ "-f of an empty file", argv = with("PLAIN", "-f", EMPTY), server = patient },
	{ "-f of a missing file", argv = with("PLAIN", "-f", "/nonexistent/f"), server = polite },
	{ "a greeting of three lines", server = function(c)
		c:send "220-one\r\n220-two\r\n220 three\r\n"
		c:capabilities "AUTH PLAIN"
		c:serve()
	end },
	{ "a line of 3,000 bytes", server = answering({ "X " .. ("y"):rep(3000), "AUTH PLAIN" }, "235 ok") },
	{ "text that looks like a format", server = answering({ "X-%s%n%d", "AUTH PLAIN" }, "235 %s%n") },
	{ "STARTTLS under TLS 1.2", argv = STARTTLS, host = "localhost", make = tls "1.2" },
	{ "STARTTLS under TLS 1.3", argv = STARTTLS, host = "localhost", make = tls "1.3" },
	{ "STARTTLS that is not offered", argv = STARTTLS, server = polite },
	{ "-s", argv = with("PLAIN", "-s"), host = "localhost", make = tls("1.3", true) },
	{ "-n 2 with a TLS 1.2 session", argv = words(STARTTLS, { "-n", "2" }), host = "localhost", make = tls "1.2" },
	{ "a port where nobody listens", argv = words(PLAIN, { "-p", CLOSED, "127.0.0.1" }) },
	{ "a host that does not exist", argv = words(PLAIN, { "-p", CLOSED, "nosuch.invalid" }) },
	{ "a service that does not exist", argv = words(PLAIN, { "-p", "nosuch", "127.0.0.1" }) },
	{ "no host", server = polite, argv = function(port) return words({ "-p", port }, PLAIN) end },
	{ "two hosts", server = polite, argv = function(port) return words({ "-p", port }, PLAIN, { "127.0.0.1",
		"::1" }) end },
}

-- As one of the programs plays it.
local function playing(scenario, program)
	local case = { argv = scenario.argv, server = scenario.make and scenario.make() or scenario.server,
		stdin = scenario.stdin, host = scenario.host, alone = scenario.alone }
	-- Without a session the classic program's name would stand before a host of its own.
	case.program = program
	return case
end

describe("beside the classic program", function()
	local there = io.open(CLASSIC)
	if not there then
		local why = CLASSIC .. " is missing: `make check` fetches it"
		if os.getenv "CI" then
			it("stands the classic one", function() error(why) end)
		else
			pending("the same is said and done: " .. why)
		end
		return
	end
	there:close()

	setup(function()
		local cases = {}
		for _, scenario in ipairs(scenarios) do
			scenario.ours, scenario.classic = playing(scenario), playing(scenario, CLASSIC)
			cases[#cases + 1], cases[#cases + 2] = scenario.ours, scenario.classic
		end
		scene.play(cases)
	end)

	for _, scenario in ipairs(scenarios) do
		it("the same is said and done: " .. scenario[1], function()
			local classic, ours = scenario.classic.result, scenario.ours.result
			assert.is_truthy(classic.status, "the classic program hangs: " .. classic.out .. classic.err)
			assert.are.equal(classic.out, ours.out)
			assert.are.equal(classic.err, ours.err)
			assert.are.equal(classic.status, ours.status)
			assert.are.equal(table.concat(classic.seen or {}), table.concat(ours.seen or {}))
		end)
	end
end)
