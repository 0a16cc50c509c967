--- stream: our ends of a process' pipes, read and written with deadlines while other tasks go on.
--
-- What comes from a process is taken whenever the loop turns, read or not: nobody's full pipe stops it.

local tail = require "smtptest.tail"
local task = require "smtptest.task"

local stream = {}

local CHUNK = 65536
local PIPE_BUF = 512        -- what a pipe that is writable takes without blocking (POSIX.1-2008, 2.9.7 of XSH)
local UNREAD = 1 << 20      -- bytes kept for who may read them
local TIMEOUT = 300
local FOREVER = 1e6         -- seconds; a wait that has a timer is no deadlock

local function deadline_of(seconds)
	return task.now() + math.min(seconds or TIMEOUT, FOREVER)
end

-- ---------------------------------------------------------------- the pipe that is read

local Pipe = {}
Pipe.__index = Pipe

--- Begins to read.
-- @param handle  smtptest.core.file
-- @param heard   function(bytes), called for all that comes
-- @return pipe
function stream.pipe(handle, heard)
	local self = setmetatable({ handle = handle, heard = heard, unread = tail.new(UNREAD), told = 0, buffer = "",
		position = 1, fills = 0 }, Pipe)
	self.stop = task.background(handle:fd(), function() self:pull() end)
	return self
end

local function finish(self, message, code)
	self.stop()
	self.handle:close()
	self.message, self.code = message, code
end

-- Lets go on who waits for something to come.
local function wake(self)
	local news = self.news
	self.news = nil
	if news then news:set(true) end
end

--- Takes what is there; never waits.
-- @return whether there was anything
function Pipe:pull()
	if self.code or not self.handle:ready(0) then return false end
	local bytes, message, code = self.handle:read(CHUNK)
	if bytes then
		self.unread:add(bytes)
		self.heard(bytes)
	else
		finish(self, message, code)
	end
	wake(self)
	return bytes ~= nil
end

--- Takes no more; what came can still be read.
function Pipe:close()
	if self.code then return end
	finish(self, "closed", "EBADF")
	wake(self)
end

-- Waits for more, or for another task to have taken it.
-- @return true | nil, message, EOF TIMEOUT TOOLONG …
local function more(self, deadline)
	local fills = self.fills
	while self.unread.size == 0 do
		if self.fills > fills then return true end
		if not self:pull() then
			if self.code then return nil, self.message, self.code end
			self.news = self.news or task.promise "the output of a process"
			local ok, message, code = self.news:wait(math.max(0, deadline - task.now()))
			if not ok then return nil, message, code end
		end
	end
	local lost = self.unread.dropped - self.told
	if lost > 0 then
		self.told = self.unread.dropped
		return nil, ("%d bytes were lost: nobody read them in time"):format(lost), "TOOLONG"
	end
	self.buffer, self.position = self.buffer:sub(self.position) .. self.unread:take(), 1
	self.fills = self.fills + 1
	return true
end

-- ---------------------------------------------------------------- stdout and stderr

local Reader = {}
Reader.__index = Reader
Reader.__name = "smtptest.process.output"

--- What a script reads a pipe with.
-- @param owner  the process, which lives as long as this
function stream.reader(pipe, owner)
	return setmetatable({ pipe = pipe, owner = owner }, Reader)
end

--- Reads what is there, waiting for the first byte.
-- @param max      bytes at most (default 65536)
-- @param seconds  how long at most (default 300; math.huge for ever; 0: only what is there)
-- @return bytes | nil, message, code: EOF; TIMEOUT; TOOLONG once where more than 1 MiB came that nobody read, of which
--   the oldest is lost; EBADF after close(); CANCELED
function Reader:read(max, seconds)
	local pipe, deadline = self.pipe, deadline_of(seconds)
	while pipe.position > #pipe.buffer do
		local ok, message, code = more(pipe, deadline)
		if not ok then return nil, message, code end
	end
	local bytes = pipe.buffer:sub(pipe.position, pipe.position + (max or CHUNK) - 1)
	pipe.position = pipe.position + #bytes
	return bytes
end

--- Reads one line.
-- @param seconds  how long at most (default 300)
-- @return line without its LF, the last one also without ever having one | nil, message, code as read(); TOOLONG for a
--   line of more than 1 MiB, too: read() has its bytes
function Reader:line(seconds)
	local pipe = self.pipe
	local deadline = deadline_of(seconds)
	while true do
		local lf = pipe.buffer:find("\n", pipe.position, true)
		if lf then
			local line = pipe.buffer:sub(pipe.position, lf - 1)
			pipe.position = lf + 1
			return line
		end
		local size = #pipe.buffer - pipe.position + 1
		if size > UNREAD then return nil, ("a line of more than %d bytes"):format(UNREAD), "TOOLONG" end
		local ok, message, code = more(pipe, deadline)
		if not ok and size > 0 and (code == "EOF" or code == "EBADF") then
			local line = pipe.buffer:sub(pipe.position)
			pipe.position = #pipe.buffer + 1
			return line
		elseif not ok then
			return nil, message, code
		end
	end
end

--- Closes our end: the process gets EPIPE when it writes. Idempotent.
function Reader:close()
	self.pipe:close()
	return true
end

-- ---------------------------------------------------------------- stdin

local Input = {}
Input.__index = Input

--- The pipe that is written.
-- @param handle  smtptest.core.file
function stream.input(handle)
	return setmetatable({ handle = handle, turn = setmetatable({}, { __close = function(turn) turn.taken = false end }) },
		Input)
end

function Input:close()
	if self.source then task.forget(self.source) end
	self.source = nil
	self.handle:close()
end

local function write(self, bytes, deadline)
	if not self.handle:fd() then return nil, "closed", "EBADF" end
	if self.turn.taken then return nil, "another task writes", "BUSY" end
	if not self.source then
		local source, message, code = task.source(self.handle:fd(), "level")
		if not source then return nil, message, code end
		self.source = source
	end
	local turn <close> = self.turn
	turn.taken = true
	for first = 1, #bytes, PIPE_BUF do
		self.source.writable = false
		local ok, message, code = task.writable(self.source, deadline)
		if ok then ok, message, code = self.handle:write(bytes, first, math.min(#bytes, first + PIPE_BUF - 1)) end
		if not ok then return nil, message, code end
	end
	return true
end

local Writer = {}
Writer.__index = Writer
Writer.__name = "smtptest.process.input"

--- What a script writes standard input with.
function stream.writer(input, owner)
	return setmetatable({ input = input, owner = owner }, Writer)
end

--- Writes all of `bytes`.
-- @param seconds  for the whole (default 300)
-- @return true | nil, message, code: EPIPE when nobody reads any more, TIMEOUT, BUSY while another task writes, EBADF
--   after close(), CANCELED
function Writer:write(bytes, seconds)
	if type(bytes) ~= "string" then error("bad bytes (string expected, got " .. type(bytes) .. ")", 2) end
	return write(self.input, bytes, deadline_of(seconds))
end

--- Closes it: the process reads an end of file. Idempotent.
function Writer:close()
	self.input:close()
	return true
end

return stream
