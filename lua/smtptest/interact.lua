--- interact: the keyboard (or a file, a pipe) and the server, both ways at once: a method of Session.

local argument = require "smtptest.argument"
local file = require "smtptest.core.file"
local core = require "smtptest.core.line"
local follow = require "smtptest.follow"
local relay = require "smtptest.relay"
local smtp = require "smtptest.smtp"
local task = require "smtptest.task"

local interact = { methods = {} }
local methods = interact.methods

local CHUNK = 65536

-- ---------------------------------------------------------------- where the bytes come from

local Input = {}
Input.__index = Input

-- fd 0, a file's name, one of Lua's files, or a smtptest.core.file.
local function open_input(self, input)
	local handle, message, code
	if io.type(input) then
		handle, message, code = file.of(input)
		if not handle then self:fail("read", message, code) end
		return setmetatable({ handle = handle }, Input)
	end
	if input == nil then
		handle = file.fromfd(0)
	elseif type(input) == "string" then
		handle, message, code = file.open(input, "r")
		if not handle then
			self:fail("open", ("Unable to open file: %s:%s"):format(input, message:gsub("^.*: ", "")), code)
		end
	else
		handle = input
	end
	return setmetatable({ handle = handle, given = handle == input }, Input)
end

-- Waits without a time-out: nobody hurries a person.
function Input:read()
	if not self.handle:ready(0) then
		if not self.source then
			local source, message, code = task.source(self.handle:fd(), "level")
			if not source then return nil, message, code end
			self.source = source
		end
		self.source.readable = self.source.always or false
		local ok, message, code = task.readable(self.source, math.huge)
		if not ok then return nil, message, code end
	end
	return self.handle:read(CHUNK)
end

function Input:close()
	if self.source then task.forget(self.source) end
	self.source = nil
	if not self.given then self.handle:close() end
end

Input.__close = Input.close

-- ---------------------------------------------------------------- one conversation

local Talk = {}
Talk.__index = Talk

local PROGRESS = { progress = true }

-- Whether what was sent last is a STARTTLS by a person or in lockstep: what comes next then waits for the handshake.
-- Who sends more at once, or from a file, means these bytes.
function Talk:asks_for_tls()
	local commands = self.commands
	return self.by_line and commands.last == "STARTTLS" and not commands:unfinished() and not self.session.tls
end

function Talk:send(bytes)
	local session = self.session
	self.commands:feed(bytes)
	local upgrade = self:asks_for_tls() and { promise = task.promise(), count = self.commands.count } or nil
	self.upgrade = upgrade
	local ok, message, code = session.transport:write(bytes, session:seconds("session"), PROGRESS)
	session.written = task.now()
	if not ok then return nil, message, code end
	if upgrade then upgrade.promise:wait() end
	return true
end

-- STARTTLS was answered by 220.
function Talk:secure()
	local upgrade, replies = self.upgrade, self.replies
	self.upgrade = nil
	if replies.line ~= "" then self.session.transport:unread(replies.line) end
	replies.line = ""
	self.session:handshake()
	upgrade.promise:set(true)
end

function Talk:replied(answer)
	local session = self.session
	smtp.answered(session, answer)
	self.commands:answered(answer.code)
	local upgrade = self.upgrade
	if upgrade and self.commands.answers >= upgrade.count then
		upgrade.ready = answer.code == 220
		if not upgrade.ready then upgrade.promise:set(true) end
	end
	answer.elapsed = session.written and task.now() - session.written
	session.transport:note("reply", { reply = answer, bytes = answer.raw })
	if self.awaited then
		local promise = self.awaited
		self.awaited = nil
		promise:set(answer)
	end
end

-- Lockstep: the next line waits for this promise.
function Talk:next_reply()
	local session = self.session
	local answer, message, code = self.awaited:wait(session:seconds("reply"))
	if not answer then
		self.awaited = nil
		session:fail("reply", message, code)
	end
	return answer
end

function Talk:send_line(text)
	local was_data = self.commands.data
	local promise = task.promise()
	self.awaited = promise
	local ok, message, code = self:send(text)
	if not ok then return nil, message, code end
	if was_data and self.commands.data then
		self.awaited = nil          -- inside message data nothing is answered
		return true
	end
	return self.awaited == promise and self:next_reply() or true
end

-- Sends what was read, line by line where each is to be answered.
function Talk:forward(bytes)
	if self.crlf then bytes, self.last_cr = core.crlf(bytes, self.last_cr) end
	if self.echo then self.output(bytes) end
	if not self.lockstep then return self:send(bytes) end
	self.rest = self.rest .. bytes
	while true do
		local lf = self.rest:find("\n", 1, true)
		if not lf then return true end
		local text = self.rest:sub(1, lf)
		self.rest = self.rest:sub(lf + 1)
		local ok, message, code = self:send_line(text)
		if not ok then return nil, message, code end
	end
end

function Talk:finish_input()
	if self.rest ~= "" then self:send(self.rest) end
	local typed = self.commands:quit()
	self.how = typed and "quit" or "eof"
	if not self.quit then return end
	if self.commands:unfinished() then
		if self.echo then self.output("\r\n") end
		self:send("\r\n")
	end
	self.session.transport:note("quit", { typed = typed })
	if not typed then self:send("QUIT\r\n") end
end

-- The task that carries input to the server.
function Talk:pump()
	local input <close> = open_input(self.session, self.input)
	self.reading = input
	self.by_line = self.lockstep or input.handle.isatty and input.handle:isatty()
	while true do
		local bytes, message, code = input:read()
		if not bytes then
			if code ~= "EOF" and code ~= "EBADF" and code ~= "EIO" then self.session:fail("read", message, code) end
			break
		end
		if not self:forward(bytes) then return end      -- the server's end tells the reason
	end
	self:finish_input()
	self.ended = task.now()
	if not self.quit then self.outcome:set(self.how) end
end

-- Input that is there already goes out before the server's text is shown: what a script typed last, and its end, stand
-- in the same order on every machine.
function Talk:input_first()
	local input = self.reading
	if input and not self.ended and not self.lockstep and input.handle:ready(0) then task.sleep(0) end
end

-- The task that carries the server's text to the output.
function Talk:listen()
	local session = self.session
	local transport = session.transport
	local limit = session:seconds("session")
	local heard = task.now()
	while true do
		local bytes, message, code = transport:read(CHUNK, limit)
		if bytes then
			heard = task.now()
			self:input_first()
			self.output(bytes)
			self.replies:feed(bytes)
			if self.upgrade and self.upgrade.ready then self:secure() end
		elseif code == "TIMEOUT" then
			if self.ended and task.now() - math.max(self.ended, heard) >= limit then
				session:fail("session", message, code)
			end
		elseif code == "EOF" or code == "TRUNCATED" or code == "ECONNRESET" or code == "EPIPE" then
			self.closed = code
			local how = self.how or self.commands:quit() and "quit"
			return self.outcome:set(self.quit and how or "closed")
		else
			session:fail("session", message, code)
		end
	end
end

local function default_output()
	local terminal = file.fromfd(1):isatty()
	return function(bytes)
		local ok, message = io.stdout:write(terminal and core.visible(bytes) or bytes)
		if not ok then error(message, 0) end
	end
end

local function output_function(output)
	if output == nil then return default_output() end
	if type(output) == "function" then return output end
	return function(bytes)
		local ok, message = output:write(bytes)
		if not ok then error(message, 0) end
	end
end

local function guarded(talk, method)
	return function()
		local ok, err = pcall(method, talk)
		if not ok then
			talk.err = err
			talk.outcome:set("error")
		end
	end
end

local function converse(self, options)
	local talk = setmetatable({
		session = self,
		input = options.input,
		output = output_function(options.output),
		crlf = options.crlf ~= false, last_cr = false,
		lockstep = options.lockstep, rest = "",
		echo = options.echo,
		quit = options.quit ~= false,
		outcome = task.promise(),
		commands = follow.commands(),
	}, Talk)
	talk.replies = follow.replies(function(answer) talk:replied(answer) end)
	local release = task.on_interrupt(function() talk.outcome:set("interrupt") end)
	-- The pump goes first: input that is there already is sent before the server's text is shown.
	local pump = options.input ~= false and task.spawn(guarded(talk, talk.pump))
	if not pump then talk.ended = task.now() end
	local listener = task.spawn(guarded(talk, talk.listen))
	local outcome, message, code = talk.outcome:wait()
	release()
	if pump then pump:cancel() end
	listener:cancel()
	if outcome == "error" then error(talk.err, 0) end
	if not outcome then self:fail("session", message, code) end
	if outcome == "interrupt" and talk.quit then
		self.transport:note("quit", { typed = false })
		self.transport:write("QUIT\r\n", 0)
	end
	return outcome
end

local OPTIONS = {
	input = "string|table|userdata|boolean", output = "function|table|userdata",
	crlf = "boolean", lockstep = "boolean", quit = "boolean", echo = "boolean",
}

--- Copies input to the server and the server's text to the output until one ends.
-- @param options  input: nil stdin, a file's name, one of Lua's files, a smtptest.core.file, a listener (one client
--   after the other), false none; output: nil stdout (control characters escaped on a terminal), an object with
--   `write`, or function(bytes); crlf (default true): LF becomes CR LF; lockstep: each line waits for its reply,
--   message data does not; echo: what is sent goes to the output as well; quit (default true): at the end of input say
--   QUIT, unless that was the last line, and go on until the server closes. STARTTLS from a terminal or in lockstep is
--   followed by the handshake
-- @return "eof" (input ended), "quit" (QUIT was its last line), "closed" (by the server), "interrupt". Raises TIMEOUT
--   when the server is silent after the end of input, what opening and reading the input raised (op "open", "read"),
--   and what the handshake did
function methods:interact(options)
	options = argument.options(options, OPTIONS, 2)
	local input = options.input
	if type(input) == "table" and input.accept then
		return relay.serve(self, input)
	end
	return converse(self, options)
end

return interact
