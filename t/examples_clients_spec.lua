-- badserver.lua and clients that somebody else wrote: each sees the fault.

local example = require "support.example"
local guest = require "support.guest"
local pki = require "smtptest.core.cert"
local run = require "support.run"
local serve = require "support.serve"

describe("the example", function()
	it("injectedreply.lua shows that a session of ours drops what came in clear", function()
		local out = example.content("injectedreply", {})
		assert.is_truthy(out:find("in clear text behind the 220: 250-injected.test\\r\\n250 AUTH PLAIN\\r\\n\n", 1, true), out)
		assert.is_truthy(out:find("the first reply under TLS:    250-localhost / 250-PIPELINING / ", 1, true), out)
	end)

	it("badserver.lua tells which faults there are", function()
		local r = run.command { "--serve", "-p", "0", "-S", "examples/badserver.lua", "--", "nosuch" }
		assert.are.same({ 1, "" }, { r.status, r.err })
		assert.is_truthy(r.out:find("\nwhich fault%? busy byte%-by%-byte .* wrong%-name\n$"), r.out)
	end)

	it("badserver.lua says what it needs", function()
		for _, words in ipairs { {}, { "--", "greylist" } } do
			local r = run.command { "-S", "examples/badserver.lua", table.unpack(words) }
			assert.are.same({ 1, "", "failure: badserver.lua has no server to spoil: run it with --serve\n" },
				{ r.status, r.out, r.err })
		end
	end)
end)

describe("the example badserver.lua confronts", function()
	local authority, chain

	setup(function()
		local certificate, key = assert(pki.self_signed { name = "localhost" })
		authority, chain = run.file("bad.pem", certificate), run.file("bad.both", key .. certificate)
	end)

	local letter = run.file("bad.letter", "Subject: to a bad server\r\n\r\nhello\r\n")

	local CLIENTS = {
		curl = function(port)
			return { "--silent", "--show-error", "--disable", "--ipv4", "--cacert", authority, "--ssl-reqd", "--max-time", "20",
				"--user", "alice:secret", "--mail-from", guest.FROM, "--mail-rcpt", guest.TO, "--upload-file", letter,
				("smtp://localhost:%d/client.test"):format(port) }
		end,
		msmtp = function(port)
			return { "--file=/dev/null", "--host=localhost", "--port=" .. port, "--domain=client.test", "--timeout=20", "--tls=on",
				"--tls-starttls=on", "--tls-trust-file=" .. authority, "--auth=plain", "--user=alice",
				"--passwordeval=echo secret", "--from=" .. guest.FROM, guest.TO }
		end,
		swaks = function(port)
			return { "--server", "localhost", "--port", tostring(port), "--helo", "client.test", "--tls", "--auth", "PLAIN",
				"--auth-user", "alice", "--auth-password", "secret", "--timeout", "20", "--from", guest.FROM,
				"--to", guest.TO .. ",carol@server.test", "--data", "@" .. letter }
		end,
	}

	-- Runs a client against a fault.
	-- @return what guest.run gives, and `server`: what that has printed
	local function meet(fault, client)
		local result
		local r = serve({ "-p", "0", "-t", chain, "-a", "alice", "-w", "secret", "-S", "examples/badserver.lua", "--", fault },
			function(port)
				result = guest.run(client, CLIENTS[client](port), { stdin = client == "msmtp" and "Subject: x\n\nhello\n" or nil })
			end)
		assert.are.same({ 0, "" }, { r.status, r.err })
		result.server = r.out
		return result
	end

	-- The client, the fault, its exit status, what it says; whether the server has the message though the client failed.
	for _, case in ipairs {
		{ "curl", "busy", 8, "response: 421" },
		{ "curl", "no-service", 8, "response: 554" },
		{ "curl", "byte-by-byte", 0, "" },
		{ "curl", "greylist", 55, "RCPT failed: 451" },
		{ "curl", "refused", 8, "" },
		{ "curl", "lost-answer", 56, "reset" },
		{ "curl", "half-answer", 56, "", true },
		{ "curl", "no-password", 67, "Login denied" },
		{ "curl", "mixed-codes", 55, "MAIL failed: 599" },
		{ "curl", "extra-reply", 55, "DATA failed: 250" },
		{ "curl", "no-extensions", 64, "STARTTLS not supported" },
		{ "curl", "no-starttls", 64, "STARTTLS denied, code 454" },
		{ "curl", "injected-reply", 8, "" },
		{ "curl", "expired", 60, "certificate" },
		{ "msmtp", "busy", 76, "421 4.3.2 too many connections" },
		{ "msmtp", "hang-up", 76, "empty reply" },
		{ "msmtp", "greylist", 69, "451 4.7.1 come back later" },
		{ "msmtp", "full", 69, "452 4.3.1 no space" },
		{ "msmtp", "no-code", 76, "invalid reply" },
		{ "msmtp", "endless-line", 76, "invalid reply" },
		{ "msmtp", "no-extensions", 69, "does not support TLS" },
		{ "msmtp", "injected-reply", 76, "command STARTTLS failed" },
		{ "msmtp", "early-reply", 69, "does not support authentication" },
		{ "msmtp", "wrong-name", 69, "does not match" },
		{ "msmtp", "expired", 69, "expired" },
		{ "swaks", "second-recipient", 0, "550 5.1.1 nobody of that name" },
		{ "swaks", "refused", 26, "554 5.7.1 spam" },
		{ "swaks", "no-starttls", 29, "STARTTLS attempted but failed" },
		-- It believes what came in clear, and is out of step from then on.
		{ "swaks", "injected-reply", 28, "<~  250-injected.test" },
	} do
		local client, fault, status, words, taken = table.unpack(case)
		local why = guest.missing(client, "the package " .. client)
		local name = ("%s with %s"):format(client, fault)
		if why then
			pending(name .. ": " .. why)
		else
			it(name, function()
				local r = meet(fault, client)
				local told = r.out .. r.err
				assert.are.equal(status, r.status, told)
				assert.is_truthy(told:find(words, 1, true), told)
				assert.are.equal(taken or status == 0, r.server:find("message from <", 1, true) ~= nil, r.server)
			end)
		end
	end
end)
