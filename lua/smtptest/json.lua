--- json: JSON text (RFC 8259) of plain values.

local json = {}

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
	["\t"] = "\\t" }

local function escape(char)
	return ESCAPES[char] or ("\\u%04x"):format(char:byte())
end

-- Bytes that are no UTF-8 are taken for Latin-1: JSON has no others.
local function text(value)
	if not utf8.len(value) then
		value = value:gsub("[\128-\255]", function(byte) return utf8.char(byte:byte()) end)
	end
	return '"' .. value:gsub('[%c"\\]', escape) .. '"'
end

local function number(value)
	if math.type(value) == "integer" then return ("%d"):format(value) end
	if value ~= value or value == math.huge or value == -math.huge then return "null" end
	return (("%.14g"):format(value):gsub(",", "."))
end

local encode

local function array(value)
	local items = {}
	for i, item in ipairs(value) do items[i] = encode(item) end
	return "[" .. table.concat(items, ",") .. "]"
end

local function object(value)
	local names = {}
	for name in pairs(value) do names[#names + 1] = name end
	table.sort(names)
	for i, name in ipairs(names) do names[i] = text(name) .. ":" .. encode(value[name]) end
	return "{" .. table.concat(names, ",") .. "}"
end

--- Encodes a value: nil, a boolean, a number (what is not finite: null), a string, a list or a table with string keys,
-- which stand in order. An empty table is a list.
-- @return string, one line
function encode(value)
	local kind = type(value)
	if kind == "nil" or kind == "boolean" then return tostring(value):gsub("nil", "null") .. "" end
	if kind == "number" then return number(value) end
	if kind == "string" then return text(value) end
	if kind ~= "table" then error("no JSON for a " .. kind, 2) end
	return (value[1] ~= nil or next(value) == nil) and array(value) or object(value)
end

json.encode = encode

return json
