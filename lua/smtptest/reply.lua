--- reply: one SMTP reply as a value (RFC 5321 section 4.2, RFC 2034, RFC 3463).
--
-- Only `code raw command elapsed` are made at once; the other fields on first use.

local core = require "smtptest.core.reply"
local line = require "smtptest.core.line"
local failure = require "smtptest.failure"
local transcript = require "smtptest.transcript"

local reply = {}

local Reply = { __name = "smtptest.reply" }
local methods = {}
local lazy = {}

function Reply:__index(key)
	local method = methods[key]
	if method then return method end
	local make = lazy[key]
	if make then
		local value = make(self)
		if value ~= nil then rawset(self, key, value) end
		return value
	end
end

-- Where the last line begins. The peer decides how long the lines are: a pattern that tries every byte as a beginning
-- would take minutes for a megabyte.
local function last_line(raw)
	local lf = raw:find("\n", 1, true)
	if not lf or lf == #raw then return 1 end
	return raw:match("^.*\n().")
end

--- Makes a reply of its exact bytes.
-- @param raw      all lines with their ends
-- @param command  what it answers, or nil
-- @param elapsed  seconds
function reply.new(raw, command, elapsed)
	return setmetatable({
		raw = raw,
		code = tonumber(raw:match("^%d%d%d", last_line(raw))) or 0,
		command = command,
		elapsed = elapsed,
	}, Reply)
end

--- Whether a line ends a reply: all do whose fourth byte is not "-".
function reply.ends(text)
	return text:byte(4) ~= 45
end

--- Whether a value is a reply.
function reply.is(value)
	return getmetatable(value) == Reply
end

local function wire_lines(raw)
	local lines = {}
	if raw:sub(-1) ~= "\n" then raw = raw .. "\n" end
	for text in raw:gmatch("([^\n]*)\n") do
		lines[#lines + 1] = text:byte(-1) == 13 and text:sub(1, -2) or text
	end
	return lines
end

function lazy:lines()
	local lines = wire_lines(self.raw)
	for i, text in ipairs(lines) do lines[i] = text:sub(5) end
	return lines
end

function lazy:text()
	return table.concat(self.lines, "\n")
end

-- RFC 2034 section 4: at the beginning of the text. "4.4.8.8" is no such code.
local function enhanced_in(text, position)
	local code, rest = text:match("^([245]%.%d%d?%d?%.%d%d?%d?)%f[^%d](.?.?)", position)
	return not (code and rest:find("^%.%d")) and code or nil
end

function lazy:enhanced()
	local lines = self.lines
	return enhanced_in(lines[#lines], 1)
end

--- What is wrong with the form of the reply, as a set of names.
function lazy:lint()
	local flaws, found = core.lint(self.raw), {}
	for i, name in ipairs(core.flaws) do
		if flaws & 1 << i - 1 ~= 0 then found[name] = true end
	end
	return found
end

--- The escaped wire text, lines joined by " / ".
function Reply:__tostring()
	local lines = wire_lines(self.raw)
	for i, text in ipairs(lines) do lines[i] = line.escape(text) end
	return table.concat(lines, " / ")
end

local function code_matches(self, spec)
	local number, text = self.code, tostring(self.code)
	if #spec == 3 and spec:find("^%d[%dx][%dx]$") then
		if number == 0 then return false end
		return text:find("^" .. spec:gsub("x", "%%d") .. "$") ~= nil
	end
	local enhanced = self.enhanced or ""
	return enhanced:find("^" .. spec:gsub("%.", "%%."):gsub("x", "%%d+") .. "$") ~= nil
end

--- Whether the reply is as a spec says.
-- @param spec  250, "2xx", "5.7.x", a list of specs (any), a Lua pattern on the text, or a function(reply)
function methods:is(spec)
	local kind = type(spec)
	if kind == "number" then return self.code == spec end
	if kind == "function" then return spec(self) and true or false end
	if kind == "table" then
		for _, one in ipairs(spec) do
			if self:is(one) then return true end
		end
		return false
	end
	if kind ~= "string" then
		error(("bad reply spec (number, string, table or function expected, got %s)"):format(kind), 2)
	end
	if spec:find("^%d[%dx][%dx]$") or spec:find("^[245x]%.[%dx]+%.[%dx]+$") then return code_matches(self, spec) end
	return self.text:find(spec) ~= nil
end

--- A spec in words.
function reply.describe(spec)
	if type(spec) == "table" then
		local parts = {}
		for i, one in ipairs(spec) do parts[i] = reply.describe(one) end
		return table.concat(parts, " or ")
	elseif type(spec) == "function" then
		return "a reply that the function accepts"
	end
	return tostring(spec)
end

--- Raises REPLY unless the reply is as a spec says.
-- @return the reply
function methods:expect(spec)
	if self:is(spec) then return self end
	local session = self.session
	error(failure.new {
		code = "REPLY",
		op = self.command and transcript.command(self.command),
		message = ("expected %s, got %s"):format(reply.describe(spec), tostring(self)),
		reply = self,
		elapsed = self.elapsed,
		session = session,
		layer = session and session.transport:layer_name(),
		transcript = session and tostring(session.transcript),
	}, 0)
end

local List = { __name = "smtptest.replies" }
List.__index = List

--- The replies, one a line.
function List:__tostring()
	local lines = {}
	for i, one in ipairs(self) do lines[i] = tostring(one) end
	return table.concat(lines, "\n")
end

--- Makes a list of replies that `is` and `expect` judge together.
function reply.list(replies)
	return setmetatable(replies or {}, List)
end

--- Whether all replies are as the spec says (an empty list is not).
function List:is(spec)
	for _, one in ipairs(self) do
		if not one:is(spec) then return false end
	end
	return #self > 0
end

--- Raises REPLY for the first reply that is not as the spec says.
-- @return the list
function List:expect(spec)
	if #self == 0 then
		error(failure.new { code = "REPLY", message = ("expected %s, got no reply"):format(reply.describe(spec)) }, 0)
	end
	for _, one in ipairs(self) do one:expect(spec) end
	return self
end

return reply
