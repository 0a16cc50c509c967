--- play: plays a case against a target, once, and judges what comes back.
--
-- What the case has no step for is done at its end: replies that are due are read, QUIT is said, the end is waited for.

local calibrate = require "smtptest.fuzz.calibrate"
local fence = require "smtptest.fuzz.fence"
local line = require "smtptest.core.line"
local links = require "smtptest.fuzz.link"
local oracle = require "smtptest.fuzz.oracle"
local task = require "smtptest.task"

local play = {}

local Play = {}
Play.__index = Play

local now = task.now

local MANY = 8          -- findings of one case
local PAUSE = 5         -- seconds of a step that waits, at most: there are thousands of cases
local FLOOD = 100       -- replies that nobody asked for, after which a connection is given up

local function find(self, link, name, detail, verb, text, word)
	if not self.oracles[name] or #self.findings >= MANY then return end
	table.insert(self.findings, { oracle = name, detail = detail, verb = verb, text = text, at = self.at,
		connection = link and link.name, canary = word })
end

local function show(self, link, direction, bytes)
	if self.transcript then
		table.insert(self.transcript, ("%s %s: %s\n"):format(link.name, direction, line.escape(bytes)))
	end
end

-- What no step of the case says.
local function say(self, link, bytes)
	show(self, link, "C", bytes)
	return link:send(bytes)
end

-- ---------------------------------------------------------------- one reply

-- What an unasked reply is.
local function surplus(self, link, raw)
	local track = link.track
	if track.unsure then return end
	local last = track.last or "greeting"
	local text = line.escape(raw:sub(1, 200))
	if track.tls and track.injected and track.injected ~= "" then
		find(self, link, "injection", "inside TLS", "STARTTLS",
			"what was sent in clear behind STARTTLS was answered inside TLS: " .. text)
	elseif track.mode == "tls" then
		find(self, link, "injection", "in clear", "STARTTLS",
			"what was sent in clear behind STARTTLS was answered before TLS: " .. text)
	else
		find(self, link, "count", "surplus", last, ("a reply to %s too many: %s"):format(last, text))
	end
end

local function check(self, link, verb, raw, code, flaws)
	local checks, answer = flaws == 0 and self.checks.sound[verb] or self.checks, nil
	for i = 1, #checks do
		local each = checks[i]
		if (not each.verbs or each.verbs[verb]) and (not each.pattern or raw:find(each.pattern)) then
			answer = answer or { raw = raw, code = code, flaws = flaws }
			local detail, text, word = each[2](link, verb, answer)
			if detail then find(self, link, each[1], detail, verb, text, word) end
		end
	end
end

-- @param verb  what is outstanding, or nil
local function judge(self, link, verb, raw, code, flaws)
	if self.transcript then show(self, link, "S", raw) end
	local track, model = link.track, self.model
	local before = model and (link.state or track:state())
	link.text = raw
	if verb then
		check(self, link, verb, raw, code, flaws)
		if link.units and not track.unsure then self:unit(link, verb, code) end
		track:answered(code)
	else
		verb = track:answered(code)
		if code == 421 then
			verb = track.last or "greeting"
		elseif verb == "surplus" then
			surplus(self, link, raw)
			link.extra = link.extra + 1
			if link.extra >= FLOOD then link.over = true end
		end
	end
	-- A reply before it is missing; what asks for one now is part of a message.
	if code == 354 and verb ~= "DATA" then link.shifted = true end
	link.code = code
	if code >= 500 then link.errors = link.errors + 1 end
	if not model then return end
	link.state = track:state()
	if model:see(before, verb, code, flaws, link.state) then self.fresh = true end
end

-- Of several commands in one segment any may have got no reply.
local function several(link, verb)
	local bytes = link.all[#link.all] or ""
	if verb ~= "message" and bytes:find("\n.*\n") then return "several" end
	return verb
end

-- What twins are compared by: the command, or the message without how it was framed.
function Play:unit(link, verb, code)
	local track = link.track
	local key = track.line
	if verb == "DATA" and code == 354 then return end
	if verb == "message" then
		key = "message:" .. line.unstuff(key)
	elseif verb == "BDAT" then
		link.chunks = (link.chunks or "") .. (track.chunk or "")
		if not key:find "[Ll][Aa][Ss][Tt] *$" then return end
		key, link.chunks, verb = "message:" .. link.chunks, nil, "message"
	end
	table.insert(link.units, { key = key, code = code, verb = verb, at = self.at,
		grouped = several(link, verb) == "several" })
end

-- ---------------------------------------------------------------- the end of a connection that we did not want

local CLOSED = { EOF = true, ECONNRESET = true, EPIPE = true, TRUNCATED = true }

local function closed(self, link, code)
	local track = link.track
	link.over = true
	if link.may_end or track.quit or track.unsure or link.code == 421 then return end
	if track.mode == "tls" and track.injected ~= "" then return end         -- it takes those bytes for TLS
	if not CLOSED[code] and code ~= "TLS" then return end
	-- Who does not wait where one must (RFC 2920 section 3.1) may be sent away.
	if link.code == 554 and several(link, "") == "several" then return end
	-- Calibration has seen such ends, or how many errors or idle commands it takes; what it says of that may be lost.
	local traits = self.target.traits
	if link.code and (self.target.closing[link.code] or link.errors + 1 >= traits.errors
		or link.idle + 2 >= traits.idle) then return end
	local verb = track:outstanding()
	if link.code == 221 then
		-- A goodbye is any server's right; that to QUIT, before its turn, tells that a reply was lost.
		if verb == "QUIT" and traits.goodbye == calibrate.goodbye(link.text) then
			find(self, link, "count", "missing", several(link, verb), "a reply is missing before that to QUIT")
		end
		return
	end
	if not verb and link.code and link.code >= 400 then
		find(self, link, "drop", "after " .. link.code, track.last or "greeting",
			("the server closed after %s, without a 421"):format(line.escape(link.text:sub(1, 200))))
	else
		verb = verb or track:current()
		find(self, link, "drop", "no reply", verb, ("the server closed without a reply to %s, without a 421"):format(verb))
	end
	self.suspicious = true
end

-- A reply did not come in time: is the session dead, or was the reply lost?
local function silent(self, link, verb)
	link.over = true
	if link.track.unsure then return end
	self.suspicious = true
	if link.shifted then
		return find(self, link, "count", "missing", several(link, verb),
			("%s got no reply, DATA's came too early"):format(verb))
	elseif verb ~= "greeting" and verb ~= "message" and say(self, link, "NOOP\r\n") then
		local raw = link:reply(now() + self.target.brisk)
		if raw then
			show(self, link, "S", raw)
			return find(self, link, "count", "missing", several(link, verb),
				("%s got no reply, NOOP behind it did"):format(verb))
		end
	end
	find(self, link, "hang", "session", verb,
		("nothing came within %.2f s behind %s"):format(self.target.patience, verb))
end

-- Where a server holds its reply back.
local SLOW = { AUTH = true, response = true }

-- Reads one reply that is due.
-- @param verb  what is outstanding, or nil
-- @return true | false: the connection is over
local function read(self, link, verb)
	local target = self.target
	local patience = SLOW[verb] and target.traits.auth or target.patience
	local raw, code, flaws = link:reply(now() + patience)
	if raw then
		judge(self, link, verb, raw, code, flaws)
		return true
	end
	if flaws == "TIMEOUT" then
		silent(self, link, verb or link.track:current())
	elseif flaws == "TOOLONG" then
		find(self, link, "syntax", "no end", verb or link.track:current(), code)
		link.over = true
	else
		closed(self, link, flaws)
	end
	return false
end

-- Reads what is there though nobody asked for it.
local function settle(self, link)
	if not self.careful and not link:ready() then return end
	local settling = self.careful and self.target.settle or 0
	while not link.over and not link.track:outstanding() do
		if not link:ready() and settling == 0 then return end
		local raw, code, flaws = link:reply(now() + settling)
		if raw then
			judge(self, link, nil, raw, code, flaws)
		else
			if flaws ~= "TIMEOUT" then closed(self, link, flaws) end
			return
		end
	end
end

-- ---------------------------------------------------------------- steps

-- Commands that do nothing for a message: some servers count them.
local IDLE = { NOOP = true, RSET = true, VRFY = true, EXPN = true, HELP = true, ETRN = true, EHLO = true, HELO = true,
	STARTTLS = true, AUTH = true }

-- Counts a command; false where it is one more than the server bears.
local function count(traits, link, bytes)
	local verb, said = fence.verb(bytes), link.said
	local family = calibrate.family(verb)
	local times = (said[family] or 0) + 1
	if times > (traits.bounds[family] or math.huge) then return false end
	said[family], said[#said + 1] = times, verb
	if IDLE[verb] then link.idle = link.idle + 1 end
	return true
end

-- Counts all commands of a segment; one with more than the server bears is left out.
local function bearable(traits, link, bytes)
	if not count(traits, link, bytes) then return false end
	if link.track.mode == "command" and bytes:find("\n.", 1) then
		for position in bytes:gmatch "\n()[^\r\n]" do
			if not count(traits, link, bytes:sub(position, position + 16)) then return false end
		end
	end
	if link.idle >= traits.idle or link.errors >= traits.errors then link.enough = true end
	return true
end

local STEPS = {}

function STEPS.connect(self, step)
	local old = self.links[step.connection]
	if old and not old.over then self:finish(old) end
	local link, _, code = links.open(self.target, step.connection)
	if not link then
		self.refused, self.suspicious = code or "TLS", true
		return
	end
	link.units = self.compares and {} or nil
	self.links[step.connection] = link
	table.insert(self.order, link)
end

function STEPS.send(self, step, link)
	local bytes = step.bytes or self:bytes(step)
	-- AUTH may only be the last of a group (RFC 4954 section 4): what else becomes of it is not said.
	if bytes:find("\n[^\n]", 1) and ("\n" .. bytes:upper()):find "\nAUTH[^\n]*\n." then link.track.unsure = true end
	-- A message whose DATA was refused would be taken for commands.
	local refused = link.track.last == "DATA" and link.track.mode == "command"
	if refused and (bytes == ".\r\n" or bytes:find("\r\n.\r\n", -5, true)) then return end
	if self.fences and self.fences[1] and fence.stops(self.fences, link.said, bytes) then return end
	if not bearable(self.target.traits, link, bytes) then return end
	settle(self, link)
	if link.over then return end
	if self.transcript then show(self, link, "C", bytes) end
	link.all[#link.all + 1] = bytes
	local ok, code, _
	if not step.split then
		ok, _, code = link:send(bytes)
	else
		local first = 1
		for i = 1, #step.split + 1 do
			local last = step.split[i] and first + step.split[i] - 1 or #bytes
			if i > 1 then task.sleep(step.gap or self.target.gap) end
			ok, _, code = link:send(bytes:sub(first, last))
			first = last + 1
			if not ok or first > #bytes then break end
		end
	end
	-- What the server said before it went is still to be read.
	if not ok and not CLOSED[code] then link.over = true end
end

-- All replies that are due: after several commands in one segment, several.
function STEPS.reply(self, _, link)
	while not link.over do
		local verb = link.track:outstanding()
		if not verb or not read(self, link, verb) then return end
		if link.errors >= self.target.traits.errors then link.enough = true end
	end
end

function STEPS.handshake(self, _, link)
	if link.track.mode ~= "tls" then return end
	if link:ready() then settle(self, link) end
	local ok, message, code = link:push()
	show(self, link, "-", ok and "TLS is on" or "TLS failed: " .. message)
	if ok then
		link.track:secured()
		link.state = nil
	elseif link.track.injected ~= "" then
		link.over = true        -- it may take those bytes for TLS
	elseif code == "TIMEOUT" then
		silent(self, link, "STARTTLS")
	else
		closed(self, link, code)
	end
end

function STEPS.starttls(self, step, link)
	STEPS.send(self, { bytes = "STARTTLS\r\n" }, link)
	if not link.over then STEPS.reply(self, step, link) end
	if not link.over then STEPS.handshake(self, step, link) end
end

function STEPS.auth(self, step, link)
	settle(self, link)
	if link.over or link.track.mode ~= "command" then return end
	local answer, message, code = link:auth(step.mechanism)
	show(self, link, "-", "AUTH " .. step.mechanism .. ": " .. tostring(answer or message))
	if not answer then
		if code == "TIMEOUT" then silent(self, link, "AUTH") elseif CLOSED[code] then closed(self, link, code) end
		link.over = true
		return
	end
	local track = link.track
	track.last, link.code, link.text = "AUTH", answer.code, answer.raw
	if answer.code == 235 then track.authed, link.legitimate, link.state = true, true, nil end
	if self.model then self.model:see("helo", "AUTH", answer.code, 0, track:state()) end
end

function STEPS.silent(self, step, link)
	local deadline = now() + math.min(step.seconds, PAUSE)
	repeat
		local raw, code, flaws = link:reply(deadline)
		if raw then
			judge(self, link, link.track:outstanding(), raw, code, flaws)
		elseif flaws ~= "TIMEOUT" then
			closed(self, link, flaws)
		end
	until not raw or link.over
end

function STEPS.pause(_, step) task.sleep(math.min(step.seconds, PAUSE)) end

function STEPS.var(self, step, link)
	local text = (link.text or ""):gsub("\r\n%d%d%d[ -]", "\n"):gsub("^%d%d%d[ -]", ""):gsub("\r\n$", "")
	self.variables[step.name] = text:match(step.pattern) or ""
end

function STEPS.half_close(self, _, link)
	link.may_end, self.left = true, true
	link:shutdown()
end

function STEPS.abort(self, _, link)
	self.left = true
	link:close(true)
	link.over = true
end

function STEPS.close(self, _, link)
	self.left = true
	link:close()
	link.over = true
end

function Play:bytes(step)
	local parts = {}
	for i, part in ipairs(step.parts) do
		parts[i] = type(part) == "table" and (self.variables[part.var] or "") or part
	end
	return table.concat(parts)
end

-- ---------------------------------------------------------------- the end

-- Reads all that is due, says QUIT, and waits for the end.
function Play:finish(link)
	local track = link.track
	while not link.over do
		local verb = track:outstanding()
		if not verb or not read(self, link, verb) then break end
	end
	settle(self, link)
	if not link.over and track.mode == "response" and track:drained() then
		say(self, link, "*\r\n")
		read(self, link, track:outstanding())
	end
	if not link.over and not track.quit and not link.may_end and track.mode == "command" and track:drained() then
		link.before_quit = track.last
		say(self, link, "QUIT\r\n")
		read(self, link, track:outstanding())
	end
	self.left = self.left or not track.quit
	if track.quit then
		while not link.over do
			local raw, code, flaws = link:reply(now() + self.target.lingering)
			if raw then judge(self, link, track:outstanding(), raw, code, flaws) else link.over = true end
		end
	end
	link:close()
	link.over = true
end

-- However it ends, also when the task is canceled.
function Play:__close()
	for _, link in ipairs(self.order) do link:close() end
end

local function of_several(self)
	local first
	for _, step in ipairs(self) do
		first = first or step.connection
		if step.connection ~= first then return true end
	end
	return false
end

-- Replies that belong to other commands than we thought have told nothing about those.
local FROM_REPLY = { state = true, auth = true, class = true }

local function without_consequences(self)
	local list = {}
	for _, finding in ipairs(self.findings) do
		local consequence = false
		for _, cause in ipairs(FROM_REPLY[finding.oracle] and self.findings or {}) do
			consequence = consequence or cause.oracle == "count" and cause.connection == finding.connection
				and math.abs(cause.at - finding.at) <= 2
		end
		if not consequence then list[#list + 1] = finding end
	end
	return list
end

--- Plays a case once.
-- @param steps    list of steps, as smtptest.case.parse gives it
-- @param target   smtptest.fuzz.target
-- @param options  oracles (a set), checks (oracle.of_reply of it); careful (true: after each reply it waits for
--   another one, so that each surplus is found behind what caused it); model (sees every reply); transcript (true:
--   kept); fences (list: what is left out)
-- @return {findings = list, suspicious (the target may be ill), left (a connection was left in the middle), refused
--   (code: a connection failed), fresh (the model has learnt something), transcript (list of lines)}
function play.run(steps, target, options)
	local self <close> = setmetatable({ target = target, oracles = options.oracles, checks = options.checks,
		careful = options.careful, fences = options.fences, model = options.model,
		transcript = options.transcript and {} or nil, findings = {}, links = {}, order = {}, variables = {},
		compares = options.oracles.split and of_several(steps), at = 0 }, Play)
	for i, step in ipairs(steps) do
		self.at = i
		local link = self.links[step.connection]
		if step.step == "connect" then
			STEPS.connect(self, step)
			if self.refused then break end
		elseif link and not link.over and not link.enough and step.step ~= "comment" then
			STEPS[step.step](self, step, link)
		end
	end
	for _, link in ipairs(self.order) do
		if not link.over then self:finish(link) end
		link:close()
	end
	self.findings = without_consequences(self)
	if self.compares and not self.findings[1] then
		local finding = oracle.twins(self.order)
		if finding then table.insert(self.findings, finding) end
	end
	return self
end

return play
