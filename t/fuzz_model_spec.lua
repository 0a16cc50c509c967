local core = require "smtptest.core.reply"
local model = require "smtptest.fuzz.model"

local function bit(name)
	for i, one in ipairs(core.flaws) do
		if one == name then return 1 << i - 1 end
	end
end

describe("model", function()
	it("says what is the first of its kind", function()
		local m = model.new()
		assert.is_true(m:see("greeted", "EHLO", 250, 0, "helo"))
		assert.is_false(m:see("greeted", "EHLO", 250, 0, "helo"))
		assert.is_true(m:see("greeted", "EHLO", 550, 0, "greeted"))
		assert.is_true(m:see("greeted", "EHLO", 250, 1, "helo"))
		assert.is_true(m:see("helo", "EHLO", 250, 0, "helo"))
		assert.is_true(m:see("helo", "MAIL", 250, 0, "mail"))
		assert.same({ 2, 5 }, { m.count, m.transitions })
	end)

	it("is Graphviz DOT, always in the same order", function()
		local m = model.new()
		m:see("helo", "MAIL", 250, 0, "mail")
		m:see("greeted", "EHLO", 550, 0, "greeted")
		for _ = 1, 3 do m:see("greeted", "EHLO", 250, 0, "helo") end
		m:see("helo", "HELP", 214, bit "bare-lf" | bit "nul", "helo")
		assert.equal([[
digraph smtp {
	rankdir=LR;
	node [shape=box, style=rounded];
	"greeted" -> "helo" [label="EHLO 250 (3)"];
	"greeted" -> "greeted" [label="EHLO 550 (1)"];
	"helo" -> "helo" [label="HELP 214 bare-lf nul (1)"];
	"helo" -> "mail" [label="MAIL 250 (1)"];
}
]], m:dot())
	end)

	it("is drawn when it is empty", function()
		assert.matches("^digraph smtp {\n.*}\n$", model.new():dot())
	end)
end)
