--- The default script of smtptest: connect, EHLO, STARTTLS, AUTH, then the keyboard and the server, QUIT.
-- `smtptest --print-script >mine.lua` gives you this text to change; `smtptest -S mine.lua …` runs it.

local smtptest = require "smtptest"
local out, plan = smtptest.write, smtptest.options
local rounds, sending = plan.rounds or 1, plan.from ~= nil  -- sending: one message instead of the keyboard
-- The person speaks with the server; message data is under way; the server answered 4xx or 5xx.
local talking, body, refused = false, false, false
local status, session = 0, nil          -- what --strict exits with; the TLS session that the next round resumes

-- What is told beside some errors of OpenSSL's verify callback, each time that it is called with them.
local ASIDE = { [2] = "issuer= %s\n", [9] = "cert not yet valid\n", [10] = "cert has expired\n",
	[13] = "cert not yet valid\n", [14] = "cert has expired\n" }

local function show_tls(tls)
	for _, problem in ipairs(tls.resumed and {} or tls.problems) do
		out(("verify error:num=%d:%s\n"):format(problem.code, problem.text))
		for _ = 1, ASIDE[problem.code] and problem.times or 0 do out((ASIDE[problem.code]:format(problem.issuer))) end
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
		return e.layer == "tls" and out(smtptest.hexdump(e))
	elseif e.event == "line" and e.command ~= "*" then
		-- A long line is shown in the pieces in which the classic program read it.
		for i = 1, #e.bytes, 1023 do out("S: ", e.bytes:sub(i, i + 1022)) end
	elseif e.event == "partial" then
		out("S: ", e.bytes, "\n")
	elseif e.event == "quit" then
		out "C: QUIT\r\n"
	elseif e.event == "leftover" then
		out(("WARNING: %d bytes received in clear before TLS: \"%s\"\n"):format(#e.bytes, smtptest.escape(e.bytes)))
	elseif e.event == "tls" then
		show_tls(e.tls)
	elseif e.event == "auth" and e.skipped then
		out(("%s: %s; trying the next mechanism\n"):format(e.mechanism, e.skipped))
	elseif e.event == "reply" then
		body, refused = e.reply.code == 354, refused or e.reply.code >= 400
		if plan.times and e.reply.elapsed then out(("(%.3f s)\n"):format(e.reply.elapsed)) end
	elseif e.direction == "send" and not talking then
		out(body and "" or "C: ", plan.hide_secrets and smtptest.mask(e) or e.bytes)
	end
	if plan.explain then out(smtptest.explain(e)) end
end

-- What the plan leaves open is asked for when it is needed.
local function questions()
	local ask = smtptest.ask
	return {
		password = plan.password or function() return ask("Please enter your password: ", "password") end,
		realm = plan.realm or function() return ask("Please enter your realm: ", "realm", true) end,
		keypass = plan.keypass or function() return ask("Password of " .. plan.keyfile .. ": ", "key password") end,
		challenge = plan.challenge and function(challenge)
			return ask(("Server challenge: %s\nPlease enter your one-time password: "):format(challenge), "response")
		end,
	}
end

local function starttls(s)
	if not s.capabilities.STARTTLS then s:fail("STARTTLS", "STARTTLS not supported by the server!", "TLS") end
	local answer = s:starttls()
	if answer.code ~= 220 then s:fail("STARTTLS", "STARTTLS refused: " .. tostring(answer), "TLS", { reply = answer }) end
	s:hello()
end

-- A refusal is shown, and the session goes on as it always did.
local function authenticate(s)
	local offered = table.concat(s.capabilities.AUTH or {}, " ")
	local ok, answer = pcall(s.auth, s)
	if not ok and not smtptest.failed(answer, "SASL", "NOMECH", "BASE64") then error(answer, 0) end
	local done = ok and answer.code == 235
	out(done and "Authenticated.\n" or ("Authentication failed. %s\n"):format(ok and tostring(answer) or answer.message))
	-- The answer to our "*" belongs to the conversation that follows.
	if not ok and answer.reply and answer.reply.command == "*" then s.transport:unread(answer.reply.raw) end
	out(("Security strength factor: %d\n"):format((s.tls and s.tls.bits or 0) + s.ssf))
	if s.ssf > 0 then
		s:hello()
		if s.capabilities.AUTH and table.concat(s.capabilities.AUTH, " ") ~= offered then
			out "WARNING: possible MITM attack: list of available SASL mechanisms changed\n"
		end
	end
	if not done then status = 5 end
end

local function send_message(s, message)
	if not s:mail(plan.from, smtptest.parameters(plan, message, s.capabilities)):is "2xx" then return end
	for _, address in ipairs(plan.to) do
		if s:rcpt(address).code == 421 then return end
	end
	if #s.recipients > 0 then s:data(message) end
end

local function converse(s)
	local listener <close> = plan.output_socket and smtptest.listener(plan.output_socket)
	if plan.daemon then smtptest.daemonize(plan.pidfile) end
	talking = true
	s:interact { input = listener or plan.input, echo = plan.input ~= nil, output = out,
		crlf = plan.crlf or not plan.input, lockstep = plan.lockstep }
	out "Connection closed.\n"
	talking = false
end

local function round(last)
	local changes = questions()
	changes.session, changes.reauth = session, rounds > 1
	local message = sending and smtptest.body(plan)         -- a missing file comes to light before we connect
	-- Nobody shall see a password that is typed before it is asked for.
	local hush <close> = plan.auth ~= false and not plan.password and smtptest.hush() or nil
	local s <close> = smtptest.connect(smtptest.plan(changes), show, { below = plan.verbose })
	if not s.greeting:is "2xx" then s:fail("greeting", tostring(s.greeting), "REPLY", { reply = s.greeting }) end
	s:hello()
	if plan.tls == "starttls" then starttls(s) end
	if plan.auth ~= false and (not sending or smtptest.wants_auth(plan)) then authenticate(s) end
	if hush then hush:close() end
	refused = false
	if last and not sending then
		converse(s)
	else
		if sending and (s.authenticated or not smtptest.wants_auth(plan)) then send_message(s, message) end
		if not sending or s.last.code ~= 421 then s:quit() end          -- after 421 the server closes
		if not sending then out "Connection closed.\n\n" end
	end
	if refused and status == 0 then status = 6 end
	session = s.tls and s.tls.session
end

local function report(err)
	if not smtptest.failed(err) or err.code == "CANCELED" or err.op == "standard output" then error(err, 0) end
	local text = err.op == "TLS handshake" and "failure: TLS negotiation failed: " .. err.message
		or err.op == "open" and err.message
		or err.op == "read" and err.message .. "\nfailure: read"
		or err.target and err.message .. "\nfailure: Network initialization - cannot connect to " .. err.target
		or "failure: " .. tostring(err)
	io.stderr:write(text, "\n", err.op == "STARTTLS" and err.code == "TLS" and not err.reply and "\n" or "")
	return (plan.strict or sending) and err.status or 1
end

local ok, err = pcall(function()
	if plan.pidfile then smtptest.pidfile(plan.pidfile) end
	for i = 1, rounds do round(i == rounds) end
end)
return ok and ((plan.strict or sending) and status or 0) or not ok and report(err)
