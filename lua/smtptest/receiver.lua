--- receiver: the SMTP and LMTP that a server speaks by itself (RFC 5321, 2033): commands to replies and messages.
--
-- Strict: what RFC 5321 does not allow is refused, with a text that says why. Each verb is one function(client,
-- argument).

local acceptor = require "smtptest.acceptor"
local clients = require "smtptest.client"
local core = require "smtptest.core.line"
local parameter = require "smtptest.parameter"
local path = require "smtptest.path"
local task = require "smtptest.task"

local receiver = {}

local command = core.command
local say, read_line, read_raw = clients.methods.say, clients.methods.read_line, clients.methods.read_raw

local verbs = {}

-- What is said for every message, made once.
local SENDER_OK = clients.wire(250, "2.1.0 sender ok")
local RECIPIENT_OK = clients.wire(250, "2.1.5 recipient ok")
local GO_AHEAD = clients.wire(354, "end the message with a dot on a line by itself")
local ACCEPTED = clients.wire(250, "2.0.0 message accepted")

local function refuse(client, code, text)
	client:answer(code, text)
end

-- Asks the script's handler. false ends the connection.
local function ask(client, name, ...)
	local code, text = client.server:ask(client, name, ...)
	if code ~= false then return code, text end
	client:flush()
	client:close()
	error(clients.ENDED, 0)
end

-- Lets the script's handler answer.
-- @return its code, 0 when it has answered by itself; nil when it leaves the answer to us
local function handled(client, name, first, second)
	if not client.server.on[name] then return nil end
	local code, text = ask(client, name, first, second)
	if code == true then return 0 end
	if code then client:answer(code, text) end
	return code
end

-- Whether what a handler gave lets things go on.
local function accepted(code)
	return not code or code == true or code >= 200 and code < 300
end

local function reset(client)
	client.from, client.to, client.chunks, client.size = nil, nil, nil, 0
end

-- ---------------------------------------------------------------- EHLO (RFC 5321 section 4.1.1.1)

local function capability_lines(client)
	local server = client.server
	local lines = { server.name }
	local function add(keyword, words)
		words = words or {}
		lines[#lines + 1] = #words > 0 and keyword .. " " .. table.concat(words, " ") or keyword
	end
	local named = {}
	for _, keyword in ipairs(server.capabilities) do
		-- Not offered under TLS, whoever has named it (RFC 3207 section 4.2).
		if keyword ~= "STARTTLS" or not client.tls then add(keyword, server.capabilities[keyword]) end
		named[keyword] = true
	end
	local given = server.given
	if server.plan.tls == "starttls" and not client.tls and not named.STARTTLS and given.STARTTLS == nil then
		add "STARTTLS"
	end
	if not named.AUTH and given.AUTH == nil then
		local mechanisms = acceptor.mechanisms(client)
		if #mechanisms > 0 then add("AUTH", mechanisms) end
	end
	return table.concat(lines, "\n")
end

local function hello(verb)
	return function(client, argument)
		local lmtp = client.protocol == "lmtp"
		if lmtp ~= (verb == "LHLO") then
			return refuse(client, 500, "5.5.1 " .. (lmtp and "this is LMTP: LHLO" or "this is SMTP, not LMTP"))
		end
		local name = argument:match("^(%S+)$")
		if not name then return refuse(client, 501, ("5.5.4 %s wants one name"):format(verb)) end
		-- Which is in ASCII before anything is agreed on (RFC 6531 section 3.7.1).
		if name:find("[\128-\255]") or not path.is_domain((name:gsub("_", "-"))) then
			return refuse(client, 501, "5.5.4 neither a domain nor an address literal")
		end
		if client.unwelcome then return refuse(client, 503, "5.5.1 no service: QUIT") end
		local code = handled(client, "ehlo", name, verb)
		if not accepted(code) then return end
		reset(client)
		client.helo, client.esmtp = name, verb ~= "HELO"
		if code then return end
		client:answer(250, client.esmtp and capability_lines(client) or client.server.name)
	end
end

verbs.EHLO, verbs.HELO, verbs.LHLO = hello "EHLO", hello "HELO", hello "LHLO"

-- ---------------------------------------------------------------- the envelope

-- Reads the argument of MAIL or RCPT.
-- @return path, or nil when the refusal is said
local function parse(client, kind, argument, utf8ok)
	local named, code, text = path.parse(kind, argument, utf8ok)
	if not named then return refuse(client, code, text) end
	for name, value in next, named.params do
		code, text = parameter.refusal(client, kind, name, value)
		if code then return refuse(client, code, text) end
	end
	return named
end

function verbs.MAIL(client, argument)
	if not client.helo then return refuse(client, 503, "5.5.1 " .. client.server.hello .. " first") end
	if client.from then return refuse(client, 503, "5.5.1 a sender was given already") end
	local from = parse(client, "mail", argument)
	if not from then return end
	local code = client.server.on.mail and handled(client, "mail", from.address, from.params)
	if code and not accepted(code) then return end
	client.from, client.to, client.chunks, client.size = from, {}, nil, 0
	if not code then say(client, SENDER_OK) end
end

function verbs.RCPT(client, argument)
	if not client.from then return refuse(client, 503, "5.5.1 MAIL first") end
	if client.chunks then return refuse(client, 503, "5.5.1 BDAT has begun") end
	local to = parse(client, "rcpt", argument, client.from.params.SMTPUTF8 ~= nil)
	if not to then return end
	local list = client.to
	if #list >= client.server.limits.recipients then return refuse(client, 452, "4.5.3 too many recipients") end
	local code = client.server.on.rcpt and handled(client, "rcpt", to.address, to.params)
	if code and not accepted(code) then return end
	list[#list + 1] = to
	if not code then say(client, RECIPIENT_OK) end
end

-- ---------------------------------------------------------------- the message

local Message = { __name = "smtptest.message" }
local lazy = {}

function Message:__index(key)
	local make = lazy[key]
	if not make then return nil end
	local value = make(self)
	rawset(self, key, value)
	return value
end

function lazy:raw()
	local raw = table.concat(self.parts)
	self.parts = nil
	return raw
end

function lazy:data()
	return self.chunked and self.raw or clients.unstuffed(self.raw)
end

-- Bytes of the message: without its end and, as long as nobody has asked for `data`, with the dots put before lines.
function lazy:size()
	local parts, size = rawget(self, "parts"), self.chunked and 0 or -3
	if not parts then return rawget(self, "data") and #self.data or #self.raw + size end
	for i = 1, #parts do size = size + #parts[i] end
	return size
end

-- RFC 3848, RFC 6531 section 4.3: what a Received field says behind "with".
local function with(client, utf8)
	if not client.esmtp then return "SMTP" end
	return (utf8 and "UTF8" or client.protocol == "lmtp" and "" or "E") .. (client.protocol == "lmtp" and "LMTP" or "SMTP")
		.. (client.tls and "S" or "") .. (client.authname and "A" or "")
end

local function make_message(client, parts, chunked)
	return setmetatable({
		from = client.from, to = client.to, parts = parts, chunked = chunked,
		auth = client.authname, username = client.username, mechanism = client.mechanism, ssf = client.ssf,
		helo = client.helo, tls = client.tls, protocol = client.protocol, peer = client.peer,
		with = with(client, client.from.params.SMTPUTF8),
	}, Message)
end

-- Answers the end of a message: with what the handler gave; `why` it can't be kept.
local function conclude(client, code, text, why)
	if not code and not why then
		say(client, ACCEPTED)
	elseif why and accepted(code) then
		client:answer(452, "4.3.1 cannot store the message: " .. why)
	elseif code ~= true then
		client:answer(code, text)
	end
end

-- LMTP has a reply for each recipient (RFC 2033 section 4.2); the message is for those who are not refused.
local function deliver_to_each(client, message)
	local verdicts, list = {}, {}
	for i, recipient in ipairs(message.to) do
		local code, text = ask(client, "data", message, recipient)
		verdicts[i] = { code, text }
		if accepted(code) then list[#list + 1] = recipient end
	end
	reset(client)
	local why
	if list[1] then
		message.to = list
		why = client.server:take(client, message)
	end
	for _, verdict in ipairs(verdicts) do conclude(client, verdict[1], verdict[2], why) end
end

local function deliver(client, parts, chunked)
	local message = make_message(client, parts, chunked)
	if client.protocol == "lmtp" then return deliver_to_each(client, message) end
	local server = client.server
	local code, text, why
	if server.on.data then code, text = ask(client, "data", message) end
	reset(client)
	if accepted(code) then why = server:take(client, message) end
	conclude(client, code, text, why)
end

local function refuse_message(client, code, text)
	local n = client.protocol == "lmtp" and #client.to or 1
	reset(client)
	for _ = 1, n do client:answer(code, text) end
end

function verbs.DATA(client, argument)
	if argument ~= "" then return refuse(client, 501, "5.5.4 DATA has no argument") end
	if not client.from then return refuse(client, 503, "5.5.1 MAIL first") end
	if client.chunks then return refuse(client, 503, "5.5.1 BDAT has begun") end
	if #client.to == 0 then return refuse(client, 503, "5.5.1 RCPT first") end
	local body = client.from.params.BODY
	if body and body:upper() == "BINARYMIME" then
		return refuse(client, 503, "5.5.1 BINARYMIME comes by BDAT (RFC 3030 section 3)")
	end
	local code = client.server.on.begin and handled(client, "begin")
	if code and code ~= 354 then return end
	if not code then say(client, GO_AHEAD) end
	local parts, message, symbol = read_raw(client, client.server.limits.message)
	if parts then return deliver(client, parts) end
	if symbol ~= "TOOLONG" then return receiver.lost(client, message, symbol) end
	refuse_message(client, 552, parameter.TOO_LARGE)
end

-- RFC 3030 section 2: the chunk comes whatever we think of the command.
function verbs.BDAT(client, argument)
	local digits, last = argument:match("^(%d+) *(%a*)$")
	local size = digits and #digits <= 18 and tonumber(digits)
	last = last ~= "" and last
	if not size or last and (last:upper() ~= "LAST" or argument == digits .. last) then
		-- Where the next command begins nobody knows now.
		return refuse(client, 421, "4.5.2 BDAT wants a size, and maybe LAST: closing")
	end
	local code, text
	if not parameter.offered(client, "CHUNKING") then
		code, text = 502, "5.5.1 no CHUNKING here"
	elseif not client.from then
		code, text = 503, "5.5.1 MAIL first"
	elseif #client.to == 0 then
		code, text = 503, "5.5.1 RCPT first"
	elseif client.size + size > client.server.limits.message then
		code, text = 552, parameter.TOO_LARGE
	end
	local parts, message, symbol = client:read_bytes(size, not code)
	if not parts then return receiver.lost(client, message, symbol) end
	if code then
		-- The message has failed, and the chunks that follow in the pipeline must not make another.
		if code == 552 and last then return refuse_message(client, code, text) end
		if code == 552 then reset(client) end
		return refuse(client, code, text)
	end
	client.size = client.size + size
	client.chunks = client.chunks or {}
	for _, part in ipairs(parts) do clients.add(client.chunks, part) end
	if last then return deliver(client, client.chunks, true) end
	client:answer(250, ("2.0.0 %d bytes"):format(size))
end

-- ---------------------------------------------------------------- AUTH and STARTTLS

function verbs.AUTH(client, argument)
	if not client.server.plan.sasl then return refuse(client, 502, "5.5.1 no AUTH here") end
	if not client.esmtp then return refuse(client, 503, "5.5.1 " .. client.server.hello .. " first") end
	if client.authname then return refuse(client, 503, "5.5.1 authenticated already") end
	if client.from then return refuse(client, 503, "5.5.1 not while a message is sent (RFC 4954 section 4)") end
	local _, message, symbol = acceptor.accept(client, argument)
	if client.ended or symbol == "TIMEOUT" then return receiver.lost(client, message, symbol) end
	if symbol == "EOF" then
		client:close()
		error(clients.ENDED, 0)
	end
	if client.layer then
		client:flush()
		client:secure()
		client.helo, client.esmtp = nil, nil
	end
end

function verbs.STARTTLS(client, argument)
	if argument ~= "" then return refuse(client, 501, "5.5.4 STARTTLS has no argument (RFC 3207 section 4)") end
	if client.server.plan.tls ~= "starttls" then return refuse(client, 502, "5.5.1 no STARTTLS here") end
	if client.tls then return refuse(client, 503, "5.5.1 TLS is on already") end
	client:answer(220, "2.0.0 go ahead")
	local tls, message, symbol = client:starttls()
	if not tls then return receiver.lost(client, message, symbol or "TLS") end
	client:forget()
end

-- ---------------------------------------------------------------- the others

function verbs.RSET(client, argument)
	if argument ~= "" then return refuse(client, 501, "5.5.4 RSET has no argument") end
	reset(client)
	client:answer(250, "2.0.0 ok")
end

function verbs.NOOP(client)
	client:answer(250, "2.0.0 ok")
end

function verbs.VRFY(client, argument)
	if argument == "" then return refuse(client, 501, "5.5.4 VRFY wants a name") end
	client:answer(252, "2.5.0 cannot verify, but will take a message for it")
end

function verbs.EXPN(client)
	client:answer(502, "5.5.1 no lists here")
end

-- Whether a verb is of no use to this client now.
local function useless(client, verb)
	local plan, lmtp = client.server.plan, client.protocol == "lmtp"
	return verb == "AUTH" and not plan.sasl or verb == "BDAT" and not client.server.capabilities.CHUNKING
		or verb == "STARTTLS" and (plan.tls ~= "starttls" or client.tls)
		or verb == "LHLO" and not lmtp or (verb == "EHLO" or verb == "HELO") and lmtp
end

function verbs.HELP(client)
	local names = {}
	for name in pairs(verbs) do
		if not useless(client, name) then names[#names + 1] = name end
	end
	table.sort(names)
	client:answer(214, "2.0.0 smtptest, a server for tests\n" .. table.concat(names, " "))
end

function verbs.QUIT(client, argument)
	if argument ~= "" then return refuse(client, 501, "5.5.4 QUIT has no argument") end
	if not handled(client, "quit") then client:answer(221, "2.0.0 bye") end
	client.finished = true
end

-- ---------------------------------------------------------------- the loop

--- The connection has failed: says so where it can, and ends.
function receiver.lost(client, message, code)
	if code == "TIMEOUT" and not client.ended and not client.mute then
		client:answer(421, "4.4.2 timed out")
		client:flush()
	end
	client.server:note(client, "lost", { message = message, code = code })
	error(clients.ENDED, 0)
end

-- Verbs with a handler of their own.
local OWN = { EHLO = true, HELO = true, LHLO = true, MAIL = true, RCPT = true, DATA = true, AUTH = true, QUIT = true }
-- What may be said to a server that greeted with a refusal (RFC 5321 section 3.1).
local ALWAYS = { EHLO = true, HELO = true, LHLO = true, QUIT = true }

local BAD = {
	["end"] = "5.5.2 a line ends with CR LF (RFC 5321 section 2.3.8)",
	control = "5.5.2 a command has no control characters",
}

local function execute(client, line)
	local verb, argument, why = command(line)
	if why then return refuse(client, 500, BAD[why]) end
	local fn = verbs[verb]
	if client.unwelcome and not ALWAYS[verb] then return refuse(client, 503, "5.5.1 no service: QUIT") end
	if not OWN[verb] and client.server.on.command then
		if handled(client, "command", verb or argument, verb and argument or "") then return end
	end
	if not fn then return refuse(client, 500, "5.5.1 unknown command") end
	return fn(client, argument)
end

--- Speaks with a client until one of the two ends it: greeting, commands, replies.
function receiver.serve(client)
	local server = client.server
	local code = handled(client, "connect")
	if code then
		client.unwelcome = code ~= 220 and code ~= 0
	else
		client:answer(220, server.name .. (client.protocol == "lmtp" and " LMTP" or " ESMTP") .. " smtptest")
	end
	local limit, turns = server.limits.errors, 0
	while not client.finished do
		turns = turns + 1
		if turns % clients.TURN == 0 then task.sleep(0) end
		local line, message, symbol = read_line(client)
		if line then
			execute(client, line)
		elseif symbol == "TOOLONG" then
			refuse(client, 500, "5.5.2 line too long")
		else
			return receiver.lost(client, message, symbol)
		end
		if client.errors >= limit and not client.finished then client:answer(421, "4.7.0 too many errors") end
	end
	client:flush()
end

return receiver
