--- output: what a script shows the person, on standard output.

local core = require "smtptest.core.line"
local file = require "smtptest.core.file"

local output = {}

local terminal

--- Writes to standard output at once; on a terminal control characters are escaped (RFC 5321 section 7.3 is about what
-- they would do there).
-- @param ...  strings
-- @return true; raises when nobody reads any more
function output.write(...)
	if terminal == nil then terminal = file.fromfd(1):isatty() end
	local text = table.concat { ... }
	local ok, message = io.stdout:write(terminal and core.visible(text) or text)
	if ok then ok, message = io.stdout:flush() end
	if not ok then error("standard output: " .. message, 0) end
	return true
end

return output
