-- Writing sessions down: what a recorded case has, what it hides, and that it can be played.

local base64 = require "smtptest.base64"
local case = require "smtptest.case"
local leak = require "support.leak"
local run = require "support.run"
local serving = require "support.serve"
local server = require "smtptest.server"
local sink = require "smtptest.sink"
local smtptest = require "smtptest"
local written = require "support.written"

local PASSWORD = written.PASSWORD

-- The steps of a text, without comments, replies by their code.
local function brief(text)
	local list = {}
	for i, step in ipairs(assert(case.parse(text))) do
		local line = case.line(step):gsub('^(.-reply %d+) .*\n', "%1"):gsub("\n$", ""):gsub("\n", " ")
		if step.step ~= "comment" then list[#list + 1] = line end
		assert(i > 0)
	end
	return list
end

-- What is recorded of a session in which fn(session) runs → text
local function recorded(plan, fn)
	local path, peer = written.session("record", plan, fn)
	local text = run.read(path)
	if not plan.show_secrets then assert.is_nil((leak.find(text, { PASSWORD }))) end
	return text, peer
end

describe("a recorded session", function()
	it("has every write and every reply", function()
		local text = recorded({}, function(s)
			s:ehlo()
			s:send("NOOP\r\nRS", { split = 4 })
			s:send "ET\r\n"
			s:reply()
			s:reply()
			s:quit()
		end)
		assert.same({ "connect", "reply 220", [[send "EHLO smtptest\r\n"]], "reply 250", [[send "NOOP"]], [[send "\r\nRS"]],
			[[send "ET\r\n"]], "reply 250", "reply 250", [[send "QUIT\r\n"]], "reply 221", "close" }, brief(text))
		assert.matches('\nreply 220 "220 localhost ESMTP smtptest\\r\\n"\n', text, 1, true)
	end)

	it("has the handshake, and one step of an exchange of AUTH", function()
		for _, mechanism in ipairs { "PLAIN", "LOGIN", "SCRAM-SHA-256" } do
			local text = recorded({}, function(s)
				s:ehlo()
				s:starttls()
				s:ehlo()
				s:auth { mechanism = mechanism, password = PASSWORD }:expect(235)
			end)
			assert.same({ "connect", "reply 220", [[send "EHLO smtptest\r\n"]], "reply 250", [[send "STARTTLS\r\n"]],
				"reply 220", "handshake", [[send "EHLO smtptest\r\n"]], "reply 250", "auth " .. mechanism, "reply 235",
				"close" }, brief(text))
		end
	end)

	it("has a refused exchange, too", function()
		local text = recorded({}, function(s)
			s:ehlo()
			s:auth { mechanism = "LOGIN", password = "not-" .. PASSWORD }
		end)
		assert.same({ "auth LOGIN", "reply 535", "close" }, { table.unpack(brief(text), 5) })
	end)

	it("masks what it can't make a step of", function()
		local text = recorded({}, function(s)
			s:ehlo()
			s:send("AUTH PLAIN " .. base64.encode("\0alice\0" .. PASSWORD) .. "\r\nNOOP\r\n")
			s:reply()
			s:reply()
			s:send "AUTH LOGIN\r\n"
			s:reply()
			s:send(base64.encode "alice" .. "\r\n")
			s:reply()
			s:send "*\r\n"
			s:reply()
		end)
		assert.same({ [[secret send "AUTH PLAIN <24 bytes hidden>\r\nNOOP\r\n"]], "reply 235", "reply 250",
			[[send "AUTH LOGIN\r\n"]], "reply 503", [[secret send "<8 bytes hidden>\r\n"]], "reply 500", [[send "*\r\n"]], "reply 500",
			"close" }, { table.unpack(brief(text), 5) })
	end)

	it("keeps a canceled exchange as it was", function()
		local text = recorded({}, function(s)
			s:ehlo()
			s:send "AUTH LOGIN\r\n"
			s:reply()
			s:send(base64.encode "alice" .. "\r\n")
			s:reply()
			s:send "*\r\n"
			s:reply()
		end)
		assert.same({ [[send "AUTH LOGIN\r\n"]], "reply 334", [[secret send "<8 bytes hidden>\r\n"]], "reply 334",
			[[send "*\r\n"]], "reply 501", "close" }, { table.unpack(brief(text), 5) })
	end)

	it("has the secrets where that is wanted", function()
		local text = recorded({ show_secrets = true }, function(s)
			s:ehlo()
			s:auth { mechanism = "LOGIN", password = PASSWORD }
		end)
		assert.same({ [[send "AUTH LOGIN\r\n"]], "reply 334", [[secret send "YWxpY2U=\r\n"]], "reply 334",
			([[secret send "%s\r\n"]]):format(base64.encode(PASSWORD)), "reply 235", "close" },
			{ table.unpack(brief(text), 5) })
	end)

	it("has how each connection ends, and all of them in one file", function()
		local path = run.scratch "several"
		local peer = server.listen {}
		peer:start()
		local plan = { host = "127.0.0.1", port = peer.port, timeout = 20, record = path }
		local first, second, third = smtptest.connect(plan), smtptest.connect(plan), smtptest.connect(plan)
		first:abort()
		first:close()
		second:shutdown()
		third:send "QUIT\r\n"
		third:drain(20)
		third:close()
		second:close()
		peer:stop()
		sink.close_all()
		assert.same({ "connect", "reply 220", "c2 connect", "c2 reply 220", "c3 connect", "c3 reply 220", "abort",
			"c2 half_close", [[c3 send "QUIT\r\n"]], "c3 reply 221", "c3 close", "c2 close" }, brief(run.read(path)))
		assert.matches("\n# the peer has closed: EOF\nc3 close\n", run.read(path))
	end)

	it("can be played, with the same writes", function()
		local text = recorded({}, function(s)
			s:ehlo()
			s:starttls()
			s:ehlo()
			s:auth { mechanism = "SCRAM-SHA-256", password = PASSWORD }
			s:mail "a@x.test"
			s:rcpt "b@y.test"
			s:data "Subject: \0\255\r\n\r\n.x\r\n"
			s:quit()
		end)
		local peer <close> = server.listen { tls = "starttls", sasl = { users = { alice = PASSWORD } } }
		peer:start()
		local result = case.play(assert(case.parse(text)), { host = "127.0.0.1", port = peer.port, timeout = 20,
			authname = "alice", password = PASSWORD }, { match = "exact" })
		assert.same({}, result.differences)
		assert.equal("Subject: \0\255\r\n\r\n.x\r\n", peer.messages[1].data)
		assert.equal("alice", peer.messages[1].auth)
	end)

	it("is refused before anybody is connected to, where its file can't be", function()
		local peer = run.server(function(c) c:send "220 stub\r\n" end)
		local ok, err = pcall(smtptest.connect, { host = "127.0.0.1", port = peer.port, record = "/nosuch/file" })
		peer.stop()
		assert.is_false(ok)
		assert.equal("--record: /nosuch/file: No such file or directory", tostring(err))
		assert.equal(0, peer.connections)
	end)
end)

describe("--record", function()
	it("has what is typed, and no password that was", function()
		local path = run.scratch "typed.case"
		local peer = server.listen { tls = "starttls", sasl = { users = { alice = PASSWORD } } }
		peer:start()
		local r = run.command({ "--no-auth", "-p", tostring(peer.port), "--record=" .. path, "127.0.0.1",
			"--lockstep" }, { stdin = ("STARTTLS\nEHLO typed\nAUTH PLAIN %s\nNOOP\nQUIT\n"):format(
				base64.encode("\0alice\0" .. PASSWORD)) })
		peer:stop()
		assert.equal(0, r.status, r.err)
		local text = run.read(path)
		assert.is_nil((leak.find(text, { PASSWORD })))
		assert.same({ [[send "STARTTLS\r\n"]], "reply 220", "handshake", [[send "EHLO typed\r\n"]], "reply 250", "auth PLAIN",
			"reply 235", [[send "NOOP\r\n"]], "reply 250", [[send "QUIT\r\n"]], "reply 221", "close" },
			{ table.unpack(brief(text), 5) })
	end)

	it("changes nothing of what is shown, and a full disk ends no session", function()
		if not io.open "/dev/full" then return pending "no /dev/full" end
		local peer = server.listen {}
		peer:start()
		local words = { "--no-auth", "-p", tostring(peer.port), "127.0.0.1" }
		local plain = run.command(words, { stdin = "NOOP\nQUIT\n" })
		local full = run.command({ "--record=/dev/full", "--log=/dev/full", table.unpack(words) }, { stdin = "NOOP\nQUIT\n" })
		peer:stop()
		assert.equal(plain.out, full.out)
		assert.equal(1, full.status)
		assert.matches("^failure: %-%-%l+: /dev/full: No space left on device\n$", full.err)
	end)

	it("of --serve has each client", function()
		local path = run.scratch "clients.case"
		local r = serving({ "-p", "0", "-t", "", "-a", "alice", "-w", PASSWORD, "--record=" .. path }, function(port)
			for _, mechanism in ipairs { "PLAIN", "LOGIN" } do
				local s <close> = smtptest.open { host = "127.0.0.1", port = port, tls = "starttls", authname = "alice",
					password = PASSWORD, mechanism = mechanism, timeout = 20 }
				s:quit()
			end
		end)
		assert.equal(0, r.status, r.err)
		local text = run.read(path)
		assert.is_nil((leak.find(text, { PASSWORD })))
		local steps = { "reply 220", [[send "EHLO smtptest\r\n"]], "reply 250", [[send "STARTTLS\r\n"]],
			"reply 220", "handshake", [[send "EHLO smtptest\r\n"]], "reply 250", "auth PLAIN", "reply 235",
			[[send "QUIT\r\n"]], "reply 221", "close" }
		local first = {}
		for _, line in ipairs(brief(text)) do
			if not line:find "^c2 " then first[#first + 1] = line end
		end
		assert.same(steps, { table.unpack(first, 2) })
		assert.matches("\nc2 auth LOGIN\nc2 reply 235 ", text)
		assert.matches("\n# c2 from 127%.0%.0%.1:%d+\nc2 connect\n", text)
	end)
end)
