-- The command --test: busted's specs in our own program, its reports, and what ends a run.

local lfs = require "lfs"
local run = require "support.run"
local server = require "smtptest.server"
local task = require "smtptest.task"

local GOOD = [[
describe("mail", function()
	local smtptest = require "smtptest"
	it("has the flags", function()
		assert.equal("127.0.0.1", smtptest.options.host)
		assert.equal("me.test", smtptest.options.helo)
		local s <close> = smtptest.open()
		assert.equal("", smtptest.options.alpn or "")
		require "smtptest.expect"
		assert.reply(250, s:noop())
		assert.equal(1, require("beside").one)
	end)
	it("has another test", function() end)
end)
]]

local BAD = [[
require "smtptest.expect"
local smtptest = require "smtptest"
describe("mail", function()
	it("fails in an assertion", function()
		local s <close> = smtptest.open()
		assert.reply(550, s:noop())
	end)
	it("fails in a session <&\">", function()
		local s <close> = smtptest.open()
		s:vrfy "a\27b":expect(299)
	end)
	it("fails in a helper", function() error "bad\1\255 & <worse>" end)
	it("passes", function() io.write "noise\n" end)
	pending("waits <for> somebody")
end)
describe("a setup", function()
	setup(function() smtptest.open():noop():expect(550) end)
	it("is not reached", function() end)
end)
]]

-- Words of a command that reaches a server of ours.
local function play(words, options)
	local peer = server.listen { keep = false }
	peer:start()
	local all = { "--test", "-p", tostring(peer.port), "--helo=me.test", "127.0.0.1", table.unpack(words) }
	local r = run.command(all, options)
	peer:stop()
	return r
end

local folder, good, bad

setup(function()
	folder = run.scratch "test"
	lfs.mkdir(folder)
	good = run.file("test/good_spec.lua", GOOD)
	bad = run.file("test/bad_spec.lua", BAD)
	run.file("test/beside.lua", "return { one = 1 }")
end)

describe("smtptest --test", function()
	it("runs a spec with the flags of the command line, and the modules beside it", function()
		local r = play { good }
		assert.equal(0, r.status, r.out .. r.err)
		assert.matches("^%+%+\n2 successes / 0 failures / 0 errors / 0 pending", r.out)
		assert.equal("", r.err)
	end)

	it("runs the specs of a folder", function()
		local r = play { folder, "--test-output=TAP" }
		assert.equal(1, r.status)
		assert.matches("ok %d+ %- mail has the flags\n", r.out)
		assert.matches("not ok %d+ %- mail fails in an assertion\n", r.out)
	end)

	it("gives busted the words after --", function()
		local r = play { good, "--", "--filter=another", "--output=TAP" }
		assert.equal(0, r.status, r.out .. r.err)
		assert.equal("ok 1 - mail has another test\n1..1\n", r.out)
	end)

	it("shows what was expected, what came, where, and the transcript's end", function()
		local r = play { bad }
		assert.equal(1, r.status)
		local place = (bad .. ":"):gsub("%W", "%%%0")
		assert.matches(place .. "6: NOOP: expected 550, got 250 2%.0%.0 ok\ntranscript:\n  S: 220 ", r.out)
		assert.matches("  C: NOOP\n  S: 250 2%.0%.0 ok\n", r.out)
		assert.matches(place .. "10: VRFY a\\x1bb: expected 299, got %d%d%d [^\n]+\ntranscript:\n", r.out)
		assert.matches("  C: VRFY a\\x1bb\n", r.out)
		assert.matches(place .. "17: NOOP: expected 550, got 250 ", r.out)
		assert.is_nil(r.out:find "\27")
	end)

	it("names the line of a spec that stands in a folder of our name", function()
		local above = run.scratch "named"
		lfs.mkdir(above)
		lfs.mkdir(above .. "/smtptest")
		run.file("named/smtptest/named_spec.lua", "it('x', function()\nrequire 'smtptest'.open():noop():expect(550) end)")
		local words = { "-c", ("cd '%s' && exec '%s' --test -p $PORT smtptest/named_spec.lua 127.0.0.1"):format(above,
			run.absolute) }
		local peer = server.listen {}
		peer:start()
		local r = run.command(words, { program = "sh", env = { PORT = tostring(peer.port) } })
		peer:stop()
		assert.matches("\nsmtptest/named_spec%.lua:2: NOOP: expected 550, got 250 ", r.out)
	end)

	it("says in one line which package is missing", function()
		local r = play({ good }, { env = { LUA_PATH = folder .. "/?.lua" } })
		assert.equal(1, r.status)
		assert.equal("failure: busted is not installed (Debian: apt-get install lua-busted; LuaRocks: luarocks install busted)\n",
			r.err)
	end)

	it("says in one line what busted lacks", function()
		local r = play({ good }, { env = { LUA_CPATH = folder .. "/?.so" } })
		assert.equal(1, r.status)
		assert.matches("^failure: busted can't be loaded: [^\n]*\n$", r.err)
	end)

	it("ends in order when it is interrupted: the report is whole, what it started is gone", function()
		local spec = run.file("test/slow_spec.lua", [[
			local smtptest = require "smtptest"
			describe("slow", function()
				it("waits", function()
					local server = smtptest.listen {}
					server:start()
					io.stdout:write "waiting\n"
					server:wait(1, 60)
					error "woken"
				end)
				it("is not reached", function() end)
			end)
		]])
		local waiting = task.promise()
		local r = play({ spec, "--test-output=TAP:" .. folder .. "/slow.tap" }, {
			on_output = function(all)
				if all:find "waiting\n" then waiting:set(true) end
			end,
			stdin = { function(child)
				waiting:wait(20)
				child:kill "INT"
			end },
		})
		assert.equal(2, r.signal, ("%s\n%s\n%s"):format(r.status, r.out, r.err))
		local text = run.read(folder .. "/slow.tap")
		assert.matches("^not ok 1 %- slow waits\n", text)
		assert.matches("\n1%.%.1\n$", text)
	end)

	local refused = {
		{ "a host alone", { "--test", "mail.example" }, "--test: no spec given (a .lua file or a folder)" },
		{ "two hosts", { "--test", "x_spec.lua", "a", "b" }, "--test: neither a spec nor the host: b" },
		{ "a script", { "--test", "x_spec.lua", "-S", "y.lua" }, "-S and --test cannot be combined" },
		{ "a server", { "--test", "x_spec.lua", "--serve" }, "--test and --serve cannot be combined" },
		{ "a report of nothing", { "--test-output=TAP", "a" }, "--test-output: only --test has results" },
		{ "two reports", { "--test", "x_spec.lua", "--test-output=TAP", "--test-output=junit:x.xml" },
			"--test-output: there is one report, and it was given twice" },
		{ "a report that is not there", { "--test", "x_spec.lua", "--test-output=nosuch" },
			"--test-output: no such kind of report: nosuch (TAP, junit, json, gtest, plain, utf, or a module)" },
		{ "a report where none can be", { "--test", "x_spec.lua", "--test-output=TAP:/nosuch/file" },
			"--test-output: /nosuch/file: No such file or directory" },
	}
	for _, case in ipairs(refused) do
		it("refuses " .. case[1], function()
			local r = run.command(case[2])
			assert.equal(1, r.status)
			assert.equal("failure: " .. case[3] .. "\n", r.err)
		end)
	end

	it("fails when no test was run, and not when they are listed", function()
		local r = play { good, "--", "--filter=zzz" }
		assert.equal(1, r.status)
		assert.equal("failure: --test: no test was run\n", r.err)
		r = play { run.file("test/without_spec.lua", "local x = 1\nreturn x\n") }
		assert.equal(1, r.status)
		assert.equal("failure: --test: no test was run\n", r.err)
		os.remove(folder .. "/without_spec.lua")
		r = play { good, "--", "--list" }
		assert.equal(0, r.status, r.out .. r.err)
		assert.matches(": mail has another test\n", r.out)
	end)

	it("tells a spec that can't be read, in every report", function()
		local broken = run.file("test/broken_spec.lua", "local x = 1\nlocal = 2\n")
		for _, kind in ipairs { "TAP", "junit", "json", "plain" } do
			local r = play { broken, good, "--test-output=" .. kind }
			assert.equal(1, r.status, r.out .. r.err)
			assert.equal("", r.err)
			assert.matches("broken_spec%.lua:2: %S+ expected near", r.out)
			if kind == "TAP" then
				assert.matches("^not ok 1 %- %S+/broken_spec%.lua\n# %S+/broken_spec%.lua @ 2\n# Failure message: ", r.out)
				assert.matches("\n1%.%.3\n$", r.out)
			end
		end
		os.remove(broken)
		local r = run.command { "--test", folder .. "/none_spec.lua", "--test-output=TAP" }
		assert.equal(1, r.status)
		assert.matches("\n# Failure message: Cannot find file or directory: ", r.out)
	end)

	it("fails for a spec that is not there", function()
		local r = run.command { "--test", folder .. "/none_spec.lua" }
		assert.equal(1, r.status)
		assert.matches("Cannot find file or directory: [^\n]*none_spec%.lua", r.out)
	end)
end)

-- Elements of a document: a list of {name, attributes, text}; raises where it is not well-formed.
local function elements(text)
	local entities = { amp = "&", lt = "<", gt = ">", quot = '"', ["#10"] = "\n", ["#9"] = "\t" }
	local function plain(value)
		assert(not value:find "[<%z\1-\8\11\12\14-\31]" and utf8.len(value), "bad characters")
		return (value:gsub("&([^;]*);?", function(name) return assert(entities[name], "bad entity " .. name) end))
	end
	local list, stack = {}, {}
	assert(text:find '^<%?xml version="1.0" encoding="UTF%-8"%?>\n')
	local position = text:find("\n", 1, true)
	while true do
		local before, slash, name, rest, alone, after = text:match("^([^<]*)<(/?)([%w]+)([^<>]-)(/?)>()", position)
		if not before then break end
		local open = stack[#stack]
		if open then open.text = open.text .. plain(before) else assert(not before:find "%S") end
		if slash == "/" then
			assert(table.remove(stack).name == name, "closes another element: " .. name)
		else
			assert(open or #list == 0, "a second root")
			local one = { name = name, attributes = {}, text = "", parent = open }
			local length = 0
			for all, key, value in rest:gmatch '(%s+([%w]+)="([^"]*)")' do
				assert(not one.attributes[key], "twice: " .. key)
				one.attributes[key], length = plain(value), length + #all
			end
			assert(length == #rest, "bad attributes: " .. rest)
			list[#list + 1] = one
			if alone == "" then stack[#stack + 1] = one end
		end
		position = after
	end
	assert(#stack == 0 and text:sub(position) == "\n", "it goes on: " .. text:sub(position))
	return list
end

-- What the schema of Jenkins and its relatives allows.
local ALLOWED = {
	testsuites = { tests = "%d+", failures = "%d+", errors = "%d+", time = "[%d.]+" },
	testsuite = { name = ".+", tests = "%d+", failures = "%d+", errors = "%d+", skipped = "%d+", time = "[%d.]+",
		timestamp = "%d+%-%d+%-%d+T%d+:%d+:%d+" },
	testcase = { name = ".+", classname = ".+", time = "[%d.]+" },
	failure = { message = ".*", type = ".+" }, error = { message = ".*", type = ".+" }, skipped = { message = ".*" },
}
local PARENT = { testsuite = "testsuites", testcase = "testsuite", failure = "testcase", error = "testcase",
	skipped = "testcase" }

describe("the report", function()
	it("TAP is what perl's TAP::Parser understands", function()
		if not os.execute "perl -MTAP::Parser -e 1 2>/dev/null" then return pending "perl's TAP::Parser is not installed" end
		local path = folder .. "/report.tap"
		local r = play { bad, "--test-output=TAP:" .. path }
		assert.equal(1, r.status)
		assert.equal("noise\n", r.out)
		local parsed = run.command({ "-MTAP::Parser", "-e", [[
			my $p = TAP::Parser->new({ source => $ARGV[0] });
			$p->run;
			print join(" ", $p->tests_planned, scalar($p->passed), scalar($p->failed), scalar($p->skipped),
				scalar($p->parse_errors)), "\n";
		]], path }, { program = "perl" })
		assert.equal("6 2 4 1 0\n", parsed.out, parsed.err .. run.read(path))
	end)

	it("JUnit is well-formed, has the attributes of the schema, and names the failing lines", function()
		local path = folder .. "/report.xml"
		assert.equal(1, play({ folder, "--test-output=junit:" .. path, "--", "--filter-out=waits$", "--filter-out=reached" }).status)
		local text = run.read(path)
		local found, count = {}, {}
		for _, one in ipairs(elements(text)) do
			assert.equal(PARENT[one.name], one.parent and one.parent.name)
			for name, pattern in pairs(ALLOWED[one.name]) do
				assert.matches("^" .. pattern .. "$", one.attributes[name], 1, false, one.name .. " " .. name)
			end
			for name in pairs(one.attributes) do assert.is_string(ALLOWED[one.name][name], name) end
			count[one.name] = (count[one.name] or 0) + 1
			if one.name == "failure" or one.name == "error" then found[one.parent.attributes.name] = one end
		end
		assert.equal(2, count.testsuite)
		assert.equal(1, count.skipped)
		assert.equal(bad .. ":6: NOOP: expected 550, got 250 2.0.0 ok", found["mail fails in an assertion"].attributes.message)
		assert.equal("failure", found["mail fails in an assertion"].name)
		local session = found['mail fails in a session <&">']
		assert.matches(":10: VRFY a\\x1bb: expected 299, got ", session.attributes.message)
		assert.matches("\n  C: VRFY a\\x1bb\n", session.text)
		assert.matches(":12: bad\\x01\\xff & <worse>", found["mail fails in a helper"].attributes.message)
	end)

	it("JSON is one document", function()
		local r = play { good, "--test-output=json" }
		local report = assert(require "dkjson".decode(r.out))
		assert.equal(2, #report.successes)
	end)
end)

describe("plain busted", function()
	it("finds the library, with the flags in SMTPTEST_FLAGS", function()
		local program = run.command({ "-c", "command -v busted" }, { program = "sh" }).out:gsub("\n", "")
		if program == "" then return pending "busted has no command here" end
		local peer = server.listen {}
		peer:start()
		local r = run.command({ "-c", ("cd '%s' && exec '%s' --lua=%s -o TAP %s"):format(folder, program,
				os.getenv "LUA" or "lua5.4", "good_spec.lua bad_spec.lua") }, { program = "sh",
			env = { LUA_CPATH = run.absolute:gsub("smtptest$", "?.so;;"), LUA_PATH = "./?.lua;;",
				SMTPTEST_FLAGS = ("-p %d --helo=me.test 127.0.0.1"):format(peer.port) } })
		peer:stop()
		assert.equal(1, r.status)
		assert.matches("ok 1 %- mail has the flags\n", r.out)
		assert.matches("bad_spec%.lua:6: NOOP: expected 550, got 250 2%.0%.0 ok\n# transcript:\n", r.out)
		assert.matches("bad_spec%.lua:10: VRFY [^\n]*: expected 299, got ", r.out)
		r = run.command({ "-c", ("cd '%s' && exec '%s' --lua=%s bad_spec.lua"):format(folder, program, os.getenv "LUA" or "lua5.4") },
			{ program = "sh", env = { LUA_CPATH = run.absolute:gsub("smtptest$", "?.so;;"), SMTPTEST_FLAGS = "--nosuch" } })
		assert.matches("\nbad_spec%.lua:5: SMTPTEST_FLAGS: unrecognized option '%-%-nosuch'\n", r.out)
	end)
end)
