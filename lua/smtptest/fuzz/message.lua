--- message: generators of messages, of what ends them, and of BDAT with sizes that lie.

local canary = require "smtptest.fuzz.canary"
local dictionary = require "smtptest.fuzz.dictionary"
local generator = require "smtptest.fuzz.generator"

local message = {}

local HEADERS = {
	function(_, name) return "Subject: " .. name end,
	function(_, name) return "From: <" .. name .. "@a.test>" end,
	function(_, name) return "To: undisclosed-recipients:;, " .. name .. "@b.test" end,
	function(_, name) return "Message-ID: <" .. name .. "@a.test>" end,
	function() return "Date: Thu, 1 Jan 1970 00:00:00 +0000" end,
	function(random) return "Date: " .. random:pick { "", "x", "99 Feb 99999 25:61:61 +2500", "Thu, 1 Jan 1970" } end,
	function(random, name) return "Received: from " .. name .. ("\r\n by x;"):rep(random:integer(0, 20)) end,
	function(random, name)
		return "Subject: =?utf-8?" .. random:pick { "q", "b", "x", "" } .. "?" .. name .. random:pick { "?=", "" }
	end,
	function(random, name) return "X-" .. name .. ": " .. ("a"):rep(random:pick(dictionary.lengths) % 9000) end,
	function(random, name) return ("X" .. name):rep(random:integer(1, 90)) .. ": y" end,
	function(_, name) return "Content-Type: text/plain; charset=" .. name end,
	function(random)
		return "Content-Transfer-Encoding: " .. random:pick { "8bit", "base64", "binary", "quoted-printable", "x" }
	end,
	function(_, name) return "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"" .. name .. "\"" end,
	function(_, name) return "Content-Type: message/rfc822; name*0*=utf-8''" .. name .. "; name*1=%zz" end,
	function() return "" end,
	function() return ":" end,
	function() return "no colon" end,
	function() return " folded" end,
	function(random) return "X: " .. random:bytes(random:integer(1, 60)):gsub("[\r\n]", " ") end,
	function(random) return "X: " .. random:pick(dictionary.strings) end,
}

local LINES = {
	function(_, name) return name end,
	function() return "" end,
	function() return "." end,
	function() return ".." end,
	function(_, name) return "." .. name end,
	function() return " ." end,
	function() return ".\r" end,
	function() return ".\0" end,
	function(_, name) return "From " .. name end,
	function(_, name) return name .. ("a"):rep(998 - #name) end,
	function(random, name) return name .. ("a"):rep(random:pick(dictionary.lengths) % 20000) end,
	function(random) return random:bytes(random:integer(1, 200)) end,
	function(_, name) return name .. "\0" .. name end,
	function(_, name) return name .. "\n" .. name end,
	function(_, name) return name .. "\r" .. name end,
	function(_, name) return name .. "\u{e9}\255" end,
	function(_, name) return "--" .. name end,
	function(_, name) return "--" .. name .. "--" end,
	function(random) return random:pick(dictionary.data_ends) end,
	function(random) return random:pick(dictionary.mistakes) end,
}

--- A message as it stands behind DATA, dots at the begin of a line doubled, without the end of data; it is empty or
--- ends in CR LF.
-- @param options  stuff (true): double the dots; connection (1): whose canary
function message.message(options)
	options = options or {}
	return generator.new(function(random, n)
		local name = canary.make(random, n or random.n, options.connection or 1)
		local lines = {}
		for _ = 1, random:integer(0, 6) do lines[#lines + 1] = random:pick(HEADERS)(random, name) end
		if random:chance(9, 10) then lines[#lines + 1] = "" end
		for _ = 1, random:integer(0, random:chance(1, 10) and 100 or 6) do
			lines[#lines + 1] = random:pick(LINES)(random, name)
		end
		local text = table.concat(lines, "\r\n")
		if text ~= "" then text = text .. "\r\n" end
		if options.stuff == false then return text end
		return (("\r\n" .. text):gsub("\r\n%.", "\r\n.."):sub(3))
	end)
end

--- What ends a message: mostly right, else what some program takes for it.
-- @param per_thousand  how many are right (0)
function message.data_end(per_thousand)
	return generator.new(function(random)
		if random:chance(per_thousand or 0) then return "\r\n.\r\n" end
		return dictionary.data_ends[random:integer(2, #dictionary.data_ends)]
	end)
end

--- A body with a false end of data inside, commands behind it, and the right end.
function message.smuggled(options)
	local inner = generator.pick { "NOOP\r\n", "RSET\r\n", "QUIT\r\n", "HELP\r\n",
		"MAIL FROM:<>\r\nRCPT TO:<a@a.test>\r\nDATA\r\n" }
	return generator.sequence { message.message(options), "x", message.data_end(), inner, "\r\n.\r\n" }
end

-- What a size may be, by the real one
local SIZES = {
	function(size) return size end,
	function(size) return size end,
	function(size) return size + 1 end,
	function(size) return math.max(0, size - 1) end,
	function(size) return size + 20 end,
	function(size) return size // 2 end,
	function(size) return "0" .. size end,
	function(size) return ("0"):rep(30) .. size end,
	function(size) return "+" .. size end,
	function(size) return "-" .. size end,
	function(size) return ("0x%x"):format(size) end,
	function(size) return size .. ".0" end,
	function(size) return size .. "x" end,
	function(size) return ("%d"):format((1 << 32) + size) end,
	function(size) return "1844674407370955" .. (1616 + size) end,
	function(_, random) return random:pick(dictionary.numbers) end,
}

local LAST = { "", " LAST", " LAST", " last", "  LAST", " LAST ", " LAST LAST", " LASTX", "LAST", " L", "\tLAST",
	" LAST\0" }

--- BDAT, its size right or not, and the chunk behind it in the same string.
-- @param options  honest: the size is right; connection (1)
function message.bdat(options)
	options = options or {}
	local content = message.message { stuff = false, connection = options.connection }
	return generator.new(function(random, n, corpus)
		local chunk = random:chance(1, 3) and "" or content:draw(random, n, corpus)
		if options.honest then
			return ("BDAT %d%s\r\n%s"):format(#chunk, random:chance(1, 2) and " LAST" or "", chunk)
		end
		local size = random:pick(SIZES)(#chunk, random)
		return ("BDAT %s%s\r\n%s"):format(size, random:pick(LAST), chunk)
	end)
end

return message
