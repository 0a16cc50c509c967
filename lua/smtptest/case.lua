--- case: a session as text: what is sent, and which replies are expected. Recorded, written by hand, found by a fuzzer.
--
--   smtptest case 1
--   # EHLO is answered, whatever the name
--   connect
--   reply 220
--   send "EHLO a.test\r\n"
--   reply 2xx
--   var WORD "SIZE (%d+)"
--   send "MAIL FROM:<> SIZE=${WORD}\r\n" split 4,1 gap 0.5
--   reply 250 552
--
-- One step a line, before it a connection (c1, c2 …; c1 where none is named). A case is a list of steps, each a table:
-- step (its word), connection, line (number in the text), and of
--   send    bytes, or parts (list of strings and {var = NAME}); split (list of sizes), gap (seconds), secret
--   reply   specs (list, as Reply.is takes them), raw (the exact reply, from a quoted string)
--   auth    mechanism;  silent, pause  seconds;  var  name, pattern;  comment  text

local case = {}

local FIRST = "smtptest case 1"

-- ---------------------------------------------------------------- quoted strings

local ESCAPES = { a = "\a", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t", v = "\v", ["\\"] = "\\", ['"'] = '"',
	["'"] = "'" }

-- One escape of Lua's at `position`, behind the backslash → bytes, position after it | nil, what is wrong
local function unescape(text, position)
	local hex, after = text:match("^x(%x%x)()", position)
	if hex then return string.char(tonumber(hex, 16)), after end
	local decimal
	decimal, after = text:match("^(%d%d?%d?)()", position)
	if decimal then
		if tonumber(decimal) > 255 then return nil, "escape above 255: \\" .. decimal end
		return string.char(tonumber(decimal)), after
	end
	hex, after = text:match("^u{(%x+)}()", position)
	if hex then
		local number = #hex <= 8 and tonumber(hex, 16)
		if not number or number > 0x7fffffff then return nil, "escape out of range: \\u{" .. hex .. "}" end
		return utf8.char(number), after
	end
	local letter = text:sub(position, position)
	if ESCAPES[letter] then return ESCAPES[letter], position + 1 end
	return nil, "unknown escape: \\" .. letter
end

-- A string that begins behind the quote at `position` → parts (strings and {var=}), position after it | nil, message
local function read_string(text, position)
	local parts, bytes = {}, {}
	local function flush()
		if bytes[1] then parts[#parts + 1] = table.concat(bytes) end
		bytes = {}
	end
	while true do
		local plain, after = text:match('^([^"\\$]+)()', position)
		local name, behind = text:match("^%${([%a_][%w_]*)}()", position)
		local char = text:sub(position, position)
		if plain then
			bytes[#bytes + 1], position = plain, after
		elseif name then
			flush()
			parts[#parts + 1], position = { var = name }, behind
		elseif char == "\\" then
			local one, next_one = unescape(text, position + 1)
			if not one then return nil, next_one end
			bytes[#bytes + 1], position = one, next_one
		elseif char == '"' then
			flush()
			return parts, position + 1
		elseif char == "$" then
			bytes[#bytes + 1], position = "$", position + 1
		else
			return nil, "a string without its closing quote"
		end
	end
end

local NAMES = { ["\r"] = "\\r", ["\n"] = "\\n", ["\t"] = "\\t", ["\\"] = "\\\\", ['"'] = '\\"' }

local function escaped(c)
	return NAMES[c] or ("\\x%02x"):format(c:byte())
end

--- Bytes as a quoted string of a case.
function case.quote(bytes)
	local text = bytes:gsub('[%c\127\\"]', escaped):gsub("%${", "\\x24{")
	if not utf8.len(text) then text = text:gsub("[\128-\255]", escaped) end
	return '"' .. text .. '"'
end

-- ---------------------------------------------------------------- words of a line

-- A line as a list of words; a quoted string is a table of parts. A comment behind it is left out. | nil, message
local function words_of(text)
	local words, position = {}, text:match "^%s*()"
	while position <= #text do
		local word
		if text:find("^#", position) then break end
		if text:find('^"', position) then
			word, position = read_string(text, position + 1)
			if not word then return nil, position end
			if not text:find("^%f[%s%z]", position) then return nil, "a blank is expected behind a string" end
		else
			word, position = text:match("^(%S+)()", position)
		end
		words[#words + 1] = word
		position = text:match("^%s*()", position)
	end
	return words
end

-- The bytes of a string without variables; nil for anything else.
local function plain(word)
	if type(word) ~= "table" or word[2] or type(word[1]) == "table" then return nil end
	return word[1] or ""
end

local function seconds(word)
	local number = type(word) == "string" and word:find "^[%d.]+$" and tonumber(word)
	return number or nil
end

-- ---------------------------------------------------------------- steps

-- Each reads the words behind its own into the step → nil | what is wrong
local STEPS = {}

local function nothing(_, words)
	if words[1] then return "nothing is expected behind it" end
end

for name in ("connect starttls handshake half_close abort close secret"):gmatch "%S+" do STEPS[name] = nothing end

function STEPS.auth(step, words)
	step.mechanism = words[1]
	if type(words[1]) ~= "string" or words[2] then return "one mechanism is expected" end
end

local function sizes(word)
	local list = {}
	if type(word) ~= "string" or not word:find "^%d[%d,]*$" then return nil end
	for number in word:gmatch "[^,]+" do
		list[#list + 1] = math.tointeger(tonumber(number))
		if not list[#list] or list[#list] < 1 then return nil end
	end
	return list
end

function STEPS.send(step, words)
	if type(words[1]) ~= "table" then return "a quoted string is expected" end
	step.bytes = plain(words[1])
	if not step.bytes then step.parts = words[1] end
	for i = 2, #words, 2 do
		local name, value = words[i], words[i + 1]
		if name == "split" then
			step.split = sizes(value)
			if not step.split then return "split: sizes from 1 on are expected, commas between" end
		elseif name == "gap" then
			step.gap = seconds(value)
			if not step.gap then return "gap: seconds are expected" end
		else
			return "only split and gap may follow the string"
		end
	end
end

function STEPS.reply(step, words)
	step.specs = {}
	for _, word in ipairs(words) do
		if type(word) == "table" then
			if step.raw then return "one string is enough" end
			step.raw = plain(word)
			if not step.raw then return "no variables are known here" end
		elseif word:find "^%d[%dx][%dx]$" then
			table.insert(step.specs, tonumber(word) or word)
		elseif word:find "^[245x]%.[%dx]+%.[%dx]+$" then
			table.insert(step.specs, word)
		else
			return "not a code: " .. word .. " (as 250, 2xx, 5.7.x)"
		end
	end
end

local function time(step, words)
	step.seconds = seconds(words[1])
	if not step.seconds or words[2] then return "seconds are expected" end
end

STEPS.silent, STEPS.pause = time, time

function STEPS.var(step, words)
	step.name, step.pattern = words[1], plain(words[2])
	if type(step.name) ~= "string" or not step.name:find "^[%a_][%w_]*$" or not step.pattern or words[3] then
		return "a name and a quoted pattern are expected"
	end
	local ok, why = pcall(string.find, "", step.pattern)
	if not ok then return (why:gsub("^.-:%d+: ", "")) end
end

-- One line → step | nil, message; nil where there is none
local function read_line(text)
	local comment = text:match "^%s*#%s?(.*)"
	if comment then return { step = "comment", text = comment } end
	local words, message = words_of(text)
	if not words then return nil, message end
	local connection = type(words[1]) == "string" and words[1]:match "^c%d+$"
	if connection then table.remove(words, 1) end
	local name = words[1]
	if name == nil then return nil, connection and "a step is expected behind " .. connection end
	if type(name) == "table" then return nil, "a step is expected, not a string" end
	local read = STEPS[name]
	if not read then return nil, ("unknown step '%s'"):format(name) end
	table.remove(words, 1)
	local step = { step = name, connection = connection or "c1" }
	message = read(step, words)
	if message then return nil, name .. ": " .. message end
	return step
end

-- ---------------------------------------------------------------- a whole case

-- `secret` goes into the send that it stands before → nil | message, line
local function mark_secrets(self, steps)
	local secret
	for _, step in ipairs(steps) do
		if step.step == "secret" then
			secret = step
		else
			if secret and step.step ~= "comment" then
				if step.step ~= "send" or step.connection ~= secret.connection then break end
				step.secret, secret = true, nil
			end
			self[#self + 1] = step
		end
	end
	if secret then return "secret: a send is expected behind it", secret.line end
end

--- Reads a case.
-- @param text  UTF-8; line ends LF or CR LF
-- @param name  of it, for messages (default "case")
-- @return case | nil, "name:line: message", EINVAL
function case.parse(text, name)
	name = name or "case"
	local function refuse(line, message) return nil, ("%s:%d: %s"):format(name, line, message), "EINVAL" end
	local steps, number = {}, 0
	for line in (text:gsub("\r\n", "\n"):gsub("\n$", "") .. "\n"):gmatch "([^\n]*)\n" do
		number = number + 1
		if not utf8.len(line) then return refuse(number, "not UTF-8") end
		if number == 1 then
			if line ~= FIRST then return refuse(1, ("the first line is expected to be '%s'"):format(FIRST)) end
		else
			local step, message = read_line(line)
			if message then return refuse(number, message) end
			if step then
				step.line = number
				steps[#steps + 1] = step
			end
		end
	end
	local self = { name = name }
	local message, line = mark_secrets(self, steps)
	if message then return refuse(line, message) end
	return self
end

-- ---------------------------------------------------------------- writing

local WORDS = {}

function WORDS.auth(step) return step.mechanism end

function WORDS.send(step)
	local text = step.bytes and case.quote(step.bytes)
	if not text then
		local parts = {}
		for i, part in ipairs(step.parts) do
			parts[i] = type(part) == "table" and ("${%s}"):format(part.var) or case.quote(part):sub(2, -2)
		end
		text = '"' .. table.concat(parts) .. '"'
	end
	if step.split then text = text .. " split " .. table.concat(step.split, ",") end
	if step.gap then text = ("%s gap %g"):format(text, step.gap) end
	return text
end

function WORDS.reply(step)
	local words = {}
	for i, spec in ipairs(step.specs or {}) do words[i] = type(spec) == "number" and ("%03d"):format(spec) or spec end
	if step.raw then words[#words + 1] = case.quote(step.raw) end
	return table.concat(words, " ")
end

function WORDS.silent(step) return ("%g"):format(step.seconds) end

WORDS.pause = WORDS.silent

function WORDS.var(step) return step.name .. " " .. case.quote(step.pattern) end

--- One step as its line (with `secret`, its two lines), each ended by LF.
function case.line(step)
	if step.step == "comment" then
		-- What a peer said may be in it.
		return "#" .. (step.text ~= "" and " " .. case.quote(step.text):sub(2, -2):gsub('\\(["\\])', "%1") or "") .. "\n"
	end
	local prefix = step.connection and step.connection ~= "c1" and step.connection .. " " or ""
	local words = WORDS[step.step] and WORDS[step.step](step) or ""
	return (step.secret and prefix .. "secret\n" or "") .. prefix .. step.step .. (words ~= "" and " " .. words or "")
		.. "\n"
end

--- The first line of every case, ended by LF.
case.head = FIRST .. "\n"

--- A case as text: what parse() reads as the same.
function case.format(self)
	local lines = { case.head }
	for _, step in ipairs(self) do lines[#lines + 1] = case.line(step) end
	return table.concat(lines)
end

--- Plays a case against a server: smtptest.replay, play().
function case.play(self, plan, options)
	local result = require "smtptest.replay".play(self, plan, options, 2)
	return result
end

return case
