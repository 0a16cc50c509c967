--- tlv: what may follow the addresses in a PROXY header of version 2 (haproxy's proxy-protocol.txt, section 2.2).

local tlv = {}

--- Names of the known types (section 2.2).
tlv.types = { alpn = 0x01, authority = 0x02, crc32c = 0x03, noop = 0x04, unique_id = 0x05, ssl = 0x20, netns = 0x30 }

-- What stands inside ssl (section 2.2.6).
local SSL = { version = 0x21, cn = 0x22, cipher = 0x23, sig_alg = 0x24, key_alg = 0x25, group = 0x26, sig_scheme = 0x27,
	client_cert = 0x28 }

local CRC32C = tlv.types.crc32c

local crcs          -- of each byte, made when they are needed

-- RFC 3720 section 12.1: the Castagnoli polynomial, bits reversed.
local function checksum(bytes)
	if not crcs then
		crcs = {}
		for byte = 0, 255 do
			local crc = byte
			for _ = 1, 8 do crc = crc & 1 == 1 and crc >> 1 ~ 0x82f63b78 or crc >> 1 end
			crcs[byte] = crc
		end
	end
	local crc = 0xffffffff
	for i = 1, #bytes do crc = crcs[(crc ~ bytes:byte(i)) & 0xff] ~ crc >> 8 end
	return crc ~ 0xffffffff
end

local function number_of(kind, names)
	local number = names[kind] or math.type(kind) == "integer" and kind
	return number and number >= 0 and number <= 255 and number
end

-- A list of {type=, value=}, names, and a map by name, as a list of {number, value}; nil, why.
local function tlv_list(tlvs, names)
	local list, map = {}, {}
	for i, item in ipairs(tlvs) do
		if type(item) ~= "table" then item = { type = item } end
		for key in pairs(item) do
			if key ~= "type" and key ~= "value" then return nil, ("a TLV has no '%s'"):format(tostring(key)) end
		end
		list[i] = item
	end
	for name, value in pairs(tlvs) do
		if type(name) == "string" then
			if value then map[#map + 1] = { type = name, value = value } end
		elseif math.type(name) ~= "integer" or name < 1 or name > #tlvs then
			return nil, ("a TLV has no place %s"):format(tostring(name))
		end
	end
	table.sort(map, function(x, y) return x.type < y.type end)
	table.move(map, 1, #map, #list + 1, list)
	for i, item in ipairs(list) do
		local number = number_of(item.type, names)
		if not number then return nil, ("unknown TLV '%s'"):format(tostring(item.type)) end
		local value = item.value
		if value == true then value = nil end
		list[i] = { number, value }
	end
	return list
end

local function packed_tlv(number, value)
	if #value > 65535 then return nil, "a TLV of more than 65535 bytes" end
	return string.pack(">Bs2", number, value)
end

-- The value of ssl: given as bytes, or {client=, verify=, version=, cn=, …}.
local function ssl_value(value)
	local rest = {}
	for name, item in pairs(value) do
		if name ~= "client" and name ~= "verify" then rest[name] = item end
	end
	local list, why = tlv_list(rest, SSL)
	if not list then return nil, why end
	local client, verify = value.client or 1, value.verify or 0
	if not number_of(client, {}) or math.type(verify) ~= "integer" then
		return nil, "client and verify of ssl are integers"
	end
	local parts = { string.pack(">BI4", client, verify & 0xffffffff) }
	for _, item in ipairs(list) do
		if type(item[2]) ~= "string" then return nil, "what stands inside ssl are strings" end
		parts[#parts + 1], why = packed_tlv(item[1], item[2])
		if why then return nil, why end
	end
	return table.concat(parts)
end

--- Builds TLVs.
-- @param tlvs  a list of {type=, value=}, the type a number or a name of tlv.types, or of such names, or a map by
--   name; a crc32c without a value is left zero; the value of ssl may be a table, as proxy.header says
-- @return bytes, list of where in them a checksum is to be put; or nil, why
function tlv.pack(tlvs)
	local list, why = tlv_list(tlvs, tlv.types)
	if not list then return nil, why end
	local bytes, sums = "", {}
	for _, item in ipairs(list) do
		local number, value = item[1], item[2]
		if value == nil and number == CRC32C then
			sums[#sums + 1], value = #bytes + 4, "\0\0\0\0"
		elseif type(value) == "table" and number == tlv.types.ssl then
			value, why = ssl_value(value)
			if not value then return nil, why end
		end
		value = value or ""
		if type(value) ~= "string" then return nil, ("the value of a TLV is a string, got a %s"):format(type(value)) end
		local one
		one, why = packed_tlv(number, value)
		if not one then return nil, why end
		bytes = bytes .. one
	end
	return bytes, sums
end

--- Puts the checksum of a whole header where it belongs.
-- @param whole  the header, zero where the checksums will be
-- @param sums   list of their positions in it
function tlv.sign(whole, sums)
	if #sums == 0 then return whole end
	local crc = string.pack(">I4", checksum(whole))
	for _, at in ipairs(sums) do whole = whole:sub(1, at - 1) .. crc .. whole:sub(at + 4) end
	return whole
end

--- Reads TLVs.
-- @return list of {type= (number), value=}; or nil, why
function tlv.parse(bytes)
	local list, position = {}, 1
	while position <= #bytes do
		if #bytes - position < 2 then return nil, "a TLV that is cut off" end
		local kind, size = string.unpack(">BI2", bytes, position)
		if position + 2 + size > #bytes then return nil, "a TLV longer than the header" end
		list[#list + 1] = { type = kind, value = bytes:sub(position + 3, position + 2 + size) }
		position = position + 3 + size
	end
	return list
end

--- Whether the checksum among the TLVs, if there is one, is that of the header.
-- @param whole     the header
-- @param list      its TLVs
-- @param position  where in it they begin
function tlv.verify(whole, list, position)
	for _, item in ipairs(list) do
		if item.type == CRC32C then
			if #item.value ~= 4 then return false end
			local zeroed = whole:sub(1, position + 2) .. "\0\0\0\0" .. whole:sub(position + 7)
			return string.unpack(">I4", item.value) == checksum(zeroed)
		end
		position = position + 3 + #item.value
	end
	return true
end

return tlv
