--- message: makes a message as a string (RFC 5322).

local argument = require "smtptest.argument"
local core = require "smtptest.core.line"
local failure = require "smtptest.failure"

local message = {}

-- What stays the same when a test runs twice would hide one message behind the other.
local serial = 0

local function unique()
	serial = serial + 1
	return ("%x.%x.%x"):format(os.time(), math.random(0, 0xffffffff), serial)
end

-- RFC 5322 section 3.3; always in UTC and in English, whatever the locale.
local DAYS = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }
local MONTHS = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }

local function date()
	local t = os.date("!*t")
	return ("%s, %02d %s %04d %02d:%02d:%02d +0000"):format(
		DAYS[t.wday], t.day, MONTHS[t.month], t.year, t.hour, t.min, t.sec)
end

local function crlf(text)
	return (text:gsub("\r?\n", "\r\n"))
end

local function header_lines(extra)
	local lines = {}
	for i, text in ipairs(extra or {}) do lines[i] = text end
	local names = {}
	for name in pairs(extra or {}) do
		if type(name) == "string" then names[#names + 1] = name end
	end
	table.sort(names)
	for _, name in ipairs(names) do lines[#lines + 1] = name .. ": " .. extra[name] end
	return lines
end

local PADDING = ("smtptest "):rep(8):sub(1, 70) .. "\r\n"

local function padded(text, size)
	local missing = size - #text
	if missing <= 0 then return text end
	if missing == 1 then return text:sub(-2) == "\r\n" and text:sub(1, -3) .. " \r\n" or text .. " " end
	local whole, rest = missing // #PADDING, missing % #PADDING
	if rest == 1 then whole, rest = whole - 1, rest + #PADDING end
	return text .. PADDING:rep(whole) .. (rest > 0 and ("x"):rep(rest - 2) .. "\r\n" or "")
end

local FIELDS = { from = "string", to = "string|table", subject = "string", header = "table", body = "string",
	size = "integer" }

--- Makes a message (RFC 5322).
-- @param fields  from, to (string or list), subject, header (list of lines, or map of names to values), body, size (the
--   whole is padded to so many bytes)
-- @param level   whom an error blames, as in error() (default 1)
-- @return string with CR LF line ends, with Date and Message-ID
function message.new(fields, level)
	fields = argument.options(fields, FIELDS, (level or 1) + 1)
	local to = fields.to
	if type(to) == "string" then to = { to } end
	local lines = { "Date: " .. date(), ("Message-ID: <%s@smtptest.test>"):format(unique()) }
	-- RFC 5322 section 3.6.2 has no null sender.
	local from = fields.from ~= "" and fields.from or "MAILER-DAEMON@smtptest.test"
	lines[#lines + 1] = "From: <" .. from .. ">"
	if to and #to > 0 then lines[#lines + 1] = "To: <" .. table.concat(to, ">,\r\n\t<") .. ">" end
	lines[#lines + 1] = "Subject: " .. (fields.subject or "smtptest")
	for _, text in ipairs(header_lines(fields.header)) do lines[#lines + 1] = text end
	local body = crlf(fields.body or "This is a test message of smtptest.\n")
	local text = table.concat(lines, "\r\n") .. "\r\n\r\n" .. body
	return fields.size and padded(text, fields.size) or text
end

-- ---------------------------------------------------------------- what a plan asks to send

local CHUNK = 65536

local CODES = { [2] = "ENOENT", [13] = "EACCES", [21] = "EISDIR" }

-- It is the command line's fault, not the network's.
local function refuse(op, name, why, errno)
	error(failure.new { op = op, code = CODES[errno] or "EIO", status = 1,
		message = ("Unable to %s file: %s: %s"):format(op, name, why) }, 0)
end

-- Chunks of a file, LF made CR LF where the plan asks for it.
local function chunks(handle, name, convert)
	local last_cr = false
	return function()
		local bytes, why, errno = handle:read(CHUNK)
		if not bytes then
			if why then refuse("read", name, why, errno) end
			if handle ~= io.stdin then handle:close() end
			return nil
		end
		if convert then bytes, last_cr = core.crlf(bytes, last_cr) end
		return bytes
	end
end

local function is_8bit(bytes)
	return bytes:find "[\128-\255]" ~= nil
end

-- Whether a file has 8-bit bytes; nil for one that can't be read twice, or has no end.
local function scan(handle)
	local size = handle:seek "end"
	if not size or size == 0 then return nil end
	handle:seek "set"
	local found, bytes
	repeat
		bytes = handle:read(CHUNK)
		found = bytes ~= nil and is_8bit(bytes)
	until found or not bytes
	handle:seek "set"
	return found
end

local function open(path)
	local handle, why, errno = io.open(path, "rb")
	if not handle then refuse("open", path, why:sub(#path + 3), errno) end
	-- A folder can be opened, and not read.
	local _, trouble, number = handle:read(0)
	if not trouble then return handle end
	handle:close()
	refuse("open", path, trouble, number)
end

-- Iterator → whether what it gives has 8-bit bytes.
local scanned = setmetatable({}, { __mode = "k" })

--- The message that a plan asks to send. A file is opened here; standard input is left alone until it is read.
-- @param plan  data (text, or {file=}; "-" is stdin), crlf, from, to
-- @return string or iterator; raises for a file that can't be read
function message.of_plan(plan)
	local data = plan.data
	if data == nil then return message.new { from = plan.from, to = plan.to } end
	if type(data) == "string" then return plan.crlf and core.crlf(data, false) or data end
	if data.file == "-" then return chunks(io.stdin, "standard input", plan.crlf) end
	local handle = open(data.file)
	local eight_bit = scan(handle)
	local body = chunks(handle, data.file, plan.crlf)
	scanned[body] = eight_bit
	return body
end

--- What MAIL has to say about a message: SMTPUTF8 when an address is not in ASCII (RFC 6531 section 3.4), BODY=8BITMIME
-- when the message is not (RFC 6152 section 2), each where it is offered.
-- @param plan          from, to
-- @param body          as of_plan() gives it; of another iterator nobody knows
-- @param capabilities  of the session
-- @return map for Session.mail
function message.parameters(plan, body, capabilities)
	local eight_bit = scanned[body]
	if type(body) == "string" then eight_bit = is_8bit(body) end
	return {
		SMTPUTF8 = capabilities.SMTPUTF8 ~= nil and is_8bit((plan.from or "") .. table.concat(plan.to or {})),
		BODY = capabilities["8BITMIME"] ~= nil and eight_bit and "8BITMIME" or nil,
	}
end

return message
