local base64 = require "smtptest.base64"

-- RFC 4648 section 10.
local VECTORS = {
	{ "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" },
	{ "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" },
	{ "\0\0\0", "AAAA" }, { "\255\255\255", "////" }, { "\251\239\190", "++++" }, { "\0", "AA==" },
}

-- text, the byte that is wrong.
local WRONG = {
	{ "Zg=a", 3 }, { "====", 1 }, { "Z===", 2 }, { "Zg==Zg==", 3 }, { "Zm9v=Zm9", 5 },
	{ "Zm9v\r\n", 5 }, { " Zm9v", 1 }, { "Zm 9v", 3 }, { "Zm9\n", 4 }, { "Zm9\0", 4 }, { "Zm9-", 4 }, { "Zm9_", 4 },
	{ "Zm9\195", 4 }, { "Zg==\n", 3 }, { "*", 1 },
	{ "Zh==", 2 }, { "Zv==", 2 }, { "Zm9=", 3 }, { "AAAAAB==", 6 }, { "AAAAAAB=", 7 },
}

describe("base64", function()
	it("encodes and decodes what RFC 4648 shows", function()
		for _, vector in ipairs(VECTORS) do
			assert.equal(vector[2], base64.encode(vector[1]))
			assert.equal(vector[1], base64.decode(vector[2]))
		end
	end)

	it("refuses what is not canonical, and says where", function()
		for _, case in ipairs(WRONG) do
			local bytes, message, code = base64.decode(case[1])
			assert.is_nil(bytes, case[1])
			assert.equal("BASE64", code)
			assert.equal(("not base64 at byte %d of %d"):format(case[2], #case[1]), message)
		end
	end)

	it("refuses a length that is no multiple of four", function()
		for _, text in ipairs { "Z", "Zg", "Zm9", "Zg=", "Zm9vY", "==" } do
			local bytes, message, code = base64.decode(text)
			assert.is_nil(bytes)
			assert.equal("BASE64", code)
			assert.truthy(message:find("not base64", 1, true))
		end
	end)

	it("agrees with the openssl program", function()
		math.randomseed(1)
		local path = os.tmpname()
		for _, size in ipairs { 1, 2, 3, 57, 58, 59, 1000, 4095, 4096, 4097, 100000 } do
			local bytes = {}
			for i = 1, size do bytes[i] = string.char(math.random(0, 255)) end
			bytes = table.concat(bytes)
			local handle = assert(io.open(path, "wb"))
			handle:write(bytes)
			handle:close()
			local theirs <close> = assert(io.popen("openssl base64 -A -in " .. path))
			local text = theirs:read "a"
			assert.equal(text, base64.encode(bytes))
			assert.is_true(bytes == base64.decode(text))
		end
		os.remove(path)
	end)

	it("gives back every byte after every length", function()
		for size = 0, 66 do
			for first = 0, 255, 5 do
				local bytes = string.char(first):rep(size)
				assert.equal(bytes, base64.decode(base64.encode(bytes)))
			end
		end
	end)
end)
