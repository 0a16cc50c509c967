local cert = require "smtptest.core.cert"
local coretls = require "smtptest.core.tls"
local peer = require "support.peer"
local pki = require "pki"
local tls = require "smtptest.tls"

local lab
setup(function() lab = pki.make() end)
teardown(function() lab.remove() end)

local function server_context(changes)
	return assert(coretls.context(peer.laid(
		{ server = true, certfile = lab.path "server.pem", keyfile = lab.path "server.key" }, changes)))
end

local function trusting(changes) return peer.laid({ host = "mail.test", cafile = lab.path "ca.pem" }, changes) end

-- Shakes hands with a server of that context; body(session, client) sees what it came to.
local function shaken(plan, body, context)
	context = context or server_context()
	return peer.with(function(c)
		c:tls(context)
		c:send "220 ready\r\n"
		c:rest()
	end, function(s, c)
		s:handshake()
		s:reply()
		body(s, c)
		s:shutdown()
	end, plan)
end

-- The error of a handshake.
local function refused(code, plan, context)
	local err
	peer.with(function(c)
		pcall(c.tls, c, context or server_context())
		c:rest()
	end, function(s)
		err = peer.failure(code, s.handshake, s)
		assert.is_nil(s.tls)
		assert.same({}, s.transport.layers)
	end, plan)
	return err
end

local function codes(problems)
	local list = {}
	for i, problem in ipairs(problems) do list[i] = problem.code end
	return list
end

describe("a context", function()
	local function context(plan) return assert(tls.context(plan)) end

	it("is made once for the same settings", function()
		local plan = { cafile = lab.path "ca.pem", alpn = { "smtp", "x" } }
		assert.equal(context(plan), context { alpn = { "smtp", "x" }, cafile = lab.path "ca.pem", host = "other" })
	end)

	it("is another one for each other setting", function()
		local seen = {}
		for _, plan in ipairs {
			{}, { cafile = lab.path "ca.pem" }, { capath = lab.dir }, { min_version = "1.2" }, { max_version = "1.2" },
			{ ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384" }, { ciphersuites = "TLS_AES_128_GCM_SHA256" }, { groups = "P-256" },
			{ alpn = { "smtp" } }, { alpn = { "sm", "tp" } }, { keylog = lab.path "keylog" },
			{ certfile = lab.path "both.pem", keyfile = lab.path "both.pem" },
		} do
			local one = context(plan)
			assert.is_nil(seen[one])
			seen[one] = true
		end
	end)

	it("is made anew when a file has changed, and only then", function()
		local function write(path, name)
			local certificate, key = assert(cert.self_signed { name = name })
			local handle <close> = assert(io.open(path, "w"))
			handle:write(certificate, key)
		end
		local path = os.tmpname()
		local plan = { certfile = path, keyfile = path, cafile = lab.path "ca.pem" }
		write(path, "first")
		local first = context(plan)
		assert.equal(first, context(plan))
		write(path, "second, of another length")
		local second = context(plan)
		assert.not_equal(first, second)
		assert.equal(second, context(plan))
		os.remove(path)
		local _, message, code = tls.context(plan)
		assert.equal("TLS", code)
		assert.is_truthy(message:find(path, 1, true))
	end)

	it("does not take a value for the lack of one", function()
		assert.is_nil((tls.context { cafile = "nil" }))
	end)

	it("needs the key's password, as a string or from a function that is called only then", function()
		local function locked(keypass)
			return { certfile = lab.path "server.pem", keyfile = lab.path "locked.key", keypass = keypass }
		end
		local calls = 0
		local function password()
			calls = calls + 1
			return "open sesame"
		end
		local _, message, code = tls.context(locked())
		assert.equal("TLS", code)
		assert.matches("encrypted", message)
		_, message, code = tls.context(locked "wrong")
		assert.equal("TLS", code)
		assert.matches("wrong password", message)
		assert.not_matches("open sesame", message)
		context(locked "open sesame")
		context(locked(password))
		assert.equal(1, calls)
		context { certfile = lab.path "both.pem", keyfile = lab.path "both.pem", keypass = password }
		assert.equal(1, calls)
	end)

	it("is not had for a wrong password because somebody had the right one", function()
		local plan = { certfile = lab.path "server.pem", keyfile = lab.path "locked.key", keypass = "open sesame" }
		context(plan)
		plan.keypass = "wrong"
		assert.is_nil((tls.context(plan)))
	end)

	it("passes on why its password can't be had", function()
		local _, message, code = tls.context { certfile = lab.path "server.pem", keyfile = lab.path "locked.key",
			min_version = "1.2", keypass = function() return nil, "no terminal", "INTERACT" end }
		assert.equal("no terminal", message)
		assert.equal("INTERACT", code)
	end)

	it("takes certificate and key from one file", function()
		context { keyfile = lab.path "both.pem" }
		context { certfile = lab.path "both.pem", keyfile = lab.path "both.pem" }
	end)
end)

describe("a numeric address", function()
	it("is known as one", function()
		for _, host in ipairs { "192.0.2.1", "::1", "fe80::1%eth0", "::ffff:192.0.2.1" } do
			assert.is_true(tls.is_address(host), host)
		end
		for _, host in ipairs { "mail.test", "1.2.3", "192.0.2.1.test", "" } do
			assert.is_false(tls.is_address(host), host)
		end
	end)
end)

describe("the name that is asked for", function()
	local cases = {
		{ { host = "mail.test" }, "mail.test" },
		{ { host = "mail.test", sni = "other.test" }, "other.test" },
		{ { host = "mail.test", sni = "" }, nil },
		{ { host = "192.0.2.1" }, nil },
		{ { host = "192.0.2.1", sni = "mail.test" }, "mail.test" },
		{ { host = "[2001:db8::1]" }, nil },
		{ { host = "mail.test", sni = "192.0.2.1" }, nil },
		{ { host = "mail.test", verify = "a.wild.test" }, "mail.test" },
	}
	for _, case in ipairs(cases) do
		it(("for host %s, sni %s is %s"):format(case[1].host, case[1].sni, case[2]), function()
			shaken(trusting(case[1]), function(_, c) assert.equal(case[2], c.machine:info().sni) end)
		end)
	end
end)

describe("the certificate", function()
	-- {host, verify, does it fit}
	local names = {
		{ "mail.test", true, true },
		{ "MAIL.TEST", true, true },
		{ "a.wild.test", true, true },
		{ "192.0.2.1", true, true },
		{ "other.test", true, false },
		{ "a.b.wild.test", true, false },
		{ "wild.test", true, false },
		{ "192.0.2.2", true, false },
		{ "[2001:db8::1]", true, false },
		{ "other.test", "mail.test", true },
		{ "mail.test", "other.test", false },
		{ "other.test", "192.0.2.1", true },
	}
	for _, case in ipairs(names) do
		local host, verify, fits = table.unpack(case)
		it(("%s %s (verify: %s)"):format(fits and "fits" or "does not fit", host, verify), function()
			local plan = trusting { host = host, verify = verify }
			if fits then
				shaken(plan, function(s)
					assert.is_true(s.tls.verified)
					assert.same({}, s.tls.problems)
				end)
			else
				local err = refused("CERTIFICATE", plan)
				assert.equal(4, err.status)
				assert.equal("TLS handshake", err.op)
				assert.is_true(#err.problems > 0)
				assert.is_nil(tostring(err):find("\n"))
			end
		end)
	end

	it("with a wrong name is judged and reported where nobody verifies", function()
		shaken(trusting { host = "other.test" }, function(s)
			assert.is_false(s.tls.verified)
			assert.same({ 62 }, codes(s.tls.problems))
			assert.equal(0, s.tls.problems[1].depth)
			assert.matches("CN=server", s.tls.problems[1].subject)
			assert.matches("[Hh]ostname mismatch", s.tls.problems[1].text)
		end)
	end)

	it("of nobody we trust is reported, and fatal with verify", function()
		shaken({ host = "mail.test" }, function(s)
			assert.is_false(s.tls.verified)
			assert.equal(20, s.tls.problems[1].code)
		end)
		refused("CERTIFICATE", { host = "mail.test", verify = true })
	end)

	it("that has expired is reported once, with how often it was told", function()
		local context = server_context { certfile = lab.path "expired.pem", keyfile = lab.path "expired.key" }
		shaken(trusting(), function(s)
			assert.same({ 10 }, codes(s.tls.problems))
			assert.equal(2, s.tls.problems[1].times)
		end, context)
		refused("CERTIFICATE", trusting { verify = true }, context)
	end)

	it("is described, leaf first", function()
		shaken(trusting(), function(s)
			local leaf = s.tls.peer[1]
			assert.equal("/O=Lab/CN=server", leaf.subject)
			assert.equal("/O=Lab/CN=Lab CA", leaf.issuer)
			assert.same({ "DNS:mail.test", "DNS:*.wild.test", "IP Address:192.0.2.1", "email:post@mail.test" }, leaf.names)
			assert.equal("integer", math.type(leaf.not_before))
			assert.is_true(leaf.not_before <= os.time() and os.time() < leaf.not_after)
			assert.matches("^%x+$", leaf.serial)
			assert.equal("EC P-256", leaf.key)
			assert.equal(64, #leaf.fingerprint)
			assert.equal(cert.parse(lab.read "server.pem").fingerprint, leaf.fingerprint)
			assert.equal(leaf.fingerprint, cert.parse(leaf.pem).fingerprint)
			assert.equal(s.tls.peer, s.tls.peer)
		end)
	end)
end)

describe("Session.tls", function()
	it("tells protocol, cipher, bits, group and ALPN", function()
		shaken(trusting { alpn = { "x", "smtp" }, groups = "P-256" }, function(s)
			assert.equal("TLSv1.3", s.tls.protocol)
			assert.matches("^TLS_", s.tls.cipher)
			assert.is_true(s.tls.bits >= 128)
			assert.is_string(s.tls.group)
			assert.equal("smtp", s.tls.alpn)
			assert.is_false(s.tls.resumed)
			assert.is_true(s.tls.verified)
			assert.equal("", s.tls.leftover)
		end, server_context { alpn = { "smtp" } })
	end)

	it("obeys the plan's versions and ciphers", function()
		shaken(trusting { max_version = "1.2", ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384" }, function(s)
			assert.equal("TLSv1.2", s.tls.protocol)
			assert.equal("ECDHE-ECDSA-AES256-GCM-SHA384", s.tls.cipher)
		end)
		shaken(trusting { ciphersuites = "TLS_AES_128_GCM_SHA256" }, function(s)
			assert.equal("TLS_AES_128_GCM_SHA256", s.tls.cipher)
		end)
		local err = refused("TLS", trusting { min_version = "1.3" }, server_context { max_version = "1.2" })
		assert.matches("protocol version", err.message)
	end)

	it("binds the channel as the server sees it", function()
		for version, kinds in pairs {
			["1.2"] = { "tls-unique", "tls-exporter", "tls-server-end-point" },
			["1.3"] = { "tls-exporter", "tls-server-end-point" },
		} do
			shaken(trusting { min_version = version, max_version = version }, function(s, c)
				for _, kind in ipairs(kinds) do
					local bytes, name = s.tls:channel_binding(kind)
					assert.is_string(bytes, kind)
					assert.equal(kind, name)
					assert.equal(c.machine:channel_binding(kind), bytes)
				end
				assert.equal(kinds[1], select(2, s.tls:channel_binding()))
				local _, message = pcall(function() local bytes = s.tls:channel_binding "tls-uniqe" return bytes end)
				assert.matches("^t/tls_spec%.lua:%d+: unknown kind of channel binding 'tls%-uniqe'", message)
			end)
		end
		shaken(trusting(), function(s)
			local bytes, message, code = s.tls:channel_binding "tls-unique"
			assert.is_nil(bytes)
			assert.is_string(message)
			assert.equal("TLS", code)
		end)
	end)

	it("gives the binding to a method and to a field", function()
		shaken(trusting(), function(s)
			local bytes, kind = s.tls:channel_binding()
			assert.equal("tls-exporter", kind)
			assert.equal(bytes, (s.tls.channel_binding "tls-exporter"))
			assert.equal(bytes, (s.tls.channel_binding()))
			assert.matches("^t/tls_spec%.lua:%d+: unknown kind of channel binding 'tls%-uniq'",
				peer.complaint(function() local b = s.tls:channel_binding "tls-uniq" return b end))
		end)
	end)

	it("traces the handshake where the plan is verbose", function()
		shaken(trusting { verbose = true }, function(s) assert.is_true(#s.tls:trace() > 3) end)
		shaken(trusting(), function(s) assert.same({}, s.tls:trace()) end)
	end)

	it("logs its keys where the plan says so", function()
		local path = lab.path "sslkeylog"
		shaken(trusting { keylog = path }, function() end)
		assert.matches("CLIENT_TRAFFIC_SECRET_0 %x+ %x+", lab.read "sslkeylog")
	end)
end)

describe("a certificate of our own", function()
	it("is shown to a server that asks", function()
		local context = server_context { cafile = lab.path "ca.pem", verify_client = "require" }
		shaken(trusting { certfile = lab.path "client.pem", keyfile = lab.path "client.key" }, function(_, c)
			assert.equal("/O=Lab/CN=client", cert.parse(c.machine:peer()[1]).subject)
		end, context)
	end)

	it("proves an identity", function()
		assert.equal("client", tls.identity { certfile = lab.path "client.pem" })
		assert.is_nil(tls.identity {})
	end)

	it("that lacks is told when the server says so: after the handshake, in TLS 1.3", function()
		local context = server_context { cafile = lab.path "ca.pem", verify_client = "require" }
		peer.with(function(c) pcall(c.tls, c, context) end, function(s)
			s:handshake()
			local err = peer.failure("TLS", s.reply, s)
			assert.matches("certificate", err.message)
			assert.equal("tls", err.layer)
		end, trusting())
		refused("TLS", trusting { max_version = "1.2" }, context)
	end)
end)

describe("resumption", function()
	for _, version in ipairs { "1.2", "1.3" } do
		local plan = function(changes) return trusting(peer.laid({ max_version = version }, changes)) end

		it("brings the session of TLS " .. version .. " back, with its problems", function()
			local context, stored = server_context(), nil
			shaken(plan { host = "other.test" }, function(s)
				stored = s.tls.session
				assert.is_truthy(stored)
				assert.is_false(s.tls.resumed)
			end, context)
			shaken(plan { host = "other.test", session = stored }, function(s)
				assert.is_true(s.tls.resumed)
				assert.same({ 62 }, codes(s.tls.problems))
				assert.is_false(s.tls.verified)
				assert.equal("/O=Lab/CN=server", s.tls.peer[1].subject)
			end, context)
		end)

		it("of TLS " .. version .. " does not pass by --verify", function()
			local context, stored = server_context(), nil
			shaken(plan { host = "other.test" }, function(s) stored = s.tls.session end, context)
			refused("CERTIFICATE", plan { host = "other.test", session = stored, verify = true }, context)
			refused("CERTIFICATE", plan { host = "other.test", session = stored.bytes, verify = true }, context)
			shaken(plan { session = stored, verify = true }, function(s)
				assert.is_true(s.tls.verified)
			end, context)
		end)
	end

	it("takes the bytes alone, too", function()
		local context, stored = server_context(), nil
		shaken(trusting(), function(s) stored = s.tls.session.bytes end, context)
		shaken(trusting { session = stored }, function(s)
			assert.is_true(s.tls.resumed)
			assert.is_true(s.tls.verified)
		end, context)
	end)

	it("keeps the newest ticket, and gives it again when no other came", function()
		shaken(trusting(), function(s)
			local first = s.tls.session
			assert.is_string(first.bytes)
			assert.equal(first.bytes, s.tls.session.bytes)
		end)
	end)

	for _, version in ipairs { "1.2", "1.3" } do
		it("of TLS " .. version .. " is what the peer says it is", function()
			local context, stored = server_context(), nil
			local plan = { max_version = version }
			shaken(trusting(plan), function(s, c)
				stored = s.tls.session
				assert.is_false(c.machine:info().resumed)
			end, context)
			plan.session = stored
			shaken(trusting(plan), function(s, c)
				assert.is_true(s.tls.resumed)
				assert.is_true(c.machine:info().resumed)
			end, context)
		end)

		-- The server's key for tickets is another one: it can't read ours.
		it("of TLS " .. version .. " is not claimed where the server refuses the ticket", function()
			local stored
			shaken(trusting { max_version = version }, function(s) stored = s.tls.session end)
			shaken(trusting { max_version = version, session = stored }, function(s, c)
				assert.is_false(c.machine:info().resumed)
				assert.is_false(s.tls.resumed)
				assert.is_true(s.tls.verified)
				assert.same({}, s.tls.problems)
				assert.is_true(#s.tls.peer > 0)
			end)
		end)
	end

	it("of garbage is refused before anything is sent", function()
		peer.with(function(c) assert.equal("", c:rest()) end, function(s)
			peer.failure("TLS", s.handshake, s)
		end, trusting { session = "garbage" })
	end)
end)

describe("TLS inside TLS", function()
	it("ends from the inside out", function()
		peer.with(function(c)
			c:tls()
			c:tls()
			c:send "220 deep\r\n"
			assert.equal("NOOP", c:line())
			assert.equal("", c:rest())
			c:send "250 heard\r\n"
		end, function(s)
			s:handshake()
			s:handshake()
			assert.equal("220 deep", tostring(s:reply()))
			s:send "NOOP\r\n"
			s:shutdown()
			assert.equal("250 heard", tostring(s:reply()))
		end)
	end)
end)

describe("TLS inside a SASL layer", function()
	it("carries a session", function()
		peer.with(function(c)
			c:auth { mechanisms = "DIGEST-MD5" }
			c:tls()
			c:reply "250 deep"
		end, function(s)
			s:auth { mechanism = "DIGEST-MD5", authname = "alice", password = "secret" }
			s:handshake()
			assert.equal("tls", s.transport:layer_name())
			assert.equal("250 deep", tostring(s:noop()))
		end)
	end)
end)
