--- secret: passwords that stand neither on the command line nor in a script.
--
-- Each maker returns a function for a plan's `password` or `keypass`. It is called only when the secret is needed,
-- reads it once, and from then on gives the same one: a pipe can't be read twice, and -n asks for it N times.
-- It returns the secret, or nil, message, CODE. Messages name the source, never what was in it.

local secret = {}

local LONGEST = 1024 * 1024   -- bytes; /dev/zero is no password

local function once(read)
	local known
	return function()
		if known then return known end
		local text, message, code = read()
		if not text then return nil, message, code end
		known = text
		return known
	end
end

--- An empty secret is most often a variable that nobody set. Who means it writes -w ''.
local function not_empty(text, option, source)
	if text ~= "" then return text end
	return nil, ("%s: %s is empty"):format(option, source), "EINVAL"
end

--- Reads one line, and not a byte more: what follows in the pipe may be the session's input.
-- @return the line without LF or CR LF | nil, message, CODE
local function first_line(file, step)
	local parts, length = {}, 0
	repeat
		local bytes, message, code = file:read(step)
		if not bytes then
			if code ~= "EOF" then return nil, message, code end
			break
		end
		local line = bytes:match "^(.-)\n"
		parts[#parts + 1] = line or bytes
		length = length + #bytes
		if length > LONGEST then return nil, "line longer than 1 MiB", "TOOLONG" end
	until line
	return (table.concat(parts):gsub("\r$", ""))
end

local function from_descriptor(fd, option, source)
	return once(function()
		local core = require "smtptest.core.file"
		local file, message, code = core.fromfd(fd)
		local text
		if file then text, message, code = first_line(file, 1) end
		if not text then return nil, ("%s: %s: %s"):format(option, source, message), code end
		return not_empty(text, option, source)
	end)
end

--- The next line of a descriptor that this process inherited.
-- @param fd      integer
-- @param option  its name in messages, "--password-fd"
function secret.fd(fd, option)
	return from_descriptor(fd, option, "descriptor " .. fd)
end

--- The first line of a file.
-- @param path    "-" is stdin
-- @param option  its name in messages
function secret.file(path, option)
	if path == "-" then return from_descriptor(0, option, "stdin") end
	return once(function()
		local core = require "smtptest.core.file"
		local file, message, code = core.open(path, "r")
		if not file then return nil, ("%s: %s"):format(option, message), code end
		-- A FIFO's other lines are nobody's, so blocks will do.
		local text
		text, message, code = first_line(file, 4096)
		file:close()
		if not text then return nil, ("%s: %s: %s"):format(option, path, message), code end
		return not_empty(text, option, path)
	end)
end

--- The value of an environment variable.
-- @param name    of the variable
-- @param option  its name in messages
function secret.env(name, option)
	return once(function()
		local text = os.getenv(name)
		if not text then return nil, ("%s: no variable %s in the environment"):format(option, name), "ENOENT" end
		return not_empty(text, option, "variable " .. name)
	end)
end

local function ending(how, number)
	return how == "signal" and "killed by signal " .. number or "exit status " .. number
end

--- The first line that a command prints. It runs in the foreground, so that it may ask at the terminal; unless stdin
-- is one, it does not see it, because that is the session's input. stderr is ours.
-- @param command  for sh -c; not in messages, as people put secrets there
-- @param option   its name in messages
function secret.command(command, option)
	return once(function()
		local pipe, message = io.popen("[ -t 0 ] || exec </dev/null; " .. command, "r")
		if not pipe then return nil, ("%s: %s"):format(option, message), "EAGAIN" end
		local line = pipe:read "L"
		-- The rest is read too: a command that can't write it would fail.
		while pipe:read(4096) do end
		local ok, how, number = pipe:close()
		if not ok then return nil, ("%s: %s"):format(option, ending(how, number)), "ECHILD" end
		if not line then return nil, ("%s: nothing was printed"):format(option), "EINVAL" end
		local text = line:gsub("\r?\n$", "")
		return not_empty(text, option, "the first line printed")
	end)
end

return secret
