--- peer: a session whose server is a function of the test, both in this process' loop.

local base64 = require "smtptest.base64"
local cert = require "smtptest.core.cert"
local sasl = require "smtptest.core.sasl"
local session = require "smtptest.session"
local task = require "smtptest.task"
local tls = require "smtptest.core.tls"
local transport = require "smtptest.transport"
local wire = require "smtptest.wire"

local peer = {}

-- What hangs is a failure, whatever the speed of the machine.
local LIMIT = 20

local function laid(base, changes)
	local all = {}
	for name, value in pairs(base) do all[name] = value end
	for name, value in pairs(changes or {}) do all[name] = value end
	return all
end

peer.laid = laid

-- ---------------------------------------------------------------- the scripted side

local Client = {}
Client.__index = Client

--- Sends exact bytes.
function Client:send(bytes)
	assert(self.transport:write(bytes))
end

--- Reads a line without its end; it is kept in `seen`. Raises at the end of the connection.
function Client:line()
	local text, message = self.transport:line()
	if not text then error(message, 0) end
	text = text:gsub("\r?\n$", "")
	self.seen[#self.seen + 1] = text
	return text
end

--- For each argument: reads a line, then answers with it and CR LF.
function Client:reply(...)
	for _, text in ipairs { ... } do
		self:line()
		self:send(text .. "\r\n")
	end
end

--- Reads EHLO and lists capabilities.
function Client:capabilities(...)
	self:line()
	local words = { "peer.test", ... }
	for i, word in ipairs(words) do self:send(("250%s%s\r\n"):format(i < #words and "-" or " ", word)) end
end

--- Shakes hands as a server.
-- @param settings  of smtptest.core.tls.context, over a certificate for localhost; or such a context
function Client:tls(settings)
	local context = type(settings) == "userdata" and settings or peer.server_context(settings)
	self.machine = context:server {}
	-- A client that does not wait for an answer before its handshake has sent that with the last line.
	self.machine:feed(self.transport:pending())
	assert(self.transport:push(self.machine))
end

--- The rest of what the client sends, to its end.
function Client:rest()
	local pieces = {}
	repeat
		local bytes, _, code = self.transport:read(65536)
		pieces[#pieces + 1], self.ended = bytes, code
	until not bytes
	return table.concat(pieces)
end

--- Takes part in an AUTH as the SASL library's server does, and puts the layer on.
-- @param options  of smtptest.core.sasl.server
-- @return the server
function Client:auth(options)
	local server = assert(sasl.server(laid({ users = { alice = "secret" } }, options)))
	local mechanism, rest = self:line():match("^AUTH (%S+) ?(.*)$")
	local initial = rest == "=" and "" or rest ~= "" and assert(base64.decode(rest)) or nil
	local ok, challenge, done = server:start(mechanism, initial)
	while ok and not done do
		self:send("334 " .. base64.encode(challenge or "") .. "\r\n")
		local line = self:line()
		if line == "*" then
			self:send("501 5.7.0 canceled\r\n")
			return server
		end
		ok, challenge, done = server:step(assert(base64.decode(line)))
	end
	if not ok then
		self:send("535 5.7.8 authentication failed\r\n")
		return server
	end
	self:send("235 2.7.0 welcome\r\n")
	if server:ssf() > 0 then self.transport:secure(server:layer()) end
	return server
end

-- ---------------------------------------------------------------- both sides

local certificate, key

--- A server's TLS context.
function peer.server_context(settings)
	if not certificate then
		certificate, key = assert(cert.self_signed { name = "localhost", names = { "DNS:localhost" } })
	end
	return assert(tls.context(laid({ server = true, cert = certificate, key = key }, settings)))
end

local function client_of(a_transport)
	a_transport.timeout = LIMIT
	return setmetatable({ transport = a_transport, seen = {} }, Client)
end

-- Runs the script as a task and the body here; the first error of either is raised, the script's when it is the cause.
local function both(client, script, open, body)
	local server = task.spawn(function()
		local ok, err = pcall(script, client)
		client.transport:close()
		if not ok then error(err, 0) end
	end)
	local results = table.pack(pcall(function()
		local s <close> = open()
		body(s, client)
	end))
	local joined = table.pack(pcall(server.join, server, LIMIT))
	server:cancel()
	client.transport:close()
	if not results[1] then error(results[2], 0) end
	if not joined[1] then error(joined[2], 0) end
	return client
end

--- Runs body(session, client) against script(client), over two connected transports.
-- @param script  function(client); its end closes the connection
-- @param plan    of the session
-- @param kind    "stream" (default) or "seqpacket"
-- @return the client, with `seen`
function peer.with(script, body, plan, kind)
	local mine, theirs = transport.pair(kind)
	return both(client_of(theirs), script, function()
		return session.wrap(mine, laid({ timeout = LIMIT }, plan))
	end, body)
end

--- The same over TCP on a free port of 127.0.0.1, with what session.connect, or another opener, does.
-- @param opener  function(plan) -> session (default: session.connect)
function peer.over_tcp(script, body, plan, opener)
	local listener <close> = assert(wire.listen { family = "inet", host = "127.0.0.1", port = 0 })
	local client = setmetatable({ seen = {} }, Client)
	local held = { close = function() end }
	client.transport = held
	return both(client, function()
		client.transport = client_of(transport.wrap(assert(listener:accept(task.now() + LIMIT)))).transport
		return script(client)
	end, function()
		return (opener or session.connect)(laid({ host = "127.0.0.1", port = listener:address().port,
			timeout = LIMIT }, plan))
	end, body)
end

--- Two ends that are connected, without a script: a session, and the other end's transport.
function peer.pair(plan, kind)
	local mine, theirs = transport.pair(kind)
	theirs.timeout = LIMIT
	return session.wrap(mine, laid({ timeout = LIMIT }, plan)), theirs
end

--- What a server sees when body(session) runs and every line is answered with 250.
function peer.seen(body, plan)
	local mine, other = peer.pair(plan)
	local server = task.spawn(function()
		while other:line() do other:write "250 ok\r\n" end
	end)
	local bytes = {}
	mine:on(function(e) if e.direction == "send" then bytes[#bytes + 1] = e.bytes end end)
	body(mine)
	mine:close()
	server:join(20)
	other:close()
	return table.concat(bytes)
end

--- What fn raises, as text: the misuse of the script's author.
function peer.complaint(fn, ...)
	local ok, message = pcall(fn, ...)
	assert(not ok, "nothing was raised")
	assert(type(message) == "string", message)
	return message
end

--- What fn raises, which must be the error object of a session with that code.
function peer.failure(code, fn, ...)
	local ok, err = pcall(fn, ...)
	if ok then error(("expected %s, nothing was raised"):format(code), 2) end
	if not require "smtptest.failure".is(err) then error(("expected %s, got %s"):format(code, tostring(err)), 2) end
	if err.code ~= code then error(("expected %s, got %s: %s"):format(code, err.code, tostring(err)), 2) end
	return err
end

return peer
