local plan = require "smtptest.plan"

local function complaint(fn, ...)
	local ok, message = pcall(fn, ...)
	assert.is_false(ok)
	return message
end

describe("plan.check", function()
	it("takes an empty plan and gives it back", function()
		local t = {}
		assert.equal(t, plan.check(t))
	end)

	-- Every field, with a value it must take and values it must refuse.
	local cases = {
		host = { { "mail.example", "" }, { 1, false, {} } },
		port = { { 25, 0, 65535, "smtp" }, { -1, 65536, 2.5, false, {} } },
		socket = { { "/run/lmtp" }, { 5 } },
		family = { { "inet", "inet6" }, { "ipv4", 4 } },
		source = {
			{ {}, { host = "::1" }, { host = "127.0.0.1", port = 2000 } },
			{ "127.0.0.1", { adress = "" }, { port = "25" } },
		},
		protocol = { { "smtp", "lmtp" }, { "SMTP", "imap", true } },
		helo = { { "client.example" }, { true } },
		timeout = { { 1, 0.25, math.huge }, { 0, -1, "5", 0 / 0 } },
		greeting = { { true, false }, { "no" } },
		proxy = {
			{ { version = 1, source = "192.0.2.1" }, { version = 1, unknown = true }, { version = 2, command = "LOCAL" },
				{ source = "::1", target = { host = "192.0.2.1", port = 25 }, tlvs = { { type = 1, value = "h2" }, "crc32c" } } },
			{ "192.0.2.1", { version = 3 }, { command = "HELLO" }, { from = "192.0.2.1" }, { tlvs = { "nosuch" } },
				{ version = 1, tlvs = { "noop" } } },
		},
		tls = { { "none", "starttls", "implicit" }, { true, "tls" } },
		certfile = { { "a.pem" }, { true } },
		keyfile = { { "a.pem" }, { true } },
		keypass = { { "secret", print }, { true, {} } },
		cafile = { { "ca.pem" }, { {} } },
		capath = { { "/etc/ssl/certs" }, { {} } },
		verify = { { true, false, "mail.example" }, { 1 } },
		sni = { { "mail.example" }, { true } },
		min_version = { { "1.0", "1.1", "1.2", "1.3" }, { 1.2, "TLSv1.2", "1.4" } },
		max_version = { { "1.3" }, { 1.3 } },
		ciphers = { { "ECDHE-RSA-AES256-GCM-SHA384" }, { {} } },
		ciphersuites = { { "TLS_AES_128_GCM_SHA256" }, { {} } },
		groups = { { "X25519:P-256" }, { {} } },
		alpn = { { {}, { "smtp" } }, { "smtp", { 1 }, { [2] = "smtp" }, { smtp = "smtp" } } },
		session = { { "\0\255", {} }, { true, 1 } },
		keylog = { { "keys.log" }, { true } },
		auth = { { true, false }, { "PLAIN" } },
		mechanism = { { "PLAIN", "" }, { {} } },
		authname = { { "alice", "" }, { 7 } },
		username = { { "alice" }, { 7 } },
		realm = { { "lab.test", print }, { true } },
		password = { { "", "s3cret", print, setmetatable({}, { __call = print }) }, { 1234, true, {} } },
		minssf = { { 0, 256 }, { -1, 0.5, "1" } },
		maxssf = { { 0, 128 }, { -1, math.huge } },
		initial_response = { { true, false, "AGFsaWNl" }, { 0 } },
		challenge = { { true, false, print, "text" }, { 1 } },
		channel_binding = { { true, false, "tls-exporter" }, { 1 } },
		sasl_options = { { {}, { plugin_list = "plain" } }, { "a=b", { a = true }, { "a" } } },
		reauth = { { true, false }, { 1 } },
		from = { { "alice@example.org", "" }, { false } },
		to = { { {}, { "bob@example.org" } }, { "bob@example.org", { false }, { "a", nil, "c" } } },
		data = { { "text", print, { file = "a.eml" }, io.stdin }, { 5, true } },
		rounds = { { 1, 100 }, { 0, -1, 1.5, "2" } },
		input = { { "mail.txt", io.stdin }, { 5 } },
		crlf = { { true, false }, { 1 } },
		lockstep = { { true, false }, { 1 } },
		strict = { { true, false }, { 1 } },
		verbose = { { true, false }, { 1 } },
		pidfile = { { "pid" }, { 1 } },
		output_socket = { { "/tmp/s" }, { 1 } },
		daemon = { { true, false }, { 1 } },
		record = { { "a.case" }, { 1 } },
		log = { { "log.json" }, { 1 } },
		show_secrets = { { true }, { 1 } },
		maxline = { { 1, 1 << 20 }, { 0, 0.5 } },
		hide_secrets = { { true, false }, { 1 } },
		times = { { true, false }, { 1 } },
		explain = { { true, false }, { 1 } },
		trace = { { true, false }, { 1 } },
	}

	it("has a case here for every field", function()
		for name in pairs(plan.fields) do assert.is_table(cases[name], name) end
		for name in pairs(cases) do assert.is_table(plan.fields[name], name) end
	end)

	for name, case in pairs(cases) do
		it("knows what " .. name .. " may hold", function()
			for _, value in ipairs(case[1]) do plan.check { [name] = value } end
			for _, value in ipairs(case[2]) do
				assert.matches("plan field '" .. name .. "': expected .+, got .+", complaint(plan.check, { [name] = value }))
			end
		end)
	end

	it("names the nearest field for a misspelt one", function()
		assert.matches("unknown plan field 'pasword' %(did you mean 'password'%?%)",
			complaint(plan.check, { pasword = "x" }))
		assert.matches("unknown plan field 'min%-version' %(did you mean 'min_version'%?%)",
			complaint(plan.check, { ["min-version"] = "1.2" }))
	end)

	it("names an unknown field alone when none is near", function()
		assert.matches("unknown plan field 'frobnicate'$", complaint(plan.check, { frobnicate = 1 }))
		assert.matches("unknown plan field '1'$", complaint(plan.check, { "mail.example" }))
	end)

	it("says what it expected and what it got", function()
		assert.matches([[plan field 'port': expected an integer from 0 to 65535 or a string, got 70000$]],
			complaint(plan.check, { port = 70000 }))
		assert.matches([[plan field 'tls': expected one of "none" "starttls" "implicit", got "tsl"$]],
			complaint(plan.check, { tls = "tsl" }))
		assert.matches("expected a list of strings, got a table$", complaint(plan.check, { to = { 1 } }))
	end)

	it("refuses what is not a table", function()
		assert.matches("a plan is a table, got string", complaint(plan.check, "mail.example"))
		assert.matches("a plan is a table, got nil", complaint(plan.check))
	end)

	it("says why, where the test knows", function()
		assert.matches("plan field 'proxy': expected a table of .*, got a table: unknown field 'verison'$",
			select(2, pcall(plan.check, { proxy = { verison = 1 } })))
	end)

	it("blames the line that the level names", function()
		local function door(t, level) plan.check(t, level) end
		local function here() return debug.getinfo(2, "l").currentline end
		local line = here() + 1
		local message = complaint(function() door({ pasword = "" }, 2); return 0 end)
		assert.matches("plan_spec%.lua:" .. line .. ": unknown", message)
		line = here() + 1
		message = complaint(function() plan.check { pasword = "" }; return 0 end)
		assert.matches("plan_spec%.lua:" .. line .. ": unknown", message)
	end)
end)

describe("plan.new", function()
	it("lays the changes over a copy of the base", function()
		local base = { host = "a.example", port = 25, to = { "x" } }
		local p = plan.new({ host = "b.example", auth = false }, base)
		assert.same({ host = "b.example", port = 25, auth = false, to = { "x" } }, p)
		assert.same({ host = "a.example", port = 25, to = { "x" } }, base)
	end)

	it("shares no list with base or changes", function()
		local base, changes = { to = { "x" } }, { sasl_options = { a = "1" } }
		local p = plan.new(changes, base)
		p.to[1], p.sasl_options.a = "y", "2"
		assert.same({ "x" }, base.to)
		assert.same({ a = "1" }, changes.sasl_options)
	end)

	it("shares handles and objects", function()
		local object = setmetatable({}, { __call = print })
		local p = plan.new { data = io.stdin, password = object }
		assert.equal(io.stdin, p.data)
		assert.equal(object, p.password)
	end)

	it("has an empty base unless one is given", function()
		assert.same({ host = "h" }, plan.new { host = "h" })
	end)

	it("checks both and blames its caller", function()
		local line = debug.getinfo(1, "l").currentline + 1
		local message = complaint(function() return #plan.new { prot = 25 } end)
		assert.matches("plan_spec%.lua:" .. line .. ": unknown plan field 'prot' %(did you mean 'port'%?%)", message)
		assert.matches("unknown plan field 'prot'", complaint(plan.new, {}, { prot = 25 }))
	end)
end)

describe("plan.defaults", function()
	it("fills in what is left open, in a new plan", function()
		local p = {}
		local d = plan.defaults(p)
		assert.same({}, p)
		plan.check(d)
		assert.same({ "localhost", "smtp", "smtp", "none", "smtptest", true, false, 0, 128, 1, 1048576 },
			{ d.host, d.port, d.protocol, d.tls, d.helo, d.greeting, d.verify, d.minssf, d.maxssf, d.rounds, d.maxline })
	end)

	local ports = {
		{ {}, "smtp" }, { { tls = "starttls" }, "smtp" }, { { tls = "implicit" }, "smtps" },
		{ { protocol = "lmtp" }, "lmtp" }, { { protocol = "lmtp", tls = "implicit" }, "lmtp" },
		{ { tls = "implicit", port = 2465 }, 2465 }, { { port = "submission" }, "submission" },
	}
	for i, case in ipairs(ports) do
		it(("chooses port %s (%d)"):format(case[2], i), function()
			assert.equal(case[2], plan.defaults(case[1]).port)
		end)
	end

	it("has a number for each service it chooses", function()
		assert.same({ smtp = 25, smtps = 465, lmtp = 24 }, plan.services)
	end)

	it("greets as lmtptest over LMTP", function()
		assert.equal("lmtptest", plan.defaults { protocol = "lmtp" }.helo)
		assert.equal("me", plan.defaults { protocol = "lmtp", helo = "me" }.helo)
	end)

	it("keeps a false that was given", function()
		assert.is_false(plan.defaults { greeting = false }.greeting)
	end)

	it("leaves open who waits how long and whether to authenticate", function()
		local d = plan.defaults {}
		assert.is_nil(d.timeout)
		assert.is_nil(d.auth)
		assert.is_nil(d.initial_response)
	end)
end)
