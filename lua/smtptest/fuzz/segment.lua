--- segment: twins: the same bytes on two connections, plainly on c1, in other segments on c2.

local command = require "smtptest.fuzz.command"

local segment = {}

local GAP = 0.005

-- What follows is said at the same time as a message's body, or has another one behind it.
local ALONE = { connect = true, starttls = true, handshake = true, auth = true }

--- Appends the same bytes on another connection, in segments of `cut`.
-- @param first  index of the step to begin with
-- @param from   the connection that was led so far
-- @param to     its twin
-- @param cut    function(bytes, number of the send) → list of sizes | nil
function segment.split(self, first, from, to, cut)
	local number = 0
	for i = first, #self.steps do
		local step = self.steps[i]
		if step.connection == from then
			local copy = {}
			for key, value in pairs(step) do copy[key] = value end
			copy.connection = to
			if step.step == "send" and step.bytes then
				number = number + 1
				copy.split = cut(step.bytes, number)
				copy.gap = copy.split and GAP or nil
			end
			self.steps[#self.steps + 1] = copy
		end
	end
end

--- Appends the same bytes on another connection, several sends in one write.
-- @param more  function(bytes of the send before, its number) → whether the next one goes along with it
function segment.join(self, first, from, to, more)
	local open, number
	number = 0
	for i = first, #self.steps do
		local step = self.steps[i]
		if step.connection == from then
			if step.step == "send" and step.bytes and open then
				open.bytes = open.bytes .. step.bytes
				number = number + 1
				-- Its replies come behind those of what it was joined to.
				if not more(step.bytes, number) then open = nil end
			else
				local copy = {}
				for key, value in pairs(step) do copy[key] = value end
				copy.connection = to
				self.steps[#self.steps + 1] = copy
				if step.step == "send" and step.bytes then
					number = number + 1
					open = more(step.bytes, number) and copy or nil
				elseif step.step ~= "reply" then
					open = nil
				end
			end
			if ALONE[step.step] then open = nil end
		end
	end
end

-- A session that uses most commands, valid for the most part.
local function usual(self, connection, round)
	self:open(connection)
	for _, name in ipairs { "NOOP", "VRFY", "HELP", "EXPN", "MAIL", "RCPT", "RSET", "MAIL", "NOOP", "RCPT" } do
		command.symbol(self, connection, name)
	end
	self:data(connection)
	for _, name in ipairs { "HELO", "ETRN", "BDAT", "UNKNOWN" } do command.symbol(self, connection, name) end
	if round % 2 == 1 then command.symbol(self, connection, "AUTH") end
	self:quit(connection)
end

local REST = 1 << 20

-- Ways to cut, in turn: the first K bytes (K), the last K (-K), every K bytes ({K}); the likely ones come first.
local WAYS = { -1, 1, 4, 5, 2, { 1 }, 3, 6, -2, 7, 8, 9, 10, { 2 }, 11, 12, -3, { 3 }, 13, 14, { 5 }, -4, { 7 },
	{ 16 } }
for size = 15, 40 do WAYS[#WAYS + 1] = size end

segment.ways = #WAYS

--- Every command of a session with a cut at the same place.
function segment.splits(self, index)
	local way = WAYS[index % #WAYS + 1]
	usual(self, "c1", index // #WAYS)
	segment.split(self, 1, "c1", "c2", function(bytes)
		if type(way) == "table" then return { way[1] } end
		local size = way > 0 and way or #bytes + way
		if size >= 1 and size < #bytes then return { size, REST } end
	end)
end

local JOINED = { "NOOP", "RSET", "VRFY", "EXPN", "HELP", "EHLO", "HELO", "MAIL", "RCPT", "UNKNOWN", "ETRN", "BDAT",
	"DATA", "EMPTY" }
local PAIRS = 9
local SIZES = { 2, 2, 4, 2, 2, 6 }      -- commands in a segment, in turn

segment.joined = #JOINED

-- How many sends there are so far.
local function sends(self)
	local number = 0
	for _, step in ipairs(self.steps) do
		if step.step == "send" then number = number + 1 end
	end
	return number
end

--- Pairs of commands in one write, in every third case several pairs; c1 says the same in lockstep.
function segment.pairs(self, index)
	self:open "c1"
	local starts, size = {}, SIZES[index % #SIZES + 1]
	for i = 0, 2 * PAIRS - 1 do
		local at = (index * PAIRS + i // 2) % (#JOINED * #JOINED)
		local one, two = at % #JOINED, (at // #JOINED + at % #JOINED) % #JOINED
		local before = sends(self)
		command.symbol(self, "c1", JOINED[(i % 2 == 0 and one or two) + 1])
		-- A message is not joined to its DATA.
		if i % size < size - 1 and sends(self) == before + 1 then starts[before + 1] = true end
	end
	self:quit "c1"
	segment.join(self, 1, "c1", "c2", function(_, at) return starts[at] end)
end

--- Whole transactions in few writes, of two to nine commands.
function segment.groups(self, index)
	usual(self, "c1", index)
	local left = 0
	segment.join(self, 1, "c1", "c2", function(bytes, number)
		if number <= 2 then return false end
		-- Nothing is sent behind DATA before its reply; in every third case even that.
		if index % 3 ~= 2 and bytes:find "^DATA" then
			left = 0
			return false
		end
		if left == 0 then left = self.random:integer(2, 9) end
		left = left - 1
		return left > 0
	end)
end

return segment
