--- exchange: generators of AUTH: initial responses, responses, broken base64, cancels.

local base64 = require "smtptest.base64"
local canary = require "smtptest.fuzz.canary"
local dictionary = require "smtptest.fuzz.dictionary"
local generator = require "smtptest.fuzz.generator"

local exchange = {}

-- Ways to break base64
local BREAK = {
	function(text) return text .. "=" end,
	function(text) return (text:gsub("=+$", "")) end,
	function(text) return text:sub(1, -2) end,
	function(text) return text .. "QQ==" end,
	function(text) return "=" .. text end,
	function(text) return text:sub(1, #text // 2) .. " " .. text:sub(#text // 2 + 1) end,
	function(text) return text:sub(1, #text // 2) .. "\0" .. text:sub(#text // 2 + 1) end,
	function(text) return text .. "!" end,
	function(text) return (text:gsub("[+/]", { ["+"] = "-", ["/"] = "_" })) .. "-_" end,
	function(text) return text:sub(1, #text // 2) .. "\200" .. text:sub(#text // 2 + 1) end,
	function(text) return text:lower() end,
	function() return "====" end,
	function() return "A" end,
	function() return "" end,
}

--- A string in base64; `per_thousand` (150) of a thousand are broken.
function exchange.base64(one, per_thousand)
	return generator.map(one, function(bytes, random)
		local text = base64.encode(bytes)
		if random:chance(per_thousand or 150) then text = random:pick(BREAK)(text) end
		return text
	end)
end

-- Messages of the mechanisms: function(random, name) → list of messages, not yet encoded; false: no response.
local MECHANISMS = {
	PLAIN = function(random, name)
		return { random:pick { "", name } .. "\0" .. random:pick { "", name } .. "\0" .. random:pick { "", name } }
	end,
	LOGIN = function(random, name) return { false, random:pick { "", name }, random:pick { "", name } } end,
	["CRAM-MD5"] = function(random, name)
		local digest = random:bytes(random:pick { 32, 32, 0, 31, 64 }, "0123456789abcdef")
		return { false, name .. random:pick { " ", "", "  " } .. digest }
	end,
	["DIGEST-MD5"] = function(random, name)
		return { false, ('username="%s",realm="",nonce="%s",cnonce="x",nc=%s,qop=auth,digest-uri="smtp/a.test",response=%s')
			:format(name, name, random:pick { "00000001", "00000000", "ffffffff", "1" }, ("0"):rep(32)), "" }
	end,
	XOAUTH2 = function(random, name)
		return { "user=" .. name .. "\1auth=Bearer " .. random:pick { name, "" } .. random:pick { "\1\1", "\1", "" }, "\1" }
	end,
	OAUTHBEARER = function(random, name)
		return { random:pick { "n", "y", "p=x", "" } .. ",a=" .. name .. ",\1auth=Bearer " .. name .. "\1\1", "\1" }
	end,
	EXTERNAL = function(random, name) return { random:pick { "", name } } end,
	ANONYMOUS = function(random, name) return { random:pick { "", name, name:rep(30) } } end,
}

local function scram(random, name)
	local header = random:pick { "n,,", "n,a=" .. name .. ",", "y,,", "p=tls-unique,,", "p=,,", "", "n," }
	local nonce = random:pick { name, "", ("x"):rep(2000) }
	return { header .. "n=" .. random:pick { name, "", "=2C=3D", "=", "=ZZ" } .. ",r=" .. nonce,
		"c=" .. base64.encode(header) .. ",r=" .. nonce .. random:pick { "", "x" } .. ",p=" .. base64.encode(("\0"):rep(20)) }
end
for _, name in ipairs { "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS" } do
	MECHANISMS[name] = scram
end

local FALLBACK = function(random, name) return { false, name, random:bytes(random:integer(0, 40)) } end

--- An exchange: the AUTH command and the responses, a line each, with CR LF. It may be canceled, end too early or go on
--- for too long; no line is ".".
-- @param options  mechanisms: list to take from (default: the dictionary); connection (1): whose canary
-- @return generator of lists of lines
function exchange.auth(options)
	options = options or {}
	local mechanisms = options.mechanisms
	mechanisms = mechanisms and mechanisms[1] and mechanisms or dictionary.mechanisms
	return generator.new(function(random, n)
		local mechanism = random:pick(mechanisms)
		local name = canary.make(random, n or random.n, options.connection or 1)
		local messages = (MECHANISMS[mechanism:upper()] or FALLBACK)(random, name)
		local lines = { "AUTH " .. mechanism }
		for i, message in ipairs(messages) do
			local text
			if message then
				text = base64.encode(message)
				if random:chance(1, 10) then text = random:pick(BREAK)(text) end
				if random:chance(1, 20) then text = random:pick(dictionary.strings):gsub("[\r\n]", "") end
				if random:chance(1, 30) then text = ("QUFB"):rep(random:pick { 128, 250, 512, 2048, 3072, 5000 }) end
				if text == "" then text = "=" end
			end
			if i == 1 and text and random:chance(2, 3) then
				lines[1] = lines[1] .. " " .. text
			elseif text then
				lines[#lines + 1] = text
			end
			if random:chance(1, 6) then
				lines[#lines + 1] = "*"
				break
			end
		end
		if random:chance(1, 8) then lines[#lines + 1] = random:pick { "*", "=", "", "QQ==", "NOOP" } end
		for i, line in ipairs(lines) do lines[i] = line .. "\r\n" end
		return lines
	end)
end

return exchange
