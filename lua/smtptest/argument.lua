--- argument: what a script hands over, checked at the door.

local nearest = require "smtptest.nearest"

local argument = {}

local function fits(kind, value)
	if type(kind) == "table" then return kind[2](value) end
	for name in kind:gmatch("%a+") do
		if type(value) == name or math.type(value) == name then return true end
	end
	return false
end

local function unknown(name, kinds, level, whose)
	local names = {}
	for known in pairs(kinds) do names[#names + 1] = known end
	table.sort(names)
	local near = type(name) == "string" and nearest(name, names)
	local hint = near and (" (did you mean '%s'?)"):format(near) or whose and (" (%s)"):format(table.concat(names, ", "))
	error(("unknown option '%s'%s%s"):format(tostring(name), whose and " of " .. whose or "", hint or ""), level + 1)
end

--- Checks a table of options.
-- @param options  the table; nil is an empty one
-- @param kinds    name -> Lua types joined by "|" ("integer" is one too), or {words, test} as in smtptest.plan.fields
-- @param level    whom the error blames, as in error(): 1 the line that called this function, 2 its caller…
-- @param whose    what they are the options of, where that is a field of another table
-- @return the options; raises for an unknown name, with the nearest known one, and for a wrong value
function argument.options(options, kinds, level, whose)
	if options == nil then return {} end
	level = level + 1
	if type(options) ~= "table" then error("options are a table, got " .. type(options), level) end
	for name, value in pairs(options) do
		local kind = kinds[name]
		if kind == nil then unknown(name, kinds, level, whose) end
		if not fits(kind, value) then
			local words = type(kind) == "table" and kind[1] or kind:gsub("|", " or ")
			error(("option '%s': expected %s, got a %s"):format(name, words, type(value)), level)
		end
	end
	return options
end

local function bad(name, expected, got)
	error(("bad argument #1 to '%s' (%s expected, got %s)"):format(name, expected, got), 4)
end

--- Checks a number of seconds; blames the line that called the function which calls this one.
-- @param name  of that function
function argument.seconds(value, name)
	if value ~= value then bad(name, "seconds", "nan") end
	if type(value) ~= "number" then bad(name, "seconds", type(value)) end
end

--- The same for a function.
function argument.callable(value, name)
	if type(value) ~= "function" then bad(name, "function", type(value)) end
end

return argument
