-- A server and a client of it, under TLS, authenticated: what t/host.c runs. The chunk gives a task; the task's result
-- is a table.
local mechanism = ...
local smtptest = require "smtptest"
local task = smtptest.task

return task.spawn(function()
	local server <close> = smtptest.listen {
		tls = "starttls",
		sasl = { users = { alice = "secret" }, mechanisms = { "SCRAM-SHA-256", "DIGEST-MD5", "CRAM-MD5", "PLAIN" } },
	}
	server:start()
	local s <close> = smtptest.open {
		host = "localhost", family = "inet", port = server.port, tls = "starttls", timeout = 60,
		mechanism = mechanism, authname = "alice", password = "secret", maxssf = 512,
	}
	s:mail "a@x.test":expect(250)
	s:rcpt "b@y.test":expect(250)
	s:data "Subject: x\r\n\r\nhello\r\n":expect(250)
	local message = assert(server:wait(1, 60))[1]
	task.sleep(0.001)
	s:quit():expect(221)
	return { protocol = s.tls.protocol, mechanism = s.mechanism, ssf = s.ssf, user = message.auth, bytes = #message.data }
end)
