-- The built program as a server.

local run = require "support.run"
local serve = require "support.serve"
local smtptest = require "smtptest"

local LIMIT = 20

local function open(port, plan)
	local all = { host = "localhost", family = "inet", port = port, timeout = LIMIT }
	for name, value in pairs(plan or {}) do all[name] = value end
	return smtptest.open(all)
end

local function send(s, body)
	s:mail("a@client.test"):expect(250)
	s:rcpt("b@server.test"):expect(250)
	s:data(body):expect(250)
end

describe("smtptest --serve", function()
	it("says where it listens, accepts mail, tells of it, and ends by ^C", function()
		local result = serve({}, function(port)
			local s <close> = open(port)
			assert.is_nil(s.capabilities.STARTTLS)
			assert.is_nil(s.capabilities.AUTH)
			send(s, "hello\r\n")
			s:quit()
		end)
		assert.equal("", result.err)
		assert.equal(0, result.status)
		assert.matches("^listening on 127%.0%.0%.1:%d+\n127%.0%.0%.1:%d+: message from <a@client%.test> to <b@server%.test>: "
			.. "7 bytes, ESMTP\n$", result.out)
	end)

	it("ends in order by SIGTERM, too", function()
		assert.equal(0, serve({}, function() end, { signal = "TERM" }).status)
	end)

	it("has TLS by -t and -s, and an account by -a and -w", function()
		local account = { "-a", "alice", "-w", "secret" }
		for flag, tls in pairs { ["-t"] = "starttls", ["-s"] = "implicit" } do
			local words = { flag, table.unpack(account) }
			if flag == "-t" then table.insert(words, 2, "") end
			local result = serve(words, function(port)
				local s <close> = open(port, { tls = tls, authname = "alice", password = "secret" })
				assert.equal("SCRAM-SHA-512-PLUS", s.mechanism)
				send(s, "x\r\n")
				local ok, err = pcall(open, port, { tls = tls, mechanism = "PLAIN", authname = "alice", password = "wrong" })
				assert.is_false(ok)
				assert.equal("REPLY", err.code)
				err.session:close()
			end)
			assert.matches("ESMTPSA as alice\n", result.out)
			assert.matches("AUTH PLAIN refused: ", result.out, 1, true)
			assert.is_nil((result.out .. result.err):find("secret", 1, true))
		end
	end)

	it("uses the certificate of -t", function()
		local certificate, key = require "smtptest.core.cert".self_signed { name = "mail.test" }
		local path = run.file("serve.pem", certificate .. key)
		serve({ "-t", path }, function(port)
			local s <close> = open(port, { tls = "starttls" })
			assert.matches("mail.test", s.tls.peer[1].subject, 1, true)
		end)
	end)

	it("speaks LMTP by -P lmtp, has a name by --helo, and a socket by --unix", function()
		local path = run.scratch "serve.socket"
		serve({ "-P", "lmtp", "--helo=mail.test", "--unix", path }, function(where)
			assert.equal(path, where)
			local s <close> = smtptest.open { socket = path, protocol = "lmtp", timeout = LIMIT }
			assert.equal("mail.test LMTP smtptest", s.greeting.text)
			s:mail "a@b.test"
			s:rcpt "a@b.test"
			assert.equal(1, #s:data "x\r\n")
		end)
		assert.is_nil(io.open(path))
	end)

	it("saves each message to a file of its own by --save, which makes the folder", function()
		local folder = run.scratch "saved"
		local body = ".x\r\n\0\xff\n.\n\r\n"
		local result = serve({ "--save=" .. folder }, function(port)
			local s <close> = open(port)
			send(s, body)
			send(s, "second\r\n")
		end)
		local found = {}
		for path in result.out:gmatch(", (%S+%.eml)\n") do
			local handle <close> = assert(io.open(path, "rb"))
			found[#found + 1] = handle:read "a"
		end
		assert.same({ body, "second\r\n" }, found)
		local listing <close> = io.popen("ls -A " .. folder)
		local _, count = listing:read "a":gsub("%.eml\n", "")
		assert.equal(2, count)
	end)

	it("answers 452 when it can't save", function()
		local folder = run.scratch "vanishing"
		serve({ "--save=" .. folder }, function(port)
			local s <close> = open(port)
			assert(os.remove(folder))
			s:mail "a@b.test"
			s:rcpt "a@b.test"
			assert.equal(452, s:data("x\r\n").code)
		end)
	end)

	it("gives a script the bound server, and serves when that returns", function()
		local path = run.file("greeter.lua", [[
			local server, word = ...
			assert(arg[1] == word)
			server.on.connect = function() return 220, "hello " .. word end
			server.on.data = function(client, message) print(#message.data) end
		]])
		local result = serve({ "-S", path, "--", "there" }, function(port)
			local s <close> = open(port)
			assert.equal("hello there", s.greeting.text)
			send(s, "12345\r\n")
		end)
		assert.matches("\n7\n", result.out, 1, true)
		assert.equal(0, result.status)
	end)

	it("leaves the end to a script that starts the server by itself", function()
		local result = serve({ "-e", [[
			local server = ...
			server:start()
			assert(server:wait(1, 20))
			return 3
		]] }, function(port)
			local s <close> = open(port)
			send(s, "x\r\n")
		end, { on_exit = true })
		assert.equal(3, result.status)
	end)

	it("exits with 70 when a handler failed, tells it at once, and serves on meanwhile", function()
		local result = serve({ "-e", [[(...).on.mail = function() error "oops" end]] }, function(port, _, output)
			local s <close> = open(port)
			assert.equal(421, s:mail("a@b.test").code)
			local other <close> = open(port)
			assert.equal(250, other.last.code)
			assert.matches("the script failed: .*oops", output())
		end)
		assert.equal(70, result.status)
		assert.matches("oops", result.err)
	end)

	it("shows everything by --trace, but no secret", function()
		local result = serve({ "-a", "alice", "-w", "secret", "--trace" }, function(port)
			local s <close> = open(port, { mechanism = "PLAIN", authname = "alice", password = "secret" })
			s:quit()
		end)
		assert.matches("C clear EHLO smtptest\\r\\n", result.err, 1, true)
		assert.matches("S clear 221 2.0.0 bye\\r\\n", result.err, 1, true)
		assert.matches("C clear AUTH PLAIN <20 bytes hidden>", result.err, 1, true)
	end)

	it("refuses flags that make no sense, in one line", function()
		local cases = {
			{ { "--save=/tmp/x" }, "failure: --save: only --serve saves messages\n", 1 },
			{ { "--serve", "-a", "alice" }, "failure: --serve: -a without a password (-w or --password-file)\n", 70 },
			{ { "--serve", "-w", "secret" }, "failure: --serve: a password without a name (-a)\n", 70 },
			{ { "--serve", "--save=/nonexistent/x" }, "failure: --save: mkdir /nonexistent/x: No such file or directory\n" },
			{ { "--serve", "-p", "0", "-t", "/nonexistent/key" }, "/nonexistent/key" },
			{ { "--serve", "--nosuch" }, "unrecognized option '--nosuch'" },
			{ { "--serve", "-S", "/nonexistent/script" }, "/nonexistent/script" },
		}
		for _, case in ipairs(cases) do
			local result = run.command(case[1])
			assert.is_truthy(result.err:find(case[2], 1, true), result.err)
			assert.is_true(result.status ~= 0)
			assert.is_nil(result.out:find("listening", 1, true))
		end
	end)

	it("says that its port is taken", function()
		serve({}, function(port)
			local result = run.command { "--serve", "-p", tostring(port) }
			assert.equal(("failure: listen: 127.0.0.1:%d: bind: Address already in use\n"):format(port), result.err)
			assert.equal(3, result.status)
		end)
	end)

	it("lets nobody's terminal be written to", function()
		local result = serve({}, function(port)
			local s <close> = open(port)
			s:mail("a@b.test")
			s:rcpt('"\\\27[31m"@b.test')
			s:send 'RCPT TO:<"a b"@b.test>\r\n'
			s:reply()
			s:data "x\r\n"
		end)
		assert.is_nil(result.out:find("\27", 1, true))
	end)
end)

