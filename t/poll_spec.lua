local socket = require "smtptest.core.socket"
local file = require "smtptest.core.file"
local variant = require "variant"

-- What is true of both.
local function behaves(poll, name)
	local p, a, b
	local events = {}

	-- What a wait reports, as {[fd] = "r" | "w" | "rw"}.
	local function wait(seconds)
		local n = assert(p:wait(seconds or 0, events))
		local found = {}
		for i = 1, 3 * n, 3 do
			assert.is_nil(found[events[i]])
			found[events[i]] = (events[i + 1] and "r" or "") ..
				(events[i + 2] and "w" or "")
		end
		return found
	end

	before_each(function()
		p = assert(poll.new())
		a, b = socket.pair()
	end)
	after_each(function()
		p:close()
		a:close()
		b:close()
	end)

	describe("a level descriptor with " .. name, function()
		it("is not reported before it is wanted", function()
			assert.is_true(p:add(a:fd(), "level"))
			b:write("x")
			assert.same({}, wait())
			b:close()
			assert.same({}, wait())
		end)

		it("is reported once for each want, as long as it is ready", function()
			p:add(a:fd(), "level")
			b:write("x")
			for _ = 1, 3 do
				assert.is_true(p:want(a:fd(), "r"))
				assert.same({[a:fd()] = "r"}, wait())
				assert.same({}, wait())
			end
		end)

		it("is reported for what is wanted only", function()
			p:add(a:fd(), "level")
			p:want(a:fd(), "r")
			assert.same({}, wait())
			p:want(a:fd(), "w")
			assert.same({[a:fd()] = "w"}, wait())
			b:write("x")
			p:want(a:fd(), "w")
			assert.same({[a:fd()] = "w"}, wait())
			p:want(a:fd(), "rw")
			assert.same({[a:fd()] = "rw"}, wait())
		end)

		it("may be wanted no more", function()
			p:add(a:fd(), "level")
			p:want(a:fd(), "rw")
			assert.is_true(p:want(a:fd(), ""))
			assert.is_true(p:want(a:fd(), ""))
			assert.same({}, wait())
		end)

		it("is reported for the other end of a pipe too", function()
			local reader, writer = file.pipe()
			p:add(reader:fd(), "level")
			p:want(reader:fd(), "r")
			writer:write("x")
			assert.same({[reader:fd()] = "r"}, wait(10))
		end)
	end)

	describe("an edge descriptor with " .. name, function()
		it("tells what it is ready for", function()
			assert.is_true(p:add(a:fd(), "edge"))
			assert.is_true(p:want(a:fd(), "rw"))
			assert.same({[a:fd()] = "w"}, wait())
			p:want(a:fd(), "r")
			assert.same({}, wait())
			b:write("x")
			assert.truthy(wait()[a:fd()]:find("r"))
		end)

		it("is told again after it was added again", function()
			p:add(a:fd(), "edge")
			p:want(a:fd(), "rw")
			assert.same({[a:fd()] = "w"}, wait())
			assert.is_true(p:add(a:fd(), "edge"))
			p:want(a:fd(), "rw")
			assert.same({[a:fd()] = "w"}, wait())
		end)
	end)

	describe("a set of descriptors with " .. name, function()
		it("takes a hang-up for readable and writable", function()
			for _, mode in ipairs {"edge", "level"} do
				local c, d = socket.pair()
				d:close()
				p:add(c:fd(), mode)
				p:want(c:fd(), "r")
				assert.same({[c:fd()] = "rw"}, wait(10))
				assert.equal("hup", events[2])
				p:remove(c:fd())
			end
		end)

		-- Data and the end of it are one edge: who reads less than all
		-- of it must know that no other edge comes.
		it("tells a hang-up behind data from data", function()
			for _, mode in ipairs {"edge", "level"} do
				local c, d = socket.pair()
				p:add(c:fd(), mode)
				d:write("x")
				p:want(c:fd(), "r")
				wait(10)
				assert.is_true(events[2])
				d:shutdown("w")
				p:want(c:fd(), "r")
				wait(10)
				assert.equal("hup", events[2])
				p:remove(c:fd())
				c:close()
				d:close()
			end
		end)

		it("refuses what is always ready", function()
			for _, path in ipairs {"README.md", "src/poll.c", "."} do
				local f = file.open(path)
				if f then
					for _, mode in ipairs {"edge", "level"} do
						local ok, message, code = p:add(f:fd(), mode)
						assert.is_nil(ok)
						assert.equal("poll: Operation not permitted", message)
						assert.equal("EPERM", code)
					end
				end
			end
		end)

		it("refuses or reports /dev/null", function()
			local null = file.open("/dev/null")
			local ok, _, code = p:add(null:fd(), "level")
			if ok then
				p:want(null:fd(), "r")
				assert.same({[null:fd()] = "r"}, wait())
			else
				assert.equal("EPERM", code)
			end
		end)

		it("knows only what was added", function()
			local ok, message, code = p:want(a:fd(), "r")
			assert.is_nil(ok)
			assert.equal("poll: No such file or directory", message)
			assert.equal("ENOENT", code)
			p:add(a:fd(), "level")
			assert.is_true(p:want(a:fd(), "w"))
			assert.is_true(p:remove(a:fd()))
			assert.same({}, wait())
			assert.equal("ENOENT", select(3, p:want(a:fd(), "r")))
			assert.equal("ENOENT", select(3, p:want(100000, "r")))
		end)

		it("forgets what is closed, removed or was never there", function()
			p:add(a:fd(), "edge")
			p:add(b:fd(), "level")
			p:want(b:fd(), "rw")
			local closed = {a:fd(), b:fd()}
			a:close()
			b:close()
			assert.same({}, wait())
			assert.is_true(p:remove(closed[1]))
			assert.is_true(p:remove(closed[2]))
			assert.is_true(p:remove(closed[2]))
			assert.is_true(p:remove(99999))
		end)

		it("starts afresh with a number that is another descriptor now", function()
			p:add(a:fd(), "edge")
			p:want(a:fd(), "rw")
			wait()
			local number = a:fd()
			a:close()
			local c = socket.pair()
			assert.equal(number, c:fd())
			assert.is_true(p:add(c:fd(), "edge"))
			p:want(c:fd(), "rw")
			assert.same({[c:fd()] = "w"}, wait())
		end)

		it("refuses a descriptor that is not open", function()
			local number = a:fd()
			a:close()
			for _, mode in ipairs {"edge", "level"} do
				local ok, message, code = p:add(number, mode)
				assert.is_nil(ok)
				assert.equal("poll: Bad file descriptor", message)
				assert.equal("EBADF", code)
			end
			for _, fd in ipairs {1 << 20, 1 << 29, (1 << 31) - 1} do
				assert.equal("EBADF", select(3, p:add(fd, "level")))
			end
		end)

		it("reports many, at most 256 at a time, and forgets none", function()
			local all, seen, count = {}, {}, 0
			for i = 1, 200 do
				all[i] = {socket.pair()}
				for _, s in ipairs(all[i]) do
					p:add(s:fd(), "level")
					p:want(s:fd(), "w")
				end
			end
			repeat
				local n = p:wait(0, events)
				assert.truthy(n <= 256)
				for i = 1, 3 * n, 3 do
					assert.is_nil(seen[events[i]])
					seen[events[i]] = true
					count = count + 1
				end
			until n == 0
			assert.equal(400, count)
			for _, pair in ipairs(all) do
				pair[1]:close()
				pair[2]:close()
			end
		end)

		it("starves nobody while many are always ready", function()
			local all = {}
			for i = 1, 150 do
				all[i] = {socket.pair()}
				for _, s in ipairs(all[i]) do p:add(s:fd(), "level") end
			end
			local seen, count = {}, 0
			for _ = 1, 2 do
				for _, pair in ipairs(all) do
					for _, s in ipairs(pair) do p:want(s:fd(), "w") end
				end
				for fd in pairs(wait()) do
					count = count + (seen[fd] and 0 or 1)
					seen[fd] = true
				end
			end
			assert.equal(300, count)
			for _, pair in ipairs(all) do
				pair[1]:close()
				pair[2]:close()
			end
		end)

		it("waits as long as it is told, and not less", function()
			for _, seconds in ipairs {0, 0.0001, 0.02} do
				local from = poll.now()
				assert.same({}, wait(seconds))
				local took = poll.now() - from
				assert.truthy(took >= seconds, took)
				assert.truthy(took < seconds + 5, took)
			end
		end)

		it("does not wait when something is there", function()
			p:add(a:fd(), "level")
			for _, seconds in ipairs {-1, math.huge, 1e9, 30} do
				p:want(a:fd(), "w")
				assert.same({[a:fd()] = "w"}, wait(seconds))
			end
		end)

		it("closes once and fails after", function()
			p:add(a:fd(), "level")
			assert.is_true(p:close())
			assert.is_true(p:close())
			assert.is_nil(p:fd())
			for _, call in ipairs {
				function() return p:add(a:fd(), "edge") end,
				function() return p:want(a:fd(), "r") end,
				function() return p:remove(a:fd()) end,
				function() return p:wait(0, events) end,
			} do
				local value, message, code = call()
				assert.is_nil(value)
				assert.equal("closed", message)
				assert.equal("EBADF", code)
			end
		end)

		it("ends with its scope, and leaves its descriptors open", function()
			do
				local q <close> = poll.new()
				q:add(a:fd(), "edge")
			end
			for _ = 1, 2000 do poll.new():add(a:fd(), "level") end
			collectgarbage()
			assert.equal(1, a:write("x"))
		end)

		it("raises for another self and for wrong arguments", function()
			for _, call in ipairs {
				function() p.wait(a, 0, {}) end, function() p.add({}, 1, "edge") end,
				function() p:add(a:fd()) end, function() p:add(a:fd(), "both") end,
				function() p:add(-1, "edge") end, function() p:add(1 << 40, "edge") end,
				function() p:add("x", "edge") end, function() p:want(a:fd()) end,
				function() p:want(a:fd(), "wr") end, function() p:wait(0) end,
				function() p:wait("x", {}) end, function() p:wait(0 / 0, {}) end,
			} do
				assert.is_false(pcall(call))
			end
		end)
	end)
end

local epoll = require "smtptest.core.poll"
behaves(epoll, "the system's best call")
behaves(variant("poll", "-DSMTPTEST_POLL=1", "src/poll.c"), "poll(2)")

describe("epoll", function()
	it("reports an edge without being asked, and once", function()
		local p <close> = epoll.new()
		if not p:fd() then
			pending("not on this system")
			return
		end
		local a, b = socket.pair()
		local events = {}
		p:add(a:fd(), "edge")
		assert.equal(1, p:wait(0, events))
		assert.same({a:fd(), false, true}, {table.unpack(events, 1, 3)})
		assert.equal(0, p:wait(0, events))
		b:write("x")
		assert.equal(1, p:wait(0, events))
		assert.same({a:fd(), true, true}, {table.unpack(events, 1, 3)})
		assert.equal(0, p:wait(0, events))
	end)

	it("is itself a descriptor that can be waited for", function()
		local p <close> = epoll.new()
		local outer <close> = epoll.new()
		if not p:fd() then
			pending("not on this system")
			return
		end
		local a, b = socket.pair()
		p:add(a:fd(), "level")
		p:want(a:fd(), "r")
		outer:add(p:fd(), "level")
		outer:want(p:fd(), "r")
		assert.equal(0, outer:wait(0, {}))
		b:write("x")
		assert.equal(1, outer:wait(10, {}))
	end)
end)

describe("the clock", function()
	it("never goes back", function()
		local before = epoll.now()
		for _ = 1, 1000 do
			local now = epoll.now()
			assert.truthy(now >= before)
			before = now
		end
	end)

	it("knows the date, with fractions", function()
		assert.truthy(math.abs(epoll.walltime() - os.time()) < 5)
		assert.equal("float", math.type(epoll.walltime()))
		assert.equal("float", math.type(epoll.now()))
	end)
end)
