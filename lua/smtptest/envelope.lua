--- envelope: reads along with an LMTP session to know whose replies end a message (RFC 2033 section 4.2), whoever sends
-- its commands.

local envelope = {}

local Envelope = {}
Envelope.__index = Envelope

-- Of a line longer than this only its beginning is kept: enough to know what it is.
local HEAD = 4096
local END = "\r\n.\r\n"

-- What stands in the queue for the end of a message; every other member is a command line.
local DOT = {}

--- Makes one for a session.
-- @return envelope: recipients, the list of those that were accepted since MAIL
function envelope.new()
	return setmetatable({
		recipients = {},
		queue = {}, first = 1, last = 0,    -- what is not answered yet
		line = "",                          -- begun, not ended
		chunk = 0,                          -- bytes of a BDAT that are still to come
	}, Envelope)
end

local function push(self, item)
	self.last = self.last + 1
	self.queue[self.last] = item
end

local function command(self, text)
	push(self, text)
	local size, rest = text:match("^[Bb][Dd][Aa][Tt] +(%d+)(.*)$")
	if size then
		self.chunk = math.tointeger(tonumber(size)) or math.maxinteger
		self.final = rest:find("^%s+[Ll][Aa][Ss][Tt]") ~= nil
		-- Its reply comes when the chunk is whole.
		if self.final then self.queue[self.last] = DOT end
	elseif text:upper() == "DATA" then
		self.data, self.tail = true, "\r\n"
	end
end

-- Message data: the position behind its end, or nil when it goes on.
local function data(self, bytes, position)
	local window = self.tail .. bytes:sub(position)
	local _, stop = window:find(END, 1, true)
	if not stop then
		self.tail = window:sub(-4)
		return nil
	end
	position = position + stop - #self.tail
	self:ended()
	return position
end

--- Message data has ended, whatever its last bytes were.
function Envelope:ended()
	if not self.data then return end
	self.data = false
	push(self, DOT)
end

--- Takes the next bytes that were sent.
function Envelope:sent(bytes)
	local position, n = 1, #bytes
	while position and position <= n do
		if self.chunk > 0 then
			local size = math.min(self.chunk, n - position + 1)
			self.chunk, position = self.chunk - size, position + size
		elseif self.data then
			position = data(self, bytes, position)
		else
			local lf = bytes:find("\n", position, true)
			if #self.line < HEAD then self.line = self.line .. bytes:sub(position, lf) end
			if not lf then return end
			local text = self.line:gsub("\r?\n$", "")
			self.line, position = "", lf + 1
			command(self, text)
		end
	end
end

local function named(text)
	local rest = text:match("^[Rr][Cc][Pp][Tt]%s+[Tt][Oo]:%s*(.*)$")
	return rest and (rest:match("^<(.-)>%s") or rest:match("^<(.-)>$") or rest)
end

-- What begins a new transaction once it is accepted.
local NEW = { MAIL = true, RSET = true, LHLO = true, EHLO = true, HELO = true }

--- The server has answered what comes next.
-- @param code  of the reply
function Envelope:answered(code)
	local item = self.queue[self.first]
	if not item then return end
	local good = code >= 200 and code < 300
	if item == DOT then
		self.owing = (self.owing or math.max(1, #self.recipients)) - 1
		if self.owing > 0 then return end
		self.owing, self.recipients = nil, {}
	elseif item:upper() == "DATA" and code ~= 354 then
		-- What was meant as its message are commands.
		self.data = false
		if self.queue[self.first + 1] == DOT then self.queue[self.first + 1] = "" end
	elseif good and named(item) then
		table.insert(self.recipients, named(item))
	elseif good and NEW[item:match("^%a*"):upper()] or not good and item:find("^[Bb][Dd][Aa][Tt]") then
		-- A chunk that is refused takes the transaction with it (RFC 3030 section 2).
		self.recipients = {}
	end
	self.queue[self.first] = nil
	self.first = self.first + 1
end

--- Whether the reply that comes next ends a message, and then how many do: one for each recipient, one in any case.
-- @return nil, or the number
function Envelope:owed()
	local item = self.queue[self.first]
	if item == DOT or not item and (self.data or self.chunk > 0 and self.final) then
		return math.max(1, #self.recipients)
	end
	return nil
end

--- No more replies are expected for the message whose end is being answered.
function Envelope:settle()
	if self.owing then
		self.owing = 1
		self:answered(250)
	end
end

--- Forgets what is not answered: a new beginning under TLS.
function Envelope:restart()
	self.recipients, self.queue, self.first, self.last = {}, {}, 1, 0
	self.line, self.chunk, self.data, self.owing = "", 0, false, nil
end

return envelope
