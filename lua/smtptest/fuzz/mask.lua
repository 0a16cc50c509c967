--- mask: keeps passwords out of what is written about a finding: in clear, and in what is base64.

local base64 = require "smtptest.base64"
local line = require "smtptest.core.line"
local transcript = require "smtptest.transcript"
local words = require "smtptest.words"

local mask = {}

local Mask = {}
Mask.__index = Mask

local SHORT = 4             -- bytes; what is shorter stands in many a text by chance
local TOKEN = 8             -- bytes of base64, at least, that are looked into
local HIDDEN = "<%d+ bytes hidden>"
local AUTH = "^[Aa][Uu][Tt][Hh][ \t]+[^ \t]+[ \t]+()"

local function hide(text)
	return transcript.masked(text, { 1, #text })
end

-- ---------------------------------------------------------------- what is secret

-- A field of a plan may be a function that reads it.
local function value_of(field)
	if type(field) == "function" then
		local ok, text = pcall(field)
		field = ok and text
	end
	return type(field) == "string" and field or ""
end

-- How base64 of anything with this text in it has it: for each place of it in a group of three bytes.
local function encoded(text)
	local list = {}
	for before = 0, 2 do
		local all = base64.encode(("\0"):rep(before) .. text):gsub("=", "")
		local whole = (before + #text) % 3 == 0 and #all or #all - 1
		list[#list + 1] = all:sub(before == 0 and 1 or before + 2, whole)
	end
	return list
end

local function add_clear(self, text)
	if #text < SHORT or self.known[text] then return end
	self.known[text] = true
	table.insert(self.clear, text)
end

local function add(self, text)
	if #text < SHORT or self.known[text] then return end
	add_clear(self, text)
	add_clear(self, line.escape(text))
	for _, part in ipairs(encoded(text)) do table.insert(self.inside, part) end
end

-- Where the secret of a line that is marked as one begins
local function secret_from(bytes)
	return bytes:match(AUTH) or 1
end

local function of_spawn(self, spawn)
	local list = type(spawn) == "string" and words(spawn) or type(spawn) == "table" and spawn or {}
	for i, word in ipairs(list) do
		local value = word:match "^%-%-password=(.+)"
			or (word == "-w" or word == "--password") and list[i + 1]
		if value and not value:find "^%d+$" then add(self, value) end
	end
end

local function of_case(self, case)
	for _, step in ipairs(case) do
		local bytes = step.secret and step.bytes and step.bytes:gsub("\r?\n$", "")
		if bytes and not bytes:find(HIDDEN) then add(self, bytes:sub(secret_from(bytes))) end
	end
end

--- Makes one that knows all secrets of a run.
-- @param options  plan; spawn (the server's command, as smtptest.fuzz.run takes it: what follows its -w or --password);
--   cases (the corpus: its sends that are marked as secret)
function mask.new(options)
	local plan = options.plan or {}
	local self = setmetatable({ clear = {}, inside = {}, known = {} }, Mask)
	local password = value_of(plan.password)
	if password ~= "" then
		local user = ("\0%s\0"):format(value_of(plan.authname))
		local before = value_of(plan.username) .. user
		self.password, self.ending = password, user .. password
		self.plain, self.head = base64.encode(before .. password), #base64.encode(before)
		add(self, password)
	end
	of_spawn(self, options.spawn)
	for _, case in ipairs(options.cases or {}) do of_case(self, case) end
	-- One that begins as another one is the longer one.
	table.sort(self.clear, function(a, b) return #a > #b end)
	return self
end

-- ---------------------------------------------------------------- texts

-- What stands in clear, in one pass: what has been put in place of it is not looked at.
local function without_clear(self, text)
	local out, at, found = {}, 1, {}
	while true do
		local first, which
		for i, secret in ipairs(self.clear) do
			if found[i] ~= false and (not found[i] or found[i] < at) then
				found[i] = text:find(secret, at, true) or false
			end
			if found[i] and (not first or found[i] < first) then first, which = found[i], secret end
		end
		if not first then break end
		out[#out + 1] = text:sub(at, first - 1) .. hide(which)
		at = first + #which
	end
	return table.concat(out) .. text:sub(at)
end

-- Whether a word of base64 has a secret in it, or is the beginning of one that was cut off.
local function tells(self, token)
	for _, part in ipairs(#token >= TOKEN and self.inside or {}) do
		if token:find(part, 1, true) then return true end
	end
	if not self.password then return false end
	if #token > self.head and token == self.plain:sub(1, #token) then return true end
	local bytes = base64.decode(token)
	return bytes ~= nil and (bytes == self.password or bytes:sub(-#self.ending) == self.ending)
end

--- A text without the secrets: "<6 bytes hidden>" is in place of each, as in what --record writes. One that is shorter
--- than four bytes is hidden only where it is base64, alone or behind the user's name.
function Mask:text(text)
	if self.clear[1] then text = without_clear(self, text) end
	if not self.password and not self.inside[1] then return text end
	return (text:gsub("[A-Za-z0-9+/]+=*", function(token) return tells(self, token) and hide(token) or nil end))
end

-- A line that is marked as secret: of AUTH what stands behind the mechanism, else all.
local function hidden_line(bytes)
	if bytes:find(HIDDEN) then return bytes end
	local body, ending = bytes:match "^(.-)(\r?\n?)$"
	local from = secret_from(body)
	return from > #body and bytes or transcript.masked(body, { from, #body }) .. ending
end

--- A case without the secrets, for smtptest.case.format.
-- @return a copy
function Mask:steps(steps)
	local list = { name = steps.name }
	for i, step in ipairs(steps) do
		local copy = {}
		for key, value in pairs(step) do copy[key] = value end
		for _, key in ipairs { "bytes", "raw", "pattern", "text" } do
			if copy[key] then copy[key] = self:text(copy[key]) end
		end
		if copy.bytes and copy.secret then copy.bytes = hidden_line(step.bytes) end
		if copy.parts then
			copy.parts = {}
			for k, part in ipairs(step.parts) do
				local shown = type(part) == "string" and (copy.secret and hidden_line(part) or self:text(part))
				copy.parts[k] = shown or part
			end
		end
		list[i] = copy
	end
	return list
end

--- Takes the secrets out of a record, as smtptest.fuzz.confirm makes it. The steps of its cases and what was found are
--- copied; others have them too.
function Mask:record(record)
	local found = {}
	for key, value in pairs(record.finding) do found[key] = value end
	found.text = self:text(found.text)
	record.finding = found
	record.steps, record.min = self:steps(record.steps), self:steps(record.min)
	record.transcript, record.log = self:text(record.transcript), self:text(record.log)
end

return mask
