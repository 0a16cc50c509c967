-- The examples and Postfix.

local daemon = require "support.daemon"
local example = require "support.example"
local postfix = require "support.postfix"
local run = require "support.run"
local server = require "smtptest.server"

local FROM, TO = "alice@peer.test", "bob@peer.test"

describe("with Postfix, the example", function()
	local why = daemon.missing "postfix"
	if why then return pending("finds what is right and wrong: " .. why) end

	-- One is strict about the ends of lines.
	local lax, strict
	-- Where they relay to.
	local behind = run.free_port()

	setup(function()
		local main = ("default_transport = smtp:[127.0.0.1]:%d\nsmtpd_forbid_bare_newline_exclusions =\n"):format(behind)
		lax = postfix.start { main = main .. "smtpd_forbid_bare_newline = no" }
		strict = postfix.start { main = main .. "smtpd_forbid_bare_newline = yes" }
	end)

	teardown(function()
		lax:stop()
		strict:stop()
	end)

	local function words(which, ...)
		return { "-p", tostring(which.port), "-a", "alice", "-w", "secret", "--from=" .. FROM, "--to=" .. TO, "localhost",
			... }
	end

	-- With the flags of a TLS connection.
	local function under_tls(which, ...)
		return { "-t", "", "--cafile=" .. which.certificate, table.unpack(words(which, ...)) }
	end

	it("message.lua sends a message", function()
		local out = example.content("message", under_tls(lax))
		assert.is_truthy(out:find "^250 2%.0%.0 Ok: queued as %w+\n$", out)
		assert.is_truthy(lax:take "mail/box":find("\nSubject: Hello from smtptest\n", 1, true))
	end)

	it("message.lua ends with 5 and 6 where the password is wrong and where the sender is refused", function()
		local out, err, status = example.run("message", { "-w", "wrong", "-a", "alice", "-p", tostring(lax.port), "localhost" })
		assert.are.same({ "", 5 }, { out, status })
		assert.is_truthy(err:find("AUTH refused: 535 5.7.8 ", 1, true), err)
		out, err, status = example.run("message", { "-p", tostring(lax.port), "localhost" })
		assert.are.same({ "", 6 }, { out, status })
		assert.is_truthy(err:find("RCPT TO:<recipient@example.test>: expected 2xx, got 554 5.7.1 ", 1, true), err)
	end)

	it("rfc5321.lua finds nothing wrong", function()
		local out = example.content("rfc5321", words(lax))
		assert.are.equal(26, #example.lines(out, "ok"), out)
		assert.is_truthy(out:find("^1%.%.26\nok 1 %- RFC 5321 2%.4: "), out)
	end)

	it("extensions.lua finds other codes for AUTH than RFC 4954 has", function()
		local out = example.complains("extensions", words(lax))
		assert.are.same({
			"16 - RFC 4954 AUTH: a mechanism that nobody knows", "18 - RFC 4954 AUTH: what is not base64",
		}, example.lines(out, "not ok"))
		assert.are.equal(24, #example.lines(out, "ok"), out)
		assert.is_truthy(out:find("ok 14 - RFC 3030 BINARYMIME: no DATA for it # SKIP not offered\n", 1, true), out)
	end)

	it("extensions.lua skips what is not offered again under TLS", function()
		local out = example.complains("extensions", under_tls(lax))
		assert.are.equal(2, #example.lines(out, "not ok"), out)
		assert.is_nil(out:find("STARTTLS[^\n]*SKIP"), out)
	end)

	it("authmatrix.lua finds every mechanism to be right", function()
		local out = example.content("authmatrix", words(lax))
		local lines = example.lines(out, "ok")
		assert.are.equal(5 * #postfix.mechanisms, #lines, out)
		for _, mechanism in ipairs(postfix.mechanisms) do
			assert.is_truthy(out:find(("\nok     %-20s canceled  501 "):format(mechanism), 1, true), out)
			assert.is_truthy(out:find(("ok     %-20s good      235 "):format(mechanism), 1, true), out)
		end
	end)

	it("authmatrix.lua tries what -m names, and complains of what is no password", function()
		local out = example.complains("authmatrix", { "-p", tostring(lax.port), "-m", "PLAIN LOGIN", "-a", "alice", "-w", "wrong",
			"localhost" })
		assert.are.equal(2, #example.lines(out, "not ok"), out)
		assert.are.equal(8, #example.lines(out, "ok"), out)
	end)

	it("injection.lua sees the injected command dropped", function()
		assert.are.equal("dropped: NOOP under TLS got 250 2.0.0 Ok\n", example.content("injection", words(lax)))
	end)

	it("injection.lua and extensions.lua do not look for STARTTLS inside TLS", function()
		local theirs <close> = server.listen { tls = "implicit" }
		theirs:start()
		local flags = { "-s", "-p", tostring(theirs.port), "127.0.0.1" }
		assert.are.equal("STARTTLS is not offered\n", example.complains("injection", flags))
		local out = example.content("extensions", flags)
		assert.is_truthy(out:find("\nok 7 - RFC 3207 STARTTLS: no parameter # SKIP not offered\n", 1, true), out)
	end)

	it("injection.lua sees one obeyed, by a server that keeps what came in clear", function()
		local naive <close> = server.listen { tls = "starttls" }
		naive:script(function(client)
			client:reply(220, "naive ESMTP")
			client:line()
			client:reply(250, "naive\nSTARTTLS")
			client:line()
			client:reply(220, "go ahead")
			if not client:starttls() then return end
			client.transport:unread(client.leftover)
			while true do
				local line = client:line()
				if not line then return end
				client:reply(line == "NOOP" and 250 or 500, line)
			end
		end)
		naive:start()
		assert.are.equal("INJECTED: the first reply under TLS is 500 XINJECTED\n",
			example.complains("injection", { "-p", tostring(naive.port), "127.0.0.1" }))
	end)

	-- The variants that were taken for the end of a message.
	local function ends(out)
		local found = {}
		for _, line in ipairs(example.lines(out, "not ok")) do found[line:match "^(.-)%s+%d+: "] = true end
		return found
	end

	it("smuggling.lua sees LF . LF end a message with smtpd_forbid_bare_newline=no", function()
		local out = example.complains("smuggling", words(lax))
		assert.is_truthy(out:find "^ok     \\r\\n%.\\r\\n +3: 250 ", out)
		local found = ends(out)
		for _, variant in ipairs { [[\n.\n]], [[\n.\r\n]], [[\r\n.\n]] } do assert.is_true(found[variant], out) end
		assert.is_nil(found[ [[\r.\r]] ], out)
	end)

	it("smuggling.lua sees that it ends none with smtpd_forbid_bare_newline=yes", function()
		local out = example.content("smuggling", words(strict))
		assert.is_truthy(out:find "^ok     \\r\\n%.\\r\\n +3: 250 ", out)
		assert.is_truthy(out:find "\nok     \\n%.\\n +1: 250 ", out)
	end)

	-- What came of the variants, behind the relay: "ok" or "not ok", and what is told of them.
	local function passed_on(which)
		local found = {}
		local out = example.run("smugglingout", { "-p", tostring(which.port), "-a", "alice", "-w", "secret", "--from=" .. FROM,
			"--to=bob@behind.test", "localhost", "--", tostring(behind) })
		for line in out:gmatch "[^\n]+" do
			local verdict, variant, result = line:match "^(.-ok) +(%S+) +(.*)$"
			found[variant] = verdict .. " " .. result
		end
		return found
	end

	it("smugglingout.lua shows what is passed on: no end, but where smtpd_forbid_bare_newline=no has seen one", function()
		local found = passed_on(lax)
		assert.are.equal("not ok an end: the rest did not come", found[ [[\n.\n]] ])
		assert.are.equal([[ok .\r\n]], found[ [[\r.\r\n]] ])
		assert.are.equal([[not ok \r\n\0.\r\n]], found[ [[\r\n\0.\r\n]] ])
		found = passed_on(strict)
		assert.are.equal([[ok \r\n]], found[ [[\n.\n]] ])
		assert.are.equal([[not ok \r\n\0.\r\n]], found[ [[\r\n\0.\r\n]] ])
	end)

	it("pipelining.lua gets the same replies in every way", function()
		for _, flags in ipairs { words(lax), under_tls(lax) } do
			local lines = example.lines(example.content("pipelining", flags), "ok")
			assert.are.equal(5, #lines)
			for _, line in ipairs(lines) do
				assert.is_truthy(line:find(" 250/2.0.0 503/5.5.1 555/5.5.4 250/2.1.0 503/5.5.1 250/2.1.5 501/5.1.3 354/- 250/2.0.0 ",
					1, true), line)
			end
		end
	end)

	it("limits.lua finds those of the configuration", function()
		local out = example.content("limits", words(lax))
		for _, wanted in ipairs {
			"ok     1000 recipients, then: 452 4.5.3 Error: too many recipients\n",
			"ok     a message of 10240000 octets: 250 2.1.0 Ok\n",
			"ok     one octet more: 552 5.3.4 Message size exceeds fixed limit\n",
			"ok     20 errors, then: 421 4.7.0 mail.peer.test Error: too many errors\n",
		} do
			assert.is_truthy(out:find(wanted, 1, true), out)
		end
	end)

	it("bdat.lua finds nothing wrong", function()
		assert.are.equal(10, #example.lines(example.content("bdat", words(lax)), "ok"))
	end)

	it("certificates.lua believes what --cafile has, and says what is wrong otherwise", function()
		local place = "localhost:" .. lax.port
		local out = example.content("certificates", { "--cafile=" .. lax.certificate, "--", place, "127.0.0.1:" .. lax.port })
		assert.is_truthy(out:find("^ok     " .. place .. ": %d+ days left, EC P%-256, TLSv1%.3\n       names: DNS:localhost, "), out)
		out = example.complains("certificates", { "--", place, "localhost:" .. run.closed_port() })
		assert.is_truthy(out:find("\n       not believed: self-signed certificate (/CN=localhost)\nnot ok localhost:", 1, true), out)
		assert.is_truthy(out:find ": connect to localhost:%d+: Connection refused\n", out)
	end)

	it("certificates.lua does not believe another name, or one that has expired", function()
		local fault = require "smtptest.fault"
		for kind, words_for in pairs { expired = "certificate has expired", ["wrong-name"] = "hostname mismatch" } do
			local fields = fault.certificate(kind)
			local theirs <close> = server.listen { tls = "implicit", cert = fields.cert, key = fields.key }
			theirs:start()
			local out = example.complains("certificates", { "--", ("localhost:%d/implicit"):format(theirs.port) })
			assert.is_truthy(out:find("not believed: " .. words_for, 1, true), out)
		end
	end)
end)
