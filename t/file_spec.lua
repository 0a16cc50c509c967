local file = require "smtptest.core.file"
local socket = require "smtptest.core.socket"
local process = require "smtptest.core.process"
local poll = require "smtptest.core.poll"
local child = require "child"

describe("a file", function()
	local path
	before_each(function() path = os.tmpname() end)
	after_each(function() os.remove(path) end)

	it("is written, appended to and read", function()
		local f = assert(file.open(path, "w"))
		assert.equal(5, f:write("hello"))
		assert.equal(3, f:write("abcdef", 2, 4))
		assert.equal(0, f:write("abc", 4))
		assert.equal(0, f:write(""))
		assert.equal(8, f:size())
		f:close()
		f = assert(file.open(path, "a"))
		f:write("\0\xff")
		f:close()
		f = assert(file.open(path, "r"))
		assert.equal("hel", f:read(3))
		assert.equal("lobcd\0\xff", f:read(100000))
		local bytes, message, code = f:read(1)
		assert.is_nil(bytes)
		assert.equal("end of file", message)
		assert.equal("EOF", code)
		f:close()
		f = assert(file.open(path, "w"))
		assert.equal(0, f:size())
		f:close()
	end)

	it("is read by default", function()
		local f <close> = assert(file.open(path))
		assert.equal("EBADF", select(3, f:write("x")))
		assert.equal("EOF", select(3, f:read(1)))
		assert.is_false(f:isatty())
	end)

	it("is made for everybody, less the umask", function()
		os.remove(path)
		local shell <close> = process.spawn {argv = {"sh", "-c", "umask"}, stdin = "null"}
		local umask = tonumber(shell:stdout():read(100), 8)
		local f <close> = assert(file.open(path, "w"))
		f:write("x")
		local stat <close> = process.spawn {argv = {"stat", "-c", "%a", path}, stdin = "null"}
		assert.equal(0x1b6 & ~umask, tonumber(stat:stdout():read(100), 8))
	end)

	it("that cannot be opened has a reason with its name", function()
		local cases = {
			{"/nonexistent/file", "r", "open /nonexistent/file: No such file or directory", "ENOENT"},
			{"/nonexistent/file", "w", "open /nonexistent/file: No such file or directory", "ENOENT"},
			{"", "r", "open : No such file or directory", "ENOENT"},
			{"/", "w", "open /: Is a directory", "EISDIR"},
			{path .. "/x", "r", "open " .. path .. "/x: Not a directory", "ENOTDIR"},
			{path .. "\0x", "r", "open " .. path .. ": Invalid argument", "EINVAL"},
		}
		for _, case in ipairs(cases) do
			local f, message, code = file.open(case[1], case[2])
			assert.is_nil(f)
			assert.equal(case[3], message)
			assert.equal(case[4], code)
		end
	end)

	it("may be a folder, until it is read", function()
		local f <close> = assert(file.open("/"))
		local bytes, message, code = f:read(1)
		assert.is_nil(bytes)
		assert.equal("read: Is a directory", message)
		assert.equal("EISDIR", code)
		assert.is_nil(f:size())
	end)

	it("has a stamp that changes with it", function()
		local first = assert(file.stamp(path))
		assert.equal(first, file.stamp(path))
		local handle = io.open(path, "w")
		handle:write "x"
		handle:close()
		assert.not_equal(first, file.stamp(path))
		assert.same({ nil, "stat: No such file or directory", "ENOENT" }, { file.stamp(path .. ".none") })
		assert.equal("EINVAL", select(3, file.stamp "a\0b"))
		assert.is_false(pcall(file.stamp))
	end)

	it("is removed", function()
		assert.is_true(file.unlink(path))
		local ok, message, code = file.unlink(path)
		assert.is_nil(ok)
		assert.equal("unlink " .. path .. ": No such file or directory", message)
		assert.equal("ENOENT", code)
		assert.equal("EINVAL", select(3, file.unlink(path .. "\0")))
	end)
end)

describe("a descriptor that we did not open", function()
	it("is used and never closed", function()
		local a, b = socket.pair()
		local f = assert(file.fromfd(a:fd()))
		assert.equal(a:fd(), f:fd())
		f:write("x")
		assert.equal("x", b:read(1))
		f:close()
		f = assert(file.fromfd(a:fd()))
		assert.truthy(f)
		f = nil
		collectgarbage()
		assert.is_nil(f)
		assert.equal(1, a:write("y"))
	end)

	it("must be open", function()
		for _, fd in ipairs {-1, 1 << 20, 1 << 40} do
			local f, message, code = file.fromfd(fd)
			assert.is_nil(f)
			assert.equal("fromfd: Bad file descriptor", message)
			assert.equal("EBADF", code)
		end
	end)
end)

describe("the life of a file", function()
	it("ends once, and leaves a failure for whoever uses it later", function()
		for _, f in ipairs {file.open("/dev/null"), file.fromfd(1)} do
			assert.is_true(f:close())
			assert.is_true(f:close())
			assert.is_nil(f:fd())
			for name, arguments in pairs {read = {1}, write = {"x"}, ready = {}, size = {},
				isatty = {}} do
				local value, message, code = f[name](f, table.unpack(arguments))
				assert.is_nil(value, name)
				assert.equal("closed", message, name)
				assert.equal("EBADF", code, name)
			end
		end
	end)

	it("ends with its scope and with its last reference", function()
		local reader
		do
			local r, writer <close> = file.pipe()
			reader = r
			assert.truthy(writer:fd())
		end
		assert.equal("EOF", select(3, reader:read(1)))
		local writer
		reader, writer = file.pipe()
		assert.truthy(writer)
		writer = nil
		collectgarbage()
		assert.is_nil(writer)
		assert.equal("EOF", select(3, reader:read(1)))
	end)

	it("raises for another self and for wrong arguments", function()
		local f <close> = file.open("/dev/null")
		for _, name in ipairs {"read", "write", "ready", "size", "isatty", "fd", "close"} do
			assert.is_false(pcall(f[name], {}, 1), name)
			assert.is_false(pcall(f[name], (socket.pair()), 1), name)
		end
		for _, call in ipairs {
			function() f:read() end, function() f:read(0) end,
			function() f:read(1 << 40) end, function() f:write() end,
			function() f:write({}) end, function() f:write("x", 0) end,
			function() f:write("x", 1, -1) end, function() f:ready("x") end,
			function() f:ready(0 / 0) end, function() file.open() end,
			function() file.open("x", "rw") end, function() file.fromfd("x") end,
			function() file.unlink() end, function() file.username("root") end,
		} do
			assert.is_false(pcall(call))
		end
	end)
end)

describe("the process", function()
	it("knows its user and its number", function()
		local id <close> = process.spawn {argv = {"id", "-ru"}, stdin = "null"}
		assert.equal(file.getuid(), tonumber(id:stdout():read(100)))
		local shell <close> = process.spawn {argv = {"sh", "-c", "echo $PPID"}, stdin = "null"}
		assert.equal(file.getpid(), tonumber(shell:stdout():read(100)))
	end)

	it("knows a user's name, where there is one", function()
		assert.equal("root", file.username(0))
		for _, uid in ipairs {4294967294 - 7, -1 << 40, 1 << 40} do
			local name, message, code = file.username(uid)
			assert.is_nil(name)
			assert.equal("no user name for uid " .. uid, message)
			assert.equal("ENOENT", code)
		end
	end)

	it("leaves a daemon's number behind before its parent ends", function()
		local path = os.tmpname()
		local p <close> = child.run(([[
			local file = require "smtptest.core.file"
			assert(file.daemon(assert(file.open(%q, "w"))))
			local writer = io.open(%q .. ".own", "w")
			writer:write(file.getpid())
			writer:close()
			os.rename(%q .. ".own", %q .. ".done")
		]]):format(path, path, path, path))
		assert.same({"exit", 0}, {child.wait(p)})
		local number = file.open(path, "r"):read(100)
		assert.matches("^%d+$", number)
		local deadline = poll.now() + 30
		local own
		repeat own = io.open(path .. ".done") until own or poll.now() > deadline
		assert.equal(number, own:read "a")
		own:close()
		os.remove(path)
		os.remove(path .. ".done")

		local closed = assert(file.open("/dev/null", "r"))
		closed:close()
		assert.same({nil, "closed", "EBADF"}, {file.daemon(closed)})
		assert.has_error(function() file.daemon("x") end)
	end)

	it("becomes a daemon: without terminal or streams, in the same folder", function()
		local path = os.tmpname()
		os.remove(path)
		local listener <close> = assert(socket.listen {family = "unix", path = path})
		local p <close> = child.run(([[
			local file = require "smtptest.core.file"
			local socket = require "smtptest.core.socket"
			io.write("once")
			local before = file.getpid()
			assert(file.daemon())
			local s = assert(socket.connect {family = "unix", path = %q})
			local ps = io.popen("unset LD_PRELOAD; ps -o pid=,sid=,tty= -p " .. file.getpid())
			local pid, sid, tty = ps:read("n", "n", "l")
			s:write(table.concat({tostring(before ~= pid), tostring(pid == sid),
				tostring(tty):match("%%S+"), tostring(file.fromfd(0):read(1)),
				tostring(file.fromfd(1):write("x")), os.getenv("PWD")}, " "))
			io.stdout:write("never seen")
		]]):format(path))
		assert.same({"exit", 0}, {child.wait(p)})
		-- The daemon let go of our pipe.
		assert.equal("once", child.all(p:stdout()))
		local set <close> = poll.new()
		set:add(listener:fd(), "level")
		set:want(listener:fd(), "r")
		assert.equal(1, set:wait(30, {}))
		os.remove(path)
		local report = file.fromfd(assert(listener:accept()):detach())
		assert.equal("true true ? nil 1 " .. os.getenv("PWD"), child.all(report))
	end)
end)
