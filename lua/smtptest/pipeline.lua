--- pipeline: several commands in one write, then their replies (RFC 2920): a method of Session.

local argument = require "smtptest.argument"
local failure = require "smtptest.failure"
local reply = require "smtptest.reply"
local smtp = require "smtptest.smtp"
local task = require "smtptest.task"
local transcript = require "smtptest.transcript"

local pipeline = { methods = {} }

-- Bytes that are written before replies are read: a server takes them whatever its buffers are. More is written while
-- they are read.
local CHUNK = 4096

local ITEM = { bytes = "string", replies = "integer", command = "string" }

local function as_item(item)
	if type(item) == "string" then
		return { bytes = smtp.checked(item, 4) .. "\r\n", command = item }
	end
	if type(item) ~= "table" or not item.bytes then error("bad item (a line or {bytes=, replies=} expected)", 3) end
	argument.options(item, ITEM, 3)
	return { bytes = item.bytes, replies = item.replies, command = item.command or item.bytes:match("^[^\r\n]*"),
		named = item.command ~= nil }
end

-- What is told of the commands later must not tell their secrets: an AUTH's, and what answers a 334.
local function hide_secrets(self, items)
	local tracker = transcript.copy(self.observer.tracker)
	for _, item in ipairs(items) do
		local from, to = tracker:sent(item.bytes)
		if from and not item.named then
			item.command = transcript.masked(item.bytes, { from, to }):match("^[^\r\n]*")
			item.secret = from == 1
		end
	end
end

-- What follows a DATA is its message, whose end is answered later than a command (RFC 5321 section 4.5.3.2.6).
local function set_phases(items)
	local before
	for _, item in ipairs(items) do
		local line = item.secret and "" or item.command
		item.phase = before == "DATA" and "end of DATA" or smtp.verb_of(line)
		item.final = before == "DATA" or line:find("^[Bb][Dd][Aa][Tt] +%d+ +[Ll][Aa][Ss][Tt]") ~= nil
		before = line:upper():match("^DATA%s*$") and "DATA"
	end
end

local Beside = {}

function Beside:__close()
	self.task:cancel()
end

-- A server whose replies nobody reads stops reading commands (RFC 2920 section 3.1).
-- @return nil when all is written, or an object with `task`, which writes
local function write_beside(self, bytes, sizes, gap)
	local function all(put)
		if sizes then return smtp.pieces(self, bytes, sizes, gap, put) end
		put(bytes)
	end
	if #bytes <= CHUNK then
		return all(function(piece) smtp.write(self, piece, "command") end)
	end
	self.written = task.now()
	-- What the server says before it hangs up is for who reads.
	return setmetatable({ task = task.spawn(pcall, all, function(piece)
		local ok, message, code = self.transport:write(piece, self:seconds("command"))
		if not ok then self:fail("command", message, code) end
	end) }, Beside)
end

-- As long as commands are being written, their measure is the one that counts.
local function patient_reply(self, item, writer)
	while writer and not writer.task:done() do
		local ok, answer = pcall(self.reply, self, nil, item.phase, item.command)
		if ok then return answer end
		if not failure.is(answer) or answer.code ~= "TIMEOUT" then error(answer, 0) end
	end
	return self:reply(nil, item.phase, item.command)
end

local function read_replies(self, item, writer, replies)
	local recipients = self.recipients
	local owed = item.final and self.envelope and self.envelope:owed()
	for i = 1, item.replies or owed or 1 do
		local answer = patient_reply(self, item, writer)
		answer.recipient = owed and recipients[i] or nil
		replies[#replies + 1] = answer
	end
	if owed then
		self.envelope:settle()
		self.recipients = self.envelope.recipients
	end
end

local function raise(err, replies)
	if failure.is(err) then err.replies = replies end
	error(err, 0)
end

--- Sends several commands in one write, then reads their replies in order. All may be in it: of AUTH each line of the
-- exchange is an item, DATA counts its 354, and the message is the next item, its end included, as is a BDAT with its
-- chunk.
-- @param lines    list of command lines, or {bytes=, replies=n, command=}, sent as it is: replies (default 1; LMTP:
--   after a message as many as recipients were accepted), command (what the replies tell; default the first line)
-- @param options  split, gap as send()
-- @return list of replies, each with `command` (secrets masked), after a message over LMTP `recipient`; raises with
--   `err.replies` when fewer came
function pipeline.methods:pipeline(lines, options)
	options = argument.options(options, smtp.PIECES, 2)
	if type(lines) ~= "table" then error("bad pipeline (list expected, got " .. type(lines) .. ")", 2) end
	local items, bytes = {}, {}
	for i, item in ipairs(lines) do
		items[i] = as_item(item)
		bytes[i] = items[i].bytes
	end
	hide_secrets(self, items)
	set_phases(items)
	bytes = table.concat(bytes)
	local replies = reply.list()
	local sizes = options.split and smtp.sizes(options.split, #bytes, 2)
	local writer <close> = write_beside(self, bytes, sizes, options.gap)
	for _, item in ipairs(items) do
		local ok, err = pcall(read_replies, self, item, writer, replies)
		if not ok then raise(err, replies) end
	end
	if writer then
		local ok, err = writer.task:join()
		if not ok then raise(err, replies) end
	end
	return replies
end

return pipeline
