--- link: one connection of a case that is played: bytes out, replies in, TLS and AUTH on the way.
--
-- Leaner than a session: thousands are opened and closed a second.

local proxy = require "smtptest.proxy"
local scan = require "smtptest.core.reply".scan
local session = require "smtptest.session"
local task = require "smtptest.task"
local tls = require "smtptest.tls"
local track = require "smtptest.fuzz.track"
local transport = require "smtptest.transport"
local wire = require "smtptest.wire"

local link = {}

local Link = {}
Link.__index = Link

local now = task.now

local CHUNK = 16384
local LONGEST = 1 << 20         -- of a reply

--- Connects; with implicit TLS it has shaken hands.
-- @param target    address, plan, patience, traits (smtptest.fuzz.target)
-- @param name      "c1" …
-- @return link | nil, message, code
function link.open(target, name)
	local plan = target.plan
	local a_wire, message, code = wire.open(target.address, plan.source, now() + target.patience)
	if not a_wire then return nil, message, code end
	local self = setmetatable({
		name = name, target = target, wire = a_wire, buffer = "", position = 1,
		all = {},               -- what the case has sent
		errors = 0,             -- replies of 5xx
		extra = 0,              -- replies that nobody asked for
		said = {},              -- verbs, in order, and how often each
		idle = 0,               -- commands that do nothing for a message
		track = track.new(target.traits, plan.protocol == "lmtp"),
	}, Link)
	if plan.proxy then
		a_wire:write(proxy.header(plan.proxy, a_wire.sock:address() or {}, a_wire.sock:peer() or {}), now() + target.patience)
	end
	if plan.tls == "implicit" then
		local ok
		ok, message, code = self:push()
		if not ok then
			self:close()
			return nil, message, code
		end
		self.track.tls = true
	end
	return self
end

-- TLS and SASL layers are the transport's.
local function cover(self)
	if not self.transport then
		self.transport = transport.wrap(self.wire, { timeout = self.target.patience })
	end
	local rest = self.buffer:sub(self.position)
	self.buffer, self.position = "", 1
	if rest ~= "" then self.transport:unread(rest) end
	return self.transport
end

--- Shakes hands.
-- @return true | nil, message, code
function Link:push()
	local machine, message, code = tls.client(self.target.plan)
	if not machine then return nil, message, code end
	local leftover
	leftover, message, code = cover(self):push(machine, self.target.patience)
	if not leftover then return nil, message, code end
	return true
end

--- Authenticates as the plan says.
-- @return reply | nil, message, code
function Link:auth(mechanism)
	local s = session.wrap(cover(self), self.target.plan)
	s.capabilities = { AUTH = { mechanism } }
	local ok, result = pcall(s.auth, s, { mechanism = mechanism })
	if ok then return result end
	return nil, tostring(result), type(result) == "table" and result.code or "SASL"
end

--- Writes.
-- @return true | nil, message, code
function Link:send(bytes)
	self.track:sent(bytes)
	if self.transport then return self.transport:write(bytes, self.target.patience) end
	local count = self.wire:try_write(bytes)
	if count == #bytes then return true end
	return self.wire:write(bytes:sub(count + 1), now() + self.target.patience)
end

-- Reads more behind what is buffered.
local function fill(self, deadline)
	local bytes, message, code
	if self.transport then
		bytes, message, code = self.transport:read(CHUNK, math.max(0, deadline - now()))
	else
		bytes, message, code = self.wire:read(CHUNK, deadline)
	end
	if not bytes then return nil, message, code end
	if self.position > #self.buffer then
		self.buffer, self.position = bytes, 1
	else
		self.buffer, self.position = self.buffer:sub(self.position) .. bytes, 1
	end
	return true
end

--- The next reply.
-- @param deadline  time of task.now()
-- @return raw, code (0 where it has none), flaws as smtptest.core.reply tells | nil, message, code: TIMEOUT, EOF,
--   TOOLONG …
function Link:reply(deadline)
	while true do
		local after, code, flaws
		if self.position <= #self.buffer then after, code, flaws = scan(self.buffer, self.position) end
		if after then
			local raw = self.position == 1 and after > #self.buffer and self.buffer
				or self.buffer:sub(self.position, after - 1)
			self.position = after
			return raw, code, flaws
		elseif #self.buffer > LONGEST then
			return nil, "a reply without an end", "TOOLONG"
		end
		local ok, message, symbol = fill(self, deadline)
		if not ok then return nil, message, symbol end
	end
end

--- Whether a whole reply has been read already.
function Link:ready()
	return self.position <= #self.buffer and scan(self.buffer, self.position) ~= nil
end

--- What was read of a reply that has not ended.
function Link:partial()
	return self.buffer:sub(self.position)
end

--- Whether these bytes, in either case, were sent on it.
-- @param text  in lower case
function Link:has_sent(text)
	for _, bytes in ipairs(self.all) do
		if bytes:lower():find(text, 1, true) then return true end
	end
	return false
end

--- Half-closes.
function Link:shutdown()
	return (self.transport or self.wire):shutdown()
end

--- Closes; `abort` (true) with a reset.
function Link:close(abort)
	return self.wire:close(abort)
end

return link
