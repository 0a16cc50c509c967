-- The error object: what went wrong is told apart by its code, on one line, with all that a person needs.

local failure = require "smtptest.failure"
local fault = require "smtptest.fault"
local peer = require "support.peer"
local run = require "support.run"
local smtptest = require "smtptest"
local task = require "smtptest.task"

local LIMIT = 30

-- What body(session) raises on a session with our own server.
local function raised(case)
	local server <close> = smtptest.listen(peer.laid({ timeout = LIMIT }, case.server))
	server:start()
	local ok, err = pcall(function()
		local s <close> = smtptest.connect(peer.laid({ host = "127.0.0.1", port = server.port, timeout = LIMIT }, case.plan))
		s:ehlo():expect(250)
		case.body(s)
	end)
	pcall(server.stop, server)
	assert.is_false(ok, "nothing was raised")
	return err
end

local function mail(s) s:mail "a@b.test" end
local function starttls(s) s:starttls() end

local function says(bytes, after)
	return { tls = "starttls", on = { command = function(client)
		client:reply(220, "go")
		client:send(bytes)
		if after then
			client:close()
			return false
		end
		return true
	end } }
end

local function auth(mechanism, password)
	return function(s) s:auth { mechanism = mechanism, authname = "alice", password = password }:expect(235) end
end

local USERS = { sasl = { users = { alice = "right" } } }
local WRONG = fault.certificate "wrong-name"

-- Each with what it must say, the phase that it names, and the exit status it stands for.
local CASES = {
	{ "EOF", server = { on = { mail = fault.close() } }, body = mail, op = "MAIL", status = 3,
		text = "MAIL: the server closed the connection" },
	{ "ECONNRESET", server = { on = { mail = fault.close "reset" } }, body = mail, op = "MAIL", status = 3,
		text = "MAIL: read: Connection reset by peer" },
	{ "EPIPE", server = { on = { mail = fault.close "reset" } }, op = "NOOP", status = 3, body = function(s)
			s:send "MAIL FROM:<a@b.test>\r\n"
			s:drain(LIMIT)
			s:noop()
		end, text = "NOOP: write: Broken pipe" },
	{ "EBADF", body = function(s)
			s:close()
			s:noop()
		end, op = "NOOP", text = "NOOP: closed", status = 3 },
	{ "TIMEOUT", server = { on = { mail = fault.close "silence" } }, plan = { timeout = 0.2 }, body = mail, op = "MAIL",
		text = "MAIL: timed out after 0.2 s", status = 7, least = 0.2 },
	{ "TRUNCATED", server = { tls = "implicit", on = { mail = fault.close() } }, plan = { tls = "implicit" }, body = mail,
		op = "MAIL", layer = "tls", text = "MAIL: the connection ended inside TLS, without close_notify", status = 4 },
	{ "EOF", server = { tls = "implicit" }, plan = { tls = "implicit" }, op = "NOOP", layer = "tls", status = 3,
		body = function(s)
			s:quit():expect(221)
			s:drain(LIMIT)
			s:reply(LIMIT, "NOOP")
		end, text = "NOOP: the server closed the connection" },
	{ "TLS", server = says "this is no TLS at all\r\n", body = starttls, op = "TLS handshake", status = 4,
		text = "TLS handshake: wrong version number (the peer does not speak TLS?)" },
	{ "TLS", server = says("", true), body = starttls, op = "TLS handshake", status = 4,
		text = "TLS handshake: the peer closed during the handshake" },
	{ "CERTIFICATE", server = { tls = "starttls" }, plan = { verify = true }, body = starttls, op = "TLS handshake", status = 4,
		pattern = "^TLS handshake: certificate verify failed: self%-signed certificate" },
	{ "CERTIFICATE", server = { tls = "starttls", cert = WRONG.cert, key = WRONG.key },
		plan = { verify = "localhost", cafile = run.file("wrong.pem", WRONG.cert) }, body = starttls, op = "TLS handshake",
		pattern = "^TLS handshake: certificate verify failed: hostname mismatch", status = 4 },
	{ "REPLY", server = { on = { mail = fault.reply(550, "5.1.1 no") } }, body = function(s) s:mail("a@b.test"):expect "2xx" end,
		op = "MAIL FROM:<a@b.test>", text = "MAIL FROM:<a@b.test>: expected 2xx, got 550 5.1.1 no", status = 6, reply = 550 },
	{ "REPLY", server = USERS, body = auth("PLAIN", "wrong"), op = "AUTH PLAIN", status = 5, reply = 535,
		pattern = "^AUTH PLAIN.*: expected 235, got 535 5%.7%.8 " },
	{ "NOMECH", body = auth(nil, "wrong"), op = "AUTH", status = 5, pattern = "^AUTH: " },
	{ "TOOLONG", server = { on = { mail = fault.raw(("x"):rep(9000)) } }, plan = { maxline = 8192 }, body = mail, op = "MAIL",
		text = "MAIL: a line of more than 8192 bytes", status = 70 },
}

describe("an error of a session", function()
	for _, case in ipairs(CASES) do
		local code = case[1]
		it(("is %s: %s"):format(code, case.text or case.pattern), function()
			local err = raised(case)
			assert.is_true(failure.is(err), tostring(err))
			assert.is_true(smtptest.failed(err, code))
			assert.equal(code, err.code)
			local line = tostring(err)
			if case.text then assert.equal(case.text, line) else assert.matches(case.pattern, line) end
			assert.is_nil(line:find "%c")
			assert.matches(case.op, err.op, 1, true)
			assert.equal(case.layer or "clear", err.layer)
			assert.equal("number", type(err.elapsed))
			assert.truthy(err.elapsed >= (case.least or 0) and err.elapsed < LIMIT)
			assert.matches("^S: 220 .*\nC: EHLO smtptest\nS: 250", err.transcript)
			assert.equal(err.transcript, tostring(err.session.transcript))
			assert.equal(case.status, err.status)
			assert.equal(case.reply, err.reply and err.reply.code)
		end)
	end

	it("that comes before there is a session has its code, and what was connected to", function()
		local port = run.closed_port()
		for target, plan in pairs { ["127.0.0.1:" .. port] = { host = "127.0.0.1", port = port },
			["/nosuch"] = { socket = "/nosuch" }, ["smtptest.invalid:25"] = { host = "smtptest.invalid", port = 25 } } do
			local ok, err = pcall(smtptest.connect, plan)
			assert.is_false(ok)
			assert.equal(({ c = "ECONNREFUSED", n = "ENOENT" })[target == "/nosuch" and "n" or plan.port == port and "c"]
				or "RESOLVE", err.code)
			assert.same({ "clear", "", target, 3 }, { err.layer, err.transcript, err.target, err.status })
			assert.matches(err.code == "RESOLVE" and "^getaddrinfo: " or "^connect: ", err.message)
			local prefix = "connect to " .. target .. ": " .. (err.code == "RESOLVE" and "getaddrinfo: " or "")
			assert.equal(prefix .. err.message:match "^%l+: (.*)", tostring(err))
		end
	end)

	it("goes through a task, with the place where it was raised", function()
		local server <close> = smtptest.listen {}
		server:start()
		local function deeply(s) s:noop():expect "5xx" end
		local t = task.spawn(function()
			local s <close> = smtptest.connect { host = "127.0.0.1", port = server.port, timeout = LIMIT }
			deeply(s)
		end)
		local ok, err = pcall(t.join, t)
		assert.is_false(ok)
		assert.equal("NOOP: expected 5xx, got 250 2.0.0 ok", tostring(err))
		assert.matches("failure_spec%.lua:%d+: in upvalue 'deeply'", err.traceback)
	end)
end)

-- Bytes that must not be anywhere in an error: the secret itself, and as AUTH sends it.
local SECRETS = { "hunter2", "aHVudGVyMg", "AGFsaWNlAGh1bnRlcjI" }

local LOGINS = {
	["auth"] = function(s) s:auth { mechanism = "PLAIN", authname = "alice", password = "hunter2" }:expect(235) end,
	["auth of several steps"] = function(s)
		s:auth { mechanism = "LOGIN", authname = "alice", password = "hunter2" }:expect(235)
	end,
	["command"] = function(s) s:command "AUTH PLAIN AGFsaWNlAGh1bnRlcjI=":expect(235) end,
	["send"] = function(s)
		s:send "AUTH LOGIN\r\n"
		s:reply():expect(334)
		s:send "YWxpY2U=\r\n"
		s:reply():expect(334)
		s:send "aHVudGVyMg==\r\n"
		s:reply():expect(235)
	end,
	["pipeline"] = function(s) s:pipeline { "AUTH PLAIN AGFsaWNlAGh1bnRlcjI=" }:expect(235) end,
	["pipelined answers"] = function(s)
		local replies = s:pipeline { "AUTH LOGIN", "YWxpY2U=", "aHVudGVyMg==", "NOOP" }
		assert.equal("NOOP", replies[4].command)
		replies[3]:expect(235)
	end,
	["a time-out"] = function(s)
		s.plan.timeout = 0.05
		s:command "AUTH PLAIN AGFsaWNlAGh1bnRlcjI="
	end,
}

describe("no secret is in the error of", function()
	for name, login in pairs(LOGINS) do
		it(name, function()
			local server = peer.laid(USERS)
			if name == "a time-out" then
				server.on, server.sasl = { auth = fault.close "silence" }, { users = { alice = "hunter2" } }
			end
			local err = raised { server = server, body = login }
			local texts = { tostring(err), err.op or "", err.message, err.transcript, err.traceback or "", tostring(err.session),
				err.reply and tostring(err.reply) or "", err.reply and err.reply.command or "" }
			for _, secret in ipairs(SECRETS) do
				assert.is_nil(table.concat(texts, "\n"):find(secret, 1, true), table.concat(texts, "\n"))
			end
			assert.matches("bytes hidden", err.transcript)
		end)
	end
end)

-- ---------------------------------------------------------------- the script's own mistakes

local BROKEN = "local nothing\nprint(nothing.field)\n"

local SERVER = [[
local smtptest = require "smtptest"
local server <close> = smtptest.listen { on = { rcpt = function()
	local nothing
	return nothing.field
end } }
server:start()
local s <close> = smtptest.connect { host = "127.0.0.1", port = server.port }
s:ehlo()
s:mail "a@b.test"
s:rcpt "c@d.test"
]]

local MISTAKES = {
	{ "itself", BROKEN, 2 },
	{ "a task that is joined", "local task = require 'smtptest'.task\nlocal t = task.spawn(function()\n"
		.. "local nothing\nprint(nothing.field) end)\nt:join()", 4, "5: in main chunk" },
	{ "a task that nobody joins", "local task = require 'smtptest'.task\ntask.spawn(function()\n"
		.. "local nothing\nprint(nothing.field) end)\ntask.sleep(0.001)", 4 },
	{ "task.run", "local task = require 'smtptest'.task\ntask.run(function()\nlocal nothing\nprint(nothing.field) end)", 4 },
	{ "a handler of a server", SERVER, 4 },
	{ "a <close> handler", "do\nlocal x <close> = setmetatable({}, { __close = function()\nlocal nothing\n"
		.. "print(nothing.field) end })\nend", 4 },
	{ "a listener", "local smtptest = require 'smtptest'\nlocal server <close> = smtptest.listen {}\nserver:start()\n"
		.. "local s <close> = smtptest.connect { host = '127.0.0.1', port = server.port }\n"
		.. "s:on(function()\nlocal nothing\nprint(nothing.field) end)\ns:ehlo()", 7 },
	{ "wrong arguments", "local smtptest = require 'smtptest'\n\nsmtptest.connect { hots = 'x' }", 3,
		words = "unknown .*'hots'.*'host'" },
}

describe("a mistake of a script is shown with its line, in", function()
	for _, case in ipairs(MISTAKES) do
		it(case[1], function()
			local path = run.file("mistake.lua", case[2])
			local words = case.words or "attempt to index a nil value %(local 'nothing'%)"
			for source, how in pairs { [path:gsub("%W", "%%%0")] = { "-S", path }, stdin = { "-S", "-" },
				["%(command line%)"] = { "-e", case[2] } } do
				local result = run.command(how, { stdin = source == "stdin" and case[2] or nil })
				assert.equal(70, result.status)
				assert.matches(("^smtptest: %s:%d: %s"):format(source, case[3], words), result.err)
				if case[4] then assert.matches(source .. ":" .. case[4], result.err) end
			end
		end)
	end
end)
