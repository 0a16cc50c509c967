--- output: what a script shows the person, on standard output.

local core = require "smtptest.core.line"
local failure = require "smtptest.failure"
local file = require "smtptest.core.file"
local prompt = require "smtptest.prompt"
local transcript = require "smtptest.transcript"

local output = {}

local EPIPE = 32

local terminal

--- Writes to standard output at once; on a terminal control characters are escaped (RFC 5321 section 7.3 is about what
-- they would do there).
-- @param ...  strings
-- @return true; raises when nobody reads any more
function output.write(first, ...)
	if terminal == nil then terminal = file.fromfd(1):isatty() end
	local text = ... and table.concat { first, ... } or first
	local ok, message, errno = io.stdout:write(terminal and core.visible(text) or text)
	if ok then ok, message, errno = io.stdout:flush() end
	if not ok then
		local code = errno == EPIPE and "EPIPE" or "EIO"
		error(failure.new { op = "standard output", code = code, message = message }, 0)
	end
	return true
end

--- Asks on standard output and reads the answer from the controlling terminal, or, without one, from standard input.
-- @param text  the question
-- @param what  what is asked for: without an answer it is "no WHAT given"
-- @param echo  true: what is typed is shown
-- @return answer | nil, message, INTERACT CANCELED
function output.ask(text, what, echo)
	local answer, message, code = prompt.ask(text, { echo = echo or false, stdin = true, show = output.write })
	if answer or code == "CANCELED" then return answer, message, code end
	return nil, ("no %s given"):format(what), "INTERACT"
end

local function trace_line(seconds, mark, text)
	io.stderr:write(("[%9.3f] %s %s\n"):format(seconds, mark, text))
end

local NOTES = {
	tls = function(e) return ("%s with %s"):format(e.tls.protocol, e.tls.cipher) end,
	auth = function(e)
		if e.skipped then return ("%s skipped: %s"):format(e.mechanism, e.skipped) end
		if e.refused then return ("%s refused: %s"):format(e.mechanism, e.refused) end
		return e.text or e.mechanism
	end,
	leftover = function(e) return ("%d bytes in clear before TLS"):format(#e.bytes) end,
	closed = function(e) return e.code end,
}

-- What writes an event as lines: marks are how the two directions are shown.
local function tracer(marks)
	local start
	return function(e, label)
		start = start or e.time
		local mark = marks[e.direction]
		if mark then
			for text in transcript.masked(e.bytes, e.secret):gmatch("[^\n]*\n?") do
				if text ~= "" then
					trace_line(e.time - start, ("%s%s %-5s"):format(label, mark, e.layer), core.escape(text))
				end
			end
		elseif NOTES[e.event] then
			trace_line(e.time - start, label .. "- " .. e.event .. ":", core.escape(NOTES[e.event](e)))
		end
	end
end

--- Writes a session's transcript to standard error as it happens: seconds, direction, layer, bytes; secrets masked.
-- @return a function that ends it
function output.trace(session)
	local trace = tracer { send = "C", receive = "S" }
	return session:on(function(e) trace(e, "") end)
end

--- The same of all connections of a server, each line with the client's address.
-- @return a function that ends it
function output.trace_server(server)
	local trace = tracer { send = "S", receive = "C" }
	return server:on_event(function(e, client)
		trace(e, client.peer.port and ("%s:%d "):format(client.peer.host, client.peer.port) or "")
	end, { traffic = true })
end

return output
