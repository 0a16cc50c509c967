--- transport: bytes over a wire, through layers that can be pushed (STARTTLS, a SASL layer) and popped.
--
-- Everything a session sends or receives passes here, and here it is shown to listeners.

local argument = require "smtptest.argument"
local layers = require "smtptest.layer"
local listeners = require "smtptest.listeners"
local plans = require "smtptest.plan"
local task = require "smtptest.task"
local wire = require "smtptest.wire"

local transport = {}

local Transport = { __name = "smtptest.transport" }
Transport.__index = Transport
transport.methods = Transport           -- as wire.methods

local read, try_write = wire.methods.read, wire.methods.try_write
local now, huge, running, find = task.now, math.huge, coroutine.running, string.find

local CHUNK = 16384         -- bytes a read asks for
local PIECE = 65536         -- bytes a layer gets at once: bounds what lies encrypted in memory
local MAXLINE = 1 << 20
local TIMEOUT = 300

-- What ends a turn of writing, also when the task that had it is canceled: `flushing` (who sends what is in the queue),
-- `writer` (whose bytes come next).
local Turn = {}

function Turn:__close()
	local owner = self.owner
	owner[self.name] = false
	if self.name == "writer" and owner.waiting[1] then
		local waiting = owner.waiting
		owner.waiting = {}
		for _, promise in ipairs(waiting) do promise:set(true) end
	end
end

for name, method in pairs(listeners.methods) do Transport[name] = method end

local sent, received, below = listeners.sent, listeners.received, listeners.below

local function wrap(a_wire, plan)
	plan = plan or {}
	local self = setmetatable({
		wire = a_wire,
		layers = {},
		timeout = plan.timeout or TIMEOUT,
		maxline = plan.maxline or MAXLINE,
		buffer = "",        -- plain bytes read and not yet asked for
		position = 1,
		parts = {},         -- what follows the buffer: the line that is being read
		queue = {},         -- what layers made and the kernel has not taken,
		out = 0,            -- and how many bytes of the first it has
		flushing = false,   -- whether somebody sends them
		writer = false,     -- the coroutine that writes
		later = {},         -- what listeners wrote about what is being written
		waiting = {},       -- promises of those who want to write
		listeners = {},
		observer = false,   -- the session or client that it serves: see listeners.lua
		closed = false,
	}, Transport)
	self.flushing_turn = setmetatable({ owner = self, name = "flushing" }, Turn)
	self.writer_turn = setmetatable({ owner = self, name = "writer" }, Turn)
	return self
end

--- Connects.
-- @param plan  host, port, socket, family, source, timeout, maxline; what it does not say is as everywhere (localhost,
--   the port by protocol)
-- @return transport | nil, message, RESOLVE TIMEOUT or an errno name
function transport.connect(plan)
	plan = plans.defaults(plans.check(plan or {}, 2))
	local a_wire, message, code = wire.connect(plan)
	if not a_wire then return nil, message, code end
	return wrap(a_wire, plan)
end

--- Two transports, connected to each other.
-- @param kind  "stream" (default) or "seqpacket"
function transport.pair(kind)
	local a, b = wire.pair(kind)
	if not a then return nil, b end
	return wrap(a), wrap(b)
end

--- A transport on a descriptor, which it then owns.
function transport.fromfd(fd)
	local a_wire, message, code = wire.fromfd(fd)
	if not a_wire then return nil, message, code end
	return wrap(a_wire)
end

--- A transport on a wire.
transport.wrap = wrap

--- Listens on a UNIX socket.
-- @return listener with accept(deadline) -> wire, close | nil, message, code
function transport.listen(path)
	return wire.listen({ family = "unix", path = path })
end

-- ---------------------------------------------------------------- writing

-- Sends what layers made. It must go out whole, even if the task that wrote it is canceled or has no time left: half a
-- record would make the rest unreadable. Who writes next sends it first.
local function flush(self, deadline, progress)
	local queue = self.queue
	if not queue[1] then return true end
	self.flushing = true
	local _ <close> = self.flushing_turn
	while queue[1] do
		if self.out > 0 then queue[1], self.out = queue[1]:sub(self.out + 1), 0 end
		local ok, message, code = self.wire:write(queue[1], deadline, progress, function(_, last) self.out = last end)
		if not ok then return nil, message, code end
		table.remove(queue, 1)
		self.out = 0
	end
	return true
end

local function push_down(self, bytes, deadline, progress)
	if bytes ~= "" then table.insert(self.queue, bytes) end
	-- Who sends now sends this too: a reader that has an alert to send must not wait for a writer.
	if self.flushing then return true end
	return flush(self, deadline, progress)
end

-- Lets everything that the layers from `level` down hold for below go out.
local function drain(self, level, deadline, progress)
	for i = level, 1, -1 do
		local bytes = self.layers[i]:drain()
		if bytes == "" then return true end
		if i == 1 then
			below(self, "send", bytes)
			return push_down(self, bytes, deadline, progress)
		end
		local count, message, code = self.layers[i - 1]:write(bytes)
		if not count then return nil, message, code end
	end
	return true
end

local function deadline_of(self, timeout)
	return now() + (timeout or self.timeout)
end

local function write_clear(self, bytes, deadline, progress)
	local ok, message, code = flush(self, deadline, progress)
	if not ok then return nil, message, code end
	local whole = #bytes
	return self.wire:write(bytes, deadline, progress, function(first, last)
		sent(self, last - first + 1 == whole and bytes or bytes:sub(first, last))
	end)
end

local function write_layered(self, bytes, deadline, progress)
	local top, first, n = #self.layers, 1, #bytes
	while first <= n do
		local last = math.min(n, first + PIECE - 1)
		local count, message, code = self.layers[top]:write(bytes, first, last)
		if not count then return nil, message, code end
		local ok
		ok, message, code = drain(self, top, deadline, progress)
		if not ok then return nil, message, code end
		sent(self, count == n and bytes or bytes:sub(first, first + count - 1))
		first = first + count
		if progress then deadline = now() + progress end
	end
	return true
end

-- Waits until no other task writes: the bytes of two would be mixed.
local function my_turn(self, me, deadline)
	while self.writer and self.writer ~= me do
		local promise = task.promise()
		table.insert(self.waiting, promise)
		local ok, message, code = promise:wait(deadline < huge and deadline - now() or nil)
		if not ok then return nil, message, code end
	end
	return true
end

--- Writes exactly these bytes; another task that writes waits until they are out.
-- @param timeout  seconds for the whole (default: the plan's)
-- @param options  table: progress (true: the time-out is time without progress)
-- @return true | nil, message, code
function Transport:write(bytes, timeout, options)
	if not (self.layers[1] or self.writer or self.queue[1] or self.listeners[1] or self.closed) then
		-- In clear, with nobody listening or before us: what the kernel takes at once needs no more than this.
		local count = try_write(self.wire, bytes)
		if self.observer and count > 0 then self.observer:sent(count == #bytes and bytes or bytes:sub(1, count)) end
		if count == #bytes then return true end
		bytes = bytes:sub(count + 1)
	end
	local progress = options and options.progress and (timeout or self.timeout) or nil
	local deadline = deadline_of(self, timeout)
	local me = running()
	local ok, message, code = my_turn(self, me, progress and huge or deadline)
	if not ok then return nil, message, code end
	if self.closed then return nil, "closed", "EBADF" end
	if self.writer == me then
		table.insert(self.later, bytes)
		return true
	end
	self.writer = me
	local _ <close> = self.writer_turn
	local write = #self.layers == 0 and write_clear or write_layered
	ok, message, code = write(self, bytes, deadline, progress)
	while ok and self.later[1] do
		ok, message, code = write(self, table.remove(self.later, 1), deadline, progress)
	end
	return ok, message, code
end

-- ---------------------------------------------------------------- reading

local function read_level(self, level, max, deadline)
	if level == 0 then
		local bytes, message, code = read(self.wire, max, deadline)
		if bytes and #self.layers > 0 then below(self, "receive", bytes) end
		return bytes, message, code
	end
	local layer = self.layers[level]
	while true do
		local bytes, message, code = layer:read(max)
		local ok, why, symbol = drain(self, level, deadline)
		if bytes and bytes ~= "" then return bytes end
		if not bytes and code ~= "WANTREAD" then return nil, message, code end
		if not ok then return nil, why, symbol end
		local under
		under, message, code = read_level(self, level - 1, CHUNK, deadline)
		if under then
			layer:feed(under)
		elseif code == "EOF" and not layer.ended then
			layer.ended = true
			layer:eof()
		else
			return nil, message, code
		end
	end
end

-- Reads more plain bytes, past what is buffered.
local function more(self, max, deadline)
	if self.closed then return nil, "closed", "EBADF" end
	local bytes, message, code
	if self.layers[1] then
		bytes, message, code = read_level(self, #self.layers, max, deadline)
	else
		bytes, message, code = read(self.wire, max, deadline)
	end
	if bytes then
		if self.observer or self.listeners[1] then received(self, bytes) end
	elseif code ~= "TIMEOUT" and code ~= "CANCELED" and code ~= "BUSY" and not self.ended then
		self.ended = code
		self:note("closed", { code = code, message = message })
	end
	return bytes, message, code
end

-- Joins what is read and not asked for.
local function settle(self)
	if not self.parts[1] then return end
	self.buffer, self.position = self.buffer:sub(self.position) .. table.concat(self.parts), 1
	self.parts = {}
end

--- Reads what is there, waiting for the first byte.
-- @param max      integer
-- @param timeout  seconds (default: the plan's; 0: only what is there)
-- @return bytes | nil, message, EOF TRUNCATED ECONNRESET TIMEOUT …
function Transport:read(max, timeout)
	settle(self)
	if self.position <= #self.buffer then
		local bytes = self.buffer:sub(self.position, self.position + max - 1)
		self.position = self.position + #bytes
		return bytes
	end
	return more(self, max, now() + (timeout or self.timeout))
end

local function too_long(self)
	settle(self)
	return nil, ("a line of more than %d bytes"):format(self.maxline), "TOOLONG"
end

--- Reads one line, its end included.
-- @param timeout  seconds for the whole (default: the plan's)
-- @return line | nil, message, code; TOOLONG beyond maxline. What was read stays unread.
function Transport:line(timeout)
	if self.parts[1] then settle(self) end
	local buffer, position, size = self.buffer, self.position, 0
	if position <= #buffer then
		local lf = find(buffer, "\n", position, true)
		size = (lf or #buffer) - position + 1
		if size > self.maxline then return too_long(self) end
		if lf then
			self.position = lf + 1
			return buffer:sub(position, lf)
		end
	end
	local deadline = now() + (timeout or self.timeout)
	while true do
		local bytes, message, code = more(self, CHUNK, deadline)
		if not bytes then
			settle(self)
			return nil, message, code
		end
		local lf = find(bytes, "\n", 1, true)
		if lf == #bytes and size == 0 and lf <= self.maxline then
			return bytes            -- nothing but a line, as it mostly is
		end
		size = size + (lf or #bytes)
		if lf and size <= self.maxline then
			local text = self.buffer:sub(self.position) .. table.concat(self.parts) .. bytes:sub(1, lf)
			self.buffer, self.position, self.parts = bytes, lf + 1, {}
			return text
		end
		-- Kept in self: a task that is canceled here must not take bytes with it.
		self.parts[#self.parts + 1] = bytes
		if size > self.maxline then return too_long(self) end
	end
end

--- Puts bytes back: the next read gives them first.
function Transport:unread(bytes)
	settle(self)
	self.buffer, self.position = bytes .. self.buffer:sub(self.position), 1
end

--- Takes all that was read and not asked for.
function Transport:pending()
	settle(self)
	local bytes = self.buffer:sub(self.position)
	self.buffer, self.position = "", 1
	return bytes
end

-- ---------------------------------------------------------------- layers

-- Shakes hands, where the machine does so, on top of the present layers.
local function handshake(self, layer, deadline)
	local level = #self.layers
	while true do
		local ok, message, code = layer.machine:handshake()
		local out = layer:drain()
		if out ~= "" then
			local written, why, symbol
			if level == 0 then
				below(self, "send", out, "tls")
				written, why, symbol = push_down(self, out, deadline)
			else
				written, why, symbol = self.layers[level]:write(out)
				if written then written, why, symbol = drain(self, level, deadline) end
			end
			-- The handshake's own failure says more than that its alert could not be sent.
			if not written and (ok or code == "WANTREAD") then return nil, why, symbol end
		end
		if ok then return true end
		if code ~= "WANTREAD" then return nil, message, code end
		local bytes
		bytes, message, code = read_level(self, level, CHUNK, deadline)
		if bytes then
			if level == 0 then below(self, "receive", bytes, "tls") end
			layer:feed(bytes)
		elseif code == "EOF" or code == "ECONNRESET" or code == "TRUNCATED" then
			local did = code == "ECONNRESET" and "reset the connection" or "closed"
			return nil, ("the peer %s during the handshake"):format(did), "TLS"
		else
			return nil, message, code
		end
	end
end

--- Puts a layer on top. One that has a `handshake` (TLS) shakes hands first and drops what was received in clear before
-- it, which is how a STARTTLS injection looks; any other (SASL) is fed with it (RFC 4954 section 4).
-- @param machine  feed, read, write, drain, finish, eof, and handshake for TLS
-- @param timeout  seconds for the handshake
-- @return leftover (bytes that were read in clear and not asked for) | nil, message, code
function Transport:push(machine, timeout)
	local leftover = self:pending()
	local layer = layers.new(machine)
	if machine.handshake then
		local ok, message, code = handshake(self, layer, deadline_of(self, timeout))
		if not ok then return nil, message, code, leftover end
	elseif leftover ~= "" then
		layer:feed(leftover)
	end
	table.insert(self.layers, layer)
	return leftover
end

-- Received, for whoever reads next.
local function keep(self, bytes)
	if bytes == "" then return end
	received(self, bytes)
	self.parts[#self.parts + 1] = bytes
end

-- Takes a layer out of the stack; what it has decoded stays to be read.
-- @return the bytes that it was given and that are not its own
local function take_out(self, level)
	local layer = self.layers[level]
	local rest = layer.machine.rest and layer.machine:rest() or ""
	while layer.name ~= "tls" do
		local bytes = layer:read(CHUNK)
		if not bytes or bytes == "" then break end
		keep(self, bytes)
	end
	self.layers[level], self.ended = nil, nil       -- the end of a layer is not that of the connection
	local observer = self.observer
	if observer and observer.popped then observer:popped(layer.machine) end
	return rest
end

--- Puts a SASL security layer on, in place of one that is on top already (RFC 4422 section 3.8). It is fed with what
-- was read below it.
-- @param machine  as push() takes it
function Transport:secure(machine)
	local level = #self.layers
	local top = self.layers[level]
	if top and top.secures then
		local layer = layers.new(machine)
		layer:feed(take_out(self, level))
		self.layers[level] = layer
	else
		level = level + 1
		self:push(machine)
	end
	self.layers[level].secures = true
end

local POP = { notify = "boolean", wait = "boolean", timeout = "number" }

--- Takes the top layer off: close_notify, then what is below it on the same connection.
-- @param options  notify (default true: send close_notify), wait (default true: read the peer's), timeout (seconds;
--   default: the plan's)
-- @return the machine | nil, message, code
function Transport:pop(options)
	options = argument.options(options, POP, 2)
	local level = #self.layers
	local layer = self.layers[level]
	if not layer then return nil, "no layer to take off", "EINVAL" end
	local deadline = deadline_of(self, options.timeout)
	if options.notify ~= false then
		layer:finish()
		local ok, message, code = drain(self, level, deadline)
		if not ok then return nil, message, code end
	end
	-- A SASL layer has no end of its own.
	if options.wait ~= false and layer.name == "tls" then
		repeat
			local bytes, message, code = read_level(self, level, CHUNK, deadline)
			if bytes then
				keep(self, bytes)
			elseif code ~= "EOF" then
				return nil, message, code
			end
		until not bytes
	end
	keep(self, take_out(self, level))
	return layer.machine
end

-- ---------------------------------------------------------------- the end

--- Half-closes, all layers: nothing more is sent, reading goes on.
function Transport:shutdown()
	for level = #self.layers, 1, -1 do
		self.layers[level]:finish()
		drain(self, level, deadline_of(self))
	end
	return self.wire:shutdown()
end

--- Closes at once: nothing is sent, nothing waited for. Idempotent.
function Transport:close()
	self.closed = true
	return self.wire:close()
end

--- Closes with a reset.
function Transport:abort()
	self.closed = true
	return self.wire:close(true)
end

function Transport:__close()
	self:close()
end

return transport
