-- One whole session, both ends in this process: EHLO, STARTTLS, AUTH with a layer inside TLS, a message, QUIT. What
-- t/alloc.c runs while an allocation fails; it knows nothing of that.
local smtptest = require "smtptest"
local cert = require "smtptest.core.cert"
local sasl = require "smtptest.core.sasl"
local tls = require "smtptest.core.tls"

local task, transport, base64 = smtptest.task, smtptest.transport, smtptest.base64

-- DIGEST-MD5 with integrity only, counted on top of TLS: to encrypt, libsasl's plug-in loads OpenSSL's old ciphers anew
-- for every connection and never lets go of them.
local LAYER, TLS = 1, 256

local BODY = (("x"):rep(998) .. "\r\n"):rep(50)

-- Longer than anything here takes: a time-out means that a wake-up got lost.
local SECONDS = 20

local function converse(peer)
	local function say(...)
		assert(peer:write(table.concat({ ... }, "\r\n") .. "\r\n"))
	end
	local function hear(pattern)
		local line = assert(peer:line())
		return assert(line:match("^" .. pattern .. "\r\n$"), line)
	end

	say "220 here"
	hear "EHLO smtptest"
	say("250-here", "250 STARTTLS")
	hear "STARTTLS"
	say "220 go"
	local certificate, key = cert.self_signed {}
	local context = assert(tls.context { server = true, cert = certificate, key = key })
	assert(peer:push(context:server {}))

	hear "EHLO smtptest"
	say("250-here", "250 AUTH DIGEST-MD5")
	hear "AUTH DIGEST%-MD5"
	local server = assert(sasl.server { users = { alice = "secret" }, maxssf = LAYER })
	local _, challenge, done = assert(server:start "DIGEST-MD5")
	while not done do
		say("334 " .. base64.encode(challenge))
		_, challenge, done = assert(server:step(assert(base64.decode(hear "(.*)"))))
	end
	say "235 welcome"
	assert(peer:push(server:layer()))

	hear "EHLO smtptest"
	say("250-here", "250 8BITMIME")
	hear "MAIL FROM:<a@b>"
	say "250 ok"
	hear "RCPT TO:<c@d>"
	say "250 ok"
	hear "DATA"
	say "354 go"
	local size, line = 0, nil
	repeat
		size = size + (line and #line or 0)
		line = assert(peer:line())
	until line == ".\r\n"
	say("250 " .. size)
	hear "QUIT"
	say "221 bye"
end

local function serve(peer, begun)
	local _ <close> = peer
	begun:set(true)
	converse(peer)
end

local function is(code, answer)
	assert(answer.code == code, answer)
	return answer
end

local function whole(near, far)
	local begun = task.promise()
	local server = task.spawn(serve, far, begun)
	assert(begun:wait())        -- from here on its failure closes the connection
	local session = smtptest.wrap(near, {
		tls = "starttls", authname = "alice", password = "secret", realm = "localhost", maxssf = TLS + LAYER,
		timeout = SECONDS,
	})
	is(220, session:reply(nil, "greeting"))
	is(250, session:ehlo())
	is(220, session:starttls())
	is(250, session:ehlo())
	is(235, session:auth())
	assert(session.ssf == LAYER)
	is(250, session:ehlo())
	is(250, session:mail "a@b")
	is(250, session:rcpt "c@d")
	local answer = is(250, session:data(BODY))
	assert(answer.text == tostring(#BODY), answer)
	is(221, session:quit())
	session:close()
	server:join()
end

task.run(whole, transport.pair())
