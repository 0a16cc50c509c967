local private = require "smtptest.private"
local server = require "smtptest.server"

describe("private.is", function()
	for host in ([[127.0.0.1 127.255.0.9 10.0.0.1 10.255.255.255 192.168.0.1 172.16.0.1 172.31.255.255 169.254.1.1 ::1
		fc00::1 fd12:3456::1 FD00::1 fe80::1 fe80::1%eth0 febf::1 ::ffff:10.0.0.1 ::FFFF:127.0.0.1]]):gmatch "%S+" do
		it("says yes to " .. host, function() assert.is_true(private.is(host)) end)
	end

	for host in ([[8.8.8.8 128.0.0.1 11.0.0.1 9.255.255.255 192.169.0.1 193.168.0.1 172.15.0.1 172.32.0.1 169.253.0.1 0.0.0.0
		1.127.0.1 100.64.0.1 224.0.0.1 255.255.255.255 :: ::2 2001:db8::1 fe00::1 fec0::1 ff02::1 fb00::1 ::ffff:8.8.8.8
		::127.0.0.1 10.1 127.1 localhost 10.0.0.1.example.com]]):gmatch "%S+" do
		it("says no to " .. host, function() assert.is_false(private.is(host)) end)
	end
end)

describe("private.check", function()
	it("looks a name up, and judges each address", function()
		assert.is_true(private.check { host = "127.0.0.1", port = 25 })
		assert.is_true(private.check { host = "localhost", port = 25 })
		assert.is_true(private.check { host = "::1", port = 25 })
		local ok, message = private.check { host = "192.0.2.1", port = 25 }
		assert.is_nil(ok)
		assert.equal("192.0.2.1 is not on a private address (192.0.2.1): --yes if you may do this to it", message)
	end)

	it("is told by the system who is meant by another way of writing", function()
		assert.is_true(private.check { host = "127.1", port = 25 })
		assert.is_nil((private.check { host = "134744072", port = 25 }))       -- 8.8.8.8
	end)

	it("has nothing against a UNIX socket", function()
		assert.is_true(private.check { socket = "/nonexistent" })
		local one <close> = server.listen {}
		assert.is_true(private.check { host = one.host, port = one.port })
	end)

	it("knows the usual ports by name", function()
		for port in ("smtp smtps lmtp submission submissions"):gmatch "%S+" do
			assert.is_true(private.check { host = "127.0.0.1", port = port })
		end
		assert.is_true(private.check { host = "127.0.0.1", protocol = "lmtp" })
		assert.is_true(private.check { host = "127.0.0.1", tls = "implicit" })
	end)

	it("says what is no name", function()
		local ok, message = private.check { host = "no such name", port = 25 }
		assert.is_nil(ok)
		assert.is_string(message)
	end)
end)
