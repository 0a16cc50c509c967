--- written: what a session writes into the file that a field of its plan names.

local peer = require "support.peer"
local run = require "support.run"
local server = require "smtptest.server"
local sink = require "smtptest.sink"
local smtptest = require "smtptest"

local written = {}

--- The password of alice.
written.PASSWORD = "wonderland"

--- Runs fn(session) on a session with a server of ours, which has STARTTLS and knows alice.
-- @param field  "log" or "record"
-- @param plan   of the session, over what it needs
-- @return path of the file, which is closed; server
function written.session(field, plan, fn)
	written.count = (written.count or 0) + 1
	local path = run.scratch(("%s-%d"):format(field, written.count))
	local self <close> = server.listen { tls = "starttls", sasl = { users = { alice = written.PASSWORD } } }
	self:start()
	do
		local s <close> = smtptest.connect(peer.laid({ host = "127.0.0.1", port = self.port, timeout = 20, [field] = path,
			authname = "alice", auth = false }, plan))
		fn(s)
	end
	assert(not sink.close_all())
	return path, self
end

return written
