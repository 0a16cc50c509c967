local transport = require "smtptest.transport"
local transcript = require "smtptest.transcript"
local task = require "smtptest.task"
local tls = require "smtptest.core.tls"
local cert = require "smtptest.core.cert"
local socket = require "smtptest.core.socket"

local certificate, key = assert(cert.self_signed { name = "localhost", names = { "DNS:localhost" } })
local server_context = assert(tls.context { server = true, cert = certificate, key = key })
local client_context = assert(tls.context {})

local function fails(code, value, message, got)
	assert.is_nil(value)
	assert.equal(code, got, message)
	return message
end

-- Shakes hands on both ends.
local function secure(client, server)
	local t = task.spawn(function() return assert(server:push(server_context:server {}, 30)) end)
	local leftover = assert(client:push(client_context:client {}, 30))
	return leftover, t:join()
end

local function secured()
	local a, b = transport.pair()
	secure(a, b)
	return a, b
end

local function close(...)
	for _, one in ipairs { ... } do one:close() end
end

-- A layer as SASL's: a length, then the bytes with all bits turned.
local function toy()
	local machine = { below = "", out = "" }
	local function turned(bytes)
		return (bytes:gsub(".", function(c) return string.char(c:byte() ~ 255) end))
	end
	function machine:feed(bytes) self.below = self.below .. bytes return true end
	function machine:read()
		local packet, rest = nil, nil
		if #self.below >= 4 and #self.below >= 4 + string.unpack(">I4", self.below) then
			packet, rest = string.unpack(">s4", self.below)
		end
		if packet then
			self.below = self.below:sub(rest)
			return turned(packet)
		end
		if self.ended then return nil, "an unfinished packet", self.below == "" and "EOF" or "TRUNCATED" end
		return nil, "more is needed", "WANTREAD"
	end
	function machine:write(bytes, first, last)
		bytes = bytes:sub(first or 1, last or -1)
		self.out = self.out .. string.pack(">s4", turned(bytes))
		return #bytes
	end
	function machine:drain()
		local out = self.out
		self.out = ""
		return out
	end
	function machine.finish() return true end
	function machine:eof() self.ended = true return true end
	return machine
end

local function events_of(t, options)
	local list = {}
	t:on(function(e)
		list[#list + 1] = ("%s%s %s %s"):format(e.below and "below " or "", e.direction, e.layer, e.bytes or e.event)
	end, options)
	return list
end

describe("reading from a transport", function()
	local a, b
	before_each(function() a, b = transport.pair() end)
	after_each(function() close(a, b) end)

	it("gives what is there", function()
		b:write "abcdef"
		assert.equal("abc", a:read(3))
		assert.equal("def", a:read(100))
		fails("TIMEOUT", a:read(100, 0))
		fails("TIMEOUT", a:read(100, 0.002))
	end)

	it("gives lines with their ends, whatever they are", function()
		b:write "one\r\ntwo\n\n\r\0\nrest"
		for _, text in ipairs { "one\r\n", "two\n", "\n", "\r\0\n" } do assert.equal(text, a:line()) end
		fails("TIMEOUT", a:line(0.002))
		b:write " of it\n"
		assert.equal("rest of it\n", a:line())
		b:write "end"
		b:shutdown()
		fails("EOF", a:line())
		assert.equal("end", a:read(10))
		fails("EOF", a:read(10))
	end)

	it("gives the same lines however they come", function()
		local text = "250-one\r\n250-two\r\n\r\n" .. ("x"):rep(300) .. "\n250 end\r\n"
		local lines = {}
		for text_line in text:gmatch "[^\n]*\n" do lines[#lines + 1] = text_line end
		for _, size in ipairs { 1, 2, 7, 100, 1000 } do
			local writer = task.spawn(function()
				for i = 1, #text, size do
					b:write(text:sub(i, i + size - 1))
					if size > 1 or i % 50 == 0 then task.sleep(0) end
				end
			end)
			for _, text_line in ipairs(lines) do assert.equal(text_line, a:line()) end
			writer:join()
		end
	end)

	it("keeps what a time-out left unfinished", function()
		for i = 1, 20 do
			b:write(tostring(i % 10))
			fails("TIMEOUT", a:line(0))
		end
		assert.equal("123", a:read(3))
		b:write "\nx"
		assert.equal("45678901234567890\n", a:line())
		assert.equal("x", a:pending())
		assert.equal("", a:pending())
	end)

	it("keeps what a canceled task had read", function()
		local t = task.spawn(function() a:line() end)
		b:write "begin "
		task.sleep(0.002)
		t:cancel()
		b:write "end\nmore"
		assert.equal("begin end\n", a:line())
		assert.equal("more", a:read(10))
	end)

	it("takes back what was not wanted", function()
		b:write "one\ntwo\n"
		local text = a:line()
		a:unread(text)
		a:unread "zero\n"
		for _, expected in ipairs { "zero\n", "one\n", "two\n" } do assert.equal(expected, a:line()) end
		a:unread "x"
		b:write "y\n"
		assert.equal("xy\n", a:line())
	end)

	it("refuses a line longer than maxline, and keeps all of it", function()
		for _, extra in ipairs { 0, 1, 5000, 100000 } do
			local s, c = socket.pair()
			local r = transport.fromfd(s:detach())
			r.maxline = 5000
			local w = transport.fromfd(c:detach())
			local text = ("x"):rep(4999 + extra) .. "\n"
			local t = task.spawn(function() w:write(text .. "next\n") end)
			if extra == 0 then
				assert.equal(text, r:line())
			else
				for _ = 1, 2 do
					local message = fails("TOOLONG", r:line())
					assert.equal("a line of more than 5000 bytes", message)
				end
				local got = ""
				while #got < #text do got = got .. r:read(#text - #got) end
				assert.is_true(got == text)
			end
			assert.equal("next\n", r:line())
			t:join()
			close(r, w)
		end
	end)

	it("ends with what ended the connection", function()
		b:write "x"
		b:close()
		assert.equal("x", a:read(10))
		fails("EOF", a:line())
		a:close()
		fails("EBADF", a:read(10))
		fails("EBADF", a:line())
		fails("EBADF", a:write "x")
		assert.is_true(a:close())
		assert.is_true(a:abort())
	end)
end)

describe("writing to a transport", function()
	it("is in turns: the bytes of two tasks are never mixed", function()
		for _, make in ipairs { transport.pair, secured } do
			local a, b = make()
			local writers = {}
			for i = 1, 4 do
				writers[i] = task.spawn(function() return a:write(tostring(i):rep(700000)) end)
			end
			local got, size = {}, 0
			while size < 2800000 do
				got[#got + 1] = assert(b:read(65536))
				size = size + #got[#got]
			end
			for i = 1, 4 do assert.is_true(writers[i]:join()) end
			local changes = 0
			got = table.concat(got)
			for i = 1, 4 do
				local from, to = got:find(tostring(i):rep(100) .. tostring(i) .. "+")
				changes = changes + (to - from + 1)
			end
			assert.equal(2800000, changes)
			close(a, b)
		end
	end)

	it("waits for its turn no longer than its time", function()
		local a, b = transport.pair()
		local t = task.spawn(function() a:write(("x"):rep(5000000)) end)
		task.sleep(0)
		fails("TIMEOUT", a:write("y", 0.005))
		t:cancel()
		close(a, b)
	end)

	-- Its place was taken for ever: what others wrote was never sent.
	it("goes on after a writer was canceled", function()
		for _, make in ipairs { transport.pair, secured } do
			local a, b = make()
			local t = task.spawn(function() a:write(("x"):rep(5000000)) end)
			task.sleep(0.002)
			t:cancel()
			local w = task.spawn(function() return a:write "QUIT\r\n" end)
			local text
			repeat text = assert(b:read(65536, 30)) until text:find "[^x]"
			while not text:find "\n" do text = text .. b:read(100, 30) end
			assert.equal("QUIT\r\n", text:match "[^x].*")
			assert.is_true(w:join())
			close(a, b)
		end
	end)

	it("goes on after a time-out, records whole", function()
		local a, b = secured()
		fails("TIMEOUT", a:write(("x"):rep(5000000), 0.005))
		local w = task.spawn(function() return a:write "QUIT\r\n" end)
		local text = ""
		repeat text = text:sub(-10) .. assert(b:read(65536, 30)) until text:find "\n"
		assert.equal("QUIT\r\n", text:match "[^x].*")
		assert.is_true(w:join())
		close(a, b)
	end)

	it("may be done by who listens", function()
		local a, b = transport.pair()
		local off
		off = a:on(function(e)
			if e.direction ~= "send" then return end
			off()
			a:write "[heard]"
		end)
		a:write "one "
		a:write " two"
		local text = ""
		while #text < 15 do text = text .. b:read(100) end
		assert.equal("one [heard] two", text)
		close(a, b)
	end)

	it("flows both ways at once, in clear and encrypted", function()
		local size = 5 * 1000 * 1000
		local chunk = ("0123456789"):rep(5000)
		for _, make in ipairs { transport.pair, secured } do
			local a, b = make()
			local tasks = {}
			for _, one in ipairs { a, b } do
				tasks[#tasks + 1] = task.spawn(function()
					for _ = 1, size // #chunk do assert(one:write(chunk)) end
				end)
				tasks[#tasks + 1] = task.spawn(function()
					local got = 0
					while got < size do got = got + #assert(one:read(16384)) end
					assert.equal(size, got)
				end)
			end
			for _, t in ipairs(tasks) do t:join(60) end
			close(a, b)
		end
	end)

	it("needs the same memory however much flows", function()
		local a, b = secured()
		local function flow(megabytes)
			local chunk = ("x"):rep(65536)
			local w = task.spawn(function()
				for _ = 1, megabytes * 16 do assert(a:write(chunk)) end
			end)
			local got = 0
			while got < megabytes << 20 do got = got + #b:read(16384) end
			w:join()
			collectgarbage()
			collectgarbage()
			return collectgarbage "count"
		end
		flow(1)
		local before = flow(1)
		assert.truthy(flow(16) - before < 1000)
		close(a, b)
	end)
end)

describe("the events of a transport", function()
	it("are a write that the kernel took, a chunk that was read, a fact", function()
		local a, b = transport.pair()
		local list = events_of(a)
		a:write "one"
		a:write ""
		b:write "two"
		a:read(100)
		a:note("tls", { bytes = nil })
		b:close()
		a:read(100)
		a:read(100)
		assert.same({ "send clear one", "receive clear two", "note clear tls", "note clear closed" }, list)
		a:close()
	end)

	it("are one for each write of the kernel", function()
		local a, b = transport.pair()
		local sizes, whole = {}, {}
		a:on(function(e)
			sizes[#sizes + 1] = #e.bytes
			whole[#whole + 1] = e.bytes
		end)
		local bytes = ("abcdefgh"):rep(200000)
		local t = task.spawn(function() a:write(bytes) end)
		local got = 0
		while got < #bytes do got = got + #b:read(65536) end
		t:join()
		assert.truthy(#sizes > 1)
		assert.is_true(table.concat(whole) == bytes)
		close(a, b)
	end)

	it("are plain above the layers; those below are for who asks", function()
		local a, b = secured()
		local plain, all = events_of(a), {}
		a:on(function(e) all[#all + 1] = e end, { below = true })
		a:write "secret"
		b:write "answer"
		a:read(100)
		assert.same({ "send tls secret", "receive tls answer" }, plain)
		local kinds = {}
		for _, e in ipairs(all) do
			if e.below then assert.is_nil(e.bytes:find("secret", 1, true) or e.bytes:find("answer", 1, true)) end
			kinds[(e.below and "below " or "") .. e.direction] = true
		end
		assert.same({ send = true, receive = true, ["below send"] = true, ["below receive"] = true }, kinds)
		close(a, b)
	end)

	it("may begin and end while they are told", function()
		local a, b = transport.pair()
		local log, off_second = {}, nil
		local off_first
		off_first = a:on(function()
			log[#log + 1] = "first"
			off_first()
			off_second()
			a:on(function() log[#log + 1] = "new" end)
		end)
		off_second = a:on(function() log[#log + 1] = "second" end)
		a:write "x"
		a:write "y"
		off_first()
		a:write "z"
		assert.same({ "first", "second", "new", "new" }, log)
		close(a, b)
	end)

	it("say what is secret, as the observer knows it", function()
		local a, b = transport.pair()
		local tracker = transcript.tracker()
		local kept = transcript.new()
		a.observer = {
			sent = function(_, bytes)
				local from, to = tracker:sent(bytes)
				kept:add("C", bytes, from and { from, to })
				return from, to
			end,
			received = function(_, bytes) kept:add("S", bytes) end,
		}
		local shown = {}
		a:on(function(e) shown[#shown + 1] = transcript.masked(e.bytes, e.secret) end)
		a:write "AUTH PLAIN AGEAYg==\r\n"
		b:write "235 ok\r\n"
		a:line()
		assert.same({ "AUTH PLAIN <8 bytes hidden>\r\n", "235 ok\r\n" }, shown)
		assert.equal("C: AUTH PLAIN <8 bytes hidden>\nS: 235 ok", tostring(kept))
		close(a, b)
	end)
end)

describe("a layer of TLS", function()
	it("goes on in both directions and comes off again", function()
		for _ = 1, 2 do
			local a, b = secured()
			assert.equal("tls", a:layer_name())
			a:write "over TLS\n"
			assert.equal("over TLS\n", b:line())
			b:write "back\n"
			assert.equal("back\n", a:line())

			local other = task.spawn(function()
				assert(b:pop())
				return b:line()
			end)
			assert.is_table({ assert(a:pop()) })
			assert.equal("clear", a:layer_name())
			a:write "in clear\n"
			assert.equal("in clear\n", other:join())
			b:write "back in clear\n"
			assert.equal("back in clear\n", a:line())
			secure(a, b)
			a:write "again\n"
			assert.equal("again\n", b:line())
			close(a, b)
		end
	end)

	it("hands back what was read in clear before it, and mixes it with nothing", function()
		local a, b = transport.pair()
		b:write "220 go\r\n250 injected\r\n"
		assert.equal("220 go\r\n", a:line())
		local leftover = secure(a, b)
		assert.equal("250 injected\r\n", leftover)
		b:write "250 real\r\n"
		assert.equal("250 real\r\n", a:line())
		close(a, b)
	end)

	it("comes off with what was not read yet in its order", function()
		local a, b = secured()
		b:write "one\ntwo\n"
		assert.equal("one\n", a:line())
		b:write "three\n"
		b:pop { wait = false }
		b:write "clear\n"
		assert(a:pop())
		for _, text in ipairs { "two\n", "three\n", "clear\n" } do assert.equal(text, a:line()) end
		assert.equal("TIMEOUT", select(3, a:read(10, 0)))
		close(a, b)
	end)

	it("comes off after its end was read, whoever said it first", function()
		local a, b = secured()
		local list = events_of(a)
		b:write "bye\n"
		local other = task.spawn(function() return assert(b:pop()) end)
		assert.equal("bye\n", a:line())
		fails("EOF", a:read(1))
		assert(a:pop())
		other:join()
		b:write "in clear\n"
		assert.equal("in clear\n", a:line())
		b:close()
		fails("EOF", a:read(1))
		assert.same({ "receive tls bye\n", "note tls closed", "receive clear in clear\n", "note clear closed" }, list)
		a:close()
	end)

	it("shows to listeners what was read while it came off", function()
		local a, b = secured()
		local list = events_of(a)
		b:write "late\n"
		b:pop { wait = false }
		b:write "clear\n"
		task.sleep(0.001)
		assert(a:pop { wait = true })
		assert.equal("late\n", a:line())
		assert.equal("clear\n", a:line())
		local seen = table.concat(list, ";")
		assert.truthy(seen:find("receive tls late\n", 1, true))
		assert.truthy(seen:find("receive clear clear\n", 1, true))
		close(a, b)
	end)

	it("that is not there can't come off", function()
		local a, b = transport.pair()
		fails("EINVAL", a:pop())
		close(a, b)
	end)

	it("tells an end with close_notify from one without", function()
		local a, b = secured()
		b:write "bye\n"
		b:shutdown()
		assert.equal("bye\n", a:line())
		fails("EOF", a:line())
		fails("EOF", a:read(1))
		close(a, b)

		a, b = secured()
		b:write "bye\n"
		b:close()
		assert.equal("bye\n", a:line())
		fails("TRUNCATED", a:line())
		fails("TRUNCATED", a:read(1))
		a:close()
	end)

	it("tells a reset", function()
		local a, b = secured()
		a:write "unread"
		b:abort()
		fails("ECONNRESET", a:line())
		a:close()
	end)

	it("goes on reading after a half-close", function()
		local a, b = secured()
		assert.is_true(a:shutdown())
		fails("EOF", b:line())
		b:write "still\n"
		assert.equal("still\n", a:line())
		close(a, b)
	end)

	it("fails when the peer hangs up or speaks no TLS", function()
		local a, b = transport.pair()
		b:shutdown()
		local message = fails("TLS", a:push(client_context:client {}, 30))
		assert.equal("the peer closed during the handshake", message)
		close(a, b)

		a, b = transport.pair()
		b:write "500 what?\r\n"
		local leftover
		fails("TLS", a:push(client_context:client {}, 30))
		assert.same({}, a.layers)
		close(a, b)

		a, b = transport.pair()
		b:write "in clear\n"
		a:line()
		a:unread "left"
		b:close()
		leftover = select(4, a:push(client_context:client {}, 30))
		assert.equal("left", leftover)
		a:close()
	end)

	it("waits for the handshake no longer than it is told", function()
		local a, b = transport.pair()
		fails("TIMEOUT", a:push(client_context:client {}, 0.005))
		assert.equal("clear", a:layer_name())
		close(a, b)
	end)

	it("may stand on another", function()
		local a, b = secured()
		secure(a, b)
		assert.equal(2, #a.layers)
		local t = task.spawn(function() a:write(("x"):rep(1000000) .. "\n") end)
		local size = 0
		while size < 1000001 do size = size + #assert(b:read(65536)) end
		t:join()
		local other = task.spawn(function() assert(b:pop()) end)
		assert(a:pop())
		other:join()
		b:write "one layer less\n"
		assert.equal("one layer less\n", a:line())
		assert.equal(1, #a.layers)
		a:shutdown()
		fails("EOF", b:line())
		close(a, b)
	end)

	it("reads and writes at once when the peer's buffers are full", function()
		local a, b = secured()
		local bytes = ("x"):rep(3000000)
		local w1 = task.spawn(function() return a:write(bytes) end)
		local w2 = task.spawn(function() return b:write(bytes) end)
		task.sleep(0.005)
		local got = { [a] = 0, [b] = 0 }
		for _, one in ipairs { a, b } do
			while got[one] < #bytes do got[one] = got[one] + #assert(one:read(16384)) end
		end
		assert.is_true(w1:join())
		assert.is_true(w2:join())
		close(a, b)
	end)
end)

describe("a layer of SASL", function()
	it("is fed with what was read before it", function()
		local a, b = transport.pair()
		local peer = toy()
		peer:write "250 early\r\n"
		b:write("235 ok\r\n" .. peer:drain())
		assert.equal("235 ok\r\n", a:line())
		local leftover = assert(a:push(toy()))
		assert.equal("\0\0\0\11", leftover:sub(1, 4))
		assert.equal("sasl", a:layer_name())
		assert.equal("250 early\r\n", a:line())
		assert(b:push(toy()))
		a:write "NOOP\r\n"
		assert.equal("NOOP\r\n", b:line())
		close(a, b)
	end)

	it("stands on TLS", function()
		local a, b = secured()
		for _, one in ipairs { a, b } do assert(one:push(toy())) end
		local list = events_of(a)
		a:write "hello\n"
		assert.equal("hello\n", b:line())
		b:write "there\n"
		assert.equal("there\n", a:line())
		assert.same({ "send sasl hello\n", "receive sasl there\n" }, list)
		b:shutdown()
		fails("EOF", a:line())
		close(a, b)
	end)

	it("tells a packet that never ends", function()
		local a, b = transport.pair()
		assert(a:push(toy()))
		b:write "\0\0\0\9abc"
		b:close()
		fails("TRUNCATED", a:line())
		a:close()
	end)

	it("comes off at once: it has no end of its own", function()
		local a, b = transport.pair()
		local machine = toy()
		assert(a:push(machine))
		assert.equal(machine, a:pop { timeout = 30 })
		b:write "clear\n"
		assert.equal("clear\n", a:line())
		close(a, b)
	end)

	it("that fails tells why", function()
		local a, b = transport.pair()
		local machine = toy()
		function machine.read() return nil, "bad packet", "SASL" end
		function machine.write() return nil, "too late", "SASL" end
		assert(a:push(machine))
		assert.equal("bad packet", fails("SASL", a:read(10)))
		assert.equal("too late", fails("SASL", a:write "x"))
		close(a, b)
	end)
end)

describe("a transport", function()
	it("connects, or says why not", function()
		local listener = assert(socket.listen { family = "inet", host = "127.0.0.1", port = 0 })
		local port = listener:address().port
		local a = assert(transport.connect { host = "127.0.0.1", port = port, timeout = 30, maxline = 77 })
		assert.same({ 30, 77 }, { a.timeout, a.maxline })
		a:close()
		listener:close()
		fails("ECONNREFUSED", transport.connect { host = "127.0.0.1", port = port })
	end)

	it("has the defaults of a plan, and its words for what is wrong", function()
		assert.matches("^t/transport_spec%.lua:%d+: unknown plan field 'hots' %(did you mean 'host'%?%)",
			select(2, pcall(function() local t = transport.connect { hots = "x" } return t end)))
		fails("RESOLVE", transport.connect { host = "no such host" })
		local a, b = secured()
		assert.matches("^t/transport_spec%.lua:%d+: unknown option 'notfiy' %(did you mean 'notify'%?%)",
			select(2, pcall(function() local m = a:pop { notfiy = false } return m end)))
		close(a, b)
	end)

	it("is made of a descriptor, which it owns, or not", function()
		local s, c = socket.pair()
		local a = assert(transport.fromfd(s:detach()))
		c:write "x"
		assert.equal("x", a:read(1))
		a:close()
		assert.equal("EOF", select(3, c:read(1)))
		c:close()
		fails("EBADF", transport.fromfd(99999))
	end)

	it("is closed by its scope, and resets when it is told to", function()
		local a, b = transport.pair()
		do
			local _ <close> = b
		end
		fails("EOF", a:read(1))
		a:close()
		local listener = assert(require "smtptest.wire".listen { family = "inet", host = "127.0.0.1", port = 0 })
		local client = assert(transport.connect { host = "127.0.0.1", port = listener:address().port })
		local server = transport.wrap(assert(listener:accept()))
		client:abort()
		fails("ECONNRESET", server:read(1))
		close(server, listener)
	end)
end)
