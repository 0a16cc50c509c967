-- Postfix's smtp(8) and lmtp(8), which relay all their mail to our server.

local daemon = require "support.daemon"
local letter = require "support.letter"
local postfix = require "support.postfix"
local server = require "smtptest.server"

local LIMIT = 30

describe("Postfix as a relay", function()
	local why = daemon.missing "postfix"
	if why then return pending("delivers mail to our server: " .. why) end

	local FROM, TO = "alice@client.test", "bob@server.test"
	local text = letter.new(FROM, TO)

	-- Runs Postfix against a server, injects the letter, and gives the message that came.
	local function relayed(plan, options, body)
		local self <close> = server.listen(plan)
		self:start()
		options.port = self.port
		local relay = postfix.relay(options)
		local ok, err = pcall(function()
			relay:inject(FROM, options.to or TO, (text:gsub("\r\n", "\n")))
			body(self, relay)
		end)
		relay:stop()
		self:stop()
		if not ok then error(err, 0) end
	end

	local function arrives(self, relay)
		local list = assert(self:wait(1, LIMIT))
		assert.equal("sent", (relay:outcome(TO)))
		local message = list[1]
		assert.equal(FROM, message.from.address)
		assert.equal(TO, message.to[1].address)
		letter.arrived(text, (message.data:gsub("\r\n", "\n")))
		return message
	end

	it("delivers in clear, unchanged", function()
		relayed({}, {}, function(self, relay)
			local message = arrives(self, relay)
			assert.equal("ESMTP", message.with)
			assert.is_true(tonumber(message.from.params.SIZE) > 100000)
		end)
	end)

	it("delivers by LMTP, one reply for each recipient", function()
		local plan = { protocol = "lmtp", on = { data = function(_, _, to)
			if to.address == "full@server.test" then return 552, "5.2.2 full" end
		end } }
		relayed(plan, { protocol = "lmtp", to = { TO, "full@server.test" } }, function(self, relay)
			local message = assert(self:wait(1, LIMIT))[1]
			assert.equal(1, #message.to)
			assert.equal(TO, message.to[1].address)
			assert.equal("sent", (relay:outcome(TO)))
			local status, reason = relay:outcome "full@server.test"
			assert.equal("bounced", status)
			assert.matches("5.2.2 full", reason, 1, true)
		end)
	end)

	for _, mechanism in ipairs { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512" } do
		it("logs in with " .. mechanism .. " under STARTTLS", function()
			local plan = { tls = "starttls", sasl = { users = { alice = "secret" } } }
			local options = { tls = "encrypt", username = "alice", password = "secret", mechanisms = mechanism }
			relayed(plan, options, function(self, relay)
				local message = arrives(self, relay)
				assert.equal("ESMTPSA", message.with)
				assert.equal("alice", message.auth)
				assert.equal(mechanism, message.mechanism)
			end)
		end)
	end

	it("is told that its password is wrong", function()
		local plan = { sasl = { users = { alice = "secret" }, mechanisms = "PLAIN" } }
		relayed(plan, { username = "alice", password = "wrong" }, function(self, relay)
			local status, reason = relay:outcome(TO)
			assert.equal("deferred", status)
			assert.matches("535 5.7.8 authentication failed", reason, 1, true)
			assert.equal(0, #self.messages)
		end)
	end)
end)
