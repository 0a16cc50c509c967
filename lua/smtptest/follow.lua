--- follow: reads along with the bytes of a session that somebody else drives, to know where commands and replies are.

local reply = require "smtptest.reply"

local follow = {}

-- Of a line longer than this only its beginning is kept: enough to know what it is.
local HEAD = 65536

local function lines(self, bytes, each)
	local position = 1
	while true do
		local lf = bytes:find("\n", position, true)
		local piece = bytes:sub(position, lf)
		if #self.line < HEAD then self.line = self.line .. piece end
		if not lf then return end
		local text = self.line
		self.line = ""
		each(self, text)
		position = lf + 1
	end
end

local Replies = {}
Replies.__index = Replies

--- Cuts what a server sends into replies.
-- @param each  function(reply)
function follow.replies(each)
	return setmetatable({ line = "", parts = {}, size = 0, each = each }, Replies)
end

local function reply_line(self, text)
	if self.size < HEAD then self.parts[#self.parts + 1] = text end
	self.size = self.size + #text
	if not reply.ends(text) then return end
	local answer = reply.new(table.concat(self.parts) .. (self.size > HEAD and text or ""))
	self.parts, self.size = {}, 0
	self.each(answer)
end

--- Takes the next bytes of the server.
function Replies:feed(bytes)
	return lines(self, bytes, reply_line)
end

local Commands = {}
Commands.__index = Commands

--- Cuts what a client sends into command lines and knows message data from them.
-- `last` is the last complete command in upper case; `data` is true inside message data; `count` is how many replies
-- the lines so far ask for.
function follow.commands()
	return setmetatable({ line = "", last = "", data = false, count = 0 }, Commands)
end

local function command_line(self, text)
	text = text:gsub("\r?\n$", "")
	if self.data then
		if text == "." then
			self.data = false
			self.count = self.count + 1
		end
		return
	end
	self.count = self.count + 1
	self.last = text:upper():gsub("%s+$", "")
	if self.last == "DATA" then self.data = true end
end

--- Takes the next bytes of the client.
function Commands:feed(bytes)
	-- Message data is followed by its end only, which is quicker to find.
	if self.data and self.line == "" and #bytes > 4096 and not bytes:find("\n.\r\n", 1, true)
		and not bytes:find("\n.\n", 1, true) and not bytes:find("^%.\r?\n") then
		self.line = bytes:sub(-512):match("\n([^\n]*)$") or "-"
		return
	end
	return lines(self, bytes, command_line)
end

--- The server refused DATA: what followed were commands.
function Commands:refused()
	self.data = false
end

--- Whether the line now begun has a beginning but no end.
function Commands:unfinished()
	return self.line ~= ""
end

--- Whether the client has said QUIT, as its last command.
function Commands:quit()
	return not self.data and (self.last == "QUIT" or self.line:upper():gsub("%s+$", "") == "QUIT")
end

return follow
