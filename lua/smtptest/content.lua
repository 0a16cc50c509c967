--- content: what follows the envelope, by DATA and BDAT (RFC 5321 section 4.1.1.4, 3030, 2033): methods of Session.

local argument = require "smtptest.argument"
local core = require "smtptest.core.line"
local failure = require "smtptest.failure"
local reply = require "smtptest.reply"
local smtp = require "smtptest.smtp"

local content = { methods = {} }
local methods = content.methods

local CHUNK = 65536

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

-- What answers the end of a message; `command` is what ended it. LMTP: a reply for each recipient that was accepted,
-- one in any case (RFC 2033 section 4.2).
local function final_replies(self, command)
	local op = "end of DATA"
	local envelope = self.envelope
	if not envelope then
		self.recipients = {}
		return self:reply(nil, op, command)
	end
	envelope:ended()
	local recipients, replies = self.recipients, reply.list()
	for i = 1, math.max(1, #recipients) do
		local ok, answer = pcall(self.reply, self, nil, op, command)
		if not ok then
			if failure.is(answer) then answer.replies = replies end
			error(answer, 0)
		end
		answer.recipient, replies[i] = recipients[i], answer
	end
	return replies
end

local DATA, BDAT = { stuff = "boolean", eod = "string" }, { last = "boolean", size = "integer" }

--- DATA, the message, its end (RFC 5321 section 4.1.1.4). Its time-out is time without progress.
-- @param body     string, file handle or iterator function: constant memory
-- @param options  stuff (default true): doubles a dot at the start and after CR LF only; eod: the end of data, sent as
--   it is; without it "." CR LF after an empty body or one that ends in CR LF, else CR LF "." CR LF
-- @return final reply (LMTP: a list of replies, each with `recipient`), and the 354; not answered by 354: that reply
--   twice, and nothing more was sent
function methods:data(body, options)
	options = argument.options(options, DATA, 2)
	local next_chunk = chunks(body)
	local go = smtp.say(self, "DATA", "DATA")
	if go.code ~= 354 then return go, go end
	local state, tail = "start", "\r\n"
	local stuffed
	for chunk in next_chunk do
		if type(chunk) ~= "string" then error("bad chunk (string expected, got " .. type(chunk) .. ")", 2) end
		if #chunk > 0 then
			tail = (tail .. chunk:sub(-2)):sub(-2)
			if options.stuff ~= false then
				stuffed, state = core.stuff(chunk, state)
			else
				stuffed = chunk
			end
			smtp.write(self, stuffed, "DATA", PROGRESS)
		end
	end
	smtp.write(self, options.eod or (tail == "\r\n" and ".\r\n" or "\r\n.\r\n"), "DATA")
	return final_replies(self, "."), go
end

--- BDAT with a chunk (RFC 3030 section 2).
-- @param options  last: true for the last chunk; size: what the command says (default #chunk; it may lie)
function methods:bdat(chunk, options)
	options = argument.options(options, BDAT, 2)
	if type(chunk) ~= "string" then error("bad chunk (string expected, got " .. type(chunk) .. ")", 2) end
	local line = ("BDAT %d%s"):format(options.size or #chunk, options.last and " LAST" or "")
	smtp.write(self, line .. "\r\n" .. chunk, "BDAT", PROGRESS)
	if options.last then return final_replies(self, line) end
	return self:reply(nil, "BDAT", line)
end

return content
