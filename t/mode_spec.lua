local lfs = require "lfs"
local mode = require "smtptest.mode"
local options = require "smtptest.options"
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
		[{ script = "a", fuzz = true }] = "-S and --fuzz cannot be combined",
		[{ execute = "a", fuzz = true }] = "-e and --fuzz cannot be combined",
		[{ test = true, fuzz = true }] = "--test and --fuzz cannot be combined",
		[{ tls_report = true, fuzz = true }] = "--tls-report and --fuzz cannot be combined",
		[{ tls_report = true, replay = "x" }] = "--replay and --tls-report cannot be combined",
		[{ script = "a", fuzz = true, replay = "x" }] = "-S and --replay cannot be combined",
		[{ serve = true, fuzz = true }] = "--fuzz and --serve cannot be combined",
		[{ fuzz = true, merge = "x" }] = "--merge: no folder given",
	} do
		it("refuses: " .. message, function()
			local words, why = mode.finish(flags, flags.merge and {} or { "mail.example" })
			assert.is_nil(words)
			assert.equal(message, why)
		end)
	end
end)

describe("mode.finish with --fuzz", function()
	it("lets it judge what --replay names", function()
		assert.same({ "mail.example" }, mode.finish({ fuzz = true, replay = "x" }, { "mail.example" }))
	end)

	it("takes the operands of --merge for folders", function()
		local self = { fuzz = true, merge = "all" }
		assert.same({}, mode.finish(self, { "a", "b" }))
		assert.same({ "a", "b" }, self.folders)
	end)

	-- Every flag of the group but --fuzz itself.
	for _, option in ipairs(options.list) do
		if option.group == "Fuzzing" and option.long ~= "fuzz" then
			it("must be there for --" .. option.long, function()
				local values = { integer = "1", count = "1", duration = "1" }
				local word = "--" .. option.long .. (option.arg and "=" .. (values[option.kind] or "x") or "")
				local plan, message = options.parse { word, "mail.example" }
				assert.is_nil(plan)
				assert.equal(("--%s: only with --fuzz"):format(option.long), message)
				local _, words, chosen = options.parse { "--fuzz", word, "mail.example" }
				assert.is_truthy(words)
				assert.is_true(chosen.fuzz)
				assert.is_not_nil(chosen[option.long:gsub("-", "_")])
			end)
		end
	end
end)

describe("mode.takes_words", function()
	it("knows who wants the words after --", function()
		for _, one in ipairs { { script = "a" }, { execute = "a" }, { test = true } } do assert.is_true(mode.takes_words(one)) end
		for _, one in ipairs { {}, { serve = true } } do assert.is_false(mode.takes_words(one)) end
	end)
end)
