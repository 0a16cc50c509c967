--- transcript: what a session sent and received, its last part, with secrets masked.
--
-- A secret is known by the state of the protocol: the initial response after "AUTH x " and every line sent in answer to
-- a 334 (RFC 4954 section 4), whoever wrote it.

local line = require "smtptest.core.line"

local transcript = {}

-- ---------------------------------------------------------------- where the secrets are

local Tracker = {}
Tracker.__index = Tracker

--- Follows the bytes of one session to find its secrets.
function transcript.tracker()
	return setmetatable({
		head = "",          -- of the line that the last write left unfinished: as far as it may be an AUTH
		inside = false,     -- the rest of that line is a secret
		guess = false,      -- that line is taken for an answer as long as it looks like one
		answers = 0,        -- 334s not yet answered
		early = 0,          -- answers that were sent before their 334 came
		exchange = false,   -- nothing but AUTH and answers was sent since the last AUTH
	}, Tracker)
end

--- A tracker as that one is now, to look at bytes that are sent later.
function transcript.copy(tracker)
	local twin = {}
	for key, value in pairs(tracker) do twin[key] = value end
	return setmetatable(twin, Tracker)
end

--- The server sent a 334: the next line that is sent answers it, unless it was answered before.
function Tracker:challenged()
	if self.early > 0 then
		self.early = self.early - 1
	else
		self.answers = self.answers + 1
	end
end

-- RFC 4954 section 4. A bare CR in between is the server's to judge.
local AUTH = "^[Aa][Uu][Tt][Hh][ \t]+[^ \t\n]+[ \t]()"

-- The shortest line that goes on as this one: however long its blanks and its mechanism are, they are remembered.
local function shortened(head)
	if head:find("^[Aa][Uu][Tt][Hh][ \t]+[^ \t]") then return "AUTH X" end
	if head:find("^[Aa][Uu][Tt][Hh][ \t]") then return "AUTH " end
	return #head <= 4 and ("AUTH"):find(head:upper(), 1, true) == 1 and head or "-"
end

-- Commands that could be base64, by their letters: what a pipelining client may send right behind AUTH.
local VERBS = {}
for verb in ("DATA EHLO EXPN HELO HELP LHLO NOOP QUIT RSET STARTTLS"):gmatch("%S+") do VERBS[verb] = true end

-- Whether a line that follows AUTH without waiting for a 334 is an answer to one. What was cut off is taken for one.
local function looks_like_answer(bytes, position, lf)
	if not lf then return bytes:find("^[A-Za-z0-9+/=]+\r?$", position) ~= nil end
	local text = bytes:match("^([A-Za-z0-9+/]*=*)\r?\n", position)
	return text ~= nil and not VERBS[text:upper()]
end

local function is_blank(bytes, position)
	return bytes:find("^\r?\n", position) or bytes:find("^\r$", position)
end

-- The first secret byte of the line bytes[position..], which ends at lf if that is not nil; nil when it has none.
function Tracker:secret_in(bytes, position, lf)
	if self.inside then return position end
	if self.guess then
		if bytes:find("^[A-Za-z0-9+/=]*\r?\n", position) or bytes:find("^[A-Za-z0-9+/=]*\r?$", position) then
			return position
		end
		self.guess, self.exchange, self.early = false, false, self.early - 1
	end
	local head = self.head
	if head == "" then
		local answer = self.answers > 0
		if answer then
			self.answers = self.answers - 1
		elseif self.exchange and not is_blank(bytes, position) then
			answer = looks_like_answer(bytes, position, lf)
			self.exchange = answer
			if answer then self.early, self.guess = self.early + 1, not lf end
		end
		-- "*" cancels and hides nothing.
		if answer then return bytes:byte(position) == 42 and position + 1 or position end
	elseif head == "-" then
		return nil
	end
	local secret
	if head == "" then
		secret = bytes:match(AUTH, position)
	else
		secret = (head .. bytes:sub(position, lf)):match(AUTH)
		secret = secret and secret + position - 1 - #head
	end
	return secret
end

-- The line that ends at lf was an AUTH: what comes next may answer it before the server has asked.
function Tracker:ended(bytes, position, lf)
	local text = self.head .. bytes:sub(position, math.min(lf, position + 4))
	if text:find("^[Aa][Uu][Tt][Hh][ \t]") then self.exchange, self.early = true, 0 end
end

-- The next line that may be an AUTH; n + 1 when none is and the last one is complete; nil when it is not.
local function skip(bytes, position)
	local found = line.find(bytes, "AUTH", position, true)
	if found then return found end
	local after = bytes:match("\n()[^\n]*$", math.max(position, #bytes - 3))
	return after or #bytes - position < 3 and position or nil
end

--- Looks at bytes that were sent.
-- @return from, to: what is secret in them, from the first secret byte to the last; nil when nothing is
function Tracker:sent(bytes)
	local first, last
	local position, n = 1, #bytes
	while position <= n do
		if self.head == "" and self.answers == 0 and not self.inside and not self.exchange then
			position = skip(bytes, position)
			if not position then
				self.head = "-"         -- an unfinished line that is no AUTH
				break
			end
		end
		local lf = bytes:find("\n", position, true)
		local from = self:secret_in(bytes, position, lf)
		if from then
			local to = lf and lf - 1 or n
			if bytes:byte(to) == 13 then to = to - 1 end
			if to >= from then first, last = first or from, to end
		end
		if lf then
			self:ended(bytes, position, lf)
			self.head, self.inside, self.guess = "", false, false
		else
			self.inside = from ~= nil and not self.guess
			self.head = (self.inside or self.head == "-") and "-" or shortened(self.head .. bytes:sub(position))
		end
		position = (lf or n) + 1
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

--- A command line as it may be shown: without what follows the mechanism of AUTH. Shown twice it stays the same.
function transcript.command(text)
	local secret = not text:find("<%d+ bytes hidden>$") and text:match(AUTH)
	return secret and secret <= #text and transcript.masked(text, { secret, #text }) or text
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
