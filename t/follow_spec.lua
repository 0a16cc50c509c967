local follow = require "smtptest.follow"

local function pieces_of(bytes, size)
	local list = {}
	for i = 1, #bytes, size do list[#list + 1] = bytes:sub(i, i + size - 1) end
	return list
end

describe("following a server", function()
	local function replies(pieces)
		local found = {}
		local f = follow.replies(function(r) found[#found + 1] = r end)
		for _, piece in ipairs(pieces) do f:feed(piece) end
		return found
	end

	it("finds the same replies however the bytes are cut", function()
		local bytes = "220 a\r\n250-b\r\n250-c\r\n250 d\n\r\n55\r\n334 eA==\r\n354-go\r\n250"
		for size = 1, #bytes do
			local codes, raw = {}, {}
			for i, r in ipairs(replies(pieces_of(bytes, size))) do codes[i], raw[i] = r.code, r.raw end
			assert.same({ 220, 250, 0, 0, 334 }, codes)
			assert.same({ "220 a\r\n", "250-b\r\n250-c\r\n250 d\n", "\r\n", "55\r\n", "334 eA==\r\n" }, raw)
		end
	end)

	it("ends a reply at a line whose fourth byte is no hyphen", function()
		local found = replies { "250-a\r\n250b\r\n220 x\r\n" }
		assert.equal(2, #found)
		assert.equal("250-a\r\n250b\r\n", found[1].raw)
	end)

	it("keeps only the beginning of what is longer than anybody needs", function()
		local found = replies(pieces_of("250 " .. ("x"):rep(1000000) .. "\r\n220 y\r\n", 16384))
		assert.equal(2, #found)
		assert.equal(250, found[1].code)
		assert.truthy(#found[1].raw < 200000)
		assert.equal("220 y\r\n", found[2].raw)

		found = replies(pieces_of(("250-" .. ("x"):rep(1000) .. "\r\n"):rep(2000) .. "551 end\r\n220 y\r\n", 16384))
		assert.equal(2, #found)
		assert.equal(551, found[1].code)
		assert.truthy(#found[1].raw < 200000)
		assert.truthy(found[1].raw:find "\n551 end\r\n$")
	end)

	-- The last line of a reply that was just long enough stood in it twice.
	it("takes no line twice", function()
		for _, size in ipairs { 65530, 65536, 65537, 70000 } do
			local found = replies { "250 " .. ("x"):rep(size - 6) .. "\r\n" }
			assert.equal(1, #found)
			assert.equal(1, #found[1].lines)
			assert.equal(size, #found[1].raw)
		end
	end)
end)

describe("following a client", function()
	local function commands(pieces)
		local c = follow.commands()
		for _, piece in ipairs(pieces) do c:feed(piece) end
		return c
	end

	it("knows the last command, message data, and how many replies are due", function()
		local bytes = "EHLO a\r\nmail from:<a>\r\nRCPT TO:<b>\r\ndata \r\nhello\r\n..\r\nQUIT\r\n.\r\nrset\r\n"
		for size = 1, #bytes do
			local c = commands(pieces_of(bytes, size))
			assert.equal("RSET", c.last)
			assert.is_false(c.data)
			assert.is_false(c:quit())
			assert.is_false(c:unfinished())
			assert.equal(6, c.count)
		end
	end)

	it("is inside message data until the dot", function()
		local c = commands { "DATA\r\n" }
		assert.is_true(c.data)
		for _, piece in ipairs { "QUIT\r\n", "x.\r\n", ".x\r\n", "..\r\n", " .\r\n", "\r\n", "." } do
			c:feed(piece)
			assert.is_true(c.data)
			assert.is_false(c:quit())
		end
		c:feed "\r\n"
		assert.is_false(c.data)
		assert.equal(2, c.count)
	end)

	it("finds the end of a long message wherever it is cut", function()
		local body = ("x"):rep(5000) .. "\r\n.x\r\n" .. ("y"):rep(5000)
		for _, ending in ipairs { "\r\n.\r\nQUIT\r\n", "\n.\nQUIT\r\n" } do
			local bytes = body .. ending
			for cut = #bytes - #ending - 2, #bytes do
				local c = commands { "DATA\r\n", bytes:sub(1, cut), bytes:sub(cut + 1) }
				assert.is_false(c.data)
				assert.is_true(c:quit())
				assert.equal(3, c.count)
			end
		end
		assert.is_false(commands({ "DATA\r\n", ".\r\n" .. ("x"):rep(5000) }).data)
		assert.is_true(commands({ "DATA\r\n", body, ("z"):rep(5000), "\r\n" }).data)
	end)

	it("reads commands again when DATA was refused", function()
		local c = commands { "DATA\r\n" }
		c:answered(503)
		c:feed "QUIT\r\n"
		assert.is_true(c:quit())
	end)

	it("takes QUIT without an end for QUIT", function()
		for _, text in ipairs { "QUIT", "quit\r\n", "QUIT \n", "NOOP\r\nQuit\r" } do
			assert.is_true(commands({ text }):quit(), text)
		end
		for _, text in ipairs { "QUITE", "QUIT x\r\n", "QUIT\r\nNOOP\r\n", "x QUIT\r\n", "" } do
			assert.is_false(commands({ text }):quit(), text)
		end
		assert.is_true(commands({ "QUIT" }):unfinished())
		assert.is_false(commands({ "QUIT\n" }):unfinished())
	end)
end)
