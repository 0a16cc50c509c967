--- follow: reads along with the bytes of a session that somebody else drives, to know where commands and replies are.

local core = require "smtptest.core.line"
local reply = require "smtptest.reply"

local follow = {}

-- Of a line longer than this only its beginning is kept: enough to know what it is.
local HEAD = 65536

local Replies = {}
Replies.__index = Replies

--- Cuts what a server sends into replies.
-- @param each  function(reply)
function follow.replies(each)
	return setmetatable({ line = "", parts = {}, size = 0, each = each }, Replies)
end

local function reply_line(self, text)
	local ends = reply.ends(text)
	if ends or self.size < HEAD then self.parts[#self.parts + 1] = text end
	self.size = self.size + #text
	if not ends then return end
	local answer = reply.new(table.concat(self.parts))
	self.parts, self.size = {}, 0
	self.each(answer)
end

--- Takes the next bytes of the server.
function Replies:feed(bytes)
	local position = 1
	while true do
		local lf = bytes:find("\n", position, true)
		if #self.line < HEAD then self.line = self.line .. bytes:sub(position, lf) end
		if not lf then return end
		local text = self.line
		self.line = ""
		reply_line(self, text)
		position = lf + 1
	end
end

local Commands = {}
Commands.__index = Commands

--- Cuts what a client sends into command lines and knows message data from them.
-- `last` is the last complete command in upper case; `data` is true inside message data; `count` is how many replies
-- the lines so far ask for, `answers` how many came.
function follow.commands()
	return setmetatable({ line = "", last = "", data = false, at_start = true, count = 0, answers = 0 }, Commands)
end

local function command_line(self, text)
	self.count = self.count + 1
	self.last = text:upper():gsub("%s+$", "")
	if self.last == "DATA" then self.data, self.data_at = true, self.count end
end

-- Where message data ends in bytes from position on; nil when it goes on. A line that may be the beginning of the end
-- is kept for the next time.
local function data_end(self, bytes, position)
	local at_start = self.at_start
	while true do
		local dot = core.find(bytes, ".", position, at_start)
		if not dot then break end
		local after = bytes:match("^%.\r?\n()", dot)
		if after then return after end
		if bytes:find("^%.\r?$", dot) then
			self.line, self.at_start = bytes:sub(dot), true
			return nil
		end
		position, at_start = dot + 1, false
	end
	self.at_start = bytes:sub(-1) == "\n"
	return nil
end

--- Takes the next bytes of the client.
function Commands:feed(bytes)
	if self.data and self.line ~= "" then
		bytes, self.line = self.line .. bytes, ""
	end
	local position, n = 1, #bytes
	while position <= n do
		if self.data then
			local after = data_end(self, bytes, position)
			if not after then return end
			self.data, self.count, position = false, self.count + 1, after
		else
			local lf = bytes:find("\n", position, true)
			if #self.line < HEAD then self.line = self.line .. bytes:sub(position, lf) end
			if not lf then return end
			command_line(self, self.line)
			self.line, self.at_start, position = "", true, lf + 1
		end
	end
end

--- The server has answered the next command; was that a DATA that it refused, then what follows it are commands.
-- @param code  of the reply
function Commands:answered(code)
	self.answers = self.answers + 1
	if self.data and self.answers == self.data_at and code >= 400 then self.data = false end
end

--- Whether the line now begun has a beginning but no end.
function Commands:unfinished()
	return self.line ~= "" or self.data and not self.at_start
end

--- Whether the client has said QUIT, as its last command.
function Commands:quit()
	return not self.data and (self.last == "QUIT" or self.line:upper():gsub("%s+$", "") == "QUIT")
end

return follow
