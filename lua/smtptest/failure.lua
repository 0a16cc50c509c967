--- failure: the one error object that session methods raise.
--
-- Fields: `code` (an errno name, or one of the words of CODES), `message`, `op` (what was being done), `layer`
-- ("clear" "tls" "sasl"), `elapsed` (seconds), `transcript` (text), `reply`, `session`, `target` (of connecting: the
-- "host:port", or the path of a socket), `status` (exit status that tells what failed). `tostring` is one line.

local failure = {}

local Failure = {}
Failure.__index = Failure
Failure.__name = "smtptest.failure"

local STATUS = {
	RESOLVE = 3, EOF = 3,
	TLS = 4, CERTIFICATE = 4, TRUNCATED = 4,
	SASL = 5, NOMECH = 5, INTERACT = 5, BASE64 = 5,
	REPLY = 6,
	TIMEOUT = 7,
}

local function status_of(fields)
	-- The command, with its mechanism, where it is a reply that was expected to be another one.
	if fields.op and fields.op:find "^AUTH%f[^%w]" and fields.reply and fields.reply.code >= 400 then
		return 5
	end
	return STATUS[fields.code] or (fields.code:match("^E%u") and 3) or 70
end

--- Makes an error object.
-- @param fields  table: `message` and `code` are required, the others as above
-- @return the object; raise it with error()
function failure.new(fields)
	fields.status = fields.status or status_of(fields)
	return setmetatable(fields, Failure)
end

--- Whether a caught value is such an object.
function failure.is(value)
	return getmetatable(value) == Failure
end

--- A control character never reaches a log or a terminal as itself.
local function one_line(text)
	return (text:gsub("%c", function(c)
		return c == "\n" and " / " or c == "\r" and "" or ("\\x%02x"):format(c:byte())
	end))
end

function Failure:__tostring()
	local message = self.message
	-- The message alone is what the classic program prints.
	if self.target then return one_line(("connect to %s: %s"):format(self.target, (message:gsub("^connect: ", "")))) end
	-- A question that nobody answered says all: "no password given".
	if self.op and self.code ~= "INTERACT" and message:sub(1, #self.op) ~= self.op then
		message = self.op .. ": " .. message
	end
	return one_line(message)
end

return failure
