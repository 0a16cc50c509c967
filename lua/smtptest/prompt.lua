--- prompt: asks the person at the controlling terminal.

local tty = require "smtptest.core.tty"
local file = require "smtptest.core.file"
local task = require "smtptest.task"

local prompt = {}

local function wait_readable(handle)
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

local function from_terminal(terminal, text, echo)
	-- Nobody can look over the shoulder of one who typed ahead: that is thrown away, too.
	if not echo then terminal:echo(false) end
	terminal:write(text)
	local ok, message, code = wait_readable(terminal)
	local answer
	if ok then answer, message, code = terminal:read(65536) end
	if not echo then
		terminal:echo(true)
		terminal:write("\n")
	end
	if not answer then return nil, message, code end
	return (answer:gsub("\r?\n.*$", ""))
end

--- Asks.
-- @param text     the question
-- @param options  echo (default true): what is typed is shown; stdin (default false): without a terminal the first line
--   of standard input is the answer
-- @return answer without its line end | nil, message, ENXIO (no terminal) EOF CANCELED
function prompt.ask(text, options)
	options = options or {}
	local terminal <close>, message, code = tty.open()
	if terminal then return from_terminal(terminal, text, options.echo ~= false) end
	if not options.stdin then return nil, message, code end
	return first_line(file.fromfd(0))
end

return prompt
