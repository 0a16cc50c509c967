--- talk: writes a case, step after step, and remembers how far each connection has come if the server agrees.
--
-- What is in a talk: steps (the case), random, n, context, and link(connection): mail, rcpt (a transaction is open),
-- greeted, secured.

local canary = require "smtptest.fuzz.canary"
local dictionary = require "smtptest.fuzz.dictionary"

local Talk = {}
Talk.__index = Talk
Talk.__name = "smtptest.fuzz.talk"

local talk = {}

--- @param context  {from=, to=, mechanisms=, protocol=, tls=, credentials=}, see smtptest.fuzz.default
function talk.new(random, n, context)
	return setmetatable({ steps = {}, random = random, n = n, context = context, links = {},
		given = (context.from or context.to) and random:chance(1, 2) }, Talk)
end

function Talk:link(connection)
	local link = self.links[connection]
	if not link then
		link = { canary = canary.make(self.random.seed, self.n, connection) }
		self.links[connection] = link
	end
	return link
end

--- The canary of a connection.
function Talk:name(connection)
	return self:link(connection).canary
end

-- ---------------------------------------------------------------- steps

function Talk:add(connection, step, fields)
	fields = fields or {}
	fields.step, fields.connection = step, connection
	self.steps[#self.steps + 1] = fields
	return fields
end

--- `count` replies (default 1) are waited for.
function Talk:reply(connection, count)
	for _ = 1, count or 1 do self:add(connection, "reply", { specs = {} }) end
end

function Talk:send(connection, bytes, split, gap)
	return self:add(connection, "send", { bytes = bytes, split = split, gap = gap })
end

--- A line with its CR LF, and its reply.
function Talk:say(connection, line)
	self:send(connection, line .. "\r\n")
	self:reply(connection)
end

--- A send with late words: strings and names of variables by turns.
function Talk:late(connection, ...)
	local parts = {}
	for i, part in ipairs { ... } do
		if i % 2 == 0 then
			parts[#parts + 1] = { var = part }
		elseif part ~= "" then
			parts[#parts + 1] = part
		end
	end
	self:add(connection, "send", { parts = parts })
	self:reply(connection)
end

-- ---------------------------------------------------------------- a session's usual way

function Talk:connect(connection)
	self:add(connection, "connect")
	self:reply(connection)
	self.links[connection] = nil
end

--- Greets.
function Talk:hello(connection, verb)
	local link = self:link(connection)
	verb = verb or self.context.protocol == "lmtp" and "LHLO" or "EHLO"
	self:say(connection, ("%s %s.test"):format(verb, link.canary))
	link.mail, link.rcpt, link.greeted = nil, nil, true
end

--- TLS, after STARTTLS.
function Talk:secure(connection)
	self:add(connection, "starttls")
	self:reply(connection)
	local link = self:link(connection)
	link.secured, link.mail, link.rcpt = true, nil, nil
end

--- Connects and greets; with STARTTLS where the plan wants it (mostly).
function Talk:open(connection)
	self:connect(connection)
	self:hello(connection)
	if self.context.tls == "starttls" and self.random:chance(3, 4) then
		self:secure(connection)
		self:hello(connection)
	end
	return self:link(connection)
end

--- Proves who it is, where it can.
function Talk:authenticate(connection)
	if not self.context.credentials then return end
	self:add(connection, "auth", { mechanism = self:mechanism() })
	self:reply(connection)
end

--- A mechanism that the plan or the server names, or any.
function Talk:mechanism()
	local list = self.context.mechanisms
	return list and list[1] and self.random:pick(list) or "PLAIN"
end

function Talk:sender(connection)
	if self.given and self.context.from then return self.context.from end
	return self:name(connection) .. "@" .. self.random:pick(dictionary.domains)
end

function Talk:recipient(connection)
	local to = self.given and self.context.to
	if type(to) == "table" then to = to[1] and self.random:pick(to) end
	return to or self:name(connection) .. "@" .. self.random:pick(dictionary.domains)
end

function Talk:mail(connection)
	self:say(connection, ("MAIL FROM:<%s>"):format(self:sender(connection)))
	self:link(connection).mail = true
end

function Talk:rcpt(connection)
	self:say(connection, ("RCPT TO:<%s>"):format(self:recipient(connection)))
	local link = self:link(connection)
	link.rcpt = link.mail
end

--- No transaction is open any more.
function Talk:idle(connection)
	local link = self:link(connection)
	if link.mail then self:say(connection, "RSET") end
	link.mail, link.rcpt = nil, nil
end

--- A transaction is open: with MAIL, and with RCPT where `recipient` is true.
function Talk:begin(connection, recipient)
	local link = self:link(connection)
	if link.mail ~= true then
		self:idle(connection)
		self:mail(connection)
	end
	if recipient and not link.rcpt then self:rcpt(connection) end
end

--- A small message for a connection.
function Talk:text(connection)
	return ("Subject: %s\r\n\r\n%s\r\n"):format(self:name(connection), self:name(connection))
end

--- DATA and a body with its end, within a transaction.
function Talk:data(connection, body)
	self:begin(connection, true)
	self:say(connection, "DATA")
	self:send(connection, body or self:text(connection) .. ".\r\n")
	self:reply(connection)
	local link = self:link(connection)
	link.mail, link.rcpt = nil, nil
end

--- Ends a session as one should.
function Talk:quit(connection)
	self:say(connection, "QUIT")
	self:add(connection, "close")
end

--- Ends it in one of the other ways as well.
function Talk:leave(connection)
	local way = self.random:integer(1, 10)
	if way == 1 then
		self:add(connection, "abort")
	elseif way == 2 then
		self:add(connection, "half_close")
	elseif way == 3 then
		self:add(connection, "close")
	elseif way > 4 then
		self:quit(connection)
	end
end

return talk
