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

return proxy
