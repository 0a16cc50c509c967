--- sink: a file that listeners write, line by line, while sessions run. What goes wrong with it reaches no session.

local failure = require "smtptest.failure"

local sink = {}

local Sink = {}
Sink.__index = Sink

local open = {}         -- path → sink: sessions of one process share a file

--- Opens a file, or gives the one that is open.
-- @param path    it is made, or emptied
-- @param option  its name in messages, "--log"
-- @param head    what a new one begins with
-- @return sink: count (how many connections have begun in it); raises when it can't be opened
function sink.open(path, option, head)
	if open[path] then return open[path] end
	local handle, message, errno = io.open(path, "wb")
	if not handle then
		error(failure.new { op = option, message = message, code = errno == 2 and "ENOENT" or "EIO", status = 1 }, 0)
	end
	-- Whole lines are there when the process is killed.
	handle:setvbuf "line"
	local self = setmetatable({ handle = handle, path = path, option = option, count = 0 }, Sink)
	open[path] = self
	if head then self:write(head) end
	return self
end

--- Writes; after the first failure nothing more.
function Sink:write(text)
	if self.trouble then return end
	local ok, message = self.handle:write(text)
	if not ok then self.trouble = message end
end

--- The number of the next connection, from 1 on.
function Sink:connection()
	self.count = self.count + 1
	return self.count
end

--- Closes all of them.
-- @return what went wrong with the first that could not be written, or nil
function sink.close_all()
	local trouble
	for path, self in pairs(open) do
		open[path] = nil
		local ok, message = self.handle:close()
		local why = self.trouble or not ok and message
		self.trouble = "closed"
		if why and not trouble then trouble = ("%s: %s: %s"):format(self.option, path, why) end
	end
	return trouble
end

return sink
