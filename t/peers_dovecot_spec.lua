-- Our client and Dovecot: its submission server, which relays to Postfix's smtp-sink, and its LMTP server.

local daemon = require "support.daemon"
local dovecot = require "support.dovecot"
local letter = require "support.letter"
local run = require "support.run"
local sink = require "support.sink"
local smtptest = require "smtptest"

describe("Dovecot", function()
	local why = daemon.missing("dovecot", "postfix")
	if why then return pending("takes a message after every mechanism, and by LMTP: " .. why) end

	local FROM, TO = "alice@peer.test", "bob@peer.test"
	local server, relay, text, file, words

	setup(function()
		relay = sink.start()
		server = dovecot.start { relay = relay.port }
		text = letter.new(FROM, TO)
		file = server:write("letter", text)
		words = { "--from=" .. FROM, "--to=" .. TO, "--data=@" .. file, "localhost" }
	end)

	teardown(function()
		server:stop()
		relay:stop()
	end)

	local function arrived()
		letter.arrived(text, relay:message())
	end

	-- The command, as alice; it trusts the server's certificate.
	local function command(port, ...)
		return run.command { "-p", tostring(port), "-a", "alice", "--cafile=" .. server.certificate, ... }
	end

	-- Sends the message by the command.
	local function sends(...)
		local r = command(server.port, ...)
		assert.are.equal(0, r.status, r.out .. r.err)
		assert.is_truthy(r.out:find("Authenticated.\nSecurity strength factor: 256\n", 1, true), r.out)
		arrived()
	end

	-- Sends it in a session.
	local function gives(plan)
		plan.host, plan.port, plan.authname, plan.timeout = "localhost", server.port, "alice", 20
		local s <close> = smtptest.open(plan)
		assert.are.equal(plan.mechanism, s.mechanism)
		s:mail(FROM, { BODY = "8BITMIME", SIZE = #text }):expect(250)
		s:rcpt(TO):expect(250)
		s:data(text):expect(250)
		s:quit():expect(221)
		arrived()
	end

	local function refused(...)
		local r = command(server.port, ...)
		assert.is_truthy(r.out:find("Authentication failed. 535 5.7.8 ", 1, true), r.out .. r.err)
	end

	for _, mechanism in ipairs(dovecot.mechanisms) do
		it("takes a message from the command under TLS after " .. mechanism, function()
			sends("-t", "", "-m", mechanism, "-w", "secret", table.unpack(words))
		end)

		it("takes a message from a session in clear text after " .. mechanism, function()
			gives { mechanism = mechanism, password = "secret" }
		end)

		it("refuses a wrong password with " .. mechanism, function()
			refused("-m", mechanism, "-w", "wrong", "localhost")
		end)
	end

	for _, mechanism in ipairs { "OAUTHBEARER", "XOAUTH2" } do
		it("takes a message from the command under TLS after " .. mechanism, function()
			sends("-t", "", "-m", mechanism, "-w", server.token("alice", 600), table.unpack(words))
		end)

		it("takes a message from a session in clear text after " .. mechanism, function()
			gives { mechanism = mechanism, password = server.token("alice", 600) }
		end)

		it("refuses a token that has expired with " .. mechanism, function()
			refused("-m", mechanism, "-w", server.token("alice", -10), "localhost")
		end)

		it("refuses another user's token with " .. mechanism, function()
			refused("-m", mechanism, "-w", server.token("bob", 600), "localhost")
		end)
	end

	it("takes a message from the command after EXTERNAL, with the name in the certificate", function()
		sends("-t", server.client, "-m", "EXTERNAL", table.unpack(words))
	end)

	it("takes a message from a session after EXTERNAL, with the name in the certificate", function()
		gives { mechanism = "EXTERNAL", tls = "starttls", certfile = server.client, keyfile = server.client }
	end)

	it("refuses EXTERNAL without a certificate", function()
		local s <close> = smtptest.open { host = "localhost", port = server.port, tls = "starttls", auth = false, timeout = 20 }
		s:command "AUTH EXTERNAL YWxpY2U=":expect "5xx"
	end)

	for _, version in ipairs { "1.2", "1.3" } do
		it("resumes no session of TLS " .. version .. ", and we don't say so", function()
			local r = command(server.port, "-m", "PLAIN", "-w", "secret", "-t", "", "-v", "-n", "2", "--tls-min=" .. version,
				"--tls-max=" .. version, "localhost")
			assert.are.equal(0, r.status, r.out .. r.err)
			local _, sessions = r.out:gsub("TLS connection established: TLSv" .. version:gsub("%.", "%%."), "")
			assert.are.equal(2, sessions, r.out)
			assert.is_nil(r.out:find("TLS session reused", 1, true), r.out)
		end)
	end

	for _, how in ipairs { "in clear text", "under TLS" } do
		local tls = how == "under TLS"

		it("takes a message from the command by LMTP " .. how, function()
			local r = command(server.lmtp, "-P", "lmtp", "--no-auth", table.unpack(tls and { "-t", "", table.unpack(words) } or words))
			assert.are.equal(0, r.status, r.out .. r.err)
			letter.arrived(text, server:take "mail/bob")
		end)

		it("answers a session by LMTP for each recipient " .. how, function()
			local s <close> = smtptest.open { host = "localhost", port = server.lmtp, protocol = "lmtp", timeout = 20,
				tls = tls and "starttls" or "none" }
			s:mail(FROM, { BODY = "8BITMIME" }):expect(250)
			for _, name in ipairs { "bob", "carol" } do s:rcpt(name .. "@peer.test"):expect(250) end
			local replies = s:data(text)
			replies:expect(250)
			assert.are.same({ "bob@peer.test", "carol@peer.test" }, { replies[1].recipient, replies[2].recipient })
			for _, name in ipairs { "bob", "carol" } do letter.arrived(text, server:take("mail/" .. name)) end
		end)
	end
end)
