--- supply: the cases of a run, one after the other: those that are a function of (seed, N, corpus), and, where there is
-- feedback, those derived from cases that reached something new.

local case = require "smtptest.case"
local digest = require "smtptest.core.digest"
local failure = require "smtptest.failure"
local file = require "smtptest.core.file"
local folder = require "smtptest.core.folder"
local random = require "smtptest.fuzz.random"

local supply = {}

local Supply = {}
Supply.__index = Supply

local POOL = 512            -- kept cases that others are derived from
local BATCH = 64            -- cases whose bytes are hashed at once

local function refuse(message, code)
	error(failure.new { op = "fuzz", message = message, code = code or "EINVAL" }, 0)
end

-- A file as text; nil for a folder. What has no size is not opened: whoever opens a FIFO waits for its other end.
local function read(path)
	local function failed(message, code) refuse(("corpus %s: %s"):format(path, message), code) end
	local stamp, message, code = file.stamp(path)
	if not stamp then failed(message, code) end
	if folder.list(path) then return nil end
	local size = stamp:match "^%x+%.%x+%.(%x+)"
	if size == "0" then failed "empty, or no file with a case in it" end
	local handle
	handle, message = io.open(path, "rb")
	if not handle then refuse("corpus " .. message, "EIO") end
	local text
	text, message = handle:read "a"
	handle:close()
	if not text then failed(message, "EIO") end
	return text
end

--- Reads a folder of cases. What is a folder itself, or has a name that begins with a dot, is left out.
-- @return list of cases, sorted by file name, and the SHA-256 of their texts; raises for one that can't be read, for
--   what is neither a file nor a folder, and where there is no case
function supply.corpus(path)
	local list, sum = {}, digest.sha256()
	if not path then return list, sum:hex() end
	local names, message, code = folder.list(path)
	if not names then refuse(("corpus %s: %s"):format(path, message), code) end
	table.sort(names)
	for _, name in ipairs(names) do
		local whole = path .. "/" .. name
		local text = not name:find "^%." and read(whole)
		if text then
			local one, why = case.parse(text, whole)
			if not one then refuse(why) end
			sum:add(text)
			list[#list + 1] = one
		end
	end
	if #list == 0 then refuse(("corpus %s: no case in it"):format(path)) end
	return list, sum:hex()
end

-- ---------------------------------------------------------------- what a case may be

local function is_text(value) return type(value) == "string" end

local function is_time(value)
	return type(value) == "number" and value >= 0 and value < math.huge
end

local function is_list(value, fits)
	if type(value) ~= "table" then return false end
	for _, one in ipairs(value) do
		if not fits(one) then return false end
	end
	return true
end

local function is_size(value) return math.tointeger(value) ~= nil and value >= 1 end

local function is_part(value)
	return is_text(value) or type(value) == "table" and is_text(value.var)
end

local function nothing() end

-- Each → nil | what is expected
local STEPS = { connect = nothing, starttls = nothing, handshake = nothing, half_close = nothing, abort = nothing,
	close = nothing }

function STEPS.send(step)
	if not (step.bytes == nil and step.parts and is_list(step.parts, is_part) or is_text(step.bytes)) then
		return "bytes are expected, a text"
	end
	if step.split and not (is_list(step.split, is_size) and step.split[1]) then
		return "split: sizes from 1 on are expected"
	end
	if step.gap and not is_time(step.gap) then return "gap: seconds are expected" end
end

function STEPS.reply(step)
	if step.specs and type(step.specs) ~= "table" then return "specs: a list is expected" end
	if step.raw and not is_text(step.raw) then return "raw: a text is expected" end
end

function STEPS.auth(step)
	if not is_text(step.mechanism) then return "a mechanism is expected" end
end

function STEPS.silent(step)
	if not is_time(step.seconds) then return "seconds are expected" end
end

STEPS.pause = STEPS.silent

function STEPS.var(step)
	if not is_text(step.name) or not is_text(step.pattern) then return "a name and a pattern are expected" end
	if not pcall(string.find, "", step.pattern) then return "the pattern is none" end
end

function STEPS.comment(step)
	if not is_text(step.text) then return "a text is expected" end
end

-- What is wrong with a step; nil where nothing is.
local function fault_of(step)
	if type(step) ~= "table" then return "a table is expected, got a " .. type(step) end
	local check = STEPS[step.step]
	if not check then return ("unknown step '%s'"):format(tostring(step.step)) end
	if not is_text(step.connection) or not step.connection:find "^c%d+$" then
		return ("%s: connection: c1, c2 and so on are expected"):format(step.step)
	end
	local message = check(step)
	return message and ("%s: %s"):format(step.step, message)
end

-- Lines of text as a lockstep session.
local function dialogue(lines, refused)
	local reply = { step = "reply", connection = "c1", specs = {} }
	local steps, n = { { step = "connect", connection = "c1" }, reply }, 2
	for i, text in ipairs(lines) do
		if not is_text(text) then refused(("command %d: a text is expected, got a %s"):format(i, type(text))) end
		if not text:find "\n$" then text = text .. "\r\n" end
		steps[n + 1], steps[n + 2] = { step = "send", connection = "c1", bytes = text }, reply
		n = n + 2
	end
	return steps
end

--- A case as what a generator may give: steps, a text in the case format, or a list of command lines.
-- @param name  of the case, for messages, or nil
-- @return list of steps; raises EINVAL for what is none
function supply.steps(value, name)
	local function refused(message) refuse((name and name .. ": " or "") .. message) end
	if type(value) == "string" then
		local parsed, message = case.parse(value, name)
		if not parsed then refuse(message) end
		return parsed
	elseif type(value) ~= "table" then
		refused("a case is a list of steps, a text or a list of commands, got a " .. type(value))
	elseif type(value[1]) == "string" then
		return dialogue(value, refused)
	end
	for i, step in ipairs(value) do
		if type(step) == "table" then step.connection = step.connection or "c1" end
		local message = fault_of(step)
		if message then refused(("step %d: %s"):format(i, message)) end
	end
	return value
end

-- ---------------------------------------------------------------- one after the other

--- Makes a supply.
-- @param options  seed, first, last (nil: no end), draw (function(random, n, corpus) → case), derive (function(random,
--   case, corpus) → case), corpus, feedback (boolean)
function supply.new(options)
	return setmetatable({
		seed = options.seed, n = options.first, last = options.last, draw = options.draw, derive = options.derive,
		corpus = options.corpus, feedback = options.feedback, sum = digest.sha256(), waiting = {},
		pool = {}, young = 0, derived = 0, turn = 0,
	}, Supply)
end

local function flush(self)
	self.sum:add(table.concat(self.waiting))
	self.waiting = {}
end

-- All that a case is, as bytes.
local function serialize(self, steps)
	local parts, n = {}, 0
	for _, step in ipairs(steps) do
		local kind = step.step
		n = n + 1
		parts[n] = step.connection .. kind
		-- Most replies are of any kind, and then their name says all.
		if kind ~= "reply" or step.raw or step.specs and step.specs[1] then
			n = n + 1
			parts[n] = step.bytes or case.line(step)
		end
		if step.split then
			parts[n + 1] = table.concat(step.split, ",")
			parts[n + 2] = tostring(step.gap)
			n = n + 2
		end
	end
	parts[n + 1] = "\n"
	self.waiting[#self.waiting + 1] = table.concat(parts, "\0")
	if #self.waiting >= BATCH then flush(self) end
end

-- A descendant of a kept case: of one that is new, where there is one.
local function descend(self)
	self.derived = self.derived + 1
	local r = random.new(self.seed, -self.derived)
	local parent
	if self.young > 0 then
		parent = self.pool[#self.pool - self.young + 1]
		parent.turns = (parent.turns or 0) + 1
		if parent.turns >= 4 then self.young = self.young - 1 end
	else
		parent = r:pick(self.pool)
	end
	return { name = "D" .. self.derived, parent = parent.name, steps = self.derive(r, parent.steps, self.corpus) }
end

--- The case of a number.
function Supply:generate(n)
	return supply.steps(self.draw(random.new(self.seed, n), n, self.corpus), "case " .. n)
end

--- The next case.
-- @return {name, n (nil for a derived one), parent, steps} | nil: there are no more
function Supply:next()
	if self.feedback and self.pool[1] then
		self.turn = self.turn + 1
		if self.turn % 3 == 0 then return descend(self) end
	end
	if not self:more() then return nil end
	local n = self.n
	if n == math.maxinteger then self.ended = true else self.n = n + 1 end
	local steps = self:generate(n)
	serialize(self, steps)
	return { name = tostring(n), n = n, steps = steps }
end

--- Whether there are more.
function Supply:more()
	return not self.ended and (not self.last or self.n <= self.last)
end

--- Keeps a case that reached something new.
function Supply:keep(item)
	if not self.feedback then return end
	if #self.pool >= POOL then table.remove(self.pool, 1) end
	table.insert(self.pool, item)
	self.young = math.min(self.young + 1, #self.pool)
end

--- SHA-256 of all cases that were generated, in the order of their numbers.
function Supply:digest()
	flush(self)
	return self.sum:hex()
end

return supply
