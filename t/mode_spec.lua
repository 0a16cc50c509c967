local lfs = require "lfs"
local mode = require "smtptest.mode"
local run = require "support.run"

describe("mode.finish", function()
	it("leaves operands as they are", function()
		local words = { "a", "x.lua" }
		assert.equal(words, mode.finish({ execute = "" }, words))
	end)

	it("takes specs out of the operands of --test", function()
		local folder = run.scratch "mode"
		lfs.mkdir(folder)
		local self = { test = true }
		assert.same({ "mail.example" }, mode.finish(self, { "a.lua", "mail.example", folder, "none/" }))
		assert.same({ "a.lua", folder, "none/" }, self.specs)
	end)

	for flags, message in pairs {
		[{ test = true }] = "--test: no spec given (a .lua file or a folder)",
		[{ script = "a", execute = "b" }] = "-S and -e cannot be combined",
		[{ execute = "a", test = true }] = "-e and --test cannot be combined",
		[{ serve = true, test = true }] = "--test and --serve cannot be combined",
		[{ test_output = "TAP" }] = "--test-output: only --test has results",
		[{ save = "x" }] = "--save: only --serve saves messages",
	} do
		it("refuses: " .. message, function()
			local words, why = mode.finish(flags, { "mail.example" })
			assert.is_nil(words)
			assert.equal(message, why)
		end)
	end
end)

describe("mode.takes_words", function()
	it("knows who wants the words after --", function()
		for _, one in ipairs { { script = "a" }, { execute = "a" }, { test = true } } do assert.is_true(mode.takes_words(one)) end
		for _, one in ipairs { {}, { serve = true } } do assert.is_false(mode.takes_words(one)) end
	end)
end)
