--- smtp: commands and replies of one session (RFC 5321, 2033): methods of Session.
--
-- A reply of any code is a value. What raises is the connection's failure, always as one error object.

local argument = require "smtptest.argument"
local core = require "smtptest.core.line"
local failure = require "smtptest.failure"
local reply = require "smtptest.reply"
local ehlo = require "smtptest.ehlo"
local task = require "smtptest.task"
local wire = require "smtptest.wire"

local smtp = { methods = {} }
local methods = smtp.methods

local CHUNK = 65536
local UNATTENDED = " (a server of this process listens there, and was not started)"

--- Seconds each phase may take where the plan's time-out does not say; every read names its phase here
-- (RFC 5321 section 4.5.3.2).
smtp.phases = {
	greeting = 300, EHLO = 300, HELO = 300, LHLO = 300, STARTTLS = 300, AUTH = 300, MAIL = 300, RCPT = 300, DATA = 300,
	["end of DATA"] = 600, BDAT = 300, RSET = 300, QUIT = 300, XCLIENT = 300, XFORWARD = 300,
	command = 300, reply = 300, session = 300, ["TLS handshake"] = 60,
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
	if code == "TIMEOUT" then
		fields.message = ("timed out after %g s%s"):format(seconds or self:seconds(op),
			wire.unattended(self.transport.wire.peer) and UNATTENDED or "")
	end
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

local function checked_size(size, level)
	if math.type(size) ~= "integer" or size < 1 then
		error(("bad split: a size of at least 1 expected, got %s"):format(tostring(size)), level + 1)
	end
	return size
end

--- What `split` and `gap` of send() and pipeline() may hold.
smtp.PIECES = { split = "integer|table|function", gap = "number" }

--- The sizes of pieces.
-- @param split  a size, a list of sizes (the last repeats), or function(offset, rest) -> size
-- @param n      bytes in all
-- @param level  whom an error blames, as in error()
-- @return list of sizes, the last of which repeats; raises for a size below 1
function smtp.sizes(split, n, level)
	level = level + 1
	if type(split) ~= "function" then
		local sizes = type(split) == "table" and split or { split }
		for i = 1, math.max(1, #sizes) do checked_size(sizes[i], level) end
		return sizes
	end
	local sizes, offset = {}, 0
	while offset < n do
		local size = checked_size(split(offset, n - offset), level)
		sizes[#sizes + 1], offset = size, offset + size
	end
	return sizes
end

--- Writes bytes in pieces, one write (or TLS record) each.
-- @param sizes  as sizes() gives them
-- @param gap    nil, or seconds between
-- @param put    function(piece), which raises what goes wrong
function smtp.pieces(self, bytes, sizes, gap, put)
	self.transport.wire.sock:option("nodelay", true)
	local offset, index, n = 0, 1, #bytes
	while offset < n do
		local size = sizes[index] or sizes[#sizes]
		put(bytes:sub(offset + 1, offset + size))
		offset, index = offset + size, index + 1
		if gap and offset < n then task.sleep(gap) end
	end
end

--- Sends exactly these bytes.
-- @param options  split: a size, a list of sizes (the last repeats) or function(offset, rest) -> size: one write (or
--   TLS record) each; gap: seconds between
function methods:send(bytes, options)
	if type(bytes) ~= "string" then error("bad bytes (string expected, got " .. type(bytes) .. ")", 2) end
	options = argument.options(options, smtp.PIECES, 2)
	if not options.split then return write(self, bytes, "command") end
	smtp.pieces(self, bytes, smtp.sizes(options.split, #bytes, 2), options.gap, function(piece)
		write(self, piece, "command")
	end)
end

-- ---------------------------------------------------------------- replies

--- What a reply means for the state of the session.
function smtp.answered(self, answer)
	answer.session, self.last = self, answer
	if answer.code == 334 then self.observer.tracker:challenged() end
	local envelope = self.envelope
	if envelope then
		envelope:answered(answer.code)
		self.recipients = envelope.recipients
	end
end

-- Blames the line that called a method.
local function checked_seconds(value)
	if type(value) ~= "number" then error("bad time (seconds expected, got a " .. type(value) .. ")", 3) end
	return value
end

--- Reads one complete reply: it ends only at a line whose fourth byte is not "-" (RFC 5321 section 4.2.1).
-- @param timeout  seconds (default: the plan's, or as long as the phase may take)
-- @param op       the phase, for the error's text
-- @return reply; raises TIMEOUT EOF TOOLONG …; lines read so far are kept for the next call
function methods:reply(timeout, op, command)
	op = op or "reply"
	if timeout then checked_seconds(timeout) end
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
	smtp.answered(self, answer)
	transport:note("reply", { reply = answer, bytes = raw })
	return answer
end

--- Sends a line and CR LF, reads one reply.
-- @param op  the phase
local function say(self, line, op)
	write(self, line .. "\r\n", op)
	-- What is told of the command later must not tell its secret.
	local shown = self.observer.shown
	return self:reply(nil, op, shown and shown:gsub("\r?\n$", "") or line)
end

smtp.say = say

--- A command line, which is no more than a line.
-- @param level  whom an error blames, as in error() (default 3: the line that called the method)
local function checked(line, level)
	level = level or 3
	if type(line) ~= "string" then error("bad command (string expected, got " .. type(line) .. ")", level) end
	local bad = line:match("[\r\n%z]")
	if bad then
		error(("bad command: %s inside (send() sends exact bytes)"):format(core.escape(bad)), level)
	end
	return line
end

smtp.checked = checked

local VERBS = { NOOP = true, VRFY = true, EXPN = true, HELP = true, ETRN = true, TURN = true }

--- The phase of a command line: only of known verbs, as what answers a 334 may look like one, and be a secret.
function smtp.verb_of(line)
	local verb = line:match("^%a*"):upper()
	return (smtp.phases[verb] or VERBS[verb]) and verb or "command"
end

--- Sends a line and CR LF, reads one reply.
-- @param line   without its end; CR, LF or NUL inside raise
-- @param phase  one of smtp.phases (default: its verb)
function methods:command(line, phase)
	checked(line)
	return say(self, line, phase or smtp.verb_of(line))
end

-- ---------------------------------------------------------------- the commands of RFC 5321 section 4.1.1

local function with_word(verb, text)
	if text == nil then return verb end
	if type(text) ~= "string" then error("bad argument (string expected, got a " .. type(text) .. ")", 3) end
	return verb .. " " .. text
end

-- A transaction begins anew; over LMTP the envelope knows that by itself.
local function forget(self)
	if not self.envelope then self.recipients = {} end
end

local function hello(verb, name_field)
	return function(self, name)
		local line = checked(with_word(verb, name or self.plan.helo or name_field))
		local answer = say(self, line, verb)
		self.capabilities = ehlo.parse(answer)
		forget(self)
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
	local line = checked(with_word("HELO", name or self.plan.helo or "smtptest"))
	local answer = say(self, line, "HELO")
	self.capabilities = {}
	forget(self)
	return answer
end

function methods:rset()
	forget(self)
	return say(self, "RSET", "RSET")
end

--- QUIT; closes nothing: that is the server's turn (RFC 5321 section 4.1.1.10).
function methods:quit()
	return say(self, "QUIT", "QUIT")
end

local function with_argument(verb)
	return function(self, text)
		local line = checked(with_word(verb, text))
		return say(self, line, verb)
	end
end

methods.noop, methods.vrfy = with_argument("NOOP"), with_argument("VRFY")
methods.expn, methods.help = with_argument("EXPN"), with_argument("HELP")

local NONE = {}

--- Parameters of a command.
-- @param params  nil, a list as given, or a map sorted by name, with `true` as the bare name and `false` left out
-- @param encode  nil, or function(text) for the values of a map
-- @param level   whom an error blames
-- @return list of words
function smtp.parameters(params, encode, level)
	if params == nil then return NONE end
	if type(params) ~= "table" then
		error("bad parameters (a list or a map expected, got " .. type(params) .. ")", level + 1)
	end
	local words = {}
	for i, word in ipairs(params) do words[i] = tostring(word) end
	local names = {}
	for name in pairs(params) do
		if type(name) == "string" then names[#names + 1] = name end
	end
	table.sort(names)
	for _, name in ipairs(names) do
		local value = params[name]
		if value == true then
			words[#words + 1] = name
		elseif value ~= false then
			value = tostring(value)
			words[#words + 1] = name .. "=" .. (encode and encode(value) or value)
		end
	end
	return words
end

local function envelope_command(verb, address, params)
	if type(address) ~= "string" then error("bad address (string expected, got " .. type(address) .. ")", 3) end
	local words = smtp.parameters(params, nil, 3)
	return ("%s:<%s>%s"):format(verb, address, #words > 0 and " " .. table.concat(words, " ") or "")
end

--- MAIL FROM; the address is put between <> as it is.
-- @param params  a list, sent as given, or a map ({SIZE=100, SMTPUTF8=true}), sent sorted by name
function methods:mail(address, params)
	local line = checked(envelope_command("MAIL FROM", address, params))
	forget(self)
	return say(self, line, "MAIL")
end

--- RCPT TO; as mail().
function methods:rcpt(address, params)
	local line = checked(envelope_command("RCPT TO", address, params))
	local answer = say(self, line, "RCPT")
	if answer.code >= 200 and answer.code < 300 and not self.envelope then table.insert(self.recipients, address) end
	return answer
end

-- ---------------------------------------------------------------- silence

-- Codes that say nothing about the peer: they are for whoever called.
local OURS = { CANCELED = true, BUSY = true, DEADLOCK = true }

--- Collects replies until the server is quiet.
-- @param quiet  seconds without a byte that end it
-- @param max    seconds in all (default: the plan's time-out)
-- @return list of replies; `.closed` the code when the connection ended; `.rest` bytes of an unfinished reply (kept).
--   Raises TOOLONG CANCELED BUSY DEADLOCK, with `err.replies`
function methods:drain(quiet, max)
	checked_seconds(quiet)
	if max then checked_seconds(max) end
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
	checked_seconds(seconds)
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
