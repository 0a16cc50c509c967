local pair = require "saslpair"

-- client and server of DIGEST-MD5 with a layer of that strength, their layers.
local function layers(ssf, options)
	options = options or {}
	local result = pair.authenticate("DIGEST-MD5", {
		client = pair.with({minssf = ssf, maxssf = ssf}, options.client),
		server = options.server,
		-- A remembered host would be authenticated with the former strength.
		initial = false,
	})
	assert.is_nil(result.message)
	assert.equal(ssf, result.client:ssf())
	assert.equal(ssf, result.server:ssf())
	return result.client:layer(), result.server:layer(), result
end

local function read_all(layer)
	local got = {}
	while true do
		local bytes, message, code = layer:read()
		if not bytes then return table.concat(got), code, message end
		got[#got + 1] = bytes
	end
end

-- Bytes with a pattern that shows what is lost or doubled.
local function sample(size)
	local words = {}
	for i = 1, size // 8 + 1 do words[i] = ("%08x"):format(i) end
	return table.concat(words):sub(1, size)
end

for _, ssf in ipairs {1, 56, 128} do
	describe("a layer of strength " .. ssf, function()
		it("carries 200 kB each way, cut anywhere", function()
			local client, server = layers(ssf)
			local text = sample(200000)
			local random = 1
			for _, ends in ipairs {{client, server}, {server, client}} do
				assert.equal(#text, ends[1]:write(text))
				local wire, got, at = ends[1]:drain(), {}, 1
				assert.equal("", ends[1]:drain())
				assert.is_true(#wire > #text)
				while at <= #wire do
					random = random * 16807 % 2147483647
					local size = random % 5000 + 1
					assert.is_true(ends[2]:feed(wire:sub(at, at + size - 1)))
					at = at + size
					local bytes, code = read_all(ends[2])
					assert.equal("WANTREAD", code)
					got[#got + 1] = bytes
				end
				assert.is_true(table.concat(got) == text)
			end
		end)

		it("gives back what is not decoded yet, and keeps what is", function()
			local client, server = layers(ssf)
			client:write "235 ok\r\n"
			server:feed(client:drain() .. "\0\0\0\9not ours")
			assert.equal("235", server:read(3))
			assert.equal("\0\0\0\9not ours", server:rest())
			assert.equal("", server:rest())
			assert.equal(" ok\r\n", server:read())
			assert.equal("WANTREAD", select(3, server:read()))
			server:close()
			assert.equal("EBADF", select(3, server:rest()))
		end)

		it("carries single bytes, and reads no more than asked", function()
			local client, server = layers(ssf)
			for byte in ("QUIT\r\n"):gmatch "." do client:write(byte) end
			local wire = client:drain()
			for i = 1, #wire do server:feed(wire:sub(i, i)) end
			assert.equal("QUIT\r\n", (read_all(server)))
			client:write "NOOP\r\n"
			server:feed(client:drain())
			assert.equal("NOO", server:read(3))
			assert.equal("P\r\n", server:read(100))
			assert.equal("WANTREAD", (select(3, server:read(1))))
		end)

		it("finds a changed byte, after all that was right", function()
			local client, server = layers(ssf)
			client:write "right"
			local right = client:drain()
			client:write "wrong"
			local wrong = client:drain()
			wrong = wrong:sub(1, 5) .. string.char(wrong:byte(6) ~ 1) .. wrong:sub(7)
			server:feed(right .. wrong .. right)
			assert.equal("right", server:read())
			for _ = 1, 2 do
				local bytes, message, code = server:read()
				assert.same({nil, "SASL"}, {bytes, code})
				assert.is_true(#message > 0)
				assert.is_nil(message:find("success"))
			end
			assert.same({nil, "SASL"}, {server:write "x", (select(3, server:write "x"))})
		end)

		it("finds a packet that comes twice, or out of its turn", function()
			local client, server = layers(ssf)
			client:write "one"
			local one = client:drain()
			server:feed(one .. one)
			local got, code = read_all(server)
			assert.same({"one", "SASL"}, {got, code})
			client, server = layers(ssf)
			client:write "one"
			client:drain()
			client:write "two"
			server:feed(client:drain())
			assert.equal("SASL", (select(3, server:read())))
		end)
	end)
end

describe("a packet", function()
	local function after(bytes)
		local _, server = layers(128)
		server:feed(bytes)
		local got, code = read_all(server)
		assert.equal("", got)
		server:eof()
		return code, (select(3, server:read()))
	end

	local LIES = {
		[("\0\0\0\0")] = "SASL", ["\0\0\0\1x"] = "SASL", ["\0\0\0\15" .. ("x"):rep(15)] = "SASL",
		["\0\0\0\16" .. ("x"):rep(16)] = "SASL", ["\0\0\1\0" .. ("x"):rep(256)] = "SASL",
		["\255\255\255\255"] = "SASL", ["\127\255\255\255x"] = "SASL", ["\0\1\0\1x"] = "SASL",
		["EHLO plain text\r\n"] = "SASL",
	}
	for bytes, code in pairs(LIES) do
		it(("of %q is refused"):format(bytes:sub(1, 8)), function()
			assert.equal(code, (after(bytes)))
		end)
	end

	for _, bytes in ipairs {"\0", "\0\0\0", "\0\0\0\32", "\0\0\0\32" .. ("x"):rep(31), "\0\1\0\0"} do
		it(("that ends after %q is not whole"):format(bytes:sub(1, 8)), function()
			assert.same({"WANTREAD", "TRUNCATED"}, {after(bytes)})
		end)
	end

	it("that lies about its length says so", function()
		local _, server = layers(1)
		server:feed "EHLO plain text"
		assert.same({nil, "packet longer than agreed", "SASL"}, {server:read()})
	end)

	it("is as large as the peer allows", function()
		local client, server = layers(128, {server = {maxbufsize = 1000}})
		client:write(("x"):rep(100000))
		local wire, at, count = client:drain(), 1, 0
		while at <= #wire do
			local size = string.unpack(">I4", wire, at)
			assert.is_true(size <= 1000)
			at, count = at + 4 + size, count + 1
		end
		assert.is_true(count >= 100)
		server:feed(wire)
		assert.equal(100000, #read_all(server))
	end)

	it("is one for one write", function()
		local client = layers(128)
		client:write "one"
		local one = client:drain()
		assert.equal(#one, 4 + string.unpack(">I4", one))
		client:write "one"
		client:write "two"
		assert.equal(2 * #one, #client:drain())
	end)
end)

describe("a write", function()
	it("may be of a part", function()
		local client, server = layers(1)
		assert.equal(3, client:write("abcdefg", 2, 4))
		assert.equal(2, client:write("abcdefg", 6))
		assert.equal(1, client:write("abcdefg", 7, 100))
		assert.equal(0, client:write("abcdefg", 5, 4))
		assert.equal(0, client:write("abcdefg", 8))
		assert.equal(0, client:write(""))
		server:feed(client:drain())
		assert.equal("bcdfgg", (read_all(server)))
		assert.has_error(function() client:write("abc", 0) end)
		assert.has_error(function() client:write("abc", 1, -1) end)
		assert.has_error(function() client:write() end)
		assert.has_error(function() client:read(0) end)
	end)

	it("of nothing sends nothing", function()
		local client = layers(1)
		client:write ""
		assert.equal("", client:drain())
	end)
end)

describe("the end below", function()
	it("between packets is the end", function()
		local client, server = layers(56)
		client:write "last"
		server:feed(client:drain())
		assert.is_true(server:eof())
		assert.equal("last", server:read())
		assert.equal("EOF", (select(3, server:read())))
		assert.equal("EOF", (select(3, server:read())))
	end)

	it("inside one is told apart, after what was whole", function()
		local client, server = layers(56)
		client:write "last"
		local wire = client:drain()
		client:write "lost"
		server:feed(wire .. client:drain():sub(1, -2))
		server:eof()
		assert.equal("last", server:read())
		assert.equal("TRUNCATED", (select(3, server:read())))
	end)

	it("does not stop what we say", function()
		local client, server = layers(56)
		client:eof()
		assert.is_true(client:finish())
		client:write "bye"
		server:feed(client:drain())
		assert.equal("bye", server:read())
	end)
end)

describe("what comes before the layer is read", function()
	it("is kept for it: the server may speak at once", function()
		local result = pair.authenticate("DIGEST-MD5", {initial = false})
		local server = result.server:layer()
		server:write "220 early\r\n"
		local early = server:drain()
		local client = result.client:layer()
		client:feed(early:sub(1, 3))
		assert.equal("WANTREAD", (select(3, client:read())))
		client:feed(early:sub(4))
		assert.equal("220 early\r\n", client:read())
	end)
end)

describe("the life of a layer", function()
	it("is one per connection", function()
		local client, _, result = layers(128)
		assert.is_true(rawequal(client, result.client:layer()))
	end)

	it("keeps its connection", function()
		local client, server = layers(128)
		for _ = 1, 3 do collectgarbage() end
		client:write "still here"
		server:feed(client:drain())
		assert.equal("still here", server:read())
	end)

	it("does not keep both for ever", function()
		local weak = setmetatable({}, {__mode = "v"})
		do
			local client, _, result = layers(128)
			weak[1], weak[2] = client, result.client
		end
		for _ = 1, 3 do collectgarbage() end
		assert.is_nil(weak[1])
		assert.is_nil(weak[2])
	end)

	local METHODS = {feed = {""}, read = {}, write = {""}, drain = {}, finish = {}, eof = {}}
	local function is_closed(layer)
		for name, arguments in pairs(METHODS) do
			assert.same({nil, "closed", "EBADF"}, {layer[name](layer, table.unpack(arguments))}, name)
		end
	end

	it("ends by close, twice if need be", function()
		local client, _, result = layers(128)
		assert.is_true(client:close())
		assert.is_true(client:close())
		is_closed(client)
		assert.equal(128, result.client:ssf())
	end)

	it("ends with its connection", function()
		local client, server, result = layers(128)
		server:write "never read"
		client:feed(server:drain())
		result.client:close()
		is_closed(client)
		assert.is_true(client:close())
	end)

	it("ends with its block", function()
		local kept = layers(128)
		do
			local layer <close> = kept
			layer:write "x"
		end
		is_closed(kept)
	end)

	it("is for no other object's methods", function()
		local client, _, result = layers(128)
		for name, arguments in pairs(METHODS) do
			assert.has_error(function() client[name](io.stdout, table.unpack(arguments)) end)
			assert.has_error(function() client[name](result.client, table.unpack(arguments)) end)
		end
		assert.has_error(function() client.close({}) end)
	end)
end)
