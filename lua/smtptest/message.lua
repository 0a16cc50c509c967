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
	lines[#lines + 1] = "From: <" .. (fields.from or "") .. ">"
	if to and #to > 0 then lines[#lines + 1] = "To: <" .. table.concat(to, ">,\r\n\t<") .. ">" end
	lines[#lines + 1] = "Subject: " .. (fields.subject or "smtptest")
	for _, text in ipairs(header_lines(fields.header)) do lines[#lines + 1] = text end
	local body = crlf(fields.body or "This is a test message of smtptest.\n")
	local text = table.concat(lines, "\r\n") .. "\r\n\r\n" .. body
	return fields.size and padded(text, fields.size) or text
end

-- Chunks of a file, LF made CR LF where the plan asks for it.
local function chunks(handle, convert)
	local last_cr = false
	return function()
		local bytes, why = handle:read(65536)
		if not bytes then
			if why then error(why, 0) end
			if handle ~= io.stdin then handle:close() end
			return nil
		end
		if convert then bytes, last_cr = core.crlf(bytes, last_cr) end
		return bytes
	end
end

--- The message that a plan asks to send.
-- @param plan  data (text, or {file=}; "-" is stdin), crlf, from, to
-- @return string or iterator
function message.of_plan(plan)
	local data = plan.data
	if data == nil then return message.new { from = plan.from, to = plan.to } end
	if type(data) == "string" then return plan.crlf and core.crlf(data, false) or data end
	if data.file == "-" then return chunks(io.stdin, plan.crlf) end
	local handle, why = io.open(data.file, "rb")
	if not handle then
		error(failure.new { op = "open", code = "ENOENT", message = "Unable to open file: " .. why }, 0)
	end
	return chunks(handle, plan.crlf)
end

return message
