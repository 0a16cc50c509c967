-- Lua in a process of its own, for what one can't do to oneself.
local poll = require "smtptest.core.poll"
local process = require "smtptest.core.process"

local child = {}

-- The command of an interpreter that runs source and finds our modules.
function child.argv(source)
	return {os.getenv "LUA" or "lua5.4", "-e",
		("package.path, package.cpath = %q, %q\n"):format(package.path, package.cpath) .. source}
end

-- A process that runs source; streams as process.spawn takes them (stderr is
-- ours unless it says otherwise).
function child.run(source, streams)
	local options = {argv = child.argv(source), stderr = "inherit"}
	for name, value in pairs(streams or {}) do options[name] = value end
	return assert(process.spawn(options))
end

-- The same in a terminal of its own (util-linux's script): what it writes there
-- comes from stdout, what goes to stdin is typed. after: a shell command that
-- runs there when it ended. nil where there is no script.
function child.terminal(source, after)
	local path = os.tmpname()
	local program = assert(io.open(path, "w"))
	program:write(child.argv(source)[3])
	program:close()
	local command = ("%s %s; %s"):format(child.argv("")[1], path, after or "true")
	return process.spawn {argv = {"script", "-qec", command, "/dev/null"}, stderr = "inherit"},
		function() os.remove(path) end
end

-- Reads on until text has come; gives all that was read.
function child.expect(f, text)
	local got = ""
	while not got:find(text, 1, true) do
		assert(f:ready(30), ("waited for %q, got %q"):format(text, got))
		local piece = assert(f:read(1000), ("expected %q, got %q"):format(text, got))
		got = got .. piece
	end
	return got
end

-- How it ended, at most thirty seconds later.
function child.wait(p)
	local set <close> = poll.new()
	local deadline = poll.now() + 30
	assert(set:add(p:fd(), "level"))
	local kind, value, code = p:wait()
	while not kind and code == "EAGAIN" and poll.now() < deadline do
		set:want(p:fd(), "r")
		set:wait(deadline - poll.now(), {})
		kind, value, code = p:wait()
	end
	return kind, value, code
end

-- Everything that a file gives until its end.
function child.all(f)
	local pieces = {}
	repeat
		local piece = f:read(65536)
		pieces[#pieces + 1] = piece
	until not piece
	return table.concat(pieces)
end

return child
