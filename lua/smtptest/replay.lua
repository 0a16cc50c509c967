--- replay: plays a case against a server, with the same writes, and says where the replies differ.

local argument = require "smtptest.argument"
local case = require "smtptest.case"
local core = require "smtptest.core.line"
local failure = require "smtptest.failure"
local output = require "smtptest.output"
local plans = require "smtptest.plan"
local reply = require "smtptest.reply"
local session = require "smtptest.session"
local task = require "smtptest.task"

local replay = {}

local function refuse(name, line, message)
	local place = line and ("%s:%d"):format(name, line) or name
	error(failure.new { message = ("%s: %s"):format(place, message), code = "EINVAL", status = 1 }, 0)
end

-- ---------------------------------------------------------------- exchanges that were masked

local HIDDEN = "<%d+ bytes hidden>"
local AUTH = "^[Aa][Uu][Tt][Hh][ \t]+(%S+)"

local function is_masked(step)
	return step.step == "send" and step.secret and step.bytes and step.bytes:find(HIDDEN)
end

-- Whether a reply step is about this code.
local function has_code(step, code)
	if step.step ~= "reply" then return false end
	if step.specs[1] then return step.specs[1] == code end
	return step.raw ~= nil and reply.new(step.raw).code == code
end

-- The whole line of an AUTH, its response hidden or none → mechanism
local function auth_line(step)
	local bytes = step.step == "send" and step.bytes
	if not bytes then return nil end
	return bytes:match(AUTH .. "[ \t]+" .. HIDDEN .. "\r?\n$") or bytes:match(AUTH .. "[ \t]*\r?\n$")
end

-- Makes one `auth` of each masked exchange: the AUTH, the 334s and the answers to them. Raises for what is hidden in
-- another way.
local function rebuilt(self)
	local list, open = {}, {}
	for _, step in ipairs(self) do
		local mechanism, exchange = auth_line(step), open[step.connection]
		local keep = step
		if mechanism then
			keep = { step = step.step, bytes = step.bytes, line = step.line, connection = step.connection,
				secret = step.secret, split = step.split, gap = step.gap }
			open[step.connection] = { first = keep, mechanism = mechanism, rest = {} }
			if is_masked(step) then keep.step, keep.mechanism = "auth", mechanism end
		elseif is_masked(step) then
			if not exchange then
				refuse(self.name, step.line, "what was sent here is hidden (record it with --show-secrets)")
			end
			exchange.first.step, exchange.first.mechanism = "auth", exchange.mechanism
			for _, one in ipairs(exchange.rest) do one.dropped = true end
			keep = nil
		elseif exchange and (has_code(step, 334) or step.bytes and step.bytes:find "^\r?\n$") then
			keep = { step = step.step, specs = step.specs, raw = step.raw, bytes = step.bytes, line = step.line,
				connection = step.connection }
			keep.dropped = exchange.first.step == "auth"
			table.insert(exchange.rest, keep)
		elseif step.step ~= "comment" then
			open[step.connection] = nil
		end
		list[#list + 1] = keep
	end
	local steps = { name = self.name }
	for _, step in ipairs(list) do
		if not step.dropped and step.step ~= "comment" then steps[#steps + 1] = step end
	end
	return steps
end

-- ---------------------------------------------------------------- judging

local Player = {}
Player.__index = Player

function Player:differs(step, expected, got)
	local one = { line = step.line, connection = step.connection, expected = expected, got = got }
	table.insert(self.differences, one)
	if self.on_difference then self.on_difference(one) end
end

-- What a reply step wants, in words, and whether an answer is that.
local function judged(step, answer, match)
	local specs = step.specs or {}
	if match == "exact" and step.raw then
		return core.escape(step.raw), answer ~= nil and answer.raw == step.raw
	end
	if not specs[1] and step.raw then specs = { reply.new(step.raw).code } end
	if not specs[1] then return "a reply", answer ~= nil end
	return reply.describe(specs), answer ~= nil and answer:is(specs)
end

function Player:judge(step, answer)
	local expected, good = judged(step, answer, self.match)
	if good or self.match == "none" then return end
	local got = tostring(answer)
	if self.match == "exact" and step.raw then got = core.escape(answer.raw) end
	self:differs(step, expected, got)
end

-- ---------------------------------------------------------------- steps

local STEPS = {}

-- What ended a connection is a difference; what the person must mend is not.
local MEND = { NOMECH = true, INTERACT = true, CANCELED = true, BUSY = true, DEADLOCK = true }

-- Runs one step → its results | nil: the connection is over
function Player:try(step, link, expected, fn, ...)
	local ok, result = pcall(fn, ...)
	if ok then return result ~= nil and result or true end
	if not failure.is(result) or MEND[result.code] then error(result, 0) end
	self:differs(step, expected, core.visible((result.message:gsub("\n", " / "))))
	link.over = true
end

function STEPS:connect(step)
	local link = self.links[step.connection]
	if link and link.session then link.session:close() end
	local s = session.connect(self.plan)
	s.transport.wire.sock:option("nodelay", true)
	self.links[step.connection] = { session = s, shaken = self.plan.tls == "implicit" }
	table.insert(self.sessions, s)
end

-- A send's bytes, its variables filled in.
function Player:bytes(step)
	if step.bytes then return step.bytes end
	local parts = {}
	for i, part in ipairs(step.parts) do
		if type(part) == "table" then
			part = self.variables[part.var] or refuse(self.name, step.line, ("no variable '%s'"):format(part.var))
		end
		parts[i] = part
	end
	return table.concat(parts)
end

function STEPS:send(step, link)
	self:try(step, link, "to be able to send", link.session.send, link.session, self:bytes(step),
		{ split = step.split, gap = step.gap })
end

function STEPS:reply(step, link)
	local answer = link.answer
	link.answer = nil
	if not answer then
		answer = self:try(step, link, (judged(step, nil, self.match)), link.session.reply, link.session)
		if not answer then return end
	end
	self.replies = self.replies + 1
	link.last = answer
	self:judge(step, answer)
	-- A message whose DATA was refused would be taken for commands.
	if has_code(step, 354) and answer.code >= 400 then link.over = true end
end

-- The reply that a step has read by itself is for the `reply` behind it; where there is none it must be this one.
function Player:keep(step, link, answer, code)
	local following = self:following(step)
	if following and following.step == "reply" then
		link.answer = answer
	else
		link.last = answer
		self:judge({ line = step.line, connection = step.connection, specs = { code } }, answer)
	end
end

function STEPS:starttls(step, link)
	local answer = self:try(step, link, "a handshake", link.session.starttls, link.session)
	if answer then self:keep(step, link, answer, 220) end
end

-- Implicit TLS has shaken hands when it was connected.
function STEPS:handshake(step, link)
	if link.shaken then
		link.shaken = false
		return
	end
	self:try(step, link, "a handshake", link.session.handshake, link.session)
end

function STEPS:auth(step, link)
	local answer = self:try(step, link, "AUTH " .. step.mechanism, link.session.auth, link.session,
		{ mechanism = step.mechanism })
	if answer then self:keep(step, link, answer, 235) end
end

function STEPS:silent(step, link)
	local ok, bytes, code = link.session:silent(step.seconds)
	if ok or self.match == "none" then return end
	self:differs(step, ("silence for %g s"):format(step.seconds),
		code and "the end of the connection (" .. code .. ")" or core.escape(bytes))
end

function STEPS.pause(_, step)
	task.sleep(step.seconds)
end

function STEPS:var(step, link)
	local value = link.last and link.last.text:match(step.pattern)
	if not value then
		self:differs(step, "a reply with " .. case.quote(step.pattern), link.last and tostring(link.last) or "no reply")
	end
	self.variables[step.name] = tostring(value or "")
end

function STEPS.half_close(_, _, link) link.session:shutdown() end

function STEPS.abort(_, _, link) link.session:abort() end

function STEPS.close(_, _, link) link.session:close() end

-- The next step of the same connection.
function Player:following(step)
	for i = self.at + 1, #self.steps do
		if self.steps[i].connection == step.connection then return self.steps[i] end
	end
end

function Player:run()
	for i, step in ipairs(self.steps) do
		self.at = i
		local link = self.links[step.connection]
		if step.step == "connect" then
			STEPS.connect(self, step)
		elseif not link then
			refuse(self.name, step.line, step.connection .. " is not connected")
		elseif not link.over then
			STEPS[step.step](self, step, link)
		end
	end
end

function Player:__close()
	for _, s in ipairs(self.sessions) do s:close() end
end

local OPTIONS = { match = "string", on_difference = "function" }
local MATCHES = { code = true, exact = true, none = true }

--- Plays a case: the same writes, and TLS and AUTH where it has them, the latter with the plan's name and password.
-- @param self     as smtptest.case.parse gives it
-- @param plan     where to (host, port …); tls="implicit" is TLS from the first byte, STARTTLS stands in the case
-- @param options  match: "code" (default: the specs of each reply, or the code of its string), "exact" (the string to
--   the byte), "none" (nothing is judged); on_difference: function(difference), called at once
-- @param level    whom an error blames, as in error(): 1 (default) the line that called play, 2 its caller…
-- @return {same = boolean, replies = how many came, differences = list of {line, connection, expected, got}}; a
--   connection that ends too early is one, and its other steps are left out. Raises EINVAL for a case that can't be
--   played, NOMECH, INTERACT, and what connecting raises
function replay.play(self, plan, options, level)
	level = (level or 1) + 1
	options = argument.options(options, OPTIONS, level)
	local match = options.match or "code"
	if not MATCHES[match] then error(("bad match '%s' (code, exact or none)"):format(match), level) end
	plan = plans.new(plan or {}, nil, level)
	plan.greeting, plan.proxy, plan.tls = false, nil, plan.tls == "implicit" and "implicit" or "none"
	local steps = rebuilt(self)
	-- What was recorded while nobody listened would be a success for ever.
	if not steps[1] then refuse(self.name or "case", nil, "the case has no step") end
	local player <close> = setmetatable({ name = self.name or "case", steps = steps, plan = plan, match = match,
		on_difference = options.on_difference, links = {}, sessions = {}, variables = {}, differences = {}, replies = 0 },
		Player)
	player:run()
	return { same = #player.differences == 0, replies = player.replies, differences = player.differences }
end

--- The command --replay: plays a file, with a line on standard output for each difference.
-- @param path   of the case
-- @param plan   of the command line
-- @param match  as play() takes it
-- @return exit status: 0, or 6 where replies differ
function replay.run(path, plan, match)
	local handle, message = io.open(path, "rb")
	local text
	if handle then
		text, message = handle:read "a"
		handle:close()
	end
	if not text then error(failure.new { message = "--replay: " .. message, code = "EIO", status = 1 }, 0) end
	local self
	self, message = case.parse(text, path)
	if not self then error(failure.new { message = message, code = "EINVAL", status = 1 }, 0) end
	local changes = { password = plan.password or function()
		return output.ask("Please enter your password: ", "password")
	end }
	local result = replay.play(self, plans.new(changes, plan), { match = match, on_difference = function(one)
		output.write(("%s:%d: expected %s, got %s\n"):format(path, one.line, one.expected, one.got))
	end })
	if result.same then output.write(("%s: %d replies, no difference\n"):format(path, result.replies)) end
	return result.same and 0 or 6
end

return replay
