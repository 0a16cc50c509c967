--- run: runs the built program beside scripted servers, all in this process' loop: nothing waits by sleeping.

local leak = require "support.leak"
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

--- The same, wherever one stands.
run.absolute = run.program:find "^/" and run.program or os.getenv "PWD" .. "/" .. run.program

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

-- What a pipe takes at once when it is writable: a write that blocks would stop the server too.
local PIPE_BUF = 4096

local function feed(child, input)
	local handle = child:stdin()
	local source = task.source(handle:fd(), "level")
	for _, piece in ipairs(type(input) == "table" and input or { input }) do
		if type(piece) == "function" then
			piece(child)
		else
			for first = 1, #piece, PIPE_BUF do
				source.writable = false
				task.writable(source, math.huge)
				handle:write(piece, first, math.min(#piece, first + PIPE_BUF - 1))
			end
		end
	end
	task.forget(source)
	handle:close()
end

--- Runs a program to its end.
-- @param argv     list of words; argv[1] nil: the built program
-- @param options  stdin (string, or list of strings and functions(child) that may wait), env (over
--   the present one), program (another one), alone (true: without a controlling terminal), limit
-- @return table: out, err (strings), status (exit status) or signal (number), both nil when it hung
function run.command(argv, options)
	options = options or {}
	local words = { run.program, table.unpack(argv) }
	if options.program then words[1] = options.program end
	if options.alone then words = { "setsid", "-w", table.unpack(words) } end
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
	if not options.program then leak.check(argv, result) end
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

--- Greets, and lists capabilities after EHLO.
function Client:welcome(...)
	self:send "220 stub ESMTP\r\n"
	self:capabilities(...)
end

--- Shakes hands as a server, with a certificate for localhost made for this run.
-- @param settings  of the context, or the context itself: only one that is kept can resume a session
-- @return the machine
function Client:tls(settings)
	local context = type(settings) == "userdata" and settings or run.server_context(settings)
	local machine = context:server {}
	-- A client that does not wait for an answer before its handshake has sent that with the last line.
	machine:feed(self.transport:pending())
	assert(self.transport:push(machine))
	return machine
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
		self:send(line:find "^AUTH " and "235 ok\r\n" or "250 ok\r\n")
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
-- @param options  of the listening socket, and address: another one, as smtptest.core.socket takes it
-- @return table: port, seen (list of lines of all clients), connections (their number), errors, stop()
function run.server(script, options)
	local address = options and options.address or { family = "inet", host = "127.0.0.1", port = 0 }
	local listener = assert(wire.listen(address, options))
	local server = { port = listener:address().port, seen = {}, connections = 0, errors = {} }
	local tasks, n = {}, 0
	local acceptor = task.spawn(function()
		while true do
			local a_wire = listener:accept()
			if not a_wire then return end
			n = n + 1
			local number = n
			server.connections = n
			tasks[#tasks + 1] = task.spawn(function()
				local client = { transport = transport.wrap(a_wire, { timeout = LIMIT }), seen = server.seen }
				client.peer = a_wire.sock:peer()
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
-- @param argv     words, before which "-p PORT" and after which the host is put; or function(port) → all of them
-- @param options  of run.command; listen: of run.server; host
-- @return what run.command gives, and `seen`: the lines that the server read
function run.against(script, argv, options)
	local server = run.server(script, options and options.listen)
	local words = type(argv) == "function" and argv(tostring(server.port))
	if not words then
		words = { "-p", tostring(server.port), table.unpack(argv) }
		words[#words + 1] = options and options.host or "127.0.0.1"
	end
	local ok, result = pcall(run.command, words, options)
	server.stop()
	if not ok then error(result, 0) end
	result.seen, result.errors, result.connections = server.seen, server.errors, server.connections
	return result
end

--- A port of 127.0.0.1 that nobody has now.
function run.free_port()
	local sock <close> = assert(socket.listen { family = "inet", host = "127.0.0.1", port = 0 })
	return sock:address().port
end

--- A port on which nobody listens, and nobody will: it is our end of a connection.
function run.closed_port()
	local listener = assert(socket.listen { family = "inet", host = "127.0.0.1", port = 0 })
	local sock = assert(socket.connect(listener:address()))
	run.held = { listener, sock, run.held }
	return sock:address().port
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

--- What a file has in it.
function run.read(path)
	local handle <close> = assert(io.open(path, "rb"))
	return handle:read "a"
end

return run
