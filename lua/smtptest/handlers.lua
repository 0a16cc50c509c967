--- handlers: the functions of a server that answer in its place: `smtptest.listen{on = …}` and `server.on`.

local nearest = require "smtptest.nearest"

local handlers = {}

local NAMES = { "auth", "begin", "command", "connect", "data", "ehlo", "mail", "quit", "rcpt" }

local known = {}
for _, name in ipairs(NAMES) do known[name] = true end

local function check(name, fn, level)
	if not known[name] then
		local near = type(name) == "string" and nearest(name, NAMES)
		error(("unknown handler '%s'%s"):format(tostring(name), near and (" (did you mean '%s'?)"):format(near) or ""),
			level + 1)
	end
	if type(fn) ~= "function" then
		error(("handler '%s': expected a function, got a %s"):format(name, type(fn)), level + 1)
	end
end

--- Makes a table of handlers that is checked whenever it is written.
-- @param on     name → function, or nil; it holds the handlers from then on
-- @param level  whom an error blames, as in error(): 1 the line that called this function, 2 its caller…
-- @return the table; raises for an unknown name, with the nearest known one, and for what is no function
function handlers.new(on, level)
	on = on or {}
	for name, fn in pairs(on) do check(name, fn, level + 1) end
	return setmetatable({}, {
		__index = on,
		__newindex = function(_, name, fn)
			if fn ~= nil or not known[name] then check(name, fn, 2) end
			on[name] = fn
		end,
		__pairs = function() return next, on, nil end,
	})
end

return handlers
