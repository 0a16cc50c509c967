local handlers = require "smtptest.handlers"
local peer = require "support.peer"
local smtptest = require "smtptest"

local complaint = peer.complaint

describe("the handlers of a server", function()
	it("may be given, written and taken away", function()
		local given = { mail = print }
		local on = handlers.new(given, 1)
		assert.equal(print, on.mail)
		on.rcpt, on.mail = error, nil
		assert.is_nil(on.mail)
		local seen = {}
		for name, fn in pairs(on) do seen[name] = fn end
		assert.same({ rcpt = error }, seen)
		given.data = assert
		assert.equal(assert, on.data)
		assert.is_nil(handlers.new(nil, 1).mail)
	end)

	it("are refused where they are written: an unknown name, and what is no function", function()
		local server <close> = smtptest.listen {}
		local unknown = "^%S*handlers_spec%.lua:%d+: unknown handler 'mial' %(did you mean 'mail'%?%)$"
		assert.matches(unknown, complaint(function() server.on.mial = print end))
		assert.matches(unknown, complaint(function() server.on.mial = nil end))
		assert.matches(unknown, complaint(function() smtptest.listen { on = { mial = print } } end))
		for _ = 1, 2 do
			assert.matches("^%S*handlers_spec%.lua:%d+: handler 'mail': expected a function, got a number$",
				complaint(function() server.on.mail = 550 end))
			server.on.mail = print
		end
		assert.matches("^%S*handlers_spec%.lua:%d+: unknown handler '1'$", complaint(function() server.on[1] = print end))
	end)
end)

describe("smtptest.listen", function()
	it("blames the line that called it", function()
		assert.matches("^%S*handlers_spec%.lua:%d+: unknown option 'tsl' %(did you mean 'tls'%?%)$",
			complaint(function() smtptest.listen { tsl = "starttls" } end))
	end)

	it("says whose option is unknown, and which there are", function()
		assert.matches("^%S*handlers_spec%.lua:%d+: unknown option 'alice' of sasl %(maxssf, mechanisms, minssf, options, "
			.. "realm, users%)$", complaint(function() smtptest.listen { sasl = { alice = "x" } } end))
	end)
end)
