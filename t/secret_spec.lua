local secret = require "smtptest.secret"
local file = require "smtptest.core.file"

--- A file with this content, removed when the test is over.
local made = {}
local function written(content)
	local path = os.tmpname()
	made[#made + 1] = path
	local handle = assert(io.open(path, "wb"))
	handle:write(content)
	handle:close()
	return path
end

--- A pipe that holds these bytes and ends after them.
local function pipe_with(content)
	local reader, writer = assert(file.pipe())
	assert.equal(#content, writer:write(content))
	writer:close()
	return reader
end

after_each(function()
	for i = #made, 1, -1 do
		os.remove(made[i])
		made[i] = nil
	end
end)

-- What a source holds, and the secret in it.
local lines = {
	{ "s3cret", "s3cret", "a line without an end" },
	{ "s3cret\n", "s3cret", "LF" },
	{ "s3cret\r\n", "s3cret", "CR LF" },
	{ "s3cret\nother\n", "s3cret", "more lines" },
	{ " s3cret \n", " s3cret ", "blanks" },
	{ "s3\rcret\n", "s3\rcret", "a CR inside" },
	{ "s3\0cret\n", "s3\0cret", "a NUL" },
	{ "\195\188\255\n", "\195\188\255", "any bytes" },
	{ ("x"):rep(100000) .. "\nrest", ("x"):rep(100000), "a long line" },
	{ ("x"):rep(4096) .. "\nrest", ("x"):rep(4096), "a line as long as a block" },
}

describe("secret.file", function()
	for _, case in ipairs(lines) do
		it("gives the first line, with " .. case[3], function()
			assert.equal(case[2], secret.file(written(case[1]), "--password-file")())
		end)
	end

	it("reads when it is called, and once", function()
		local path = os.tmpname()
		os.remove(path)
		local password = secret.file(path, "--password-file")
		local handle = assert(io.open(path, "wb"))
		handle:write "one"
		handle:close()
		assert.equal("one", password())
		os.remove(path)
		assert.equal("one", password())
	end)

	it("tries again after a failure", function()
		local path = written "s3cret"
		os.remove(path)
		local password = secret.file(path, "--password-file")
		assert.is_nil((password()))
		local handle = assert(io.open(path, "wb"))
		handle:write "s3cret"
		handle:close()
		assert.equal("s3cret", password())
	end)

	it("names option, file and reason when it can't be read", function()
		assert.same({ nil, "--password-file: open /nonexistent: No such file or directory", "ENOENT" },
			{ secret.file("/nonexistent", "--password-file")() })
		local _, message, code = secret.file("/", "--key-password-file")()
		assert.matches("^%-%-key%-password%-file: /: .*Is a directory", message)
		assert.equal("EISDIR", code)
	end)

	for _, content in ipairs { "", "\n", "\r\n", "\nsecond" } do
		it(("refuses the empty line of %q"):format(content), function()
			local path = written(content)
			assert.same({ nil, "--password-file: " .. path .. " is empty", "EINVAL" },
				{ secret.file(path, "--password-file")() })
		end)
	end

	it("refuses what never ends", function()
		assert.same({ nil, "--password-file: /dev/zero: line longer than 1 MiB", "TOOLONG" },
			{ secret.file("/dev/zero", "--password-file")() })
	end)
end)

describe("secret.fd", function()
	for _, case in ipairs(lines) do
		it("gives the next line, with " .. case[3], function()
			-- A pipe holds 64 kB at least; a longer line comes from a file.
			local handle = #case[1] < 60000 and pipe_with(case[1]) or assert(file.open(written(case[1]), "r"))
			assert.equal(case[2], secret.fd(handle:fd(), "--password-fd")())
			handle:close()
		end)
	end

	it("takes no byte more than the line", function()
		local reader = pipe_with "s3cret\nEHLO x\r\n"
		assert.equal("s3cret", secret.fd(reader:fd(), "--password-fd")())
		assert.equal("EHLO x\r\n", reader:read(100))
		reader:close()
	end)

	it("leaves the descriptor open", function()
		local reader = pipe_with "one\ntwo\n"
		assert.equal("one", secret.fd(reader:fd(), "--password-fd")())
		collectgarbage()
		assert.equal("two", secret.fd(reader:fd(), "--password-fd")())
		reader:close()
	end)

	it("names a descriptor that is not open", function()
		local _, message, code = secret.fd(1000000, "--password-fd")()
		assert.matches("^%-%-password%-fd: descriptor 1000000: .*Bad file descriptor", message)
		assert.equal("EBADF", code)
	end)

	it("refuses a pipe that ends at once", function()
		local reader = pipe_with ""
		assert.same({ nil, ("--password-fd: descriptor %d is empty"):format(reader:fd()), "EINVAL" },
			{ secret.fd(reader:fd(), "--password-fd")() })
		reader:close()
	end)
end)

describe("secret.env", function()
	it("gives the variable", function()
		assert.equal(os.getenv "PATH", secret.env("PATH", "--password-env")())
	end)

	it("names a variable that is not there", function()
		assert.same({ nil, "--password-env: no variable NO_SUCH_VARIABLE in the environment", "ENOENT" },
			{ secret.env("NO_SUCH_VARIABLE", "--password-env")() })
	end)

	it("refuses an empty one", function()
		local getenv = os.getenv
		finally(function() os.getenv = getenv end)     -- luacheck: ignore 122
		os.getenv = function() return "" end           -- luacheck: ignore 122
		assert.same({ nil, "--password-env: variable TOKEN is empty", "EINVAL" },
			{ secret.env("TOKEN", "--password-env")() })
	end)
end)

describe("secret.command", function()
	local function run(command)
		return secret.command(command, "--password-command")()
	end

	it("gives the first line that is printed", function()
		assert.equal("s3cret", run "echo s3cret")
		assert.equal("s3cret", run "printf 's3cret\\r\\nuser: alice\\n'")
		assert.equal("s3cret", run "printf s3cret")
		assert.equal("a b", run "echo 'a b'; echo c")
	end)

	it("lets the command write all it wants", function()
		assert.equal("s3cret", run "set -e; echo s3cret; head -c 300000 /dev/zero")
	end)

	it("runs it once", function()
		local path = written ""
		local password = secret.command("echo x >>" .. path .. "; echo s3cret", "--password-command")
		assert.equal("s3cret", password())
		assert.equal("s3cret", password())
		local handle <close> = assert(io.open(path))
		assert.equal("x\n", handle:read "a")
	end)

	it("keeps it from the session's input", function()
		local path, input = written "", written "EHLO x\n"
		local script = written(([[
			local secret = require "smtptest.secret"
			local password, message = secret.command("cat >%s; echo s3cret", "--password-command")()
			assert(password == "s3cret", message)
			assert(io.read "L" == "EHLO x\n")
		]]):format(path))
		assert.is_true((os.execute(("LUA_PATH='lua/?.lua' lua5.4 %s <%s"):format(script, input))))
		local handle <close> = assert(io.open(path))
		assert.equal("", handle:read "a")
	end)

	local failures = {
		{ "echo s3cret; exit 3", "exit status 3", "ECHILD" },
		{ "/nonexistent/command 2>/dev/null", "exit status 127", "ECHILD" },
		{ "echo s3cret; kill -9 $$", "killed by signal 9", "ECHILD" },
		{ "exit 0", "nothing was printed", "EINVAL" },
		{ "echo", "the first line printed is empty", "EINVAL" },
		{ "echo; echo s3cret", "the first line printed is empty", "EINVAL" },
	}
	for _, case in ipairs(failures) do
		it("says what went wrong with " .. case[1] .. ", and not what was in it", function()
			assert.same({ nil, "--password-command: " .. case[2], case[3] }, { run(case[1]) })
		end)
	end
end)
