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

-- Bit by bit, as the standard says (RFC 3720 section 12.1).
local function crc32c(bytes)
	local crc = 0xffffffff
	for c in bytes:gmatch "." do
		crc = crc ~ c:byte()
		for _ = 1, 8 do crc = (crc >> 1) ~ ((crc & 1) * 0x82f63b78) end
	end
	return crc ~ 0xffffffff
end

describe("the TLVs of a PROXY header", function()
	-- What stands behind the addresses.
	local function tlvs(list)
		local bytes = header { tlvs = list }
		assert.equal(SIGNATURE .. "\x21\x11" .. string.pack(">I2", #bytes - 16), bytes:sub(1, 16))
		return bytes:sub(16 + 12 + 1)
	end

	it("make it version 2, in the order of the list", function()
		assert.equal("\x01\0\2h2" .. "\xe0\0\3a\0b" .. "\4\0\0", tlvs { { type = "alpn", value = "h2" },
			{ type = 0xe0, value = "a\0b" }, "noop" })
	end)

	it("may be a map of names, sorted, of which false is left out", function()
		assert.equal("\x01\0\4smtp" .. "\x02\0\6x.test" .. "\x30\0\3net" .. "\x05\0\2id", tlvs { unique_id = "id", netns = "net",
			alpn = "smtp", authority = "x.test", noop = false })
	end)

	it("know every name", function()
		for name, number in pairs { alpn = 1, authority = 2, crc32c = 3, noop = 4, unique_id = 5, ssl = 0x20, netns = 0x30 } do
			assert.equal(string.char(number) .. "\0\1x", tlvs { { type = name, value = "x" } })
			assert.equal(number, proxy.types[name])
		end
	end)

	it("have a right CRC32c where one is asked for, wherever it stands, and a wrong one where it is given", function()
		assert.equal(0xe3069283, crc32c "123456789")
		for _, list in ipairs { { "crc32c" }, { { type = "crc32c" }, { type = "alpn", value = "h2" } }, { crc32c = true, alpn = "h2" },
			{ { type = 3, value = nil }, "noop" } } do
			for _, addresses in ipairs { { V4, { host = "192.0.2.2", port = 25 } }, { V6, V6 } } do
				local bytes = header({ tlvs = list }, table.unpack(addresses))
				local read = assert(proxy.parse(bytes))
				local sum
				for _, tlv in ipairs(read.tlvs) do
					if tlv.type == 3 then sum = tlv.value end
				end
				local at = bytes:find(sum, 1, true)
				assert.equal(hex(string.pack(">I4", crc32c(bytes:sub(1, at - 1) .. "\0\0\0\0" .. bytes:sub(at + 4)))), hex(sum))
			end
		end
		local lie = header { tlvs = { { type = "crc32c", value = "abcd" } } }
		assert.matches("abcd$", lie)
		assert.same({ nil, "PROXY header: wrong CRC32c", "EPROTO" }, { proxy.parse(lie) })
		assert.same({ nil, "PROXY header: wrong CRC32c", "EPROTO" },
			{ proxy.parse(header { tlvs = { { type = "crc32c", value = "abc" } } }) })
	end)

	it("describe TLS", function()
		assert.equal("\x20\0\5\1\0\0\0\0", tlvs { ssl = {} })
		assert.equal("\x20\0\5\7\xff\xff\xff\xff", tlvs { ssl = { client = 7, verify = -1 } })
		assert.equal("\x20\0\x17\1\0\0\0\1" .. "\x23\0\1c" .. "\x22\0\1n" .. "\x21\0\7TLSv1.3",
			tlvs { { type = "ssl", value = { verify = 1, version = "TLSv1.3", cn = "n", cipher = "c" } } })
		assert.equal("\x20\0\3raw", tlvs { ssl = "raw" })
	end)

	it("go with LOCAL and with no addresses, too", function()
		local none = SIGNATURE .. "\x20\0\0\5\1\0\2h2"
		assert.equal(none, header { command = "LOCAL", tlvs = { alpn = "h2" } })
		assert.equal(none:gsub("\x20", "\x21"), (header { unknown = true, tlvs = { alpn = "h2" } }))
	end)
end)

describe("what a PROXY header announces", function()
	it("may be both ends, with their ports", function()
		assert.equal("PROXY TCP4 10.0.0.1 10.0.0.2 40000 25\r\n", header { source = "10.0.0.1", target = "10.0.0.2" })
		assert.equal("PROXY TCP4 10.0.0.1 10.0.0.2 1 65535\r\n", header { source = { host = "10.0.0.1", port = 1 },
			target = { host = "10.0.0.2", port = 65535 } })
		assert.equal("PROXY TCP6 fe80::1 ::1 40000 25\r\n", header { source = "fe80::1%eth0", target = "::1" })
	end)

	it("may be UNIX sockets, in version 2", function()
		local spec = { version = 2, source = "/run/a", target = { path = "\0b" } }
		local bytes = header(spec)
		assert.equal(SIGNATURE .. "\x21\x31\0\xd8", bytes:sub(1, 16))
		assert.equal("/run/a" .. ("\0"):rep(102) .. "\0b" .. ("\0"):rep(106), bytes:sub(17))
		local read = proxy.parse(bytes)
		assert.same({ family = "unix", path = "/run/a" }, read.source)
		assert.same({ family = "unix", path = "\0b" }, read.target)
		spec.version = 1
		assert.equal("PROXY UNKNOWN\r\n", header(spec))
		assert.equal(16 + 216, #proxy.header { version = 2, source = "/run/a" })
	end)

	it("needs no connection", function()
		assert.equal("PROXY TCP4 10.0.0.1 0.0.0.0 0 0\r\n", proxy.header { source = "10.0.0.1" })
		assert.equal("PROXY UNKNOWN\r\n", proxy.header {})
	end)

	-- What is wrong, and the words for it.
	for why, spec in pairs {
		["unknown field 'verison'"] = { verison = 2 }, ["version is 1 or 2"] = { version = 3 },
		["command is PROXY or LOCAL"] = { command = "proxy" }, ["version 1 has no TLVs"] = { version = 1, tlvs = {} },
		["source is neither an IP address nor the path of a UNIX socket"] = { source = "localhost" },
		["target names no address"] = { target = { port = 25 } }, ["source is no address"] = { source = 5 },
		["source is an address or a table of host and port, or of path"] = { source = { host = "::1", port = 65536 } },
		["unknown TLV 'alnp'"] = { tlvs = { { type = "alnp", value = "x" } } }, ["unknown TLV '256'"] = { tlvs = { 256 } },
		["unknown TLV 'nil'"] = { tlvs = { {} } }, ["a TLV has no 'vaule'"] = { tlvs = { { type = 1, vaule = "x" } } },
		["a TLV has no place 5"] = { tlvs = { [5] = "noop" } },
		["the value of a TLV is a string, got a number"] = { tlvs = { alpn = 5 } },
		["the value of a TLV is a string, got a table"] = { tlvs = { alpn = {} } },
		["client and verify of ssl are integers"] = { tlvs = { ssl = { verify = "x" } } },
		["unknown TLV 'name'"] = { tlvs = { ssl = { name = "x" } } },
		["what stands inside ssl are strings"] = { tlvs = { ssl = { cn = 5 } } },
		["a TLV of more than 65535 bytes"] = { tlvs = { alpn = ("x"):rep(65536) } },
		["a header of more than 65535 bytes"] = { tlvs = { alpn = ("x"):rep(65535) } },
		["a path of more than 108 bytes"] = { version = 2, source = "/" .. ("x"):rep(108) },
	} do
		it("is refused: " .. why, function()
			local ok, message = pcall(proxy.header, spec, V4, V4)
			assert.is_false(ok)
			assert.matches("PROXY header: " .. why:gsub("%W", "%%%0") .. "$", message)
		end)
	end

	it("is refused for addresses that are none", function()
		for _, text in ipairs { "", "1.2.3", "1.2.3.256", "1.2.3.4.5", "12345::1", "1:2:3", "::1zz", "1::2::3", ":::",
			"1:2:3:4:5:6:7:8:9" } do
			assert.is_false(pcall(proxy.header, { version = 2, source = text }, V4, V4), text)
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

	it("gives what proxy.header builds the same bytes of", function()
		for _, spec in ipairs {
			{ source = { host = "10.0.0.1", port = 5 } }, { source = { host = "2001:db8:0:0:0:0:0:1", port = 5 } }, {},
			{ version = 2, source = { host = "10.0.0.1", port = 5 }, target = { host = "10.0.0.2", port = 25 } },
			{ version = 2, source = { host = "2001:db8::1", port = 5 } }, { version = 2 },
			{ version = 2, source = "/a", target = "/b" }, { command = "LOCAL" }, { command = "LOCAL", tlvs = { "crc32c" } },
			{ version = 2, unknown = true, tlvs = { alpn = "h2" } }, { source = "/a", tlvs = { "crc32c", "noop" } },
			{ source = "10.0.0.1", tlvs = { ssl = { version = "TLSv1.2" }, crc32c = true, netns = "n" } },
		} do
			local bytes = proxy.header(spec)
			local read, rest = proxy.parse(bytes .. "220 x")
			assert.equal("220 x", rest)
			assert.equal(hex(bytes), hex(proxy.header(read)))
		end
	end)

	it("skips what it does not know: another family, and what LOCAL brings", function()
		for _, bytes in ipairs { "\x21\x12\0\3abc", "\x21\x99\0\0", "\x20\0\0\2ab", "\x20\x11\0\1x" } do
			local read, rest = proxy.parse(SIGNATURE .. bytes .. "y")
			assert.equal("y", rest)
			assert.is_nil(read.source)
			assert.is_nil(read.tlvs)
		end
		assert.equal("EPROTO", select(3, proxy.parse(SIGNATURE .. "\x21\0\0\2ab")))
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
