--- client: one connection, as the server sees it: what scripts and handlers are given.
--
-- Replies that the server makes by itself are held back while the client has sent more commands, and go out in one
-- write (RFC 2920 section 3.2); what a script sends goes out at once.

local core = require "smtptest.core.line"
local acceptor = require "smtptest.acceptor"
local proxy = require "smtptest.proxy"
local task = require "smtptest.task"
local tls = require "smtptest.tls"
local transcript = require "smtptest.transcript"
local transports = require "smtptest.transport"

local client = {}

local Client = { __name = "smtptest.client" }
Client.__index = Client
client.methods = Client         -- as wire.methods

local now = task.now
local get_line, read, write = transports.methods.line, transports.methods.read, transports.methods.write

-- Bytes a read asks for: most messages are small, and more means that memory is asked for, too.
local CHUNK, LARGE = 16384, 65536
--- Commands or reads after which others have their turn.
client.TURN = 64

--- What ends the work on a connection: raised inside the server only.
client.ENDED = setmetatable({}, { __tostring = function() return "the connection has ended" end })

-- What a server shows of its own bytes: secrets are found in what it receives.
local Observer = {}
Observer.__index = Observer

function Observer.sent() end

function Observer:received(bytes)
	local from, to = self.tracker:sent(bytes)
	self.transcript:add("C", bytes, from and { from, to })
	return from, to
end

--- Makes one.
-- @param server     the server that accepted it
-- @param transport  connected
-- @param peer       its address: family, host, port
-- @return client: server, transport, peer; helo (the name after EHLO), esmtp (it said EHLO or LHLO), protocol ("smtp"
--   "lmtp"), tls (as Session.tls), authname username mechanism ssf
function client.new(server, transport, peer)
	return setmetatable({
		server = server, transport = transport, peer = peer, protocol = server.protocol,
		pending = "", ssf = 0, errors = 0, turns = 0, timeout = server.plan.timeout or 300,
		filter = false, unwelcome = false, finished = false, silent = false,
	}, Client)
end

-- Remembers how the connection failed: what a script raises because of it is no error of the script's.
local function failed(self, message, code)
	self.ended, self.why = code or "EOF", message
	return nil, message, code
end

-- The same of a read: when nothing came in time, more may come, and there may be something to say.
local function unread(self, message, code)
	if code ~= "TIMEOUT" then return failed(self, message, code) end
	self.why = message
	return nil, message, code
end

--- Lets a transcript and its secrets be kept, for whoever listens.
function Client:observe()
	self.tracker, self.transcript = transcript.tracker(), transcript.new()
	self.transport.observer = setmetatable({ tracker = self.tracker, transcript = self.transcript }, Observer)
end

--- Lets others have their turn, now and then: who sends without a pause is always ready, and would keep all waiting.
function Client:breathe()
	self.turns = self.turns + 1
	if self.turns < client.TURN then return end
	self.turns = 0
	task.sleep(0)
end

-- ---------------------------------------------------------------- writing

local function put(self, bytes)
	local ok, message, code
	if self.filter then
		ok, message, code = self.filter(bytes)
	else
		ok, message, code = write(self.transport, bytes, self.timeout)
	end
	if ok then return true end
	return failed(self, message, code)
end

--- Lets every write pass through fn from now on: how faults are made.
-- @param fn  function(bytes, write) -> true | nil, message, CODE; write(bytes) is the write as it was before
function Client:through(fn)
	local before = self.filter or function(bytes) return self.transport:write(bytes, self.timeout) end
	self.filter = function(bytes) return fn(bytes, before) end
end

--- Sends what is held back.
-- @return true | nil, message, CODE
local function flush(self)
	local bytes = self.pending
	if bytes == "" then return true end
	self.pending = ""
	return put(self, bytes)
end

Client.flush = flush

-- "250 ": what a reply begins with, made once.
local heads = setmetatable({}, { __index = function(self, code)
	local head = ("%03d "):format(code)
	self[code] = head
	return head
end })

--- The bytes of a reply (RFC 5321 section 4.2.1, RFC 2034 section 4).
-- @param code  integer
-- @param text  lines joined by "\n"; an enhanced code that begins the first is put before each
function client.wire(code, text)
	text = text or ""
	local head = heads[code]
	if not text:find("\n", 1, true) then return head .. text .. "\r\n" end
	local enhanced = text:match("^%d%.%d+%.%d+ ") or ""
	local lines = {}
	for line in (text .. "\n"):gmatch("(.-)\r?\n") do
		lines[#lines + 1] = head:sub(1, 3) .. "-" .. (lines[1] and enhanced or "") .. line
	end
	lines[#lines] = head .. lines[#lines]:sub(5)
	return table.concat(lines, "\r\n") .. "\r\n"
end

local function challenged(self, code)
	if code == 334 and self.tracker then self.tracker:challenged() end
end

--- The bytes of a reply, which may wait for others.
function Client:say(bytes)
	local pending = self.pending
	self.pending = pending == "" and bytes or pending .. bytes
end

--- A reply of the server's own, which may wait for others.
function Client:answer(code, text)
	self:say(client.wire(code, text))
	if code < 400 then return challenged(self, code) end
	if code >= 500 then self.errors = self.errors + 1 end
	if code == 421 then self.finished = true end
end

--- Sends a reply, at once.
-- @param code  integer
-- @param text  "\n" makes it one of several lines; a leading "5.1.1 " is the enhanced code
-- @return true | nil, message, CODE
function Client:reply(code, text)
	challenged(self, code)
	return self:send(client.wire(code, text))
end

--- Sends exact bytes, at once.
-- @return true | nil, message, CODE
function Client:send(bytes)
	local ok, message, code = flush(self)
	if not ok then return nil, message, code end
	return put(self, bytes)
end

-- ---------------------------------------------------------------- reading

-- Whether a whole line was read and not asked for.
local function has_line(transport)
	return transport.position <= #transport.buffer and transport.buffer:find("\n", transport.position, true) ~= nil
end

--- Reads a line, its end included.
-- @param seconds  default: the server's time-out
-- @return line | nil, message, CODE; TOOLONG for one over the limit, which is read away to its end
function Client:read_line(seconds)
	local transport = self.transport
	local ok, message, code, text
	if self.pending ~= "" and not has_line(transport) then
		-- What is held back goes out before we wait.
		ok, message, code = flush(self)
		if not ok then return nil, message, code end
	end
	text, message, code = get_line(transport, seconds or self.timeout)
	if text then return text end
	if code ~= "TOOLONG" then return unread(self, message, code) end
	local bytes = transport:pending()
	while not bytes:find("\n", 1, true) do
		local why, symbol
		self:breathe()
		bytes, why, symbol = transport:read(CHUNK, seconds or self.timeout)
		if not bytes then return unread(self, why, symbol) end
	end
	transport:unread(bytes:match("\n(.*)$"))
	return nil, message, code
end

--- Reads a line without its end.
-- @param seconds  default: the server's time-out
-- @return line | nil, message, CODE
function Client:line(seconds)
	local text, message, code = self:read_line(seconds)
	if not text then return nil, message, code end
	self.last = text:gsub("\r?\n$", "")
	return self.last
end

-- How many pieces a message may lie in: a client that sends it byte by byte must not cost a string for each.
local PIECES = 1000

--- Adds bytes to a list of pieces.
function client.add(parts, bytes)
	if #parts >= PIECES then
		local whole = table.concat(parts)
		for i = #parts, 2, -1 do parts[i] = nil end
		parts[1] = whole
	end
	parts[#parts + 1] = bytes
end

-- Bytes a second. Who sends a message byte by byte, each in time, would hold the connection for ever: a message has
-- twice the time-out in all, and a second more for each so many bytes of it that have come.
local SLOWEST = 1000

-- Seconds that may pass until the next bytes of a message come, of which `size` have come since `began`.
local function patience(self, began, size)
	local seconds = 2 * self.timeout
	if size == 0 then return seconds end
	return math.max(0, math.min(seconds, began + seconds + size / SLOWEST - now()))
end

--- Reads a message up to and with its end, CR LF "." CR LF and nothing else (RFC 5321 section 4.1.1.4), in memory
-- bounded by `limit`. TIMEOUT for one that comes more slowly than 1000 bytes a second, once twice the time-out is over.
-- @param limit  bytes, without dots before lines and without the end (RFC 1870 section 5); of a longer message nothing
--   is kept
-- @return list of strings: the bytes as they came; or nil, message, CODE; TOOLONG when the end was found, but too late
function Client:read_raw(limit)
	local transport = self.transport
	local ok, message, code
	local parts, size = {}, 0
	local room = limit + limit // 3 + 3     -- a line with a dot before it has three bytes
	local ask = CHUNK
	local seen                      -- how much of the end came last
	local began = now()
	while true do
		local bytes, last
		self:breathe()
		-- Also for who has sent the beginning of the message with DATA, and waits for the 354.
		if self.pending ~= "" and transport.position > #transport.buffer then
			ok, message, code = flush(self)
			if not ok then return nil, message, code end
		end
		bytes, message, code = read(transport, ask, patience(self, began, size))
		if not bytes then return unread(self, message, code) end
		if #bytes == ask then ask = LARGE end
		last, seen = core.eod(bytes, seen)
		if last and last < #bytes then
			transport:unread(bytes:sub(last + 1))
			bytes = bytes:sub(1, last)
		end
		size = size + #bytes
		if size > room then parts = {} else client.add(parts, bytes) end
		if last then
			if size <= limit + 3 or size <= room and #client.unstuffed(table.concat(parts)) <= limit then return parts end
			return nil, ("a message of more than %d bytes"):format(limit), "TOOLONG"
		end
	end
end

--- Reads exactly so many bytes (BDAT, RFC 3030 section 2), as slowly as read_raw.
-- @param keep  false: they are dropped
-- @return list of strings | nil, message, CODE
function Client:read_bytes(size, keep)
	local ok, message, code = flush(self)
	if not ok then return nil, message, code end
	local parts, began, came = {}, now(), 0
	while size > 0 do
		local bytes
		self:breathe()
		bytes, message, code = read(self.transport, math.min(size, LARGE), patience(self, began, came))
		if not bytes then return unread(self, message, code) end
		size, came = size - #bytes, came + #bytes
		if keep then client.add(parts, bytes) end
	end
	return parts
end

--- Reads the PROXY header that must come first: `proxy` is what it says, `peer` who the client says it speaks for.
-- @return true | nil, message, CODE
function client.read_proxy(self)
	local transport = self.transport
	local bytes, deadline = "", now() + math.min(self.timeout, 60)
	while true do
		local header, rest, code = proxy.parse(bytes)
		if header then
			transport:unread(rest)
			self.proxy, self.peer = header, header.source or self.peer
			return true
		elseif code then
			return nil, rest, code
		end
		local more, message, symbol = transport:read(4096, math.max(0, deadline - now()))
		if not more then return nil, message, symbol end
		bytes = bytes .. more
	end
end

--- The message without its end and the dots that were put before lines.
function client.unstuffed(raw)
	return core.unstuff(raw:sub(1, -4))
end

--- Reads a message after a 354 that the script has sent.
-- @return data (dots taken away), raw (as it came, its end included) | nil, message, CODE
function Client:read_data()
	local parts, message, code = self:read_raw(self.server.limits.message)
	if not parts then return nil, message, code end
	local raw = table.concat(parts)
	return client.unstuffed(raw), raw
end

-- ---------------------------------------------------------------- layers

--- Shakes hands; sends no 220. What the client had sent in clear before is dropped and kept in `leftover`; only a
-- handshake that did not wait for our 220 is taken.
-- @param fields  certfile keyfile keypass cafile … over the server's
-- @return tls, as Session.tls | nil, message, CODE
function Client:starttls(fields)
	local ok, message, code = flush(self)
	if not ok then return nil, message, code end
	local context
	context, message, code = self.server:context(fields)
	if not context then return nil, message, code end
	local machine
	-- Who names authorities wants no other's certificates.
	local plan, more = self.server.plan, fields or {}
	local authorities = more.cafile or more.capath or plan.cafile or plan.capath
	machine, message, code = context:server { verify = authorities ~= nil }
	if not machine then return nil, message, code end
	local pending = self.transport:pending()
	if pending:byte() == 22 then        -- a TLS record (RFC 8446 section 5.1)
		machine:feed(pending)
	else
		self.transport:unread(pending)
	end
	local leftover
	leftover, message, code = self.transport:push(machine, math.min(self.timeout, 60))
	if not leftover then return failed(self, message, code) end
	self.mute = nil         -- what is said now is said in TLS
	if leftover ~= "" then
		self.leftover = leftover
		self.transport:note("leftover", { bytes = leftover })
	end
	self.tls = tls.info(machine, self.server.plan, leftover)
	self.transport:note("tls", { tls = self.tls })
	return self.tls
end

--- Takes part in an AUTH: reads the client's lines, sends 334s, and at the end 235 or what refuses; puts the security
-- layer on.
-- @param argument  what follows AUTH (default: of the line read last, when that was an AUTH; else of the next one)
-- @return true | nil, message, CODE
function Client:auth(argument)
	if not argument then
		local line = self.last
		if not (line and line:upper():find "^AUTH%f[%A]") then
			local message, code
			line, message, code = self:line()
			if not line then return nil, message, code end
		end
		argument = line:match("^%a+ (.*)$") or ""
	end
	local ok, message, code = acceptor.accept(self, argument)
	self.last = nil         -- it is answered
	if not self.ended then
		local sent, why, symbol = flush(self)
		if not sent then return nil, why, symbol end
	end
	if self.layer then self:secure() end
	return ok, message, code
end

--- Puts the layer of an AUTH that succeeded on, once its 235 is out.
function Client:secure()
	local layer = self.layer
	self.layer = nil
	self.transport:secure(layer)
end

--- Forgets all that the client has said, as after a handshake (RFC 3207 section 4.2).
function Client:forget()
	self.helo, self.esmtp, self.from, self.to, self.chunks = nil, nil, nil, nil, nil
	self.authname, self.username, self.mechanism = nil, nil, nil
end

-- ---------------------------------------------------------------- the end

--- Closes at once.
function Client:close()
	self.finished = true
	return self.transport:close()
end

--- Closes with a reset.
function Client:abort()
	self.finished = true
	return self.transport:abort()
end

--- Half-closes: nothing more is sent.
function Client:shutdown()
	self:flush()
	return self.transport:shutdown()
end

Client.__close = Client.close

--- Whether an error is nothing but the end of a client's connection, told by one of its methods.
function client.is_end(self, err)
	if err == client.ENDED then return true end
	return self.why ~= nil and tostring(err):sub(-#self.why) == self.why
end

return client
