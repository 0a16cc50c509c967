local layer = require "smtptest.layer"

describe("a layer", function()
	it("is called tls when its machine shakes hands, else sasl", function()
		assert.equal("tls", layer.new({ handshake = print }).name)
		assert.equal("sasl", layer.new({}).name)
	end)

	it("hands every call to its machine, as the machine's own, and gives its results", function()
		local machine = {}
		for _, name in ipairs { "feed", "read", "write", "drain", "finish", "eof" } do
			machine[name] = function(self, ...)
				assert.equal(machine, self)
				return name, ...
			end
			assert.same({ name, 1, nil, 3, n = 4 }, table.pack(layer.new(machine)[name](layer.new(machine), 1, nil, 3)))
		end
	end)

	it("takes what a machine has learnt later", function()
		local machine = { read = function() return "early" end }
		local self = layer.new(machine)
		machine.read = function() return "late" end
		assert.equal("late", self:read())
	end)
end)
