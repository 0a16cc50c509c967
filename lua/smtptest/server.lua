--- server: the built-in server: what `smtptest.listen` and `smtptest --serve` run.
--
-- It binds at once, speaks by itself (receiver.lua), and lets a script answer, or take the connection over.

local acceptor = require "smtptest.acceptor"
local argument = require "smtptest.argument"
local cert = require "smtptest.core.cert"
local clients = require "smtptest.client"
local failure = require "smtptest.failure"
local handlers = require "smtptest.handlers"
local poll = require "smtptest.core.poll"
local plans = require "smtptest.plan"
local receiver = require "smtptest.receiver"
local task = require "smtptest.task"
local core = require "smtptest.core.tls"
local transport = require "smtptest.transport"
local wire = require "smtptest.wire"

local server = {}

local Server = { __name = "smtptest.server" }
Server.__index = Server

-- ---------------------------------------------------------------- what may be asked for

local PLAN = { sasl = "table", capabilities = "table", on = "table", name = "string", limits = "table",
	keep = "boolean", proxy = "boolean", cert = "string", key = "string", backlog = "integer" }
for name in ([[host port socket family protocol timeout tls certfile keyfile keypass cafile capath verify min_version
	max_version ciphers ciphersuites groups alpn keylog]]):gmatch("%S+") do
	PLAN[name] = plans.fields[name]
end

local SASL = { users = "table", mechanisms = "string|table", realm = "string", options = "table", minssf = "integer",
	maxssf = "integer" }

--- Bounds against abuse: bytes of a command line and of a message, recipients of one, connections at once, and refusals
-- on one connection before it is closed.
server.limits = { line = 65536, message = 64 << 20, recipients = 1000, connections = 4000, errors = 100 }

local LIMITS = {}
for name in pairs(server.limits) do LIMITS[name] = "integer" end

local DEFAULT_CAPABILITIES = { "PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING" }

-- What was given, checked, its keywords in upper case.
local function in_capitals(given, level)
	local result = {}
	for key, value in pairs(given) do
		local good
		if math.type(key) == "integer" then
			good = type(value) == "string" and value:find "^[^\r\n]*%S"
		elseif type(key) == "string" then
			key, good = key:upper(), type(value) ~= "function" and type(value) ~= "userdata"
			for _, word in ipairs(type(value) == "table" and value or {}) do good = good and type(word) == "string" end
		end
		if not good then
			error(("capability '%s': expected text in a list, or true, false, text or a list of words under its name")
				:format(tostring(key)), level + 1)
		end
		result[key] = value
	end
	return result
end

-- A list replaces what we offer, a map is laid over it: {SIZE = {"1000"}, PIPELINING = false, XFOO = true}.
local function capabilities_of(given, limits)
	local result = {}
	local function add(keyword, words)
		if not result[keyword] then result[#result + 1] = keyword end
		result[keyword] = words
	end
	if not given[1] then
		for _, keyword in ipairs(DEFAULT_CAPABILITIES) do
			if given[keyword] == nil then add(keyword, keyword == "SIZE" and { tostring(limits.message) } or {}) end
		end
	end
	for _, text in ipairs(given) do
		local words = {}
		for word in text:gmatch("%S+") do words[#words + 1] = word end
		add(table.remove(words, 1):upper(), words)
	end
	local names = {}
	for keyword, words in pairs(given) do
		if type(keyword) == "string" and words then names[#names + 1] = keyword end
	end
	table.sort(names)
	for _, keyword in ipairs(names) do
		local words = given[keyword]
		add(keyword, type(words) == "table" and words or words == true and {} or { tostring(words) })
	end
	return result
end

local function laid_over(base, changes)
	local all = {}
	for name, value in pairs(base) do all[name] = value end
	for name, value in pairs(changes or {}) do all[name] = value end
	return all
end

-- ---------------------------------------------------------------- its beginning

local function raise(op, message, code)
	error(failure.new { op = op, message = message, code = code }, 0)
end

local function bind(plan)
	if plan.socket then
		local listener, message, code = wire.listen { family = "unix", path = plan.socket }
		if not listener then raise("listen", ("%s: %s"):format(plan.socket, message), code) end
		return listener
	end
	local list, message, code = wire.resolve({ host = plan.host, service = tostring(plan.port), family = plan.family,
		passive = true })
	if not list then raise("listen", ("%s:%s: %s"):format(plan.host, plan.port, message), code) end
	local listener
	for _, address in ipairs(list) do
		listener, message, code = wire.listen(address, { backlog = plan.backlog or 1024 })
		if listener then return listener end
	end
	raise("listen", ("%s:%s: %s"):format(plan.host, plan.port, message), code)
end

--- Makes a server; it is bound when this returns, and accepts after start() or serve().
-- @param plan  host ("127.0.0.1", "::1" for family "inet6") port (0: any) or socket (a path), family; protocol
--   ("smtp" "lmtp"); name (what it calls itself, "localhost"); tls ("none" "starttls" "implicit"), certfile keyfile
--   keypass or cert key (PEM text; default: a P-256 certificate for the name, made here), cafile (whose client
--   certificates are good; without it any is), verify (true: insist on one), min_version max_version ciphers
--   ciphersuites groups alpn keylog; sasl {users= {name = password}, mechanisms= (list, or text with blanks),
--   realm= options= minssf= maxssf=}; capabilities (a list of EHLO lines replaces ours, a map {SIZE = {"1000"}, DSN
--   = false} changes them); on (handlers); proxy (true: a PROXY header must come first); timeout (seconds for
--   a command, 300; a message has twice that, and a second for each 1000 bytes); limits (as server.limits); keep
--   (false: `messages` stays empty)
-- @param level  whom an error blames, as in error(): 1 (default) the line that called listen, 2 its caller…
-- @return server: host port messages capabilities limits plan certificate (PEM text, nil where it is a file's, or there
--   is no TLS); raises when it can't be bound, TLS for a key or certificate that can't be used, and NOMECH for a
--   mechanism that the Cyrus library does not have
function server.listen(plan, level)
	level = (level or 1) + 1
	plan = laid_over({ port = 0, protocol = "smtp", tls = "none", name = "localhost" },
		argument.options(plan, PLAN, level))
	plan.host = plan.host or plan.family == "inet6" and "::1" or "127.0.0.1"
	argument.options(plan.sasl, SASL, level, "sasl")
	local unknown = acceptor.unknown(plan.sasl or {})
	if unknown then raise("sasl", ("the Cyrus library has no mechanism '%s' for servers"):format(unknown), "NOMECH") end
	local limits = laid_over(server.limits, argument.options(plan.limits, LIMITS, level, "limits"))
	local on, given = handlers.new(plan.on, level), in_capitals(plan.capabilities or {}, level)
	local self = setmetatable({
		plan = plan, name = plan.name, protocol = plan.protocol, limits = limits, on = on,
		hello = plan.protocol == "lmtp" and "LHLO" or "EHLO",
		given = given, capabilities = capabilities_of(given, limits),
		messages = {}, waiters = {}, clients = {}, count = 0, facts = {}, listeners = {}, offered = {}, received = 0,
		store = false, scripted = false,
	}, Server)
	if plan.tls ~= "none" then
		local context, message, code = self:context()
		if not context then raise("TLS", message, code) end
		-- Who asks shall be able to trust it.
		if not plan.certfile and not plan.keyfile then self.certificate = plan.cert or (server.certificate(self.name)) end
	end
	self.listener = bind(plan)
	local address = self.listener:address() or {}
	self.host, self.port = address.host or plan.socket, address.port
	return self
end

-- ---------------------------------------------------------------- TLS

local CONTEXT = { "certfile", "keyfile", "keypass", "cert", "key", "cafile", "capath", "min_version", "max_version",
	"ciphers", "ciphersuites", "groups", "alpn", "keylog" }

local FIELDS = {}
for _, name in ipairs(CONTEXT) do FIELDS[name] = PLAN[name] end
FIELDS.verify = PLAN.verify

local made = {}         -- name -> certificate and key: one for a process, so that it may be trusted by who asks

--- The certificate that is used when none is given, made once for a name.
-- @return certificate PEM, key PEM | nil, message, TLS
function server.certificate(name)
	if not made[name] then
		local certificate, key, code = cert.self_signed { name = name }
		if not certificate then return nil, key, code end
		made[name] = { certificate, key }
	end
	return made[name][1], made[name][2]
end

--- The TLS context of the server, or one with other fields.
-- @param fields  plan fields about TLS, over the server's
-- @return context | nil, message, TLS
function Server:context(fields)
	if not fields and self.tls_context then return self.tls_context end
	argument.options(fields, FIELDS, 3)
	local plan = fields and laid_over(self.plan, fields) or self.plan
	local settings = { server = true, verify_client = plan.verify and "require" or true }
	for _, name in ipairs(CONTEXT) do settings[name] = plan[name] end
	if fields and (fields.cert or fields.certfile) then
		for _, name in ipairs { "cert", "key", "certfile", "keyfile", "keypass" } do settings[name] = fields[name] end
	end
	if type(settings.keypass) == "function" then
		local password, message, code = settings.keypass()
		if not password then return nil, message, code end
		settings.keypass = password
	end
	if settings.keyfile and not settings.certfile then settings.certfile = settings.keyfile end
	if not settings.certfile and not settings.cert then
		local certificate, key, code = server.certificate(self.name)
		if not certificate then return nil, key, code end
		settings.cert, settings.key = certificate, key
	end
	local context, message, code = core.context(settings)
	if context and not fields then self.tls_context = context end
	return context, message, code
end

-- ---------------------------------------------------------------- what happens

--- Calls fn with every fact of every connection.
-- @param fn       function(event, client); event.event: "connect" "message" (event.message) "auth" (mechanism, ssf or
--   refused) "lost" (message, code) "error" (message: what a handler raised) "gone"
-- @param options  traffic (true): also the events of Session.on, for connections that begin after this call: what
--   clients send is "receive", and what is secret in it is marked
-- @return a function that removes fn
function Server:on_event(fn, options)
	options = argument.options(options, { traffic = "boolean" }, 2)
	local name = options.traffic and "listeners" or "facts"
	-- A new list each time: a listener may be added or removed while the old one is walked.
	self[name] = table.move(self[name], 1, #self[name], 1, {})
	table.insert(self[name], fn)
	return function()
		local rest = {}
		for _, other in ipairs(self[name]) do
			if other ~= fn then rest[#rest + 1] = other end
		end
		self[name] = rest
	end
end

local function tell(list, event, client)
	for i = 1, #list do list[i](event, client) end
end

local function tell_all(self, event, client)
	tell(self.facts, event, client)
	tell(self.listeners, event, client)
end

--- Tells the listeners a fact of a connection.
function Server:note(client, name, fields)
	if not self.facts[1] and not self.listeners[1] then return end
	local event = fields or {}
	event.direction, event.event, event.time = "note", name, poll.walltime()
	tell_all(self, event, client)
end

local function hear(self, client)
	if not self.listeners[1] then return end
	client:observe()
	client.transport:on(function(event) tell(self.listeners, event, client) end)
end

--- Asks the handler of a name.
-- @return code, text of its reply; true when it has answered by itself; false to close; nil for the normal answer
function Server:ask(client, name, ...)
	local fn = self.on[name]
	if not fn then return nil end
	local code, text = fn(client, ...)
	if code == nil or type(code) == "boolean" then return code end
	if math.type(code) ~= "integer" or code < 0 or code > 999 or text ~= nil and type(text) ~= "string" then
		error(("handler '%s' returned %s, %s: a code and a text expected"):format(name, tostring(code), tostring(text)), 0)
	end
	return code, text
end

--- Takes a message that was accepted.
-- @return nil, or why it can't be kept
function Server:take(client, message)
	if self.store then
		local why = self.store(message, client)
		if why then return why end
	end
	self.received = self.received + 1
	if self.plan.keep ~= false then
		table.insert(self.messages, message)
		for _, waiter in ipairs(self.waiters) do
			if #self.messages >= waiter.n then waiter.promise:set(true) end
		end
	end
	if self.facts[1] or self.listeners[1] then
		tell_all(self, { direction = "note", event = "message", time = poll.walltime(), message = message }, client)
	end
	return nil
end

local Waiter = {}

-- Also when the task that waits is canceled.
function Waiter:__close()
	for i = #self.list, 1, -1 do
		if self.list[i] == self then table.remove(self.list, i) end
	end
end

local STOPPED = "the server is stopped"

--- Waits until n messages have come.
-- @param n        default 1
-- @param seconds  default: for ever
-- @return the list of all messages | nil, message, TIMEOUT, or CANCELED when the server is stopped before
function Server:wait(n, seconds)
	n = n or 1
	if #self.messages >= n then return self.messages end
	if self.stopped then return nil, STOPPED, "CANCELED" end
	local waiter <close> = setmetatable({ n = n, promise = task.promise(), list = self.waiters }, Waiter)
	table.insert(self.waiters, waiter)
	local ok, message, code = waiter.promise:wait(seconds)
	if #self.messages >= n then return self.messages end
	if ok then return nil, STOPPED, "CANCELED" end
	if code == "TIMEOUT" then
		message = ("%d of %d messages came in %g s"):format(#self.messages, n, seconds)
	end
	return nil, message, code
end

--- Lets every connection be scripted: fn(client) runs instead of our own SMTP; its end closes the connection.
-- @return the server
function Server:script(fn)
	if type(fn) ~= "function" then error("bad script (function expected, got " .. type(fn) .. ")", 2) end
	self.scripted = fn
	return self
end

-- ---------------------------------------------------------------- one connection

local function converse(self, client)
	client.mute = self.plan.tls == "implicit" or nil        -- nothing may be said in clear
	if self.plan.proxy then
		local ok, message, code = clients.read_proxy(client)
		if not ok then return receiver.lost(client, message, code) end
	end
	if self.plan.tls == "implicit" then
		local ok, message, code = client:starttls()
		if not ok then return receiver.lost(client, message, code or "TLS") end
	end
	if self.scripted then return self.scripted(client) end
	return receiver.serve(client)
end

local function traced(err)
	return type(err) == "string" and debug.traceback(err, 2) or err
end

local function fail(self, client, err)
	if not self.failed then self.failed = { err } end
	self:note(client, "error", { message = tostring(err) })
	if client.ended or client.mute or client.transport.closed or self.scripted then return end
	pcall(client.reply, client, 421, "4.3.0 the handler failed")
end

-- Closes without a reset: what we said last must reach a client that has sent more than we read (RFC 1122 4.2.2.13).
local function linger(client)
	local t = client.transport
	if t.closed or client.ended or client.mute then return t:close() end
	-- Who was made silent on purpose does not say that it ends, either.
	while client.silent and client.finished and t:read(65536, client.timeout) do client:breathe() end
	t:shutdown()
	local deadline = task.now() + 1
	while t:read(65536, math.max(0, deadline - task.now())) and task.now() < deadline do client:breathe() end
	t:close()
end

local Live = {}

function Live:__close()
	local self_, client = self.server, self.client
	client.transport:close()
	self_.clients[client] = nil
	self_.count = self_.count - 1
end

local function run(self, client)
	local _ <close> = setmetatable({ server = self, client = client }, Live)
	hear(self, client)
	self:note(client, "connect")
	local why
	local ok, err = xpcall(converse, function(err)
		-- The value itself tells an end; the traceback is for a person.
		why = err
		return traced(err)
	end, self, client)
	local canceled = failure.is(why) and why.code == "CANCELED"
	if not ok and not canceled and not clients.is_end(client, why) then fail(self, client, err) end
	linger(client)
	self:note(client, "gone")
end

local function refuse(self, a_wire)
	local bytes = clients.wire(421, "4.7.0 too many connections")
	if self.plan.tls ~= "implicit" then a_wire:write(bytes, task.now() + 1) end
	a_wire:close()
end

local function accept(self, a_wire)
	local peer = a_wire.sock:peer() or {}
	if self.count >= self.limits.connections then return refuse(self, a_wire) end
	local a_transport = transport.wrap(a_wire, { timeout = self.plan.timeout, maxline = self.limits.line })
	local client = clients.new(self, a_transport, peer)
	self.count = self.count + 1
	self.clients[client] = task.spawn(run, self, client)
end

-- ---------------------------------------------------------------- its life

-- What the kernel says when it has no more to give, and may have again.
local SHORT = { EMFILE = true, ENFILE = true, ENOBUFS = true, ENOMEM = true }
local PAUSE = 0.1       -- seconds

local function accept_all(self)
	while not self.stopped do
		local a_wire, message, code = self.listener:accept()
		if a_wire then
			accept(self, a_wire)
		elseif SHORT[code] then
			task.sleep(PAUSE)
		else
			if code ~= "CANCELED" then self.failed = self.failed or { ("accept: %s"):format(message) } end
			return
		end
	end
end

--- Starts to accept, as a task.
-- @return the server
function Server:start()
	if self.stopped then error(STOPPED, 2) end
	if not self.acceptor then self.acceptor = task.spawn(accept_all, self) end
	return self
end

--- Accepts until it is stopped, or the user interrupts.
-- @return true
function Server:serve()
	self:start()
	pcall(self.acceptor.join, self.acceptor)
	self:stop()
	return true
end

--- Closes, aborts live connections, and raises the first error of a handler or script that was not the end of its
-- connection. Idempotent.
function Server:stop()
	if not self.stopped then
		self.stopped = true
		self.listener:close()
		local live = {}
		for client, member in pairs(self.clients) do live[client] = member end
		for client, member in pairs(live) do
			client.transport:abort()
			member:cancel()
		end
		if self.acceptor then self.acceptor:cancel() end
		for _, waiter in ipairs(self.waiters) do waiter.promise:set(true) end
	end
	local failed = self.failed
	self.failed = nil
	if failed then error(failed[1], 0) end
	return true
end

--- Stops; raises as stop() does, unless another error is under way.
function Server:__close(err)
	if err == nil then return self:stop() end
	pcall(self.stop, self)
end

return server
