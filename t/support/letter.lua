--- letter: a message in which everything stands that a server on the way could spoil, and whether it came through.

local assert = require "luassert"
local message = require "smtptest.message"

local letter = {}

-- Every byte that may stand in a line (RFC 5321 section 4.1.1.4 leaves out CR and LF, RFC 5322 NUL).
local function all_bytes()
	local bytes = {}
	for code = 1, 255 do
		if code ~= 10 and code ~= 13 then bytes[#bytes + 1] = string.char(code) end
	end
	return table.concat(bytes)
end

local LINES = { "", ".", "..", ".one", "..two", ". three", " ", "\t", ("x"):rep(998), "." .. ("y"):rep(997), all_bytes(),
	"From here", ">From there", "QUIT", "a line that ends in a dot.", "." }

--- A message of more than 100 kB.
-- @param from, to  addresses
-- @return string with CR LF line ends
function letter.new(from, to)
	local lines = {}
	while #lines < 800 do
		table.move(LINES, 1, #LINES, #lines + 1, lines)
		lines[#lines + 1] = ("%d %s"):format(#lines, string.char(128 + #lines % 128):rep(#lines % 200))
	end
	local text = message.new { from = from, to = to, header = { ["MIME-Version"] = "1.0", ["Content-Type"] =
		"application/octet-stream", ["Content-Transfer-Encoding"] = "8bit" }, body = table.concat(lines, "\n") .. "\n" }
	assert.is_true(#text > 100000)
	return text
end

--- Fails unless a text is what was sent, from its header's end on, below a header that has all of what was sent.
-- @param sent      with CR LF line ends
-- @param received  with the line ends of a file
function letter.arrived(sent, received)
	local function parts(text)
		local header, body = text:match "^(.-\n)\n(.*)$"
		return header, body
	end
	local header, body = parts((sent:gsub("\r\n", "\n")))
	local their_header, their_body = parts(received)
	assert.is_truthy(their_body, "not a message:\n" .. received:sub(1, 1000))
	assert.is_truthy(("\n" .. their_header):find("\n" .. header, 1, true),
		"the header is another one:\n" .. their_header)
	if body == their_body then return end
	local first = 1
	while body:byte(first) == their_body:byte(first) do first = first + 1 end
	error(("the bodies of %d and %d bytes differ from byte %d on:\n%q\n%q"):format(#body, #their_body, first,
		body:sub(first - 20, first + 60), their_body:sub(first - 20, first + 60)), 2)
end

return letter
