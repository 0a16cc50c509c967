--- base64: RFC 4648 section 4, strict: what is not canonical is refused.

local base64 = {}

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

local digit, value = {}, {}
for i = 0, 63 do
	local c = ALPHABET:sub(i + 1, i + 1)
	digit[i], value[c:byte()] = c, i
end

-- Two digits at a time halve the work.
local pair = setmetatable({}, { __index = function(self, i)
	local text = digit[i >> 6] .. digit[i & 63]
	self[i] = text
	return text
end })

--- Encodes bytes.
-- @return text without line breaks
function base64.encode(bytes)
	local out, n = {}, #bytes
	for i = 1, n - 2, 3 do
		local a, b, c = bytes:byte(i, i + 2)
		out[#out + 1] = pair[a << 4 | b >> 4]
		out[#out + 1] = pair[(b & 15) << 8 | c]
	end
	local rest = n % 3
	if rest == 1 then
		local a = bytes:byte(n)
		out[#out + 1] = pair[a << 4] .. "=="
	elseif rest == 2 then
		local a, b = bytes:byte(n - 1, n)
		out[#out + 1] = pair[a << 4 | b >> 4] .. digit[(b & 15) << 2] .. "="
	end
	return table.concat(out)
end

local function invalid(text, position)
	return nil, ("not base64 at byte %d of %d"):format(position, #text), "BASE64"
end

--- Decodes text.
-- @return bytes | nil, message, BASE64
function base64.decode(text)
	local n = #text
	local bad = text:find("[^A-Za-z0-9+/]")
	local padding = 0
	if bad then
		if not text:find("^=?=$", bad) then return invalid(text, bad) end
		padding = n - bad + 1
	end
	if n % 4 ~= 0 then return nil, ("not base64: its length, %d, is no multiple of 4"):format(n), "BASE64" end
	local out = {}
	for i = 1, n - padding - 3, 4 do
		local a, b, c, d = text:byte(i, i + 3)
		local bits = value[a] << 18 | value[b] << 12 | value[c] << 6 | value[d]
		out[#out + 1] = string.char(bits >> 16, bits >> 8 & 255, bits & 255)
	end
	if padding == 1 then
		local a, b, c = text:byte(n - 3, n - 1)
		local bits = value[a] << 10 | value[b] << 4 | value[c] >> 2
		if value[c] & 3 ~= 0 then return invalid(text, n - 1) end
		out[#out + 1] = string.char(bits >> 8, bits & 255)
	elseif padding == 2 then
		local a, b = text:byte(n - 3, n - 2)
		if value[b] & 15 ~= 0 then return invalid(text, n - 2) end
		out[#out + 1] = string.char(value[a] << 2 | value[b] >> 4)
	end
	return table.concat(out)
end

return base64
