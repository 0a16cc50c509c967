--- shell: runs the commands that our documents show, as they stand there, against a scripted server.

local cert = require "smtptest.core.cert"
local run = require "support.run"
local server = require "smtptest.server"

local shell = {}

-- The host of every example.
local HOST = "mail.example"

local certificate, key

--- The settings of a server's TLS context with a certificate for mail.example, which the commands trust.
function shell.certificate()
	if not certificate then
		certificate, key = assert(cert.self_signed { name = HOST, names = { "DNS:" .. HOST } })
	end
	return { cert = certificate, key = key }
end

local WRAPPER = [[
#!/bin/sh
for word; do
	if [ "$word" = %s ]; then
		set -- --unix='%s' "$@"
		break
	fi
done
exec '%s' "$@"
]]

-- A program under the name it has in the documents; that is all that is changed: where mail.example is.
local function wrapper(folder, name, program, socket)
	local path = folder .. "/" .. name
	local handle <close> = assert(io.open(path, "w"))
	handle:write(WRAPPER:format(HOST, socket, program))
	handle:close()
	assert(os.execute(("chmod +x '%s'"):format(path)))
end

local count = 0

--- Runs shell text in a folder of its own, where smtptest, lmtptest, build/smtptest are ours and mail.example is a
-- scripted server. There is no terminal.
-- @param text     what a user would type after the prompt, several lines at once
-- @param options  server (function(client, n)), or listen (fields of smtptest.listen: our own server is it), files
--   (name → content), stdin, env (over what is set here)
-- @return what run.against gives; lines (all that the server read, CR LF made LF), read(name): a file of the folder
function shell.run(text, options)
	count = count + 1
	local folder = run.scratch("shell" .. count)
	local socket = folder .. "/socket"
	assert(os.execute(("mkdir -p '%s/build'"):format(folder)))
	wrapper(folder, "smtptest", run.absolute, socket)
	wrapper(folder, "build/smtptest", run.absolute, socket)
	wrapper(folder, "lmtptest", (run.absolute:gsub("smtptest$", "lmtptest")), socket)
	local files = { ["trusted.pem"] = shell.certificate().cert }
	for name, content in pairs(options.files or {}) do files[name] = content end
	for name, content in pairs(files) do
		local handle <close> = assert(io.open(folder .. "/" .. name, "wb"))
		handle:write(content)
	end
	local env = { PATH = folder .. ":" .. os.getenv "PATH", SSL_CERT_FILE = folder .. "/trusted.pem" }
	-- For a stock interpreter.
	env.SMTPTEST_FLAGS, env.LUA_CPATH = ("--unix=%s %s"):format(socket, HOST), run.absolute:gsub("smtptest$", "?.so;;")
	for name, value in pairs(options.env or {}) do env[name] = value end
	local words = { "-c", ("cd '%s' && %s"):format(folder, text) }
	local how = { program = "sh", stdin = options.stdin, env = env, alone = true,
		listen = { address = { family = "unix", path = socket } } }
	local result
	if options.listen then
		local fields = { socket = socket, name = HOST }
		for name, value in pairs(options.listen) do fields[name] = value end
		local _ <close> = server.listen(fields):start()
		result = run.command(words, how)
		result.seen = {}
	else
		result = run.against(options.server, function() return words end, how)
	end
	function result.read(name)
		local handle <close> = assert(io.open(folder .. "/" .. name, "rb"))
		return handle:read "a"
	end
	result.lines = table.concat(result.seen):gsub("\r\n", "\n")
	return result
end

return shell
