local argument = require "smtptest.argument"

local KINDS = {
	size = "integer|table", name = "string", on = "boolean",
	port = { "an even number", function(value) return value % 2 == 0 end },
}

-- As a public function does: its caller is to blame.
local function public(options)
	options = argument.options(options, KINDS, 2)
	return options
end

local function complaint(...)
	local ok, message = pcall(public, ...)
	assert.is_false(ok)
	return message
end

describe("argument.options", function()
	it("takes known names with values of their kinds, and gives them back", function()
		for _, options in ipairs {
			{}, { size = 5 }, { size = {} }, { name = "" }, { on = false }, { port = 4 }, { size = 1, name = "x", on = true },
		} do
			assert.equal(options, public(options))
		end
	end)

	it("takes nothing for an empty table", function()
		assert.same({}, public(nil))
	end)

	it("refuses a name it does not know, with the nearest that it does", function()
		assert.matches("unknown option 'siez' %(did you mean 'size'%?%)$", complaint { siez = 5 })
		assert.matches("unknown option 'elephant'$", complaint { elephant = 5 })
		assert.matches("unknown option '1'$", complaint { "size" })
	end)

	it("refuses a value of another kind and does not show it", function()
		assert.matches("option 'size': expected integer or table, got a number$", complaint { size = 1.5 })
		assert.matches("option 'size': expected integer or table, got a string$", complaint { size = "5" })
		assert.matches("option 'name': expected string, got a boolean$", complaint { name = false })
		assert.matches("option 'port': expected an even number, got a number$", complaint { port = 3 })
	end)

	it("refuses what is no table", function()
		assert.matches("options are a table, got string$", complaint "size")
		assert.matches("options are a table, got boolean$", complaint(false))
	end)

	it("blames the line that called the function with the options", function()
		local here = debug.getinfo(1, "l").currentline
		local _, message = pcall(function()
			local options = public { siez = 5 }
			return options
		end)
		assert.matches("^t/argument_spec%.lua:" .. here + 2 .. ": ", message)
	end)
end)
