local alarm = require "smtptest.core.alarm"
local poll = require "smtptest.core.poll"

describe("an alarm", function()
	local bell, set
	before_each(function()
		bell, set = assert(alarm.new()), poll.new()
		set:add(bell:fd(), "level")
	end)
	after_each(function()
		bell:close()
		set:close()
	end)

	local function rings(seconds)
		set:want(bell:fd(), "r")
		return set:wait(seconds, {}) == 1
	end

	it("is readable from its time on", function()
		assert.is_false(rings(0))
		assert.is_true(bell:set(600))
		assert.is_false(rings(0))
		local from = poll.now()
		assert.is_true(bell:set(0.02))
		assert.is_true(rings(30))
		assert.is_true(poll.now() - from >= 0.02)
		assert.is_true(rings(0))
	end)

	it("rings at once, or never", function()
		for _, seconds in ipairs { 0, 1e-12, 1e-9 } do
			bell:set(seconds)
			assert.is_true(rings(30))
		end
		for _, seconds in ipairs { math.huge, 1e300, 1e9 } do
			assert.is_true(bell:set(seconds))
			assert.is_false(rings(0))
		end
	end)

	it("refuses what is no time to come", function()
		for _, value in ipairs { -1, 0 / 0, -math.huge, "x", {} } do
			assert.has_error(function() bell:set(value) end)
		end
		assert.has_error(function() alarm.new().set({}, 1) end)
	end)

	it("is closed once, and says so afterwards", function()
		assert.is_true(bell:close())
		assert.is_true(bell:close())
		assert.is_nil(bell:fd())
		assert.same({ nil, "closed", "EBADF", n = 3 }, table.pack(bell:set(1)))
		bell = alarm.new()
	end)

	it("is closed when it is collected", function()
		local fd
		do
			local other <close> = alarm.new()
			fd = other:fd()
		end
		local next_one <close> = alarm.new()
		assert.equal(fd, next_one:fd())
	end)
end)
