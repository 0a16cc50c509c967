-- The examples and Sendmail.

local daemon = require "support.daemon"
local example = require "support.example"
local sendmail = require "support.sendmail"

describe("with Sendmail, the example", function()
	local why = daemon.missing "sendmail"
	if why then return pending("finds what is right and wrong: " .. why) end

	local server

	setup(function() server = sendmail.start() end)

	teardown(function() server:stop() end)

	local function words(...)
		return { "-p", tostring(server.port), "-a", "alice", "-w", "secret", "--from=alice@peer.test", "--to=bob@peer.test",
			"localhost", ... }
	end

	it("message.lua sends a message inside a layer of SASL", function()
		local out = example.content("message", { "-m", "DIGEST-MD5", table.unpack(words()) })
		assert.is_truthy(out:find "^250 2%.0%.0 %w+ Message accepted for delivery\n$", out)
		assert.is_truthy(server:take "mail":find("\nSubject: Hello from smtptest\n", 1, true))
	end)

	it("rfc5321.lua finds nothing wrong", function()
		assert.are.equal(26, #example.lines(example.content("rfc5321", words()), "ok"))
	end)

	it("extensions.lua finds that SIZE need not be a number", function()
		local out = example.complains("extensions", words())
		assert.are.same({ "3 - RFC 1870 SIZE: a size that is no number" }, example.lines(out, "not ok"))
	end)

	it("authmatrix.lua finds that it hangs up on a long response", function()
		local out = example.complains("authmatrix", words())
		assert.are.equal(4 * #sendmail.mechanisms, #example.lines(out, "ok"), out)
		for _, line in ipairs(example.lines(out, "not ok")) do assert.is_truthy(line:find "^%S+ +oversized ", out) end
	end)

	it("injection.lua sees the injected command dropped", function()
		assert.are.equal("dropped: NOOP under TLS got 250 2.0.0 OK\n", example.content("injection", words()))
	end)

	it("smuggling.lua sees it refuse bare CR and LF", function()
		local out = example.content("smuggling", words())
		assert.is_truthy(out:find("ok     \\n.\\n                1: 421 4.5.0 Bare linefeed (LF) not allowed\n", 1, true), out)
	end)

	it("pipelining.lua gets the same replies in every way, inside a layer of SASL, too", function()
		assert.are.equal(5, #example.lines(example.content("pipelining", words()), "ok"))
		assert.are.equal(5, #example.lines(example.content("pipelining", { "-m", "DIGEST-MD5", table.unpack(words()) }), "ok"))
	end)

	it("limits.lua is told that a long line is an attack", function()
		local out = example.content("limits", words())
		assert.is_truthy(out:find("ok     command lines of 2048 octets, then, twice as long: 421 4.7.0 ", 1, true), out)
	end)

	it("bdat.lua does not find CHUNKING", function()
		assert.are.equal("CHUNKING is not offered\n", example.complains("bdat", words()))
	end)
end)
