--- proxy: the PROXY protocol header, versions 1 and 2 (haproxy's proxy-protocol.txt).

local proxy = {}

local SIGNATURE = "\r\n\r\n\0\r\nQUIT\n"

local function is_v6(host)
	return host:find(":", 1, true) ~= nil
end

-- IPv4 in an IPv6 header (RFC 4291 section 2.5.5.2).
local function as_v6(host)
	return is_v6(host) and host or "::ffff:" .. host
end

-- An address as the bytes of version 2.
local function packed(host)
	if not is_v6(host) then
		local bytes = {}
		for number in host:gmatch("%d+") do bytes[#bytes + 1] = string.char(tonumber(number)) end
		return table.concat(bytes)
	end
	host = host:gsub("%%.*", "")        -- a zone is nobody else's business
	local tail = host:match("%d+%.%d+%.%d+%.%d+$")
	if tail then host = host:sub(1, -#tail - 1) .. ("%02x%02x:%02x%02x"):format(packed(tail):byte(1, 4)) end
	local function groups(text)
		return (text:gsub("%x+:?", function(group) return string.pack(">I2", tonumber(group:match("%x+"), 16)) end))
	end
	local before, after = host:match("^(.-)::(.*)$")
	if not before then return groups(host) end
	before, after = groups(before), groups(after)
	return before .. ("\0"):rep(16 - #before - #after) .. after
end

--- Builds a header.
-- @param spec   version (1 or 2), command ("PROXY" or "LOCAL", which is version 2), source (address to announce;
--   default: our own), unknown
-- @param local_address, peer_address  {host=, port=} of the connection
-- @return bytes
function proxy.header(spec, local_address, peer_address)
	if spec.command == "LOCAL" then
		return SIGNATURE .. "\x20\x00\x00\x00"
	end
	local unknown = spec.unknown or not local_address.host
	if unknown then return spec.version == 2 and SIGNATURE .. "\x21\x00\x00\x00" or "PROXY UNKNOWN\r\n" end
	local source, target = spec.source or local_address.host, peer_address.host
	local v6 = is_v6(source) or is_v6(target)
	if v6 then source, target = as_v6(source), as_v6(target) end
	if spec.version == 2 then
		local addresses = packed(source) .. packed(target)
		return SIGNATURE .. string.pack(">BBI2", 0x21, v6 and 0x21 or 0x11, #addresses + 4) .. addresses
			.. string.pack(">I2I2", local_address.port, peer_address.port)
	end
	return ("PROXY %s %s %s %d %d\r\n"):format(v6 and "TCP6" or "TCP4", source, target, local_address.port,
		peer_address.port)
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

local function is_address(text, family)
	if family == "TCP6" then return text:find("^[%x:.]+$") and text:find(":.*:") end
	if not text:find("^%d+%.%d+%.%d+%.%d+$") then return false end
	for octet in text:gmatch("%d+") do
		if #octet > 3 or tonumber(octet) > 255 then return false end
	end
	return true
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

local function parse_tlvs(bytes)
	local list, position = {}, 1
	while position <= #bytes do
		if #bytes - position < 2 then return bad "a TLV that is cut off" end
		local kind, size = string.unpack(">BI2", bytes, position)
		if position + 2 + size > #bytes then return bad "a TLV longer than the header" end
		list[#list + 1] = { type = kind, value = bytes:sub(position + 3, position + 2 + size) }
		position = position + 3 + size
	end
	return list
end

-- Family byte -> bytes of an address, its name.
local FAMILIES = { [0x11] = { 4, "inet" }, [0x21] = { 16, "inet6" } }

local function parse_v2(bytes)
	if #bytes < 16 then return nil end
	local kind, family, size = string.unpack(">BBI2", bytes, 13)
	if kind ~= 0x20 and kind ~= 0x21 then return bad(("version and command are 0x%02x"):format(kind)) end
	if #bytes < 16 + size then return nil end
	local body, rest = bytes:sub(17, 16 + size), bytes:sub(17 + size)
	local known = kind == 0x21 and FAMILIES[family]
	if not known then
		return { version = 2, command = kind == 0x20 and "LOCAL" or "PROXY" }, rest
	end
	local n = known[1]
	if size < 2 * n + 4 then return bad "too short for its addresses" end
	local from_port, to_port = string.unpack(">I2I2", body, 2 * n + 1)
	local tlvs, message, code = parse_tlvs(body:sub(2 * n + 5))
	if not tlvs then return nil, message, code end
	return { version = 2, command = "PROXY", tlvs = tlvs,
		source = { family = known[2], host = unpacked(body, n), port = from_port },
		target = { family = known[2], host = unpacked(body:sub(n + 1), n), port = to_port } }, rest
end

--- Reads a header from the beginning of bytes.
-- @return header: version, command ("PROXY" "LOCAL"), source and target {family=, host=, port=} (nil when it names
--   none), tlvs (version 2: list of {type=, value=}); and the bytes behind it. nil: more bytes are needed;
--   nil, message, EPROTO: it is none
function proxy.parse(bytes)
	local n = math.min(#bytes, #SIGNATURE)
	if bytes:sub(1, n) == SIGNATURE:sub(1, n) then return parse_v2(bytes) end
	n = math.min(#bytes, 6)
	if bytes:sub(1, n) == ("PROXY "):sub(1, n) then return parse_v1(bytes) end
	return bad "neither version 1 nor 2"
end

return proxy
