--- transcript: what a session sent and received, its last part, with secrets masked.
--
-- A secret is known by the state of the protocol: the initial response after "AUTH x " and every line sent in answer to
-- a 334 (RFC 4954 section 4), whoever wrote it.

local line = require "smtptest.core.line"

local transcript = {}

-- ---------------------------------------------------------------- where the secrets are

local Tracker = {}
Tracker.__index = Tracker

-- How much of an unfinished line is remembered: "AUTH", a mechanism's name (20 letters, RFC 4422 section 3.1), blanks.
local HEAD = 200

--- Follows the bytes of one session to find its secrets.
function transcript.tracker()
	return setmetatable({
		head = "",          -- the beginning of the line that the last write left unfinished
		inside = false,     -- that line is a secret
		answers = 0,        -- 334s not yet answered
	}, Tracker)
end

--- The server sent a 334: the next line that is sent answers it.
function Tracker:challenged()
	self.answers = self.answers + 1
end

-- Where the last, unfinished line of bytes that hold no AUTH begins; its text when that matters.
local function last_line(bytes)
	local tail = bytes:sub(-HEAD)
	local after = tail:match(".*\n()")
	if after then return #bytes - #tail + after end
	return #tail == #bytes and 1 or nil
end

-- The first secret byte of the line bytes[position..stop], or nil.
function Tracker:secret_in(bytes, position, stop)
	if self.inside then return position end
	if self.head == "" and self.answers > 0 then
		self.answers = self.answers - 1
		-- "*" cancels, and an empty line has nothing to hide.
		if bytes:find("^%*?\r?\n", position) then return nil end
		return position
	end
	local text = self.head .. bytes:sub(position, math.min(stop, position + HEAD))
	local secret = text:match("^[Aa][Uu][Tt][Hh][ \t]+[^%s]+[ \t]+()")
	return secret and math.max(position, position + secret - 1 - #self.head)
end

--- Looks at bytes that were sent.
-- @return from, to: what is secret in them, from the first secret byte to the last; nil when nothing is
function Tracker:sent(bytes)
	local first, last
	local position, n = 1, #bytes
	while position <= n do
		if self.head == "" and self.answers == 0 and not self.inside then
			position = line.find(bytes, "AUTH", position, true) or last_line(bytes)
			if not position then
				self.head = "-"         -- a long line that is no AUTH
				break
			end
		end
		local lf = bytes:find("\n", position, true)
		local stop = lf or n
		local from = self:secret_in(bytes, position, stop)
		if from then
			local to = lf and (bytes:byte(lf - 1) == 13 and lf - 2 or lf - 1) or n
			if to >= from then first, last = first or from, to end
		end
		self.inside = from ~= nil and not lf
		self.head = lf and "" or (self.head .. bytes:sub(position, position + HEAD)):sub(1, HEAD)
		position = stop + 1
	end
	return first, last
end

--- The printable form of an event or of bytes: control characters escaped, the secret replaced.
-- @param bytes   string
-- @param secret  nil or {from, to}
function transcript.masked(bytes, secret)
	if not secret then return bytes end
	local n = secret[2] - secret[1] + 1
	return ("%s<%d bytes hidden>%s"):format(bytes:sub(1, secret[1] - 1), n, bytes:sub(secret[2] + 1))
end

-- ---------------------------------------------------------------- the ring

local Transcript = { __name = "smtptest.transcript" }
Transcript.__index = Transcript

-- How many entries are kept, and how many bytes of each: its beginning and its end.
local ENTRIES, BYTES = 64, 1024

--- Makes an empty one.
function transcript.new()
	return setmetatable({ count = 0, marks = {}, secrets = {} }, Transcript)
end

--- Keeps an entry.
-- @param mark    "C", "S" or "-" (a note)
-- @param bytes   string
-- @param secret  nil or {from, to}
function Transcript:add(mark, bytes, secret)
	if #bytes > 2 * BYTES then
		if secret then bytes, secret = transcript.masked(bytes, secret), nil end
		bytes = ("%s<%d bytes>%s"):format(bytes:sub(1, BYTES), #bytes - 2 * BYTES, bytes:sub(-BYTES))
	end
	local i = self.count % ENTRIES + 1
	self.count = self.count + 1
	self[i], self.marks[i], self.secrets[i] = bytes, mark, secret or false
end

--- Readable text, a line each, secrets masked; the oldest entries may be missing.
function Transcript:__tostring()
	local out = {}
	if self.count > ENTRIES then out[1] = ("- %d earlier entries"):format(self.count - ENTRIES) end
	for k = math.max(0, self.count - ENTRIES), self.count - 1 do
		local i = k % ENTRIES + 1
		local text = transcript.masked(self[i], self.secrets[i] or nil)
		local mark = self.marks[i]
		for part in text:gmatch("[^\n]*\n?") do
			if part ~= "" then
				out[#out + 1] = mark .. ": " .. line.escape((part:gsub("\r?\n$", "")))
			end
		end
	end
	return table.concat(out, "\n")
end

return transcript
