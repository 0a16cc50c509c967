-- What README.md shows is what happens.

local run = require "support.run"
local saslserver = require "support.saslserver"
local shell = require "support.shell"

-- The indented blocks of README.md, without their indent, each a list of lines.
local function blocks()
	local list, block = {}, nil
	for line in io.lines "README.md" do
		local text = line:match "^    (.*)"
		if text and not block then
			block = {}
			list[#list + 1] = block
		end
		if text then block[#block + 1] = text else block = nil end
	end
	return list
end

-- The one block whose first line matches.
local function block(pattern)
	local found
	for _, one in ipairs(blocks()) do
		if one[1]:find(pattern) then
			assert.is_nil(found, "two blocks begin with " .. pattern)
			found = one
		end
	end
	return assert(found, "no block begins with " .. pattern)
end

describe("the README's", function()
	it("session is what its command prints", function()
		local lines = block "^%$ "
		local context = run.server_context(shell.certificate())
		local r = shell.run(lines[1]:match "^%$ (.*)", { stdin = "secret\n", server = function(c)
			c:send "220 mail.example ESMTP\r\n"
			c:line()
			c:send "250-mail.example\r\n250-STARTTLS\r\n250 AUTH SCRAM-SHA-256 PLAIN\r\n"
			c:reply "220 2.0.0 Ready to start TLS"
			c:tls(context)
			c:capabilities "AUTH SCRAM-SHA-256 PLAIN"
			c.seen.alice = saslserver.auth(c, { external_ssf = 256 }):authid()
			c:serve()
		end })
		assert.equal("", r.err)
		assert.equal(0, r.status)
		assert.equal("alice", r.seen.alice)
		local at, out = 1, r.out:gsub("\r\n", "\n")
		for i = 2, #lines do
			if lines[i] == "…" then
				at = nil
			else
				local first, last = out:find(lines[i] .. "\n", at or 1, true)
				assert.is_truthy(first, ("no line %q in:\n%s"):format(lines[i], out))
				if at then assert.equal(at, first, lines[i] .. "\n" .. out) end
				at = last + 1
			end
		end
	end)

	-- stock lua5.4 or -S, as its comments say
	for name, command in pairs { ["-S"] = "smtptest --no-auth -S readme.lua mail.example",
		["stock Lua"] = (os.getenv "LUA" or "lua5.4") .. " readme.lua" } do
		it("Lua runs by " .. name .. ", and is content with the replies it expects", function()
			local files = { ["readme.lua"] = table.concat(block "^local smtptest = require", "\n") }
			for answer, good in pairs { ["551 no"] = true, ["250 ok"] = false } do
				local r = shell.run(command, { files = files, server = function(c)
					c:welcome()
					c:reply "250 ok"
					c:reply(answer)
					c:gone()
				end })
				assert.equal(good, r.status == 0, r.err)
				assert.equal(good, r.err == "", r.err)
				assert.equal("EHLO smtptest\nMAIL FROM:<a@example.test>\nRCPT TO:<nobody@example.test>\n", r.lines)
			end
		end)
	end

	it("flags are all options", function()
		local options = require "smtptest.options"
		local known = {}
		for _, option in ipairs(options.list) do
			if option.short then known["-" .. option.short] = true end
			if option.long then known["--" .. option.long] = true end
		end
		local n = 0
		for line in io.lines "README.md" do
			for word in (line:match "^| (`.-) |" or ""):gmatch "`(%-[%w-]+)" do
				n = n + 1
				assert.is_true(known[word] == true, word)
			end
		end
		assert.is_true(n > 15)
	end)

	it("targets are those of the Makefile", function()
		local makefile = assert(io.open "Makefile"):read "a"
		for line in io.lines "README.md" do
			for target in line:gmatch "make (%l+)" do
				assert.is_truthy(makefile:find("\n" .. target .. ":", 1, true), target)
			end
		end
	end)
end)
