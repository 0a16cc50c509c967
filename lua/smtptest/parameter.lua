--- parameter: what MAIL and RCPT may carry behind the address, as a server judges it (RFC 5321 section 4.1.1.11).

local parameter = {}

local SHOWN = 64          -- octets of a name in a reply, which has a longest line itself

--- Text of a 552 reply, which MAIL with SIZE may get as well as the end of the message.
parameter.TOO_LARGE = "5.3.4 message size exceeds the limit"

local function xtext(value)
	return not value:gsub("%+%x%x", ""):find("[+=%c\127-\255]")
end

-- What is wrong with a parameter: nil when nothing is. Each has a capability that brings it; any other is taken when a
-- capability of its name is offered.
local PARAMS = {
	mail = {
		SIZE = { "SIZE", function(value, client)
			local size = value ~= true and value:match("^%d+$") and #value <= 20 and tonumber(value)
			if not size then return 501, "5.5.4 SIZE is a number (RFC 1870 section 4)" end
			if size > client.server.limits.message then return 552, parameter.TOO_LARGE end
		end },
		BODY = { "8BITMIME", function(value, client)
			value = value ~= true and value:upper()
			if value == "BINARYMIME" and client.server.capabilities.BINARYMIME then return nil end
			if value ~= "7BIT" and value ~= "8BITMIME" then return 501, "5.5.4 BODY is 7BIT or 8BITMIME (RFC 6152)" end
		end },
		SMTPUTF8 = { "SMTPUTF8", function(value)
			if value ~= true then return 501, "5.5.4 SMTPUTF8 has no value (RFC 6531 section 3.4)" end
		end },
		RET = { "DSN", function(value)
			value = value ~= true and value:upper()
			if value ~= "FULL" and value ~= "HDRS" then return 501, "5.5.4 RET is FULL or HDRS (RFC 3461 section 4.3)" end
		end },
		ENVID = { "DSN", function(value)
			if value == true or #value > 100 or not xtext(value) then
				return 501, "5.5.4 ENVID is xtext (RFC 3461 section 4.4)"
			end
		end },
		AUTH = { "AUTH", function(value)
			if value == true or not xtext(value) then return 501, "5.5.4 AUTH is xtext or <> (RFC 4954 section 5)" end
		end },
	},
	rcpt = {
		NOTIFY = { "DSN", function(value)
			local words, seen = value ~= true and value:upper() or "", {}
			for word in (words .. ","):gmatch("([^,]*),") do
				if seen[word] or not (word == "NEVER" or word == "SUCCESS" or word == "FAILURE" or word == "DELAY") then
					return 501, "5.5.4 NOTIFY is NEVER, or of SUCCESS, FAILURE, DELAY (RFC 3461 section 4.1)"
				end
				seen[word] = true
			end
			if seen.NEVER and words ~= "NEVER" then return 501, "5.5.4 NOTIFY=NEVER stands alone (RFC 3461 section 4.1)" end
		end },
		ORCPT = { "DSN", function(value, client)
			local kind, address = (value == true and "" or value):match("^([%w-]+);(.*)$")
			if kind and kind:upper() == "UTF-8" and client.from.params.SMTPUTF8 and utf8.len(address) then
				address = address:gsub("[\128-\255]", "")          -- RFC 6533 section 3
			end
			if not kind or #value > 500 or not xtext(address) then
				return 501, "5.5.4 ORCPT is a type, a semicolon and xtext (RFC 3461 section 4.2)"
			end
		end },
	},
}

-- Capabilities that are no parameters, or not here.
local OURS = { PIPELINING = true, SIZE = true, ["8BITMIME"] = true, SMTPUTF8 = true, ENHANCEDSTATUSCODES = true,
	DSN = true, CHUNKING = true, BINARYMIME = true, STARTTLS = true, AUTH = true }

--- Whether a server offers a capability to this client now.
function parameter.offered(client, capability)
	if not client.esmtp then return false end
	if capability == "AUTH" then return client.server.plan.sasl ~= nil or client.server.capabilities.AUTH ~= nil end
	return client.server.capabilities[capability] ~= nil
end

--- Why a parameter can't be taken.
-- @param client  of receiver.lua
-- @param kind    "mail" or "rcpt"
-- @param name    in upper case
-- @param value   text, or true for a bare name
-- @return code, text of the reply; nil when nothing is wrong
function parameter.refusal(client, kind, name, value)
	local known = PARAMS[kind][name]
	if not parameter.offered(client, known and known[1] or not OURS[name] and name) then
		return 555, "5.5.4 unknown parameter " .. name:sub(1, SHOWN)
	end
	if known then return known[2](value, client) end
end

return parameter
