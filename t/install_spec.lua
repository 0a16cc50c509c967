-- What `make install` and `make deb` put where, and that it works from there: built for a folder of this test's own, as
-- a user would build it for /usr/local.

local run = require "support.run"

local SAN = os.getenv "SAN" or ""
local LUA = os.getenv "LUA" or "lua5.4"
local MAKE = "env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL -u BUILD -u LD_PRELOAD make --no-print-directory -s -j2 CFLAGS=-O0 "
local here = os.getenv "PWD"

-- Runs a shell command → output (errors too), exit status.
local function sh(command)
	local pipe = assert(io.popen("{ " .. command .. "\n} 2>&1", "r"))
	local output = pipe:read "a"
	local _, _, status = pipe:close()
	return output, status
end

local function good(command)
	local output, status = sh(command)
	assert.equal(0, status, output)
	return output
end

local folder, prefix, make, said

setup(function()
	folder = sh("mktemp -d"):gsub("\n", "")
	prefix = folder .. "/prefix"
	make = ("%s BUILD='%s/obj' SAN=%s PREFIX='%s' "):format(MAKE, folder, SAN, prefix)
	said = good(make .. "install")
end)

teardown(function()
	sh(("rm -rf '%s'"):format(folder))
end)

local FILES = [[
bin/lmtptest
bin/smtptest
include/smtptest.h
lib/libsmtptest.a
lib/lua/5.4/smtptest.so
lib/pkgconfig/smtptest.pc
share/bash-completion/completions/lmtptest
share/bash-completion/completions/smtptest
share/man/man1/lmtptest.1
share/zsh/site-functions/_smtptest
]]

-- All files below a folder that are not directories, one a line, sorted.
local function tree(root)
	return good(("cd '%s' && find . ! -type d | sed 's|^[.]/||' | LC_ALL=C sort"):format(root))
end

-- The same, as it should be: manuals and examples are those of the source.
local function expected(changes)
	local list = {}
	for line in (FILES .. sh "for f in examples/*; do echo share/smtptest/$f; done" ..
		sh "for f in man/*.[1-9]; do echo share/man/man${f##*.}/${f#man/}; done"):gmatch "[^\n]+" do
		list[#list + 1] = changes and changes(line) or line
	end
	return list
end

local function sorted(list)
	table.sort(list)
	return table.concat(list, "\n") .. "\n"
end

describe("make install", function()
	it("puts everything below PREFIX, and nothing else", function()
		assert.equal(sorted(expected()), tree(prefix))
	end)

	it("says how others find it where they don't look by themselves", function()
		assert.is_truthy(said:find(("LUA_CPATH='%s/lib/lua/5.4/?.so;;' PKG_CONFIG_PATH=%s/lib/pkgconfig MANPATH=%s/share/man:\n")
			:format(prefix, prefix, prefix), 1, true), said)
	end)

	it("gives a program that runs from anywhere, also as lmtptest", function()
		assert.matches("^smtptest %d", good(("cd / && env -i '%s/bin/smtptest' --version"):format(prefix)))
		assert.matches("^Usage: lmtptest ", (sh(("cd / && '%s/bin/lmtptest' -h"):format(prefix))))
		local result = run.against(function(c)
			c:welcome()
			c:serve()
		end, { "--no-auth" }, { program = prefix .. "/bin/lmtptest", stdin = "" })
		assert.equal("LHLO lmtptest\r\n", result.seen[1])
	end)

	it("gives a module that stock Lua finds, with nothing of ours beside it", function()
		local chunk = 'print(require "smtptest".version, require "smtptest.task".now() > 0)'
		local output = good(("cd / && LUA_PATH= LUA_CPATH='%s/lib/lua/5.4/?.so' %s -e '%s'"):format(prefix, LUA, chunk))
		assert.matches("^[%d.]+\ttrue\n$", output)
		-- Where it goes by default, Lua looks by default.
		local default = good("env -u LUA_CPATH -u LUA_CPATH_5_4 " .. LUA .. " -e 'print(package.cpath)'")
		assert.matches("/usr/local/lib/lua/5.4/?.so", default, 1, true)
	end)

	it("gives examples that -S finds by their name", function()
		local port = run.closed_port()
		local result = run.command({ "-c", ("cd / && '%s/bin/smtptest' -S message -p %d 127.0.0.1"):format(prefix, port) },
			{ program = "sh" })
		assert.equal(("failure: connect to 127.0.0.1:%d: Connection refused\n"):format(port), result.err)
		assert.equal(3, result.status)
	end)
end)

-- ---------------------------------------------------------------- the library

-- The line that an example says it is compiled by.
local function compile_line(path)
	for line in io.lines(path) do
		local command = line:match "^ %*\t(cc .*)$"
		if command then return command end
	end
end

describe("a C program", function()
	local function compiled(flags)
		local command = assert(compile_line "examples/host.c"):gsub("^cc ", "${CC:-cc} -std=c99 -Wall -Wextra -Wpedantic -Werror "
			.. (SAN ~= "" and "-fsanitize=" .. SAN .. " " or "")):gsub("%-%-cflags", flags .. " --cflags")
		good(("cd '%s' && cp '%s/examples/host.c' . && unset LD_PRELOAD && PKG_CONFIG_PATH='%s/lib/pkgconfig' && "
			.. "export PKG_CONFIG_PATH && %s"):format(folder, here, prefix, command))
	end

	local function runs()
		local result = run.against(function(c)
			c:welcome()
			c:reply "250 2.0.0 ok"
			c:reply "221 bye"
		end, function(port) return { "localhost", port } end, { program = folder .. "/host" })
		assert.equal("", result.err)
		assert.equal("greeting: 220\nEHLO host.example: 250\nNOOP: 250\nQUIT: 221\n", result.out)
		assert.equal(0, result.status)
		assert.equal("EHLO host.example\r\nNOOP\r\nQUIT\r\n", table.concat(result.seen))
	end

	it("is examples/host.c: compiled as it says, it does what it says", function()
		compiled ""
		runs()
	end)

	it("is compiled as the README says", function()
		local readme = io.open "README.md":read "a"
		assert.matches("    " .. compile_line "examples/host.c":gsub("host%.c", "examples/%0") .. "\n", readme, 1, true)
	end)

	it("says what failed, and ends with 1", function()
		compiled ""
		local port = tostring(run.closed_port())
		local result = run.command({ "127.0.0.1", port }, { program = folder .. "/host" })
		assert.equal(("host: connect to 127.0.0.1:%s: Connection refused\n"):format(port), result.err)
		assert.equal(1, result.status)
	end)

	it("links by the flags for static libraries too", function()
		compiled "--static"
		runs()
	end)

	it("sees the header's version in the package's file", function()
		local version = good(("PKG_CONFIG_PATH='%s/lib/pkgconfig' pkg-config --modversion smtptest"):format(prefix))
		assert.matches('#define SMTPTEST_VERSION "' .. version:gsub("\n", "") .. '"',
			io.open(prefix .. "/include/smtptest.h"):read "a", 1, true)
	end)

	it("may be written in C++", function()
		if not os.execute "command -v g++ >/dev/null" then return end
		good(("cd '%s' && printf '#include <smtptest.h>\\nint main() { return smtptest_version() == 0; }\\n' >h.cc && "
			.. "g++ -Wall -Wextra -Wpedantic -Werror -fsyntax-only -I%s/include $(pkg-config --cflags lua5.4) h.cc")
			:format(folder, prefix))
	end)
end)

-- ---------------------------------------------------------------- a newcomer's first tests

-- What one writes who has nothing but what was installed, and its manuals.
local SPEC = [[
local smtptest = require "smtptest"
require "smtptest.expect"

describe("my server", function()
	local server

	before_each(function()
		server = smtptest.listen({ tls = "starttls", sasl = { users = { alice = "secret" } } }):start()
	end)
	after_each(function() server:stop() end)

	local function open(password)
		return smtptest.open { port = server.port, tls = "starttls", authname = "alice", password = password }
	end

	it("keeps what alice sends", function()
		local s <close> = open "secret"
		assert.reply(250, s:mail "a@x.test")
		assert.reply(250, s:rcpt "b@y.test")
		assert.reply(250, s:data(smtptest.message { from = "a@x.test", to = "b@y.test", subject = "hello" }))
		local message = assert(server:wait(1, 5))[1]
		assert.equal("alice", message.auth)
		assert.matches("Subject: hello", message.data)
	end)

	it("refuses a wrong password", function()
		local ok, err = pcall(open, "wrong")
		assert.is_false(ok)
		assert.reply(535, err.reply)
		err.session:close()
	end)

	it("puts the first recipient off", function()
		server.on.rcpt = smtptest.fault.first(1, smtptest.fault.reply(451, "4.7.1 later"))
		local s <close> = open "secret"
		s:mail "a@x.test"
		assert.reply("4.7.x", s:rcpt "b@y.test")
		assert.reply("2xx", s:rcpt "b@y.test")
	end)
end)
]]

local TAP = "ok 1 - my server keeps what alice sends\nok 2 - my server refuses a wrong password\n"
	.. "ok 3 - my server puts the first recipient off\n1..3\n"

local HOST = [[
#include <smtptest.h>

int main(int argc, char **argv) { return smtptest_main(argc, argv); }
]]

describe("the first spec of a newcomer", function()
	local function write(name, text)
		local handle <close> = assert(io.open(folder .. "/" .. name, "w"))
		handle:write(text)
	end

	setup(function() write("mail_spec.lua", SPEC) end)

	it("is run by what was installed, from any folder", function()
		local flags = "--test --test-output=TAP"
		assert.equal(TAP, good(("cd '%s' && env -u LUA_CPATH -u LUA_PATH '%s/bin/smtptest' %s mail_spec.lua"):format(folder,
			prefix, flags)))
		assert.equal(TAP, good(("cd / && env -u LUA_CPATH -u LUA_PATH '%s/bin/smtptest' %s '%s/mail_spec.lua'"):format(prefix,
			flags, folder)))
	end)

	it("is run by busted, which finds the module that was installed", function()
		if not os.execute "command -v busted >/dev/null" then return pending "the command busted is not there" end
		-- Another name of the interpreter is no program that busted could start under a sanitizer.
		if SAN ~= "" then return end
		assert.equal(TAP, good(("cd '%s' && LUA_CPATH='%s/lib/lua/5.4/?.so;;' busted --lua=lua5.4 -o TAP mail_spec.lua")
			:format(folder, prefix)))
	end)

	it("is run by a C program of three lines", function()
		write("own.c", HOST)
		good(("cd '%s' && unset LD_PRELOAD && ${CC:-cc} %s -o own own.c "
			.. "$(PKG_CONFIG_PATH='%s/lib/pkgconfig' pkg-config --cflags --libs smtptest)"):format(folder,
			SAN ~= "" and "-fsanitize=" .. SAN or "", prefix))
		local result = run.command({ "--test", "--test-output=TAP", folder .. "/mail_spec.lua" }, { program = folder .. "/own" })
		assert.same({ TAP, "", 0 }, { result.out, result.err, result.status })
	end)

	it("says what failed", function()
		write("bad_spec.lua", (SPEC:gsub("535", "435")))
		local out, status = sh(("cd '%s' && '%s/bin/smtptest' --test bad_spec.lua"):format(folder, prefix))
		assert.equal(1, status)
		assert.matches("bad_spec.lua:29: AUTH [%w%-]+: expected 435, got 535 5.7.8 authentication failed\ntranscript:\n", out)
	end)

	it("could be written by someone who reads: the manuals name all that is in it", function()
		local text = good(("cat '%s'/share/man/man*/*"):format(prefix))
		for name in SPEC:gmatch "[%a]+[.:](%l+)" do assert.is_truthy(text:find(name, 1, true), name) end
	end)
end)

-- ---------------------------------------------------------------- completion

describe("completion", function()
	-- What bash would offer for a command line, the last word being the one that is typed. bash takes "=" for a word.
	local function offers(name, words, inside)
		local list = {}
		for i, word in ipairs(words) do list[i] = "'" .. word .. "'" end
		local script = ([[
			cd '%s' && source '%s/share/bash-completion/completions/%s' &&
			complete -p %s >/dev/null &&
			COMP_WORDS=(%s %s) && COMP_CWORD=%d && _smtptest
			[ "${#COMPREPLY[@]}" = 0 ] || printf '%%s\n' "${COMPREPLY[@]}" ]]):format(inside or folder, prefix, name, name, name,
			table.concat(list, " "), #words)
		return good("bash --norc -c '" .. script:gsub("'", "'\\''") .. "'")
	end

	it("is right for bash and, where it is there, for zsh", function()
		good(("bash -n '%s/share/bash-completion/completions/smtptest'"):format(prefix))
		if os.execute "command -v zsh >/dev/null" then
			good(("zsh -n '%s/share/zsh/site-functions/_smtptest'"):format(prefix))
		end
	end)

	it("knows every option of the table", function()
		local options = require "smtptest.options"
		local zsh = io.open(prefix .. "/share/zsh/site-functions/_smtptest"):read "a"
		local offered = {}
		for _, beginning in ipairs { "-", "--" } do
			for word in offers("smtptest", { beginning }):gmatch "[^\n]+" do offered[word] = true end
		end
		local n = 0
		for _, option in ipairs(options.list) do
			for _, name in ipairs { option.short or false, option.also or false, option.long and "-" .. option.long or false } do
				if name then
					n = n + 1
					name = "-" .. name
					assert.is_true(offered[name] or offered[name .. "="], name)
					assert.is_truthy(zsh:find("'*" .. name:gsub("%?", "\\?"), 1, true), name)
				end
			end
		end
		assert.is_true(n > 80)
	end)

	local CASES = {
		{ { "--pass" }, "--password=\n--password-file=\n--password-env=\n--password-fd=\n--password-command=\n" },
		{ { "-s", "--lock" }, "--lockstep\n" },
		{ { "-P", "" }, "smtp\nlmtp\n" },
		{ { "--protocol", "l" }, "lmtp\n" },
		{ { "--protocol", "=" }, "smtp\nlmtp\n" },
		{ { "--tls-min", "=", "1.2" }, "1.2\n" },
		{ { "-H", "unk" }, "unknown\n" },
		{ { "--helo", "" }, "" },
		{ { "--veri" }, "--verify=\n--verify\n" },
	}
	for _, case in ipairs(CASES) do
		it(("offers for %s what can stand there"):format(table.concat(case[1], " ")), function()
			assert.equal(case[2], offers("smtptest", case[1]))
			assert.equal(case[2], offers("lmtptest", case[1]))
		end)
	end

	it("finds files, folders and the installed examples", function()
		good(("mkdir -p '%s/files/folder' && touch '%s/files/form.pem'"):format(folder, folder))
		local inside = folder .. "/files"
		assert.equal("folder\nform.pem\n", good(("sort <<'END'\n%s\nEND"):format(
			offers("smtptest", { "--cafile", "=", "fo" }, inside):gsub("\n$", ""))))
		assert.equal("folder\n", offers("smtptest", { "--save", "fo" }, inside))
		assert.equal("message.lua\n", offers("smtptest", { "-S", "mess" }, inside))
	end)
end)

-- ---------------------------------------------------------------- other Luas, away again

describe("make", function()
	-- A Lua of somebody's own, which has no shared library.
	it("takes another build of Lua 5.4 by LUA_PC", function()
		local static = good("pkg-config --variable=libdir lua5.4"):gsub("\n", "") .. "/liblua5.4.a"
		assert(io.open(static), static)
		good(("mkdir -p '%s/pc'"):format(folder))
		local file <close> = assert(io.open(folder .. "/pc/lua-other.pc", "w"))
		file:write("Name: Lua\nDescription: another one\nVersion: 5.4.4\nCflags: ", good("pkg-config --cflags lua5.4"),
			"Libs: ", static, " -lm -ldl\n")
		file:flush()
		local other = ("PKG_CONFIG_PATH='%s/pc' %s LUA_PC=lua-other BUILD='%s/other' "):format(folder, MAKE, folder)
		-- The objects are the same; only what is linked differs.
		good(("mkdir '%s/other' && cp -p '%s/obj/'*.[od] '%s/obj/'*.[ch] '%s/obj/'*.list '%s/other'"):format(folder, folder,
			folder, folder, folder))
		good(("%s SAN=%s PREFIX='%s' '%s/other/smtptest' '%s/other/smtptest.pc'"):format(other, SAN, prefix, folder, folder))
		assert.is_nil(good(("readelf -d '%s/other/smtptest'"):format(folder)):find("liblua", 1, true))
		assert.matches("Requires: lua-other ", io.open(folder .. "/other/smtptest.pc"):read "a", 1, true)
		-- A module in C finds Lua in the program.
		if SAN == "" then
			assert.equal("function\n", good(("'%s/other/smtptest' -e 'print(type(require \"lfs\".dir))'"):format(folder)))
		end
	end)
end)

describe("make uninstall", function()
	it("takes everything away, and leaves what is somebody else's", function()
		local root = folder .. "/some where"
		local at = ("%s DESTDIR='%s' "):format(make, root)
		good(at .. "install")
		good(("touch '%s%s/lib/pkgconfig/other.pc'"):format(root, prefix))
		good(at .. "uninstall")
		assert.equal("lib/pkgconfig/other.pc\n", tree(root .. prefix))
		assert.equal(".\n./bin\n./include\n./lib\n./lib/pkgconfig\n./share\n./share/man\n",
			good(("cd '%s%s' && find . -type d ! -path '*/man/man*' | LC_ALL=C sort"):format(root, prefix)))
		assert.equal("", sh(at .. "uninstall"))
	end)
end)

-- ---------------------------------------------------------------- the package

describe("make deb", function()
	local package, unpacked

	setup(function()
		local output = good(MAKE:gsub("CFLAGS=%-O0 ", "") .. "SAN= deb")
		package = here .. "/" .. assert(output:match "(build/smtptest_[^:]+%.deb): ")
		unpacked = folder .. "/unpacked"
		good(("dpkg-deb -x '%s' '%s' && dpkg-deb -e '%s' '%s/DEBIAN'"):format(package, unpacked, package, folder))
	end)

	local function field(name)
		return (good(("dpkg-deb -f '%s' %s"):format(package, name)):gsub("\n$", ""))
	end

	it("says what it needs: the libraries that it is linked with", function()
		local depends = field "Depends"
		for _, name in ipairs { "libc6", "liblua5.4-0", "libsasl2-2", "libssl3" } do
			assert.matches("%f[%w]" .. name:gsub("%p", "%%%0") .. " %(>= [%w.+~-]+%)", depends)
		end
		assert.equal("libsasl2-modules", field "Recommends")
		assert.equal(good "dpkg --print-architecture", field "Architecture" .. "\n")
		assert.matches(field "Version", io.open "src/smtptest.h":read "a", 1, true)
		assert.is_true(tonumber(field "Installed-Size") > 1000)
	end)

	it("holds all that make install installs, manuals compressed, owned by root", function()
		local list = expected(function(path)
			return "usr/" .. path:gsub("^share/man/.*", "%0.gz"):gsub("site%-functions", "vendor-completions")
		end)
		list[#list + 1] = "usr/share/doc/smtptest/README.md"
		list[#list + 1] = "usr/share/doc/smtptest/copyright"
		assert.equal(sorted(list), tree(unpacked))
		assert.matches("lmtptest", good(("zcat '%s/usr/share/man/man1/lmtptest.1.gz'"):format(unpacked)))
		for line in good(("dpkg-deb -c '%s'"):format(package)):gmatch "[^\n]+" do
			assert.matches("^%S+ root/root ", line)
		end
		good(("cd '%s' && md5sum --quiet -c '%s/DEBIAN/md5sums'"):format(unpacked, folder))
	end)

	it("runs where it was unpacked, and names no path of the machine it was made on", function()
		assert.matches("^smtptest ", good(("cd / && '%s/usr/bin/smtptest' --version"):format(unpacked)))
		assert.equal("/usr/share/smtptest/examples\n", good((
			"cd / && env -u LD_PRELOAD LUA_PATH= LUA_CPATH='%s/usr/lib/lua/5.4/?.so' %s -e '%s'"):format(unpacked, LUA,
			'print(require "smtptest.core.embed".examples)')))
		assert.equal("", (sh(("grep -rlF '%s' '%s/usr'"):format(here, unpacked))))
	end)

	-- A system of its own that has those packages: dpkg judges the dependencies, and removes.
	it("installs where the libraries are, and is removed, and nothing stays", function()
		if good "id -u" ~= "0\n" then return end
		local root = folder .. "/system"
		good(("mkdir -p '%s/var/lib/dpkg/info' '%s/var/lib/dpkg/updates' '%s/var/lib/dpkg/triggers' && "
			.. ": >'%s/var/lib/dpkg/status'"):format(root, root, root, root))
		local dpkg = ("env -u LD_PRELOAD dpkg --root='%s' "):format(root)
		local output, status = sh(("%s -i '%s'"):format(dpkg, package))
		assert.equal(1, status)
		assert.matches("smtptest depends on liblua5.4-0", output, 1, true)
		good(dpkg .. "-P smtptest")
		local names = field "Depends":gsub("%b()", ""):gsub(",", " ")
		good(("dpkg-query -s %s >'%s/var/lib/dpkg/status'"):format(names, root))
		good(("for p in $(dpkg-query -W -f '${binary:Package} ' %s); do : >\"%s/var/lib/dpkg/info/$p.list\"; "
			.. ": >\"%s/var/lib/dpkg/info/${p%%:*}.list\"; done"):format(names, root, root))
		output = good(("%s -i '%s'"):format(dpkg, package))
		assert.is_nil(output:find "warning", output)
		assert.matches("^smtptest ", good(("'%s/usr/bin/smtptest' --version"):format(root)))
		assert.equal("", good(dpkg .. "-V smtptest"))
		good(dpkg .. "-r smtptest")
		assert.equal("", good(("cd '%s' && find . ! -type d ! -path './var/*'"):format(root)))
		assert.is_nil(sh(dpkg .. "-s smtptest"):find "Status: .* installed")
		good(dpkg .. "-P smtptest")
		assert.equal("", good(("find '%s/var/lib/dpkg/info' -name 'smtptest.*'"):format(root)))
	end)
end)
