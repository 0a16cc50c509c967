-- No password in any output: support/run.lua looks at every run of the program in this suite; this says that it can
-- see one, and plays sessions of every kind with a password that is nobody's word.

local base64 = require "smtptest.base64"
local leak = require "support.leak"
local run = require "support.run"
local server = require "smtptest.server"

local PASSWORD = "Xyzzy-plugh-9"

describe("support.leak", function()
	it("finds a password in each form", function()
		for _, text in ipairs {
			"failure: secret", "a:secret\n", base64.encode "secret", "AUTH PLAIN " .. base64.encode "\0alice\0secret",
			base64.encode "secret!", base64.encode "\0bob\0s3cret-Pass", "[s3cret-Pass]",
		} do
			assert.is_string((leak.find(text)), text)
		end
	end)

	it("does not take our own words for one", function()
		for _, text in ipairs { "--hide-secrets", "no secrets here", "", "AUTH PLAIN <16 bytes hidden>" } do
			assert.is_nil(leak.find(text))
		end
	end)

	it("raises for a program that shows one", function()
		assert.has_error(function() leak.check({ "-v" }, { err = "failure: secret", out = "" }) end)
		assert.has_error(function() leak.check({ "--hide-secrets" }, { err = "", out = base64.encode "secret" }) end)
		leak.check({}, { err = "", out = base64.encode "secret" })
	end)
end)

local function play(flags, plan, password)
	local all = { sasl = { users = { alice = PASSWORD } } }
	for name, value in pairs(plan or {}) do all[name] = value end
	local self <close> = server.listen(all)
	self:start()
	local words = { "-p", tostring(self.port), "-a", "alice", "-w", password or PASSWORD, "--hide-secrets", "--strict",
		"--timeout=10", "127.0.0.1", table.unpack(flags) }
	local result = run.command(words, { stdin = "NOOP\n" })
	for _, text in ipairs { result.out, result.err } do
		assert.is_nil((leak.find(text, { PASSWORD, "not-" .. PASSWORD })), text)
	end
	return result
end

describe("a session", function()
	for _, mechanism in ipairs { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256" } do
		it("shows no password, good or bad: " .. mechanism, function()
			assert.equal(0, play({ "-m", mechanism, "--trace", "--explain", "--times", "-v" }).status)
			assert.equal(0, play({ "-m", mechanism, "-t", "", "--trace", "--explain", "-v" }, { tls = "starttls" }).status)
			assert.equal(5, play({ "-m", mechanism, "--trace", "--explain" }, nil, "not-" .. PASSWORD).status)
		end)
	end

	it("shows no password in what fails", function()
		assert.equal(5, play({ "-m", "PLAIN" }, { on = { auth = function() return 454, "4.7.0 later" end } }).status)
		assert.equal(3, play({ "-m", "PLAIN" }, { on = { auth = function() return false end } }).status)
		assert.equal(70, play { "-m", "PLAIN", "-e", 'local s = require "smtptest".open() error(tostring(s.transcript))' }
			.status)
		assert.equal(6, play { "-m", "PLAIN", "-e", 'require "smtptest".open():command("FOO"):expect(250)' }.status)
		assert.equal(1, play({ "-m", "PLAIN", "-n", "none" }).status)
	end)

	it("shows no password of a server's", function()
		for _, flag in ipairs { "--trace", "-v" } do
			local result = run.command({ "--serve", flag, "-a", "alice", "-w", PASSWORD, "-e", [[
				local server = ...
				server:start()
				local s = require "smtptest".open { host = "127.0.0.1", port = server.port, mechanism = "LOGIN",
					authname = "alice", password = require "smtptest".options.password }
				local ok, err = pcall(s.command, s, "FOO\r\n")
				print(s.transcript, err)
			]] })
			assert.equal(0, result.status, result.err)
			assert.matches("hidden>", result.out)
			for _, text in ipairs { result.out, result.err } do assert.is_nil((leak.find(text, { PASSWORD }))) end
		end
	end)
end)
