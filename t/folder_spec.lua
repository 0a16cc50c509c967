local folder = require "smtptest.core.folder"

describe("folder", function()
	local path

	before_each(function()
		path = os.tmpname()
		os.remove(path)
	end)

	after_each(function() os.execute(("rm -rf '%s'"):format(path)) end)

	it("is made once", function()
		assert.is_true(folder.make(path))
		local ok, message, code = folder.make(path)
		assert.is_nil(ok)
		assert.equal("mkdir " .. path .. ": File exists", message)
		assert.equal("EEXIST", code)
		assert.equal("EINVAL", select(3, folder.make(path .. "\0")))
	end)

	it("lists its names", function()
		assert.is_true(folder.make(path))
		assert.same({}, folder.list(path))
		for _, name in ipairs { "b", ".a", "a b" } do assert(io.open(path .. "/" .. name, "w")):close() end
		local names = folder.list(path)
		table.sort(names)
		assert.same({ ".a", "a b", "b" }, names)
		assert.same({ nil, "opendir " .. path .. "/b: Not a directory", "ENOTDIR" }, { folder.list(path .. "/b") })
		assert.equal("ENOENT", select(3, folder.list(path .. "/none")))
		assert.equal("EINVAL", select(3, folder.list(path .. "\0")))
	end)
end)
