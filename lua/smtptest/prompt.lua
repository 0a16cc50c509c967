--- prompt: asks the person at the controlling terminal.

local argument = require "smtptest.argument"
local tty = require "smtptest.core.tty"
local file = require "smtptest.core.file"
local task = require "smtptest.task"

local prompt = {}

local hushed        -- the terminal whose echo is off until a secret has been asked for

local function wait_readable(handle)
	if handle:ready(0) then return true end
	local source, message, code = task.source(handle:fd(), "level")
	if not source then return nil, message, code end
	local ok
	ok, message, code = task.readable(source, math.huge)
	task.forget(source)
	return ok, message, code
end

-- One line, byte by byte: what follows it is somebody else's.
local function first_line(handle)
	local bytes = {}
	while true do
		local ok, message, code = wait_readable(handle)
		if not ok then return nil, message, code end
		local byte
		byte, message, code = handle:read(1)
		if not byte then
			if code ~= "EOF" or #bytes == 0 then return nil, message, code end
			break
		end
		if byte == "\n" then break end
		bytes[#bytes + 1] = byte
	end
	return (table.concat(bytes):gsub("\r$", ""))
end

local function from_terminal(terminal, text, echo, show)
	local quiet = not echo and terminal ~= hushed
	if quiet then terminal:echo(false) end
	if echo and terminal == hushed then terminal:echo(true) end
	-- Only now: who answers at once must meet the echo as it shall be.
	if show then show(text) else terminal:write(text) end
	local answer, message, code = first_line(terminal)
	if not echo then terminal:write("\n") end
	if quiet then terminal:echo(true) end
	if echo and terminal == hushed then terminal:echo(false, true) end
	return answer, message, code
end

local OPTIONS = { echo = "boolean", stdin = "boolean", show = "function" }

--- Asks.
-- @param text     the question
-- @param options  echo (default true): what is typed is shown; stdin (default false): without a terminal the first line
--   of standard input is the answer; show: function(text) that shows the question instead of the terminal
-- @return answer without its line end | nil, message, ENXIO (no terminal) EOF CANCELED
function prompt.ask(text, options)
	if type(text) ~= "string" then error("bad question (string expected, got " .. type(text) .. ")", 2) end
	options = argument.options(options, OPTIONS, 2)
	local echo = options.echo ~= false
	if hushed then return from_terminal(hushed, text, echo, options.show) end
	local terminal <close>, message, code = tty.open()
	if terminal then return from_terminal(terminal, text, echo, options.show) end
	if not options.stdin then return nil, message, code end
	if options.show then options.show(text) end
	return first_line(file.fromfd(0))
end

local Hush = {}
Hush.__index = Hush

--- Puts the echo back. Idempotent.
function Hush:close()
	if hushed == self.terminal then hushed = nil end
	self.terminal:close()
end

Hush.__close = Hush.close

--- Switches the terminal's echo off until the returned object is closed: a secret typed before it is asked for is
-- neither shown nor lost.
-- @return object with close(), for a <close> variable; nil without a terminal
function prompt.hush()
	local terminal = tty.open()
	if not terminal or hushed then return nil end
	if not terminal:echo(false, true) then
		terminal:close()
		return nil
	end
	hushed = terminal
	return setmetatable({ terminal = terminal }, Hush)
end

return prompt
