local base64 = require "smtptest.base64"
local cert = require "smtptest.core.cert"
local core = require "smtptest.core.sasl"
local login = require "support.login"
local peer = require "support.peer"
local run = require "support.run"

local complaint = peer.complaint

local ALICE, as, b64 = login.ALICE, login.as, login.b64
local scripted, exchange, failing = login.scripted, login.exchange, login.failing

-- ---------------------------------------------------------------- with the library's server

local WORKING = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512" }

describe("auth with", function()
	local installed = {}
	for _, name in ipairs(core.mechanisms()) do installed[name] = true end

	for _, mechanism in ipairs(WORKING) do
		local test = installed[mechanism] and it or pending

		test(mechanism .. " is welcome with the right password only", function()
			peer.with(function(c)
				c:auth { mechanisms = mechanism }
				c:auth { mechanisms = mechanism, maxssf = 0 }
				c:reply "250 in step"
			end, function(s)
				local answer = s:auth(as { mechanism = mechanism, password = "wrong" })
				assert.equal(535, answer.code)
				assert.is_false(s.authenticated)
				assert.equal(0, s.ssf)
				answer = s:auth(as { mechanism = mechanism })
				assert.equal("235 2.7.0 welcome", tostring(answer))
				assert.equal("AUTH " .. mechanism, answer.command)
				assert.is_true(s.authenticated)
				assert.equal(mechanism, s.mechanism)
				assert.equal("250 in step", tostring(s:noop()))
			end, { maxssf = 0 })
		end)

		test(mechanism .. " takes a password of 700 bytes and one of every byte", function()
			local long = ("p"):rep(700)
			local odd = {}
			for i = 1, 255 do if i ~= 0 then odd[#odd + 1] = string.char(i) end end
			local passwords = { long }
			-- SCRAM and DIGEST-MD5 prepare strings; arbitrary bytes are for those that don't.
			if mechanism == "PLAIN" or mechanism == "CRAM-MD5" then passwords[2] = table.concat(odd) end
			for _, password in ipairs(passwords) do
				peer.with(function(c)
					c:auth { mechanisms = mechanism, users = { alice = password } }
				end, function(s)
					assert.equal(235, s:auth(as { mechanism = mechanism, password = password }).code)
				end)
			end
		end)
	end

	it("ANONYMOUS gives a trace, not a name", function()
		local seen = exchange({ "235 hello" }, { mechanism = "ANONYMOUS", authname = "trace" })
		assert.matches("^AUTH ANONYMOUS ", seen[1])
	end)

	it("a mechanism in any case of letters, of several the strongest", function()
		local seen = exchange({ "535 no" }, as { mechanism = "plain" })
		assert.matches("^AUTH PLAIN ", seen[1])
		seen = exchange({ "535 no" }, as { mechanism = "plain login scram-sha-256" })
		assert.matches("^AUTH SCRAM%-SHA%-256 ", seen[1])
	end)

	it("a server's list takes the strongest of it", function()
		peer.with(function(c)
			c:capabilities "AUTH LOGIN PLAIN CRAM-MD5 SCRAM-SHA-256 NOSUCH"
			c:auth { mechanisms = "SCRAM-SHA-256" }
		end, function(s)
			s:ehlo()
			assert.equal(235, s:auth().code)
			assert.equal("SCRAM-SHA-256", s.mechanism)
		end, ALICE)
	end)
end)

describe("the security layer", function()
	for _, strength in ipairs { { 1, 1 }, { 56, 56 }, { 128, 128 } } do
		it(("of DIGEST-MD5 with maxssf %d goes on"):format(strength[1]), function()
			local big = ("x"):rep(200000)
			peer.with(function(c)
				c:capabilities "AUTH DIGEST-MD5"
				c:auth { mechanisms = "DIGEST-MD5" }
				c:reply("250 inside", "354 go")
				assert.equal(big, c:line())
				c:reply "250 queued"
			end, function(s)
				s:ehlo()
				s:auth(as { maxssf = strength[1] })
				assert.equal(strength[2], s.ssf)
				assert.equal("sasl", s.transport:layer_name())
				assert.same({}, s.capabilities)
				assert.equal("250 inside", tostring(s:noop()))
				assert.equal("250 queued", tostring(s:data(big)))
			end)
		end)
	end

	it("stays off with maxssf 0", function()
		peer.with(function(c)
			c:capabilities "AUTH DIGEST-MD5"
			c:auth { mechanisms = "DIGEST-MD5" }
		end, function(s)
			s:ehlo()
			s:auth(as { maxssf = 0 })
			assert.equal(0, s.ssf)
			assert.equal("clear", s.transport:layer_name())
			assert.is_truthy(s.capabilities.AUTH)
		end)
	end)

	it("counts TLS towards its strength", function()
		peer.with(function(c)
			c:tls()
			c:auth { mechanisms = "DIGEST-MD5" }
		end, function(s)
			s:handshake()
			s:auth(as { mechanism = "DIGEST-MD5" })
			assert.equal(0, s.ssf)
		end)
	end)

	it("stacks on TLS", function()
		peer.with(function(c)
			c:tls()
			c:auth { mechanisms = "DIGEST-MD5" }
			c:reply "250 deep"
		end, function(s)
			s:handshake()
			s:auth(as { mechanism = "DIGEST-MD5", maxssf = 1000 })
			assert.equal(128, s.ssf)
			assert.equal("250 deep", tostring(s:noop()))
		end)
	end)

	it("is fed with what came in the same packet as the 235", function()
		peer.with(function(c)
			local send = c.send
			local held
			function c.send(client, bytes)
				if bytes:find "^235" then held = bytes else send(client, bytes) end
			end
			local server = c:auth { mechanisms = "DIGEST-MD5" }
			c.transport:pop { notify = false, wait = false }
			local layer = server:layer()
			layer:write "220 at once\r\n"
			send(c, held .. layer:drain())
			c:rest()
		end, function(s)
			s:auth(as { mechanism = "DIGEST-MD5" })
			assert.equal("220 at once", tostring(s:reply()))
			s:shutdown()
		end)
	end)

	it("that is too weak is NOMECH, and nothing is sent", function()
		local seen, err = failing("NOMECH", {}, as { mechanism = "PLAIN", minssf = 56 })
		assert.same({}, seen)
		assert.equal(5, err.status)
		assert.equal("AUTH", err.op)
	end)

	it("takes the place of an earlier one, and knows what the server sent at once", function()
		peer.with(function(c)
			c:auth { mechanisms = "DIGEST-MD5" }
			c:reply "250 under the first"
			c:auth { mechanisms = "DIGEST-MD5" }
			c:send "250 unasked\r\n"
			c:reply "250 under the second"
		end, function(s)
			s:auth(as { mechanism = "DIGEST-MD5" })
			assert.equal("250 under the first", tostring(s:noop()))
			s.capabilities = { SIZE = {} }
			local answer = s:auth(as { mechanism = "DIGEST-MD5" })
			assert.equal(235, answer.code)
			assert.equal(1, #s.transport.layers)
			assert.equal(128, s.ssf)
			assert.same({}, s.capabilities)
			assert.equal("250 unasked", tostring(s:reply()))
			assert.equal("250 under the second", tostring(s:noop()))
			s.transport:pop()
			assert.equal(0, s.ssf)
			assert.equal("clear", s.transport:layer_name())
		end)
	end)

	it("takes the place of an earlier one under TLS, too", function()
		peer.with(function(c)
			c:tls()
			c:auth { mechanisms = "DIGEST-MD5" }
			c:auth { mechanisms = "DIGEST-MD5" }
			c:reply "250 inside"
		end, function(s)
			s:handshake()
			for _ = 1, 2 do s:auth(as { mechanism = "DIGEST-MD5", maxssf = 1000 }) end
			assert.equal(2, #s.transport.layers)
			assert.equal("250 inside", tostring(s:noop()))
		end)
	end)

	it("survives an AUTH under it, refused or without a layer of its own", function()
		peer.with(function(c)
			c:auth { mechanisms = "DIGEST-MD5" }
			c:reply("503 5.5.1 already", "235 2.7.0 as you like", "250 still inside")
		end, function(s)
			s:auth(as { mechanism = "DIGEST-MD5" })
			assert.equal(503, s:auth(as { mechanism = "PLAIN" }).code)
			assert.equal(128, s.ssf)
			assert.equal(235, s:auth(as { mechanism = "PLAIN" }).code)
			assert.equal(128, s.ssf)
			assert.is_true(s.authenticated)
			assert.equal("250 still inside", tostring(s:noop()))
		end)
	end)
end)

describe("under TLS, auth", function()
	for _, version in ipairs { "1.2", "1.3" } do
		it("binds SCRAM to the channel of TLS " .. version, function()
			local kind = version == "1.3" and "tls-exporter" or "tls-unique"
			peer.with(function(c)
				c:tls { max_version = version }
				c:capabilities "AUTH SCRAM-SHA-256 SCRAM-SHA-256-PLUS"
				c:auth { mechanisms = "SCRAM-SHA-256",
					binding = { type = kind, data = assert(c.machine:channel_binding(kind)) } }
			end, function(s, c)
				s:handshake()
				s:ehlo()
				local answer = s:auth(ALICE)
				assert.equal("235 2.7.0 welcome", tostring(answer))
				assert.matches("^AUTH SCRAM%-SHA%-256%-PLUS ", c.seen[2])
				assert.equal("SCRAM-SHA-256-PLUS", s.mechanism)
			end)
		end)
	end

	it("is refused over another channel", function()
		peer.with(function(c)
			c:tls()
			c:auth { mechanisms = "SCRAM-SHA-256", binding = { type = "tls-exporter", data = ("x"):rep(32) } }
		end, function(s)
			s:handshake()
			assert.equal(535, s:auth(as { mechanism = "SCRAM-SHA-256-PLUS" }).code)
		end)
	end)

	it("does not bind where told not to", function()
		peer.with(function(c)
			c:tls()
			c:auth { mechanisms = "SCRAM-SHA-256" }
		end, function(s, c)
			s:handshake()
			s:auth(as { mechanism = "SCRAM-SHA-256", channel_binding = false })
			local first = base64.decode((c.seen[1]:match "^AUTH SCRAM%-SHA%-256 (.*)$"))
			assert.matches("^n,,n=alice", first)
		end)
	end)

	it("says why a binding that was asked for can't be had", function()
		peer.with(function(c)
			c:tls()
			c:send "220 ready\r\n"
			assert.equal("", c:rest())
		end, function(s)
			s:handshake()
			s:reply()
			local err = peer.failure("TLS", s.auth, s, as { mechanism = "SCRAM-SHA-256", channel_binding = "tls-unique" })
			assert.equal("AUTH", err.op)
			s:shutdown()
		end)
	end)

	-- libsasl takes "PLAIN-PLUS" for PLAIN unless the binding is critical.
	it("never does without a binding where only -PLUS names were given", function()
		for _, names in ipairs { "PLAIN-PLUS", "DIGEST-MD5-PLUS", "PLAIN-PLUS DIGEST-MD5-PLUS", "LOGIN-PLUS PLAIN-PLUS" } do
			peer.with(function(c)
				c:tls()
				c:send "220 ready\r\n"
				assert.equal("", c:rest())
			end, function(s)
				s:handshake()
				s:reply()
				peer.failure("NOMECH", s.auth, s, as { mechanism = names })
				s:shutdown()
			end)
		end
	end)

	it("does without a binding where a name without -PLUS was given too", function()
		for names, first in pairs { ["PLAIN-PLUS PLAIN"] = "^\0alice\0secret$", ["SCRAM-SHA-256 SCRAM-SHA-1"] = "^y,,n=alice" } do
			peer.with(function(c)
				c:tls()
				c:reply "535 no"
			end, function(s, c)
				s:handshake()
				assert.equal(535, s:auth(as { mechanism = names }).code)
				assert.matches(first, base64.decode(c.seen[1]:match "^AUTH %S+ (.*)$"))
			end)
		end
	end)

	it("has no -PLUS without TLS", function()
		for _, names in ipairs { "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS SCRAM-SHA-256-PLUS", "PLAIN-PLUS LOGIN-PLUS" } do
			assert.same({}, (failing("NOMECH", {}, as { mechanism = names })))
		end
	end)
end)

-- ---------------------------------------------------------------- names and questions

describe("the authentication identity", function()
	it("acts for another one", function()
		local seen = exchange({ "535 no" }, as { mechanism = "PLAIN", username = "bob" })
		assert.equal("AUTH PLAIN " .. b64 "bob|alice|secret", seen[1])
		peer.with(function(c)
			local server = c:auth { mechanisms = "SCRAM-SHA-256" }
			assert.equal("bob", server:username())
			assert.equal("alice", server:authid())
		end, function(s)
			assert.equal(235, s:auth(as { mechanism = "SCRAM-SHA-256", username = "bob" }).code)
		end)
	end)

	it("never acts for another one with a mechanism that can't", function()
		local seen = failing("NOMECH", {}, as { mechanism = "LOGIN CRAM-MD5", username = "bob" })
		assert.same({}, seen)
	end)

	it("comes from the plan, options win", function()
		local seen = exchange({ "535 no" }, { password = "other" }, as { mechanism = "PLAIN" })
		assert.equal("AUTH PLAIN " .. b64 "|alice|other", seen[1])
	end)
end)

describe("a password", function()
	it("may be a function, called once and only when it is needed", function()
		local calls = 0
		local function password()
			calls = calls + 1
			return "secret"
		end
		exchange({ "535 no" }, { mechanism = "PLAIN", authname = "alice", password = password })
		assert.equal(1, calls)
		exchange({ "504 no" }, { mechanism = "CRAM-MD5", authname = "alice", password = password })
		assert.equal(1, calls)
		failing("NOMECH", {}, { mechanism = "NOSUCH", authname = "alice", password = password })
		assert.equal(1, calls)
	end)

	it("that nobody knows is INTERACT with the questions, before anything is sent", function()
		local seen, err = failing("INTERACT", {}, { mechanism = "PLAIN", authname = "alice" })
		assert.same({}, seen)
		assert.equal(5, err.status)
		assert.equal("no password given", tostring(err))
		local asked = {}
		for _, prompt in ipairs(err.prompts) do asked[prompt.id] = true end
		assert.is_true(asked.password)
		assert.is_nil(err.reply)
	end)

	it("that nobody knows cancels an exchange that is open", function()
		local seen, err = failing("INTERACT", { "334 " .. b64 "<1@x>", "501 canceled" },
			{ mechanism = "CRAM-MD5", authname = "alice" })
		assert.same({ "AUTH CRAM-MD5", "*" }, seen)
		assert.equal(501, err.reply.code)
		assert.is_truthy(err.prompts)
	end)

	it("that can't be had is the reason of the one who was asked", function()
		local seen, err = failing("ENOENT", {}, { mechanism = "PLAIN", authname = "alice",
			password = function() return nil, "/run/secret: No such file", "ENOENT" end })
		assert.same({}, seen)
		assert.matches("/run/secret", tostring(err))
	end)

	it("never stands in an error, a transcript or a complaint", function()
		local _, text = scripted({ "334 " .. b64 "<1@x>", "535 no" }, function(s)
			s:auth { mechanism = "CRAM-MD5", authname = "alice", password = "s3cr3t" }
			return tostring(s.transcript)
		end)
		assert.matches("C: <%d+ bytes hidden>", text)
		assert.not_matches("s3cr3t", complaint(function()
			local s <close> = peer.pair()
			s:auth { mechanism = "PLAIN", authname = "alice", pasword = "s3cr3t" }
		end))
	end)
end)

describe("a realm", function()
	it("may be a function of those offered", function()
		local offered, default
		local nonce = 'realm="a.test",realm="b.test",nonce="n",qop="auth",algorithm=md5-sess,charset=utf-8'
		local seen = exchange({ "334 " .. base64.encode(nonce), "535 no" }, as { mechanism = "DIGEST-MD5",
			realm = function(list, first)
				offered, default = list, first
				return "b.test"
			end })
		assert.same({ "a.test", "b.test" }, offered)
		assert.is_string(default)
		assert.matches('realm="b%.test"', base64.decode(seen[2]))
	end)
end)

-- ---------------------------------------------------------------- what goes over the wire

describe("the initial response", function()
	local PLAIN = b64 "|alice|secret"

	it("goes with the command as the mechanism does", function()
		local seen, answer = exchange({ "235 ok" }, as { mechanism = "PLAIN" })
		assert.same({ "AUTH PLAIN " .. PLAIN }, seen)
		assert.is_nil(answer.challenge)
		seen = exchange({ "535 no" }, as { mechanism = "LOGIN" })
		assert.same({ "AUTH LOGIN" }, seen)
	end)

	it("waits for the first challenge where told so", function()
		for _, plan in ipairs { { {}, { initial_response = false } }, { { initial_response = false }, {} } } do
			local seen, answer = exchange({ "334 ", "235 ok" }, as(peer.laid(plan[1], { mechanism = "PLAIN" })), plan[2])
			assert.same({ "AUTH PLAIN", PLAIN }, seen)
			assert.equal("", answer.challenge)
		end
		local seen = exchange({ "334 ", "535 no" }, as { mechanism = "SCRAM-SHA-256", initial_response = false })
		assert.equal("AUTH SCRAM-SHA-256", seen[1])
		assert.matches("^n,,n=alice,r=", base64.decode(seen[2]))
	end)

	it("may be exactly these bytes, an empty one as =", function()
		for bytes, wire in pairs { ["\0\255"] = "AP8=", [""] = "=", [("x"):rep(900)] = base64.encode(("x"):rep(900)) } do
			local seen = exchange({ "535 no" }, as { mechanism = "PLAIN", initial_response = bytes })
			assert.same({ "AUTH PLAIN " .. wire }, seen)
			seen = exchange({ "535 no" }, as { mechanism = "PLAIN" }, { initial_response = bytes })
			assert.same({ "AUTH PLAIN " .. wire }, seen)
		end
		local seen = exchange({ "334 " .. b64 "Password:", "535 no" }, as { mechanism = "LOGIN",
			initial_response = "alice", on_challenge = function() return "secret" end })
		assert.same({ "AUTH LOGIN " .. b64 "alice", b64 "secret" }, seen)
	end)

	it("goes ahead of what the mechanism answers to the challenge", function()
		local seen = exchange({ "334 " .. b64 "<1@x>", "535 no" }, as { mechanism = "CRAM-MD5", initial_response = "junk" })
		assert.equal("AUTH CRAM-MD5 " .. b64 "junk", seen[1])
		assert.matches("^alice %x+$", base64.decode(seen[2]))
	end)

	it("is held back where the line would be longer than 512 bytes", function()
		-- "AUTH PLAIN " and CR LF leave 499: base64 of 372 bytes.
		for extra, lines in pairs { [0] = 1, [1] = 2 } do
			local password = ("p"):rep(372 - #"|alice|" + extra)
			local whole = b64("|alice|" .. password)
			local answers = lines == 1 and { "235 ok" } or { "334 ", "235 ok" }
			local seen = exchange(answers, as { mechanism = "PLAIN", password = password })
			assert.same(lines == 1 and { "AUTH PLAIN " .. whole } or { "AUTH PLAIN", whole }, seen)
			assert.equal(lines == 1, #("AUTH PLAIN " .. whole) + 2 <= 512)
		end
	end)
end)

describe("a challenge", function()
	it("may lack its blank, or be without text", function()
		for _, text in ipairs { "334", "334 ", "334  " } do
			local seen = exchange({ text, "235 ok" }, as { mechanism = "PLAIN", initial_response = false })
			assert.same({ "AUTH PLAIN", b64 "|alice|secret" }, seen)
		end
		local seen = exchange({ "334" .. b64 "<1@x>", "235 ok" }, as { mechanism = "CRAM-MD5" })
		assert.matches("^alice %x+$", base64.decode(seen[2]))
	end)

	it("of LOGIN may say anything", function()
		local seen = exchange({ "334 " .. b64 "Who?", "334 " .. b64 "And?", "235 ok" }, as { mechanism = "LOGIN" })
		assert.same({ "AUTH LOGIN", b64 "alice", b64 "secret" }, seen)
	end)

	it("that is no base64 cancels the exchange", function()
		for _, text in ipairs { "334 !!!", "334 abc", "334 YQ=", "334 YQ==YQ==", "334 YR==", "334 Username:" } do
			local seen, err = failing("BASE64", { text, "501 canceled" }, as { mechanism = "LOGIN" })
			assert.same({ "AUTH LOGIN", "*" }, seen)
			assert.equal(501, err.reply.code)
			assert.equal("*", err.reply.command)
			assert.matches("^AUTH: the server's challenge is not base64", tostring(err))
			assert.equal(5, err.status)
		end
	end)

	it("that the mechanism refuses is the reason, also of a server that then hangs up", function()
		local err
		peer.with(function(c)
			c:reply("334 " .. b64 "r=nothing")
			c:line()
		end, function(s)
			err = peer.failure("SASL", s.auth, s, as { mechanism = "SCRAM-SHA-256" })
		end)
		assert.is_nil(err.reply)
	end)

	it("that the mechanism refuses cancels the exchange", function()
		local seen, err = failing("SASL", { "334 " .. b64 "r=nothing", "501 canceled" }, as { mechanism = "SCRAM-SHA-256" })
		assert.equal("*", seen[2])
		assert.equal(501, err.reply.code)
		assert.is_truthy(err.message ~= "")
	end)

	it("after the mechanism's last word cancels the exchange", function()
		local seen, err = failing("SASL", { "334 " .. b64 "more", "501 canceled" }, as { mechanism = "PLAIN" })
		assert.same({ "AUTH PLAIN " .. b64 "|alice|secret", "*" }, seen)
		assert.equal(501, err.reply.code)
	end)

	it("is left open by an end of the connection", function()
		peer.with(function(c)
			c:reply "334 "
			c:line()
		end, function(s)
			local err = peer.failure("EOF", s.auth, s, as { mechanism = "PLAIN", initial_response = false })
			assert.equal("AUTH", err.op)
			assert.equal(3, err.status)
		end)
	end)
end)

describe("the final reply", function()
	it("of any code but 235 is a value", function()
		for _, text in ipairs { "454 4.7.0 later", "535 5.7.8 no", "503 5.5.1 twice", "504 5.5.4 unknown", "538 tls first",
			"250 ok", "234 old", "220 what", "500 AUTH?", "nonsense" } do
			local seen, answer = exchange({ text }, as { mechanism = "PLAIN" })
			assert.equal(1, #seen)
			assert.equal(text, tostring(answer))
		end
	end)

	it("carries the last challenge, decoded", function()
		local _, answer = exchange({ "334 " .. b64 "Who?", "334 " .. b64 "And?", "535 no" }, as { mechanism = "LOGIN" })
		assert.equal("And?", answer.challenge)
	end)

	-- A server that lets us in before it has proved what the mechanism makes it prove.
	local early = {
		{ "SCRAM-SHA-256", {}, "server did not prove its identity" },
		{ "DIGEST-MD5", {}, "server did not prove its identity" },
		{ "CRAM-MD5", {}, "CRAM-MD5 ended early" },
		{ "LOGIN", {}, "LOGIN ended early" },
		{ "LOGIN", { "334 " .. b64 "Who?" }, "LOGIN ended early" },
		{ "PLAIN", {}, "PLAIN ended early", { initial_response = false } },
		{ "PLAIN", {}, "PLAIN ended early", { password = ("p"):rep(600) } },
		{ "CRAM-MD5", {}, "CRAM-MD5 ended early", { initial_response = "junk" } },
	}
	for _, case in ipairs(early) do
		it(("of 235 is too early after %d challenges of %s"):format(#case[2], case[1]), function()
			local answers = table.move(case[2], 1, #case[2], 1, {})
			answers[#answers + 1] = "235 2.7.0 come in"
			local _, err = failing("SASL", answers, as(peer.laid({ mechanism = case[1] }, case[4])))
			assert.equal("AUTH: " .. case[3], tostring(err))
			assert.equal(235, err.reply.code)
			assert.is_false(err.session.authenticated)
			assert.equal(5, err.status)
		end)
	end

	it("of 235 to a `*` lets nobody in", function()
		local _, err = failing("SASL", { "334 ", "235 whatever" },
			as { mechanism = "PLAIN", initial_response = false, on_challenge = function() return nil end })
		assert.is_false(err.session.authenticated)
	end)
end)

describe("on_challenge", function()
	it("sees the challenge, the mechanism's response and the step", function()
		local calls = {}
		local seen = exchange({ "334 " .. b64 "Who?", "334 " .. b64 "And?", "235 ok" }, as { mechanism = "LOGIN",
			on_challenge = function(...)
				calls[#calls + 1] = { ... }
				return (select(2, ...))
			end })
		assert.same({ { "Who?", "alice", 1 }, { "And?", "secret", 2 } }, calls)
		assert.same({ "AUTH LOGIN", b64 "alice", b64 "secret" }, seen)
	end)

	it("sees an empty response of the mechanism as one", function()
		local responses = {}
		peer.with(function(c) c:auth { mechanisms = "DIGEST-MD5" } end, function(s)
			local answer = s:auth(as { mechanism = "DIGEST-MD5", on_challenge = function(_, response)
				responses[#responses + 1] = response
				return response
			end })
			assert.equal(235, answer.code)
		end)
		assert.equal(2, #responses)
		assert.equal("", responses[2])
	end)

	it("sends other bytes", function()
		local seen, answer = exchange({ "334 " .. b64 "Who?", "334 " .. b64 "And?", "235 ok" }, as { mechanism = "LOGIN",
			on_challenge = function(_, response, step)
				assert.equal(step == 1 and "alice" or nil, response)
				return "\0\1\2" .. step
			end })
		assert.same({ "AUTH LOGIN", base64.encode "\0\1\0021", base64.encode "\0\1\0022" }, seen)
		assert.equal(235, answer.code)
	end)

	it("cancels with nil, and the reply to that is the final one", function()
		local seen, answer = exchange({ "334 " .. b64 "Who?", "501 5.7.0 canceled" }, as { mechanism = "LOGIN",
			on_challenge = function() return nil end })
		assert.same({ "AUTH LOGIN", "*" }, seen)
		assert.equal("501 5.7.0 canceled", tostring(answer))
		assert.equal("Who?", answer.challenge)
	end)

	it("is asked no more when the server goes on after the cancel", function()
		local seen, answer = exchange({ "334 " .. b64 "Who?", "334 " .. b64 "And?" }, as { mechanism = "LOGIN",
			on_challenge = function() return nil end })
		assert.same({ "AUTH LOGIN", "*" }, seen)
		assert.equal(334, answer.code)
	end)

	it("answers what the mechanism could not", function()
		local seen, answer = exchange({ "334 " .. b64 "r=nothing", "235 ok" }, as { mechanism = "SCRAM-SHA-256",
			on_challenge = function(_, response)
				assert.is_nil(response)
				return "c=biws"
			end })
		assert.equal(b64 "c=biws", seen[2])
		assert.equal(235, answer.code)
	end)

	it("must give a string or nil", function()
		scripted({ "334 " }, function(s)
			assert.matches("bad result of on_challenge %(string or nil expected, got number%)",
				complaint(s.auth, s, as { mechanism = "LOGIN", on_challenge = function() return 5 end }))
		end)
	end)
end)

describe("an option of the SASL library", function()
	local function notes(options)
		local texts = {}
		peer.with(function(c) c:reply "235 ok" end, function(s)
			s:on(function(e) if e.event == "auth" and e.text then texts[#texts + 1] = e.mechanism .. ": " .. e.text end end)
			s:auth(as { mechanism = "PLAIN LOGIN", sasl_options = options })
		end)
		return texts
	end

	it("that has no effect is noted, by name and without what it was", function()
		assert.same({ "PLAIN: the option mech_list has no effect: the SASL library did not ask for it",
			"PLAIN: the option reauth_timeout has no effect: the SASL library did not ask for it" },
			notes { reauth_timeout = "5", mech_list = "PLAIN", client_mech_list = "PLAIN" })
	end)

	it("that has one is not noted", function()
		assert.same({}, notes { client_mech_list = "PLAIN" })
		assert.same({}, notes())
	end)
end)

-- ---------------------------------------------------------------- choosing

describe("without a mechanism, auth", function()
	it("takes the next one when one fails before anything was sent", function()
		local skipped = {}
		local client = peer.with(function(c)
			c:capabilities "AUTH GSSAPI PLAIN"
			c:auth { mechanisms = "PLAIN" }
		end, function(s)
			s:ehlo()
			s:on(function(e) if e.skipped then skipped[#skipped + 1] = e end end)
			assert.equal(235, s:auth(as { sasl_options = { } }).code)
			assert.equal("PLAIN", s.mechanism)
		end)
		assert.equal(2, #client.seen)
		if skipped[1] then
			assert.equal("GSSAPI", skipped[1].mechanism)
			assert.is_string(skipped[1].skipped)
		end
	end)

	it("does not take the next one when the server refused", function()
		peer.with(function(c)
			c:capabilities "AUTH SCRAM-SHA-256 PLAIN"
			c:reply "535 no"
			c:rest()
		end, function(s, c)
			s:ehlo()
			assert.equal(535, s:auth(ALICE).code)
			assert.equal(2, #c.seen)
		end)
	end)

	it("is NOMECH where the server offers none, or none that is known", function()
		for _, capability in ipairs { "SIZE", "AUTH", "AUTH NOSUCH OTHER" } do
			peer.with(function(c)
				c:capabilities(capability)
				assert.equal("", c:rest())
			end, function(s)
				s:ehlo()
				local err = peer.failure("NOMECH", s.auth, s, ALICE)
				assert.equal("AUTH: no mechanism available", tostring(err))
			end)
		end
	end)

	it("is NOMECH for an empty name, too", function()
		assert.same({}, (failing("NOMECH", {}, as { mechanism = "" })))
	end)
end)

describe("the options of auth", function()
	it("are known, and of the right kind", function()
		local s <close> = peer.pair()
		assert.matches("^t/auth_spec%.lua:%d+: unknown option 'mechansim' %(did you mean 'mechanism'%?%)",
			complaint(function() local a = s:auth { mechansim = "PLAIN" } return a end))
		assert.matches("^t/auth_spec%.lua:%d+: option 'on_challenge': expected function, got a string",
			complaint(function() local a = s:auth { on_challenge = "x" } return a end))
		assert.matches("option 'authname': expected a string", complaint(s.auth, s, { authname = 5 }))
		assert.matches("unknown option 'host'", complaint(s.auth, s, { host = "x" }))
	end)

	it("need no advertisement: nothing is refused on protocol grounds", function()
		local seen = exchange({ "503 EHLO first" }, as { mechanism = "PLAIN" })
		assert.equal(1, #seen)
	end)
end)

describe("over LMTP, auth", function()
	it("is for the service lmtp", function()
		peer.with(function(c)
			c:auth { mechanisms = "DIGEST-MD5", service = "lmtp" }
		end, function(s, c)
			assert.equal(235, s:auth(as { mechanism = "DIGEST-MD5" }).code)
			assert.matches('digest%-uri="lmtp/localhost"', base64.decode(c.seen[2]))
		end, { protocol = "lmtp" })
	end)
end)

describe("EXTERNAL", function()
	it("takes the name from the certificate that this handshake used", function()
		local certificate, key = cert.self_signed { name = "client.test", names = { "DNS:client.test" } }
		local path = run.file("client.pem", certificate .. key)
		peer.with(function(c)
			c:tls { verify_client = true }
			c:reply "235 hello"
		end, function(s, c)
			s:handshake { certfile = path, keyfile = path }
			assert.equal(235, s:auth { mechanism = "EXTERNAL" }.code)
			assert.matches("^AUTH EXTERNAL", c.seen[1])
		end)
	end)
end)
