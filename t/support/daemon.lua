--- daemon: servers that somebody else wrote, which run while a spec file does: as root, each in a folder of its own, from
-- packages that .ci/peers has unpacked. Nothing of one stays when the suite ends, however that ends.

local lfs = require "lfs"
local process = require "smtptest.core.process"
local run = require "support.run"
local task = require "smtptest.task"
local wire = require "smtptest.wire"

local daemon = {}

-- What takes longer has failed, whatever the speed of the machine.
local LIMIT = 30

local PEERS = os.getenv "PWD" .. "/build/peers/"

-- Reads the process groups until the end of its standard input, which is that of the suite; then ends them, a leader that
-- takes too long and its stragglers by force, and removes the folder.
local KEEPER = [[
trap '' INT TERM HUP
groups=$(cat)
for group in $groups; do kill -s TERM -- "-$group"; done
tries=100
for group in $groups; do
	while kill -s 0 "$group" && [ $tries -gt 0 ]; do
		sleep 0.05
		tries=$((tries - 1))
	done
	kill -s KILL -- "-$group"
done
rm -rf "$1"
]]

local Daemon = {}
Daemon.__index = Daemon

--- Why servers cannot be started here, or nil.
-- @param ...  names, as .ci/peers was told
function daemon.missing(...)
	for _, name in ipairs { ... } do
		local handle = io.open(PEERS .. "bin/" .. name)
		if not handle then return ("build/peers/bin/%s is missing: `make check` fetches it"):format(name) end
		handle:close()
	end
	if run.command({ "-u" }, { program = "id" }).out ~= "0\n" then return "other people's servers are started by root only" end
end

--- A folder into which every user may look, and the programs of a package.
-- @param name  as .ci/peers was told
-- @return daemon: folder, root (where the package is unpacked)
function daemon.new(name)
	local folder = os.tmpname()
	os.remove(folder)
	local self = setmetatable({ folder = folder, children = {}, program = PEERS .. "bin/" .. name, root = PEERS .. name },
		Daemon)
	self.keeper = assert(process.spawn {
		argv = { "env", "-u", "LD_PRELOAD", "sh", "-c", KEEPER, "keeper", folder },
		stdin = "pipe", stdout = "null", stderr = "null",
	})
	assert(os.execute("mkdir -m 755 " .. folder))
	return self
end

--- The path of a file in the folder.
function Daemon:path(name)
	return self.folder .. "/" .. name
end

--- Writes a file.
-- @return its path
function Daemon:write(name, text)
	local path = self:path(name)
	local handle <close> = assert(io.open(path, "wb"))
	assert(handle:write(text))
	return path
end

local function succeed(argv, options)
	local result = run.command(argv, options)
	if result.status ~= 0 then
		error(("%s %s: %s\n%s%s"):format(options.program, table.concat(argv, " "), result.status or result.signal or "hangs",
			result.out, result.err), 0)
	end
	return result.out
end

--- Runs shell commands in the folder; raises when one fails.
-- @return what they print
function Daemon:shell(commands)
	return succeed({ "-euc", "cd \"$0\"; " .. commands, self.folder }, { program = "sh" })
end

--- Runs a program of the package to its end; raises when it fails.
-- @param argv     its path, and words
-- @param options  env, stdin
-- @return what it prints
function Daemon:run(argv, options)
	return succeed(argv, { program = self.program, env = options and options.env, stdin = options and options.stdin })
end

--- What the server has written to its log, for a failure's text.
function Daemon:log()
	local handle = io.open(self:path "daemon.log")
	if not handle then return "" end
	local text = handle:read "a"
	handle:close()
	return text
end

--- Starts a program of the package, and waits until it can be connected to.
-- @param argv     its path, and words
-- @param port     of 127.0.0.1
-- @param env      over the present one
function Daemon:start(argv, port, env)
	local words = { "sh", "-c", "log=$0; exec >>\"$log\" 2>&1 \"$@\"", self:path "daemon.log", self.program }
	table.move(argv, 1, #argv, #words + 1, words)
	local child = assert(process.spawn {
		argv = { "env", "-u", "LD_PRELOAD", table.unpack(run.assignments(env or {}, words)) },
		cwd = self.folder, stdin = "null", stdout = "null", stderr = "null",
	})
	self.keeper:stdin():write(child:pid() .. "\n")
	table.insert(self.children, child)
	daemon.eventually(argv[1] .. " listens", function()
		local connection = wire.connect { host = "127.0.0.1", port = port, timeout = LIMIT }
		if connection then connection:close() end
		return connection or not child:alive() and error(argv[1] .. " has ended:\n" .. self:log(), 0)
	end, function() return self:log() end)
end

--- Waits until something is true.
-- @param what  it is, in words
-- @param is    function() → what is returned once it is neither nil nor false
-- @param more  function() → text for the failure
function daemon.eventually(what, is, more)
	local deadline = task.now() + LIMIT
	while true do
		local value = is()
		if value then return value end
		if task.now() > deadline then error(("waited for: %s\n%s"):format(what, more and more() or ""), 2) end
		task.sleep(0.01)
	end
end

local function reap(child)
	local source = assert(task.source(child:fd(), "level"))
	task.readable(source, task.now() + LIMIT)
	task.forget(source)
	child:wait()
	child:close()
end

--- Ends what was started, and removes the folder.
function Daemon:stop()
	self.keeper:stdin():close()
	for _, child in ipairs(self.children) do reap(child) end
	reap(self.keeper)
end

-- ---------------------------------------------------------------- what was delivered

--- Waits for a message in a Maildir, and takes it away.
-- @return its text, with the line ends of the file
function Daemon:take(maildir)
	local folder = self:path(maildir) .. "/new"
	local path = daemon.eventually("a message in " .. maildir, function()
		if not lfs.attributes(folder) then return end
		for name in lfs.dir(folder) do
			if not name:find "^%." then return folder .. "/" .. name end
		end
	end, function() return self:log() end)
	local text = run.read(path)
	os.remove(path)
	return text
end

return daemon
