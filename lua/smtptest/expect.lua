--- expect: assertions about sessions, for busted and luassert.
--
--   require "smtptest.expect"
--   assert.reply(250, s:noop())              -- any spec of Reply.is; gives the reply
--   assert.is_not.reply("5xx", s:noop())
--   assert.silent(s, 0.5)                    -- nothing comes for half a second
--   assert.closed(s, "EOF")                  -- the server closes, within the time of a reply; the code may be left out
--   assert.is_not.closed(s)
--
-- A failure shows what was expected, what came (escaped), the end of the transcript, and the end of what each program
-- said that smtptest.process has started. What a session raises is shown in the same way, with the line of the spec.

local core = require "smtptest.core.line"
local reply = require "smtptest.reply"

local found, luassert = pcall(require, "luassert")
if not found then
	error("smtptest.expect needs luassert, which comes with busted (Debian: apt-get install lua-busted)", 0)
end
local say = require "say"

local expect = {}

local TRANSCRIPT, OUTPUT = 20, 10       -- lines that a failure shows

-- ---------------------------------------------------------------- what a failure shows

local function last_lines(text, count)
	local lines = {}
	for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
	local first = math.max(1, #lines - count + 1)
	return (first > 1 and "…\n  " or "") .. table.concat(lines, "\n  ", first)
end

-- The end of what the programs said that a spec has started, and that have not been closed.
local function outputs(parts)
	local process = package.loaded["smtptest.process"]
	for _, program in ipairs(process and process.outputs and process.outputs() or {}) do
		if program.text ~= "" then
			parts[#parts + 1] = ("output of %s:\n  %s"):format(program.name,
				last_lines(core.visible(program.text), OUTPUT))
		end
	end
end

--- A failure's text: its first line, the transcript's end, the end of the programs' output.
-- @param message     string
-- @param transcript  text, or nil
-- @param output      what a program said that is gone by now, or nil
function expect.story(message, transcript, output)
	local parts = { message }
	if transcript and transcript ~= "" then
		parts[2] = "transcript:\n  " .. last_lines(transcript, TRANSCRIPT)
	end
	if output and output ~= "" then parts[#parts + 1] = "output:\n  " .. last_lines(core.visible(output), OUTPUT) end
	outputs(parts)
	return table.concat(parts, "\n")
end

-- ---------------------------------------------------------------- assertions

-- Makes our text the failure's; luassert would show each argument instead.
local function tell(arguments, message, session)
	for i = 1, math.max(1, arguments.n) do arguments[i] = nil end
	arguments[1] = expect.story(message, session and session.transcript and tostring(session.transcript))
	arguments.n, arguments.nofmt = 1, { true }
end

local function shown(answer)
	if reply.is(answer) then return tostring(answer) end
	local list = {}
	for i, one in ipairs(answer) do list[i] = tostring(one) end
	return #list > 0 and table.concat(list, ", ") or "no reply"
end

local function is_session(value)
	return type(value) == "table" and type(value.silent) == "function" and type(value.drain) == "function"
end

-- level: of the spec's line, as the assertion sees it
local function bad(name, index, wanted, value, level)
	error(("bad argument #%d of assert.%s (%s expected, got %s)"):format(index, name, wanted, type(value)), level + 2)
end

-- assert.reply(spec, reply): reply is one, or a list of replies that are all to be so.
local function replied(state, arguments, level)
	local spec, answer = arguments[1], arguments[2]
	local list = type(answer) == "table" and type(answer.is) == "function"
	if not list then bad("reply", 2, "reply", answer, level) end
	local ok = answer:is(spec)
	if ok ~= state.mod then
		local command = reply.is(answer) and answer.command
		tell(arguments, ("%sexpected %s%s, got %s"):format(command and core.escape(command) .. ": " or "",
			state.mod and "" or "anything but ", reply.describe(spec), shown(answer)), (answer[1] or answer).session)
	end
	return ok, { answer }
end

local function came(bytes, code)
	if code then return "the end of the connection (" .. code .. ")" end
	return ('"%s"'):format(core.escape(bytes))
end

-- assert.silent(session, seconds)
local function silent(state, arguments, level)
	local session, seconds = arguments[1], arguments[2]
	if not is_session(session) then bad("silent", 1, "session", session, level) end
	if type(seconds) ~= "number" then bad("silent", 2, "seconds", seconds, level) end
	local ok, bytes, code = session:silent(seconds)
	if ok ~= state.mod then
		tell(arguments, state.mod and ("expected silence for %g s, got %s"):format(seconds, came(bytes, code))
			or ("expected anything but silence, got nothing for %g s"):format(seconds), session)
	end
	return ok, { session }
end

-- Whether the server closes, with which code, what it said before, and how long that was waited for. Nobody waits for
-- what is not to come.
local function ending(session, wanted)
	if not wanted then
		local _, bytes, code = session:silent(0)
		return code, bytes or "", 0
	end
	local limit = session:seconds "reply"
	local replies = session:drain(limit, limit)
	return replies.closed, (#replies > 0 and shown(replies) or "") .. replies.rest, limit
end

-- assert.closed(session, code): replies that come before the end are allowed.
local function closed(state, arguments, level)
	local session, wanted = arguments[1], arguments[2]
	if not is_session(session) then bad("closed", 1, "session", session, level) end
	if wanted ~= nil and type(wanted) ~= "string" then bad("closed", 2, "code", wanted, level) end
	local code, said, limit = ending(session, state.mod)
	local ok = code ~= nil and (wanted == nil or code == wanted)
	if ok ~= state.mod then
		local what = wanted and " with " .. wanted or ""
		tell(arguments, state.mod and ("expected the server to close%s, got %s%s"):format(what,
				code and "the end with " .. code or said ~= "" and core.escape(said) or "nothing",
				code and "" or (" in %g s"):format(limit))
			or ("expected the connection to stay open, got the end with %s"):format(code), session)
	end
	return ok, { session }
end

say:set_namespace "en"
for name, fn in pairs { reply = replied, silent = silent, closed = closed } do
	for _, way in ipairs { "positive", "negative" } do say:set(("assertion.%s.%s"):format(name, way), "%s") end
	luassert:register("assertion", name, fn, ("assertion.%s.positive"):format(name),
		("assertion.%s.negative"):format(name))
end

-- ---------------------------------------------------------------- what sessions raise, under busted

-- A spec may have loaded modules of its own, so the name tells the object.
local function is_failure(value)
	local meta = type(value) == "table" and getmetatable(value)
	return type(meta) == "table" and meta.__name == "smtptest.failure"
end

-- Where our own sources stand.
local FOLDER = debug.getinfo(1, "S").source:match "^@(.*)expect%.lua$" or ""

-- Whether a place is in one of our modules: a spec may stand in a folder of our name.
local function is_ours(place)
	local name = place:sub(1, #FOLDER) == FOLDER and place:match("^([%w_]+)%.lua:%d+$", #FOLDER + 1)
	return name and (name == "init" or package.loaded["smtptest." .. name] or package.preload["smtptest." .. name]) ~= nil
end

-- The first line of a traceback that is neither ours, nor the test library's, nor C.
local function line_of(traceback)
	for place in traceback:gmatch "\n%s+([^\n]-:%d+): in " do
		if not is_ours(place) and not place:find "[/\\]luassert[/\\]" then return place end
	end
end

-- Shows an error object as an assertion's failure is shown, in the place of what busted would say.
local function retell(busted)
	return function(element, parent, _, trace)
		local err = type(trace) == "table" and trace.message
		if not is_failure(err) then return nil, true end
		trace.message = nil
		local place = line_of(trace.traceback or "")
		local message = expect.story((place and place .. ": " or "") .. tostring(err), err.transcript, err.output) .. "\n"
		busted.publish({ "error", element.descriptor }, element, parent, message, trace)
		return nil, false
	end
end

local KINDS = { "it", "strict_setup", "strict_teardown", "lazy_setup", "lazy_teardown", "before_each", "after_each",
	"file", "describe" }

--- Lets a run of busted show what sessions raise as failures of assertions are shown.
-- @param busted  the module, once a run has begun
function expect.attach(busted)
	for _, kind in ipairs(KINDS) do busted.subscribe({ "error", kind }, retell(busted), { priority = 1 }) end
end

local busted = package.loaded.busted
if type(busted) == "table" and busted.subscribe then expect.attach(busted) end

return expect
