-- One allocation of Lua's fails, another one each time: t/alloc.c is the host that makes it fail. With ALLOC_ALL=1
-- every one does, which takes minutes; otherwise as many as fit into some seconds.
local HOST = (os.getenv "BUILD" or "build") .. "/alloc"

-- What the host says about a script, and whether it found nothing wrong.
local function judged(script, ...)
	local pipe = assert(io.popen(table.concat({ HOST, script, ... }, " ") .. " 2>&1"))
	local words = pipe:read "a"
	return pipe:close() == true, words
end

local function judged_text(text)
	local path = os.tmpname()
	local handle = assert(io.open(path, "w"))
	handle:write(text)
	handle:close()
	local clean, words = judged(path)
	os.remove(path)
	return clean, words
end

describe("an allocation that fails", function()
	it("is an error at any point of a session, and nothing leaks", function()
		local clean, words = judged("t/alloc_session.lua", os.getenv "ALLOC_ALL" ~= "1" and 15 or nil)
		assert.is_true(clean, words)
		assert.is_true(tonumber(words:match "(%d+) of %d+ allocations failed") > 20, words)
	end)

	-- Without these nobody would know that the host sees anything.
	local function finds(wrong, text)
		it(("is judged: %s"):format(wrong), function()
			local clean, words = judged_text(text .. " for i = 1, 50 do local _ = { i } end")
			assert.is_false(clean)
			assert.is_truthy(words:find(wrong, 1, true), words)
		end)
	end
	finds("no error", "pcall(function() for i = 1, 50 do local _ = { i } end end)")
	finds("bad argument", "if not pcall(string.rep, 'x', 100) then error 'bad argument' end")
	finds("the process ended", "if not pcall(string.rep, 'x', 100) then os.execute 'kill -SEGV $PPID' end")
	finds("descriptors left", "require 'smtptest.core.socket'.pair():detach()")
	finds("blocks left", "debug.setmetatable(require 'smtptest.core.tls'.context {}, nil)")
	if (os.getenv "SAN" or ""):find "address" then
		finds("detected memory leaks", "debug.setmetatable(require 'smtptest.core.sasl'.client {}, nil)")
	end
end)
