-- Our client and Sendmail, which has the layers of SASL, with Kerberos tickets of MIT's own center.

local daemon = require "support.daemon"
local kdc = require "support.kdc"
local letter = require "support.letter"
local run = require "support.run"
local sendmail = require "support.sendmail"
local smtptest = require "smtptest"

describe("Sendmail", function()
	local why = daemon.missing("sendmail", "krb5")
	if why then return pending("takes a message after every mechanism, inside every layer: " .. why) end

	local FROM, TO = "alice@peer.test", "bob@peer.test"
	local center, server, text, file

	setup(function()
		center = kdc.start()
		server = sendmail.start { kdc = center }
		text = letter.new(FROM, TO)
		file = server:write("letter", text)
	end)

	teardown(function()
		server:stop()
		center:stop()
	end)

	local function arrived()
		letter.arrived(text, server:take "mail")
	end

	-- The command, as alice with her ticket or in another environment; it trusts the server's certificate.
	local function command(words, env)
		return run.command({ "-p", tostring(server.port), "-a", "alice", "-w", "secret", "--cafile=" .. server.certificate,
			table.unpack(words) }, { env = env or center.env })
	end

	-- Sends the message by the command.
	-- @param factor  of the layers together
	local function sends(factor, ...)
		local r = command { "--from=" .. FROM, "--to=" .. TO, "--data=@" .. file, ... }
		assert.are.equal(0, r.status, r.out .. r.err)
		assert.is_truthy(r.out:find(("Authenticated.\nSecurity strength factor: %d\n"):format(factor), 1, true), r.out)
		arrived()
	end

	for _, mechanism in ipairs(sendmail.mechanisms) do
		it("takes a message from the command under TLS after " .. mechanism, function()
			sends(256, "-t", "", "-l", "0", "-m", mechanism, "localhost")
		end)

		it("refuses a wrong password with " .. mechanism, function()
			local r = command { "-w", "wrong", "-m", mechanism, "localhost" }
			assert.is_truthy(r.out:find("Authentication failed. 535 5.7.0 ", 1, true), r.out .. r.err)
		end)
	end

	for _, case in ipairs {
		{ "DIGEST-MD5", 0, 0 }, { "DIGEST-MD5", 1, 1 }, { "DIGEST-MD5", 56, 56 }, { "DIGEST-MD5", 128, 128 },
		{ "GSSAPI", 0, 0 }, { "GSSAPI", 1, 1 }, { "GSSAPI", 128, 1 }, { "GSSAPI", 256, 256 },
	} do
		local mechanism, maxssf, factor = table.unpack(case)
		it(("takes a message from the command inside the layer of %s -l %d"):format(mechanism, maxssf), function()
			sends(factor, "-m", mechanism, "-l", tostring(maxssf), "localhost")
		end)
	end

	for _, factor in ipairs { 0, 1, 56, 128 } do
		it(("takes a message from a session inside a layer of DIGEST-MD5 of factor %d"):format(factor), function()
			local s <close> = smtptest.open { host = "localhost", port = server.port, timeout = 20, authname = "alice",
				password = "secret", mechanism = "DIGEST-MD5", minssf = factor, maxssf = factor }
			assert.are.equal(factor, s.ssf)
			local replies = s:pipeline { ("MAIL FROM:<%s> BODY=8BITMIME"):format(FROM), ("RCPT TO:<%s>"):format(TO), "NOOP" }
			assert.are.same({ 250, 250, 250 }, { replies[1].code, replies[2].code, replies[3].code })
			s:data(text):expect(250)
			s:quit():expect(221)
			arrived()
		end)
	end

	for _, factor in ipairs { 1, 256 } do
		it(("takes a message from a script's session inside a layer of GSSAPI of factor %d"):format(factor), function()
			local r = command { "-m", "GSSAPI", "-k", tostring(factor), "-l", tostring(factor), "-e", ([[
				local smtptest = require "smtptest"
				local s <close> = smtptest.open()
				s:mail(%q):expect(250)
				s:rcpt(%q):expect(250)
				s:data(io.open(%q, "rb")):expect(250)
				s:quit():expect(221)
				print(s.ssf, s.mechanism)
			]]):format(FROM, TO, file), "localhost" }
			assert.are.equal(0, r.status, r.out .. r.err)
			assert.are.equal(("%d\tGSSAPI\n"):format(factor), r.out)
			arrived()
		end)
	end

	it("takes a message inside a layer inside TLS", function()
		local s <close> = smtptest.open { host = "localhost", port = server.port, timeout = 20, authname = "alice",
			password = "secret", mechanism = "DIGEST-MD5", maxssf = 256 + 128, tls = "starttls", verify = true,
			cafile = server.certificate }
		assert.are.equal(128, s.ssf)
		assert.is_true(s.tls.verified)
		s:mail(FROM):expect(250)
		s:rcpt(TO):expect(250)
		s:data(text):expect(250)
		arrived()
	end)

	it("is not asked for what cannot be had without a ticket", function()
		local r = command({ "-m", "GSSAPI", "localhost" },
			{ KRB5_CONFIG = center.config, KRB5CCNAME = "FILE:" .. server:path "nosuch" })
		assert.is_nil(r.out:find("C: AUTH", 1, true), r.out)
		assert.is_truthy(r.out:find("Authentication failed. ", 1, true), r.out .. r.err)
		assert.is_truthy((r.out .. r.err):find "[Nn]o Kerberos credentials available", r.out .. r.err)
	end)
end)
