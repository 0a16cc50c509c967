--- smtptest: scriptable SMTP and LMTP sessions.

local core = require "smtptest.core.line"
local embed = require "smtptest.core.embed"
local file = require "smtptest.core.file"
local failure = require "smtptest.failure"
local options = require "smtptest.options"
local output = require "smtptest.output"
local plans = require "smtptest.plan"
local prompt = require "smtptest.prompt"
local session = require "smtptest.session"
local transcript = require "smtptest.transcript"
local transport = require "smtptest.transport"
local split = require "smtptest.words"

local smtptest = {
	version = embed.version,
	connect = session.connect,
	open = session.open,
	wrap = session.wrap,
	wants_auth = session.wants_auth,
	prompt = prompt.ask,
	hush = prompt.hush,
	write = output.write,
	escape = core.escape,
	ask = output.ask,
	task = require "smtptest.task",
	base64 = require "smtptest.base64",
	sasl = require "smtptest.sasl",
	tls = require "smtptest.tls",
	proxy = require "smtptest.proxy",
	transport = transport,
}

--- The command line as data.
-- @param argv  list of words, as `arg`
-- @return plan, words; raises for what the command line would refuse
function smtptest.parse(argv)
	local plan, words = options.parse(argv)
	if not plan then error(words, 2) end
	return plan, words
end

--- A copy of a plan with changes laid over it.
-- @param changes  table of plan fields
-- @param base     default: smtptest.options
function smtptest.plan(changes, base)
	local plan = plans.new(changes or {}, base or smtptest.options, 2)
	return plan         -- no tail call: the caller's line is the one to blame
end

--- What an event means, in words: lines that begin with "# ", or "".
function smtptest.explain(event)
	return require "smtptest.explain".event(event)
end

--- The bytes of an event as a hexadecimal dump.
function smtptest.hexdump(event)
	return require "smtptest.explain".hexdump(event)
end

--- The printable form of an event's bytes: secrets replaced.
function smtptest.mask(event)
	return transcript.masked(event.bytes, event.secret)
end

--- Whether a caught value is the error object of a session.
-- @param ...  codes: only with one of these
function smtptest.failed(value, ...)
	if not failure.is(value) then return false end
	for i = 1, select("#", ...) do
		if value.code == select(i, ...) then return true end
	end
	return select("#", ...) == 0
end

--- A listening UNIX socket, for Session.interact{input=}; the path is removed when it is closed.
function smtptest.listener(path)
	local listener, message, code = transport.listen(path)
	if not listener then error(failure.new { op = "listen", message = path .. ": " .. message, code = code }, 0) end
	return listener
end

--- Makes a server: smtptest.server, listen().
function smtptest.listen(plan)
	local server = require "smtptest.server".listen(plan, 2)
	return server
end

--- Makes a message: smtptest.message.
function smtptest.message(fields)
	local text = require "smtptest.message".new(fields, 2)
	return text
end

--- The message that a plan asks to send.
-- @param plan  data (text, {file=}: "-" is stdin) crlf from to; without data a message is made
-- @return string or iterator, as Session.data takes it; raises when the file can't be read
function smtptest.body(plan)
	return require "smtptest.message".of_plan(plan)
end

--- What MAIL has to say about a message that a plan asks to send: SMTPUTF8, BODY=8BITMIME.
-- @param plan          from, to
-- @param body          as body() gives it
-- @param capabilities  Session.capabilities
-- @return map for Session.mail
function smtptest.parameters(plan, body, capabilities)
	return require "smtptest.message".parameters(plan, body, capabilities)
end

local function open_pidfile(path)
	local handle, message, code = file.open(path, "w")
	if handle then return handle end
	local why = ("could not open %s for writing\nerror: %s"):format(path, message:gsub("^.*: ", ""))
	error(failure.new { op = "open", code = code, message = why }, 0)
end

--- Goes on in the background: a new session without a terminal, 0, 1 and 2 on /dev/null.
-- @param pidfile  where the new process number goes, or nil; it is there when the old process ends
function smtptest.daemonize(pidfile)
	local handle <close> = pidfile and open_pidfile(pidfile) or nil
	local ok, message = file.daemon(handle)
	if not ok then error(message, 0) end
end

--- Writes the number of this process to a file.
function smtptest.pidfile(path)
	local handle <close> = open_pidfile(path)
	handle:write(tostring(file.getpid()))
end

-- Loaded when somebody looks: start-up is a feature.
local LATER = { case = true, fault = true, fuzz = true, process = true, report = true }

-- `options`: the plan made from the command line; in plain Lua from SMTPTEST_FLAGS, made when somebody looks.
setmetatable(smtptest, { __index = function(self, key)
	if LATER[key] then
		self[key] = require("smtptest." .. key)
		return rawget(self, key)
	elseif key ~= "options" then
		return nil
	end
	local list, message = split(os.getenv "SMTPTEST_FLAGS" or "")
	local plan
	if list then plan, message = options.parse(list) end
	-- No line of a script is wrong.
	if not plan then
		local why = message:gsub("^smtptest: ", "")
		error(failure.new { op = "SMTPTEST_FLAGS", message = why, code = "EINVAL", status = 1 }, 0)
	end
	rawset(self, "options", plan)
	return plan
end })

session.options = function() return smtptest.options end

return smtptest
