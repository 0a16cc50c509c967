-- The built program against servers that refuse, lie, or break the protocol: every reply is a reply, nothing hangs,
-- nothing is sent that should not be.

local base64 = require "smtptest.base64"
local scene = require "support.scene"

local PLAIN, START, AUTHED, BYE = scene.PLAIN, scene.START, scene.AUTHED, scene.BYE
local words = scene.words

-- ---------------------------------------------------------------- greetings

local function greeting(text, then_what)
	return function(c)
		c:send(text)
		if then_what then then_what(c) else c:gone() end
	end
end

local function from_ehlo(c)
	c:capabilities "AUTH PLAIN"
	c:reply "235 ok"
	c:serve()
end

local NO_GREETING = AUTHED:gsub("^[^\n]*\n", "")

scene.specs("a greeting", {
	{ "of 554 ends the session with its text", server = greeting "554 no service\r\n", status = 1,
		out = "S: 554 no service\n", err = "failure: greeting: 554 no service\n", seen = {} },
	{ "of 421 does so too", server = greeting "421-4.3.2 busy\r\n421 4.3.2 really\r\n", status = 1,
		out = "S: 421-4.3.2 busy\nS: 421 4.3.2 really\n",
		err = "failure: greeting: 421-4.3.2 busy / 421 4.3.2 really\n", seen = {} },
	{ "that refuses is a reply to --strict", argv = words(PLAIN, { "--strict" }), server = greeting "554 no\r\n",
		status = 6, err = "failure: greeting: 554 no\n" },
	{ "may have several lines", server = greeting("220-one\r\n220-two\r\n220 three\r\n", from_ehlo),
		out = "S: 220-one\nS: 220-two\nS: 220 three\n" .. NO_GREETING .. BYE },
	{ "may be a bare 220", server = greeting("220\r\n", from_ehlo), check = function(r)
		assert.are.equal("S: 220\r\n" .. scene.text(NO_GREETING .. BYE), r.out)
	end },
	{ "may end its lines with LF alone", server = greeting("220 x\n", from_ehlo), check = function(r)
		assert.are.equal("S: 220 x\n" .. scene.text(NO_GREETING .. BYE), r.out)
	end },
	{ "may come byte by byte", server = function(c)
		c.transport.wire.sock:option("nodelay", true)
		for byte in ("220 x\r\n"):gmatch "." do c:send(byte) end
		from_ehlo(c)
	end, out = "S: 220 x\n" .. NO_GREETING .. BYE },
	{ "may have 20,000 lines", server = greeting(("220-x\r\n"):rep(20000) .. "220 y\r\n", from_ehlo),
		has = "S: 220-x\r\nS: 220 y\r\nC: EHLO", out = ("S: 220-x\n"):rep(20000) .. "S: 220 y\n" .. NO_GREETING .. BYE },
	{ "that never ends is too long", server = function(c)
		c:send "220-"
		local piece = ("x"):rep(65536)
		for _ = 1, 20 do c:send(piece) end
		c:gone()
	end, status = 1, err = "failure: greeting: a line of more than 1048576 bytes\n", seen = {} },
	{ "of endless lines is too long as well", server = function(c)
		local piece = ("220-" .. ("x"):rep(60000) .. "\r\n"):rep(10)
		for _ = 1, 100 do c:send(piece) end
	end, status = 1, err = "failure: greeting: a reply of more than 16777216 bytes\n" },
	{ "that never comes, because the server closes, is told", server = function() end, status = 1, out = "",
		err = "failure: greeting: the server closed the connection\n" },
	{ "that never comes is a network failure to --strict", argv = words(PLAIN, { "--strict" }), server = function() end,
		status = 3, err = "failure: greeting: the server closed the connection\n" },
	{ "cut off by a reset is told", server = function(c)
		c:send "220-st"
		c.transport:abort()
	end, status = 1, err_has = "onnection reset by peer" },
	{ "of another protocol is shown", server = greeting "HTTP/1.1 400 Bad Request\r\n", status = 1,
		out = "S: HTTP/1.1 400 Bad Request\n", err = "failure: greeting: HTTP/1.1 400 Bad Request\n" },
	{ "with control characters is escaped in the failure, and as it is on stdout", server = greeting "554 \27[2J\0\r\n",
		status = 1, check = function(r) assert.are.equal("S: 554 \27[2J\0\r\n", r.out) end,
		err = "failure: greeting: 554 \\x1b[2J\\0\n" },
	{ "that is a TLS record is no reply", server = greeting "\21\3\3\0\2\2\10\n", status = 1,
		err_has = "failure: greeting: ", seen = {} },
})

-- ---------------------------------------------------------------- EHLO

local function ehlo(...)
	local lines = { ... }
	return function(c)
		c:send "220 stub ESMTP\r\n"
		c:line()
		c:list(table.unpack(lines))
		c:reply "235 ok"
		c:serve()
	end
end

local CHOOSE = { "-a", "alice", "-w", "secret" }
local NOMECH = "Authentication failed. no mechanism available\nSecurity strength factor: 0\n"
local TYPED = { "C: AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n", "Authenticated.\n" }

scene.specs("EHLO", {
	{ "that is refused is followed by HELO", argv = CHOOSE, server = function(c)
		c:send "220 stub ESMTP\r\n"
		c:reply "502 what?"
		c:reply "250 ok"
		c:serve()
	end, out = "S: 220 stub ESMTP\nC: EHLO smtptest\nS: 502 what?\nC: HELO smtptest\nS: 250 ok\n" .. NOMECH .. BYE,
		seen = { "EHLO smtptest", "HELO smtptest", "QUIT" } },
	{ "and HELO refused end the session", server = function(c)
		c:send "220 x\r\n"
		c:reply "502 what?"
		c:reply "502 no"
		c:gone()
	end, status = 1, err = "failure: HELO refused: 502 no\n", seen = { "EHLO smtptest", "HELO smtptest" } },
	{ "refused, then a close, is told", server = function(c)
		c:send "220 x\r\n"
		c:reply "502 what?"
	end, status = 1, err_has = "failure: HELO: " },
	{ "answered by 421 ends the session", server = function(c)
		c:send "220 x\r\n"
		c:reply "421 bye"
	end, status = 1, err = "failure: EHLO refused: 421 bye\n", seen = { "EHLO smtptest" } },
	{ "answered by lines of different codes is judged by the last", server = function(c)
		c:send "220 x\r\n"
		c:reply "250-AUTH PLAIN\r\n550 no"
		c:reply "421 bye"
	end, status = 1, err = "failure: HELO refused: 421 bye\n", seen = { "EHLO smtptest", "HELO smtptest" } },
	{ "knows the old AUTH=", argv = CHOOSE, server = ehlo("AUTH=PLAIN LOGIN", "HELP"), has = TYPED },
	{ "knows both forms together", argv = CHOOSE, server = ehlo("AUTH NOSUCH", "AUTH=PLAIN"), has = TYPED },
	{ "knows keywords in any case", argv = CHOOSE, server = ehlo("auth plain", "HELP"), has = TYPED },
	{ "is not misled by AUTH inside other words", argv = CHOOSE, server = function(c)
		c:welcome("X-AUTH PLAIN", "AUTHORITY PLAIN", "XAUTH=PLAIN")
		c:serve()
	end, has = NOMECH, seen = { "EHLO smtptest", "QUIT" } },
	{ "survives a line of 3,000 bytes", server = ehlo("X " .. ("y"):rep(3000), "AUTH PLAIN"), has = "Authenticated.\n" },
	{ "is not ended by a 250 at the 1023rd byte", argv = CHOOSE,
		server = ehlo("X " .. ("y"):rep(1014) .. "250 AUTH LOGIN", "AUTH PLAIN"), has = TYPED },
	{ "may list a thousand capabilities", argv = CHOOSE, server = function(c)
		c:send "220 x\r\n"
		c:line()
		c:send(("250-X-%s%n\r\n"):rep(1000) .. "250 AUTH PLAIN\r\n")
		c:reply "235 %s%n"
		c:serve()
	end, has = { "S: 250-X-%s%n\r\n", "S: 235 %s%n\r\n" } },
	{ "may be answered with bare LF", argv = CHOOSE, server = function(c)
		c:send "220 x\n"
		c:line()
		c:send "250-x\n250 AUTH PLAIN\n"
		c:line()
		c:send "235 ok\n"
		c:serve()
	end, has = "Authenticated.\n" },
	{ "may be answered with NUL", argv = CHOOSE, server = ehlo("X \0 AUTH LOGIN", "AUTH PLAIN"), has = TYPED },
})

-- ---------------------------------------------------------------- STARTTLS

local TLS = words(PLAIN, { "-t", "" })

local function starttls(answer, after)
	return function(c)
		c:welcome("STARTTLS", "AUTH PLAIN")
		c:reply(answer)
		if after then after(c) else c:gone() end
	end
end

local function refused(text)
	return { ("answered by '%s' is fatal, and nothing is sent in clear"):format(text), argv = TLS, status = 1,
		server = starttls(text), err = ("failure: STARTTLS refused: %s\n"):format(text:gsub("\r\n", " / ")),
		seen = { "EHLO smtptest", "STARTTLS" } }
end

local function inside(c)
	c:tls()
	c:capabilities "AUTH PLAIN"
	c:reply "235 ok"
	c:serve()
end

local INSIDE = { "EHLO smtptest", "STARTTLS", "EHLO smtptest", "AUTH PLAIN AGFsaWNlAHNlY3JldA==", "QUIT" }

scene.specs("STARTTLS", {
	refused "454 not now",
	refused "502 5.5.1 unknown",
	refused "250 ok",
	refused "454-not\r\n454 now",
	{ "not offered, but inside another word, is not sent", argv = TLS, status = 1, server = function(c)
		c:welcome("X-STARTTLS-NOT", "STARTTLSX", "AUTH PLAIN")
		c:gone()
	end, err = "failure: STARTTLS not supported by the server!\n\n", seen = { "EHLO smtptest" } },
	{ "in lower case is offered", argv = TLS, server = function(c)
		c:welcome("starttls", "AUTH PLAIN")
		c:reply "220 go"
		inside(c)
	end, has = "TLS connection established: TLSv1.3", seen = INSIDE },
	{ "and then plain text is no handshake", argv = TLS, status = 1, server = starttls("220 go", function(c)
		c.transport:read(4096)          -- sooner it would be text before the handshake, which is dropped
		c:send "hello there\r\n"
		c:gone()
	end), err_has = "failure: TLS negotiation failed: ", check = function(r)
		assert.are.same({ "EHLO smtptest\r\n", "STARTTLS\r\n" }, r.seen)
	end },
	{ "and then a close is told", argv = TLS, status = 1, server = starttls("220 go", function(c)
		c.transport:shutdown()
		c:gone()
	end),
		err = "failure: TLS negotiation failed: the peer closed during the handshake\n" },
	{ "and then a reset is told", argv = TLS, status = 1, server = starttls("220 go", function(c)
		c.transport:read(1)
		c.transport:abort()
	end), err = "failure: TLS negotiation failed: the peer reset the connection during the handshake\n" },
	{ "that fails is TLS to --strict", argv = words(TLS, { "--strict" }), status = 4,
		server = starttls("220 go", function() end), err_has = "failure: TLS negotiation failed: " },
	{ "that is refused is TLS to --strict", argv = words(TLS, { "--strict" }), status = 4,
		server = starttls "454 no", err_has = "failure: STARTTLS refused: 454 no" },
	{ "drops what was injected before TLS, and says so", argv = words(CHOOSE, { "-t", "" }),
		server = starttls("220 go\r\n250-injected\r\n250 AUTH CRAM-MD5", inside),
		has = {
			'S: 220 go\r\nWARNING: 33 bytes received in clear before TLS: "250-injected\\r\\n250 AUTH CRAM-MD5\\r\\n"\n',
			"TLS connection established: " }, lacks = "S: 250-injected", seen = INSIDE },
	{ "forgets what was offered in clear", argv = words(CHOOSE, { "-t", "" }), server = starttls("220 go", function(c)
		c:tls()
		c:capabilities()
		c:serve()
	end), has = "Authentication failed. no mechanism available\nSecurity strength factor: 256\n",
		seen = { "EHLO smtptest", "STARTTLS", "EHLO smtptest", "QUIT" } },
	{ "may find other mechanisms inside", argv = words(CHOOSE, { "-t", "" }), server = function(c)
		c:welcome("STARTTLS", "AUTH CRAM-MD5")
		c:reply "220 go"
		inside(c)
	end, lacks = "WARNING", seen = INSIDE },
	{ "works behind a 220 of two lines", argv = TLS, server = starttls("220-go\r\n220 go", inside), seen = INSIDE },
	{ "and a connection that breaks inside TLS is truncated", argv = words(TLS, { "--strict" }), status = 4,
		server = starttls("220 go", function(c)
			c:tls()
			c:line()
		end), err_has = "failure: EHLO: " },
})

-- ---------------------------------------------------------------- AUTH

local function auth(mechanism, ...)
	local answers = { ... }
	return function(c)
		c:welcome("AUTH " .. mechanism)
		for _, answer in ipairs(answers) do c:reply(answer) end
		c:serve()
	end
end

local function with(mechanism, ...)
	return { "-m", mechanism, "-a", "alice", "-w", "secret", ... }
end

local function failed(text)
	return ("Authentication failed. %s\nSecurity strength factor: 0\n"):format(text)
end

local function enc(text)
	return "334 " .. base64.encode(text)
end

-- A SCRAM server that goes wrong after the client's first message; `reply(nonce)` is its answer.
local function scram(reply, ...)
	local rest = { ... }
	return function(c)
		c:welcome "AUTH SCRAM-SHA-256"
		local first = base64.decode(c:line():match "^AUTH %S+ (%S+)")
		c:send(enc(reply(first:match "r=(.*)")) .. "\r\n")
		for _, answer in ipairs(rest) do c:reply(answer) end
		c:serve()
	end
end

local function canceled(name, server, mechanism, text)
	return { name, argv = with(mechanism), server = server, has = { "C: *\r\n", text or "Authentication failed. " },
		lacks = "Authenticated.", check = function(r)
			assert.are.equal("*\r\n", r.seen[#r.seen - 1], "not canceled: " .. table.concat(r.seen))
			assert.are.equal("QUIT\r\n", r.seen[#r.seen])
		end }
end

local FAKE = "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
local SALT = ",s=c2FsdHNhbHQ=,i=4096"

scene.specs("AUTH", {
	{ "answered by 454 is a refusal", server = auth("PLAIN", "454 4.7.0 later"),
		out = START .. "C: AUTH PLAIN AGFsaWNlAHNlY3JldA==\nS: 454 4.7.0 later\n" .. failed "454 4.7.0 later" .. BYE },
	{ "refused in two lines is read whole", server = auth("PLAIN", "535-5.7.8 one\r\n535 5.7.8 two"),
		out = START .. "C: AUTH PLAIN AGFsaWNlAHNlY3JldA==\nS: 535-5.7.8 one\nS: 535 5.7.8 two\n"
			.. failed "535-5.7.8 one / 535 5.7.8 two" .. BYE },
	{ "accepted in two lines is read whole", server = auth("PLAIN", "235-one\r\n235 two"),
		has = "S: 235-one\r\nS: 235 two\r\nAuthenticated.\nSecurity strength factor: 0\nC: QUIT\r\n" },
	{ "answered by 250 has not succeeded", server = auth("PLAIN", "250 ok"), has = failed "250 ok" },
	{ "refused goes on, with exit status 0", server = auth("PLAIN", "535 no"), stdin = "NOOP\n",
		has = { failed "535 no", "250 ok\r\n" } },
	{ "refused is 5 to --strict", argv = words(PLAIN, { "--strict" }), server = auth("PLAIN", "535 no"), status = 5,
		has = failed "535 no" },
	{ "without a mechanism is 5 to --strict", argv = words(CHOOSE, { "--strict" }), server = scene.open, status = 5,
		has = NOMECH },
	{ "and then a close is told", server = function(c)
		c:welcome "AUTH PLAIN"
		c:line()
	end, status = 1, err = "failure: AUTH: the server closed the connection\n" },
	{ "takes a 334 without a blank", argv = with "CRAM-MD5",
		server = auth("CRAM-MD5", "334PDEyM0BzdHViPg==", "235 ok"), has = "Authenticated.\n",
		seen = { "EHLO smtptest", "AUTH CRAM-MD5",
			base64.encode "alice 116827056c491e2f7ea0e3e2881ce319", "QUIT" } },
	{ "takes a bare 334", argv = with("PLAIN", "-i"), server = auth("PLAIN", "334", "235 ok"), has = "Authenticated.\n",
		seen = { "EHLO smtptest", "AUTH PLAIN", "AGFsaWNlAHNlY3JldA==", "QUIT" } },
	canceled("cancels a challenge that is no base64", auth("CRAM-MD5", "334 !!!not base64!!!", "501 canceled"),
		"CRAM-MD5", "Authentication failed. the server's challenge is "),
	canceled("cancels base64 with something behind it", auth("CRAM-MD5", "334 PDEyM0BzdHViPg==PDEy", "501 canceled"),
		"CRAM-MD5"),
	canceled("cancels base64 that is cut off", auth("CRAM-MD5", "334 PDEyM0BzdHViPg", "501 canceled"), "CRAM-MD5"),
	canceled("cancels an empty second prompt of LOGIN", auth("LOGIN", "334 VXNlcg==", "334 ", "501 canceled"), "LOGIN"),
	canceled("cancels a third prompt of LOGIN",
		auth("LOGIN", "334 VXNlcg==", "334 UGFzcw==", "334 TW9yZQ==", "501 canceled"), "LOGIN"),
	canceled("cancels a challenge behind PLAIN", auth("PLAIN", "334 bW9yZQ==", "501 canceled"), "PLAIN"),
	canceled("cancels a second JSON error of XOAUTH2",
		auth("XOAUTH2", enc '{"status":"400"}', enc '{"status":"400"}', "501 canceled"), "XOAUTH2"),
	canceled("cancels a SCRAM nonce that is not ours",
		scram(function() return "r=other" .. SALT end, "501 canceled"), "SCRAM-SHA-256"),
	canceled("cancels a SCRAM message without a salt",
		scram(function(nonce) return "r=" .. nonce .. "x,i=4096" end, "501 canceled"), "SCRAM-SHA-256"),
	canceled("cancels a SCRAM count of a billion",
		scram(function(nonce) return "r=" .. nonce .. "x,s=c2FsdHNhbHQ=,i=1000000000" end, "501 canceled"),
		"SCRAM-SHA-256"),
	canceled("cancels a SCRAM count that is none",
		scram(function(nonce) return "r=" .. nonce .. "x,s=c2FsdHNhbHQ=,i=-1" end, "501 canceled"), "SCRAM-SHA-256"),
	canceled("cancels an empty SCRAM message", scram(function() return "" end, "501 canceled"), "SCRAM-SHA-256"),
	canceled("cancels SCRAM bytes without sense", scram(function() return "\0\255," end, "501 canceled"),
		"SCRAM-SHA-256"),
	canceled("cancels a wrong SCRAM signature in a 334",
		scram(function(nonce) return "r=" .. nonce .. "x" .. SALT end, enc(FAKE), "501 canceled"), "SCRAM-SHA-256"),
	canceled("cancels a DIGEST-MD5 challenge without a nonce",
		auth("DIGEST-MD5", enc 'realm="x",qop="auth",algorithm=md5-sess', "501 canceled"), "DIGEST-MD5"),
	canceled("cancels a DIGEST-MD5 challenge without sense", auth("DIGEST-MD5", enc ",,,=\"", "501 canceled"),
		"DIGEST-MD5"),
	{ "does not believe a 235 before CRAM-MD5's challenge", argv = with "CRAM-MD5",
		server = auth("CRAM-MD5", "235 welcome"), has = failed "CRAM-MD5 ended early" },
	{ "does not believe a 235 before LOGIN's password", argv = with "LOGIN", server = auth("LOGIN", "334 VXNlcg==",
		"235 welcome"),
		has = failed "LOGIN ended early" },
	{ "does not believe a 235 right after SCRAM's first message", argv = with "SCRAM-SHA-256",
		server = auth("SCRAM-SHA-256", "235 welcome"), has = failed "server did not prove its identity" },
	{ "does not believe a SCRAM server that sends no signature", argv = with "SCRAM-SHA-256",
		server = scram(function(nonce) return "r=" .. nonce .. "x" .. SALT end, "235 welcome"),
		has = failed "server did not prove its identity" },
	{ "does not believe a 235 before DIGEST-MD5 is done, and no layer goes on", argv = with "DIGEST-MD5",
		server = auth("DIGEST-MD5", enc 'realm="x",nonce="y",qop="auth-int",algorithm=md5-sess,charset=utf-8', "235 hi"),
		has = failed "server did not prove its identity", check = function(r)
			assert.are.equal("QUIT\r\n", r.seen[#r.seen])
		end },
	{ "fetches XOAUTH2's JSON error", argv = { "-m", "XOAUTH2", "-a", "bob", "-w", "TOKEN" },
		server = auth("XOAUTH2", enc '{"status":"400"}', "535 5.7.8 no"), has = failed "535 5.7.8 no",
		seen = { "EHLO smtptest", "AUTH XOAUTH2 " .. base64.encode "user=bob\1auth=Bearer TOKEN\1\1", "", "QUIT" } },
	{ "shows what answers the cancellation in what follows", argv = with "CRAM-MD5",
		server = auth("CRAM-MD5", "334 !", "501 canceled"), check = function(r)
			assert.matches("\nSecurity strength factor: 0\nC: QUIT\r\n501 canceled\r\n221 bye\r\nConnection closed.\n$", r.out)
		end },
})

-- ---------------------------------------------------------------- afterwards

local function after_auth(fn)
	return function(c)
		c:welcome "AUTH PLAIN"
		c:reply "235 ok"
		fn(c)
	end
end

local HELD_OPEN = { { wait = "Connection closed." } }

scene.specs("after authentication", {
	{ "a server that closes ends the program, whatever is still to be typed", stdin = HELD_OPEN,
		server = after_auth(function() end), out = AUTHED .. "Connection closed.\n" },
	{ "a server that resets ends it too", stdin = HELD_OPEN,
		server = after_auth(function(c) c.transport:abort() end), out = AUTHED .. "Connection closed.\n" },
	{ "a reply that is cut off is shown", stdin = HELD_OPEN,
		server = after_auth(function(c) c:send "421-half a rep" end),
		check = function(r)
			assert.are.equal(scene.text(AUTHED) .. "421-half a repConnection closed.\n", r.out)
		end },
	{ "NUL, escapes and 8-bit bytes go to a pipe as they are", stdin = { "NOOP\n", { wait = "red" } },
		server = after_auth(function(c)
			c:reply "250 a\0b \27[31m\233 red"
			c:serve()
		end), has = "250 a\0b \27[31m\233 red\r\n" },
	{ "a megabyte that nobody asked for is shown whole", stdin = HELD_OPEN, server = after_auth(function(c)
		for _ = 1, 16 do c:send(("z"):rep(65536)) end
	end), has = ("z"):rep(1 << 20) .. "Connection closed.\n" },
	{ "a server that closes instead of answering QUIT is no failure", server = after_auth(function(c) c:line() end),
		out = AUTHED .. "C: QUIT\nConnection closed.\n" },
	{ "a 5xx is 6 to --strict", argv = words(PLAIN, { "--strict" }), stdin = "VRFY x\n", server = after_auth(function(c)
		c:reply "550 no"
		c:serve()
	end), status = 6, has = "550 no\r\n" },
	{ "a 5xx is nothing without it", stdin = "VRFY x\n", server = after_auth(function(c)
		c:reply "550 no"
		c:serve()
	end), has = "550 no\r\n" },
	{ "a refused RCPT is 6 to --strict, though the rest went well", argv = words(PLAIN, { "--strict" }),
		stdin = "MAIL\nRCPT\nNOOP\n", server = after_auth(function(c)
			c:reply "250 ok"
			c:reply "450 later"
			c:serve()
		end), status = 6 },
})
