--- xclient: who the client is, told by a proxy or a filter (Postfix's XCLIENT_README and XFORWARD_README): XCLIENT and
-- XFORWARD, methods of Session.

local smtp = require "smtptest.smtp"

local xclient = { methods = {} }
local methods = xclient.methods

-- Both READMEs: a command has at most 512 octets, CR LF included; more attributes go into more commands.
local LONGEST = 510

-- RFC 3461 section 4.
local function xtext(text)
	return (text:gsub("[^!-*,-<>-~]", function(c) return ("+%02X"):format(c:byte()) end))
end

-- Whoever has become another client may not be allowed to say more: these go together, and last.
local IDENTITY = { NAME = true, ADDR = true }

-- What goes into one command at all costs is one member.
local function groups_of(words)
	local first, last = {}, {}
	for _, word in ipairs(words) do
		local list = IDENTITY[word:match("^%w*"):upper()] and last or first
		list[#list + 1] = word
	end
	if #last > 0 then first[#first + 1] = table.concat(last, " ") end
	return first
end

-- The command lines for attributes.
local function lines_of(verb, attributes, level)
	local words = smtp.parameters(attributes, xtext, level + 1)
	local lines = { #words > 0 and verb .. " " .. table.concat(words, " ") or verb }
	if #lines[1] > LONGEST then
		lines = { verb }
		for _, word in ipairs(groups_of(words)) do
			local line = lines[#lines]
			if line ~= verb and #line + 1 + #word > LONGEST then
				line = verb
				lines[#lines + 1] = line
			end
			lines[#lines] = line .. " " .. word
		end
	end
	for _, line in ipairs(lines) do smtp.checked(line, level + 2) end
	return lines
end

--- Says XCLIENT: the server shall take the client for another one. Its 220 is a new greeting.
-- @param attributes  a map, sent sorted by name, the values as xtext: NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT
--   (an IPv6 address begins IPV6:; `[UNAVAILABLE]` or `[TEMPUNAVAIL]` where nothing is known); or a list of words, sent
--   as given
-- @return the last reply; more than 512 octets go into several commands, NAME and ADDR in the last, the first that is
--   not answered by 220 is the last one. 220 sets `greeting` and clears the capabilities
function methods:xclient(attributes)
	local answer
	for _, line in ipairs(lines_of("XCLIENT", attributes, 2)) do
		answer = smtp.say(self, line, "XCLIENT")
		if answer.code ~= 220 then return answer end
		self.greeting, self.capabilities, self.recipients = answer, {}, {}
		if self.envelope then self.envelope:restart() end
	end
	return answer
end

--- Says XFORWARD: whom the server shall name in its log and its header fields.
-- @param attributes  as xclient(): NAME ADDR PORT PROTO HELO IDENT SOURCE (LOCAL or REMOTE)
-- @return the last reply; more than 512 octets go into several commands, the first that is not answered by 2xx is the
--   last one
function methods:xforward(attributes)
	local answer
	for _, line in ipairs(lines_of("XFORWARD", attributes, 2)) do
		answer = smtp.say(self, line, "XFORWARD")
		if answer.code < 200 or answer.code > 299 then return answer end
	end
	return answer
end

return xclient
