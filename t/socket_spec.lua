local socket = require "smtptest.core.socket"
local poll = require "smtptest.core.poll"
local file = require "smtptest.core.file"

local anywhere = {family = "inet", host = "127.0.0.1", port = 0}

-- Waits, at most ten seconds, until what can be done on a socket.
local function await(s, what)
	local p <close> = poll.new()
	assert(p:add(s:fd(), "level"))
	assert(p:want(s:fd(), what))
	local n = p:wait(10, {})
	p:remove(s:fd())
	assert(n == 1, "nothing happened for ten seconds")
	return s
end

-- client, the server's end, listener: over TCP on the loopback.
local function connected()
	local listener = assert(socket.listen(anywhere))
	local client = assert(socket.connect(listener:address()))
	local server = assert(await(listener, "r"):accept())
	assert(await(client, "w"):connected())
	return client, server, listener
end

describe("a socket", function()
	it("connects, is accepted, and knows both addresses", function()
		local client, server, listener = connected()
		assert.same(listener:address(), client:peer())
		assert.same(client:address(), server:peer())
		local another, _, code = listener:accept()
		assert.is_nil(another)
		assert.equal("EAGAIN", code)
	end)

	it("gives the peer's address at accept", function()
		local listener = assert(socket.listen(anywhere))
		local client = assert(socket.connect(listener:address()))
		local _, address = await(listener, "r"):accept()
		assert.same(client:address(), address)
	end)

	it("connects from a given source", function()
		local listener = assert(socket.listen(anywhere))
		local source = {host = "127.0.0.2"}
		local client = assert(socket.connect(listener:address(), {source = source}))
		assert.equal("127.0.0.2", client:address().host)
	end)

	it("refuses a source of another family, so that the next address is tried", function()
		local s, message, code = socket.connect(anywhere, {source = {host = "::1"}})
		assert.is_nil(s)
		assert.equal("source ::1 is not of the family of the address", message)
		assert.equal("EAFNOSUPPORT", code)
		s, message, code = socket.connect({family = "unix", path = "/x"},
			{source = {host = "127.0.0.1"}})
		assert.is_nil(s)
		assert.equal("source 127.0.0.1 is not of the family of the address", message)
		assert.equal("EAFNOSUPPORT", code)
	end)

	it("tells a refused connection", function()
		local listener = assert(socket.listen(anywhere))
		local address = listener:address()
		listener:close()
		local client = assert(socket.connect(address))
		local ok, message, code = await(client, "w"):connected()
		assert.is_nil(ok)
		assert.equal("connect: Connection refused", message)
		assert.equal("ECONNREFUSED", code)
		-- The kernel tells the reason once; "not yet" would be a lie for ever.
		ok, message, code = client:connected()
		assert.is_nil(ok)
		assert.truthy(message)
		assert.equal("ENOTCONN", code)
	end)

	it("says not yet while it connects", function()
		-- A backlog of one that is full: the handshake cannot end.
		local listener = assert(socket.listen(anywhere, {backlog = 0}))
		local waiting
		local clients <close> = setmetatable({}, {__close = function(list)
			for _, client in ipairs(list) do client:close() end
		end})
		for _ = 1, 8 do
			local client = assert(socket.connect(listener:address()))
			local ok, message, code = client:connected()
			if not ok then
				waiting = code
				assert.equal("connect: Operation now in progress", message)
				break
			end
			clients[#clients + 1] = client
		end
		assert.equal("EAGAIN", waiting)
	end)

	it("reads at most what was asked for", function()
		local a, b = socket.pair()
		a:write("abcdef")
		assert.equal("abc", b:read(3))
		assert.equal("def", b:read(100000))
		local bytes, message, code = b:read(1)
		assert.is_nil(bytes)
		assert.equal("read: Resource temporarily unavailable", message)
		assert.equal("EAGAIN", code)
	end)

	it("reads bytes of any value and more than a small buffer", function()
		local a, b = socket.pair()
		local all = {}
		for i = 0, 255 do all[#all + 1] = string.char(i) end
		local bytes = table.concat(all):rep(128)
		a:option("sndbuf", 200000)
		assert.equal(32768, a:write(bytes))
		local got = {}
		repeat
			local piece = b:read(20000)
			got[#got + 1] = piece
		until not piece
		assert.equal(bytes, table.concat(got))
	end)

	it("writes a part of a string without a copy", function()
		local a, b = socket.pair()
		assert.equal(3, a:write("abcdef", 2, 4))
		assert.equal(1, a:write("abcdef", 6))
		assert.equal(2, a:write("abcdef", 5, 100))
		assert.equal("bcdfef", b:read(100))
		assert.equal(0, a:write("abc", 4))
		assert.equal(0, a:write("abc", 3, 2))
		assert.equal(0, a:write("abc", 1, 0))
		assert.equal(0, a:write(""))
	end)

	it("says not now when the kernel's buffer is full", function()
		local a = socket.pair()
		local piece = ("x"):rep(65536)
		local sent = 0
		while true do
			local count, _, code = a:write(piece)
			if not count then
				assert.equal("EAGAIN", code)
				break
			end
			sent = sent + count
		end
		assert.truthy(sent > 0)
	end)

	it("tells the end of the stream from a reset", function()
		local client, server = connected()
		client:shutdown("w")
		local bytes, message, code = await(server, "r"):read(1)
		assert.is_nil(bytes)
		assert.equal("end of stream", message)
		assert.equal("EOF", code)
		server:write("last words")
		server:abort()
		-- The reset comes after the bytes before it.
		assert.equal("last words", await(client, "r"):read(100))
		bytes, message, code = await(client, "r"):read(100)
		assert.is_nil(bytes)
		assert.equal("read: Connection reset by peer", message)
		assert.equal("ECONNRESET", code)
	end)

	it("reports a reader that is gone without a signal", function()
		local a, b = socket.pair()
		b:close()
		local count, message, code = a:write("x")
		assert.is_nil(count)
		assert.equal("write: Broken pipe", message)
		assert.equal("EPIPE", code)
	end)

	it("keeps the borders of messages in a seqpacket pair", function()
		local a, b = socket.pair("seqpacket")
		a:write("one")
		a:write("two")
		assert.equal("one", b:read(100))
		assert.equal("two", b:read(100))
		assert.equal("seqpacket", a:option("type"))
	end)

	it("hands its descriptor over and takes one", function()
		local a, b = socket.pair()
		local fd = a:detach()
		assert.is_nil(a:fd())
		local again = assert(socket.fromfd(fd))
		assert.equal(fd, again:fd())
		again:write("x")
		assert.equal("x", b:read(1))
	end)

	it("adopts nothing that is no socket", function()
		local reader <close>, writer = file.pipe()
		local s, _, code = socket.fromfd(reader:fd())
		assert.is_nil(s)
		assert.equal("ENOTSOCK", code)
		collectgarbage()
		assert.is_false(reader:ready())
		assert.equal(1, writer:write("x"))
		for _, fd in ipairs {-1, 1 << 20, 1 << 40} do
			s, _, code = socket.fromfd(fd)
			assert.is_nil(s)
			assert.equal("EBADF", code)
		end
	end)
end)

describe("a socket's address", function()
	local bad = {
		{{family = "inet", host = "localhost", port = 1}, "EINVAL"},
		{{family = "inet", host = "", port = 1}, "EINVAL"},
		{{family = "inet", host = "::1", port = 1}, "EINVAL"},
		{{family = "inet", host = "127.0.0.1\0", port = 1}, "EINVAL"},
		{{family = "inet", host = "127.0.0.1 ", port = 1}, "EINVAL"},
		{{family = "inet6", host = "127.0.0.1", port = 1}, "EINVAL"},
		{{family = "inet6", host = "[::1]", port = 1}, "EINVAL"},
		{{family = "inet6", host = "fe80::1", scope = "no such interface", port = 1}, "EINVAL"},
		{{family = "inet6", host = "fe80::1", scope = -1, port = 1}, "EINVAL"},
		{{family = "inet6", host = "fe80::1", scope = true, port = 1}, "EINVAL"},
		{{family = "unix", path = ""}, "EINVAL"},
		{{family = "unix", path = "/a\0b"}, "EINVAL"},
		{{family = "unix", path = ("x"):rep(108)}, "ENAMETOOLONG"},
	}
	local wrong = {
		{}, {family = "x25"}, {family = 4}, {family = "inet", port = "smtp"},
		{family = "inet", port = 65536}, {family = "inet", port = -1},
		{family = "inet", port = 1.5}, {family = "inet", host = 1}, {family = "unix"},
		{family = "unix", path = {}},
	}

	it("is refused with a reason when it cannot be one", function()
		for i, case in ipairs(bad) do
			local s, message, code = socket.connect(case[1])
			assert.is_nil(s, i)
			assert.equal(case[2], code, i)
			assert.equal("string", type(message))
			s, message, code = socket.listen(case[1])
			assert.is_nil(s, i)
			assert.equal(case[2], code, i)
			assert.equal("string", type(message))
		end
	end)

	it("raises when it is of the wrong shape", function()
		for i, address in ipairs(wrong) do
			assert.is_false(pcall(socket.connect, address), i)
			assert.is_false(pcall(socket.listen, address), i)
		end
		assert.is_false(pcall(socket.connect))
		assert.is_false(pcall(socket.connect, anywhere, 1))
		assert.is_false(pcall(socket.connect, anywhere, {source = 1}))
		assert.is_false(pcall(socket.listen, anywhere, {backlog = "many"}))
	end)

	it("may be IPv6, with a zone by name or number", function()
		local listener = socket.listen {family = "inet6", host = "::1", port = 0}
		if not listener then
			pending("there is no IPv6 here")
			return
		end
		local address = listener:address()
		assert.equal("inet6", address.family)
		assert.equal("::1", address.host)
		assert.is_nil(address.scope)
		assert.truthy(address.port > 0)
		address.scope = "lo"
		assert(socket.connect(address))
		address.scope = 1
		assert(socket.connect(address))
	end)

	it("may be an abstract name", function()
		local path = "\0smtptest-" .. file.getpid() .. "\0x"
		local listener = assert(socket.listen {family = "unix", path = path})
		assert.same({family = "unix", path = path}, listener:address())
		local client = assert(socket.connect {family = "unix", path = path})
		assert.is_true(client:connected())
		local server, peer = listener:accept()
		assert.same({family = "unix", path = ""}, peer)
		assert.equal(path, server:address().path)
	end)
end)

describe("a socket file", function()
	local path
	before_each(function() path = os.tmpname() os.remove(path) end)
	after_each(function() os.remove(path) end)

	it("is refused while somebody accepts on it", function()
		local listener <close> = assert(socket.listen {family = "unix", path = path})
		local s, message, code = socket.listen {family = "unix", path = path}
		assert.is_nil(s)
		assert.equal("bind: Address already in use", message)
		assert.equal("EADDRINUSE", code)
		assert.is_true(socket.connect(listener:address()):connected())
	end)

	it("is replaced when it is left over", function()
		assert(socket.listen {family = "unix", path = path}):close()
		local listener <close> = assert(socket.listen {family = "unix", path = path})
		local client <close> = assert(socket.connect(listener:address()))
		assert.is_true(client:connected())
	end)

	it("is not any other file", function()
		local f = assert(io.open(path, "w"))
		f:write("precious")
		f:close()
		local s, _, code = socket.listen {family = "unix", path = path}
		assert.is_nil(s)
		assert.equal("EADDRINUSE", code)
		assert.equal("precious", io.open(path):read("a"))
	end)

	it("is not followed through a link", function()
		local target = path .. ".target"
		assert(socket.listen {family = "unix", path = target}):close()
		os.execute(("ln -s %s %s"):format(target, path))
		local s, _, code = socket.listen {family = "unix", path = path}
		os.remove(target)
		assert.is_nil(s)
		assert.equal("EADDRINUSE", code)
	end)
end)

describe("a socket option", function()
	it("is a boolean, a number or a word", function()
		local client, server, listener = connected()
		assert.is_false(client:option("nodelay"))
		assert.is_true(client:option("nodelay", true))
		assert.is_true(client:option("nodelay"))
		assert.is_true(client:option("nodelay", false))
		assert.is_false(client:option("nodelay"))
		assert.is_true(client:option("keepalive", true))
		assert.is_true(client:option("keepalive"))
		assert.is_true(listener:option("reuseaddr"))
		assert.is_true(server:option("rcvbuf", 20000))
		assert.truthy(server:option("rcvbuf") >= 20000)
		assert.is_true(server:option("sndbuf", 20000))
		assert.truthy(server:option("sndbuf") >= 20000)
		assert.is_false(client:option("linger"))
		assert.is_true(client:option("linger", 5))
		assert.equal(5, client:option("linger"))
		assert.is_true(client:option("linger", false))
		assert.is_false(client:option("linger"))
		assert.equal("stream", client:option("type"))
		assert.is_false(client:option("error"))
	end)

	it("gives a pending error and takes it away", function()
		local client, server = connected()
		server:abort()
		await(client, "r")
		assert.equal("ECONNRESET", client:option("error"))
		assert.is_false(client:option("error"))
	end)

	it("may be refused by the system", function()
		local a = socket.pair()
		local value, message, code = a:option("v6only")
		assert.is_nil(value)
		assert.truthy(message:find("^v6only: "))
		assert.truthy(code)
		value = a:option("nodelay", true)
		assert.is_nil(value)
	end)

	it("raises for an unknown name, with the list of names, or a wrong value", function()
		local a = socket.pair()
		assert.error_matches(function() a:option("nodelai") end,
			"no socket option nodelai; there are nodelay .* v6only")
		for _, case in ipairs {{"nodelay", 1}, {"nodelay", "yes"}, {"sndbuf", true},
			{"sndbuf", -1}, {"linger", true}, {"linger", -1}, {"error", 1},
			{"type", "stream"}, {}} do
			assert.is_false(pcall(a.option, a, case[1], case[2]), case[1])
		end
	end)
end)

describe("the life of a socket", function()
	local methods = {
		connected = {}, accept = {}, read = {1}, write = {"x"}, shutdown = {"w"},
		address = {}, peer = {}, detach = {}, option = {"type"},
	}

	it("ends once, whoever ends it", function()
		for _, finish in ipairs {"close", "abort"} do
			local a, b = socket.pair()
			assert.is_true(a[finish](a))
			assert.is_true(a[finish](a))
			assert.is_true(a:close())
			assert.is_true(a:abort())
			assert.is_nil(a:fd())
			assert.equal("smtptest.core.socket (closed)", tostring(a))
			local _, _, code = b:read(1)
			assert.equal("EOF", code)
		end
	end)

	it("leaves a failure for whoever uses it after close", function()
		local a = socket.pair()
		a:close()
		for name, arguments in pairs(methods) do
			local value, message, code = a[name](a, table.unpack(arguments))
			assert.is_nil(value, name)
			assert.equal("closed", message, name)
			assert.equal("EBADF", code, name)
		end
	end)

	it("does not close a number that belongs to another by now", function()
		local a = socket.pair()
		local fd = a:fd()
		a:close()
		local c, d = socket.pair()
		assert.equal(fd, c:fd())
		a:close()
		a = nil
		collectgarbage()
		assert.is_nil(a)
		assert.equal(1, c:write("x"))
		assert.equal("x", d:read(1))
	end)

	it("ends with its scope and with its last reference", function()
		local b
		do
			local a <close>, other = socket.pair()
			b = other
			assert.truthy(a:fd())
		end
		assert.equal("EOF", select(3, b:read(1)))
		local a
		a, b = socket.pair()
		assert.truthy(a)
		a = nil
		collectgarbage()
		assert.is_nil(a)
		assert.equal("EOF", select(3, b:read(1)))
	end)

	it("lets an accepted socket outlive its listener", function()
		local client, server, listener = connected()
		listener:close()
		collectgarbage()
		client:write("x")
		assert.equal("x", await(server, "r"):read(1))
	end)

	it("raises for another self and for wrong arguments", function()
		local a = socket.pair()
		for name in pairs(methods) do
			for _, self in ipairs {false, 1, "x", {}, io.stdout, poll.new()} do
				assert.is_false(pcall(a[name], self, 1), name)
			end
		end
		for _, call in ipairs {
			function() a:read() end, function() a:read(0) end,
			function() a:read(-1) end, function() a:read(1 << 40) end,
			function() a:write() end, function() a:write({}) end,
			function() a:write("x", 0) end, function() a:write("x", -1) end,
			function() a:write("x", 1, -1) end, function() a:shutdown("x") end,
			function() a:shutdown() end, function() socket.pair("dgram") end,
			function() socket.fromfd("x") end,
		} do
			assert.is_false(pcall(call))
		end
	end)

	it("leaves no descriptor open after a failure", function()
		collectgarbage()
		collectgarbage("stop")
		local probe = assert(file.open("/dev/null"))
		local lowest = probe:fd()
		probe:close()
		socket.connect({family = "unix", path = "/nonexistent/socket"})
		socket.listen({family = "unix", path = "/nonexistent/socket"})
		socket.connect(anywhere, {source = {host = "::1"}})
		socket.connect(anywhere, {source = {host = "192.0.2.1"}})
		probe = assert(file.open("/dev/null"))
		collectgarbage("restart")
		assert.equal(lowest, probe:fd())
		probe:close()
	end)
end)
