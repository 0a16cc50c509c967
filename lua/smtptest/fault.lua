--- fault: faults on purpose: small functions that make handlers for `smtptest.listen{on = …}`, to be combined.
--
--   smtptest.listen { on = {
--     connect = fault.delay(2),
--     rcpt = fault.nth(3, fault.reply(451, "4.3.0 later")),
--     data = fault.all(fault.split(1, 0.01), fault.malformed "mixed-codes"),
--   } }
--
-- Each returns function(client, …), which a script may call by itself, too, in server:script().

local argument = require "smtptest.argument"
local cert = require "smtptest.core.cert"
local task = require "smtptest.task"

local fault = {}

-- ---------------------------------------------------------------- what they are made of

-- A wrong argument is told where it was written, not when the handler is called.
local function check(name, index, good, expected, value)
	if good then return end
	error(("bad argument #%d to 'fault.%s' (%s expected, got %s)"):format(index, name, expected,
		type(value) == "number" and tostring(value) or type(value)), 3)
end

local function is_code(value)
	return math.type(value) == "integer" and value >= 0 and value <= 999
end

local function is_text(value)
	return value == nil or type(value) == "string"
end

local function is_count(value, least)
	return math.type(value) == "integer" and value >= least
end

-- ---------------------------------------------------------------- what is said

--- Waits, and leaves the answer to who comes next.
-- @param seconds  how long
function fault.delay(seconds)
	check("delay", 1, type(seconds) == "number" and seconds >= 0, "seconds", seconds)
	return function() task.sleep(seconds) end
end

--- Another reply than the right one.
-- @param code, text  as Client.reply
function fault.reply(code, text)
	check("reply", 1, is_code(code), "code", code)
	check("reply", 2, is_text(text), "text", text)
	return function() return code, text end
end

--- Exact bytes instead of the reply.
function fault.raw(bytes)
	check("raw", 1, type(bytes) == "string", "bytes", bytes)
	return function(client)
		client:send(bytes)
		return true
	end
end

--- Bytes before the right answer, in the same write.
function fault.inject(bytes)
	check("inject", 1, type(bytes) == "string", "bytes", bytes)
	return function(client) client.pending = client.pending .. bytes end
end

local MALFORMED = {
	["mixed-codes"] = "%d-one\r\n599 two\r\n",
	["no-end"] = "%d-one\r\n%d-two\r\n",
	["no-blank"] = "%d-one\r\n%dtwo\r\n",
	["no-text"] = "%d\r\n",
	["no-code"] = "ok\r\n",
	["bare-lf"] = "%d-one\n%d two\n",
	["bare-cr"] = "%d one\rtwo\r\n",
	["nul"] = "%d one\0two\r\n",
	["8bit"] = "%d caf\xe9\r\n",
	["control"] = "%d \27[31mred\r\n",
	["long-line"] = "%d " .. ("x"):rep(5000) .. "\r\n",
	["enhanced-mismatch"] = "%d 5.9.9 no\r\n",
	["half"] = "%d-one\r\n%d tw",
}

--- A malformed reply (RFC 5321 section 4.2.1) instead of the right one.
-- @param kind  "mixed-codes" "no-end" "no-blank" "no-text" "no-code" "bare-lf" "bare-cr" "nul" "8bit" "control"
--   "long-line" "enhanced-mismatch" "half" (cut off, and the server goes on)
-- @param code  default 250
function fault.malformed(kind, code)
	local form = MALFORMED[kind]
	if not form then error(("unknown malformation '%s'"):format(tostring(kind)), 2) end
	code = code or 250
	check("malformed", 2, is_code(code), "code", code)
	return fault.raw(form:format(code, code))
end

-- ---------------------------------------------------------------- how it is sent, from then on

local function size_at(sizes, i)
	return type(sizes) == "table" and (sizes[i] or sizes[#sizes]) or sizes
end

--- Everything is sent in pieces: one write, and one TLS record, each.
-- @param sizes  a size, or a list of them, of which the last repeats
-- @param gap    seconds between (default 0)
function fault.split(sizes, gap)
	for _, size in ipairs(type(sizes) == "table" and sizes or { sizes }) do
		if math.type(size) ~= "integer" or size < 1 then error("a size is an integer from 1", 2) end
	end
	check("split", 2, gap == nil or type(gap) == "number" and gap >= 0, "seconds", gap)
	return function(client)
		client:through(function(bytes, write)
			local position, i = 1, 1
			while position <= #bytes do
				local size = size_at(sizes, i)
				local ok, message, code = write(bytes:sub(position, position + size - 1))
				if not ok then return nil, message, code end
				position, i = position + size, i + 1
				if gap and position <= #bytes then task.sleep(gap) end
			end
			return true
		end)
	end
end

local ENDS = {
	close = function(client) client:close() end,
	reset = function(client) client:abort() end,
	silence = function(client)
		client.silent = true
		client:through(function() return true end)
	end,
}

local function check_end(how)
	how = how or "close"
	if not ENDS[how] then error(('"close", "reset" or "silence" expected, got %s'):format(tostring(how)), 3) end
	return ENDS[how]
end

--- After n more bytes the connection ends, in the middle of a reply or not; under TLS without close_notify.
-- @param n    bytes
-- @param how  "close" (default), "reset", or "silence": nothing is sent any more
function fault.cut(n, how)
	check("cut", 1, is_count(n, 0), "number of bytes", n)
	local finish = check_end(how)
	return function(client)
		local left = n
		client:through(function(bytes, write)
			if #bytes < left then
				left = left - #bytes
				return write(bytes)
			end
			local ok, message, code = write(bytes:sub(1, left))
			left = 0
			if not ok then return nil, message, code end
			finish(client)
			if client.transport.closed then return nil, "cut on purpose", "EOF" end
			return true
		end)
	end
end

--- The connection ends here.
-- @param how  "close" (default; under TLS without close_notify: a truncation), "reset", "silence"
function fault.close(how)
	local finish = check_end(how)
	return function(client)
		client:flush()
		finish(client)
		return not client.transport.closed or false
	end
end

--- A reply, and then TCP ends inside TLS without close_notify (RFC 8446 section 6.1).
-- @param code, text  default 221
function fault.truncate(code, text)
	check("truncate", 1, code == nil or is_code(code), "code", code)
	check("truncate", 2, is_text(text), "text", text)
	return function(client)
		client:reply(code or 221, text or "2.0.0 bye")
		-- Not the layers: they would say good-bye.
		client.transport.wire:shutdown()
		return false
	end
end

-- ---------------------------------------------------------------- TLS

local STARTTLS = { before = "string", after = "string", inside = "string", code = "integer", text = "string",
	tls = "table" }

--- For `command`: STARTTLS with bytes where none belong (RFC 3207 section 5, CVE-2011-0411).
-- @param fields  before: in clear, before the 220; after: in clear, behind it in the same write; inside: the first
--   thing under TLS; code, text: of the reply (default 220); tls: fields for Client.starttls, such as
--   fault.certificate makes
function fault.starttls(fields)
	fields = argument.options(fields, STARTTLS, 2)
	return function(client, verb)
		if verb ~= "STARTTLS" then return nil end
		local code = fields.code or 220
		client:send((fields.before or "") .. ("%03d %s\r\n"):format(code, fields.text or "2.0.0 go ahead")
			.. (fields.after or ""))
		if code ~= 220 then return true end
		if not client:starttls(fields.tls) then return false end
		client:forget()
		if fields.inside then client:send(fields.inside) end
		return true
	end
end

local KINDS = {
	["expired"] = { name = "localhost", days = -1 },
	["wrong-name"] = { name = "wrong.invalid" },
	["self-signed"] = { name = "localhost" },
}

--- A certificate that a client must refuse.
-- @param kind  "expired" "wrong-name" "self-signed"
-- @return {cert=, key=}: fields for smtptest.listen, Client.starttls, fault.starttls{tls=}; raises for another kind
function fault.certificate(kind)
	if not KINDS[kind] then error(("unknown kind of certificate '%s'"):format(tostring(kind)), 2) end
	local certificate, key = cert.self_signed(KINDS[kind])
	if not certificate then error(key, 2) end
	return { cert = certificate, key = key }
end

-- ---------------------------------------------------------------- combining

--- Asks each handler until one answers.
function fault.all(...)
	local list = { ... }
	for i = 1, select("#", ...) do check("all", i, type(list[i]) == "function", "function", list[i]) end
	return function(...)
		for _, fn in ipairs(list) do
			local code, text = fn(...)
			if code ~= nil then return code, text end
		end
	end
end

--- Only the n-th time that it is asked, over all connections.
function fault.nth(n, fn)
	check("nth", 1, is_count(n, 1), "number", n)
	check("nth", 2, type(fn) == "function", "function", fn)
	local count = 0
	return function(...)
		count = count + 1
		if count == n then return fn(...) end
	end
end

--- Only the first n times, over all connections: what a client must try again.
function fault.first(n, fn)
	check("first", 1, is_count(n, 0), "number", n)
	check("first", 2, type(fn) == "function", "function", fn)
	local count = 0
	return function(...)
		count = count + 1
		if count <= n then return fn(...) end
	end
end

--- Only when the first argument of the handler (an address, a verb, a name) matches a Lua pattern.
function fault.where(pattern, fn)
	check("where", 1, type(pattern) == "string", "pattern", pattern)
	check("where", 2, type(fn) == "function", "function", fn)
	return function(client, first, ...)
		if type(first) == "string" and first:find(pattern) then return fn(client, first, ...) end
	end
end

return fault
