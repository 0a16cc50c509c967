local socket = require "smtptest.core.socket"

-- Sources of their own, with the schedule that they fill.
local function fresh()
	local parts, kept = { "smtptest.schedule", "smtptest.source" }, {}
	for _, name in ipairs(parts) do kept[name], package.loaded[name] = package.loaded[name], nil end
	local source, schedule = require "smtptest.source", require "smtptest.schedule"
	for _, name in ipairs(parts) do package.loaded[name] = kept[name] end
	return source, schedule
end

-- A source on one end of a pair, which lives as long as the source.
local function on_pair(source)
	local a, b = assert(socket.pair())
	local self = assert(source.new(a:fd(), "edge"))
	self.ends = { a, b }
	return self
end

-- What the schedule's entries say: the waiter and the code.
local function told(schedule)
	local list = {}
	for i = schedule.ready.first, schedule.ready.last do
		local entry = schedule.ready[i]
		list[#list + 1] = { entry[1].name, entry[5] }
	end
	return list
end

describe("a source", function()
	it("begins unreadable and, when edges are told, writable", function()
		local source = fresh()
		local self = on_pair(source)
		assert.same({ false, true }, { self.readable, self.writable })
		assert.equal(self, source.all[self.fd])
		source.forget(self)
		assert.is_nil(source.all[self.fd])
	end)

	it("of what no poller takes is always ready", function()
		local source = fresh()
		local handle = assert(require "smtptest.core.file".open "/dev/null")
		local self = assert(source.new(handle:fd(), "level"))
		assert.same({ true, true, true, false }, { self.always, self.readable, self.writable, self.rearm })
		source.forget(self)
		source.forget(self)
	end)

	it("of no descriptor is an error", function()
		local source = fresh()
		local self, message, code = source.new(1000000, "edge")
		assert.is_nil(self)
		assert.is_string(message)
		assert.equal("EBADF", code)
		assert.is_nil(source.all[1000000])
	end)

	it("that is forgotten lets both who wait go on", function()
		local source, schedule = fresh()
		local self = on_pair(source)
		self.reader, self.writer = { turn = 0, name = "r" }, { turn = 0, name = "w" }
		source.forget(self)
		assert.same({ { "r", "CANCELED" }, { "w", "CANCELED" } }, told(schedule))
	end)

	it("lets those go on whose deadline has passed; the earliest of the others is known", function()
		local source, schedule = fresh()
		local a, b = on_pair(source), on_pair(source)
		a.reader, a.rdeadline, a.writer, a.wdeadline = { turn = 0, name = "late" }, 5, { turn = 0, name = "w" }, 9
		b.reader, b.rdeadline, b.wdeadline = { turn = 0, name = "r" }, 8, 1
		source.expire(5)
		assert.same({ { "late", "TIMEOUT" } }, told(schedule))
		assert.is_false(a.reader)
		assert.equal(8, source.earliest)
		source.expire(9)
		assert.equal(math.huge, source.earliest)
	end)

	it("in the background is not canceled with the others, and no hope", function()
		local source, schedule = fresh()
		local quiet, other = on_pair(source), on_pair(source)
		quiet.background, quiet.reader = true, { turn = 0, name = "quiet" }
		assert.is_false(source.hope(error))
		other.writer = { turn = 0, name = "w" }
		assert.is_true(source.hope(error))
		source.cancel "interrupted"
		assert.same({ { "w", "CANCELED" } }, told(schedule))
	end)

	it("that listens is a hope with a deadline, without a task, or for a task whose end is awaited", function()
		local source = fresh()
		local self = on_pair(source)
		self.listening = true
		self.writer = { turn = 0 }
		assert.is_false(source.hope(error))
		local task = { turn = 0, thread = true }
		self.reader = task
		assert.is_false(source.hope(function(reader) return reader ~= task end))
		assert.is_true(source.hope(function(reader) return reader == task end))
		self.rdeadline = 1
		assert.is_true(source.hope(error))
		self.rdeadline, self.reader = math.huge, { turn = 0 }
		assert.is_true(source.hope(error))
	end)
end)
