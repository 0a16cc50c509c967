local resolve = require "smtptest.core.resolve"
local poll = require "smtptest.core.poll"

-- The result of a request, however long the system takes for it.
local function answer(options)
	local request <close> = assert(resolve.start(options))
	if request:fd() then
		local p <close> = poll.new()
		assert(p:add(request:fd(), "level"))
		repeat
			assert(p:want(request:fd(), "r"))
		until p:wait(60, {}) > 0
		p:remove(request:fd())
	end
	return request:result()
end

local function inet(host, port)
	return {family = "inet", host = host, port = port}
end

local function inet6(host, port, scope)
	return {family = "inet6", host = host, port = port, scope = scope}
end

describe("a numeric host", function()
	local cases = {
		{{host = "127.0.0.1", service = "25"}, {inet("127.0.0.1", 25)}},
		{{host = "127.0.0.1", service = 25}, {inet("127.0.0.1", 25)}},
		{{host = "127.0.0.1", service = "65535"}, {inet("127.0.0.1", 65535)}},
		{{host = "127.0.0.1", service = "0"}, {inet("127.0.0.1", 0)}},
		{{host = "127.0.0.1", service = "00025"}, {inet("127.0.0.1", 25)}},
		{{host = "127.0.0.1"}, {inet("127.0.0.1", 0)}},
		{{host = "192.0.2.1", service = "25", family = "inet"}, {inet("192.0.2.1", 25)}},
		{{host = "::1", service = "25"}, {inet6("::1", 25)}},
		{{host = "[::1]", service = "25"}, {inet6("::1", 25)}},
		{{host = "[2001:db8::1]", service = "25", family = "inet6"}, {inet6("2001:db8::1", 25)}},
		{{host = "2001:DB8:0::0:1", service = "25"}, {inet6("2001:db8::1", 25)}},
		{{host = "fe80::1%lo", service = "25"}, {inet6("fe80::1", 25, 1)}},
		{{host = "[fe80::1%lo]", service = "25"}, {inet6("fe80::1", 25, 1)}},
		{{host = "fe80::1%1", service = "25"}, {inet6("fe80::1", 25, 1)}},
		{{service = "25", passive = true, family = "inet"}, {inet("0.0.0.0", 25)}},
		{{service = "25", passive = true, family = "inet6"}, {inet6("::", 25)}},
		{{service = "25", family = "inet"}, {inet("127.0.0.1", 25)}},
	}

	it("is answered at once, without a thread", function()
		for i, case in ipairs(cases) do
			local request <close> = assert(resolve.start(case[1]))
			assert.is_nil(request:fd(), i)
			local addresses, canonical = request:result()
			assert.same(case[2], addresses)
			assert.is_nil(canonical)
		end
	end)

	it("is its own canonical name", function()
		local _, canonical = answer {host = "127.0.0.1", service = "25", canonname = true}
		assert.equal("127.0.0.1", canonical)
	end)

	it("gives its result as often as it is asked for", function()
		local request = resolve.start {host = "127.0.0.1", service = "25"}
		assert.same(request:result(), (request:result()))
	end)
end)

describe("a name", function()
	it("is looked up while nobody waits", function()
		local request <close> = assert(resolve.start {host = "localhost", service = "25"})
		assert.equal("number", type(request:fd()))
		local addresses, _, code = request:result()
		assert.truthy(addresses or code == "EAGAIN")
		addresses = assert(answer {host = "localhost", service = "25"})
		for _, address in ipairs(addresses) do
			assert.equal(25, address.port)
			assert.truthy(address.host == "127.0.0.1" or address.host == "::1")
		end
		assert.truthy(#addresses > 0)
	end)

	it("may have a canonical name", function()
		local _, canonical = answer {host = "localhost", service = "25", canonname = true}
		assert.equal("localhost", canonical:match("^localhost"))
	end)

	it("may be that of a service", function()
		local addresses, message, code = answer {host = "127.0.0.1", service = "smtp"}
		if not addresses then
			assert.equal("RESOLVE", code, message)
			pending("there is no list of services here")
			return
		end
		assert.same({inet("127.0.0.1", 25)}, addresses)
	end)

	it("finds several requests at the same time", function()
		local requests = {}
		for i = 1, 20 do
			requests[i] = assert(resolve.start {host = "localhost", service = tostring(i)})
		end
		local p <close> = poll.new()
		for i, request in ipairs(requests) do
			p:add(request:fd(), "level")
			repeat p:want(request:fd(), "r") until p:wait(60, {}) > 0
			p:remove(request:fd())
			assert.equal(i, request:result()[1].port)
		end
	end)
end)

describe("what cannot be resolved", function()
	local bad = {
		{host = "127.0.0.1", service = "65536"},
		{host = "127.0.0.1", service = "65561"},
		{host = "127.0.0.1", service = "-1"},
		{host = "127.0.0.1", service = "+25"},
		{host = "127.0.0.1", service = " 25"},
		{host = "127.0.0.1", service = "25 "},
		{host = "127.0.0.1", service = "25x"},
		{host = "127.0.0.1", service = "0x19"},
		{host = "127.0.0.1", service = "99999999999999999999999999"},
		{host = "127.0.0.1", service = ""},
		{host = "127.0.0.1", service = "25\0"},
		{host = "127.0.0.1", service = "no-such-service"},
		{host = "127.0.0.1\0.example", service = "25"},
		{host = "127.0.0.1", family = "inet6", service = "25"},
		{host = "::1", family = "inet", service = "25"},
		{host = "[::1]", family = "inet", service = "25"},
		{host = "[127.0.0.1]", service = "25"},
		{host = "[localhost]", service = "25"},
		{host = "[]", service = "25"},
		{host = "[", service = "25"},
		{host = "::1]", service = "25"},
		{host = "fe80::1%no-such-interface", service = "25"},
		{host = "", service = "25"},
		{host = "nobody.invalid", service = "25"},
		{host = ("x"):rep(5000), service = "25"},
		{},
	}

	it("fails with getaddrinfo's reason", function()
		for i, options in ipairs(bad) do
			local addresses, message, code = answer(options)
			assert.is_nil(addresses, i)
			assert.equal("string", type(message), i)
			assert.truthy(#message > 0, i)
			if i < 24 then
				assert.equal("RESOLVE", code, i)
			else
				-- A resolver that is not there is the system's failure.
				assert.truthy(code == "RESOLVE" or code:find("^E"), i)
			end
		end
	end)

	it("raises when it is of the wrong type", function()
		for i, options in ipairs {
			{host = {}}, {host = true}, {service = {}, host = "x"},
			{host = "x", family = "unix"}, {host = "x", family = 4},
		} do
			assert.is_false(pcall(resolve.start, options), i)
		end
		assert.is_false(pcall(resolve.start))
		assert.is_false(pcall(resolve.start, "localhost"))
	end)
end)

describe("the life of a request", function()
	it("ends once, and leaves a failure for whoever asks later", function()
		for _, host in ipairs {"127.0.0.1", "localhost"} do
			local request = assert(resolve.start {host = host, service = "25"})
			assert.is_true(request:close())
			assert.is_true(request:close())
			assert.is_nil(request:fd())
			local addresses, message, code = request:result()
			assert.is_nil(addresses)
			assert.equal("closed", message)
			assert.equal("EBADF", code)
		end
	end)

	it("may end before its thread does", function()
		for i = 1, 20 do
			local request = assert(resolve.start {host = "localhost", service = tostring(i)})
			if i % 2 == 0 then request:close() end
		end
		collectgarbage()
		assert.truthy(answer {host = "localhost", service = "25"})
	end)

	it("keeps its own copy of what was asked", function()
		local options = {host = ("local"):rep(1) .. "host", service = tostring(20 + 5)}
		local request <close> = assert(resolve.start(options))
		options.host, options.service = nil, nil
		collectgarbage()
		local p <close> = poll.new()
		p:add(request:fd(), "level")
		repeat p:want(request:fd(), "r") until p:wait(60, {}) > 0
		p:remove(request:fd())
		assert.equal(25, request:result()[1].port)
	end)

	it("raises for another self", function()
		local request <close> = resolve.start {host = "127.0.0.1"}
		for _, name in ipairs {"fd", "result", "close"} do
			assert.is_false(pcall(request[name], {}))
			assert.is_false(pcall(request[name], poll.new()))
			assert.is_false(pcall(request[name]))
		end
	end)
end)
