--- session: one SMTP or LMTP session, from connecting to closing.

local argument = require "smtptest.argument"
local failure = require "smtptest.failure"
local output = require "smtptest.output"
local plans = require "smtptest.plan"
local proxy = require "smtptest.proxy"
local smtp = require "smtptest.smtp"
local task = require "smtptest.task"
local auth = require "smtptest.auth"
local content = require "smtptest.content"
local envelope = require "smtptest.envelope"
local interact = require "smtptest.interact"
local pipeline = require "smtptest.pipeline"
local tls = require "smtptest.tls"
local transcript = require "smtptest.transcript"
local transport = require "smtptest.transport"
local xclient = require "smtptest.xclient"

local session = {}

local Session = { __name = "smtptest.session" }
Session.__index = Session

for _, part in ipairs { smtp, xclient, content, pipeline, auth, interact } do
	for name, method in pairs(part.methods) do Session[name] = method end
end

-- What a session keeps of its own bytes; the transport shows them to it without making events.
local Observer = {}
Observer.__index = Observer

function Observer:sent(bytes)
	local from, to = self.tracker:sent(bytes)
	if self.envelope then self.envelope:sent(bytes) end
	self.transcript:add("C", bytes, from and { from, to })
	self.shown = from and transcript.masked(bytes, { from, to })
	return from, to
end

function Observer:received(bytes)
	self.transcript:add("S", bytes)
end

-- A layer has come off: what was said of it is no longer so.
function Observer:popped(machine)
	local owner = self.session
	if owner.tls and owner.tls.machine == machine then
		owner.tls = owner.tls.outer
	elseif not machine.handshake then
		owner.ssf = 0
	end
end

-- ---------------------------------------------------------------- its beginning

local function new(a_transport, plan)
	local kept = transcript.new()
	local observer = setmetatable({ tracker = transcript.tracker(), transcript = kept }, Observer)
	observer.envelope = plan.protocol == "lmtp" and envelope.new() or nil
	a_transport.observer = observer
	local self = setmetatable({
		transport = a_transport, plan = plan, observer = observer, transcript = kept, envelope = observer.envelope,
		capabilities = {}, recipients = {}, authenticated = false, ssf = 0,
		host = a_transport.wire.host or plan.host,
		port = a_transport.wire.peer and a_transport.wire.peer.port or tonumber(plan.port) or 0,
	}, Session)
	observer.session = self
	if plan.trace then output.trace(self) end
	if plan.record then require "smtptest.record".session(self) end
	if plan.log then require "smtptest.log".session(self) end
	return self
end

-- Files that can't be written are found before anybody is connected to.
local function open_files(plan)
	if plan.record then require "smtptest.record".file(plan) end
	if plan.log then require "smtptest.log".file(plan) end
end

-- What a plan of the caller's says, complete; blames the line that called the public function.
local function complete(plan, level)
	return plans.defaults(plans.check(plan or {}, level + 1))
end

-- What fails before there is a session.
local function raise(op, message, code, fields)
	fields.op, fields.message, fields.code = op, message, code
	fields.layer, fields.transcript = "clear", ""
	error(failure.new(fields), 0)
end

-- A key that can't be read is found before anybody is connected to.
local function check_material(plan)
	if plan.tls == "none" and not (plan.certfile or plan.keyfile or plan.cafile or plan.capath) then return end
	local context, message, code = tls.context(plan)
	if not context then raise("TLS", message, code, {}) end
end

local function send_proxy(self)
	local sock = self.transport.wire.sock
	local header = proxy.header(self.plan.proxy, sock:address() or {}, sock:peer() or {})
	local ok, message, code = self.transport:write(header, self:seconds("command"))
	if not ok then self:fail("PROXY", message, code) end
	-- It is no command, and need not end like a line.
	self.observer.tracker = transcript.tracker()
	if self.envelope then self.envelope:restart() end
end

-- Reads the greeting and shakes hands, as the plan says.
local function begin(self)
	if self.plan.proxy then send_proxy(self) end
	if self.plan.tls == "implicit" then self:handshake() end
	if self.plan.greeting then self.greeting = self:reply(nil, "greeting") end
end

-- A session on its way to the script: nobody else would close it when the task is canceled, or, unless the error has it
-- (`kept`), when it fails.
local Opening = {}

function Opening:__close(err)
	if not self.open and (err == nil or not self.kept) then self.session:close() end
end

local function opened(self, go, kept)
	local opening <close> = setmetatable({ session = self, kept = kept }, Opening)
	go(self)
	opening.open = true
	return self
end

--- Connects: PROXY header sent, implicit TLS done, greeting read (`greeting=false`: not read).
-- @param plan     table of plan fields
-- @param fn       nil, or a listener as Session.on takes it, which then hears the beginning too
-- @param options  its options
-- @return session; raises
function session.connect(plan, fn, options)
	plan = complete(plan, 2)
	check_material(plan)
	open_files(plan)
	local start = task.now()
	local a_transport, message, code = transport.connect(plan)
	if not a_transport then
		local op = code == "RESOLVE" and "getaddrinfo" or "connect"
		if code == "TIMEOUT" then message = "connect: timed out" end
		raise(op, message, code, { target = plan.socket or ("%s:%s"):format(plan.host, plan.port),
			elapsed = task.now() - start })
	end
	local self = new(a_transport, plan)
	if fn then self:on(fn, options) end
	return opened(self, begin)
end

--- Makes a session on a transport; nothing is sent or read.
-- @return session
function session.wrap(a_transport, plan)
	local whole = complete(plan, 2)
	if plan and plan.maxline then a_transport.maxline = plan.maxline end
	return new(a_transport, whole)
end

-- ---------------------------------------------------------------- TLS (RFC 3207)

local function with_fields(plan, fields)
	return fields and plans.new(fields, plan, 3) or plan
end

--- Shakes hands without saying STARTTLS.
-- @param fields  plan fields about TLS, over the session's plan
-- @return Session.tls; raises TLS, CERTIFICATE (`verify`), TIMEOUT
function Session:handshake(fields)
	local plan = with_fields(self.plan, fields)
	local machine, message, code = tls.client(plan)
	if not machine then self:fail("TLS", message, code) end
	-- Lines of a reply that never ended are bytes received in clear, too.
	if self.partial then self.transport:unread(table.concat(self.partial)) end
	self.partial = nil
	local leftover, why, symbol, dropped = self.transport:push(machine, self:seconds("TLS handshake"))
	if not leftover then
		-- Whether it is the write or the read that finds the peer gone is chance.
		if symbol == "EPIPE" or symbol == "ECONNRESET" then
			why, symbol = "the peer closed during the handshake", "TLS"
		end
		self:fail("TLS handshake", why, symbol, { leftover = dropped, problems = machine:problems() })
	end
	self.capabilities = {}
	if self.envelope then self.envelope:restart() end
	local outer = self.tls
	self.tls = tls.info(machine, plan, leftover)
	rawset(self.tls, "outer", outer)
	if leftover ~= "" then self.transport:note("leftover", { bytes = leftover }) end
	self.transport:note("tls", { tls = self.tls })
	return self.tls
end

--- Says STARTTLS; shakes hands after a 220; clears the capabilities.
-- @param fields  as handshake()
-- @return reply; raises as handshake(), before STARTTLS for a key or certificate that can't be read
function Session:starttls(fields)
	local context, message, code = tls.context(with_fields(self.plan, fields))
	if not context then self:fail("TLS", message, code) end
	local answer = self:command("STARTTLS", "STARTTLS")
	if answer.code == 220 then self:handshake(fields) end
	return answer
end

-- ---------------------------------------------------------------- the whole way

local function stop(self, op, answer)
	self:fail(op, ("%s refused: %s"):format(op, answer), "REPLY", { reply = answer })
end

--- Says EHLO, or HELO when that is refused, or LHLO for LMTP.
-- @return reply; raises REPLY when none is accepted
function Session:hello()
	local answer
	if self.plan.protocol == "lmtp" then
		answer = self:lhlo()
	else
		answer = self:ehlo()
		if answer.code >= 500 then answer = self:helo() end
	end
	if not answer:is("2xx") then stop(self, answer.command:match("^%a+"), answer) end
	return answer
end

--- Whether a plan asks for AUTH: as it says, or, where it does not say, when it has anything to authenticate with.
function session.wants_auth(plan)
	if plan.auth ~= nil then return plan.auth end
	return (plan.mechanism or plan.authname or plan.username or plan.password) ~= nil
end

local function whole_way(self)
	if self.greeting and not self.greeting:is("2xx") then stop(self, "greeting", self.greeting) end
	self:hello()
	if self.plan.tls == "starttls" then
		if not self.capabilities.STARTTLS then
			self:fail("STARTTLS", "STARTTLS not supported by the server", "REPLY", { reply = self.last })
		end
		local answer = self:starttls()
		if answer.code ~= 220 then stop(self, "STARTTLS", answer) end
		self:hello()
	end
	if session.wants_auth(self.plan) then
		local ok, answer = pcall(self.auth, self)
		if not ok then
			-- Without a usable mechanism it is EHLO's answer that stops us.
			if failure.is(answer) then answer.reply = answer.reply or self.last end
			error(answer, 0)
		end
		if answer.code ~= 235 then stop(self, "AUTH", answer) end
		if self.ssf > 0 then self:hello() end
	end
end

--- Goes the whole way a plan asks for: connect, EHLO, STARTTLS, EHLO, AUTH, EHLO again under a layer.
-- @param plan  default: what the command line said
-- @return session; what stops the way raises one error with `reply` and `session`, which is still open
function session.open(plan)
	plan = plans.check(plan or session.options(), 2)
	return opened(session.connect(plan), whole_way, true)
end

-- ---------------------------------------------------------------- listening in, and the end

local ON = { below = "boolean" }

--- Calls fn with an event for every write or record taken, every chunk read and every fact.
-- @param fn       function(event); event: direction ("send" "receive" "note"), bytes, layer ("clear" "tls" "sasl"),
--   time (seconds since 1970), secret (nil or {from, to}); of a note `event`:
--   "line" (one line of a reply) "partial" (a line whose end never came) "reply" "tls" "auth" "leftover" "closed"
--   "quit" (the end of interact) "end" (`how`: we "close" "abort" "half_close")
-- @param options  below (true): also the bytes under the layers
-- @return a function that removes fn
function Session:on(fn, options)
	if type(fn) ~= "function" then error("bad listener (function expected, got " .. type(fn) .. ")", 2) end
	options = argument.options(options, ON, 2)
	return self.transport:on(fn, options)
end

-- Tells the listeners what we do with the connection.
local function ends(self, how)
	if not self.transport.closed then self.transport:note("end", { how = how }) end
end

--- Half-closes, all layers (TLS says close_notify): nothing more is sent, replies can still be read. Idempotent.
-- @return true; raises what the connection came to
function Session:shutdown()
	if self.transport.closed then return true end
	ends(self, "half_close")
	local ok, message, code = self.transport:shutdown()
	if not ok then self:fail("shutdown", message, code) end
	return true
end

--- Closes at once: no QUIT, no close_notify, no waiting. Idempotent.
function Session:close()
	ends(self, "close")
	return self.transport:close()
end

--- Closes with a reset.
function Session:abort()
	ends(self, "abort")
	return self.transport:abort()
end

function Session:__close()
	self:close()
end

return session
