-- smtptest(3) is written by hand; this holds it to src/smtptest.h, and compiles and runs its examples.

local mdoc = require "support.mdoc"
local run = require "support.run"

local PAGE, HEADER = "man/smtptest.3", "src/smtptest.h"
local SAN = os.getenv "SAN" or ""
local page = mdoc.read(PAGE)

-- name → the declaration in one line, of the header and of the page.
local function declared()
	local found = {}
	for kind, name, arguments in run.read(HEADER):gmatch "SMTPTEST_API ([%w_ *]-)%s?([%w_]+)(%b());" do
		found[name] = ("%s %s%s"):format(kind, name, arguments:gsub("%s+", " "))
	end
	return found
end

local function documented()
	local found, kind, inside = {}, nil, false
	for _, line in ipairs(page.lines) do
		inside = line == ".Sh SYNOPSIS" or inside and not line:find "^%.Sh"
		kind = inside and line:match '^%.Ft "?(.-)"?$' or kind
		local name, rest = line:match "^%.Fn ([%w_]+) ?(.*)$"
		if inside and name then
			local arguments = {}
			for one in rest:gsub('"([^"]*)"', function(text) return (text:gsub(" ", "\0")) end):gmatch "%S+" do
				arguments[#arguments + 1] = one:gsub("%z", " ")
			end
			found[name] = ("%s %s(%s)"):format(kind, name, table.concat(arguments, ", "))
		end
	end
	return found
end

describe("smtptest(3)", function()
	mdoc.spec(PAGE)

	it("declares what the header does", function()
		local expected = declared()
		assert.is_string(expected.smtptest_version)
		assert.same(expected, documented())
	end)

	it("names every function in NAME, and describes it, and shows it in an example", function()
		local text = table.concat(page.lines, "\n")
		local name = text:match "\n%.Sh NAME\n(.-)\n%.Sh"
		local description = text:match "\n%.Sh DESCRIPTION\n(.-)\n%.Sh"
		local code = mdoc.code(page)
		for function_name in pairs(declared()) do
			assert.is_truthy(name:find("Nm " .. function_name, 1, true), function_name)
			assert.is_truthy(description:find("Fn " .. function_name, 1, true), function_name)
			assert.is_truthy(code:find(function_name, 1, true), function_name)
		end
	end)
end)

-- ---------------------------------------------------------------- the examples

-- The library as it would be installed.
local function installed()
	local folder = run.scratch "library"
	local pc = run.read(run.program:gsub("smtptest$", "smtptest.pc")):gsub("^prefix=[^\n]*", "prefix=" .. folder)
	assert(os.execute(("mkdir -p '%s/include' '%s/lib/pkgconfig' && cp '%s' '%s/include' && cp '%s' '%s/lib'"):format(
		folder, folder, HEADER, folder, run.program:gsub("smtptest$", "libsmtptest.a"), folder)))
	local handle <close> = assert(io.open(folder .. "/lib/pkgconfig/smtptest.pc", "w"))
	handle:write(pc)
	return folder
end

-- What stands in the page as `cc`, with this program in it.
-- @return path of the program
local function compile(folder, number, lines)
	local command = assert(page.displays[1].lines[1]:match "^%$ (cc .*)$")
	local place = ("%s/%d"):format(folder, number)
	assert(os.execute(("mkdir -p '%s'"):format(place)))
	do
		local handle <close> = assert(io.open(place .. "/host.c", "w"))
		handle:write(table.concat(lines, "\n"), "\n")
	end
	command = command:gsub("^cc", "${CC:-cc} -std=c99 -Wall -Wextra -Wpedantic -Werror -D_POSIX_C_SOURCE=200809L "
		.. (SAN ~= "" and "-fsanitize=" .. SAN or ""))
	local pipe = assert(io.popen(("{ cd '%s' && unset LD_PRELOAD && PKG_CONFIG_PATH='%s/lib/pkgconfig' && "
		.. "export PKG_CONFIG_PATH && %s\n} 2>&1"):format(place, folder, command)))
	local told = pipe:read "a"
	assert.is_true(pipe:close(), told)
	return place .. "/host"
end

describe("an example of smtptest(3)", function()
	local programs = {}

	setup(function()
		local folder = installed()
		for i = 2, #page.displays do programs[i - 1] = compile(folder, i, page.displays[i].lines) end
	end)

	local function answers(answer)
		return function(c)
			c:send "220 stub ESMTP\r\n"
			c:reply(answer)
			c:gone()
		end
	end

	-- These are programs of few lines, which free nothing before they fail.
	local LEAKY = { ASAN_OPTIONS = "detect_leaks=0" }

	local function host(port) return { "127.0.0.1", port } end

	local function refused(program)
		local port = tostring(run.closed_port())
		return run.command({ "127.0.0.1", port }, { program = program, env = LEAKY }),
			("connect to 127.0.0.1:%s: Connection refused\n"):format(port)
	end

	it("is a host of few lines", function()
		local r = run.against(answers "250 stub", host, { program = programs[1], env = LEAKY })
		assert.same({ "250 stub\n", "", 0 }, { r.out, r.err, r.status })
		assert.equal("EHLO smtptest\r\n", table.concat(r.seen))
		local why
		r, why = refused(programs[1])
		assert.same({ "ECONNREFUSED: " .. why, "", 1 }, { r.out, r.err, r.status })
		assert.equal(2, run.command({}, { program = programs[1], env = LEAKY }).status)
	end)

	it("is a host with a loop of its own", function()
		local r = run.against(answers "250 stub", host, { program = programs[2], env = LEAKY })
		assert.same({ "250 stub\n", "", 0 }, { r.out, r.err, r.status })
		assert.equal("EHLO host.example\r\n", table.concat(r.seen))
		local why
		r, why = refused(programs[2])
		assert.same({ "failure: " .. why, "", 0 }, { r.out, r.err, r.status })
	end)

	it("is the command", function()
		local r = run.command({ "--version" }, { program = programs[3], env = LEAKY })
		assert.same({ "", 0 }, { r.err, r.status })
		assert.matches("^smtptest %d", r.out)
	end)

	it("is the module on its own", function()
		local r = run.command({}, { program = programs[4], env = LEAKY })
		assert.same({ require "smtptest".version .. "\n", "", 0 }, { r.out, r.err, r.status })
		assert.equal(5, #page.displays)
	end)
end)
