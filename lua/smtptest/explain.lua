--- explain: what an event of a session means, in words.

local core = require "smtptest.core.line"
local base64 = require "smtptest.base64"

local explain = {}

-- RFC 5321 section 4.2.3, RFC 4954 section 4 and 6, RFC 3207 section 4, RFC 7504, RFC 1870.
local CODES = {
	[211] = "system status", [214] = "help", [220] = "service ready", [221] = "service closing the connection",
	[235] = "authentication succeeded", [250] = "done", [251] = "user not local; will forward",
	[252] = "cannot verify the user, but will try to deliver", [334] = "the server's challenge (base64)",
	[354] = "start the message; end it with a line that holds only a dot",
	[421] = "service not available, closing the connection", [432] = "a password transition is needed",
	[450] = "mailbox busy or not available now", [451] = "error in processing", [452] = "out of storage",
	[454] = "temporary failure of TLS or authentication", [455] = "parameters cannot be accommodated now",
	[500] = "syntax error, command not recognized", [501] = "syntax error in the arguments",
	[502] = "command not implemented", [503] = "bad sequence of commands", [504] = "parameter not implemented",
	[521] = "the host accepts no mail", [523] = "encryption is needed", [530] = "authentication is required",
	[534] = "the mechanism is too weak", [535] = "the credentials are wrong", [538] = "the mechanism needs encryption",
	[550] = "mailbox not available", [551] = "user not local", [552] = "over the storage allocation",
	[553] = "mailbox name not allowed", [554] = "transaction failed", [555] = "parameters not recognized",
	[556] = "the domain accepts no mail",
}

-- RFC 3463 section 3.
local SUBJECTS = {
	["0"] = "other", ["1"] = "address", ["2"] = "mailbox", ["3"] = "mail system", ["4"] = "network or routing",
	["5"] = "protocol", ["6"] = "content", ["7"] = "security or policy",
}
local CLASSES = { ["2"] = "success", ["4"] = "persistent transient failure", ["5"] = "permanent failure" }

local function reply_words(reply)
	local words = CODES[reply.code]
	if not words then return "" end
	local text = ("# %d: %s"):format(reply.code, words)
	if reply.enhanced then
		local class, subject = reply.enhanced:match("^(%d)%.(%d+)")
		text = ("%s; %s: %s, %s"):format(text, reply.enhanced, CLASSES[class], SUBJECTS[subject] or "subject " .. subject)
	end
	if reply.code == 334 then
		local challenge = base64.decode((reply.text:gsub("%s+$", "")))
		if challenge then text = ('%s: "%s"'):format(text, core.escape(challenge)) end
	end
	return text .. "\n"
end

--- Explains an event.
-- @param event  as Session.on gives it
-- @return lines that begin with "# ", or ""
function explain.event(event)
	if event.event == "reply" then return reply_words(event.reply) end
	if event.event == "auth" and event.skipped then
		return ("# %s was not taken: %s\n"):format(event.mechanism, event.skipped)
	elseif event.event == "auth" and event.text then
		return ("# %s\n"):format(event.text)
	elseif event.event == "tls" then
		local tls = event.tls
		return ("# key exchange: %s; %s; %s\n"):format(tls.group or "unknown",
			tls.resumed and "a resumed session" or "a full handshake",
			tls.verified and "the certificate is good" or "the certificate is not trusted")
	end
	return ""
end

--- The bytes of an event as a hexadecimal dump, 16 a line.
function explain.hexdump(event)
	local bytes = event.bytes
	local verb = event.direction == "send" and "write to" or "read from"
	local out = { ("%s the wire: %d bytes\n"):format(verb, #bytes) }
	for offset = 0, #bytes - 1, 16 do
		local row = bytes:sub(offset + 1, offset + 16)
		out[#out + 1] = ("%04x %s\n"):format(offset, row:gsub(".", function(c) return ("%02x "):format(c:byte()) end))
	end
	return table.concat(out)
end

return explain
