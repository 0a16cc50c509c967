local proxy = require "smtptest.proxy"

local V4 = { host = "192.0.2.1", port = 40000 }
local V6 = { host = "2001:db8::1", port = 40000 }
local SIGNATURE = "\r\n\r\n\0\r\nQUIT\n"

local function header(spec, from, to)
	return proxy.header(spec, from or V4, to or { host = "192.0.2.2", port = 25 })
end

local function hex(bytes)
	return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
end

describe("a PROXY header", function()
	it("of version 1 is a line", function()
		local spec = { version = 1, command = "PROXY" }
		assert.equal("PROXY TCP4 192.0.2.1 192.0.2.2 40000 25\r\n", header(spec))
		assert.equal("PROXY TCP6 2001:db8::1 ::1 40000 25\r\n", header(spec, V6, { host = "::1", port = 25 }))
		assert.equal("PROXY TCP6 2001:db8::1 ::ffff:192.0.2.2 40000 25\r\n", header(spec, V6))
	end)

	it("announces the address it is given", function()
		local spec = { version = 1, command = "PROXY", source = "10.1.2.3" }
		assert.equal("PROXY TCP4 10.1.2.3 192.0.2.2 40000 25\r\n", header(spec))
		spec.source = "2001:db8::2"
		assert.equal("PROXY TCP6 2001:db8::2 ::ffff:192.0.2.2 40000 25\r\n", header(spec))
		spec.source = "10.1.2.3"
		assert.equal("PROXY TCP6 ::ffff:10.1.2.3 ::1 40000 25\r\n", header(spec, V6, { host = "::1", port = 25 }))
	end)

	it("says UNKNOWN when asked to, or on a UNIX socket", function()
		assert.equal("PROXY UNKNOWN\r\n", header { version = 1, command = "PROXY", unknown = true })
		assert.equal("PROXY UNKNOWN\r\n", proxy.header({ version = 1, command = "PROXY" }, { path = "/x" }, {}))
		assert.equal(SIGNATURE .. "\x21\0\0\0", header { version = 2, command = "PROXY", unknown = true })
	end)

	it("for LOCAL is version 2 without addresses", function()
		assert.equal(SIGNATURE .. "\x20\0\0\0", header { command = "LOCAL", version = 2 })
	end)

	it("of version 2 is bytes", function()
		local spec = { version = 2, command = "PROXY" }
		assert.equal(SIGNATURE .. "\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\x9c\x40\0\x19", header(spec))
		local bytes = header(spec, V6)
		assert.equal(SIGNATURE .. "\x21\x21\0\x24", bytes:sub(1, 16))
		assert.equal("20010db8000000000000000000000001" .. "00000000000000000000ffffc0000202" .. "9c400019",
			hex(bytes:sub(17)))
	end)

	it("of version 2 knows every way to write an IPv6 address", function()
		for text, digits in pairs {
			["::"] = "00000000000000000000000000000000", ["::1"] = "00000000000000000000000000000001",
			["1::"] = "00010000000000000000000000000000", ["1:2:3:4:5:6:7:8"] = "00010002000300040005000600070008",
			["1::8"] = "00010000000000000000000000000008", ["ABCD:ef::12:345"] = "abcd00ef000000000000000000120345",
				["::ffff:1.2.3.255"] = "00000000000000000000ffff010203ff",
			["1:2:3:4:5:6:9.8.7.6"] = "00010002000300040005000609080706",
			["fe80::1%eth0"] = "fe800000000000000000000000000001",
		} do
			local bytes = header({ version = 2, command = "PROXY", source = text })
			assert.equal(digits, hex(bytes:sub(17, 32)), text)
			assert.equal(16 + 36, #bytes)
		end
	end)
end)

describe("proxy.parse", function()
	local from, to = { host = "192.0.2.1", port = 4000 }, { host = "192.0.2.2", port = 25 }
	local from6, to6 = { host = "2001:db8::1", port = 4000 }, { host = "2001:db8::2", port = 25 }

	it("reads what proxy.header writes, and gives the rest", function()
		for _, version in ipairs { 1, 2 } do
			local read, rest = proxy.parse(proxy.header({ version = version }, from, to) .. "EHLO x\r\n")
			assert.equal("EHLO x\r\n", rest)
			assert.equal(version, read.version)
			assert.same({ family = "inet", host = "192.0.2.1", port = 4000 }, read.source)
			assert.same({ family = "inet", host = "192.0.2.2", port = 25 }, read.target)
			read = proxy.parse(proxy.header({ version = version }, from6, to6))
			assert.equal("inet6", read.source.family)
			assert.matches("^2001:db8:", read.source.host)
		end
	end)

	it("reads headers that name nobody", function()
		for _, bytes in ipairs { "PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n",
			proxy.header({ version = 2, command = "LOCAL" }, from, to), proxy.header({ version = 2, unknown = true }, from, to) } do
			local read, rest = proxy.parse(bytes .. "x")
			assert.is_nil(read.source)
			assert.equal("x", rest)
		end
	end)

	it("gives the TLVs of version 2", function()
		local built = proxy.header({ version = 2 }, from, to)
		local tlvs = "\x01\x00\x02h2\x20\x00\x00"
		local whole = built:sub(1, 14) .. string.pack(">I2", 12 + #tlvs) .. built:sub(17) .. tlvs
		assert.same({ { type = 1, value = "h2" }, { type = 32, value = "" } }, proxy.parse(whole).tlvs)
	end)

	it("wants more as long as it may be one", function()
		for _, bytes in ipairs { proxy.header({ version = 1 }, from, to), proxy.header({ version = 2 }, from, to) } do
			for i = 0, #bytes - 1 do
				local read, message = proxy.parse(bytes:sub(1, i))
				assert.is_nil(read)
				assert.is_nil(message)
			end
		end
	end)

	for _, bytes in ipairs {
		"EHLO x\r\n", "proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n", "PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
		"PROXY TCP4 1.1.1.256 1.1.1.1 1 1\r\n", "PROXY TCP4 ::1 ::1 1 1\r\n", "PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n",
		"PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n", "PROXY TCP4 1.1.1.1 1.1.1.1 x 1\r\n",
		"PROXY TCP4 1.1.1.1. 1.1.1.1 1 1\r\n", "PROXY TCP4 1.1.1.1  1.1.1.1 1 1\r\n", "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 \r\n",
		"PROXY \r\n", "PROXY TCP5\r\n",
		"PROXY TCP4 " .. ("1"):rep(100), "PROXY UNKNOWN " .. ("x"):rep(92) .. "\r\n",
		"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\8abcdabcd", "\r\n\r\n\0\r\nQUIT\n\x11\x11\0\0", "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\4abcd",
		"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\14" .. ("\0"):rep(14),
		"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\15" .. ("\0"):rep(12) .. "\1\255\255",
		"\r\n\r\n\0\r\nQUIX\n", "\r\nx",
	} do
		it(("refuses %q"):format(bytes:sub(1, 40)), function()
			local read, message, code = proxy.parse(bytes)
			assert.is_nil(read)
			assert.matches("^PROXY header: ", message)
			assert.equal("EPROTO", code)
		end)
	end
end)
