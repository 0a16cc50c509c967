-- The built program and TLS, black box: whom it believes, what it shows of itself, what it negotiates, what it resumes.

local pki = require "pki"
local run = require "support.run"
local saslserver = require "support.saslserver"
local scene = require "support.scene"

local PLAIN, words = scene.PLAIN, scene.words
local TLS = words(PLAIN, { "-t", "" })
local INSIDE = { "EHLO smtptest", "STARTTLS", "EHLO smtptest", "AUTH PLAIN AGFsaWNlAHNlY3JldA==", "QUIT" }
local NOT_INSIDE = { "EHLO smtptest", "STARTTLS" }

local files = pki.make()
local CA = "--cafile=" .. files.path "ca.pem"

-- A folder of authorities, as openssl-rehash(1) prepares it.
local function hashed(name, ...)
	local folder = files.path(name)
	assert(os.execute("mkdir " .. folder))
	for _, file in ipairs { ... } do files.write(name .. "/" .. file, files.read(file)) end
	assert(os.execute("openssl rehash " .. folder))
	return "--capath=" .. folder
end

teardown(function() files.remove() end)

-- A certificate of the authority, for mail.test and 192.0.2.1.
local function signed(name, more)
	local settings = { cert = files.read(name .. ".pem"), key = files.read(name .. ".key") }
	for key, value in pairs(more or {}) do settings[key] = value end
	return settings
end

-- A server with these settings; what its machine tells goes to `seen`.
local function starttls(settings, after)
	local context = run.server_context(settings)
	return function(c, n)
		c:welcome("STARTTLS", "AUTH PLAIN")
		c:reply "220 go"
		local machine = c:tls(context)
		c.seen[-n] = machine:info()
		c.seen.machine = machine
		if after then return after(c, machine) end
		c:capabilities "AUTH PLAIN"
		c:serve()
	end
end

local function believes(name, argv, settings, told)
	return { name, argv = words(TLS, argv), server = starttls(settings), seen = INSIDE,
		has = "S: 220 go\r\n" .. (told or "") .. "TLS connection established: TLSv1.3 with cipher" }
end

local function distrusts(name, argv, settings, text)
	return { name, argv = words(TLS, argv), server = starttls(settings), status = 1, seen = NOT_INSIDE,
		err_has = { "failure: TLS negotiation failed: ", text }, lacks = "TLS connection established" }
end

scene.specs("a certificate", {
	believes("that is good is nothing to tell", { CA, "--verify=mail.test" }, signed "server"),
	believes("of an authority in the folder of --capath is nothing to tell", { hashed("authorities", "ca.pem"),
		"--verify=mail.test" }, signed "server"),
	distrusts("of an authority that is not in the folder of --capath is fatal to --verify", { hashed("others", "rsa.pem"),
		"--verify=mail.test" }, signed "server", "unable to get local issuer certificate"),
	believes("that is good for a wild card's name", { CA, "--verify=a.wild.test" }, signed "server"),
	believes("that is good for an address", { CA, "--verify=192.0.2.1" }, signed "server"),
	believes("of another name is told, and the session goes on", { CA }, signed "server",
		"verify error:num=64:IP address mismatch\n"),
	believes("of nobody's is told", { "--sni=x" }, nil,
		"verify error:num=18:self-signed certificate\nverify error:num=64:IP address mismatch\n"),
	believes("that has expired is told twice", { CA }, signed "expired",
		"verify error:num=64:IP address mismatch\nverify error:num=10:certificate has expired\n"
			.. "cert has expired\ncert has expired\n"),
	distrusts("of nobody's is fatal to --verify", { "--verify=localhost" }, nil, "self-signed certificate"),
	distrusts("of an unknown authority is fatal to --verify", { "--verify=mail.test" }, signed "server", "certificate"),
	distrusts("of another name is fatal to --verify=NAME", { CA, "--verify=other.test" }, signed "server",
		"ostname mismatch"),
	distrusts("of another name is fatal to --verify", { CA, "--verify" }, signed "server", "IP address mismatch"),
	distrusts("that has expired is fatal to --verify", { CA, "--verify=mail.test" }, signed "expired", "expired"),
	{ "that is bad is 4 to --strict", argv = words(TLS, { "--verify", "--strict" }), server = starttls(), status = 4,
		err_has = "failure: TLS negotiation failed: ", seen = NOT_INSIDE },
	{ "that is good for localhost needs no more than its name", host = "localhost", server = starttls(),
		argv = words(TLS, { "--cafile=" .. run.file("own.pem", ""), "-4" }), setup = function(case)
			local cert, key = require "smtptest.core.cert".self_signed { name = "localhost", names = { "DNS:localhost" } }
			run.file("own.pem", cert)
			case.server = starttls { cert = cert, key = key }
		end, has = "S: 220 go\r\nTLS connection established" },
})

-- ---------------------------------------------------------------- what we show

local function shows(name, argv, more)
	local case = { name, argv = words({ "-m", "PLAIN", "-a", "alice", "-w", "secret" }, argv), seen = INSIDE,
		server = starttls({ verify_client = "require", cafile = files.path "ca.pem" }), has = "Authenticated.\n",
		check = function(r) assert.are.equal(1, #r.seen.machine:peer()) end }
	for key, value in pairs(more or {}) do case[key] = value end
	return case
end

local function not_connected(name, argv, text, more)
	local case = { name, argv = words(PLAIN, argv), server = starttls(), status = 1, out = "",
		err_has = { "failure: ", text },
		check = function(r) assert.are.equal(0, r.connections) end, alone = true }
	for key, value in pairs(more or {}) do case[key] = value end
	return case
end

files.write("client-both.pem", files.read "client.pem" .. files.read "client.key")
files.write("locked-both.pem", files.read "server.pem" .. files.read "locked.key")
local PASSWORD = run.file("key password", "open sesame\n")
local WRONG = run.file("wrong key password", "open barley\n")

scene.specs("our certificate", {
	shows("is that of -t", { "-t", files.path "client-both.pem" }),
	shows("is that of --cert and --key", { "-t", "", "--cert=" .. files.path "client.pem",
		"--key=" .. files.path "client.key" }),
	shows("is that of --cert alone, with the key in it", { "-t", "", "--cert=" .. files.path "client-both.pem" }),
	shows("may have a locked key, with its password in a file", { "-t", files.path "locked-both.pem",
		"--key-password-file=" .. PASSWORD }),
	shows("may have a locked key, whose password is asked for before connecting", { "-t", files.path "locked-both.pem" },
		{ stdin = "open sesame\n", alone = true, check = function(r)
			assert.matches("^Password of .-/locked%-both%.pem: S: 220 stub", r.out)
		end }),
	shows("is an identity for EXTERNAL", { "-t", files.path "client-both.pem" }, {
		argv = { "-m", "EXTERNAL", "-t", files.path "client-both.pem" },
		seen = { "EHLO smtptest", "STARTTLS", "EHLO smtptest", "AUTH EXTERNAL =", "QUIT" } }),
	{ "that a server wants and does not get ends the session with the reason", argv = TLS,
		server = starttls({ verify_client = "require", cafile = files.path "ca.pem" }), status = 1,
		err_has = "certificate required", lacks = "Authenticated" },
	not_connected("that is missing is told before connecting", { "-t", "/nonexistent/k.pem" }, "/nonexistent/k.pem"),
	not_connected("that is a folder is told before connecting", { "-t", "/" }, "/"),
	not_connected("that is rubbish is told before connecting", { "-t", run.file("rubbish", "rubbish\n") }, "rubbish"),
	not_connected("without its key is told before connecting", { "-t", files.path "client.pem" }, "client.pem"),
	not_connected("with another key is told before connecting",
		{ "--cert=" .. files.path "client.pem", "--key=" .. files.path "server.key", "-s" }, ".key"),
	not_connected("that is not even used is told before connecting",
		{ "--cert=" .. files.path "client.pem", "--key=/nonexistent/k" }, "/nonexistent/k"),
	not_connected("whose key's password is wrong is told before connecting",
		{ "-t", files.path "locked-both.pem", "--key-password-file=" .. WRONG }, "locked-both.pem"),
	not_connected("whose key's password nobody gives is told before connecting", { "-t", files.path "locked-both.pem" },
		"no key password given", { stdin = "", out = false }),
	not_connected("of an authority that is missing is told before connecting", { "-t", "", "--cafile=/nonexistent/ca" },
		"/nonexistent/ca"),
	not_connected("and ciphers that nobody knows are told before connecting", { "-t", "", "--ciphers=NOSUCH" },
		"NOSUCH"),
	not_connected("and groups that nobody knows are told before connecting", { "-t", "", "--groups=NOSUCH" }, "NOSUCH"),
})

-- ---------------------------------------------------------------- what is negotiated

local function negotiates(name, argv, settings, expected, more)
	local case = { name, argv = words(TLS, argv), server = starttls(settings), seen = INSIDE, check = function(r)
		for key, value in pairs(expected) do assert.are.equal(value, r.seen[-1][key]) end
		assert.is_truthy(r.out:find(("TLS connection established: %s with cipher %s ("):format(
			r.seen[-1].protocol, r.seen[-1].cipher), 1, true), r.out)
	end }
	for key, value in pairs(more or {}) do case[key] = value end
	return case
end

local KEYLOG = run.scratch "keys"

scene.specs("a handshake", {
	negotiates("is TLS 1.3 where it can be", {}, nil, { protocol = "TLSv1.3" }),
	negotiates("is no newer than --tls-max", { "--tls-max=1.2" }, nil, { protocol = "TLSv1.2" }),
	negotiates("has the suite of --ciphers", { "--ciphers=TLS_AES_128_GCM_SHA256" }, nil,
		{ cipher = "TLS_AES_128_GCM_SHA256" }, { has = "(128/128 bits)\n" }),
	negotiates("has the older cipher of --ciphers", { "--ciphers=ECDHE-ECDSA-AES128-GCM-SHA256", "--tls-max=1.2" }, nil,
		{ cipher = "ECDHE-ECDSA-AES128-GCM-SHA256", protocol = "TLSv1.2" }),
	negotiates("has the group of --groups", { "--groups=P-384" }, nil, { group = "P-384" }),
	negotiates("names --sni", { "--sni=other.test" }, nil, { sni = "other.test" }),
	negotiates("names the host", { "-4" }, nil, { sni = "localhost" }, { host = "localhost" }),
	{ "does not name an address", argv = TLS, server = starttls(),
		check = function(r) assert.is_nil(r.seen[-1].sni) end },
	{ "older than --tls-min fails", argv = words(TLS, { "--tls-min=1.3" }), server = starttls { max_version = "1.2" },
		status = 1, err_has = "failure: TLS negotiation failed: ", seen = NOT_INSIDE },
	{ "writes its keys to --keylog", argv = words(TLS, { "--keylog=" .. KEYLOG }), server = starttls(), seen = INSIDE,
		check = function()
			assert.matches("CLIENT_TRAFFIC_SECRET_0 %x+ %x+\n", assert(io.open(KEYLOG)):read "a")
		end },
	{ "comes first with -s", argv = words(PLAIN, { "-s" }), server = function(c)
		c:tls()
		scene.polite(c)
	end, check = function(r) assert.matches("^verify error.-TLS connection established: .-\nS: 220 stub ESMTP\r\n",
		r.out) end,
		seen = { INSIDE[1], INSIDE[4], "QUIT" } },
	{ "with -s meets a server in clear", argv = words(PLAIN, { "-s" }), status = 1, server = function(c)
		c:send "220 stub\r\n"
		c:gone()
	end, out = "", err_has = "failure: TLS negotiation failed: " },
	{ "with -v is shown", argv = words(TLS, { "-v" }), server = starttls(), seen = INSIDE,
		has = { "SSL_connect:", "subject_CN=localhost, issuer_CN=localhost\nTLS connection established", " the wire: " },
		lacks = "session reused" },
	{ "whose end is cut off after QUIT is no failure", argv = TLS, server = starttls(), seen = INSIDE,
		has = "221 bye\r\nConnection closed.\n" },
	{ "with close_notify after QUIT is no failure", argv = TLS, server = starttls(nil, function(c)
		c:capabilities "AUTH PLAIN"
		c:serve()
		c.transport:shutdown()
		c:gone()
	end), seen = INSIDE, has = "221 bye\r\nConnection closed.\n" },
	{ "carries a megabyte both ways", argv = words(TLS, { "-f", run.file("mega", ("0123456789abcde\n"):rep(65536)) }),
		server = starttls(nil, function(c)
			c:capabilities "AUTH PLAIN"
			c:reply "235 ok"
			local n = 0
			while n < (1 << 20) + 6 do n = n + #c.transport:read(65536) end
			c:send(("z"):rep(1 << 20))
			c.seen.n = n
		end), has = ("z"):rep(1 << 20) .. "Connection closed.\n", check = function(r)
			assert.are.equal((1 << 20) + 6, r.seen.n)
		end },
})

-- ---------------------------------------------------------------- resumption, binding

local function resumes(version)
	return { "is resumed by -n under TLS " .. version, argv = words(TLS, { "-n", "3", "-v" }),
		server = starttls { max_version = version, min_version = version }, check = function(r)
			assert.are.same({ false, true, true }, { r.seen[-1].resumed, r.seen[-2].resumed, r.seen[-3].resumed })
			assert.are.equal("TLSv" .. version, r.seen[-3].protocol)
			local _, n = r.out:gsub("\nTLS session reused\n", "")
			assert.are.equal(2, n)
			local _, judged = r.out:gsub("verify error:num=18", "")
			assert.are.equal(1, judged)     -- nobody shows a certificate in a resumed handshake
		end }
end

local function binds(version, kind)
	return { ("is bound to SCRAM by %s under TLS %s"):format(kind, version),
		argv = { "-m", "SCRAM-SHA-256-PLUS", "-a", "alice", "-w", "secret", "-t", "" },
		server = starttls({ max_version = version }, function(c, machine)
			c:capabilities "AUTH SCRAM-SHA-256 SCRAM-SHA-256-PLUS"
			local data = assert(machine:channel_binding(kind))
			saslserver.auth(c, { binding = { type = kind, data = data, critical = true } })
			c:serve()
		end), has = { "C: AUTH SCRAM-SHA-256-PLUS ", "Authenticated.\nSecurity strength factor: 256\n" } }
end

scene.specs("a TLS session", {
	resumes "1.2",
	resumes "1.3",
	{ "that the server has forgotten is made anew", argv = words(TLS, { "-n", "2", "-v" }), server = function(c, n)
		starttls()(c, n)
	end, lacks = "TLS session reused", check = function(r) assert.is_false(r.seen[-2].resumed) end },
	binds("1.3", "tls-exporter"),
	binds("1.2", "tls-unique"),
	{ "counts towards -k", argv = words(TLS, { "-k", "100" }), server = starttls(), seen = INSIDE,
		has = "Authenticated.\nSecurity strength factor: 256\n" },
	{ "leaves no SASL layer to -l 128", argv = { "-m", "DIGEST-MD5", "-a", "alice", "-w", "secret", "-t", "" },
		server = starttls(nil, function(c)
			c:capabilities "AUTH DIGEST-MD5"
			saslserver.auth(c, { external_ssf = 256 })
			c:serve()
		end), has = "Authenticated.\nSecurity strength factor: 256\n" },
})
