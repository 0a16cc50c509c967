-- -x and -X of the built program: one authenticated session, lent to the clients of a UNIX socket one after the other.

local process = require "smtptest.core.process"
local run = require "support.run"
local scene = require "support.scene"
local socket = require "smtptest.core.socket"
local task = require "smtptest.task"
local transport = require "smtptest.transport"

local PLAIN, AUTHED = scene.PLAIN, scene.AUTHED
local HELLO, AUTH = "EHLO smtptest\r\n", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n"

-- A client of the socket; the program may not listen yet.
local function visitor(path)
	local deadline = task.now() + 30
	repeat
		local client = transport.connect { host = "localhost", socket = path }
		if client then return client end
		task.sleep(0.005)
	until task.now() > deadline
	error("nobody listens on " .. path)
end

local function exists(path)
	return os.rename(path, path) == true
end

local serial = 0

-- Runs the program with -x or -X on a new path, and body(path) beside it.
local function lend(flag, body, server, more)
	serial = serial + 1
	local path = run.scratch("socket" .. serial)
	local ended = task.spawn(run.against, server or scene.polite, scene.words(PLAIN, { flag, path }, more or {}))
	local ok, message = pcall(body, path)
	local result = ended:join()
	assert(ok, message)
	assert.is_false(exists(path), "the path is still there")
	return result
end

-- Leaves inside message data, which ends the program.
local function end_it(path)
	local last <close> = visitor(path)
	assert(last:write "DATA\n")
	assert.are.equal("354 go\r\n", last:line())
end

local function asks(client, line, answer)
	assert(client:write(line))
	assert.are.equal(answer, client:line())
end

local function seen(result, ...)
	assert.are.same({ HELLO, AUTH, ... }, result.seen)
	assert.are.same({ 0, "" }, { result.status, result.err })
end

describe("-x", function()
	it("serves clients one after the other, with RSET between them", function()
		seen(lend("-x", function(path)
			local one = visitor(path)
			asks(one, "NOOP\n", "250 ok\r\n")
			asks(one, "MAIL FROM:<>\r\n", "250 ok\r\n")
			one:close()
			local two = visitor(path)
			asks(two, "RSET\n", "250 ok\r\n")
			two:close()
			end_it(path)
		end), "NOOP\r\n", "MAIL FROM:<>\r\n", "RSET\r\n", "RSET\r\n", "RSET\r\n", "DATA\r\n", "QUIT\r\n")
	end)

	it("takes QUIT for a client's goodbye to us", function()
		seen(lend("-x", function(path)
			local one <close> = visitor(path)
			assert(one:write "NOOP\nquit\n")
			assert.are.equal("250 ok\r\n", one:line())
			assert.are.equal("EOF", select(3, one:read(1)))
			end_it(path)
		end), "NOOP\r\n", "RSET\r\n", "DATA\r\n", "QUIT\r\n")
	end)

	it("lets a second client wait for the end of the first", function()
		seen(lend("-x", function(path)
			local one = visitor(path)
			asks(one, "NOOP one\n", "250 ok\r\n")
			local two <close> = visitor(path)
			assert(two:write "NOOP two\n")
			asks(one, "NOOP one\n", "250 ok\r\n")
			one:close()
			assert.are.equal("250 ok\r\n", two:line())
			assert(two:write "QUIT\n")
			assert.are.equal("EOF", select(3, two:read(1)))
			end_it(path)
		end), "NOOP one\r\n", "NOOP one\r\n", "RSET\r\n", "NOOP two\r\n", "RSET\r\n", "DATA\r\n", "QUIT\r\n")
	end)

	it("gives a client that has half-closed what the server still owes it", function()
		lend("-x", function(path)
			local one <close> = visitor(path)
			assert(one:write "NOOP\nNOOP\n")
			one:shutdown()
			assert.are.equal("250 slow\r\n", one:line())
			assert.are.equal("250 ok\r\n", one:line())
			assert.are.equal("EOF", select(3, one:read(1)))
			end_it(path)
		end, function(c)
			c:welcome "AUTH PLAIN"
			c:reply "235 ok"
			c:reply "250 slow"
			c:serve()
		end)
	end)

	it("carries a message whole, QUIT inside it too", function()
		local body = ("QUIT\n0123456789\n"):rep(20000)
		local result = lend("-x", function(path)
			local one <close> = visitor(path)
			asks(one, "DATA\n", "354 go\r\n")
			asks(one, body .. ".\n", "250 ok\r\n")
			assert(one:write "QUIT\n")
			assert.are.equal("EOF", select(3, one:read(1)))
			end_it(path)
		end)
		assert.are.equal((body:gsub("\n", "\r\n")), table.concat(result.seen, "", 4, 40003))
		assert.are.equal(".\r\n", result.seen[40004])
	end)

	it("ends when the server closes while a client is there", function()
		local result = lend("-x", function(path)
			local one <close> = visitor(path)
			asks(one, "NOOP\n", "421 bye\r\n")
			assert.are.equal("EOF", select(3, one:read(1)))
		end, function(c)
			c:welcome "AUTH PLAIN"
			c:reply "235 ok"
			c:reply "421 bye"
		end)
		assert.are.equal(scene.text(AUTHED .. "Connection closed.\n"), result.out)
		seen(result, "NOOP\r\n")
	end)

	it("ends when the server has closed between two clients", function()
		local gone = task.promise()
		local result = lend("-x", function(path)
			local one <close> = visitor(path)
			assert(one:write "QUIT\n")
			gone:wait()
			local two <close> = transport.connect { host = "localhost", socket = path }
			if two then two:read(1) end
		end, function(c)
			c:welcome "AUTH PLAIN"
			c:reply "235 ok"
			c:reply "250 reset"
			c.transport:close()
			gone:set(true)
		end)
		assert.are.equal(0, result.status, result.err)
	end)

	it("takes the place of a socket that nobody listens on", function()
		local path = run.scratch "stale"
		assert(socket.listen({ family = "unix", path = path })):close()
		assert.is_true(exists(path))
		local ended = task.spawn(run.against, scene.polite, scene.words(PLAIN, { "-x", path }))
		end_it(path)
		assert.are.equal(0, ended:join().status)
		assert.is_false(exists(path))
	end)

	it("does not take the place of a socket that somebody listens on", function()
		local path = run.scratch "taken"
		local other = assert(socket.listen { family = "unix", path = path })
		local result = run.against(scene.polite, scene.words(PLAIN, { "-x", path }))
		assert.are.equal(1, result.status)
		assert.matches("^failure: listen: .*/taken: .*Address already in use\n$", result.err)
		assert.is_true(exists(path))
		other:close()
	end)

	it("does not take the place of a file", function()
		local path = run.file("precious", "text")
		local result = run.against(scene.polite, scene.words(PLAIN, { "-x", path }))
		assert.are.equal(1, result.status)
		assert.matches("^failure: listen: .*/precious: ", result.err)
		assert.are.equal("text", assert(io.open(path)):read "a")
	end)

	for name, status in pairs { INT = 0, TERM = 15 } do
		it(("removes its path when SIG%s comes while it waits for a client"):format(name), function()
			local pid = run.scratch("pid" .. name)
			local result = lend("-x", function(path)
				local one = visitor(path)
				asks(one, "NOOP\n", "250 ok\r\n")
				one:close()
				local two = visitor(path)       -- so the first has gone
				asks(two, "NOOP\n", "250 ok\r\n")
				os.execute(("kill -%s $(cat %s)"):format(name, pid))
				two:read(1)
				two:close()
			end, nil, { "-I", pid })
			assert.are.equal(status, result.status or result.signal, result.err)
		end)
	end
end)

describe("-X", function()
	it("goes on as a daemon, whose number -I has", function()
		local pid = run.scratch "daemon"
		local path = run.scratch "daemon.sock"
		local closed = task.promise()
		local server = run.server(function(c)
			c:welcome "AUTH PLAIN"
			pcall(c.serve, c)
			closed:set(true)
		end)
		local result = run.command(scene.words({ "-p", tostring(server.port) }, PLAIN, { "-X", path, "-I", pid,
			"127.0.0.1" }))
		assert.are.same({ 0, scene.text(AUTHED), "" }, { result.status, result.out, result.err })
		local number = assert(io.open(pid)):read "a"
		assert.matches("^%d+$", number)
		-- The parent has gone, the child listens: nobody has to wait.
		for _, line in ipairs { "NOOP one\n", "NOOP two\n" } do
			local one <close> = assert(transport.connect { host = "localhost", socket = path })
			asks(one, line, "250 ok\r\n")
		end
		assert.is_true(os.execute("kill -0 " .. number))
		local streams = process.spawn { argv = { "readlink", ("/proc/%s/fd/0"):format(number),
			("/proc/%s/fd/1"):format(number),
			("/proc/%s/fd/2"):format(number) }, stdin = "null" }
		assert.are.equal(("/dev/null\n"):rep(3), streams:stdout():read(1000))
		streams:close()
		end_it(path)
		assert.is_true(closed:wait(30))
		server.stop()
		assert.are.same({ HELLO, AUTH, "NOOP one\r\n", "RSET\r\n", "NOOP two\r\n", "RSET\r\n", "DATA\r\n", "QUIT\r\n" },
			server.seen)
		local deadline = task.now() + 30
		while exists(path) and task.now() < deadline do task.sleep(0.005) end
		assert.is_false(exists(path))
	end)

	it("does not go on when the session fails", function()
		local result = run.against(function(c)
			c:send "554 no\r\n"
			c:gone()
		end, scene.words(PLAIN, { "-X", run.scratch "never" }))
		assert.are.equal(1, result.status)
		assert.is_false(exists(run.scratch "never"))
	end)
end)
