-- What the Makefile builds: the library in stock Lua, in a C program and as the
-- command; and the Makefile's own promises.

local build = os.getenv "BUILD" or "build"
local sanitizers = os.getenv "SAN" or ""
local lua = "lua5.4"

-- Runs a shell command → output (errors too), exit status.
local function run(command)
	local pipe = assert(io.popen("{ " .. command .. "\n} 2>&1", "r"))
	local output = pipe:read "a"
	local _, _, status = pipe:close()
	return output, status
end

local function write(path, text)
	local file <close> = assert(io.open(path, "wb"))
	assert(file:write(text))
end

local function read(path)
	local file <close> = assert(io.open(path, "rb"))
	return file:read "a"
end

local function lines(text)
	local list = {}
	for line in text:gmatch "[^\n]+" do
		list[#list + 1] = line
	end
	return list
end

local here = run("pwd"):gsub("\n", "")
local folder

setup(function()
	folder = run("mktemp -d"):gsub("\n", "")
end)

teardown(function()
	run("rm -rf " .. folder)
end)

-- Stock Lua with nothing but our library, in an empty folder.
local function stock(chunk, environment)
	write(folder .. "/chunk.lua", chunk)
	return run(("cd %s && %s LUA_PATH='./?.lua' LUA_CPATH='%s/%s/?.so' %s chunk.lua")
		:format(folder, environment or "", here, build, lua))
end

describe("smtptest.so in stock Lua", function()
	local embed = require "smtptest.core.embed"

	it("carries every file below lua/, byte for byte", function()
		local files = 0
		for _, path in ipairs(lines(run "find lua -name '*.lua'")) do
			local name = path:gsub("^lua/", "")
			if name:find "^smtptest/" then
				name = name:gsub("%.lua$", ""):gsub("/init$", ""):gsub("/", ".")
			end
			assert.equal(read(path), embed.source(name), path)
			files = files + 1
		end
		assert.equal(files, #embed.names())
	end)

	it("knows nothing of other names", function()
		assert.is_nil(embed.source "smtptest.nosuch")
		assert.is_nil(embed.source "")
		assert.has_error(function() embed.source() end)
	end)

	-- What can't work without somebody else's modules says so in a line.
	local NEEDS = { ["smtptest.expect"] = "smtptest.expect needs luassert, which comes with busted" }

	local texts = {}
	for _, name in ipairs(embed.names()) do
		if name:find "%.lua$" then
			texts[#texts + 1] = name
		elseif name ~= "smtptest.expect" then         -- that one extends busted's luassert, which is not here
			it("loads " .. name .. " first", function()
				local output = stock(("require %q print 'loaded'"):format(name))
				if NEEDS[name] then return assert.matches(NEEDS[name], output, 1, true) end
				assert.equal("loaded\n", output)
			end)
		end
	end

	it("names a module's own file in a traceback", function()
		local output = stock [[
			local reply = require "smtptest.base64"
			for _, value in pairs(reply) do
				if type(value) == "function" then
					print(debug.getinfo(value, "S").source)
					break
				end
			end]]
		assert.equal("@smtptest/base64.lua\n", output)
	end)

	it("is not replaced by a stray file in the working folder", function()
		run("mkdir -p " .. folder .. "/smtptest")
		write(folder .. "/smtptest/failure.lua", "error 'stray'")
		local output = stock "require 'smtptest.reply' require 'smtptest.failure' print 'ours'"
		run("rm -r " .. folder .. "/smtptest")
		assert.equal("ours\n", output)
	end)

	it("leaves what the host has preloaded", function()
		local output = stock [[
			package.preload["smtptest.base64"] = function() return "the host's" end
			require "smtptest.reply"
			print((require "smtptest.base64"))]]
		assert.equal("the host's\n", output)
	end)

	it("reads a developer's files when told so", function()
		run("mkdir -p " .. folder .. "/dev/smtptest")
		write(folder .. "/dev/smtptest/base64.lua", "return 'edited'")
		local output = stock([[
			print((require "smtptest.base64"))
			local embed = require "smtptest.core.embed"
			print(embed.source "smtptest.base64")
			print(embed.source "smtptest.reply")]], "SMTPTEST_LUA=dev")
		assert.equal("edited\nreturn 'edited'\n" ..
			"nil\tdev/smtptest/reply.lua: No such file or directory\tENOENT\n", output)
	end)

	it("runs the source where Lua refuses the compiled modules", function()
		run("mkdir -p " .. folder .. "/other")
		local library, modules = read(build .. "/smtptest.so"):gsub("\27LuaT\0", "\27LuaS\0")
		assert.equal(#embed.names(), modules + #texts)
		write(folder .. "/other/smtptest.so", library)
		local output = run(("cd / && LUA_PATH= LUA_CPATH='%s/other/?.so' %s -e '%s'")
			:format(folder, lua, 'require "smtptest.reply" print "loaded"'))
		assert.equal("loaded\n", output)
	end)

	it("exports only its own names", function()
		for _, file in ipairs { "-D " .. build .. "/smtptest.so", build .. "/libsmtptest.a" } do
			local symbols = lines(run("nm --defined-only -g " .. file))
			local found = 0
			for _, line in ipairs(symbols) do
				local kind, symbol = line:match "^%x+ (%a) (%S+)$"
				if symbol and not (sanitizers ~= "" and symbol:find "^_?_?[auo]") then
					assert.equal("T", kind, symbol)
					assert.truthy(symbol:find "^smtptest_" or symbol:find "^luaopen_smtptest", symbol)
					found = found + 1
				end
			end
			assert.truthy(found > 20)
		end
	end)

	it("leaves liblua to the host, and stays loaded", function()
		local dynamic = run("readelf -d " .. build .. "/smtptest.so")
		assert.truthy(dynamic:find("libssl", 1, true))
		assert.falsy(dynamic:find("liblua", 1, true))
		assert.truthy(dynamic:find("NODELETE", 1, true))
	end)
end)

describe("The generator of embedded sources", function()
	it("keeps every byte of a text", function()
		local bytes = {}
		for byte = 0, 255 do
			bytes[#bytes + 1] = string.char(byte)
		end
		local texts = {
			[""] = "", all = table.concat(bytes), trigraph = "what??/\n??=\n",
			octal = "\0001\n\1777\n", crlf = "a\r\n\r\n", cut = "no end of line",
		}
		run("mkdir -p " .. folder .. "/texts")
		local files = {}
		for name, text in pairs(texts) do
			local path = ("%s/texts/%s.lua"):format(folder, name)
			write(path, text)
			files[#files + 1] = path
		end
		write(folder .. "/print.c", [[
			#include <stdio.h>
			#include "embed.h"
			int embed_open(lua_State *L, const struct embed *source) { return !L + !source; }
			int main(void)
			{
				const struct embed *e;
				for (e = embed_sources; e->name != NULL; e++) {
					printf("%s %zu %d\n", e->name, e->size, e->open == NULL);
					fwrite(e->text, 1, e->size, stdout);
				}
				return 0;
			}]])
		local output, status = run(([[cd %s && %s %s/src/embed.lua out.c texts %s &&
			${CC:-cc} -std=c99 -Wall -Wextra -Wpedantic -Werror -I%s/src \
				$(pkg-config --cflags lua5.4) -o print out.c print.c && ./print]])
			:format(folder, lua, here, table.concat(files, " "):gsub(folder .. "/", ""), here))
		local names = {}
		for name in pairs(texts) do
			names[#names + 1] = name .. ".lua"
		end
		table.sort(names)
		local want = {}
		for _, name in ipairs(names) do
			local text = texts[name:gsub("%.lua$", "")]
			want[#want + 1] = ("%s %d 1\n%s"):format(name, #text, text)
		end
		assert.equal(0, status, output)
		assert.equal(table.concat(want), output)
	end)
end)

-- The command with our own smtptest.cli: what main.c and smtptest_main do.
local function command(cli, arguments, prefix)
	run("mkdir -p " .. folder .. "/cli/smtptest")
	write(folder .. "/cli/smtptest/cli.lua", cli)
	return run(("%s SMTPTEST_LUA=%s/cli %s/smtptest %s")
		:format(prefix or "", folder, build, arguments or ""))
end

describe("The command", function()
	it("hands argv to the command line module, and its status to the system", function()
		local output, status = command(
			"return { main = function(arg) print(arg[0], #arg, arg[1], arg[2]) return 3 end }",
			"'a b' ''")
		assert.equal(build .. "/smtptest\t2\ta b\t\n", output)
		assert.equal(3, status)
	end)

	local broken = {
		["a string is raised"] = { "error 'oops'", "cli.lua:1: oops\nstack traceback:" },
		["a table is raised"] = { "error {}", "smtptest: table: 0x%x+\nstack traceback:" },
		["an object is raised"] = {
			"error(setmetatable({}, { __tostring = function() return 'it' end }))",
			"smtptest: it\nstack traceback:",
		},
		["nothing is returned"] = { "return", "exit status 'nil' is not 0 to 255" },
		["256 is returned"] = { "return 256", "exit status '256' is not 0 to 255" },
		["-1 is returned"] = { "return -1", "exit status '%-1' is not 0 to 255" },
	}
	for what, case in pairs(broken) do
		it("says so and ends with 70 when " .. what, function()
			local output, status = command("return { main = function() " .. case[1] .. " end }")
			assert.truthy(output:find(case[2]), output)
			assert.equal(70, status)
		end)
	end

	it("wipes a secret from what ps shows, and from nothing else", function()
		local output = command([[return { main = function(arg, conceal)
			conceal(2)
			conceal(3, 4)
			io.write(arg[2], " ", arg[3], " ", (io.open("/proc/self/cmdline", "rb"):read "a"
				:gsub("^.-%z", ""):gsub("%z", ".")), "\n")
			return 0
		end }]], "-w s3cret -vws3cret host")
		assert.equal("s3cret -vws3cret -w........-vw.......host.\n", output)
	end)

	it("refuses to wipe what is not there", function()
		local output = command([[return { main = function(_, conceal)
			for _, at in ipairs { { 0 }, { 2 }, { -1 }, { 1, 0 }, { 1, 5 } } do
				print(pcall(conceal, table.unpack(at)))
			end
			conceal(1, 4)
			return 0
		end }]], "abc")
		local list = lines(output)
		assert.equal(5, #list, output)
		for _, line in ipairs(list) do
			assert.truthy(line:find "^false\tbad argument", line)
		end
	end)

	it("keeps connections off the standard descriptors", function()
		local output = command([[return { main = function()
			local a = require "smtptest.core.socket".pair()
			io.open("]] .. folder .. [[/fd", "w"):write(a:fd()):close()
			return 0
		end }]], "<&- >&- 2>&-")
		assert.equal("", output)
		assert.truthy(tonumber(read(folder .. "/fd")) > 2)
	end)

	it("ignores SIGPIPE and takes all the descriptors it may have", function()
		local output = command([[return { main = function()
			for line in io.lines "/proc/self/limits" do
				if line:find "^Max open files" then
					print(line:match "(%d+) +(%d+)")
				end
			end
			for line in io.lines "/proc/self/status" do
				local mask = line:match "^SigIgn:%s*(%x+)"
				if mask then
					print(tonumber(mask, 16) >> 12 & 1)
				end
			end
			return 0
		end }]], "", "ulimit -S -n 64;")
		local soft, hard, pipe = output:match "(%d+)\t(%d+)\n(%d)\n"
		assert.equal(hard, soft)
		assert.equal("1", pipe)
	end)

	it("is lmtptest by another name", function()
		assert.equal("smtptest\n", (run("readlink " .. build .. "/lmtptest")))
	end)

	it("lets scripts load modules written in C", function()
		local dynamic = run("readelf -d " .. build .. "/smtptest")
		assert.truthy(dynamic:find "NEEDED.*liblua")
	end)
end)

local flags = sanitizers == "" and "" or "-fsanitize=" .. sanitizers

describe("A C program", function()
	it("runs the library from libsmtptest.a, beside its own names", function()
		write(folder .. "/host.c", [[
			#include <stdio.h>
			#include <string.h>
			#include <lauxlib.h>
			#include <lualib.h>
			#include "smtptest.h"
			int fail(void);
			int fail(void) { return 7; } /* ours has one too */
			static int own(lua_State *L) { lua_pushstring(L, "own"); return 1; }
			int main(void)
			{
				lua_State *L = smtptest_newstate();
				if (L == NULL || strcmp(smtptest_version(), SMTPTEST_VERSION) != 0)
					return 1;
				if (luaL_dostring(L, "return require('smtptest.core.embed').version"))
					return puts(lua_tostring(L, -1)), 2;
				puts(lua_tostring(L, -1));
				lua_close(L);
				L = luaL_newstate();
				luaL_openlibs(L);
				luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
				lua_pushcfunction(L, own);
				lua_setfield(L, -2, "smtptest.base64");
				lua_settop(L, 0);
				if (smtptest_preload(L) != 0 || lua_gettop(L) != 0)
					return 3;
				if (luaL_dostring(L, "require 'smtptest.reply' return (require 'smtptest.base64')"))
					return puts(lua_tostring(L, -1)), 4;
				puts(lua_tostring(L, -1));
				lua_close(L);
				return fail();
			}]])
		local output, status = run(([[cc -std=c99 -Wall -Wextra -Wpedantic -Werror %s -Isrc \
			$(pkg-config --cflags lua5.4) -o %s/host %s/host.c %s/libsmtptest.a \
			$(pkg-config --libs lua5.4 libssl libcrypto libsasl2) -lpthread && %s/host]])
			:format(flags, folder, folder, build, folder))
		assert.equal("0.1.0\nown\n", output)
		assert.equal(7, status)
	end)
end)

describe("The Makefile", function()
	local make = "env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make --no-print-directory SAN=" .. sanitizers

	it("installs where it is told, and takes all of it away again", function()
		local install = make .. " -o all -s DESTDIR=" .. folder .. "/root PREFIX=/opt/x "
		local output, status = run(install .. "install")
		assert.equal(0, status, output)
		local root = folder .. "/root/opt/x"
		for _, path in ipairs {
			"bin/smtptest", "bin/lmtptest", "lib/lua/5.4/smtptest.so", "lib/libsmtptest.a",
			"include/smtptest.h", "lib/pkgconfig/smtptest.pc", "share/man/man1/smtptest.1",
			"share/smtptest/examples/message.lua",
		} do
			assert.equal("", (run(("test -e %s/%s || echo missing"):format(root, path))), path)
		end
		assert.equal("loaded\n", (run(("cd / && LUA_PATH= LUA_CPATH='%s/lib/lua/5.4/?.so' " ..
			"%s -e 'require \"smtptest.reply\" print \"loaded\"'"):format(root, lua))))
		run(install .. "uninstall")
		assert.equal("", (run(("find %s/root ! -type d"):format(folder))))
	end)

	it("names every source in C", function()
		local makefile = read "Makefile"
		local sources = lines(run "cd src && ls *.c")
		for _, source in ipairs(sources) do
			local word = "[%s]" .. source:gsub("%.", "%%.") .. "[%s]"
			assert.truthy(source == "main.c" or makefile:find(word), source)
		end
		assert.truthy(#sources > 20)
	end)

	it("adds the user's flags to its own", function()
		local output = run(make .. " -n -B CFLAGS=-Oours CPPFLAGS=-Dours LDFLAGS=-Lours all")
		for _, line in ipairs(lines(output)) do
			if line:find "^cc .* %-c " then
				assert.truthy(line:find("-Wpedantic", 1, true), line)
				assert.truthy(line:find("-Dours -Oours", 1, true), line)
			elseif line:find "^cc .* %-lssl" then
				assert.truthy(line:find("-Oours -Lours", 1, true), line)
			end
		end
		assert.truthy(output:find("-Oours", 1, true))
	end)

	it("has nothing to do after it has built", function()
		assert.equal("", (run(make .. " all | grep -v 'Nothing to be done'")))
	end)
end)

describe("make deps", function()
	-- A Debian of our own: packages that are installed, what apt-get would do.
	local function debian(case)
		local bin = folder .. "/bin"
		run("rm -rf " .. bin .. " && mkdir " .. bin)
		local function program(name, text)
			write(bin .. "/" .. name, "#!/bin/sh\n" .. text .. "\n")
			run("chmod +x " .. bin .. "/" .. name)
		end
		program("dpkg-query", [[for p; do :; done
			case " ]] .. case.installed .. [[ " in *" $p "*) printf installed;; *) exit 1;; esac]])
		program("apt-get", 'echo "$@" >>' .. bin .. "/log\ncase \"$*\" in *' -s '*|'-s '*) echo '" ..
			(case.plan or "") .. "';; esac")
		program("id", "echo " .. (case.uid or 0))
		program("sudo", "shift 0; exec \"$@\"")
		write(bin .. "/log", "")
		local output, status = run(("PATH=%s:$PATH CI=%s .ci/deps %s")
			:format(bin, case.ci or "", case.wanted))
		return output, status, read(bin .. "/log")
	end

	it("does nothing when nothing is missing", function()
		local output, status, log = debian { installed = "gcc lua", wanted = "gcc lua" }
		assert.equal("", output)
		assert.equal(0, status)
		assert.equal("", log)
	end)

	it("only says what is missing to a user who is not root", function()
		local output, status, log = debian { installed = "gcc", wanted = "gcc lua", uid = 1000 }
		assert.truthy(output:find("missing packages: lua\n", 1, true))
		assert.truthy(output:find("sudo apt-get install --no-install-recommends lua\n", 1, true))
		assert.equal(1, status)
		assert.equal("", log)
	end)

	for what, case in pairs { ["for root"] = { uid = 0 }, ["in CI"] = { uid = 1000, ci = "true" } } do
		it("prints the list and installs " .. what, function()
			local output, status, log = debian {
				installed = "gcc", wanted = "gcc lua", uid = case.uid, ci = case.ci,
				plan = "Inst lua (5.4)\nInst liblua (5.4)\nConf lua",
			}
			assert.equal("missing packages: lua\n\tlua\n\tliblua\n", output)
			assert.equal(0, status)
			local last = lines(log)
			assert.truthy(last[#last]:find "%-y .*%-%-no%-remove.* install lua$", log)
		end)
	end

	it("refuses to remove a package", function()
		local output, status, log = debian {
			installed = "", wanted = "lua", plan = "Remv exim4 [4.96]\nInst lua (5.4)",
		}
		assert.truthy(output:find("Remv exim4", 1, true))
		assert.truthy(output:find("refused", 1, true))
		assert.equal(1, status)
		assert.falsy(log:find("-y", 1, true), log)
	end)
end)

describe("make check", function()
	local function suite(spec, ci)
		write(folder .. "/some_spec.lua", spec)
		local output, status = run(("CI=%s %s t/suite.lua --cpath='%s/?.so' %s/some_spec.lua")
			:format(ci or "", lua, build, folder))
		local list = lines(output)
		return list[#list], status
	end

	local cases = {
		{ "passes", "it('a', function() end)", "1 passed, 0 failed, 0 skipped", 0 },
		{ "fails", "it('a', function() error 'x' end)", "0 passed, 1 failed, 0 skipped", 1 },
		{ "fails for a spec that cannot be read", "it(", "0 passed, 1 failed, 0 skipped", 1 },
		{ "fails where nothing is tested", "", "0 passed, 0 failed, 0 skipped", 1 },
		{ "passes by hand with a skipped test", "it('a', function() end) pending 'b'",
			"1 passed, 0 failed, 1 skipped", 0 },
		{ "fails in CI with a skipped test", "it('a', function() end) pending 'b'",
			"1 passed, 0 failed, 1 skipped", 1, "true" },
	}
	for _, case in ipairs(cases) do
		it(case[1] .. " and closes with one line", function()
			local line, status = suite(case[2], case[5])
			assert.equal(case[3], line)
			assert.equal(case[4], status)
		end)
	end
end)
