-- What a canceled task was about to get is not left behind.

local smtptest = require "smtptest"
local socket = require "smtptest.core.socket"
local source = require "smtptest.source"
local task = require "smtptest.task"

local LIMIT = 30

local function watched()
	local count = 0
	for _ in pairs(source.all) do count = count + 1 end
	return count
end

-- Cancels fn(plan) once `reached` says so; nothing of it stays.
local function cancels(script, reached, fn)
	local server <close> = smtptest.listen {}
	local seen = {}
	server:script(function(client) script(client, seen) end)
	server:start()
	task.sleep(0)
	local before = watched()
	local t = task.spawn(fn, { host = "127.0.0.1", port = server.port, timeout = LIMIT })
	local deadline = task.now() + LIMIT
	while not reached(seen) do
		assert.truthy(task.now() < deadline)
		task.sleep(0.001)
	end
	assert.is_true(t:cancel())
	while not seen.gone do
		assert.truthy(task.now() < deadline)
		task.sleep(0.001)
	end
	server:stop()
	assert.equal(before - 1, watched())
	collectgarbage()        -- nobody else closed it
end

local function until_gone(client, seen)
	repeat local line = client:line(LIMIT) until not line
	seen.gone = true
end

describe("a canceled task", function()
	it("that waits for a greeting closes the connection", function()
		cancels(function(client, seen)
			seen.here = true
			until_gone(client, seen)
		end, function(seen) return seen.here end, smtptest.connect)
	end)

	it("that goes the whole way closes the connection", function()
		cancels(function(client, seen)
			client:reply(220, "hi")
			seen.here = client:line(LIMIT)
			until_gone(client, seen)
		end, function(seen) return seen.here end, smtptest.open)
	end)

	it("that shakes hands closes the connection", function()
		cancels(function(client, seen)
			client:reply(220, "hi")
			client:line(LIMIT)
			client:reply(250, "hi")
			client:line(LIMIT)
			client:reply(220, "go")
			seen.here = client:line(LIMIT)
			until_gone(client, seen)
		end, function(seen) return seen.here end, function(plan)
			local s <close> = smtptest.connect(plan)
			s:ehlo()
			s:starttls()
		end)
	end)

	it("that connects forgets the address", function()
		-- A queue of one that is full: the handshake cannot end.
		local listener <close> = assert(socket.listen({ family = "inet", host = "127.0.0.1", port = 0 }, { backlog = 0 }))
		local first <close> = assert(socket.connect(listener:address()))
		local second <close> = assert(socket.connect(listener:address()))
		local before = watched()
		local t = task.spawn(smtptest.connect, { host = "127.0.0.1", port = listener:address().port })
		task.sleep(0)
		task.sleep(0)
		assert.equal(before + 1, watched())
		assert.is_true(t:cancel())
		assert.equal(before, watched())
		assert.truthy(first and second)
	end)

	it("that looks a name up forgets it", function()
		local before = watched()
		local t = task.spawn(smtptest.connect, { host = "localhost", port = 1, timeout = LIMIT })
		task.step(0)
		local during = watched()
		t:cancel()
		assert.equal(before, watched())
		assert.truthy(during >= before)
	end)
end)

describe("a session that could not be opened", function()
	it("is the error's, still open, and closed with connect", function()
		local server <close> = smtptest.listen {}
		server:start()
		local plan = { host = "127.0.0.1", port = server.port, timeout = LIMIT, tls = "starttls" }
		local ok, err = pcall(smtptest.open, plan)
		assert.is_false(ok)
		assert.equal("REPLY", err.code)
		local s <close> = err.session
		s:noop():expect(250)
		local silent <close> = smtptest.listen {}
		silent:script(function(client) client:line(LIMIT) end)
		silent:start()
		ok, err = pcall(smtptest.connect, { host = "127.0.0.1", port = silent.port, timeout = 0.05 })
		assert.is_false(ok)
		assert.equal("TIMEOUT", err.code)
		assert.is_true(err.session.transport.closed)
	end)
end)
