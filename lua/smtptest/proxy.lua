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

--- Builds a header.
-- @param spec   version (1), command ("PROXY" or "LOCAL"), source (address to announce; default: our own), unknown
-- @param local_address, peer_address  {host=, port=} of the connection
-- @return bytes
function proxy.header(spec, local_address, peer_address)
	if spec.command == "LOCAL" then
		return SIGNATURE .. "\x20\x00\x00\x00"
	end
	if spec.unknown or not local_address.host then return "PROXY UNKNOWN\r\n" end
	local source, target = spec.source or local_address.host, peer_address.host
	local family = "TCP4"
	if is_v6(source) or is_v6(target) then
		family, source, target = "TCP6", as_v6(source), as_v6(target)
	end
	return ("PROXY %s %s %s %d %d\r\n"):format(family, source, target, local_address.port, peer_address.port)
end

return proxy
