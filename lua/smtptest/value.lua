--- value: the argument of an option, from text to what a plan holds.
--
-- Each function takes the text and returns the value; or nil and what is wrong with it, for `FLAG: WRONG: TEXT`; or
-- nil, nil and the whole message, where the classic program has words of its own. Those end in an empty line.

local value = {}

function value.text(text)
	return text
end

local function integer(text)
	if not text:match "^[+-]?%d+$" then return nil, "not a number" end
	local number = tonumber(text)
	if math.type(number) ~= "integer" then return nil, "number too large" end
	return number
end

--- A number from 0 on: bits of strength, a descriptor.
function value.natural(text)
	local number, why = integer(text)
	if not number then return nil, why end
	if number < 0 then return nil, "must not be negative" end
	return number
end

--- Any whole number.
function value.integer(text)
	return integer(text)
end

--- A number from 1 on.
function value.count(text)
	local number, why = integer(text)
	if not number then return nil, why end
	if number < 1 then return nil, "must be above 0" end
	return number
end

--- How often to authenticate.
function value.rounds(text)
	local number, why = integer(text)
	if not number then return nil, why end
	if number < 1 then return nil, nil, "number of auth attempts must be > 0\n" end
	return number
end

local function port_number(text)
	local number = integer(text)
	if not number or number < 0 or number > 65535 then
		return nil, "not a port from 0 to 65535"
	end
	return number
end

--- A number, or the name of a service, which is looked up later.
function value.port(text)
	if text == "" or text:match "^%d+$" then return port_number(text) end
	return text
end

local UNITS = { [""] = 1, ms = 0.001, s = 1, m = 60, h = 3600 }

--- Seconds, as 10, 0.5, 250ms, 10s, 5m, 1h; inf is for ever.
function value.duration(text)
	if text == "inf" then return math.huge end
	local number, unit = text:match "^([%d.]+)(%a*)$"
	number = tonumber(number)
	if not (number and UNITS[unit]) then
		return nil, "not a time (such as 10, 250ms, 5m or inf)"
	end
	if number <= 0 then return nil, "must be above 0" end
	return number * UNITS[unit]
end

function value.protocol(text)
	local name = text:lower()
	if name ~= "smtp" and name ~= "lmtp" then return nil, nil, "unknown protocol\n" end
	return name
end

local MATCHES = { code = true, exact = true, none = true }

--- How --replay compares.
function value.match(text)
	local name = text:lower()
	if not MATCHES[name] then return nil, "not code, exact or none" end
	return name
end

local TLS_VERSIONS = { "1.0", "1.1", "1.2", "1.3" }

--- 1.2, and TLSv1.2 as other programs write it.
function value.tls_version(text)
	local version = text:gsub("^[Tt][Ll][Ss][Vv]?", "")
	for _, known in ipairs(TLS_VERSIONS) do
		if version == known then return known end
	end
	return nil, "not one of " .. table.concat(TLS_VERSIONS, " ")
end

local function is_ipv4(text)
	local bytes = { text:match "^(%d+)%.(%d+)%.(%d+)%.(%d+)$" }
	for _, byte in ipairs(bytes) do
		if tonumber(byte) > 255 then return false end
	end
	return #bytes == 4
end

--- Two colons make an IPv6 address here; whether it is a good one, the system's own parser decides.
local function is_address(text)
	return is_ipv4(text) or text:match "^%x*:[%x:.]*:[%x.]*%%?%w*$" ~= nil
end

--- What goes into the PROXY header: the client's address, or one of two words.
function value.proxy(text)
	if text == "unknown" then return { version = 1, unknown = true } end
	if text == "local" then return { version = 2, command = "LOCAL" } end
	if not is_address(text) then return nil, "not an IP address, 'unknown' or 'local'" end
	return { version = 1, source = text }
end

--- ADDRESS or ADDRESS:PORT; an IPv6 address that a port follows stands in brackets.
function value.source(text)
	local host, rest = text:match "^%[(.-)%](.*)$"
	if not host then host, rest = text:match "^([^:]*)(:[^:]*)$" end
	if not host then host, rest = text, "" end
	if not is_address(host) then return nil, "not an IP address or ADDRESS:PORT" end
	if rest == "" then return { host = host } end
	local port, why = port_number(rest:match "^:(.*)$" or "")
	if not port then return nil, why end
	return { host = host, port = port }
end

--- An address of the envelope. The brackets belong to the command: <> and nothing are both the null sender.
function value.mailbox(text)
	if text:find "[\r\n]" then return nil, "more than one line" end
	return text:match "^<(.*)>$" or text
end

--- A message: the text itself, @FILE, or - for stdin.
function value.data(text)
	if text == "-" then return { file = "-" } end
	if text:sub(1, 1) == "@" then return { file = text:sub(2) } end
	return text
end

return value
