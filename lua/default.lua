--- The default script of smtptest: connect, EHLO, STARTTLS, AUTH, then the keyboard and the server, QUIT.
-- `smtptest --print-script >mine.lua` gives you this text to change; `smtptest -S mine.lua …` runs it.

local smtptest = require "smtptest"
local out = smtptest.write
local plan = smtptest.options
local sending = plan.from ~= nil        -- --from: one message instead of the keyboard
local rounds = plan.rounds or 1
local talking, refused = false, false   -- the person speaks with the server; it answered 4xx or 5xx after AUTH

-- ---------------------------------------------------------------- what is shown

-- What OpenSSL's verify callback tells, a line a problem; some are told again (see COMPAT).
local MORE = { [2] = "issuer= %s\n", [9] = "cert not yet valid\n", [10] = "cert has expired\n",
	[13] = "cert not yet valid\n", [14] = "cert has expired\n" }

local function show_tls(tls)
	for _, problem in ipairs(tls.problems) do
		out(("verify error:num=%d:%s\n"):format(problem.code, problem.text))
		for _ = 1, MORE[problem.code] and problem.times or 0 do out((MORE[problem.code]:format(problem.issuer))) end
	end
	if plan.verbose then
		for _, state in ipairs(tls:trace()) do out(state, "\n") end
		local leaf = tls.peer[1]
		if leaf then out(("subject_CN=%s, issuer_CN=%s\n"):format(leaf.subject_cn, leaf.issuer_cn)) end
		if tls.resumed then out "TLS session reused\n" end
	end
	out(("TLS connection established: %s with cipher %s (%d/%d bits)\n"):format(
		tls.protocol, tls.cipher, tls.bits, tls.algbits))
end

local function show(e)
	if e.below then
		if plan.verbose and e.layer == "tls" then out(smtptest.hexdump(e)) end
	elseif e.event == "line" and e.command ~= "*" then
		out("S: ", e.bytes)
	elseif e.event == "quit" then
		out "C: QUIT\r\n"
	elseif e.event == "leftover" then
		out(("WARNING: %d bytes received in clear before TLS: %q\n"):format(#e.bytes, e.bytes))
	elseif e.event == "tls" then
		show_tls(e.tls)
	elseif e.event == "auth" and e.skipped then
		out(("%s: %s; trying the next mechanism\n"):format(e.mechanism, e.skipped))
	elseif e.direction == "send" and not talking then
		out("C: ", plan.hide_secrets and smtptest.mask(e) or e.bytes)
	elseif e.event == "reply" then
		refused = refused or talking and e.reply.code >= 400
		if plan.times and e.reply.elapsed then out(("(%.3f s)\n"):format(e.reply.elapsed)) end
	end
	if plan.explain then out(smtptest.explain(e)) end
end

-- ---------------------------------------------------------------- what is asked

local function ask(text, echo, missing)
	out(text)
	local answer, _, code = smtptest.prompt("", { echo = echo, stdin = true })
	if not answer and code ~= "CANCELED" then return nil, missing, "INTERACT" end
	return answer, "interrupted", code
end

local function questions()
	return {
		password = plan.password or function()
			return ask("Please enter your password: ", false, "no password given")
		end,
		realm = plan.realm or function() return ask("Please enter your realm: ", true, "no realm given") end,
		challenge = plan.challenge and function(challenge)
			out(("Server challenge: %s\n"):format(challenge))
			return ask("Please enter your one-time password: ", false, "no response given")
		end,
		keypass = plan.keypass or function()
			return ask("Enter the password of " .. plan.keyfile .. ": ", false, "no password given for " .. plan.keyfile)
		end,
	}
end

-- ---------------------------------------------------------------- the steps

local function starttls(s)
	if not s.capabilities.STARTTLS then s:fail("STARTTLS", "STARTTLS not supported by the server!", "TLS") end
	local answer = s:starttls()
	if answer.code ~= 220 then s:fail("STARTTLS", "STARTTLS refused: " .. tostring(answer), "TLS", { reply = answer }) end
	s:hello()
end

local REFUSALS = { SASL = true, NOMECH = true, BASE64 = true }

-- A refusal is shown and the session goes on, as it always did; returns what an exit status would say of it.
local function authenticate(s)
	local ok, answer = pcall(s.auth, s)
	if not ok and not (smtptest.failed(answer) and REFUSALS[answer.code]) then error(answer, 0) end
	local done = ok and answer.code == 235
	if not done then out("Authentication failed. ", ok and tostring(answer) or answer.message, "\n") end
	-- The answer to our "*" belongs to the conversation that follows.
	if not ok and answer.reply and answer.reply.command == "*" then s.transport:unread(answer.reply.raw) end
	if done then out "Authenticated.\n" end
	out(("Security strength factor: %d\n"):format((s.tls and s.tls.bits or 0) + s.ssf))
	if s.ssf > 0 then
		local before = table.concat(s.offered or {}, " ")
		s:hello()
		if s.capabilities.AUTH and table.concat(s.capabilities.AUTH, " ") ~= before then
			out "WARNING: possible MITM attack: list of available SASL mechanisms changed\n"
		end
	end
	return done and 0 or 5
end

local function send_message(s)
	talking, refused = false, false
	local answer = s:mail(plan.from)
	for _, address in ipairs(answer:is "2xx" and plan.to or {}) do
		local one = s:rcpt(address)
		refused = refused or not one:is "2xx"
	end
	if #s.recipients > 0 then answer = s:data(smtptest.body(plan)) end
	refused = refused or #s.recipients == 0 or not answer:is "2xx"
	s:quit()
	return refused and 6 or 0
end

local function converse(s, listener)
	talking = true
	if listener and plan.daemon then smtptest.daemonize(plan.pidfile) end
	s:interact { input = listener or plan.input, crlf = plan.crlf or not plan.input, lockstep = plan.lockstep,
		echo = plan.input ~= nil, output = not listener and { write = function(_, bytes) return out(bytes) end } or nil }
	out "Connection closed.\n"
	return plan.strict and refused and 6 or 0
end

local function round(last, previous)
	talking = false
	local asked = questions()
	asked.tls, asked.greeting = plan.tls == "implicit" and "none" or nil, false
	asked.session, asked.reauth = previous, rounds > 1
	if plan.tls == "implicit" then smtptest.tls.context(smtptest.plan(asked)) end
	local s <close> = smtptest.connect(smtptest.plan(asked))
	s:on(show, { below = plan.verbose })
	if plan.tls == "implicit" then s:handshake() end
	s.greeting = s:reply(nil, "greeting")
	if not s.greeting:is "2xx" then s:fail("greeting", tostring(s.greeting), "REPLY", { reply = s.greeting }) end
	s:hello()
	if plan.tls == "starttls" then starttls(s) end
	s.offered = s.capabilities.AUTH
	local status = 0
	if plan.auth ~= false and (not sending or smtptest.wants_auth(plan)) then status = authenticate(s) end
	if sending then
		status = status ~= 0 and status or send_message(s)
	elseif last then
		local listener <close> = plan.output_socket and smtptest.listener(plan.output_socket)
		local later = converse(s, listener)
		status = status ~= 0 and status or later
	else
		s:quit()
		out "Connection closed.\n\n"
	end
	return (plan.strict or sending) and status or 0, s.tls and s.tls.session
end

local function main()
	local status, session = 0, nil
	for i = 1, rounds do
		status, session = round(i == rounds, session)
	end
	return status
end

local function report(err)
	if not smtptest.failed(err) or err.code == "CANCELED" then error(err, 0) end
	local text = tostring(err)
	if err.op == "getaddrinfo" or err.op == "connect" then
		io.stderr:write(err.message, "\n")
		text = "Network initialization - cannot connect to " .. err.target
	elseif err.op == "TLS handshake" then
		text = "TLS negotiation failed: " .. err.message
	elseif err.op == "read" then
		io.stderr:write(err.message, "\n")
		text = err.op
	end
	io.stderr:write(err.op == "open" and err.message or "failure: " .. text, "\n")
	return (plan.strict or sending) and err.status or 1
end

local ok, status = pcall(main)
if not ok then return report(status) end
return status
