--- run: runs the built program beside scripted servers, all in this process' loop: nothing waits by sleeping.

local process = require "smtptest.core.process"
local socket = require "smtptest.core.socket"
local task = require "smtptest.task"
local tls = require "smtptest.core.tls"
local cert = require "smtptest.core.cert"
local transport = require "smtptest.transport"
local wire = require "smtptest.wire"

local run = {}

local BUILD = os.getenv "BUILD" or "build"

--- The built program.
run.program = BUILD .. "/smtptest"

-- A program that hangs is a failure, whatever the speed of the machine.
local LIMIT = tonumber(os.getenv "RUN_LIMIT" or "") or 30

local function slurp(handle, into)
	return task.spawn(function()
		local source = task.source(handle:fd(), "level")
		while true do
			source.readable = source.always or false
			task.readable(source, math.huge)
			local bytes = handle:read(65536)
			if not bytes then break end
			into[#into + 1] = bytes
			if into.on then into.on(table.concat(into)) end
		end
		task.forget(source)
	end)
end

local function feed(child, input)
	local handle = child:stdin()
	for _, piece in ipairs(type(input) == "table" and input or { input }) do
		if type(piece) == "function" then piece(child) else handle:write(piece) end
	end
	handle:close()
end

--- Runs a program to its end.
-- @param argv     list of words; argv[1] nil: the built program
-- @param options  stdin (string, or list of strings and functions(child) that may wait), env (over
--   the present one), limit
-- @return table: out, err (strings), status (exit status) or signal (number), both nil when it hung
function run.command(argv, options)
	options = options or {}
	local words = { run.program, table.unpack(argv) }
	if options.program then words[1] = options.program end
	local child = assert(process.spawn {
		argv = options.env and { "env", table.unpack(run.assignments(options.env, words)) } or words,
		stdin = options.stdin and "pipe" or "null", stdout = "pipe", stderr = "pipe",
	})
	local out, err = { on = options.on_output }, {}
	local readers = { slurp(child:stdout(), out), slurp(child:stderr(), err) }
	local writer = options.stdin and task.spawn(feed, child, options.stdin)
	local source = task.source(child:fd(), "level")
	local ended = task.readable(source, task.now() + (options.limit or LIMIT))
	task.forget(source)
	local result = {}
	if ended then
		local how, number = child:wait()
		result[how == "exit" and "status" or "signal"] = number
	else
		child:kill("KILL")
	end
	for _, reader in ipairs(readers) do reader:join(5) end
	if writer then writer:cancel() end
	child:close()
	result.out, result.err = table.concat(out), table.concat(err)
	return result
end

--- {"A=1", …, words…} for env(1).
function run.assignments(env, words)
	local list = {}
	for name, value in pairs(env) do list[#list + 1] = name .. "=" .. value end
	return table.move(words, 1, #words, #list + 1, list)
end

-- ---------------------------------------------------------------- a scripted server

local Client = {}
Client.__index = Client

--- Sends exact bytes.
function Client:send(bytes)
	assert(self.transport:write(bytes))
end

--- Reads a line without its end; it is kept in `seen`. Raises at the end of the connection.
function Client:line()
	local text, message = self.transport:line()
	if not text then error(message, 0) end
	self.seen[#self.seen + 1] = text
	return (text:gsub("\r?\n$", ""))
end

--- Reads a line, then answers.
function Client:reply(text)
	local line = self:line()
	self:send(text .. "\r\n")
	return line
end

--- Reads EHLO and lists capabilities.
function Client:capabilities(...)
	self:line()
	self:list(...)
end

--- Lists capabilities in a 250.
function Client:list(...)
	local words = { "stub", ... }
	for i, word in ipairs(words) do
		self:send(("250%s%s\r\n"):format(i < #words and "-" or " ", word))
	end
end

--- Shakes hands as a server, with a certificate for localhost made for this run.
function Client:tls(settings)
	assert(self.transport:push(run.server_context(settings):server {}))
end

--- Waits until the client has gone.
function Client:gone()
	while self.transport:read(4096) do end
end

--- Answers everything politely until QUIT.
function Client:serve()
	while true do
		local line = self:line():upper()
		if line:find "^QUIT" then return self:send "221 bye\r\n" end
		if line == "DATA" then
			self:send "354 go\r\n"
			repeat until self:line() == "."
		end
		self:send "250 ok\r\n"
	end
end

local certificate, key

--- A server's TLS context, with a certificate for localhost unless the settings bring one.
function run.server_context(settings)
	if not certificate then
		certificate, key = assert(cert.self_signed { name = "localhost", names = { "DNS:localhost" } })
	end
	local all = { server = true, cert = certificate, key = key }
	for name, value in pairs(settings or {}) do all[name] = value end
	return assert(tls.context(all))
end

--- A server on a free port of 127.0.0.1; `script(client, n)` runs for each connection, n counts them.
-- @return table: port, seen (list of lines of all clients), errors, stop()
function run.server(script, options)
	local listener = assert(wire.listen({ family = "inet", host = "127.0.0.1", port = 0 }, options))
	local server = { port = listener:address().port, seen = {}, errors = {} }
	local tasks, n = {}, 0
	local acceptor = task.spawn(function()
		while true do
			local a_wire = listener:accept()
			if not a_wire then return end
			n = n + 1
			local number = n
			tasks[#tasks + 1] = task.spawn(function()
				local client = { transport = transport.wrap(a_wire, { timeout = LIMIT }), seen = server.seen }
				setmetatable(client, Client)
				local ok, message = pcall(script, client, number)
				if not ok then server.errors[#server.errors + 1] = tostring(message) end
				client.transport:close()
			end)
		end
	end)
	function server.stop()
		acceptor:cancel()
		listener:close()
		for _, one in ipairs(tasks) do one:cancel() end
	end
	return server
end

--- Runs the built program against a scripted server.
-- @param script   function(client, n)
-- @param argv     words; "-p PORT" and the host are added
-- @return what run.command gives, and `seen`: the lines that the server read
function run.against(script, argv, options)
	local server = run.server(script, options and options.listen)
	local words = { "-p", tostring(server.port), table.unpack(argv) }
	words[#words + 1] = options and options.host or "127.0.0.1"
	local ok, result = pcall(run.command, words, options)
	server.stop()
	if not ok then error(result, 0) end
	result.seen, result.errors = server.seen, server.errors
	return result
end

--- A port on which nobody listens.
function run.closed_port()
	local sock = assert(socket.listen { family = "inet", host = "127.0.0.1", port = 0 })
	local port = sock:address().port
	sock:close()
	return port
end

--- A path in a folder that is removed when the test process ends.
function run.scratch(name)
	if not run.folder then
		run.folder = os.tmpname()
		os.remove(run.folder)
		assert(os.execute("mkdir -m 700 " .. run.folder))
		run.remover = setmetatable({}, { __gc = function() os.execute("rm -rf " .. run.folder) end })
	end
	return run.folder .. "/" .. name
end

--- Writes a file into the scratch folder.
-- @return its path
function run.file(name, text)
	local path = run.scratch(name)
	local handle = assert(io.open(path, "wb"))
	handle:write(text)
	handle:close()
	return path
end

return run
