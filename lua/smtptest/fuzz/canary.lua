--- canary: made-up names that tell who sent them: "zq" and ten of [a-z0-9], of which three are a checksum.
--
-- Where a session's reply shows one that only another session has sent, something leaked.

local random = require "smtptest.fuzz.random"

local canary = {}

local DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
local CHECK = 36 ^ 3 // 1 | 0
local NUMBERS = 36 ^ 4 // 1 | 0

local function base36(number, width)
	local text = {}
	for i = width, 1, -1 do
		local digit = number % 36 + 1
		text[i], number = DIGITS:sub(digit, digit), number // 36
	end
	return table.concat(text)
end

local function checksum(payload)
	return base36((random.hash("zq" .. payload) >> 13) % CHECK, 3)
end

--- The canary of a connection of a case.
-- @param seed        integer, string, or a generator of smtptest.fuzz.random
-- @param n           number of the case (kept modulo 36^4)
-- @param connection  "c1" … or a number (kept modulo 36)
function canary.make(seed, n, connection)
	if type(seed) == "table" then seed = seed.seed end
	local link = tonumber(connection) or tonumber(connection:match "%d+")
	local fold = (random.hash(seed) * 0x9E3779B97F4A7C15 >> 20) % 1296
	local payload = base36(n % NUMBERS, 4) .. base36(link % 36, 1) .. base36(fold, 2)
	return "zq" .. payload .. checksum(payload)
end

--- Whether a text is one; then its case's number and its connection's.
-- @return n, connection (integers) | nil
function canary.origin(text)
	local number, link, fold, check = text:lower():match "^zq(%w%w%w%w)(%w)(%w%w)(%w%w%w)$"
	if not number or checksum(number .. link .. fold) ~= check then return nil end
	return tonumber(number, 36), tonumber(link, 36)
end

--- The canaries in a text, whatever the case of their letters.
-- @return list of them in lower case, in order, each as often as it stands there
function canary.find(text)
	local list = {}
	if not text:find "[zZ][qQ]" then return list end
	text = text:lower()
	local at = 1
	while true do
		at = text:find("zq", at, true)
		if not at then return list end
		local word = text:sub(at, at + 11)
		if canary.origin(word) then
			list[#list + 1], at = word, at + 12
		else
			at = at + 2
		end
	end
end

--- A text with every canary exchanged for that of another case, the connections as they were.
-- @param known  table that remembers what was exchanged for what (for many texts of one case), or nil
function canary.renew(text, seed, n, known)
	local at = text:find "[zZ][qQ]"
	if not at then return text end
	known = known or {}
	local parts, first = {}, 1
	while at do
		local word = text:sub(at, at + 11)
		local other = known[word]
		if other == nil then
			local _, link = canary.origin(word)
			other = link and canary.make(seed, n, link) or false
			known[word] = other
		end
		if other then
			parts[#parts + 1] = text:sub(first, at - 1)
			parts[#parts + 1] = other
			first, at = at + 12, at + 10
		end
		at = text:find("[zZ][qQ]", at + 2)
	end
	parts[#parts + 1] = text:sub(first)
	return table.concat(parts)
end

return canary
