--- visit: sessions with a server of our own, both in this process' loop.

local peer = require "support.peer"
local server = require "smtptest.server"
local smtptest = require "smtptest"

local visit = {}

-- What hangs is a failure, whatever the speed of the machine.
local LIMIT = 20

--- Runs body(server, connect) beside a started server, which is stopped then; connect(changes) gives a session with it.
-- @param plan  of smtptest.listen
function visit.beside(plan, body)
	local self <close> = server.listen(plan)
	self:start()
	body(self, function(changes)
		return smtptest.connect(peer.laid({ host = "127.0.0.1", port = self.port, timeout = LIMIT }, changes))
	end)
	self:stop()
end

--- The same with one session, whose greeting is read: body(session, server).
-- @param changes  of its plan, or nil
function visit.connected(plan, body, changes)
	visit.beside(plan, function(self, connect)
		local s <close> = connect(changes)
		body(s, self)
	end)
end

--- The same after EHLO, or LHLO where the server speaks LMTP.
function visit.introduced(plan, body)
	visit.connected(plan, function(s, self)
		s:hello()
		body(s, self)
	end, { protocol = plan.protocol })
end

--- Sends a message.
-- @param options  of session:data
-- @return the reply to its end, a list of them in LMTP
function visit.deliver(s, body, options)
	s:mail("a@client.test"):expect(250)
	s:rcpt("b@server.test"):expect(250)
	return s:data(body, options)
end

return visit
