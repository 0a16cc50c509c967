--- log: writes what happens as lines of JSON, one event each (RFC 8259).
--
-- Every line has time (seconds since 1970), elapsed (since the connection began), connection (1, 2 …), direction
-- ("send" "receive" "note"), layer ("clear" "tls" "sasl"). Bytes are in `text`, or, where they are none, in `base64`;
-- what is secret in them is replaced, and `secret` is true. A note has event ("connect" "reply" "tls" "auth"
-- "leftover" "closed" "end", of a server also "message" "lost" "error" "gone") and what it is about.

local base64 = require "smtptest.base64"
local poll = require "smtptest.core.poll"
local sink = require "smtptest.sink"
local transcript = require "smtptest.transcript"

local log = {}

-- ---------------------------------------------------------------- JSON

local NAMES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }

local function quote(text)
	if not utf8.len(text) then text = text:gsub("[\128-\255]", function(c) return ("\\x%02x"):format(c:byte()) end) end
	return '"' .. text:gsub('[%c"\\\127]', function(c) return NAMES[c] or ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function value_of(value)
	if type(value) == "table" then
		local parts = {}
		for i, one in ipairs(value) do parts[i] = value_of(one) end
		return "[" .. table.concat(parts, ",") .. "]"
	elseif math.type(value) == "float" then
		return ("%.6f"):format(value)
	elseif type(value) == "string" then
		return quote(value)
	end
	return tostring(value)
end

-- A list of name, value, name, value … as an object; what is nil is left out.
local function object(...)
	local parts = {}
	for i = 1, select("#", ...), 2 do
		local name, value = select(i, ...)
		if value ~= nil then parts[#parts + 1] = quote(name) .. ":" .. value_of(value) end
	end
	return table.concat(parts, ",")
end

-- ---------------------------------------------------------------- events

-- Bytes as text, if they are that.
local function bytes_of(bytes, secret, clear)
	local shown = clear and bytes or transcript.masked(bytes, secret)
	local is_text = utf8.len(shown) and not shown:find "[%z\1-\8\11\12\14-\31\127]"
	return object(is_text and "text" or "base64", is_text and shown or base64.encode(shown), "secret", secret and true)
end

local function texts(problems)
	local list = {}
	for i, problem in ipairs(problems or {}) do list[i] = problem.text end
	return list
end

local FACTS = {
	connect = function(e) return object("host", e.host, "port", e.port) end,
	reply = function(e)
		local answer = e.reply
		return object("code", answer.code, "enhanced", answer.enhanced, "text", answer.text, "command",
			answer.command and transcript.command(answer.command), "took", answer.elapsed)
	end,
	tls = function(e)
		local tls = e.tls
		local leaf = tls.peer and tls.peer[1]
		return object("protocol", tls.protocol, "cipher", tls.cipher, "bits", tls.bits, "group", tls.group, "alpn", tls.alpn,
			"resumed", tls.resumed, "verified", tls.verified, "problems", texts(tls.problems), "subject",
			leaf and leaf.subject)
	end,
	auth = function(e)
		return object("mechanism", e.mechanism, "ssf", e.ssf, "skipped", e.skipped, "refused", e.refused, "about", e.text,
			"code", e.reply and e.reply.code)
	end,
	leftover = function(e) return bytes_of(e.bytes) end,
	closed = function(e) return object("code", e.code, "message", e.message) end,
	["end"] = function(e) return object("how", e.how) end,
	lost = function(e) return object("code", e.code, "message", e.message) end,
	error = function(e) return object("message", e.message) end,
	gone = function() return "" end,
	message = function(e)
		local to = {}
		for i, one in ipairs(e.message.to) do to[i] = one.address end
		return object("from", e.message.from.address, "to", to, "size", e.message.size, "file", e.message.file)
	end,
}

local Link = {}
Link.__index = Link

local function link_of(plan)
	local file = log.file(plan)
	return setmetatable({ file = file, number = file:connection(), clear = plan.show_secrets or false }, Link)
end

function Link:event(e, layer)
	local fact = FACTS[e.event]
	if not e.bytes and not fact or e.direction == "note" and not fact then return end
	self.start = self.start or e.time
	local head = object("time", e.time, "elapsed", e.time - self.start, "connection", self.number, "direction",
		e.direction, "layer", layer, "event", e.event)
	local rest = fact and fact(e) or bytes_of(e.bytes, e.secret, self.clear)
	self.file:write("{" .. head .. (rest ~= "" and "," .. rest or "") .. "}\n")
end

--- The file of a plan, open; raises when it can't be.
function log.file(plan)
	return sink.open(plan.log, "--log")
end

--- Lets a session be logged.
-- @param session  with a plan that has `log`
-- @return a function that ends it; raises when the file can't be opened
function log.session(session)
	local plan, link = session.plan, link_of(session.plan)
	link:event({ direction = "note", event = "connect", time = poll.walltime(), host = plan.socket or plan.host,
		port = not plan.socket and session.port or nil }, "clear")
	return session:on(function(event) link:event(event, event.layer) end)
end

--- Lets each client of a server be logged.
-- @param server  before it starts
-- @param plan    log, show_secrets
-- @return a function that ends it; raises when the file can't be opened
function log.server(server, plan)
	log.file(plan)
	local links = setmetatable({}, { __mode = "k" })
	return server:on_event(function(event, client)
		local link = links[client]
		if not link then
			link = link_of(plan)
			links[client] = link
		end
		if event.event == "connect" then
			event = { direction = "note", event = "connect", time = event.time, host = client.peer.host,
				port = client.peer.port }
		end
		link:event(event, event.layer or client.transport:layer_name())
	end, { traffic = true })
end

return log
