--- track: which reply belongs to which command of a connection, and in which state the session is.
--
-- Bytes that were sent are taken apart only when their reply is there: what follows DATA is a message only if DATA got
-- its 354. A *unit* is what one reply answers: a command line, a message, a BDAT command with its chunk, a response to
-- a challenge.

local track = {}

local Track = {}
Track.__index = Track

-- RFC 5321 section 4.1.1, 3030, 3207, 4954, 2033, 1985, and the unregistered ones of Postfix; others are "other".
local KNOWN = {}
for verb in ([[EHLO HELO LHLO MAIL RCPT DATA BDAT RSET NOOP QUIT HELP VRFY EXPN AUTH STARTTLS ETRN ATRN TURN SEND SOML
	SAML XCLIENT XFORWARD BURL]]):gmatch "%S+" do KNOWN[verb] = true end

--- Makes a tracker of a new connection.
-- @param traits  what calibration learnt of the target: lf (a bare LF ends a command line), empty (an empty line is
--   answered), long (octets from which on a line may be answered in pieces)
-- @param lmtp    true: each accepted recipient gets a reply (RFC 2033)
function track.new(traits, lmtp)
	return setmetatable({
		traits = traits, lmtp = lmtp,
		mode = "greeting",      -- what the next unit is: greeting command message response tls
		buffer = "", position = 1,
		helo = false, tls = false, mail = false, rcpts = 0, authed = false,
		unit = nil,             -- verb of the unit that is complete and unanswered
		line = nil,             -- its text
		early = nil,            -- verb that was answered before it was complete
		vague = false,          -- whether a transaction is open is not known
		more = 0,               -- further replies to the last unit
		unsure = false,         -- what the server makes of the bytes is anybody's guess: no counting any more
	}, Track)
end

--- Bytes were sent.
function Track:sent(bytes)
	if self.mode == "tls" then
		self.injected = self.injected .. bytes      -- in clear, where TLS is due
		return
	end
	if self.position > #self.buffer then
		self.buffer, self.position = bytes, 1
	else
		self.buffer, self.position = self.buffer:sub(self.position) .. bytes, 1
	end
end

--- Whether everything that was sent has been taken apart.
function Track:drained()
	return self.position > #self.buffer
end

-- Some servers pass over blanks in front of it.
local function verb_of(text)
	local verb = text:match "^[ \t]*(%a+)%f[^%w]"
	verb = verb and verb:upper()
	return KNOWN[verb] and verb or "other"
end

-- The end of the line that begins at the position → its last byte, the position after it
local function line_end(self)
	local buffer, position = self.buffer, self.position
	local lf = buffer:find("\n", position, true)
	if not self.traits.lf then
		while lf and (lf == position or buffer:byte(lf - 1) ~= 13) do lf = buffer:find("\n", lf + 1, true) end
	end
	if not lf then return nil end
	return buffer:byte(lf - 1) == 13 and lf > position and lf - 2 or lf - 1, lf + 1
end

-- A BDAT command and its chunk (RFC 3030 section 2). A size that is no size, or blanks that do not belong there, leave
-- us without knowing what follows.
local function take_chunk(self, line, after)
	local size = line:match "^%a+ (%d+)$" or line:match "^%a+ (%d+) [Ll][Aa][Ss][Tt]$"
	local octets = size and #size < 10 and tonumber(size)
	if not octets then
		self.unsure = true
		return after
	end
	if #self.buffer - after + 1 < octets then return nil end
	self.chunk = self.buffer:sub(after, after + octets - 1)
	return after + octets
end

local function take_message(self)
	local buffer, position = self.buffer, self.position
	if buffer:sub(position, position + 2) == ".\r\n" then
		self.line, self.position = "", position + 3
		return true
	end
	local _, last = buffer:find("\r\n.\r\n", position, true)
	if not last then return false end
	self.line, self.position = buffer:sub(position, last - 3), last + 1
	return true
end

-- Takes the next unit apart → its verb | nil: there is none, or it is not complete
local function take(self)
	if self.mode == "greeting" then
		self.line = ""
		return "greeting"
	elseif self.position > #self.buffer or self.mode == "tls" then
		return nil
	elseif self.mode == "message" then
		return take_message(self) and "message" or nil
	end
	local last, after = line_end(self)
	if not last then return nil end
	local line = self.buffer:sub(self.position, last)
	if #line >= self.traits.long then self.unsure = true end
	local verb = self.mode == "response" and "response" or verb_of(line)
	if verb == "BDAT" then
		after = take_chunk(self, line, after)
		if not after then return nil end
	end
	self.line, self.position = line, after
	if line == "" and verb ~= "response" and not self.traits.empty then return take(self) end
	return verb
end

--- The verb of the first unit that is complete and has no reply yet, or nil.
function Track:outstanding()
	if self.more > 0 then return self.last end
	while not self.unit do
		local verb = take(self)
		if not verb then return nil end
		if not self.early then
			self.unit = verb
		else
			self.early = nil
			if verb == "message" then self.mode = "command" end
		end
	end
	return self.unit
end

--- The verb that would be answered next, complete or not: for a server that gave up in the middle of it.
function Track:current()
	if self:outstanding() then return self.unit or self.last end
	if self:drained() then return self.last or "greeting" end
	return self.mode == "command" and verb_of(self.buffer:sub(self.position)) or self.mode
end

--- The verb of the last unit that was sent as a whole, answered or not. The tracker is of no more use then.
function Track:last_sent()
	local verb = self.last
	self.more = 0
	while self:outstanding() do
		verb, self.unit = self.unit, nil
		if self.mode == "greeting" then self.mode = "command" end
	end
	return verb
end

-- ---------------------------------------------------------------- states

local function named(word, authed, tls)
	local key = (authed and "auth+" or "") .. word
	return tls and "tls+" .. key or key
end

--- The state in one word, with "tls+" and "auth+" before it.
function Track:state()
	local word = self.mode
	if word == "command" then
		word = self.rcpts > 0 and "rcpt" or self.mail and "mail" or self.helo and "helo" or "greeted"
	end
	if not self.authed and not self.tls then return word end
	return named(word, self.authed, self.tls)
end

local function reset(self)
	self.mail, self.rcpts, self.vague = false, 0, false
end

-- What a reply to a verb changes: function(track, code)
local AFTER = {}

local function hello(self, code)
	if code // 100 ~= 2 then return end
	self.helo = true
	reset(self)
end

AFTER.EHLO, AFTER.HELO, AFTER.LHLO = hello, hello, hello

function AFTER.MAIL(self, code)
	if code // 100 == 2 then self.mail, self.rcpts, self.vague = true, 0, false end
end

function AFTER.RCPT(self, code)
	if code // 100 == 2 then self.rcpts = self.rcpts + 1 end
end

function AFTER.RSET(self, code)
	if code // 100 == 2 then reset(self) end
end

function AFTER.DATA(self, code)
	if code == 354 then self.mode = "message" end
end

function AFTER.message(self)
	if self.lmtp and self.rcpts > 1 then self.more = self.rcpts - 1 end
	self.mode = "command"
	reset(self)
end

function AFTER.BDAT(self, code)
	-- Who does not know it, or does not read the size as we do, takes the chunk for commands.
	if code // 10 == 50 and code ~= 503 then self.unsure = true end
	local last = self.line:find "[Ll][Aa][Ss][Tt] *$"
	if last and self.lmtp and self.rcpts > 0 and code // 10 ~= 50 then
		self.more = self.rcpts - 1      -- each recipient has its own code (RFC 2033 section 4.2)
		reset(self)
	elseif code // 100 ~= 2 then
		self.vague = true       -- whether the transaction goes on is not said (RFC 3030 section 2)
	elseif last then
		reset(self)
	end
end

function AFTER.AUTH(self, code)
	self.mode = code == 334 and "response" or "command"
	if code == 235 then self.authed = true end
end

AFTER.response = AFTER.AUTH

-- It may have heard what we did not mean to say.
local HEARD = { [220] = "STARTTLS", [334] = "AUTH", [354] = "DATA" }

function AFTER.other(self, code)
	local word = HEARD[code] or code // 100 == 2 and "VERB"
	if not word or not self.line:upper():find(word, 1, true) then return end
	self.unsure = true
	self.verbose = word == "VERB"       -- Sendmail's mode of that name adds replies of 050
end

function AFTER.STARTTLS(self, code)
	if code ~= 220 then return end
	self.mode = "tls"
	self.injected = self.buffer:sub(self.position)
	self.buffer, self.position = "", 1
end

function AFTER.QUIT(self, code)
	if code // 100 == 2 then self.quit = true end
end

function AFTER.greeting(self)
	self.mode = "command"
end

--- TLS is on: everything before it is forgotten (RFC 3207 section 4.2).
function Track:secured()
	self.mode, self.tls, self.helo = "command", true, false
	self.buffer, self.position, self.unit = "", 1, nil
	reset(self)
end

--- A reply has come.
-- @return the verb that it answers; "surplus" where nothing was asked
function Track:answered(code)
	if self.more > 0 then
		self.more = self.more - 1
		return self.last
	end
	local verb = self:outstanding()
	if not verb then
		if self:drained() or self.early then return "surplus" end
		-- Before the end of what it answers: a line too long, an end of patience.
		verb = self:current()
		self.early = verb
		self.last = verb
		return verb
	end
	self.unit, self.last = nil, verb
	local after = AFTER[verb]
	if after then after(self, code) end
	return verb
end

return track
