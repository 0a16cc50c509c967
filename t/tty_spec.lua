local tty = require "smtptest.core.tty"
local file = require "smtptest.core.file"
local socket = require "smtptest.core.socket"
local process = require "smtptest.core.process"
local child = require "child"

-- Runs source in a terminal: body(input, output) is the person in front of it.
local function at_terminal(source, body, after)
	local p, remove = child.terminal([[
		local tty = require "smtptest.core.tty"
		local t = assert(tty.open())
	]] .. source, after)
	if not p then
		remove()
		pending("there is no script(1) here")
		return
	end
	local ok, reason = pcall(body, p:stdin(), p:stdout())
	if ok then child.wait(p) end
	p:close()
	remove()
	assert(ok, reason)
end

describe("the terminal", function()
	it("is none where there is none", function()
		local argv = child.argv [[
			print(require "smtptest.core.tty".open())
		]]
		local p <close> = process.spawn {argv = {"setsid", "-w", table.unpack(argv)},
			stdin = "null", stderr = "inherit"}
		assert.equal("nil\topen /dev/tty: No such device or address\tENXIO\n", child.all(p:stdout()))
		local reader = file.pipe()
		for _, fd in ipairs {reader:fd(), -1, 1 << 20, 1 << 40} do
			assert.is_false(tty.isatty(fd))
		end
	end)

	it("is read by the line and written", function()
		at_terminal([[
			t:write("name: ")
			t:write("<" .. t:read(100) .. ">", 1, 4)
			io.write(" ", tostring(tty.isatty(0)), " ", tostring(tty.isatty(t:fd())), "\n")
			print("end", select(3, t:read(100)))
		]], function(input, output)
			child.expect(output, "name: ")
			input:write("alice\n")
			child.expect(output, "<ali true true")
			input:write("\4")
			child.expect(output, "end\tEOF")
		end)
	end)

	it("does not show what is typed while its echo is off", function()
		at_terminal([[
			assert(t:echo(false))
			assert(t:echo(false))
			t:write("password: ")
			local secret = t:read(100)
			assert(t:echo(true))
			assert(t:echo(true))
			t:write(#secret .. " bytes\n")
			t:read(100)
			t:write("done\n")
		]], function(input, output)
			child.expect(output, "password: ")
			input:write("sesame\n")
			local seen = child.expect(output, "7 bytes")
			assert.is_nil(seen:find("sesame"))
			input:write("open\n")
			assert.truthy(child.expect(output, "done"):find("open"))
		end)
	end)

	it("throws away what was typed before its echo was off", function()
		at_terminal([[
			t:write("soon\n")
			assert(t:ready(30))
			assert(t:echo(false))
			assert(not t:ready())
			t:write("now: ")
			t:write("<" .. t:read(100):gsub("\n", "") .. ">")
		]], function(input, output)
			child.expect(output, "soon")
			input:write("early\n")
			child.expect(output, "now: ")
			input:write("late\n")
			child.expect(output, "<late>")
		end)
	end)

	it("belongs to one question at a time", function()
		at_terminal([[
			local other = tty.open()
			assert(t:echo(false))
			print(other:echo(false))
			assert(other:echo(true))
			other:close()
			t:close()
			t = tty.open()
			assert(t:echo(false))
			assert(t:echo(true))
		]], function(_, output)
			child.expect(output, "nil\ttcsetattr: Device or resource busy\tEBUSY")
		end)
	end)

	for name, finish in pairs {
		["is closed"] = "t:close() t:close()",
		["is left"] = "do local now <close> = t end",
		["is forgotten"] = "t = nil collectgarbage()",
		["is left to the end of Lua"] = "",
	} do
		it("gets its echo back when it " .. name, function()
			at_terminal("assert(t:echo(false)) os.execute('stty -a') " .. finish,
				function(_, output)
					local seen = child.expect(output, " -echo ")
					seen = seen .. child.expect(output, "THE END")
					assert.truthy(seen:match(" %-echo .* echo .*THE END"), seen)
				end, "stty -a; echo THE END")
		end)
	end

	it("fails after close", function()
		at_terminal([[
			t:close()
			assert(t:fd() == nil)
			for name, argument in pairs {echo = false, read = 1, write = "x", ready = 0} do
				local value, message, code = t[name](t, argument)
				assert(value == nil and message == "closed" and code == "EBADF", name)
			end
			print("good")
		]], function(_, output)
			child.expect(output, "good")
		end)
	end)

	it("raises for another self and for wrong arguments", function()
		at_terminal([[
			local function raises(f, ...) assert(not pcall(f, ...)) end
			for _, name in ipairs {"echo", "read", "write", "ready", "fd", "close"} do
				raises(t[name], {}, 1)
				raises(t[name], io.stdout, 1)
			end
			raises(t.echo, t)
			raises(t.echo, t, 1)
			raises(t.read, t)
			raises(t.read, t, 0)
			raises(t.write, t)
			raises(tty.isatty)
			raises(tty.isatty, "x")
			print("good")
		]], function(_, output)
			child.expect(output, "good")
		end)
	end)
end)

describe("what is no terminal", function()
	it("is not one for isatty", function()
		local a = socket.pair()
		assert.is_false(tty.isatty(a:fd()))
	end)
end)
