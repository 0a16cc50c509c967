local cert = require "smtptest.core.cert"
local report = require "smtptest.report"
local run = require "support.run"
local smtptest = require "smtptest"

-- A plan for a server of ours.
local function plan(server, more)
	local all = { host = "localhost", family = "inet", port = server.port, timeout = 20 }
	for name, value in pairs(more or {}) do all[name] = value end
	return all
end

local function started(settings)
	local server = smtptest.listen(settings)
	server:start()
	return server
end

local function made(days, name)
	return assert(cert.self_signed { name = name or "localhost", names = { "DNS:" .. (name or "localhost") }, days = days })
end

local function material(days, name)
	local certificate, key = made(days, name)
	return { cert = certificate, key = key }
end

-- A server of ours with that certificate.
local function serving(settings, days, name)
	local all = material(days, name)
	for field, value in pairs(settings) do all[field] = value end
	return started(all), all.cert
end

-- A certificate for n days has n - 1 left, and something; within its first second it has n.
local function has_left(n, days)
	assert.is_true(days == n or days == n - 1, tostring(days))
end

local function only(result)
	assert.equal(1, #result.ports)
	return result.ports[1]
end

describe("a list of ports", function()
	local CASES = {
		{ "25", { { port = 25, protocol = "smtp", tls = "starttls" } } },
		{ "465s,24l", { { port = 465, protocol = "smtp", tls = "implicit" }, { port = 24, protocol = "lmtp", tls = "starttls" } } },
		{ "24ls", { { port = 24, protocol = "lmtp", tls = "implicit" } } },
		{ "smtp,submissions,lmtp", { { port = "smtp", protocol = "smtp", tls = "starttls" },
			{ port = "submissions", protocol = "smtp", tls = "implicit" }, { port = "lmtp", protocol = "lmtp", tls = "starttls" } } },
		{ 587, { { port = 587, protocol = "smtp", tls = "starttls" } } },
	}
	for _, case in ipairs(CASES) do
		it("may be " .. case[1], function() assert.same(case[2], report.ports(case[1], {})) end)
	end

	it("takes the rest from the plan", function()
		assert.same({ { port = 1, protocol = "lmtp", tls = "implicit" } }, report.ports("1", { protocol = "lmtp", tls = "implicit" }))
	end)

	for _, text in ipairs { "", "25,", "65536", "25x", "-1", "25 ,26", "25s,,26" } do
		it(("is not %q"):format(text), function()
			local list, message = report.ports(text, {})
			assert.is_nil(list)
			assert.matches("^not a port: ", message)
		end)
	end
end)

describe("a report on TLS", function()
	it("names the versions and ciphers that a server takes, the others too", function()
		local server <close> = serving({ tls = "starttls", min_version = "1.2",
			ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384", ciphersuites = "TLS_AES_128_GCM_SHA256" }, 30)
		local port = only(report.tls(plan(server)))
		assert.is_nil(port.error)
		assert.equal("TLSv1.3", port.versions[1].version)
		assert.same({ "TLS_AES_128_GCM_SHA256" }, port.versions[1].ciphers)
		assert.equal("TLSv1.2", port.versions[2].version)
		table.sort(port.versions[2].ciphers)
		assert.same({ "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384" }, port.versions[2].ciphers)
		assert.same({ "TLSv1.1", "TLSv1" }, port.refused)
		assert.is_true(port.versions[1].resumption)
		assert.is_true(port.versions[2].resumption)
		assert.equal("TLSv1.3", port.protocol_version)
	end)

	it("finds old versions where they are spoken", function()
		local server <close> = serving({ tls = "implicit", min_version = "1.0", max_version = "1.1", ciphers = "ALL:@SECLEVEL=0" }, 30)
		local result = report.tls(plan(server, { tls = "implicit", min_version = "1.0", ciphers = "ALL:@SECLEVEL=0" }))
		local port = only(result)
		assert.is_nil(port.error)
		assert.same({ "TLSv1.3", "TLSv1.2" }, port.refused)
		assert.equal("TLSv1.1", port.versions[1].version)
		assert.equal("TLSv1", port.versions[2].version)
	end)

	it("shows the chain, and how many days are left", function()
		local server <close>, pem = serving({ tls = "implicit" }, 30)
		local result = report.tls(plan(server), { ports = server.port .. "s" })
		local port = only(result)
		local leaf = cert.parse(pem)
		assert.equal(1, #port.chain)
		for _, field in ipairs { "subject", "key", "not_after", "fingerprint", "issuer", "signature" } do
			assert.equal(leaf[field], port.chain[1][field])
		end
		assert.same({ "DNS:localhost" }, port.chain[1].names)
		has_left(30, port.chain[1].days)
		assert.equal(port.chain[1].days, port.days)
		assert.equal(port.days, result.days)
	end)

	it("judges the name, with the reason", function()
		local server <close>, pem = serving({ tls = "starttls" }, 30)
		local trusted = run.file("trusted.pem", pem)
		local self = only(report.tls(plan(server)))
		assert.is_false(self.verified)
		assert.same({ "self-signed certificate" }, self.problems)
		self = only(report.tls(plan(server, { cafile = trusted })))
		assert.is_true(self.verified)
		assert.same({}, self.problems)
		assert.equal("localhost", self.name)
		self = only(report.tls(plan(server, { cafile = trusted, host = "127.0.0.1" })))
		assert.is_false(self.verified)
		assert.same({ "IP address mismatch" }, self.problems)
		self = only(report.tls(plan(server, { cafile = trusted, verify = "other.test" })))
		assert.equal("other.test", self.name)
		assert.is_false(self.verified)
		assert.matches("hostname mismatch", self.problems[1])
		self = only(report.tls(plan(server, { cafile = trusted, verify = "localhost", host = "127.0.0.1" })))
		assert.is_true(self.verified)
	end)

	it("tells the ALPN answers apart", function()
		for answer, settings in pairs { ignored = {}, smtp = { alpn = { "smtp" } } } do
			settings.tls = "starttls"
			local server <close> = serving(settings, 30)
			assert.equal(answer, only(report.tls(plan(server))).alpn)
		end
	end)

	it("covers several ports, one of which fails", function()
		local starttls <close> = serving({ tls = "starttls" }, 90)
		local implicit <close> = serving({ tls = "implicit" }, 10)
		local lmtp <close> = serving({ tls = "starttls", protocol = "lmtp" }, 50)
		local plain <close> = started {}
		local seen = {}
		local result = report.tls(plan(starttls), {
			ports = ("%d,%ds,%dl,%d,%d"):format(starttls.port, implicit.port, lmtp.port, plain.port, run.closed_port()),
			each = function(port) seen[#seen + 1] = port end,
		})
		assert.same(seen, result.ports)
		for i, days in ipairs { 90, 10, 50 } do has_left(days, seen[i].days) end
		assert.equal(seen[2].days, result.days)
		assert.equal("STARTTLS not supported by the server", seen[4].error)
		assert.equal("REPLY", seen[4].code)
		assert.matches("^connect to localhost:%d+: Connection refused$", seen[5].error)
		assert.equal(3, seen[5].status)
	end)

	it("refuses what are no ports, and unknown options", function()
		local ok, err = pcall(report.tls, { port = "25x" })
		assert.is_false(ok)
		assert.matches('not a port: "25x"', tostring(err), 1, true)
		assert.has_error(function() report.tls({}, { prots = "25" }) end, "unknown option 'prots' (did you mean 'ports'?)")
	end)

	it("is loaded when somebody looks", function()
		assert.equal(report, smtptest.report)
	end)
end)

describe("--tls-report", function()
	local function command(...)
		return run.command { "--tls-report", "--timeout=20", ... }
	end

	it("says it in words", function()
		local server <close>, pem = serving({ tls = "starttls" }, 30)
		local r = command("--cafile=" .. run.file("words.pem", pem), "-p", tostring(server.port), "-4", "localhost")
		assert.equal("", r.err)
		assert.equal(0, r.status)
		assert.matches("^port " .. server.port .. " %(STARTTLS%)\n", r.out)
		for _, words in ipairs { "\n  TLSv1.3: TLS_AES_256_GCM_SHA384 ", "; sessions are resumed\n", "\n  TLSv1: refused\n",
			"\n  ALPN: ignored\n", "\n  verified for localhost\n", "\n  certificate 1: /CN=localhost\n", "\n    names: DNS:localhost\n",
			"\n    key: EC P-256\n", " days left\n" } do
			assert.is_truthy(r.out:find(words, 1, true), words .. r.out)
		end
	end)

	it("says it in JSON, on one line", function()
		local server <close> = serving({ tls = "implicit" }, 30)
		local r = command("--json", "-s", "-p", tostring(server.port), "-4", "localhost")
		assert.equal("", r.err)
		assert.equal(0, r.status)
		assert.matches('^{"days":%d+,"host":"localhost","ok":true,"ports":%[{.*"tls":"implicit".*}%]}\n$', r.out)
	end)

	it("ends with 4 when --verify was said, and it is not verified", function()
		local server <close>, pem = serving({ tls = "implicit" }, 30)
		local port = server.port .. "s"
		local trusted = "--cafile=" .. run.file("insisted.pem", pem)
		assert.equal(0, command("-p", port, "-4", "localhost").status)
		assert.equal(0, command("--verify", trusted, "-p", port, "-4", "localhost").status)
		assert.equal(4, command("--verify=other.test", trusted, "-p", port, "-4", "localhost").status)
		local r = command("--verify", "-p", port, "-4", "localhost")
		assert.equal(4, r.status)
		assert.matches("\n  NOT verified for localhost: self%-signed certificate\n  certificate 1: ", r.out)
		r = command("--verify", "--json", "--min-days=1", "-p", port, "-4", "localhost")
		assert.equal(4, r.status)
		assert.matches('"ok":false,.*"code":"CERTIFICATE",.*"status":4,.*"verified":false', r.out)
	end)

	it("ends with 1 when a certificate ends too soon", function()
		local server <close> = serving({ tls = "implicit" }, 30)
		for days, status in pairs { [29] = 0, [31] = 1 } do
			local r = command("--min-days=" .. days, "-p", server.port .. "s", "-4", "localhost")
			assert.equal(status, r.status, r.out)
			assert.equal(status == 1, r.out:find("a certificate is valid for less than 31 days\n", 1, true) ~= nil)
		end
		assert.equal(1, command("--json", "--min-days=31", "-p", server.port .. "s", "-4", "localhost").status)
	end)

	it("tells by its status what went wrong", function()
		local plain <close> = started {}
		local r = command("-p", tostring(run.closed_port()), "127.0.0.1")
		assert.equal(3, r.status)
		assert.matches("\n  failure: connect to 127%.0%.0%.1:%d+: Connection refused\n", r.out)
		assert.equal(6, command("-p", tostring(plain.port), "127.0.0.1").status)
		assert.equal(4, command("-p", plain.port .. "s", "127.0.0.1").status)
		r = command("-p", "25,x y", "127.0.0.1")
		assert.equal(1, r.status)
		assert.matches("^failure: .*not a port: \"x y\"", r.err)
	end)

	it("refuses flags that would mean nothing", function()
		for _, words in ipairs { { "--json" }, { "--min-days=3" }, { "--tls-report", "--serve" }, { "--tls-report", "-e", "" } } do
			assert.equal(1, run.command(words).status)
		end
	end)
end)
