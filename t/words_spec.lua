local words = require "smtptest.words"

describe("words", function()
	local cases = {
		[""] = {}, ["  \t\n "] = {}, ["a"] = { "a" }, [" a  b\tc\n"] = { "a", "b", "c" },
		[ [[-t "" -a 'x y']] ] = { "-t", "", "-a", "x y" },
		[ [[a''b "c"'d'e\ f]] ] = { "ab", "cde f" },
		[ [["a\"b\\c\d" '\n' \'x]] ] = { [[a"b\c\d]], [[\n]], "'x" },
		[ [["it's" 'a "b"']] ] = { "it's", 'a "b"' },
	}
	for text, list in pairs(cases) do
		it("are cut as a shell does: " .. text, function()
			assert.same(list, words(text))
			local pipe = io.popen(("printf '[%%s]\\n' x %s"):format(text:gsub("%s+$", "")))
			local expected = "[x]\n"
			for _, word in ipairs(list) do expected = expected .. "[" .. word .. "]\n" end
			assert.equal(expected, pipe:read "a")
			pipe:close()
		end)
	end

	it("need the end of a quote", function()
		assert.same({ nil, "' without its end" }, { words "a 'b" })
		assert.same({ nil, "\" without its end" }, { words 'a "b\\"' })
		assert.same({ { "a" } }, { words "a\\" })
	end)
end)
