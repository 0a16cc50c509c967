--- wire: a connected stream socket, read and written with deadlines.
--
-- Deadlines are times of task.now(). Results are a value, or nil, message, CODE.

local file = require "smtptest.core.file"
local socket = require "smtptest.core.socket"
local resolve = require "smtptest.core.resolve"
local task = require "smtptest.task"

local wire = {}

local Wire = {}
Wire.__index = Wire
Wire.__name = "smtptest.wire"

--- The methods of a wire, for who calls them so often that looking them up costs.
wire.methods = Wire

local huge, event = math.huge, task.event

-- Seconds a connection attempt may take: alone or the last one, and while further addresses remain.
local LAST, FURTHER = 30, 10
local RETRY = 0.05

-- RFC 5321 section 4.5.4.2, RFC 8314 section 7.3, RFC 2033: what they are where no services file names them.
local PORTS = { smtp = "25", smtps = "465", lmtp = "24", submission = "587", submissions = "465" }

--- Makes a wire of a socket primitive. A small write goes out at once: what follows must not wait for an
-- acknowledgement (RFC 9293 section 3.7.4); what has no such delay does not mind.
function wire.wrap(sock)
	local source, message, code = task.source(sock:fd(), "edge")
	if not source then return nil, message, code end
	sock:option("nodelay", true)
	return setmetatable({ sock = sock, source = source }, Wire)
end

--- Two wires, connected to each other.
function wire.pair(kind)
	local a, b = socket.pair(kind)
	if not a then return nil, b end
	return wire.wrap(a), wire.wrap(b)
end

--- A wire on a descriptor that it then owns.
function wire.fromfd(fd)
	local sock, message, code = socket.fromfd(fd)
	if not sock then return nil, message, code end
	return wire.wrap(sock)
end

-- What is forgotten, or closed, at the end of a scope, also when the task is canceled in it.
local Held = {}

function Held:__close()
	if self.source then task.forget(self.source) end
	if self.wire then self.wire:close() end
end

--- Looks a name up.
-- @param query  table: host, service, family, passive, canonname
-- @return list of addresses, canonical name | nil, message, RESOLVE TIMEOUT …
function wire.resolve(query, deadline)
	local request, message, code = resolve.start(query)
	if not request then return nil, message, code end
	local _ <close> = request
	local fd = request:fd()
	if fd then
		local source, ok
		source, message, code = task.source(fd, "level")
		if not source then return nil, message, code end
		local _ <close> = setmetatable({ source = source }, Held)
		ok, message, code = task.readable(source, deadline or huge)
		if not ok then return nil, message, code end
	end
	return request:result()
end

--- The addresses of a plan's server; the usual ports have their names also where no services file tells them.
-- @param plan  host, port, socket, family
-- @return list of addresses, canonical name | nil, message, RESOLVE TIMEOUT …
function wire.addresses(plan, deadline)
	if plan.socket then return { { family = "unix", path = plan.socket } }, "localhost" end
	local query = { host = plan.host, service = tostring(plan.port), family = plan.family, canonname = true }
	local list, name, code = wire.resolve(query, deadline)
	local port = PORTS[plan.port]
	if not list and port and code == "RESOLVE" then
		-- The host may be as unknown as the service: the name's own error is then the one to tell.
		query.service = port
		list, name, code = wire.resolve(query, deadline)
	end
	if not list then
		if code == "RESOLVE" then name = "getaddrinfo: " .. name end
		return nil, name, code
	end
	return list, name
end

--- Connects to one address.
-- @param address         as wire.resolve lists them
-- @param source_address  where from, or nil
-- @return wire | nil, message, TIMEOUT or an errno name
function wire.open(address, source_address, deadline)
	local sock, message, code = socket.connect(address, { source = source_address })
	-- The queue of a UNIX socket is full, and nothing would tell when it no longer is.
	while code == "EAGAIN" and task.now() + RETRY < deadline and task.sleep(RETRY) do
		sock, message, code = socket.connect(address, { source = source_address })
	end
	if not sock then return nil, message, code end
	local self
	self, message, code = wire.wrap(sock)
	if not self then
		sock:close()
		return nil, message, code
	end
	local held <close> = setmetatable({ wire = self }, Held)
	local ok
	repeat
		self.source.writable = false
		ok, message, code = task.writable(self.source, deadline)
		if ok then ok, message, code = sock:connected() end
	until code ~= "EAGAIN"
	if not ok then
		if code == "TIMEOUT" then message = "connect: timed out" end
		return nil, message, code
	end
	held.wire = nil
	return self
end

--- Connects, trying all addresses of the host in turn.
-- @param plan  host, port, socket, family, source, timeout (seconds for each address)
-- @return wire with `host` (canonical name) and `peer` (its address); or nil, message, RESOLVE TIMEOUT or an errno name
function wire.connect(plan)
	local start = task.now()
	local list, name, code = wire.addresses(plan, start + (plan.timeout or LAST))
	if not list then return nil, name, code end
	local message = "getaddrinfo: no address"
	code = "RESOLVE"
	for i, address in ipairs(list) do
		local seconds = plan.timeout or (i < #list and FURTHER or LAST)
		local self
		self, message, code = wire.open(address, plan.source, task.now() + seconds)
		if self then
			self.host, self.peer = name or plan.host, address
			return self
		end
		if code == "CANCELED" then break end
	end
	return nil, message, code
end

--- Reads what is there, waiting for the first byte.
-- @param max  integer
-- @return bytes | nil, message, EOF TIMEOUT ECONNRESET …
function Wire:read(max, deadline)
	local source = self.source
	while true do
		local ok, why, symbol = source.readable, nil, nil
		if not ok then
			ok, why, symbol = event(source, "reader", "rdeadline", deadline)
			-- No time left: what has come since the loop looked last counts, too.
			if not ok and symbol ~= "TIMEOUT" then return nil, why, symbol end
		end
		local bytes, message, code = self.sock:read(max)
		if bytes then
			-- A short read has emptied the socket: the next byte is an edge. Not so after a hang-up, whose edge is over.
			source.readable = #bytes == max or source.hup
			return bytes
		elseif code ~= "EAGAIN" then
			return nil, message, code
		end
		source.readable = false
		if not ok then return nil, why, symbol end
	end
end

--- Writes what the kernel takes at once.
-- @return count: 0 also where the write fails, which a real one then tells
function Wire:try_write(bytes)
	return self.source.writable and self.sock:write(bytes) or 0
end

--- Writes all of `bytes`.
-- @param deadline  for the whole
-- @param progress  seconds: the deadline moves on with every write that the kernel takes
-- @param taken     function(first, last), called for each part that the kernel took
-- @return true | nil, message, code
function Wire:write(bytes, deadline, progress, taken)
	local source, sock = self.source, self.sock
	local first, n = 1, #bytes
	while first <= n do
		if source.writable then
			local count, message, code = sock:write(bytes, first)
			if count then
				if taken then taken(first, first + count - 1) end
				first = first + count
				if progress then deadline = task.now() + progress end
			elseif code ~= "EAGAIN" then
				return nil, message, code
			else
				source.writable = false
			end
		else
			local ok, message, code = task.writable(source, deadline)
			if not ok then return nil, message, code end
		end
	end
	return true
end

--- Half-closes: the peer reads an end of file.
function Wire:shutdown()
	return self.sock:shutdown("w")
end

--- Closes; `abort` (true) with a reset.
function Wire:close(abort)
	if self.closed then return true end
	self.closed = true
	task.forget(self.source)
	self.source.readable = true         -- no event comes any more: the socket says that it is closed
	if abort then return self.sock:abort() end
	return self.sock:close()
end

function Wire:__close()
	self:close()
end

local Listener = {}
Listener.__index = Listener
Listener.__name = "smtptest.listener"

local idle = setmetatable({}, { __mode = "k" })     -- listeners that nobody has accepted from yet

--- Whether this very process listens at an address, and has not begun to accept.
-- @param address  as Wire.peer, or nil
function wire.unattended(address)
	for listener in pairs(address and idle or {}) do
		local own = listener.path and { path = listener.path } or listener:address() or {}
		if own.port == address.port and own.host == address.host and own.path == address.path then return true end
	end
	return false
end

--- Binds and listens.
-- @param address  as of smtptest.core.socket
-- @return listener | nil, message, code
function wire.listen(address, options)
	local sock, message, code = socket.listen(address, options)
	if not sock then return nil, message, code end
	local source
	source, message, code = task.source(sock:fd(), "edge")
	if not source then return nil, message, code end
	source.listening = true
	local path = address.family == "unix" and address.path:byte() ~= 0 and address.path or nil
	local self = setmetatable({ sock = sock, source = source, path = path }, Listener)
	idle[self] = true
	return self
end

--- Waits for a client.
-- @return wire, address | nil, message, code
function Listener:accept(deadline)
	idle[self] = nil
	while true do
		local sock, address, code = self.sock:accept()
		if sock then
			return wire.wrap(sock), address
		elseif code ~= "EAGAIN" and code ~= "ECONNABORTED" then
			return nil, address, code
		end
		self.source.readable = false
		local ok, message
		ok, message, code = task.readable(self.source, deadline or huge)
		if not ok then return nil, message, code end
	end
end

--- Where it listens, as smtptest.core.socket tells.
function Listener:address()
	return self.sock:address()
end

--- Closes, and removes the path of a UNIX socket; whoever waits in accept gets CANCELED.
function Listener:close()
	if self.closed then return true end
	self.closed, idle[self] = true, nil
	task.forget(self.source)
	if self.path then file.unlink(self.path) end
	return self.sock:close()
end

function Listener:__close()
	self:close()
end

return wire
