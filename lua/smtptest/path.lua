--- path: what MAIL and RCPT name: a path and its parameters (RFC 5321 section 4.1.2, RFC 6531 section 3.3).
--
-- A server's reading of them: strict, and a refusal says what is wrong and where it is written.

local core = require "smtptest.core.line"

local path = {}

local Path = { __name = "smtptest.path" }
Path.__index = Path

--- The address as it was sent, without its brackets.
function Path:__tostring()
	return self.address
end

-- Sets of a pattern: atext, and what RFC 6531 adds to it.
local ATEXT = "%w!#$%%&'*+/=?^_`{|}~-"
local UTF8 = ATEXT:sub(1, -2) .. "\128-\255-"

-- Whether text is words of that set with single dots between.
local function is_dotted(text, set)
	return not text:find("[^." .. set .. "]") and not ("." .. text .. "."):find("..", 1, true)
end

local function is_quoted(text)
	local inside = text:match('^"(.*)"$')
	if not inside then return false end
	return not inside:gsub("\\[ -~]", ""):find('[\\"%c\127]')
end

local function is_local(text, utf8ok)
	return is_dotted(text, utf8ok and UTF8 or ATEXT) or is_quoted(text)
end

local function is_label(text)
	return #text <= 63 and text:find("^[%w\128-\255]") and text:find("[%w\128-\255]$")
		and not text:find("[^%w\128-\255-]")
end

local function is_literal(text)
	local inside = text:match("^%[(.*)%]$")
	if not inside then return false end
	local octets = { inside:match("^(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)%.(%d%d?%d?)$") }
	if octets[1] then
		for _, octet in ipairs(octets) do
			if tonumber(octet) > 255 then return false end
		end
		return true
	end
	local v6 = inside:match("^[Ii][Pp][Vv]6:([%x:.]+)$")
	if v6 then return v6:find(":.*:") ~= nil end
	return inside:find("^[%w-]*%w:[!-Z^-~]+$") ~= nil
end

--- Whether text is a domain or an address literal (RFC 5321 section 4.1.2); with 8-bit letters RFC 6531 is asked for
-- elsewhere.
function path.is_domain(text)
	if text:sub(1, 1) == "[" then return is_literal(text) end
	if text == "" or #text > 255 then return false end
	for label in (text .. "."):gmatch("([^.]*)%.") do
		if not is_label(label) then return false end
	end
	return true
end

-- The end of the bracketed path that begins the text: quoted strings may hold a ">".
local function closing(text)
	local position = 2
	while true do
		local at, _, byte = text:find('([">])', position)
		if not at or byte == ">" then return at end
		position = at + 1
		while true do
			local stop, _, mark = text:find('(["\\])', position)
			if not stop then return nil end
			position = stop + (mark == "\\" and 2 or 1)
			if mark == '"' then break end
		end
	end
end

local function refuse(code, text)
	return nil, code, text
end

local SYNTAX = { mail = "5.1.7", rcpt = "5.1.3" }

local function bad_address(kind, why)
	return refuse(501, ("%s bad address: %s"):format(SYNTAX[kind], why))
end

-- What stands between the brackets. Source routes are taken and ignored (RFC 5321 appendix C).
local function parse_address(kind, address, utf8ok)
	if address == "" then
		if kind == "mail" then return "" end
		return bad_address(kind, "<> is no recipient")
	end
	if address:sub(1, 1) == "@" then
		local route, rest = address:match("^([^:]*):(.+)$")
		if not route then return bad_address(kind, "a source route without a mailbox") end
		for hop in (route .. ","):gmatch("([^,]*),") do
			if not (hop:sub(1, 1) == "@" and path.is_domain(hop:sub(2))) then
				return bad_address(kind, "a source route that names no domain")
			end
		end
		address = rest
	end
	if kind == "rcpt" and address:lower() == "postmaster" then return address end
	if address:find("[\128-\255]") then
		if not utf8ok then return refuse(553, "5.6.7 non-ASCII address without SMTPUTF8") end
		if not utf8.len(address) then return refuse(501, "5.6.7 the address is not UTF-8") end
	end
	local name, domain = address:match("^(.*)@(.-)$")
	if not name then return bad_address(kind, "no @") end
	if not is_local(name, utf8ok) then return bad_address(kind, "what stands before the @") end
	if not path.is_domain(domain) then return bad_address(kind, "what stands behind the @") end
	return address
end

local function parse_params(text)
	local params = {}
	for word in text:gmatch("%S+") do
		local name, equals, value = word:match("^(%w[%w-]*)(=?)(.*)$")
		if not name or equals == "" and value ~= "" or value:find("[^!-<>-~\128-\255]") or equals == "=" and value == "" then
			return refuse(501, "5.5.4 bad parameter")
		end
		name = name:upper()
		if params[name] then return refuse(501, "5.5.4 parameter given twice: " .. name) end
		params[name] = equals == "=" and value or true
	end
	return params
end

local WORD = { mail = "FROM", rcpt = "TO" }

--- Reads the argument of MAIL or RCPT.
-- @param kind      "mail" or "rcpt"
-- @param argument  what follows the verb: "FROM:<a@b> SIZE=100"
-- @param utf8      whether 8-bit addresses may come at all (RFC 6531): in a RCPT, after MAIL with SMTPUTF8
-- @return path: address, params (upper-case name -> value, or true for a bare name); or nil, code, text of the reply
function path.parse(kind, argument, utf8ok)
	-- Nearly all that ever come look so, and need no closer look.
	local word = WORD[kind]
	local common = core.mailbox(argument, word)
	if common then return setmetatable({ address = common, params = {} }, Path) end
	local rest = argument:match("^(%a+):") and argument:match("^%a+"):upper() == word and argument:sub(#word + 2)
	if not rest then return refuse(501, ("5.5.4 %s:<address> expected"):format(word)) end
	if rest:sub(1, 1) ~= "<" then
		local why = rest:find("^%s") and "no blank may follow the colon" or "the address stands between < and >"
		return refuse(501, ("5.5.4 %s (RFC 5321 section 3.3)"):format(why))
	end
	local stop = closing(rest)
	if not stop then return refuse(501, "5.5.4 no > behind the address") end
	local tail = rest:sub(stop + 1)
	if tail ~= "" and tail:sub(1, 1) ~= " " then return refuse(501, "5.5.4 a blank is expected behind >") end
	local params, code, text = parse_params(tail)
	if not params then return nil, code, text end
	if utf8ok == nil then utf8ok = params.SMTPUTF8 ~= nil end
	local address
	address, code, text = parse_address(kind, rest:sub(2, stop - 1), utf8ok)
	if not address then return nil, code, text end
	return setmetatable({ address = address, params = params }, Path)
end

return path
