--- smtp: commands and replies of one session (RFC 5321, 2033, 3030): methods of Session.
--
-- A reply of any code is a value. What raises is the connection's failure, always as one error object.

local core = require "smtptest.core.line"
local failure = require "smtptest.failure"
local reply = require "smtptest.reply"
local ehlo = require "smtptest.ehlo"
local task = require "smtptest.task"

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
-- @param op  the phase or command
function methods:fail(op, message, code, fields)
	fields = fields or {}
	fields.op, fields.message, fields.code = op, message, code
	if code == "TIMEOUT" then fields.message = ("timed out after %g s"):format(self:seconds(op)) end
	if code == "EOF" then fields.message = "the server closed the connection" end
	fields.layer = self.transport:layer_name()
	fields.elapsed = self.written and task.now() - self.written
	fields.transcript = tostring(self.transcript)
	fields.session = self
	error(failure.new(fields), 0)
end

-- ---------------------------------------------------------------- writing

-- What the server had to say before it hung up explains more than EPIPE.
local function last_words(self)
	local ok, words = pcall(methods.reply, self, 0)
	return ok and (" (the server said: %s)"):format(words) or ""
end

local function write(self, bytes, op, options)
	local ok, message, code = self.transport:write(bytes, self:seconds(op), options)
	if not ok then
		if code == "EPIPE" or code == "ECONNRESET" then message = message .. last_words(self) end
		self:fail(op, message, code)
	end
	self.written = task.now()
end

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

local function write_pieces(self, bytes, op, options)
	if not options or not options.split then return write(self, bytes, op) end
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
		if not text then self:fail(op, message, code) end
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

--- Sends a line and CR LF, reads one reply.
-- @param line   without its end; CR, LF or NUL inside raise
-- @param phase  one of smtp.phases (default: "command")
function methods:command(line, phase)
	local bad = line:match("[\r\n%z]")
	if bad then
		error(("bad command: %s inside (send() sends exact bytes)"):format(core.escape(bad)), 2)
	end
	local op = phase or line:match("^%a+") or "command"
	write(self, line .. "\r\n", op)
	return self:reply(nil, op, line)
end

-- ---------------------------------------------------------------- the commands of RFC 5321 section 4.1.1

local function hello(verb, name_field)
	return function(self, name)
		local answer = self:command(verb .. " " .. (name or self.plan.helo or name_field), verb)
		self.capabilities = ehlo.parse(answer)
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
	local answer = self:command("HELO " .. (name or self.plan.helo or "smtptest"), "HELO")
	self.capabilities = {}
	return answer
end

function methods:rset()
	return self:command("RSET", "RSET")
end

--- QUIT; closes nothing: that is the server's turn (RFC 5321 section 4.1.1.10).
function methods:quit()
	return self:command("QUIT", "QUIT")
end

local function with_argument(verb)
	return function(self, argument)
		return self:command(argument and verb .. " " .. argument or verb)
	end
end

methods.noop, methods.vrfy = with_argument("NOOP"), with_argument("VRFY")
methods.expn, methods.help = with_argument("EXPN"), with_argument("HELP")

-- A list as given, a map sorted by name with `true` as the bare name.
local function parameters(params)
	if not params then return "" end
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

--- MAIL FROM; the address is put between <> as it is.
-- @param params  a list, sent as given, or a map ({SIZE=100, SMTPUTF8=true}), sent sorted by name
function methods:mail(address, params)
	self.recipients = {}
	return self:command(("MAIL FROM:<%s>%s"):format(address, parameters(params)), "MAIL")
end

--- RCPT TO; as mail().
function methods:rcpt(address, params)
	local answer = self:command(("RCPT TO:<%s>%s"):format(address, parameters(params)), "RCPT")
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

local function final_replies(self)
	local op = "end of DATA"
	if self.plan.protocol ~= "lmtp" then return self:reply(nil, op, ".") end
	-- RFC 2033 section 4.2: one reply for each recipient that was accepted.
	local replies = reply.list()
	for i, address in ipairs(self.recipients or {}) do
		replies[i] = self:reply(nil, op, ".")
		replies[i].recipient = address
	end
	return replies
end

--- DATA, the message, its end (RFC 5321 section 4.1.1.4).
-- @param body     string, file handle or iterator function: constant memory
-- @param options  stuff (default true): doubles a dot at the start and after CR LF only; eod: the end of data, sent as
--   it is; without it "." CR LF after an empty body or one that ends in CR LF, else CR LF "." CR LF
-- @return final reply (LMTP: a list of replies, each with `recipient`), and the 354; not answered by 354: that reply
--   twice, and nothing more was sent
function methods:data(body, options)
	options = options or {}
	local next_chunk = chunks(body)
	local go = self:command("DATA", "DATA")
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
	return final_replies(self), go
end

--- BDAT with a chunk (RFC 3030 section 2).
-- @param options  last: true for the last chunk; size: what the command says (default #chunk; it may lie)
function methods:bdat(chunk, options)
	options = options or {}
	local line = ("BDAT %d%s"):format(options.size or #chunk, options.last and " LAST" or "")
	write(self, line .. "\r\n" .. chunk, "BDAT", PROGRESS)
	if options.last and self.plan.protocol == "lmtp" then return final_replies(self) end
	return self:reply(nil, "BDAT", line)
end

-- ---------------------------------------------------------------- several commands at once

local function as_item(item)
	if type(item) == "string" then return { bytes = item .. "\r\n", replies = 1, command = item } end
	return { bytes = item.bytes, replies = item.replies or 1, command = item.command or item.bytes:match("^[^\r\n]*") }
end

--- Sends several commands in one write, then reads their replies in order (RFC 2920).
-- @param lines    list of command lines, or {bytes=, replies=n} sent as it is
-- @param options  split, gap as send()
-- @return list of replies, each with `command`; raises with `err.replies` when fewer came
function methods:pipeline(lines, options)
	local items, bytes = {}, {}
	for i, item in ipairs(lines) do
		items[i] = as_item(item)
		bytes[i] = items[i].bytes
	end
	write_pieces(self, table.concat(bytes), "command", options)
	local replies = reply.list()
	for _, item in ipairs(items) do
		for _ = 1, item.replies do
			local ok, answer = pcall(self.reply, self, nil, "reply", item.command)
			if not ok then
				if failure.is(answer) then answer.replies = replies end
				error(answer, 0)
			end
			replies[#replies + 1] = answer
		end
	end
	return replies
end

--- Collects replies until the server is quiet.
-- @param quiet  seconds without a byte that end it
-- @param max    seconds in all (default: the plan's time-out)
-- @return list of replies; `.closed` the code when the connection ended; `.rest` bytes of an unfinished reply (kept)
function methods:drain(quiet, max)
	local replies = reply.list()
	local deadline = task.now() + (max or self:seconds("reply"))
	while true do
		local ok, answer = pcall(self.reply, self, math.min(quiet, math.max(0, deadline - task.now())))
		if ok then
			replies[#replies + 1] = answer
		elseif not failure.is(answer) or answer.code == "CANCELED" then
			error(answer, 0)
		else
			local transport = self.transport
			if answer.code ~= "TIMEOUT" then replies.closed = answer.code end
			replies.rest = table.concat(self.partial or {}) .. transport.buffer:sub(transport.position)
			return replies
		end
	end
end

--- Whether the server stays silent.
-- @param seconds  how long
-- @return true; or false and the bytes that came (left unread); or on a close false, "", code
function methods:silent(seconds)
	local transport = self.transport
	local bytes, message, code = transport:read(CHUNK, seconds)
	if bytes then
		transport:unread(bytes)
		return false, bytes
	elseif code == "TIMEOUT" then
		return true
	elseif code == "CANCELED" then
		self:fail("reply", message, code)
	end
	return false, "", code
end

return smtp
