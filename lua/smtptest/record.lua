--- record: writes sessions down as a case while they run: each connection that begins is the next of c1, c2 …
--
-- What is secret is not written (unless the plan has `show_secrets`): an exchange of AUTH becomes one `auth` step with
-- its mechanism, which a replay carries out with the password that it is given.

local case = require "smtptest.case"
local follow = require "smtptest.follow"
local sink = require "smtptest.sink"
local transcript = require "smtptest.transcript"

local record = {}

-- One whole line that says AUTH → its mechanism
local AUTH = "^[Aa][Uu][Tt][Hh][ \t]+([^ \t\r\n]+)[^\n]*\n$"

local Link = {}
Link.__index = Link

--- The file of a plan, open; raises when it can't be.
function record.file(plan)
	return sink.open(plan.record, "--record", case.head)
end

local function link_of(plan, where)
	local file = record.file(plan)
	local self = setmetatable({ file = file, name = "c" .. file:connection(), clear = plan.show_secrets or false }, Link)
	self:write { step = "comment", text = self.name .. " " .. where }
	self:write { step = "connect" }
	return self
end

function Link:write(step)
	step.connection = self.name
	self.file:write(case.line(step))
end

-- ---------------------------------------------------------------- AUTH

-- Writes an exchange as it was, masked where it is secret.
function Link:flush()
	local exchange = self.exchange
	self.exchange = nil
	for _, step in ipairs(exchange or {}) do self:write(step) end
end

-- An exchange has ended with this reply: one step, if its answers are all that it had.
function Link:rebuild(answer)
	local exchange = self.exchange
	if not exchange.hidden or exchange.other then
		self:flush()
		return self:write(answer)
	end
	self.exchange = nil
	for _, step in ipairs(exchange) do
		local said = step.bytes and "C: " .. step.bytes or "S: " .. step.raw
		self:write { step = "comment", text = (said:gsub("\r?\n$", "")) }
	end
	self:write { step = "auth", mechanism = exchange.mechanism }
	self:write(answer)
end

-- ---------------------------------------------------------------- what happens

function Link:sent(bytes, secret)
	local step = { step = "send", bytes = self.clear and bytes or transcript.masked(bytes, secret),
		secret = secret ~= nil }
	if self.clear then return self:write(step) end
	local mechanism = bytes:match(AUTH)
	if mechanism then
		self:flush()
		self.exchange = { mechanism = mechanism }
	end
	local exchange = self.exchange
	if not exchange then return self:write(step) end
	exchange[#exchange + 1] = step
	exchange.hidden = exchange.hidden or step.secret
	-- An empty answer hides nothing, and is one all the same.
	exchange.other = exchange.other or not (mechanism or step.secret or bytes:find "^\r?\n$")
end

function Link:replied(answer)
	local step = { step = "reply", specs = answer.code > 0 and { answer.code } or {}, raw = answer.raw }
	local exchange = self.exchange
	if not exchange then return self:write(step) end
	if answer.code ~= 334 then return self:rebuild(step) end
	exchange[#exchange + 1] = step
end

function Link:other(step)
	self:flush()
	self:write(step)
end

-- What facts become; `end` is what our side does with the connection.
local FACTS = {
	tls = function(self) self:other { step = "handshake" } end,
	["end"] = function(self, event) self:other { step = event.how } end,
	closed = function(self, event) self:other { step = "comment", text = "the peer has closed: " .. event.code } end,
	partial = function(self, event)
		self:other { step = "comment", text = "a reply without an end: " .. event.bytes }
	end,
}

--- Lets a session be written down.
-- @param session  with a plan that has `record`
-- @return a function that ends it; raises when the file can't be opened
function record.session(session)
	local plan = session.plan
	local link = link_of(plan, plan.socket or ("%s:%s"):format(plan.host, plan.port))
	return session:on(function(event)
		if event.direction == "send" then
			link:sent(event.bytes, event.secret)
		elseif event.event == "reply" then
			link:replied(event.reply)
		elseif FACTS[event.event] then
			FACTS[event.event](link, event)
		end
	end)
end

--- Lets each client of a server be written down, as a case that does what the client did.
-- @param server  before it starts
-- @param plan    record, show_secrets
-- @return a function that ends it; raises when the file can't be opened
function record.server(server, plan)
	record.file(plan)
	local links = setmetatable({}, { __mode = "k" })
	local function begin(client)
		local peer = client.peer
		local link = link_of(plan, "from " .. (peer.host and ("%s:%d"):format(peer.host, peer.port) or "a local client"))
		link.replies = follow.replies(function(answer) link:replied(answer) end)
		links[client] = link
		return link
	end
	return server:on_event(function(event, client)
		local link = links[client] or begin(client)
		if event.direction == "receive" then
			link:sent(event.bytes, event.secret)
		elseif event.direction == "send" then
			link.replies:feed(event.bytes)
		elseif event.event == "gone" then
			link:other { step = "close" }
		elseif event.event == "tls" then
			FACTS.tls(link)
		end
	end, { traffic = true })
end

return record
