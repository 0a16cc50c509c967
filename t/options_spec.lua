local options = require "smtptest.options"
local plan = require "smtptest.plan"

local function parse(...)
	return options.parse { [0] = "smtptest", ... }
end

--- The plan of a command line that must be right.
local function plan_of(...)
	local p, words, mode = parse(...)
	assert.is_table(p, words)
	plan.check(p)
	return p, words, mode
end

local function failure(...)
	local p, message, code = parse(...)
	assert.is_nil(p)
	return message, code
end

describe("options.list", function()
	it("has no name twice", function()
		local seen = {}
		for _, option in ipairs(options.list) do
			for _, name in ipairs { option.short or "", option.also or "", option.long or "" } do
				assert.is_nil(name ~= "" and seen[name] or nil, name)
				seen[name] = true
			end
		end
	end)

	it("says for every option what it does, and where it belongs", function()
		for _, option in ipairs(options.list) do
			local name = option.short or option.long
			assert.is_true(option.field ~= nil or option.effect ~= nil, name)
			assert.is_string(option.group, name)
			assert.is_true(option.help ~= nil or option.short == "z", name)
		end
	end)

	it("sets only fields that a plan has", function()
		for _, option in ipairs(options.list) do
			if option.field then assert.is_table(plan.fields[option.field], option.field) end
		end
	end)

	-- COMPAT: the long names that the classic program has.
	local classic = {
		H = "haproxy-clientip", I = "pidfile", P = "protocol", a = "authname", c = "do-challenge",
		f = "input-filename", h = "help", i = "no-initial-response", k = "minssf", l = "maxssf", m = "mechanism",
		n = "reauth-attempts", o = "sasl-option", p = "port", q = "require-compression", r = "realm",
		s = "require-tls", t = "keyfile", u = "username", v = "verbose", w = "password", x = "output-socket",
		z = "run-stress-test",
	}
	it("has every classic option under both its names", function()
		local found = {}
		for _, option in ipairs(options.list) do
			if option.classic then found[option.short] = option.long end
		end
		assert.same(classic, found)
	end)
end)

describe("options.parse", function()
	-- A command line and the plan it makes.
	local good = {
		{ {}, {} },
		{ { "mail.example" }, { host = "mail.example" } },
		{ { "mail.example", "-p", "25" }, { host = "mail.example", port = 25 } },
		{ { "-p25", "h" }, { host = "h", port = 25 } },
		{ { "-p", "submission" }, { port = "submission" } },
		{ { "--port=2525" }, { port = 2525 } },
		{ { "--port", "2525" }, { port = 2525 } },
		{ { "-p", "0" }, { port = 0 } },
		{ { "-p", "65535" }, { port = 65535 } },
		{ { "-k", "1", "-l", "256" }, { minssf = 1, maxssf = 256 } },
		{ { "-k1", "-l0" }, { minssf = 1, maxssf = 0 } },
		{ { "--minssf=40", "--maxssf=56" }, { minssf = 40, maxssf = 56 } },
		{ { "-u", "alice", "-a", "bob" }, { username = "alice", authname = "bob" } },
		{ { "--username=", "--authname=" }, { username = "", authname = "" } },
		{ { "-w", "s3cret" }, { password = "s3cret" } },
		{ { "-w", "" }, { password = "" } },
		{ { "--password=a=b=c" }, { password = "a=b=c" } },
		{ { "-w", "one", "-w", "two" }, { password = "two" } },
		{ { "-w", "-p" }, { password = "-p" } },
		{ { "-v" }, { verbose = true } },
		{ { "-m", "" }, { mechanism = "" } },
		{ { "-m", "scram-sha-256 plain" }, { mechanism = "scram-sha-256 plain" } },
		{ { "-f", "mail.txt" }, { input = "mail.txt" } },
		{ { "-f-" }, { input = "-" } },
		{ { "-r", "lab.test" }, { realm = "lab.test" } },
		{ { "-s" }, { tls = "implicit" } },
		{ { "-t", "" }, { tls = "starttls" } },
		{ { "--keyfile=" }, { tls = "starttls" } },
		{ { "-t", "a.pem" }, { tls = "starttls", certfile = "a.pem", keyfile = "a.pem" } },
		{ { "-s", "-t", "a.pem" }, { tls = "implicit", certfile = "a.pem", keyfile = "a.pem" } },
		{ { "-t", "a.pem", "-s" }, { tls = "implicit", certfile = "a.pem", keyfile = "a.pem" } },
		{ { "-t", "", "--cert=c.pem" }, { tls = "starttls", certfile = "c.pem", keyfile = "c.pem" } },
		{ { "--key=k.pem", "--cert=c.pem" }, { certfile = "c.pem", keyfile = "k.pem" } },
		{ { "--key=k.pem", "-t", "c.pem" }, { tls = "starttls", certfile = "c.pem", keyfile = "k.pem" } },
		{ { "-c" }, { challenge = true } },
		{ { "-i" }, { initial_response = false } },
		{ { "-n", "1" }, { rounds = 1 } },
		{ { "-n", "3" }, { rounds = 3, reauth = true } },
		{ { "-I", "pid" }, { pidfile = "pid" } },
		{ { "-x", "/s" }, { output_socket = "/s" } },
		{ { "-X", "/s" }, { output_socket = "/s", daemon = true } },
		{ { "-o", "a", "-o", "b=c=d", "-o", "e=" }, { sasl_options = { a = "1", b = "c=d", e = "" } } },
		{ { "-H", "192.0.2.1" }, { proxy = { version = 1, source = "192.0.2.1" } } },
		{ { "-H", "2001:db8::1" }, { proxy = { version = 1, source = "2001:db8::1" } } },
		{ { "-H", "unknown" }, { proxy = { version = 1, unknown = true } } },
		{ { "--haproxy-clientip=local" }, { proxy = { version = 2, command = "LOCAL" } } },
		{ { "-P", "smtp" }, { protocol = "smtp" } },
		{ { "-P", "LMTP" }, { protocol = "lmtp" } },
		{ { "-q" }, {} },
		{ { "-4" }, { family = "inet" } },
		{ { "-6" }, { family = "inet6" } },
		{ { "-46" }, { family = "inet6" } },
		{ { "--source=192.0.2.1" }, { source = { host = "192.0.2.1" } } },
		{ { "--source=192.0.2.1:2000" }, { source = { host = "192.0.2.1", port = 2000 } } },
		{ { "--source=::1" }, { source = { host = "::1" } } },
		{ { "--source=[::1]" }, { source = { host = "::1" } } },
		{ { "--source=[fe80::1%eth0]:25" }, { source = { host = "fe80::1%eth0", port = 25 } } },
		{ { "--unix=/run/lmtp" }, { socket = "/run/lmtp" } },
		{ { "--helo=client.example" }, { helo = "client.example" } },
		{ { "--timeout=10" }, { timeout = 10 } },
		{ { "--timeout", "2" }, { timeout = 2 } },
		{ { "--timeout=0.5" }, { timeout = 0.5 } },
		{ { "--timeout=10s" }, { timeout = 10 } },
		{ { "--timeout=250ms" }, { timeout = 0.25 } },
		{ { "--timeout=5m" }, { timeout = 300 } },
		{ { "--timeout=1h" }, { timeout = 3600 } },
		{ { "--timeout=inf" }, { timeout = math.huge } },
		{ { "--no-auth" }, { auth = false } },
		{ { "--verify" }, { verify = true } },
		{ { "--verify", "mail.example" }, { verify = true, host = "mail.example" } },
		{ { "--verify=mail.example" }, { verify = "mail.example" } },
		{ { "--cafile=ca.pem", "--capath=/ca", "--sni=a", "--groups=X25519", "--keylog=k" },
			{ cafile = "ca.pem", capath = "/ca", sni = "a", groups = "X25519", keylog = "k" } },
		{ { "--tls-min=1.2", "--tls-max=TLSv1.3" }, { min_version = "1.2", max_version = "1.3" } },
		{ { "--ciphers=TLS_AES_128_GCM_SHA256:ECDHE-RSA-AES256-GCM-SHA384:TLS_AES_256_GCM_SHA384:!aNULL" },
			{ ciphersuites = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384", ciphers = "ECDHE-RSA-AES256-GCM-SHA384:!aNULL" } },
		{ { "--ciphers=HIGH" }, { ciphers = "HIGH" } },
		{ { "--from=alice@example.org", "--to=bob@example.org", "--to", "<carol@example.org>", "--data=hello" },
			{ from = "alice@example.org", to = { "bob@example.org", "carol@example.org" }, data = "hello" } },
		{ { "--from=<>" }, { from = "" } },
		{ { "--from=" }, { from = "" } },
		{ { "--data=@mail.eml" }, { data = { file = "mail.eml" } } },
		{ { "--data=-" }, { data = { file = "-" } } },
		{ { "--crlf", "--lockstep", "--strict", "--hide-secrets", "--times", "--explain", "--trace" },
			{ crlf = true, lockstep = true, strict = true, hide_secrets = true, times = true, explain = true, trace = true } },
	}
	for _, case in ipairs(good) do
		it("reads " .. (#case[1] == 0 and "nothing" or table.concat(case[1], " ")), function()
			assert.same(case[2], (plan_of(table.unpack(case[1]))))
		end)
	end

	it("takes options and operands in any order; only the first is the host", function()
		local p, words = plan_of("one", "-v", "two", "-p", "25", "three")
		assert.same({ host = "one", port = 25, verbose = true }, p)
		assert.same({ "one", "two", "three" }, words)
	end)

	it("refuses what follows the host where an option is used that the classic program has not", function()
		for words, message in pairs {
			[{ "--no-auth", "localhost", "2525" }] = "unexpected operand '2525' (a port is -p 2525)",
			[{ "localhost", "two", "--tls-report", "three" }] = "unexpected operand 'two'",
			[{ "-e", "", "--", "a", "b" }] = false,
		} do
			local p, told, code = parse(table.unpack(words))
			if message then
				assert.is_nil(p)
				assert.equal(message, told)
				assert.equal("FAILURE", code)
			else
				assert.is_table(p)
			end
		end
	end)

	it("takes a lone hyphen for an operand", function()
		assert.same({ "-" }, (select(2, plan_of("-", "-v"))))
	end)

	it("takes what follows -- for operands", function()
		local p, words, mode = plan_of("-v", "--", "-p", "25")
		assert.same({ verbose = true, host = "-p" }, p)
		assert.same({ "-p", "25" }, words)
		assert.same({}, mode.args)
	end)

	it("bundles letters, the last with its argument", function()
		assert.same({ verbose = true, tls = "implicit", challenge = true, port = 25, host = "h" }, (plan_of("-vscp25", "h")))
		assert.same({ verbose = true, tls = "implicit", port = 25, host = "h" }, (plan_of("-vsp", "25", "h")))
	end)

	it("takes an unambiguous beginning of a long name", function()
		assert.same({ keylog = "k" }, (plan_of("--keyl=k")))
		assert.same({ timeout = 5 }, (plan_of("--timeo=5")))
		assert.same({ hide_secrets = true }, (plan_of("--hide")))
	end)

	it("lets the classic name win where several begin alike", function()
		assert.same({ verbose = true }, (plan_of("--ver")))
		assert.same({ password = "x" }, (plan_of("--passw=x")))
		assert.same({ sasl_options = { a = "1" } }, (plan_of("--s=a")))
	end)

	it("takes a whole name even where a classic one begins with it", function()
		assert.same({ certfile = "c", keyfile = "k" }, (plan_of("--cert=c", "--key=k")))
	end)

	it("changes nothing in argv", function()
		local argv = { [0] = "smtptest", "-w", "secret", "--", "x" }
		options.parse(argv)
		assert.same({ [0] = "smtptest", "-w", "secret", "--", "x" }, argv)
	end)

	describe("speaks LMTP", function()
		for _, name in ipairs { "lmtptest", "/usr/bin/lmtptest", "./lmtptest" } do
			it("as " .. name, function()
				assert.equal("lmtp", options.parse({ [0] = name }).protocol)
				assert.equal("lmtp", options.parse({}, name).protocol)
			end)
		end
		it("unless -P says otherwise", function()
			assert.equal("smtp", options.parse({ [0] = "lmtptest", "-P", "smtp" }).protocol)
		end)
	end)

	describe("chooses what to do:", function()
		local modes = {
			{ { "-h" }, "help" }, { { "-?" }, "help" }, { { "--help" }, "help" }, { { "-vh", "-p" }, "help" },
			{ { "--version" }, "version" }, { { "--print-script", "--nonsense" }, "print-script" },
			{ { "h", "-v" }, "session" },
		}
		for _, case in ipairs(modes) do
			it(case[2] .. " for " .. table.concat(case[1], " "), function()
				assert.equal(case[2], (select(3, plan_of(table.unpack(case[1])))).action)
			end)
		end

		it("a script, with the words after -- as its own", function()
			local p, words, mode = plan_of("-S", "my.lua", "h", "--", "-x", "y")
			assert.same({ host = "h" }, p)
			assert.same({ "h" }, words)
			assert.same({ "session", "my.lua", { "-x", "y" } }, { mode.action, mode.script, mode.args })
		end)

		it("a chunk", function()
			local _, words, mode = plan_of("--execute=print(1)", "--", "h")
			assert.same({}, words)
			assert.same({ "print(1)", { "h" } }, { mode.execute, mode.args })
		end)

		it("the last of several scripts", function()
			local _, _, mode = plan_of("-S", "a.lua", "-e", "return 1")
			assert.is_nil(mode.script)
			assert.equal("return 1", mode.execute)
		end)
	end)

	it("takes specs from the operands, and words for busted behind --", function()
		local p, words, mode = plan_of("--test", "a_spec.lua", "mail.example", "-p", "2525", "--test-output=TAP", "--",
			"--filter=x")
		assert.equal("mail.example", p.host)
		assert.same({ "mail.example" }, words)
		assert.same({ "a_spec.lua" }, mode.specs)
		assert.same({ "--filter=x" }, mode.args)
		assert.equal("TAP", mode.test_output)
	end)

	it("records, logs and replays", function()
		local p, _, mode = plan_of("--record=a.case", "--log=b.json", "--show-secrets", "--replay=c.case", "--match=Exact")
		assert.equal("a.case", p.record)
		assert.equal("b.json", p.log)
		assert.is_true(p.show_secrets)
		assert.equal("c.case", mode.replay)
		assert.equal("exact", mode.match)
	end)

	describe("knows where the passwords stand in argv:", function()
		local cases = {
			{ { "-w", "secret" }, { { 2, 1 } } },
			{ { "-wsecret" }, { { 1, 3 } } },
			{ { "-vwsecret" }, { { 1, 4 } } },
			{ { "-vw", "secret" }, { { 2, 1 } } },
			{ { "--password=secret" }, { { 1, 12 } } },
			{ { "--passw=secret" }, { { 1, 9 } } },
			{ { "--password", "secret" }, { { 2, 1 } } },
			{ { "-w", "a", "h", "-wb" }, { { 2, 1 }, { 4, 3 } } },
			{ { "--", "-wsecret" }, {} },
		}
		for _, case in ipairs(cases) do
			it(table.concat(case[1], " "), function()
				assert.same(case[2], (select(3, parse(table.unpack(case[1])))).secrets)
			end)
		end
	end)

	describe("refuses in getopt's words", function()
		local cases = {
			{ { "-Z", "localhost" }, "invalid option -- 'Z'" },
			{ { "-vZ" }, "invalid option -- 'Z'" },
			{ { "-T" }, "invalid option -- 'T' (did you mean '-t'?)" },
			{ { "-p" }, "option requires an argument -- 'p'" },
			{ { "h", "-vw" }, "option requires an argument -- 'w'" },
			{ { "--port" }, "option '--port' requires an argument" },
			{ { "--po" }, "option '--port' requires an argument" },
			{ { "--verbose=1" }, "option '--verbose' doesn't allow an argument" },
			{ { "--no-auth=" }, "option '--no-auth' doesn't allow an argument" },
			{ { "--verfiy" }, "unrecognized option '--verfiy' (did you mean '--verify'?)" },
			{ { "--pasword=s3cret" }, "unrecognized option '--pasword' (did you mean '--password'?)" },
			{ { "--frobnicate" }, "unrecognized option '--frobnicate'" },
			{ { "--test", "--filter=x", "a_spec.lua" }, "unrecognized option '--filter' (options of busted stand behind '--')" },
			{ { "--test", "--test-ouptut=TAP" }, "unrecognized option '--test-ouptut' (did you mean '--test-output'?)" },
			{ { "--=x" }, "unrecognized option '--'" },
			{ { "--re" }, "option '--re' is ambiguous; possibilities: "
				.. "'--realm' '--require-tls' '--reauth-attempts' '--require-compression'" },
			{ { "--tls-=1.2" }, "option '--tls-' is ambiguous; possibilities: '--tls-report' '--tls-min' '--tls-max'" },
			{ { "-\0" }, "invalid option -- '\0'" },
		}
		for _, case in ipairs(cases) do
			it(table.concat(case[1], " "):gsub("%c", "?") .. "", function()
				local message, code = failure(table.unpack(case[1]))
				assert.equal("USAGE", code)
				assert.equal("smtptest: " .. case[2], message)
			end)
		end

		it("naming the program", function()
			local _, message = options.parse { [0] = "/usr/lib/cyrus/bin/lmtptest", "-Z" }
			assert.equal("lmtptest: invalid option -- 'Z'", message)
			_, message = options.parse { "-Z" }
			assert.equal("smtptest: invalid option -- 'Z'", message)
		end)
	end)

	describe("refuses the value of", function()
		local cases = {
			{ { "-k", "abc" }, "-k: not a number: abc" },
			{ { "-kx" }, "-k: not a number: x" },
			{ { "-k", "" }, "-k: not a number: " },
			{ { "-l", "1.5" }, "-l: not a number: 1.5" },
			{ { "-l", "0x10" }, "-l: not a number: 0x10" },
			{ { "-l", "-1" }, "-l: must not be negative: -1" },
			{ { "--maxssf=99999999999999999999" }, "--maxssf: number too large: 99999999999999999999" },
			{ { "--max=a" }, "--maxssf: not a number: a" },
			{ { "-n", "abc" }, "-n: not a number: abc" },
			{ { "-n", "0" }, "number of auth attempts must be > 0\n" },
			{ { "-n", "-5" }, "number of auth attempts must be > 0\n" },
			{ { "-p", "65536" }, "-p: not a port from 0 to 65535: 65536" },
			{ { "-p", "99999999999999999999" }, "-p: not a port from 0 to 65535: 99999999999999999999" },
			{ { "-p", "" }, "-p: not a port from 0 to 65535: " },
			{ { "-P", "nosuch" }, "unknown protocol\n" },
			{ { "-P", "imap" }, "unknown protocol\n" },
			{ { "-P", "" }, "unknown protocol\n" },
			{ { "-z" }, "stress test can only be run for IMAP\n" },
			{ { "-H", "mail.example" }, "-H: not an IP address, 'unknown' or 'local': mail.example" },
			{ { "-H", "192.0.2.256" }, "-H: not an IP address, 'unknown' or 'local': 192.0.2.256" },
			{ { "-H", "" }, "-H: not an IP address, 'unknown' or 'local': " },
			{ { "-H", "192.0.2.1\r\nMAIL FROM:<>" }, "-H: not an IP address, 'unknown' or 'local': 192.0.2.1\r\nMAIL FROM:<>" },
			{ { "--source=a.example" }, "--source: not an IP address or ADDRESS:PORT: a.example" },
			{ { "--source=127.0.0.1:" }, "--source: not a port from 0 to 65535: 127.0.0.1:" },
			{ { "--source=[::1]25" }, "--source: not a port from 0 to 65535: [::1]25" },
			{ { "--source=[::1]:99999" }, "--source: not a port from 0 to 65535: [::1]:99999" },
			{ { "--timeout=0" }, "--timeout: must be above 0: 0" },
			{ { "--timeout=-1" }, "--timeout: not a time (such as 10, 250ms, 5m or inf): -1" },
			{ { "--timeout=5x" }, "--timeout: not a time (such as 10, 250ms, 5m or inf): 5x" },
			{ { "--timeout=" }, "--timeout: not a time (such as 10, 250ms, 5m or inf): " },
			{ { "--timeout=1.2.3" }, "--timeout: not a time (such as 10, 250ms, 5m or inf): 1.2.3" },
			{ { "--timeout=nan" }, "--timeout: not a time (such as 10, 250ms, 5m or inf): nan" },
			{ { "--tls-min=1.4" }, "--tls-min: not one of 1.0 1.1 1.2 1.3: 1.4" },
			{ { "--tls-max=SSLv3" }, "--tls-max: not one of 1.0 1.1 1.2 1.3: SSLv3" },
			{ { "--password-fd=x" }, "--password-fd: not a number: x" },
			{ { "--password-fd=-1" }, "--password-fd: must not be negative: -1" },
		}
		for _, case in ipairs(cases) do
			it(table.concat(case[1], " "):gsub("%c", "?") .. "", function()
				local message, code = failure(table.unpack(case[1]))
				assert.equal("FAILURE", code)
				assert.equal(case[2], message)
			end)
		end
	end)

	describe("refuses the combination", function()
		local cases = {
			{ { "-x", "/s", "-f", "mail" }, "cannot pipe a file when using unix domain socket output" },
			{ { "-f", "mail", "-X", "/s" }, "cannot pipe a file when using unix domain socket output" },
			{ { "-x", "/s", "-X", "/s" }, "cannot specify both -X and -x" },
			{ { "-X", "/s", "-x", "/s" }, "cannot specify both -X and -x" },
			{ { "-w", "x", "--password-env=Y" }, "-w and --password-env cannot be combined" },
			{ { "--password-file=x", "--password-env=Y" }, "--password-file and --password-env cannot be combined" },
			{ { "--password-fd=3", "-w", "x" }, "--password-fd and -w cannot be combined" },
			{ { "--key=k.pem" }, "--key: no certificate given (--cert or -t)" },
			{ { "--key=k.pem", "-t", "" }, "--key: no certificate given (--cert or -t)" },
		}
		for _, case in ipairs(cases) do
			it(table.concat(case[1], " "), function()
				local message, code = failure(table.unpack(case[1]))
				assert.equal("FAILURE", code)
				assert.equal(case[2], message)
			end)
		end
	end)

	it("makes a function of every other source of a password, and does not call it", function()
		for _, flag in ipairs { "--password-file=/nonexistent", "--password-env=NO_SUCH", "--password-fd=63",
			"--password-command=exit 3" } do
			assert.is_function(plan_of(flag).password, flag)
		end
		assert.is_function(plan_of("--key-password-file=/nonexistent").keypass)
	end)

	it("takes the last of two passwords from the same kind of source", function()
		local p = plan_of("--password-env=NO_SUCH", "--password-env=PATH")
		assert.equal(os.getenv "PATH", p.password())
	end)

	it("never shows a password in a message", function()
		for _, words in ipairs { { "-w", "s3cret", "-Z" }, { "--passwrd=s3cret" }, { "-w", "s3cret", "--password-fd=1" },
			{ "-vws3cret", "-p" } } do
			assert.is_nil((failure(table.unpack(words))):find("s3cret", 1, true))
		end
	end)

	it("survives any bytes", function()
		for byte = 0, 255 do
			local c = string.char(byte)
			for _, start in ipairs { "", "-", "--", "-p", "--port=", "--timeout=", "-H", "--source=", "--=" } do
				local word = start .. c
				local p, message = parse(word)
				assert.is_true(p ~= nil or type(message) == "string")
				if p then plan.check(p) end
			end
		end
	end)
end)

describe("options.usage", function()
	local usage = options.usage()

	it("begins with the program and its operand", function()
		assert.matches("^Usage: smtptest %[options%] hostname\n", usage)
		assert.matches("^Usage: lmtptest %[options%] hostname\n", options.usage "/usr/bin/lmtptest")
	end)

	it("has the classic lines first, in their order", function()
		local last = 0
		for _, line in ipairs {
			"  -p port  : port to use (default=standard port for protocol)\n",
			"  -k #     : minimum protection layer required\n",
			"  -l #     : max protection layer (0=none; 1=integrity; etc)\n",
			"  -u user  : authorization name to use\n",
			"  -a user  : authentication name to use\n",
			"  -w pass  : password to use (if not supplied, we will prompt)\n",
			"  -v       : verbose\n",
			"  -m mech  : SASL mechanism to use\n",
			"  -f file  : pipe file into connection after authentication\n",
			"  -r realm : realm\n",
			"  -s       : Enable smtp over SSL (smtps)\n",
			"  -t file  : Enable TLS. file has the TLS public and private keys\n",
			'             (specify "" to not use TLS for authentication)\n',
			"  -c       : enable challenge prompt callbacks\n",
			"             (enter one-time password instead of secret pass-phrase)\n",
			"  -n #     : number of auth attempts (default=1)\n",
			"  -I file  : output my PID to (file) (useful with -X)\n",
			"  -x file  : open the named socket for the interactive portion\n",
			"  -X file  : ",
			"Scripts:\n",
		} do
			local at = usage:find(line, last + 1, true)
			assert.is_number(at, line)
			last = at
		end
	end)

	it("names every option but -z", function()
		for _, option in ipairs(options.list) do
			if option.short and option.short ~= "z" then
				assert.is_truthy(usage:find("%f[%S]%-" .. option.short .. "%f[^%w]"), option.short)
			end
			if option.long and not option.classic then
				assert.is_truthy(usage:find("--" .. option.long, 1, true), option.long)
			end
		end
		assert.is_nil(usage:find("stress", 1, true))
	end)

	it("fits on a terminal", function()
		for line in usage:gmatch "[^\n]+" do assert.is_true(#line < 80, line) end
	end)
end)
