-- The form of a reply, as the fuzzer reads it: where it ends, its code, what is wrong with it.

local core = require "smtptest.core.reply"

-- The names of the flaws in an integer.
local function names(flaws)
	local list = {}
	for i, name in ipairs(core.flaws) do
		if flaws & 1 << i - 1 ~= 0 then list[#list + 1] = name end
	end
	return table.concat(list, " ")
end

local LONG = "250 " .. ("x"):rep(506)

-- What is wrong with lines that are one reply.
local FLAWS = {
	["250 ok\r\n"] = "", ["250\r\n"] = "", ["250-\r\n250 \r\n"] = "", ["354 \tgo\r\n"] = "", ["250-a\r\n250-b\r\n250 c\r\n"] = "",
	["25 ok\r\n"] = "bad-code", ["2500 ok\r\n"] = "bad-code", ["250_ok\r\n"] = "bad-code", ["\r\n"] = "bad-code",
	["x\r\n"] = "bad-code", ["199 a\r\n"] = "bad-code", ["600 a\r\n"] = "bad-code", ["260 a\r\n"] = "bad-code",
	[" 250 a\r\n"] = "bad-code", ["559 a\r\n"] = "",
	["250-a\r\n251 b\r\n"] = "mixed-codes", ["250-a\r\nb\r\n"] = "bad-code mixed-codes",
	["250-a\r\n"] = "", ["x-a\r\n250 a\r\n"] = "bad-code mixed-codes",
	["250 2.1.0 a\r\n"] = "", ["250 2.10.255\r\n"] = "", ["250 5.1.0 a\r\n"] = "enhanced-mismatch",
	["550 2.0.0\r\n"] = "enhanced-mismatch", ["250 5.1.1000 a\r\n"] = "", ["250 5.1 a\r\n"] = "", ["250 5.1.1.1 a\r\n"] = "",
	["250 3.1.1 a\r\n"] = "", ["250 5.1. a\r\n"] = "", ["250 5.1.1. a\r\n"] = "enhanced-mismatch",
	["250-2.1.0 a\r\n250 2.1.5 b\r\n"] = "enhanced-mismatch", ["250-2.1.0 a\r\n250 2.1.0 b\r\n"] = "",
	["250-a\r\n250 2.1.0 b\r\n"] = "", ["250-2.1.0 a\r\n250 b\r\n"] = "",
	[LONG .. "\r\n"] = "", [LONG .. "x\r\n"] = "long-line",
	["250 a\n"] = "bare-lf", ["250-a\n250 b\r\n"] = "bare-lf", ["\n"] = "bad-code bare-lf",
	["250 a\rb\r\n"] = "bare-cr", ["250 a\r\r\n"] = "bare-cr", ["250 a\0\r\n"] = "nul", ["250 \xc3\xa9\r\n"] = "8bit",
	["250 a\27[m\r\n"] = "control", ["250 a\127\r\n"] = "control",
}

-- What does not end, or earlier.
local SEVERAL = { ["250-a\r\n"] = true, ["x-a\r\n250 a\r\n"] = true }

describe("reply.scan", function()
	it("says nothing of what has not ended", function()
		for _, bytes in ipairs { "", "2", "250 ok", "250 ok\r", "250-a\r\n", "250-a\r\n250-b\r\n25", "250-a\r\n250 b" } do
			assert.is_nil(core.scan(bytes), bytes)
		end
		assert.is_nil(core.scan("250 ok\r\n", 9))
		assert.is_nil(core.scan("250 ok\r\n", 100))
	end)

	it("tells one reply from the next", function()
		local bytes = "250-a\r\n250 b\r\n354\r\n\r\nnonsense\r\n221 x"
		local positions, codes = {}, {}
		local after, code = core.scan(bytes)
		while after do
			positions[#positions + 1], codes[#codes + 1] = after, code
			after, code = core.scan(bytes, after)
		end
		assert.same({ 15, 20, 22, 32 }, positions)
		assert.same({ 250, 354, 0, 0 }, codes)
	end)

	it("gives the code of the last line, and none where there is none", function()
		for bytes, code in pairs { ["250-a\r\n550 b\r\n"] = 550, ["999 a\r\n"] = 999, ["000\r\n"] = 0, ["25x\r\n"] = 0,
			["250-a\r\nb\r\n"] = 0 } do
			assert.equal(code, (select(2, core.scan(bytes))), bytes)
		end
	end)

	for bytes, flaws in pairs(FLAWS) do
		if not SEVERAL[bytes] then
			it(("finds (%s) in %q"):format(flaws, #bytes > 99 and #bytes or bytes), function()
				local after, _, found = core.scan(bytes)
				assert.equal(#bytes + 1, after)
				assert.equal(flaws, names(found))
			end)
		end
	end

	it("looks at nothing behind the reply", function()
		assert.same({ 9, 250, 0 }, { core.scan "250 ok\r\nx\0\n" })
	end)

	it("refuses a position that is none", function()
		assert.has_error(function() core.scan("250\r\n", 0) end)
		assert.has_error(function() core.scan("250\r\n", -1) end)
		assert.has_error(function() core.scan() end)
	end)

	it("goes through a megabyte of lines, and bytes of any kind", function()
		local bytes = ("250-x\r\n"):rep(150000) .. "250 x\r\n"
		assert.same({ #bytes + 1, 250, 0 }, { core.scan(bytes) })
		math.randomseed(os.time())
		for _ = 1, 2000 do
			local list = {}
			for i = 1, math.random(0, 40) do list[i] = string.char(math.random(0, 1) == 0 and math.random(0, 255) or
				("250-\r\n"):byte(math.random(6))) end
			local text = table.concat(list)
			local after, code, flaws = core.scan(text)
			if after then assert.is_true(after > 1 and after <= #text + 1 and code < 1000 and flaws < 1 << #core.flaws) end
			assert.is_true(core.lint(text) >= 0)
		end
	end)
end)

describe("reply.lint", function()
	for bytes, flaws in pairs(FLAWS) do
		it(("finds (%s) in %q"):format(flaws, #bytes > 99 and #bytes or bytes), function()
			assert.equal(flaws, names(core.lint(bytes)))
		end)
	end

	it("takes all lines as those of one reply, and the last need not end", function()
		assert.equal("mixed-codes", names(core.lint "250 a\r\n354 b\r\n"))
		assert.equal("", names(core.lint "250 a"))
		assert.equal("bad-code", names(core.lint ""))
	end)
end)
