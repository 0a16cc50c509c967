-- The manual is written by hand; this holds it to the table of options.

local base64 = require "smtptest.base64"
local cert = require "smtptest.core.cert"
local mdoc = require "support.mdoc"
local options = require "smtptest.options"
local run = require "support.run"
local saslserver = require "support.saslserver"
local shell = require "support.shell"

local function manual_lines()
	local lines = {}
	for line in io.lines "man/smtptest.1" do lines[#lines + 1] = line end
	return lines
end

--- The lines of one section.
local function section(name)
	local found, inside = {}, false
	for _, line in ipairs(manual_lines()) do
		local title = line:match "^%.Sh (.+)"
		if title then
			inside = title == name
		elseif inside then
			found[#found + 1] = line
		end
	end
	return found
end

local function flag_name(word)
	return "-" .. word:gsub("^\\&", "")
end

--- What an item of the list of options tells: "Fl p Ar port , Fl -port Ns = Ns Ar port" is {["-p"] = " port",
-- ["--port"] = "=port"}.
local function item_flags(text)
	local flags = {}
	for part in (text .. " , "):gmatch "(.-) , " do
		local name, rest = part:match "^Fl (%S+)%s*(.*)$"
		assert(name, "not a list of flags: " .. text)
		flags[flag_name(name)] = rest:gsub("^Ns Op = Ns Ar (%S+)$", "[=%1]")
			:gsub("^Ns = Ns Ar (%S+)$", "=%1"):gsub("^Ar (%S+)$", " %1")
	end
	return flags
end

--- The same, from the table.
local function option_flags(option)
	local flags, arg = {}, option.arg
	if option.short then flags["-" .. option.short] = arg and " " .. arg or "" end
	if option.also then flags["-" .. option.also] = "" end
	if option.long then
		flags["--" .. option.long] = arg and (option.optional and "[=%s]" or "=%s"):format(arg) or ""
	end
	return flags
end

local function first_flag(option)
	return option.short and "-" .. option.short or "--" .. option.long
end

--- The examples, roff's escapes taken away: a list of {claim=, commands=}, what is said before and what is typed, the
-- continued lines of a command joined.
local function examples()
	local list, words, commands = {}, {}, nil
	for _, line in ipairs(section "EXAMPLES") do
		if line:match "^%.Bd %-literal" then
			commands = {}
			list[#list + 1] = { claim = table.concat(words, " "), commands = commands }
		elseif line:match "^%.Ed" then
			words, commands = {}, nil
		elseif commands then
			line = line:gsub("\\%-", "-"):gsub("\\%(aq", "'"):gsub("\\e", "\\")
			local command = line:match "^%$ (.*)"
			if command then
				commands[#commands + 1] = command
			else
				assert(commands[1], "neither a command nor the rest of one: " .. line)
				commands[#commands] = commands[#commands] .. "\n" .. line
			end
		elseif not line:match "^%.Pp" then
			words[#words + 1] = line
		end
	end
	return list
end

describe("the manual", function()
	mdoc.spec "man/smtptest.1"

	it("describes every option, with all its names and its argument, and no other", function()
		local described = {}
		for _, line in ipairs(section "OPTIONS") do
			local text = line:match "^%.It (Fl .+)$"
			for name, argument in pairs(text and item_flags(text) or {}) do
				assert.is_nil(described[name], name .. " is described twice")
				described[name] = argument
			end
		end
		local expected = {}
		for _, option in ipairs(options.list) do
			for name, argument in pairs(option_flags(option)) do expected[name] = argument end
		end
		assert.same(expected, described)
	end)

	it("describes all names of an option in one place", function()
		local items = {}
		for _, line in ipairs(section "OPTIONS") do
			local text = line:match "^%.It (Fl .+)$"
			if text then items[#items + 1] = item_flags(text) end
		end
		assert.equal(#options.list, #items)
		for _, option in ipairs(options.list) do
			local expected, found = option_flags(option), nil
			for _, item in ipairs(items) do
				if item[first_flag(option)] then found = item end
			end
			assert.same(expected, found)
		end
	end)

	it("names no flag that is not there", function()
		local known = { ["--"] = true }
		for _, option in ipairs(options.list) do
			for name in pairs(option_flags(option)) do known[name] = true end
		end
		for number, line in ipairs(manual_lines()) do
			for name in (line:match "^%.(.*)" or ""):gmatch "Fl ([^%s|]+)" do
				-- Letters in one word are flags each.
				for one in name:gmatch(name:match "^%a+$" and "." or ".+") do
					assert.is_true(known[flag_name(one)] == true, ("line %d: %s"):format(number, one))
				end
			end
		end
	end)

	it("has the sections that a user looks for", function()
		for _, name in ipairs { "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT", "EXIT STATUS", "EXAMPLES",
			"DIAGNOSTICS", "SEE ALSO", "STANDARDS", "CAVEATS" } do
			assert.is_true(#section(name) > 0, name)
		end
	end)

	it("writes examples that can be copied", function()
		for _, line in ipairs(section "EXAMPLES") do
			-- A bare hyphen or quote becomes another character in some outputs.
			if line:match "^[$ ]" then assert.is_nil(line:match "^[-']" or line:match "[^\\][-']", line) end
		end
	end)

	it("has ten examples or more, all of which the option parser takes", function()
		local commands = {}
		for _, example in ipairs(examples()) do
			table.move(example.commands, 1, #example.commands, #commands + 1, commands)
		end
		assert.is_true(#commands >= 10)
		for _, command in ipairs(commands) do
			-- The shell itself says what the words are.
			local text = ([[
				words() { printf '%%s\0' "$@" >&3; }
				smtptest() { words smtptest "$@"; }
				lmtptest() { words lmtptest "$@"; }
				dir=$(mktemp -d) && cd "$dir" && { %s
				} 3>words >/dev/null
				cat "$dir/words"; rm -r "$dir"]]):format(command)
			local pipe <close> = assert(io.popen(text))
			local argv, n = {}, -1
			for word in pipe:read "a":gmatch "([^\0]*)\0" do
				n = n + 1
				argv[n] = word
			end
			assert.is_true(n >= 1, command)
			local plan, message = options.parse(argv)
			assert.is_table(plan, ("%s: %s"):format(command, message))
			if argv[1] ~= "--print-script" then assert.equal("mail.example", plan.host, command) end
			for _, word in ipairs(argv) do
				local long = word:match "^%-%-([%w-]+)"
				local whole = not long
				for _, option in ipairs(options.list) do whole = whole or option.long == long end
				assert.is_true(whole, command .. " shortens " .. word)
			end
		end
	end)
end)

-- ---------------------------------------------------------------- the examples, run

local SECRET = { ["secret.txt"] = "secret\n" }
local EHLO = "EHLO smtptest\n"

local function has(text, ...)
	for _, part in ipairs { ... } do assert.is_truthy(text:find(part, 1, true), ("no %q in:\n%s"):format(part, text)) end
end

local function lacks(text, ...)
	for _, part in ipairs { ... } do assert.is_nil(text:find(part, 1, true), ("%q in:\n%s"):format(part, text)) end
end

local function open(c)
	c:welcome("SIZE 1000", "AUTH PLAIN")
	c:serve()
end

-- A server that lets alice in under STARTTLS.
local function starttls(mechanism)
	local context = run.server_context(shell.certificate())
	return function(c)
		c:welcome "STARTTLS"
		c:reply "220 go"
		c:tls(context)
		c:capabilities("AUTH " .. mechanism)
		c.seen.alice = saslserver.auth(c, { external_ssf = 256 }):authid()
		c:serve()
	end
end

-- The same where TLS comes first.
local function implicit(mechanism, settings)
	return function(c)
		c:tls(settings or shell.certificate())
		c:welcome("AUTH " .. mechanism)
		c.seen.alice = saslserver.auth(c, { external_ssf = 256 }):authid()
		c:serve()
	end
end

-- One that is left after STARTTLS without AUTH.
local function offers_tls(settings)
	local context = run.server_context(settings)
	return function(c)
		c:welcome "STARTTLS"
		c:reply "220 go"
		c:tls(context)
		c:capabilities()
		c:serve()
	end
end

-- What each example is run with (shell.run), and what it must come to; several where it claims several things.
-- status: default 0; has, lacks: on stdout; err: all of stderr; seen: all that the server read, or strings in it.
local RUNS = {
	["See what a server offers, without authenticating:"] = {
		{ server = open, has = { "S: 250-SIZE 1000\r\n", "S: 250 AUTH PLAIN\r\n" }, seen = EHLO .. "QUIT\n" },
	},
	["Authenticate as alice on the submission port, under STARTTLS; the password is asked for:"] = {
		{ server = starttls "SCRAM-SHA-256", stdin = "secret\n", alice = true,
			has = { "TLS connection established", "Please enter your password: ", "Authenticated.\n" } },
		{ server = starttls "SCRAM-SHA-256", stdin = "wrong\n", has = { "Authentication failed. " } },
	},
	["The same on the port that is TLS from the start, with a mechanism of your choice and the password from a file that "
		.. "nobody else can read:"] = {
		{ server = implicit "PLAIN SCRAM-SHA-256 SCRAM-SHA-512", files = SECRET, alice = true,
			has = { "C: AUTH SCRAM-SHA-256 ", "Authenticated.\n" }, lacks = { "password", "STARTTLS" } },
	},
	["Is the certificate good? The session ends if not:"] = {
		{ server = offers_tls(shell.certificate()), has = { "TLS connection established" }, lacks = { "verify error" },
			seen = EHLO .. "STARTTLS\n" .. EHLO .. "QUIT\n" },
		{ server = offers_tls(), status = 1, has = { "S: 220 go" }, lacks = { "TLS connection established" },
			err = "failure: TLS negotiation failed: ", seen = EHLO .. "STARTTLS\n" },
	},
	["Send one message:"] = {
		{ server = open, has = { "S: 354 go\r\n" }, seen = { EHLO .. "MAIL FROM:<alice@mail.example>\n"
			.. "RCPT TO:<bob@mail.example>\nDATA\n", "\nFrom: ", "\n.\nQUIT\n" } },
		{ server = function(c)
			c:welcome()
			c:reply "550 no"
			c:serve()
		end, status = 6, seen = EHLO .. "MAIL FROM:<alice@mail.example>\nQUIT\n" },
	},
	["Send one from a file with UNIX line ends, authenticated and under TLS:"] = {
		{ server = starttls "PLAIN", files = { ["secret.txt"] = "secret\n", ["message.eml"] = "Subject: x\n\n.Hello\n" },
			alice = true, crlf = true, has = { "TLS connection established" },
			seen = { "RCPT TO:<bob@mail.example>\nDATA\nSubject: x\n\n..Hello\n.\nQUIT\n" } },
	},
	["Send the commands of a file, each after the reply to the one before it:"] = {
		{ files = { ["commands.txt"] = "NOOP one\nNOOP two\n" }, server = function(c)
			c:welcome()
			for _ = 1, 2 do
				c:line()
				-- Nothing may come before the answer: a deadline, not a wait for luck.
				c.seen.early = (c.seen.early or "") .. c.transport:pending() .. (c.transport:read(1, 0.02) or "")
				c:send "250 ok\r\n"
			end
			c:serve()
		end, crlf = true, seen = EHLO .. "NOOP one\nNOOP two\nQUIT\n", check = function(r)
			assert.equal("", r.seen.early)
		end },
	},
	["Pipe commands in, and see how long the server takes for each:"] = {
		{ server = open, seen = EHLO .. "NOOP\nHELP\nQUIT\n", check = function(r)
			local _, times = r.out:gsub("\n250 ok\r\n%(%d+%.%d%d%d s%)", "")
			assert.equal(2, times, r.out)
		end },
	},
	["Authenticate with an OAuth 2.0 token:"] = {
		{ env = { TOKEN = "ya29.token" }, has = { "Authenticated.\n" }, server = function(c)
			c:tls(shell.certificate())
			c:welcome "AUTH XOAUTH2"
			c:serve()
		end, seen = { "AUTH XOAUTH2 " .. base64.encode "user=alice\1auth=Bearer ya29.token\1\1" .. "\n" } },
	},
	["Does the server resume TLS sessions?"] = {
		{ server = offers_tls(shell.certificate()), has = { "TLS session reused\n" } },
		{ server = function(c) offers_tls(shell.certificate())(c) end, lacks = { "TLS session reused\n" } },
	},
	["Keep a session to show it to somebody:"] = {
		{ server = starttls "PLAIN", stdin = "secret\n", alice = true, check = function(r)
			local kept = r.read "session.txt"
			assert.equal(r.out, kept)
			has(kept, "C: AUTH PLAIN <", "# 235: authentication succeeded")
			lacks(kept, base64.encode "\0alice\0secret")
		end },
	},
	["A check for a monitor: the exit status says what is wrong, and the time is limited:"] = {
		{ server = implicit "PLAIN", files = SECRET, alice = true },
		{ server = implicit "PLAIN", files = { ["secret.txt"] = "wrong\n" }, status = 5 },
		{ server = implicit("PLAIN", {}), files = SECRET, status = 4, err = "failure: " },
		{ server = function() end, files = SECRET, status = 4, err = "failure: " },
		{ server = open, files = SECRET, status = 4, err = "failure: " },
	},
	["Run tests, with a report for a CI server:"] = {
		{ files = { ["mail_spec.lua"] = [[
			it("answers", function() require "smtptest".open():noop():expect(250) end)
			it("refuses", function() require "smtptest".open():noop():expect(550) end)
		]] }, server = open, status = 1, check = function(r)
			has(r.read "report.xml", 'tests="2" failures="0" errors="1"', "mail_spec.lua:2: NOOP: expected 550, got 250 ok")
		end },
	},
	["Write a session down, and play it again when the server has changed:"] = {
		{ server = starttls "PLAIN", stdin = "secret\nNOOP\n", files = SECRET, alice = true, status = 0,
			has = { "session.case: 7 replies, no difference\n" }, check = function(r)
				has(r.read "session.case", "\nhandshake\n", "\nauth PLAIN\n")
				lacks(r.read "session.case", "secret", "c2VjcmV0", "AGFsaWNlAHNlY3JldA==")
			end },
	},
	["Watch a server's certificates: what is there, is it good, and does one end within two weeks?"] = {
		{ server = offers_tls(shell.certificate()), has = { "port 587 (STARTTLS)\n", "\n  verified for mail.example\n" } },
		{ server = offers_tls((function()
			local certificate, key = cert.self_signed { name = "mail.example", days = 10 }
			return { cert = certificate, key = key }
		end)()), status = 4, has = { "NOT verified for mail.example: self-signed", "valid for less than 14 days\n" } },
	},
	["Look for a server\\(aqs mistakes in a range of cases, and judge one again later:"] = {
		-- What it says is another class than the code.
		{ listen = { on = { rcpt = function() return 250, "5.1.5 ok" end } }, status = 1,
			has = { "\nclass/2xx with 5.x.x/RCPT, 3 of 3 times\n" } },
	},
	["Talk to the local delivery of a mail store:"] = {
		{ server = open, seen = "LHLO lmtptest\nQUIT\n" },
	},
	["Change the session itself:"] = {
		{ server = starttls "PLAIN", stdin = "secret\nNOOP\n", alice = true, has = { "Authenticated.\n" },
			seen = { "\nNOOP\nQUIT\n" }, check = function(r)
				has(r.read "mine.lua", "local function authenticate(s)")
			end },
	},
	["Write a session in Lua:"] = {
		{ server = open, has = { "220 stub ESMTP\n" }, seen = EHLO .. "QUIT\n" },
	},
}

local function judge(case, r)
	assert.equal(case.status or 0, r.status, ("status %s\n%s\n--stderr\n%s"):format(r.status, r.out, r.err))
	if case.err then has(r.err, case.err) else assert.equal("", r.err) end
	has(r.out, table.unpack(case.has or {}))
	lacks(r.out, table.unpack(case.lacks or {}))
	if case.alice then assert.equal("alice", r.seen.alice) end
	if type(case.seen) == "string" then assert.equal(case.seen, r.lines) else has(r.lines, table.unpack(case.seen or {})) end
	for _, line in ipairs(case.crlf and r.seen or {}) do assert.matches("\r\n$", line) end
	if case.check then case.check(r) end
end

describe("an example of the manual:", function()
	local known = 0
	for _, example in ipairs(examples()) do
		it(example.claim, function()
			for _, case in ipairs(assert(RUNS[example.claim], "no test")) do
				judge(case, shell.run(table.concat(example.commands, "\n"), case))
			end
		end)
		known = known + (RUNS[example.claim] and 1 or 0)
	end

	it("all that are tested are there", function()
		local n = 0
		for _ in pairs(RUNS) do n = n + 1 end
		assert.equal(n, known)
	end)
end)
