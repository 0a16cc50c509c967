--- proxy: the PROXY protocol header, versions 1 and 2 (haproxy's proxy-protocol.txt).

local tlv = require "smtptest.tlv"

--- `types`: the numbers of the TLVs that have names.
local proxy = { types = tlv.types }

local SIGNATURE = "\r\n\r\n\0\r\nQUIT\n"

local function is_v6(host)
	return host:find(":", 1, true) ~= nil
end

-- IPv4 in an IPv6 header (RFC 4291 section 2.5.5.2).
local function as_v6(host)
	return is_v6(host) and host:gsub("%%.*", "") or "::ffff:" .. host      -- a zone is nobody else's business
end

local function is_address(text, family)
	if family == "TCP6" then return text:find("^[%x:.]+$") and text:find(":.*:") end
	if not text:find("^%d+%.%d+%.%d+%.%d+$") then return false end
	for octet in text:gmatch("%d+") do
		if #octet > 3 or tonumber(octet) > 255 then return false end
	end
	return true
end

-- An address as the bytes of version 2.
local function packed(host)
	if not is_v6(host) then
		local bytes = {}
		for number in host:gmatch("%d+") do bytes[#bytes + 1] = string.char(tonumber(number)) end
		return table.concat(bytes)
	end
	local tail = host:match("%d+%.%d+%.%d+%.%d+$")
	if tail then host = host:sub(1, -#tail - 1) .. ("%02x%02x:%02x%02x"):format(packed(tail):byte(1, 4)) end
	local function groups(text)
		if text ~= "" and (text .. ":"):gsub("%x%x?%x?%x?:", "") ~= "" then error "no address" end
		return (text:gsub("%x+:?", function(group) return string.pack(">I2", tonumber(group:match("%x+"), 16)) end))
	end
	local before, after = host:match("^(.-)::(.*)$")
	if not before then return groups(host) end
	before, after = groups(before), groups(after)
	return before .. ("\0"):rep(16 - #before - #after) .. after
end

-- ---------------------------------------------------------------- writing

local UNIX = 108        -- bytes of a path (section 2.2)

-- What an address of a spec says; text keeps the port of the connection.
local function address_of(given, default)
	default = default or {}
	if given == nil then return { host = default.host, port = default.port or 0 } end
	if type(given) == "table" then
		return { host = given.host, port = given.port or default.port or 0, path = given.path }
	end
	if given:find("^[/\0]") then return { path = given } end
	return { host = given, port = default.port or 0 }
end

-- Family byte and addresses of version 2, without TLVs; nil, nil, why
local function addresses_v2(source, target, v6)
	if source.path or target.path then
		local from, to = source.path or "", target.path or ""
		if #from > UNIX or #to > UNIX then return nil, nil, "a path of more than 108 bytes" end
		return 0x31, from .. ("\0"):rep(UNIX - #from) .. to .. ("\0"):rep(UNIX - #to)
	end
	return v6 and 0x21 or 0x11,
		packed(source.host) .. packed(target.host) .. string.pack(">I2I2", source.port, target.port)
end

local function version_2(command, family, addresses, tlvs)
	local bytes, sums = tlv.pack(tlvs or {})
	if not bytes then return nil, sums end
	local size = #addresses + #bytes
	if size > 65535 then return nil, "a header of more than 65535 bytes" end
	local whole = SIGNATURE .. string.pack(">BBI2", command, family, size) .. addresses .. bytes
	for i, at in ipairs(sums) do sums[i] = #whole - #bytes + at end
	return tlv.sign(whole, sums)
end

local FIELDS = { version = "number", command = "string", source = "address", target = "address", unknown = "boolean",
	tlvs = "table" }

local function is_text_address(text)
	if text:find("^[/\0]") or is_address(text, "TCP4") then return true end
	local bare = text:gsub("%%[%w._-]+$", "")
	if not is_address(bare, "TCP6") then return false end
	local ok, bytes = pcall(packed, bare)
	return ok and #bytes == 16
end

local function check_address(name, value)
	if type(value) == "string" then
		return not is_text_address(value) and ("%s is neither an IP address nor the path of a UNIX socket"):format(name)
	end
	for key, item in pairs(value) do
		local ok = (key == "host" or key == "path" or key == "family") and type(item) == "string"
			or key == "port" and math.type(item) == "integer" and item >= 0 and item <= 65535
		if not ok then return ("%s is an address or a table of host and port, or of path"):format(name) end
	end
	if not value.path and not value.host or value.host and not is_text_address(value.host) then
		return ("%s names no address"):format(name)
	end
end

--- Whether a header can be built as a spec says.
-- @return true | false, why
function proxy.valid(spec)
	if type(spec) ~= "table" then return false end
	for name, value in pairs(spec) do
		local kind = FIELDS[name]
		if not kind then return false, ("unknown field '%s'"):format(tostring(name)) end
		local address = kind == "address" and (type(value) == "string" or type(value) == "table")
		if type(value) ~= kind and not address then return false, ("%s is no %s"):format(name, kind) end
		local why = address and check_address(name, value)
		if why then return false, why end
	end
	if spec.version and spec.version ~= 1 and spec.version ~= 2 then return false, "version is 1 or 2" end
	if spec.command and spec.command ~= "PROXY" and spec.command ~= "LOCAL" then
		return false, "command is PROXY or LOCAL"
	end
	if spec.tlvs then
		if spec.version == 1 then return false, "version 1 has no TLVs" end
		local bytes, why = tlv.pack(spec.tlvs)
		if not bytes then return false, why end
	end
	return true
end

--- Builds a header.
-- @param spec   version (1 or 2; default 1, with LOCAL or TLVs 2), command ("PROXY" or "LOCAL", which is version 2);
--   source and target (default: the connection's own address and the peer's): an IP address, whose port is the
--   connection's, the path of a UNIX socket, or {host=, port=} or {path=}; unknown (true: names no addresses); tlvs
--   (version 2): a list of {type=, value=}, the type a number or a name of proxy.types, or of such names, or a map by
--   name. A crc32c without a value is computed; the value of ssl may be {client=flags (default 1), verify=integer
--   (default 0), version= cn= cipher= sig_alg= key_alg= group= sig_scheme= client_cert=}
-- @param local_address, peer_address  {host=, port=} of the connection, or nil
-- @return bytes; raises for what can't be built
function proxy.header(spec, local_address, peer_address)
	local ok, why = proxy.valid(spec)
	if not ok then error("PROXY header: " .. (why or "a table expected"), 2) end
	local version = spec.version or (spec.tlvs or spec.command == "LOCAL") and 2 or 1
	local header
	local source, target = address_of(spec.source, local_address), address_of(spec.target, peer_address)
	local unix = source.path or target.path
	if spec.command == "LOCAL" then
		header, why = version_2(0x20, 0, "", spec.tlvs)
	elseif spec.unknown or not source.host and not unix or unix and version == 1 then
		if version == 1 then return "PROXY UNKNOWN\r\n" end
		header, why = version_2(0x21, 0, "", spec.tlvs)
	else
		local v6 = not unix and (is_v6(source.host) or is_v6(target.host or ""))
		target.host = target.host or v6 and "::" or "0.0.0.0"
		if v6 then source.host, target.host = as_v6(source.host), as_v6(target.host) end
		if version == 1 then
			return ("PROXY %s %s %s %d %d\r\n"):format(v6 and "TCP6" or "TCP4", source.host, target.host, source.port,
				target.port)
		end
		local family, addresses
		family, addresses, why = addresses_v2(source, target, v6)
		if family then header, why = version_2(0x21, family, addresses, spec.tlvs) end
	end
	if not header then error("PROXY header: " .. why, 2) end
	return header
end

-- ---------------------------------------------------------------- reading

-- The longest line of version 1, its end included.
local LONGEST = 107

local function bad(why)
	return nil, "PROXY header: " .. why, "EPROTO"
end

local function port_of(text)
	local port = text:find("^%d%d?%d?%d?%d?$") and tonumber(text)
	return port and port <= 65535 and port
end

local function parse_v1(bytes)
	local stop = bytes:find("\r\n", 1, true)
	if not stop then
		if #bytes >= LONGEST then return bad("no end of line in 107 bytes") end
		return nil
	elseif stop + 1 > LONGEST then
		return bad("longer than 107 bytes")
	end
	local words = {}
	for word in (bytes:sub(1, stop - 1) .. " "):gmatch("([^ ]*) ") do words[#words + 1] = word end
	local rest = bytes:sub(stop + 2)
	if words[2] == "UNKNOWN" then return { version = 1, command = "PROXY" }, rest end
	local from_port, to_port = port_of(words[5] or ""), port_of(words[6] or "")
	if #words ~= 6 or words[2] ~= "TCP4" and words[2] ~= "TCP6" or not is_address(words[3], words[2])
		or not is_address(words[4], words[2]) or not from_port or not to_port then
		return bad "not PROXY TCP4|TCP6 source target port port"
	end
	local family = words[2] == "TCP6" and "inet6" or "inet"
	return { version = 1, command = "PROXY", source = { family = family, host = words[3], port = from_port },
		target = { family = family, host = words[4], port = to_port } }, rest
end

-- The address at the beginning of packed bytes, as text.
local function unpacked(bytes, size)
	if size == 4 then return ("%d.%d.%d.%d"):format(bytes:byte(1, 4)) end
	local groups = {}
	for i = 1, 15, 2 do groups[#groups + 1] = ("%x"):format(string.unpack(">I2", bytes, i)) end
	return table.concat(groups, ":")
end

-- Family byte -> bytes of an address, its name.
local FAMILIES = { [0x11] = { 4, "inet" }, [0x21] = { 16, "inet6" }, [0x31] = { UNIX, "unix" } }

local function addresses_in(body, known)
	local n, family = known[1], known[2]
	if family == "unix" then
		local function path(bytes) return { family = family, path = (bytes:gsub("%z+$", "")) } end
		return path(body:sub(1, n)), path(body:sub(n + 1, 2 * n))
	end
	local from_port, to_port = string.unpack(">I2I2", body, 2 * n + 1)
	return { family = family, host = unpacked(body, n), port = from_port },
		{ family = family, host = unpacked(body:sub(n + 1), n), port = to_port }
end

local function parse_v2(bytes)
	if #bytes < 16 then return nil end
	local kind, family, size = string.unpack(">BBI2", bytes, 13)
	if kind ~= 0x20 and kind ~= 0x21 then return bad(("version and command are 0x%02x"):format(kind)) end
	if #bytes < 16 + size then return nil end
	local body, rest = bytes:sub(17, 16 + size), bytes:sub(17 + size)
	local header = { version = 2, command = kind == 0x20 and "LOCAL" or "PROXY" }
	local known = kind == 0x21 and FAMILIES[family]
	-- Of a family that is none of ours nobody knows where its TLVs begin (section 2.2).
	if not known and family ~= 0 then return header, rest end
	local begin = 0
	if known then
		begin = 2 * known[1] + (known[2] == "unix" and 0 or 4)
		if size < begin then return bad "too short for its addresses" end
		header.source, header.target = addresses_in(body, known)
	end
	local tlvs, why = tlv.parse(body:sub(begin + 1))
	if not tlvs then
		-- LOCAL's block is to be skipped, whatever it holds.
		if kind == 0x20 then return header, rest end
		return bad(why)
	end
	if not tlv.verify(bytes:sub(1, 16 + size), tlvs, 17 + begin) then return bad "wrong CRC32c" end
	header.tlvs = tlvs
	return header, rest
end

--- Reads a header from the beginning of bytes.
-- @return header: version, command ("PROXY" "LOCAL"), source and target {family=, host=, port=} or {family="unix",
--   path=} (nil when it names none), tlvs (version 2: list of {type= (number), value=}; a crc32c has been checked): a
--   spec for proxy.header; and the bytes behind it. nil: more bytes are needed;
--   nil, message, EPROTO: it is none
function proxy.parse(bytes)
	local n = math.min(#bytes, #SIGNATURE)
	if bytes:sub(1, n) == SIGNATURE:sub(1, n) then return parse_v2(bytes) end
	n = math.min(#bytes, 6)
	if bytes:sub(1, n) == ("PROXY "):sub(1, n) then return parse_v1(bytes) end
	return bad "neither version 1 nor 2"
end

return proxy
