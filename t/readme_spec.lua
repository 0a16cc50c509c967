-- What README.md shows is what happens.

local run = require "support.run"
local saslserver = require "support.saslserver"
local shell = require "support.shell"
local smtptest = require "smtptest"
local task = require "smtptest.task"

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

	it("spec runs, and says what failed", function()
		for answer, status in pairs { ["550 no"] = 0, ["250 ok"] = 1 } do
			local r = shell.run("smtptest --test mail_spec.lua --test-output=junit:report.xml mail.example", {
				files = { ["mail_spec.lua"] = table.concat(block '^require "smtptest.expect"', "\n") }, server = function(c)
					c:welcome()
					c:reply "250 ok"
					c:reply(answer)
					c:gone()
				end })
			assert.equal(status, r.status, r.out .. r.err)
			assert.matches(status == 0 and '<testsuites tests="1" failures="0"'
				or "mail_spec.lua:5: RCPT TO:&lt;b@elsewhere.test&gt;: expected 550 or 554, got 250 ok", r.read "report.xml", 1, true)
		end
	end)

	-- A command whose server is ours; `client` is what is done beside it. Gives what it printed.
	local function serving(command, client)
		local ready = task.promise()
		local text = ""
		local folder = run.scratch "readme-serve"
		os.execute(("mkdir -p '%s'"):format(folder))
		-- The port of the document may be taken.
		local changed = command:gsub("^smtptest", "exec '" .. run.absolute .. "'"):gsub("%-p 2525", "-p 0")
		local result = run.command({ "-c", ("cd '%s' && %s"):format(folder, changed) }, { program = "sh",
			on_output = function(all)
				text = all
				local port = all:match "listening on 127.0.0.1:(%d+)\n"
				if port then ready:set(tonumber(port)) end
			end,
			stdin = { function(child)
				local port = ready:wait(20)
				local ok, err = pcall(client, port, folder)
				child:kill "INT"
				if not ok then error(err, 0) end
			end } })
		assert.equal(0, result.status, result.err)
		return text
	end

	local function send(port, plan)
		local all = { host = "localhost", family = "inet", port = port, timeout = 20 }
		for name, value in pairs(plan or {}) do all[name] = value end
		local s <close> = smtptest.open(all)
		s:mail("a@x.test"):expect(250)
		local first = s:rcpt "b@y.test"
		if first.code ~= 250 then s:rcpt("b@y.test"):expect(250) end
		s:data("x\r\n"):expect(250)
		return first
	end

	it("server keeps mail, and knows alice", function()
		local out = serving(table.concat(block "^smtptest %-%-serve .*%-%-save", "\n"), function(port, folder)
			send(port)
			send(port, { tls = "starttls", authname = "alice", password = "wonderland" })
			local files <close> = io.popen(("ls '%s/mail'"):format(folder))
			assert.equal(2, select(2, files:read "a":gsub("%.eml\n", "")))
		end)
		assert.matches("ESMTPSA as alice", out, 1, true)
	end)

	it("faults are there when a script asks for them", function()
		local command = table.concat(block "^smtptest %-%-serve .*%-e '", "\n"):gsub("delay%(5%)", "delay(0.1)")
		serving(command, function(port)
			assert.equal(451, send(port).code)
			assert.equal(250, send(port).code)
		end)
	end)

	it("server in a test gets what the client sends", function()
		local chunk = table.concat(block "^local server <close>", "\n"):gsub("your%-client %-%-port %%d &",
			(("%s --from=a@x.test --to=b@y.test --data='Subject: hello' -t '' -m PLAIN -a alice -w wonderland -p %%d "
			.. "localhost >/dev/null 2>&1 &"):format(run.absolute):gsub("%%", "%%%%")))
		assert(load(chunk))()
	end)

	it("flags are all options", function()
		local options = require "smtptest.options"
		local known = {}
		for _, option in ipairs(options.list) do
			if option.short then known["-" .. option.short] = true end
			if option.long then known["--" .. option.long] = true end
		end
		local n = 0
		for line in io.lines "README.md" do
			for word in (line:match "^| (`%-.-) |" or ""):gmatch "`(%-[%w-]+)" do
				n = n + 1
				assert.is_true(known[word] == true, word)
			end
		end
		assert.is_true(n > 15)
	end)

	it("words for users of other tools are options", function()
		local options = require "smtptest.options"
		local n = 0
		for line in io.lines "README.md" do
			local command = line:match "^| .* | `(smtptest.-)` |$"
			if command then
				n = n + 1
				local words = {}
				for word in command:gsub("…", ""):gsub(" </dev/null", ""):gmatch "%S+" do words[#words + 1] = word:gsub('""', "") end
				local plan, message = options.parse { [0] = table.remove(words, 1), table.unpack(words) }
				assert.is_table(plan, message)
			end
		end
		assert.is_true(n > 5)
	end)

	it("table of manuals has all of them", function()
		local linked, there = {}, {}
		for line in io.lines "README.md" do
			local name, section, path = line:match "^| %[([%w-]+)%((%d)%)%]%((%S+)%) |"
			if name then
				assert.equal(("man/%s.%s"):format(name, section), path)
				linked[path] = true
			end
		end
		local pipe <close> = assert(io.popen "ls man/*.[1-9]")
		for path in pipe:lines() do there[path] = true end
		assert.same(there, linked)
	end)

	it("finding of the fuzzer is what its command prints", function()
		local lines = block "^> smtptest %-%-fuzz"
		local r = shell.run(lines[1]:match "^> (.*)", { listen = { on = { rcpt = function() return 250, "5.1.5 ok" end } } })
		assert.equal(1, r.status, r.err)
		assert.equal(table.concat(lines, "\n", 2), (r.out:match "^(.*)\n%d+ cases"))
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
