-- Our client and Postfix with the Cyrus library: every mechanism that both have, and a message that arrives as it was sent.

local daemon = require "support.daemon"
local letter = require "support.letter"
local postfix = require "support.postfix"
local run = require "support.run"
local smtptest = require "smtptest"

describe("Postfix", function()
	local why = daemon.missing "postfix"
	if why then return pending("takes a message after every mechanism: " .. why) end

	local FROM, TO = "alice@peer.test", "bob@peer.test"
	local server, text, file

	setup(function()
		server = postfix.start()
		text = letter.new(FROM, TO)
		file = server:write("letter", text)
	end)

	teardown(function() server:stop() end)

	-- The command, as alice; it trusts the server's certificate.
	local function command(...)
		return run.command { "-p", tostring(server.port), "-a", "alice", "-w", "secret", "--cafile=" .. server.certificate,
			... }
	end

	local function arrived()
		letter.arrived(text, server:take "mail/box")
	end

	-- A session in which alice has authenticated, unless the plan says otherwise.
	local function open(changes)
		local plan = { host = "localhost", port = server.port, authname = "alice", password = "secret", timeout = 20 }
		for name, value in pairs(changes or {}) do plan[name] = value end
		return smtptest.open(plan)
	end

	it("is reported on: versions, ciphers, resumption, certificate", function()
		local port = smtptest.report.tls({ host = "localhost", port = server.port, timeout = 20,
			cafile = server.certificate }).ports[1]
		assert.is_nil(port.error)
		assert.equal("TLSv1.3", port.versions[1].version)
		assert.is_true(#port.versions[1].ciphers >= 3)
		assert.is_true(#port.versions[2].ciphers > 5)
		for _, version in ipairs(port.versions) do assert.is_true(version.resumption, version.version) end
		assert.is_true(port.verified, table.concat(port.problems, "; "))
		assert.is_true(port.days > 0)
	end)

	for _, mechanism in ipairs(postfix.mechanisms) do
		it("takes a message from the command under TLS after " .. mechanism, function()
			local r = command("-t", "", "-m", mechanism, "--from=" .. FROM, "--to=" .. TO, "--data=@" .. file, "localhost")
			assert.are.equal(0, r.status, r.out .. r.err)
			assert.is_truthy(r.out:find("Authenticated.\n", 1, true))
			arrived()
		end)

		it("takes a message from a session in clear text after " .. mechanism, function()
			local s <close> = open { mechanism = mechanism }
			assert.are.equal(mechanism, s.mechanism)
			assert.are.equal(0, s.ssf)
			s:mail(FROM, { BODY = "8BITMIME", SIZE = #text }):expect(250)
			s:rcpt(TO):expect(250)
			s:data(text):expect(250)
			s:quit():expect(221)
			arrived()
		end)

		it("refuses a wrong password with " .. mechanism, function()
			local r = command("-m", mechanism, "-w", "wrong", "localhost")
			assert.is_truthy(r.out:find("Authentication failed. 535 5.7.8 ", 1, true), r.out .. r.err)
		end)
	end

	it("gets no initial response with -i", function()
		local r = command("-i", "-m", "PLAIN", "localhost")
		assert.is_truthy(r.out:find("C: AUTH PLAIN\r\nS: 334 \r\nC: AGFsaWNlAHNlY3JldA==\r\nS: 235 ", 1, true), r.out)
	end)

	it("takes a message in chunks", function()
		local s <close> = open { tls = "starttls" }
		s:mail(FROM, { BODY = "8BITMIME" }):expect(250)
		s:rcpt(TO):expect(250)
		for first = 1, #text, 30000 do
			s:bdat(text:sub(first, first + 29999), { last = first + 30000 > #text }):expect(250)
		end
		arrived()
	end)

	it("takes a message whose commands come in one segment", function()
		local s <close> = open()
		local replies = s:pipeline { ("MAIL FROM:<%s>"):format(FROM), ("RCPT TO:<%s>"):format(TO), "DATA" }
		assert.are.same({ 250, 250, 354 }, { replies[1].code, replies[2].code, replies[3].code })
		s:send((text:gsub("^%.", ".."):gsub("\n%.", "\n..")) .. ".\r\n")
		s:reply():expect(250)
		arrived()
	end)

	it("has a certificate that is trusted where we are told to", function()
		local s <close> = open { tls = "starttls", verify = true, cafile = server.certificate }
		assert.is_true(s.tls.verified)
		for _, changes in ipairs { { verify = true }, { verify = "other.test", cafile = server.certificate } } do
			changes.tls = "starttls"
			local err = select(2, pcall(open, changes))
			assert.are.equal("CERTIFICATE", err.code, tostring(err))
		end
	end)

	for _, version in ipairs { "1.2", "1.3" } do
		it("resumes a session of TLS " .. version, function()
			local r = command("-m", "PLAIN", "-t", "", "-v", "-n", "2", "--tls-min=" .. version, "--tls-max=" .. version,
				"localhost")
			assert.are.equal(0, r.status, r.out .. r.err)
			local _, sessions = r.out:gsub("TLS connection established: TLSv" .. version:gsub("%.", "%%."), "")
			local _, reused = r.out:gsub("TLS session reused\n", "")
			assert.are.same({ 2, 1 }, { sessions, reused }, r.out)
		end)
	end
end)
