-- The examples and Dovecot: its submission server, which relays to Postfix's smtp-sink, and its LMTP server.

local daemon = require "support.daemon"
local dovecot = require "support.dovecot"
local example = require "support.example"
local run = require "support.run"
local sink = require "support.sink"
local smtptest = require "smtptest"

describe("with Dovecot, the example", function()
	local why = daemon.missing("dovecot", "postfix")
	if why then return pending("finds what is right and wrong: " .. why) end

	local server, relay

	setup(function()
		relay = sink.start()
		server = dovecot.start { relay = relay.port }
	end)

	teardown(function()
		server:stop()
		relay:stop()
	end)

	local function words(...)
		return { "-p", tostring(server.port), "-a", "alice", "-w", "secret", "--from=alice@peer.test", "--to=bob@peer.test",
			"localhost", ... }
	end

	local function by_lmtp(...)
		return { "-P", "lmtp", "-p", tostring(server.lmtp), "--from=alice@peer.test", "--to=bob@peer.test", "localhost", ... }
	end

	it("message.lua sends a message to each of two recipients by LMTP", function()
		local out = example.content("message", { "--to=carol@peer.test", table.unpack(by_lmtp()) })
		assert.is_truthy(out:find "^250 2%.0%.0 <carol@peer%.test> %S+ Saved\n250 2%.0%.0 <bob@peer%.test> %S+ Saved\n$", out)
		for _, name in ipairs { "bob", "carol" } do
			assert.is_truthy(server:take("mail/" .. name):find("\nSubject: Hello from smtptest\n", 1, true))
		end
	end)

	it("rfc5321.lua finds nothing wrong", function()
		assert.are.equal(26, #example.lines(example.content("rfc5321", words()), "ok"))
	end)

	it("extensions.lua finds that wrong base64 is a wrong password", function()
		local out = example.complains("extensions", words())
		assert.are.same({ "18 - RFC 4954 AUTH: what is not base64" }, example.lines(out, "not ok"))
		assert.is_truthy(out:find("\n# got 535 5.7.8 Invalid base64 in response\n", 1, true), out)
		assert.is_truthy(out:find("SMTPUTF8: an address # SKIP not offered\n", 1, true), out)
	end)

	it("authmatrix.lua skips EXTERNAL without a certificate, and knows that a password is no token", function()
		local out = example.complains("authmatrix", words())
		assert.are.equal(5, #example.lines(out, "skip"), out)
		local wrong = example.lines(out, "not ok")
		assert.are.equal(2, #wrong, out)
		for i, mechanism in ipairs { "OAUTHBEARER", "XOAUTH2" } do
			assert.are.equal(("%-20s good      535 5.7.8 Authentication failed."):format(mechanism), wrong[i])
		end
	end)

	it("oauth.lua logs in with a token", function()
		local out = example.content("oauth", { "-t", "", "-p", tostring(server.port), "-a", "alice", "-w",
			server.token("alice", 600), "localhost" })
		assert.are.equal("OAUTHBEARER\t235 2.7.0 Logged in.\nXOAUTH2\t235 2.7.0 Logged in.\n", out)
	end)

	it("oauth.lua shows why a token is refused, and not the token", function()
		local token = server.token("alice", -10)
		local out = example.complains("oauth", { "-p", tostring(server.port), "-a", "alice", "-w", token, "localhost" })
		local reasons = {}
		for reason in out:gmatch "\tthe server's reason: (%C*)\n" do reasons[#reasons + 1] = reason end
		assert.are.same({ '{"status":"invalid_token"}', '{"status":"401","schemes":"bearer","scope":"mail"}' }, reasons)
		assert.is_nil(out:find(token, 1, true))
	end)

	for name, of in pairs { ["the submission server"] = words, ["the LMTP server"] = by_lmtp } do
		it("injection.lua sees no TLS begin behind an injected command, with " .. name, function()
			local out = example.content("injection", of())
			assert.is_truthy(out:find "^refused: TLS handshake: ", out)
		end)

		it("smuggling.lua sees LF . LF end a message, with " .. name, function()
			local found = {}
			for _, line in ipairs(example.lines(example.complains("smuggling", of()), "not ok")) do
				found[#found + 1] = line:match "^(%S+)"
			end
			assert.are.same({ [[\n.\n]], [[\n.\r\n]], [[\r\n.\n]], [[\n\n.\n\n]], [[\r\0\n.\r\n]] }, found)
		end)
	end

	it("pipelining.lua gets the same replies in every way by LMTP", function()
		assert.are.equal(5, #example.lines(example.content("pipelining", by_lmtp()), "ok"))
	end)

	-- Dovecot 2.3 fails an assertion where DATA stands right behind a message that it relays.
	it("pipelining.lua tells when the submission server dies", function()
		local _, before = server:log():gsub("Panic: ", "")
		local out = example.run("pipelining", words())
		local _, after = server:log():gsub("Panic: ", "")
		assert.are.equal(after - before, #example.lines(out, "not ok"), out)
		assert.is_truthy(out:find("^ok     command by command "), out)
	end)

	it("limits.lua finds a limit of lines and of errors", function()
		local out = example.content("limits", by_lmtp())
		assert.is_truthy(out:find("ok     command lines of 4096 octets, then, twice as long: 500 5.5.2 Line too long\n", 1, true), out)
		assert.is_truthy(out:find("ok     10 errors, then: 421 4.7.0 mail.peer.test Too many invalid commands.\n", 1, true), out)
	end)

	for name, of in pairs { ["the submission server"] = words, ["the LMTP server"] = by_lmtp } do
		it("bdat.lua finds nothing wrong, with " .. name, function()
			assert.are.equal(10, #example.lines(example.content("bdat", of()), "ok"))
		end)
	end

	it("nodes.lua delivers to Dovecot and to servers of ours at the same time", function()
		local ours <close> = smtptest.listen { protocol = "lmtp" }
		local full <close> = smtptest.listen { protocol = "lmtp", on = { data = function() return 452, "4.3.1 full" end } }
		ours:start()
		full:start()
		local nodes = { "localhost:" .. server.lmtp, "127.0.0.1:" .. ours.port }
		local words_of = by_lmtp("--", table.unpack(nodes))
		table.insert(words_of, 1, "--to=carol@peer.test")
		local out = example.content("nodes", words_of)
		assert.are.equal(4, #example.lines(out, "ok"), out)
		assert.are.equal(1, #ours.messages)
		table.insert(words_of, "127.0.0.1:" .. full.port)
		table.insert(words_of, "127.0.0.1:" .. run.closed_port())
		out = example.complains("nodes", words_of)
		assert.are.equal(4, #example.lines(out, "ok"), out)
		local wrong = example.lines(out, "not ok")
		assert.are.equal(3, #wrong, out)
		assert.is_truthy(wrong[1]:find "^127%S+ +carol@peer%.test +452 4%.3%.1 full$", out)
		assert.is_truthy(wrong[3]:find "^127%S+ +%- +connect to 127%S+: Connection refused$", out)
	end)
end)
