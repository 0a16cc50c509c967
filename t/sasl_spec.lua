local base64 = require "smtptest.base64"
local core = require "smtptest.core.sasl"
local login = require "support.login"
local peer = require "support.peer"
local sasl = require "smtptest.sasl"

local ALICE, as, b64 = login.ALICE, login.as, login.b64
local scripted, exchange, failing = login.scripted, login.exchange, login.failing

local installed = core.mechanisms
after_each(function()
	core.mechanisms = installed
	for name in pairs(sasl.mechanisms) do sasl.mechanisms[name] = nil end
end)

-- As if the Cyrus library had only these.
local function only(...)
	local names = { ... }
	core.mechanisms = function() return names end
end

describe("a mechanism of the script's", function()
	it("answers challenges until it is done", function()
		local challenges = {}
		sasl.mechanisms["X-TEST"] = function(credentials)
			return function(challenge)
				challenges[#challenges + 1] = challenge or "none"
				if not challenge then return nil end
				return challenge .. credentials.password, challenge == "b"
			end
		end
		local seen, answer = exchange({ "334 " .. b64 "a", "334 " .. b64 "b", "235 ok" }, as { mechanism = "x-test" })
		assert.same({ "AUTH X-TEST", b64 "asecret", b64 "bsecret" }, seen)
		assert.same({ "none", "a", "b" }, challenges)
		assert.equal(235, answer.code)
	end)

	it("may have an initial response, an empty one too", function()
		for bytes, wire in pairs { hello = b64 "hello", [""] = "=", ["\0"] = "AA==" } do
			sasl.mechanisms["X-TEST"] = function() return function() return bytes, true end end
			local seen, answer = exchange({ "235 ok" }, as { mechanism = "X-TEST" })
			assert.same({ "AUTH X-TEST " .. wire }, seen)
			assert.equal(235, answer.code)
		end
	end)

	it("has its initial response held back where told so, or where it is too long", function()
		for _, case in ipairs { { "hello", false }, { ("x"):rep(600), nil } } do
			sasl.mechanisms["X-TEST"] = function() return function() return case[1], true end end
			local seen, answer = exchange({ "334 ", "235 ok" }, as { mechanism = "X-TEST", initial_response = case[2] })
			assert.same({ "AUTH X-TEST", b64(case[1]) }, seen)
			assert.equal(235, answer.code)
		end
	end)

	it("that still holds its initial response back is not done", function()
		sasl.mechanisms["X-TEST"] = function() return function() return "hello", true end end
		local _, err = failing("SASL", { "235 come in" }, as { mechanism = "X-TEST", initial_response = false })
		assert.equal("AUTH: X-TEST ended early", tostring(err))
	end)

	it("that is not done when 235 comes ended early", function()
		sasl.mechanisms["X-TEST"] = function() return function() return "hello" end end
		local _, err = failing("SASL", { "235 come in" }, as { mechanism = "X-TEST" })
		assert.equal("AUTH: X-TEST ended early", tostring(err))
		assert.is_false(err.session.authenticated)
	end)

	it("says with a raised string why it cancels", function()
		sasl.mechanisms["X-TEST"] = function()
			return function(challenge)
				if challenge then error("the moon is in the wrong phase", 0) end
			end
		end
		local seen, err = failing("SASL", { "334 " .. b64 "a", "501 canceled" }, as { mechanism = "X-TEST" })
		assert.same({ "AUTH X-TEST", "*" }, seen)
		assert.equal("AUTH: the moon is in the wrong phase", tostring(err))
		assert.equal(501, err.reply.code)
		assert.equal(5, err.status)
	end)

	it("that raises at once sends nothing, and the next one is taken", function()
		for _, broken in ipairs {
			function() error("no token", 0) end,
			function() return function() error("no token", 0) end end,
		} do
			sasl.mechanisms["X-TEST"] = broken
			local seen, err = failing("SASL", {}, as { mechanism = "X-TEST" })
			assert.same({}, seen)
			assert.equal("AUTH: no token", tostring(err))
			local skipped
			local client = peer.with(function(c)
				c:capabilities "AUTH X-TEST PLAIN"
				c:auth { mechanisms = "PLAIN" }
			end, function(s)
				s:ehlo()
				s:on(function(e) skipped = e.skipped and e or skipped end)
				assert.equal(235, s:auth(ALICE).code)
			end)
			assert.matches("^AUTH PLAIN ", client.seen[2])
			assert.equal("X-TEST", skipped.mechanism)
			assert.equal("no token", skipped.skipped)
		end
	end)

	it("that fails is the reason, not that nothing else is there", function()
		sasl.mechanisms["X-TEST"] = function() error("no token", 0) end
		local _, err = failing("SASL", {}, as { mechanism = "X-TEST NOSUCH" })
		assert.equal("AUTH: no token", tostring(err))
	end)

	it("that is no function, or gives no string, is told as what it is", function()
		sasl.mechanisms["X-TEST"] = function() return "no function" end
		local _, err = failing("SASL", {}, as { mechanism = "X-TEST" })
		assert.equal("AUTH: mechanism X-TEST is no function that gives one", tostring(err))
		sasl.mechanisms["X-TEST"] = function() return function() return 5 end end
		peer.with(function(c) assert.equal("", c:rest()) end, function(s)
			local ok, message = pcall(s.auth, s, as { mechanism = "X-TEST" })
			assert.is_false(ok)
			assert.equal("mechanism X-TEST: string or nil expected, got number", message)
		end)
	end)

	it("wins over the Cyrus library's, and is the first choice", function()
		sasl.mechanisms.PLAIN = function() return function() return "mine", true end end
		local client = peer.with(function(c)
			c:capabilities "AUTH SCRAM-SHA-256 PLAIN"
			c:reply "235 ok"
		end, function(s)
			s:ehlo()
			assert.equal(235, s:auth(ALICE).code)
			assert.equal("PLAIN", s.mechanism)
		end)
		assert.equal("AUTH PLAIN " .. b64 "mine", client.seen[2])
	end)

	it("gets its credentials, each when it reads it", function()
		local got, calls = {}, {}
		sasl.mechanisms["X-TEST"] = function(credentials)
			return function(challenge)
				if not challenge then return nil end
				for _, name in ipairs { "authname", "username", "password", "realm", "host", "port", "service" } do
					got[name] = credentials[name]
				end
				assert(credentials.nosuch == nil)
				assert(credentials.password == "called")
				return "", true
			end
		end
		exchange({ "334 ", "235 ok" }, { mechanism = "X-TEST", authname = "alice", username = "bob", realm = function()
			calls[#calls + 1] = "realm"
			return "r.test"
		end, password = function()
			calls[#calls + 1] = "password"
			return "called"
		end }, { host = "mail.test", port = 2525 })
		assert.same({ authname = "alice", username = "bob", password = "called", realm = "r.test", host = "mail.test",
			port = 2525, service = "smtp" }, got)
		assert.same({ "password", "realm" }, calls)
		exchange({ "504 no" }, { mechanism = "X-TEST", authname = "alice", password = function() error "asked" end })
	end)

	it("that needs what nobody knows is INTERACT", function()
		sasl.mechanisms["X-TEST"] = function(credentials)
			return function(challenge) return challenge and credentials.password end
		end
		local seen, err = failing("INTERACT", { "334 ", "501 canceled" }, { mechanism = "X-TEST", authname = "alice" })
		assert.same({ "AUTH X-TEST", "*" }, seen)
		assert.equal("password", err.prompts[1].id)
		assert.equal("no password given", tostring(err))
	end)

	it("sees the channel binding under TLS", function()
		local binding
		sasl.mechanisms["X-TEST"] = function(credentials)
			binding = credentials.channel_binding
			return function() return "", true end
		end
		peer.with(function(c)
			c:tls()
			c:reply "235 ok"
		end, function(s, c)
			s:handshake()
			s:auth(as { mechanism = "X-TEST" })
			assert.equal("tls-exporter", binding.type)
			assert.equal(c.machine:channel_binding "tls-exporter", binding.data)
		end)
		exchange({ "235 ok" }, as { mechanism = "X-TEST" })
		assert.is_nil(binding)
	end)

	it("that gives nothing at a step gives an empty line, for on_challenge too", function()
		sasl.mechanisms["X-TEST"] = function() return function() return nil, true end end
		local seen = exchange({ "334 ", "235 ok" }, as { mechanism = "X-TEST" })
		assert.same({ "AUTH X-TEST", "" }, seen)
		exchange({ "334 ", "235 ok" }, as { mechanism = "X-TEST", on_challenge = function(_, response)
			assert.equal("", response)
			return response
		end })
	end)

	it("has no security layer", function()
		sasl.mechanisms["X-TEST"] = function() return function() return "", true end end
		scripted({ "235 ok" }, function(s)
			s:auth(as { mechanism = "X-TEST" })
			assert.equal(0, s.ssf)
			assert.same({}, s.transport.layers)
		end)
	end)
end)

describe("the shipped LOGIN", function()
	it("is used where the Cyrus library has none", function()
		only "PLAIN"
		local asked = false
		local seen, answer = exchange({ "334 " .. b64 "Who?", "334 " .. b64 "And?", "235 ok" }, { mechanism = "LOGIN",
			authname = "alice", password = function()
				asked = true
				return "secret"
			end })
		assert.same({ "AUTH LOGIN", b64 "alice", b64 "secret" }, seen)
		assert.equal(235, answer.code)
		assert.is_true(asked)
	end)

	it("gives up at an empty second challenge and at a third", function()
		only "PLAIN"
		local seen = failing("SASL", { "334 " .. b64 "Who?", "334 ", "501 canceled" }, as { mechanism = "LOGIN" })
		assert.same({ "AUTH LOGIN", b64 "alice", "*" }, seen)
		local third, err = failing("SASL", { "334 ", "334 " .. b64 "And?", "334 " .. b64 "More?", "501 canceled" },
			as { mechanism = "LOGIN" })
		assert.equal("*", third[4])
		assert.matches("more than a name and a password", tostring(err))
	end)

	it("is no use for another's name or a demand of strength", function()
		only "NOSUCH"
		assert.same({}, (failing("NOMECH", {}, as { mechanism = "LOGIN", username = "bob" })))
		assert.same({}, (failing("NOMECH", {}, as { mechanism = "LOGIN", minssf = 1 })))
	end)
end)

describe("the shipped XOAUTH2", function()
	it("sends name and token, and answers the server's complaint with an empty line", function()
		local seen, answer = exchange({ "334 " .. b64 '{"status":"400"}', "535 no" },
			{ mechanism = "XOAUTH2", authname = "a@b.test", password = "token" })
		assert.same({ "AUTH XOAUTH2 " .. b64 "user=a@b.test\1auth=Bearer token\1\1", "" }, seen)
		assert.equal(535, answer.code)
		assert.equal('{"status":"400"}', answer.challenge)
	end)

	it("is not taken unless it is named: its password is no password", function()
		peer.with(function(c)
			c:capabilities "AUTH XOAUTH2 OAUTHBEARER"
			assert.equal("", c:rest())
		end, function(s)
			s:ehlo()
			peer.failure("NOMECH", s.auth, s, ALICE)
		end)
	end)
end)

describe("the shipped OAUTHBEARER", function()
	it("sends name, host, port and token, and answers a complaint with one byte", function()
		local seen = exchange({ "334 " .. b64 "{}", "535 no" },
			{ mechanism = "OAUTHBEARER", authname = "a=b,c@d.test", password = "token" }, { host = "mail.test", port = 587 })
		assert.same({ "AUTH OAUTHBEARER " .. b64 "n,a=a=3Db=2Cc@d.test,\1host=mail.test\1port=587\1auth=Bearer token\1\1",
			b64 "\1" }, seen)
	end)

	it("names another one where asked to", function()
		local seen = exchange({ "235 ok" }, { mechanism = "OAUTHBEARER", authname = "a", username = "bob", password = "t" })
		assert.matches("^n,a=bob,", base64.decode((seen[1]:match " (%S+)$")))
	end)
end)

describe("an option without effect", function()
	it("is told with what the SASL library has got instead, where it asks only once", function()
		local connection = { ignored = function()
			return { { name = "x", once = true }, { name = "keytab", once = true, value = "/a" }, { name = "b", once = false } }
		end }
		assert.same({ "the option b has no effect: the SASL library did not ask for it",
			'the option keytab has no effect: the SASL library asks for it once in a process, and has got "/a"',
			"the option x has no effect: the SASL library asks for it once in a process, and has got no answer" },
			sasl.ignored(connection))
	end)
end)
