local wire = require "smtptest.wire"
local task = require "smtptest.task"
local socket = require "smtptest.core.socket"
local file = require "smtptest.core.file"

local LOOPBACK = { family = "inet", host = "127.0.0.1", port = 0 }

local function soon() return task.now() + 30 end
local function at_once() return task.now() + 0.01 end

local function closed_port()
	local sock = assert(socket.listen(LOOPBACK))
	local port = sock:address().port
	sock:close()
	return port
end

-- Both ends of a TCP connection.
local function tcp()
	local listener = assert(wire.listen(LOOPBACK))
	local accepted = task.spawn(function() return listener:accept(soon()) end)
	local client = assert(wire.connect { host = "127.0.0.1", port = listener:address().port })
	local server = assert(accepted:join())
	listener:close()
	return client, server
end

local function fails(code, value, message, got)
	assert.is_nil(value)
	assert.equal(code, got, message)
	assert.is_string(message)
	return message
end

describe("connecting", function()
	it("gives a wire to the host", function()
		local listener = assert(wire.listen(LOOPBACK))
		local port = listener:address().port
		local client = assert(wire.connect { host = "127.0.0.1", port = port })
		assert.equal("127.0.0.1", client.host)
		assert.same({ "inet", "127.0.0.1", port }, { client.peer.family, client.peer.host, client.peer.port })
		local server, address = assert(listener:accept(soon()))
		assert.equal("127.0.0.1", address.host)
		assert.is_true(client:write("hello", soon()))
		assert.equal("hello", server:read(100, soon()))
		client:close()
		server:close()
		listener:close()
	end)

	it("goes on to the next address after one that refuses", function()
		local listener = assert(wire.listen(LOOPBACK))
		local port = listener:address().port
		local resolve = package.loaded["smtptest.core.resolve"]
		local start = resolve.start
		finally(function() resolve.start = start end)
		resolve.start = function()
			return setmetatable({
				fd = function() end,
				result = function()
					return {
						{ family = "inet", host = "127.0.0.1", port = closed_port() },
						{ family = "unix", path = "/nonexistent/socket" },
						{ family = "inet", host = "127.0.0.1", port = port },
					}, "three.test"
				end,
			}, { __index = {}, __close = function() end })
		end
		local client = assert(wire.connect { host = "three.test", port = port })
		assert.equal("three.test", client.host)
		assert.equal(port, client.peer.port)
		client:close()
		listener:close()
	end)

	it("says who refused", function()
		local message = fails("ECONNREFUSED", wire.connect { host = "127.0.0.1", port = closed_port() })
		assert.equal("connect: Connection refused", message)
	end)

	it("says which name is unknown", function()
		local message = fails("RESOLVE", wire.connect { host = "no host at all", port = 25 })
		assert.truthy(message:find "^getaddrinfo: ")
		fails("RESOLVE", wire.connect { host = "127.0.0.1", port = "no-such-service" })
	end)

	it("knows the names of mail's ports without a services file", function()
		local resolve = package.loaded["smtptest.core.resolve"]
		local start = resolve.start
		finally(function() resolve.start = start end)
		local asked = {}
		resolve.start = function(query)
			asked[#asked + 1] = query.service
			if not query.service:find "^%d+$" then
				query = { host = query.host, service = "no-such-service", family = query.family }
			end
			return start(query)
		end
		wire.connect { host = "127.0.0.1", port = "lmtp", timeout = 5 }
		assert.same({ "lmtp", "24" }, asked)
	end)

	it("tells that a look-up could not begin", function()
		local resolve = package.loaded["smtptest.core.resolve"]
		local start = resolve.start
		finally(function() resolve.start = start end)
		resolve.start = function() return nil, "thread: Resource temporarily unavailable", "EAGAIN" end
		fails("EAGAIN", wire.connect { host = "x.test", port = 25 })
	end)

	it("gives up after the time-out when nobody answers", function()
		local listener = assert(socket.listen(LOOPBACK, { backlog = 0 }))
		local port = listener:address().port
		local clients = {}
		local client, message, code
		-- What waits to be accepted is answered by the kernel; then it is full, and silent.
		for i = 1, 20 do
			client, message, code = wire.connect { host = "127.0.0.1", port = port, timeout = 0.05 }
			if not client then break end
			clients[i] = client
		end
		assert.equal("connect: timed out", message)
		assert.equal("TIMEOUT", code)
		for _, one in ipairs(clients) do one:close() end
		listener:close()
	end)

	it("waits in the queue of a UNIX socket", function()
		local path = os.tmpname()
		os.remove(path)
		local listener = assert(socket.listen({ family = "unix", path = path }, { backlog = 0 }))
		local clients = {}
		local _, code
		for i = 1, 20 do
			clients[i], _, code = wire.connect { socket = path, timeout = 0.06 }
			if not clients[i] then break end
		end
		assert.equal("EAGAIN", code)
		local t = task.spawn(wire.connect, { socket = path, timeout = 30 })
		task.sleep(0)
		listener:accept()
		local client = assert(t:join())
		assert.equal("localhost", client.host)
		client:close()
		listener:close()
		os.remove(path)
	end)

	it("ends when it is canceled", function()
		local listener = assert(socket.listen(LOOPBACK, { backlog = 0 }))
		local tasks = {}
		for i = 1, 5 do
			tasks[i] = task.spawn(wire.connect, { host = "127.0.0.1", port = listener:address().port, timeout = 60 })
		end
		task.sleep(0.01)
		for _, t in ipairs(tasks) do t:cancel() end
		listener:close()
	end)

	it("uses the source address that it is told", function()
		local listener = assert(wire.listen(LOOPBACK))
		local client = assert(wire.connect { host = "127.0.0.1", port = listener:address().port,
			source = { host = "127.0.0.2" } })
		assert.equal("127.0.0.2", client.sock:address().host)
		client:close()
		listener:close()
	end)

	it("works over IPv6 where there is one", function()
		local listener, message, code = wire.listen { family = "inet6", host = "::1", port = 0 }
		if code == "EADDRNOTAVAIL" or code == "EAFNOSUPPORT" then pending(message) return end
		local client = assert(wire.connect { host = "[::1]", port = listener:address().port })
		assert.equal("inet6", client.peer.family)
		client:close()
		listener:close()
	end)
end)

describe("reading", function()
	it("gives what is there, without waiting for more", function()
		local a, b = wire.pair()
		assert(b:write("abcdef", soon()))
		assert.equal("abc", a:read(3, soon()))
		assert.equal("def", a:read(100, soon()))
		fails("TIMEOUT", a:read(100, at_once()))
		assert(b:write("g", soon()))
		assert.equal("g", a:read(100, task.now()))
		a:close()
		b:close()
	end)

	it("looks at the kernel even when the time is over", function()
		local a, b = wire.pair()
		fails("TIMEOUT", a:read(10, task.now() - 1))
		b:write("x", soon())
		assert.equal("x", a:read(10, task.now() - 1))
		a:close()
		b:close()
	end)

	it("asks the kernel only when the loop has told of something, and once more at the end of its time", function()
		local a, b = wire.pair()
		local reads, sock = 0, a.sock
		a.sock = { read = function(_, max)
			reads = reads + 1
			return sock:read(max)
		end }
		for i = 1, 3 do
			local t = task.spawn(function() return a:read(10, soon()) end)
			task.sleep(0.002)
			b:write("x", soon())
			assert.equal("x", t:join())
			assert.equal(i, reads)
		end
		fails("TIMEOUT", a:read(10, at_once()))
		assert.equal(4, reads)
		a.sock = sock
		a:close()
		b:close()
	end)

	it("ends with EOF after all data", function()
		local a, b = tcp()
		b:write("last words", soon())
		b:close()
		assert.equal("last words", a:read(100, soon()))
		fails("EOF", a:read(100, soon()))
		fails("EOF", a:read(100, soon()))
		a:close()
	end)

	-- The edge of the data and that of the end came as one: a short read told of no further edge.
	it("ends with EOF when data and end come together", function()
		for _, make in ipairs { tcp, wire.pair } do
			for _, max in ipairs { 1, 5, 6, 100 } do
				local a, b = make()
				local t = task.spawn(function()
					local got = {}
					while true do
						local bytes, _, code = a:read(max, soon())
						if not bytes then return table.concat(got), code end
						got[#got + 1] = bytes
					end
				end)
				task.sleep(0)
				b.sock:write "hello"
				b.sock:shutdown "w"
				assert.same({ "hello", "EOF" }, { t:join(60) })
				a:close()
				b:close()
			end
		end
	end)

	it("ends with ECONNRESET after a reset", function()
		local a, b = tcp()
		b:close(true)
		fails("ECONNRESET", a:read(100, soon()))
		a:close()
	end)

	it("goes on after a half-close of ours", function()
		local a, b = tcp()
		assert.is_true(a:shutdown())
		fails("EOF", b:read(10, soon()))
		assert.is_true(b:write("still here", soon()))
		assert.equal("still here", a:read(100, soon()))
		fails("EPIPE", a:write("x", soon()))
		a:close()
		b:close()
	end)

	it("is for one task at a time", function()
		local a, b = wire.pair()
		local t = task.spawn(function() return a:read(10, soon()) end)
		task.sleep(0)
		fails("BUSY", a:read(10, soon()))
		b:write("x", soon())
		assert.equal("x", t:join())
		a:close()
		b:close()
	end)

	it("is canceled by close", function()
		local a, b = wire.pair()
		local t = task.spawn(function() return a:read(10, math.huge) end)
		task.sleep(0)
		a:close()
		fails("CANCELED", t:join())
		b:close()
	end)
end)

describe("writing", function()
	it("waits until the kernel has taken all, and tells each part", function()
		local a, b = wire.pair()
		local bytes = ("0123456789abcdef"):rep(100000)
		local parts = {}
		local t = task.spawn(function()
			return a:write(bytes, soon(), nil, function(first, last) parts[#parts + 1] = { first, last } end)
		end)
		local got, size = {}, 0
		while size < #bytes do
			got[#got + 1] = assert(b:read(65536, soon()))
			size = size + #got[#got]
		end
		assert.is_true(t:join())
		assert.is_true(table.concat(got) == bytes)
		local position = 1
		for _, part in ipairs(parts) do
			assert.equal(position, part[1])
			position = part[2] + 1
		end
		assert.equal(#bytes + 1, position)
		a:close()
		b:close()
	end)

	it("ends at the deadline, or goes on as long as there is progress", function()
		local a, b = wire.pair()
		local bytes = ("x"):rep(4000000)
		fails("TIMEOUT", a:write(bytes, at_once()))
		local reader = task.spawn(function()
			while true do
				task.sleep(0.005)
				if not b:read(400000, soon()) then return end
			end
		end)
		assert.is_true(a:write(bytes, task.now() + 0.02, 5))
		a:close()
		reader:join()
		b:close()
	end)

	it("tells EPIPE, and no signal ends us", function()
		local a, b = wire.pair()
		b:close()
		fails("EPIPE", a:write("x", soon()))
		a:close()
	end)

	it("of nothing is done at once", function()
		local a, b = wire.pair()
		assert.is_true(a:write("", task.now() - 1))
		a:close()
		b:close()
	end)
end)

describe("a closed wire", function()
	it("fails with EBADF and closes again", function()
		local a, b = wire.pair()
		assert.is_true(a:close())
		assert.is_true(a:close())
		assert.is_true(a:close(true))
		fails("EBADF", a:read(10, soon()))
		fails("EBADF", a:write("x", soon()))
		b:close()
	end)

	it("is closed by its scope", function()
		local a, b = wire.pair()
		do
			local _ <close> = b
		end
		fails("EOF", a:read(10, soon()))
		a:close()
	end)

	it("leaves no descriptor open", function()
		local first = socket.pair()
		local number = first:fd()
		first:close()
		for _ = 1, 50 do
			local a, b = tcp()
			a:close()
			b:close(true)
			wire.connect { host = "127.0.0.1", port = closed_port() }
			wire.connect { host = "localhost", port = closed_port() }
		end
		collectgarbage()
		local last = socket.pair()
		assert.truthy(last:fd() <= number + 2, last:fd())
		last:close()
	end)
end)

describe("a wire on a descriptor", function()
	it("owns it", function()
		local a, b = socket.pair()
		local w = assert(wire.fromfd(a:detach()))
		b:write "x"
		assert.equal("x", w:read(10, soon()))
		w:close()
		assert.equal("EOF", select(3, b:read(1)))
		b:close()
	end)

	it("is refused for what is no socket", function()
		local reader = file.pipe()
		fails("ENOTSOCK", wire.fromfd(reader:fd()))
		fails("EBADF", wire.fromfd(99999))
	end)
end)

describe("a listener", function()
	it("accepts one after the other, also many at once", function()
		local listener = assert(wire.listen(LOOPBACK))
		local port = listener:address().port
		local clients = {}
		for i = 1, 20 do clients[i] = assert(wire.connect { host = "127.0.0.1", port = port }) end
		for _ = 1, 20 do assert(listener:accept(soon())):close() end
		fails("TIMEOUT", listener:accept(at_once()))
		local t = task.spawn(function() return listener:accept(soon()) end)
		task.sleep(0)
		local late = assert(wire.connect { host = "127.0.0.1", port = port })
		assert(t:join()):close()
		late:close()
		for _, client in ipairs(clients) do client:close() end
		listener:close()
	end)

	it("that is closed cancels who waits, and removes its path", function()
		local path = os.tmpname()
		os.remove(path)
		local listener = assert(wire.listen { family = "unix", path = path })
		local handle = io.open(path)
		assert.is_nil(handle)
		local t = task.spawn(function() return listener:accept(math.huge) end)
		task.sleep(0)
		assert.is_true(listener:close())
		assert.is_true(listener:close())
		fails("CANCELED", t:join())
		assert.is_nil(os.remove(path))
		fails("EBADF", listener:accept(soon()))
	end)

	it("refuses a path that another one serves", function()
		local path = os.tmpname()
		os.remove(path)
		local first = assert(wire.listen { family = "unix", path = path })
		fails("EADDRINUSE", wire.listen { family = "unix", path = path })
		first:close()
		fails("ENOENT", wire.connect { socket = path })
	end)

	it("says why it can't be", function()
		local listener = assert(wire.listen(LOOPBACK))
		fails("EADDRINUSE", wire.listen { family = "inet", host = "127.0.0.1", port = listener:address().port })
		fails("EADDRNOTAVAIL", wire.listen { family = "inet", host = "192.0.2.1", port = 0 })
		listener:close()
	end)
end)

-- Whoever connects while others close gets their descriptor's number.
describe("a crowd that comes and goes", function()
	it("is served to the last", function()
		local listener = assert(wire.listen(LOOPBACK, { backlog = 100 }))
		local port = listener:address().port
		local server = task.spawn(function()
			while true do
				local w = assert(listener:accept(soon()))
				task.spawn(function()
					local _ <close> = w
					w:write(assert(w:read(100, soon())), soon())
				end)
			end
		end)
		local done, tasks = 0, {}
		for i = 1, 20 do
			tasks[i] = task.spawn(function()
				for n = 1, 15 do
					local w <close> = assert(wire.connect { host = "127.0.0.1", port = port })
					assert(w:write(("%d %d"):format(i, n), soon()))
					assert.equal(("%d %d"):format(i, n), w:read(100, soon()))
					done = done + 1
				end
			end)
		end
		for _, t in ipairs(tasks) do t:join() end
		assert.equal(300, done)
		server:cancel()
		listener:close()
	end)
end)
