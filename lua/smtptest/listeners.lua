--- listeners: who is told what a transport sends, receives and comes to know. Nobody listening costs nothing: events
-- are made only for listeners.

local poll = require "smtptest.core.poll"

local listeners = { methods = {} }
local methods = listeners.methods

--- Calls fn with an event for every write or record taken, every chunk read and every fact.
-- @param fn       function(event), event as DESIGN's Session.on
-- @param options  table: below (true: also the bytes under the layers, as direction "send"/"receive" with `below` set)
-- @return a function that removes fn
function methods:on(fn, options)
	local entry = { fn = fn, below = options and options.below }
	-- A new list each time: a listener may be added or removed while the old one is walked.
	self.listeners = table.move(self.listeners, 1, #self.listeners, 1, {})
	table.insert(self.listeners, entry)
	return function()
		local rest = {}
		for _, other in ipairs(self.listeners) do
			if other ~= entry then rest[#rest + 1] = other end
		end
		self.listeners = rest
	end
end

function methods:layer_name()
	local top = self.layers[#self.layers]
	return top and top.name or "clear"
end

local function emit(self, event)
	event.time = poll.walltime()
	event.layer = event.layer or self:layer_name()
	for _, entry in ipairs(self.listeners) do
		if not event.below or entry.below then entry.fn(event) end
	end
end

--- Tells the listeners a fact.
-- @param name    "reply" "line" "tls" "auth" "leftover" "closed"
-- @param fields  table that becomes the event
function methods:note(name, fields)
	if #self.listeners == 0 then return end
	fields = fields or {}
	fields.direction, fields.event = "note", name
	emit(self, fields)
end

--- Bytes were sent. `observer` is the session: it sees them without an event being made for it.
function listeners.sent(self, bytes)
	local from, to
	if self.observer then from, to = self.observer:sent(bytes) end
	if #self.listeners > 0 then
		emit(self, { direction = "send", bytes = bytes, secret = from and { from, to } })
	end
end

--- Bytes were read.
function listeners.received(self, bytes)
	local from, to
	if self.observer then from, to = self.observer:received(bytes) end
	if #self.listeners > 0 then
		emit(self, { direction = "receive", bytes = bytes, secret = from and { from, to } })
	end
end

--- Bytes went by under the layers.
function listeners.below(self, direction, bytes, layer)
	if #self.listeners > 0 then emit(self, { direction = direction, bytes = bytes, below = true, layer = layer }) end
end

return listeners
