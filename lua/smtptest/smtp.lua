--- smtp: commands and replies of one session (RFC 5321, 2033, 3030): methods of Session.
--
-- A reply of any code is a value. What raises is the connection's failure, always as one error object.

local argument = require "smtptest.argument"
local core = require "smtptest.core.line"
local failure = require "smtptest.failure"
local reply = require "smtptest.reply"
local ehlo = require "smtptest.ehlo"
local task = require "smtptest.task"
local transcript = require "smtptest.transcript"

local smtp = { methods = {} }
local methods = smtp.methods

local CHUNK = 65536

--- Seconds each phase may take where the plan's time-out does not say; every read names its phase here
-- (RFC 5321 section 4.5.3.2).
smtp.phases = {
	greeting = 300, EHLO = 300, HELO = 300, LHLO = 300, STARTTLS = 300, AUTH = 300, MAIL = 300, RCPT = 300, DATA = 300,
	["end of DATA"] = 600, BDAT = 300, RSET = 300, QUIT = 300, command = 300, reply = 300, session = 300,
	["TLS handshake"] = 60,
}

--- The time-out of a phase.
function methods:seconds(phase)
	return self.plan.timeout or smtp.phases[phase] or smtp.phases.command
end

--- Raises the error object for a failure of the connection.
-- @param op       the phase or command
-- @param seconds  of TIMEOUT: how long it was (default: as the phase may take)
function methods:fail(op, message, code, fields, seconds)
	fields = fields or {}
	fields.op, fields.message, fields.code = op, message, code
	if code == "TIMEOUT" then fields.message = ("timed out after %g s"):format(seconds or self:seconds(op)) end
	if code == "EOF" then fields.message = "the server closed the connection" end
	fields.layer = self.transport:layer_name()
	fields.elapsed = self.written and task.now() - self.written
	fields.transcript = tostring(self.transcript)
	fields.session = self
	error(failure.new(fields), 0)
end

-- ---------------------------------------------------------------- writing

-- What the server had to say before it hung up explains more than EPIPE.
local function last_words(self, code)
	if code ~= "EPIPE" and code ~= "ECONNRESET" then return nil end
	local ok, answer = pcall(methods.reply, self, 0)
	return ok and answer or nil
end

local function write(self, bytes, op, options)
	local ok, message, code = self.transport:write(bytes, self:seconds(op), options)
	if not ok then
		local answer = last_words(self, code)
		if answer then message = ("%s (the server said: %s)"):format(message, answer) end
		self:fail(op, message, code, { reply = answer })
	end
	self.written = task.now()
end

--- Writes bytes of a phase; raises what went wrong.
smtp.write = write

local function piece_size(split, offset, rest, index)
	local size
	if type(split) == "function" then
		size = split(offset, rest)
	elseif type(split) == "table" then
		size = split[index] or split[#split]
	else
		size = split
	end
	if math.type(size) ~= "integer" or size < 1 then
		error(("bad split: a size of at least 1 expected, got %s"):format(tostring(size)), 4)
	end
	return math.min(size, rest)
end

local PIECES = { split = "integer|table|function", gap = "number" }

local function write_pieces(self, bytes, op, options)
	if not options.split then return write(self, bytes, op) end
	self.transport.wire.sock:option("nodelay", true)
	local offset, index, n = 0, 1, #bytes
	while offset < n do
		local size = piece_size(options.split, offset, n - offset, index)
		write(self, bytes:sub(offset + 1, offset + size), op)
		offset, index = offset + size, index + 1
		if options.gap and offset < n then task.sleep(options.gap) end
	end
end

--- Sends exactly these bytes.
-- @param options  split: a size, a list of sizes (the last repeats) or function(offset, rest) -> size: one write (or
--   TLS record) each; gap: seconds between
function methods:send(bytes, options)
	if type(bytes) ~= "string" then error("bad bytes (string expected, got " .. type(bytes) .. ")", 2) end
	options = argument.options(options, PIECES, 2)
	write_pieces(self, bytes, "command", options)
end

-- ---------------------------------------------------------------- replies

--- Reads one complete reply: it ends only at a line whose fourth byte is not "-" (RFC 5321 section 4.2.1).
-- @param timeout  seconds (default: the plan's, or as long as the phase may take)
-- @param op       the phase, for the error's text
-- @return reply; raises TIMEOUT EOF TOOLONG …; lines read so far are kept for the next call
function methods:reply(timeout, op, command)
	op = op or "reply"
	local seconds = timeout or self:seconds(op)
	local deadline = seconds == math.huge and math.huge or task.now() + seconds
	local partial = self.partial or { size = 0 }
	self.partial = partial
	local transport = self.transport
	local limit = transport.maxline * 16
	local text
	repeat
		local message, code
		text, message, code = transport:line(deadline == math.huge and math.huge or math.max(0, deadline - task.now()))
		if not text then
			local rest = transport.buffer:sub(transport.position)
			if op ~= "reply" and rest ~= "" then transport:note("partial", { bytes = rest, command = command }) end
			self:fail(op, message, code, nil, seconds)
		end
		partial[#partial + 1] = text
		partial.size = partial.size + #text
		transport:note("line", { bytes = text, command = command })
		if partial.size > limit then
			self:fail(op, ("a reply of more than %d bytes"):format(limit), "TOOLONG")
		end
	until reply.ends(text)
	self.partial = nil
	local raw = #partial == 1 and text or table.concat(partial)
	local answer = reply.new(raw, command, self.written and task.now() - self.written)
	answer.session = self
	if answer.code == 334 then self.observer.tracker:challenged() end
	self.last = answer
	transport:note("reply", { reply = answer, bytes = raw })
	return answer
end

local function say(self, line, op)
	write(self, line .. "\r\n", op)
	-- What is told of the command later must not tell its secret.
	local shown = self.observer.shown
	return self:reply(nil, op, shown and shown:gsub("\r?\n$", "") or line)
end

-- Blames the line that called a method for a command that is more than a line.
local function checked(line)
	if type(line) ~= "string" then error("bad command (string expected, got " .. type(line) .. ")", 3) end
	local bad = line:match("[\r\n%z]")
	if bad then
		error(("bad command: %s inside (send() sends exact bytes)"):format(core.escape(bad)), 3)
	end
	return line
end

local VERBS = { NOOP = true, VRFY = true, EXPN = true, HELP = true, ETRN = true, TURN = true }

-- Only known verbs: what answers a 334 may look like one, and be a secret.
local function verb_of(line)
	local verb = line:match("^%a*"):upper()
	return (smtp.phases[verb] or VERBS[verb]) and verb or "command"
end

--- Sends a line and CR LF, reads one reply.
-- @param line   without its end; CR, LF or NUL inside raise
-- @param phase  one of smtp.phases (default: its verb)
function methods:command(line, phase)
	checked(line)
	return say(self, line, phase or verb_of(line))
end

-- ---------------------------------------------------------------- the commands of RFC 5321 section 4.1.1

local function hello(verb, name_field)
	return function(self, name)
		local line = checked(verb .. " " .. (name or self.plan.helo or name_field))
		local answer = say(self, line, verb)
		self.capabilities, self.recipients = ehlo.parse(answer), {}
		return answer
	end
end

--- Says EHLO; fills `capabilities`.
-- @param name  default: the plan's `helo`, or "smtptest"
methods.ehlo = hello("EHLO", "smtptest")

--- Says LHLO (RFC 2033 section 4.1); fills `capabilities`.
methods.lhlo = hello("LHLO", "lmtptest")

--- Says HELO; `capabilities` is {} after it.
function methods:helo(name)
	local line = checked("HELO " .. (name or self.plan.helo or "smtptest"))
	local answer = say(self, line, "HELO")
	self.capabilities, self.recipients = {}, {}
	return answer
end

function methods:rset()
	self.recipients = {}
	return say(self, "RSET", "RSET")
end

--- QUIT; closes nothing: that is the server's turn (RFC 5321 section 4.1.1.10).
function methods:quit()
	return say(self, "QUIT", "QUIT")
end

local function with_argument(verb)
	return function(self, text)
		local line = checked(text and verb .. " " .. text or verb)
		return say(self, line, verb)
	end
end

methods.noop, methods.vrfy = with_argument("NOOP"), with_argument("VRFY")
methods.expn, methods.help = with_argument("EXPN"), with_argument("HELP")

-- A list as given, a map sorted by name with `true` as the bare name.
local function parameters(params)
	if params == nil then return "" end
	if type(params) ~= "table" then error("bad parameters (a list or a map expected, got " .. type(params) .. ")", 4) end
	local words = {}
	for i, word in ipairs(params) do words[i] = tostring(word) end
	local names = {}
	for name in pairs(params) do
		if type(name) == "string" then names[#names + 1] = name end
	end
	table.sort(names)
	for _, name in ipairs(names) do
		local value = params[name]
		if value ~= false then
			words[#words + 1] = value == true and name or ("%s=%s"):format(name, tostring(value))
		end
	end
	return #words > 0 and " " .. table.concat(words, " ") or ""
end

local function envelope(verb, address, params)
	if type(address) ~= "string" then error("bad address (string expected, got " .. type(address) .. ")", 3) end
	local words = parameters(params)
	return ("%s:<%s>%s"):format(verb, address, words)
end

--- MAIL FROM; the address is put between <> as it is.
-- @param params  a list, sent as given, or a map ({SIZE=100, SMTPUTF8=true}), sent sorted by name
function methods:mail(address, params)
	local line = checked(envelope("MAIL FROM", address, params))
	self.recipients = {}
	return say(self, line, "MAIL")
end

--- RCPT TO; as mail().
function methods:rcpt(address, params)
	local line = checked(envelope("RCPT TO", address, params))
	local answer = say(self, line, "RCPT")
	if answer.code >= 200 and answer.code < 300 then table.insert(self.recipients, address) end
	return answer
end

-- ---------------------------------------------------------------- messages

-- A body as an iterator of chunks, in constant memory.
local function chunks(body)
	if type(body) == "function" then return body end
	if type(body) == "string" then
		local position = 1
		return function()
			if position > #body then return nil end
			local chunk = position == 1 and #body <= CHUNK and body or body:sub(position, position + CHUNK - 1)
			position = position + CHUNK
			return chunk
		end
	end
	if io.type(body) == "file" then
		return function()
			local bytes, message = body:read(CHUNK)
			if not bytes and message then error(message, 0) end
			return bytes
		end
	end
	error(("bad body (string, file handle or function expected, got %s)"):format(io.type(body) or type(body)), 3)
end

local PROGRESS = { progress = true }

-- What answers the end of a message; `command` is what ended it.
local function final_replies(self, command)
	local op = "end of DATA"
	local recipients = self.recipients
	self.recipients = {}
	if self.plan.protocol ~= "lmtp" then return self:reply(nil, op, command) end
	-- RFC 2033 section 4.2: one reply for each recipient that was accepted; one is owed in any case.
	local replies = reply.list()
	for i = 1, math.max(1, #recipients) do
		replies[i] = self:reply(nil, op, command)
		replies[i].recipient = recipients[i]
	end
	return replies
end

local DATA, BDAT = { stuff = "boolean", eod = "string" }, { last = "boolean", size = "integer" }

--- DATA, the message, its end (RFC 5321 section 4.1.1.4).
-- @param body     string, file handle or iterator function: constant memory
-- @param options  stuff (default true): doubles a dot at the start and after CR LF only; eod: the end of data, sent as
--   it is; without it "." CR LF after an empty body or one that ends in CR LF, else CR LF "." CR LF
-- @return final reply (LMTP: a list of replies, each with `recipient`), and the 354; not answered by 354: that reply
--   twice, and nothing more was sent
function methods:data(body, options)
	options = argument.options(options, DATA, 2)
	local next_chunk = chunks(body)
	local go = say(self, "DATA", "DATA")
	if go.code ~= 354 then return go, go end
	local state, tail = "start", "\r\n"
	local stuffed
	for chunk in next_chunk do
		if #chunk > 0 then
			tail = (tail .. chunk:sub(-2)):sub(-2)
			if options.stuff ~= false then
				stuffed, state = core.stuff(chunk, state)
			else
				stuffed = chunk
			end
			write(self, stuffed, "DATA", PROGRESS)
		end
	end
	write(self, options.eod or (tail == "\r\n" and ".\r\n" or "\r\n.\r\n"), "DATA")
	return final_replies(self, "."), go
end

--- BDAT with a chunk (RFC 3030 section 2).
-- @param options  last: true for the last chunk; size: what the command says (default #chunk; it may lie)
function methods:bdat(chunk, options)
	options = argument.options(options, BDAT, 2)
	if type(chunk) ~= "string" then error("bad chunk (string expected, got " .. type(chunk) .. ")", 2) end
	local line = ("BDAT %d%s"):format(options.size or #chunk, options.last and " LAST" or "")
	write(self, line .. "\r\n" .. chunk, "BDAT", PROGRESS)
	if options.last then return final_replies(self, line) end
	return self:reply(nil, "BDAT", line)
end

-- ---------------------------------------------------------------- several commands at once

local ITEM = { bytes = "string", replies = "integer", command = "string" }

local function as_item(item)
	if type(item) == "string" then return { bytes = item .. "\r\n", replies = 1, command = item } end
	if type(item) ~= "table" or not item.bytes then error("bad item (a line or {bytes=, replies=} expected)", 3) end
	argument.options(item, ITEM, 3)
	return { bytes = item.bytes, replies = item.replies or 1, command = item.command or item.bytes:match("^[^\r\n]*") }
end

-- The command of an item as it may be told: what answered a 334 is a secret.
local function shown(command, before)
	if before and before.code == 334 and command ~= "*" then return transcript.masked(command, { 1, #command }) end
	return transcript.command(command)
end

local Beside = {}

function Beside:__close()
	self.task:cancel()
end

-- Writes what the kernel takes at once; more is written while replies are read, because a server whose replies nobody
-- reads stops reading commands (RFC 2920 section 3.1).
local function write_beside(self, bytes, options)
	if options.split or #bytes <= CHUNK then return write_pieces(self, bytes, "command", options) end
	self.written = task.now()
	local transport = self.transport
	return setmetatable({ task = task.spawn(transport.write, transport, bytes, self:seconds("command")) }, Beside)
end

--- Sends several commands in one write, then reads their replies in order (RFC 2920).
-- @param lines    list of command lines, or {bytes=, replies=n} sent as it is
-- @param options  split, gap as send()
-- @return list of replies, each with `command`; raises with `err.replies` when fewer came
function methods:pipeline(lines, options)
	options = argument.options(options, PIECES, 2)
	local items, bytes = {}, {}
	for i, item in ipairs(lines) do
		items[i] = as_item(item)
		bytes[i] = items[i].bytes
	end
	local writer <close> = write_beside(self, table.concat(bytes), options)
	local replies = reply.list()
	for _, item in ipairs(items) do
		for _ = 1, item.replies do
			local ok, answer = pcall(self.reply, self, nil, "reply", shown(item.command, replies[#replies]))
			if not ok then
				if failure.is(answer) then answer.replies = replies end
				error(answer, 0)
			end
			replies[#replies + 1] = answer
		end
	end
	if writer then
		local ok, message, code = writer.task:join()
		if not ok then self:fail("command", message, code, { replies = replies }) end
	end
	return replies
end

-- Codes that say nothing about the peer: they are for whoever called.
local OURS = { CANCELED = true, BUSY = true, DEADLOCK = true }

--- Collects replies until the server is quiet.
-- @param quiet  seconds without a byte that end it
-- @param max    seconds in all (default: the plan's time-out)
-- @return list of replies; `.closed` the code when the connection ended; `.rest` bytes of an unfinished reply (kept).
--   Raises TOOLONG CANCELED BUSY DEADLOCK, with `err.replies`
function methods:drain(quiet, max)
	local replies = reply.list()
	local transport = self.transport
	local heard = task.now()
	local deadline = heard + (max or self:seconds("reply"))
	local _ <close> = setmetatable({}, { __close = self:on(function(event)
		if event.direction == "receive" then heard = task.now() end
	end) })
	while true do
		local till = math.min(heard + quiet, deadline)
		local ok, answer = pcall(self.reply, self, math.max(0, till - task.now()))
		if ok then
			replies[#replies + 1] = answer
		elseif not failure.is(answer) or OURS[answer.code] or answer.code == "TOOLONG" then
			if failure.is(answer) then answer.replies = replies end
			error(answer, 0)
		elseif answer.code ~= "TIMEOUT" or math.min(heard + quiet, deadline) <= task.now() then
			if answer.code ~= "TIMEOUT" then replies.closed = answer.code end
			replies.rest = table.concat(self.partial or {}) .. transport.buffer:sub(transport.position)
			return replies
		end
	end
end

--- Whether the server stays silent.
-- @param seconds  how long
-- @return true; or false and the bytes that came (left unread); or on a close false, "", code. Raises CANCELED BUSY
--   DEADLOCK
function methods:silent(seconds)
	local transport = self.transport
	local bytes, message, code = transport:read(CHUNK, seconds)
	if bytes then
		transport:unread(bytes)
		return false, bytes
	elseif code == "TIMEOUT" then
		return true
	elseif OURS[code] then
		self:fail("reply", message, code)
	end
	return false, "", code
end

return smtp
