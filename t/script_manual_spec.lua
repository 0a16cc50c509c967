-- smtptest-script(7) is written by hand; this holds it to the code: every function of the module and of its objects has
-- an item and an example, nothing else has, and each example runs and prints what it says.

local client = require "smtptest.client"
local failure = require "smtptest.failure"
local fault = require "smtptest.fault"
local mdoc = require "support.mdoc"
local plan = require "smtptest.plan"
local reply = require "smtptest.reply"
local run = require "support.run"
local server = require "smtptest.server"
local session = require "smtptest.session"
local smtptest = require "smtptest"
local task = require "smtptest.task"
local transport = require "smtptest.transport"

local PAGE = "man/smtptest-script.7"
local page = mdoc.read(PAGE)

-- Modules whose part of the manual is not written yet; the plan of the command line, whose fields have their own spec;
-- methods, which belong to objects.
local LATER = { ["smtptest.load"] = true, ["smtptest.options"] = true, ["smtptest.transport.methods"] = true }

-- ---------------------------------------------------------------- what the code has

-- Loads the modules that are there only when somebody looks.
local function load_all()
	local pipe <close> = assert(io.popen "ls lua/smtptest")
	for name in pipe:lines() do
		local _ = smtptest[name:match "^(.*)%.lua$"]
	end
	local _, _ = smtptest.fuzz.g, smtptest.fuzz.m
end

-- The methods of an object, by the names that the manual gives them.
local function methods_of(name, object)
	local meta = getmetatable(object)
	local list = type(meta.__index) == "table" and meta.__index or {}
	local found = {}
	for key, value in pairs(list) do
		if type(value) == "function" and not key:find "^__" then found[name .. ":" .. key] = true end
	end
	-- Of those with lazy fields the methods stand in an upvalue.
	for i = 1, type(meta.__index) == "function" and math.huge or 0 do
		local upvalue, value = debug.getupvalue(meta.__index, i)
		if not upvalue then break end
		if upvalue == "methods" then
			for key in pairs(value) do found[name .. ":" .. key] = true end
		end
	end
	assert(next(found), "no methods of " .. name)
	return found
end

local function objects()
	local a, b = transport.pair()
	local mine = session.wrap(a)
	local served <close> = server.listen {}
	local socket = run.scratch "manual.socket"
	local listener <close> = assert(transport.listen(socket))
	local process <close> = smtptest.process.spawn { argv = { "true" } }
	local one = task.spawn(function() end)
	one:join()
	local over_tls <close> = server.listen { tls = "implicit" }
	over_tls:start()
	local other <close> = session.connect { port = over_tls.port, tls = "implicit" }
	local list = {
		s = mine, reply = reply.new "250 ok\r\n", replies = reply.list {}, tls = other.tls, transport = a,
		listener = listener, server = served, client = client.new(served, b, {}), process = process, stdin = process.stdin,
		stdout = process.stdout, task = one, barrier = task.barrier(1), promise = task.promise(),
	}
	local found = {}
	for name, object in pairs(list) do
		for method in pairs(methods_of(name, object)) do found[method] = true end
	end
	b:close()
	a:close()
	return found
end

-- Adds the functions of a table, and of those below it, by their names.
local function walk(found, prefix, list)
	for name, value in pairs(list) do
		if type(value) == "function" then
			found[prefix .. name] = true
		elseif type(value) == "table" and type(name) == "string" and not LATER[prefix .. name] then
			walk(found, prefix .. name .. ".", value)
		end
	end
end

local function module_functions()
	load_all()
	local found = {}
	walk(found, "smtptest.", smtptest)
	return found
end

-- What is no method of an object that can be had here, or a field that is a function.
local BESIDE = { "hush:close", "tls.channel_binding", "assert.reply", "assert.silent", "assert.closed" }

local function functions()
	local all = module_functions()
	for name in pairs(objects()) do all[name] = true end
	for _, name in ipairs(BESIDE) do all[name] = true end
	return all
end

-- ---------------------------------------------------------------- what the manual has

local function sorted(set)
	local list = {}
	for name in pairs(set) do list[#list + 1] = name end
	table.sort(list)
	return table.concat(list, "\n")
end

-- Functions that have an item, and those that are named as internal.
local function documented()
	local items, internal, section = {}, {}, nil
	for _, item in ipairs(page.items) do
		local name = item.macro == "Fn" and item.words:match "^%S+"
		if name then
			assert.is_nil(items[name], name .. " has two items")
			items[name] = true
		end
	end
	for _, line in ipairs(page.lines) do
		section = line:match "^%.Sh (.+)" or section
		local name = section == "INTERNALS" and line:match "^%.Fn (%S+)"
		if name then internal[name] = true end
	end
	return items, internal
end

-- Words of the items of a macro, below a section's name or everywhere.
local function words_of(macro, section)
	local found = {}
	for _, item in ipairs(page.items) do
		if item.macro == macro and (not section or item.section == section) then
			for word in item.words:gmatch "[%w_.]+" do found[word] = true end
		end
	end
	return found
end

-- Whether a word stands somewhere in the page.
local text = mdoc.plain(table.concat(page.lines, "\n"))

local function stands(word)
	return (" " .. text .. " "):find("[^%w_-]" .. word:gsub("%p", "%%%0") .. "[^%w_-]") ~= nil
end

describe("smtptest-script(7)", function()
	mdoc.spec(PAGE)

	it("has an item for every function, and for no other", function()
		local items, internal = documented()
		local expected = functions()
		for name in pairs(internal) do
			assert.is_true(expected[name], name .. " is named as internal and does not exist")
			expected[name] = nil
		end
		assert.equal(sorted(expected), sorted(items))
	end)

	it("has every function in an example", function()
		local code = mdoc.code(page)
		local missing = {}
		for name in pairs((documented())) do
			local last = name:match "[%w_]+$"
			local call = name:find ":" and ("[:.]%s%%f[^%%w_]"):format(last) or ("%%.%s%%f[^%%w_]"):format(last)
			if not code:find(call) then missing[name] = true end
		end
		assert.equal("", sorted(missing))
	end)

	it("has every field of a plan, and no other", function()
		local expected = {}
		for name in pairs(plan.fields) do expected[name] = true end
		assert.equal(sorted(expected), sorted(words_of("Va", "PLANS")))
	end)

	it("has every handler and bound of a server", function()
		local fields = words_of("Va", "SERVERS")
		for name in run.read "lua/smtptest/handlers.lua":match "local NAMES = (%b{})":gmatch '"(%l+)"' do
			assert.is_true(fields["on." .. name], name)
		end
		for name in pairs(server.limits) do assert.is_true(stands(name), name) end
		for name in run.read "lua/smtptest/server.lua":match "local PLAN = (%b{})":gmatch "([%l_]+) = " do
			assert.is_true(fields[name], name)
		end
	end)

	it("has every error code, with its exit status", function()
		local last, statuses = nil, {}
		for _, line in ipairs(page.lines) do
			last = line:match "^%.It Er ([%u%d]+)" or last
			local status = last and line:match "%[(%d+)[^%d%]]*[^%]]*%]"
			if status then statuses[last] = tonumber(status) end
		end
		local codes = words_of("Er", "ERRORS OF SESSIONS")
		for code in ([[EOF TRUNCATED TIMEOUT WANTREAD WANTWRITE TLS CERTIFICATE SASL NOMECH INTERACT BASE64 RESOLVE REPLY
			TOOLONG BUSY CANCELED DEADLOCK]]):gmatch "%S+" do
			assert.is_true(codes[code], code)
			if not code:find "^WANT" then
				assert.equal(failure.new({ code = code, message = "" }).status, statuses[code], code)
			end
		end
	end)

	it("has every word of a reply's lint and every malformed reply", function()
		for name in run.read "lua/smtptest/reply.lua":gmatch 'found%[?%.?"?([%w-]+)"?%]? = true' do
			assert.is_true(stands(name), name)
		end
		for name in run.read "lua/smtptest/fault.lua":match "local MALFORMED = (%b{})":gmatch '%["([%w-]+)"%]' do
			assert.is_true(stands(name), name)
			fault.malformed(name)
		end
	end)
end)

-- ---------------------------------------------------------------- the examples, run

-- Files that an example reads.
local FILES = { ["commands.txt"] = "NOOP\nQUIT\n" }
local STDIN = "Alice\nsecret\nmore\n"

-- What it prints, as its comments say: a list of lines.
local function claims(lines)
	local list = {}
	for _, line in ipairs(lines) do
		local claim = line:match "%-%->%s?(.-)%s*$"
		if claim then list[#list + 1] = claim end
	end
	return list
end

-- The words behind smtptest; a server of ours behind them.
local function flags(port)
	return { "-p", tostring(port), "-t", "", "-a", "alice", "-w", "secret", "127.0.0.1" }
end

local function polite()
	return server.listen {
		tls = "starttls", sasl = { users = { alice = "secret" } },
		capabilities = { SIZE = { "1000" }, XCLIENT = { "ADDR", "NAME" }, XFORWARD = { "ADDR" } },
		on = { command = function(_, verb)
			if verb == "XCLIENT" then return 220, "2.0.0 hello again" end
			if verb == "XFORWARD" then return 250, "2.0.0 ok" end
		end },
	}
end

local function title(code)
	return ("%s: %s"):format(code.section, code.lines[1])
end

-- A display as a program of its own.
local function program(code)
	local body = table.concat(code.lines, "\n") .. "\n"
	if body:find 'require "smtptest"\n' then return body, body:find "\ndescribe%(" and "test" end
	local head = 'local smtptest = require "smtptest" '
	if body:find "%f[%w_]s[:.]" and not body:find "local s <close>" then
		head = head .. "local s <close> = smtptest.open() "
	elseif body:find "%f[%w_]s[:.].*local s <close>" then
		-- One that is used before it is made.
		local before = body:match "^(.-)local s <close>"
		if before:find "%f[%w_]s[:.]" then head = head .. "local s <close> = smtptest.open() " end
	end
	return head .. body
end

describe("an example of smtptest-script(7):", function()
	local host
	setup(function() host = polite():start() end)
	teardown(function() host:stop() end)

	local count = 0
	for _, code in ipairs(page.displays) do
		-- The synopsis, and what goes into the background, stand for themselves.
		if code.section ~= "SYNOPSIS" and not code.lines[1]:find "daemonize" then
			count = count + 1
			local number = count
			it(title(code), function()
				local folder = run.scratch("manual" .. number)
				assert(os.execute(("mkdir -p '%s'"):format(folder)))
				local body, kind = program(code)
				local name = kind == "test" and "manual_spec.lua" or "manual.lua"
				for path, content in pairs(FILES) do
					local handle <close> = assert(io.open(folder .. "/" .. path, "w"))
					handle:write(content)
				end
				local handle <close> = assert(io.open(folder .. "/" .. name, "w"))
				handle:write(body)
				handle:close()
				local words = flags(host.port)
				for i, word in ipairs(words) do words[i] = "'" .. word .. "'" end
				local result = run.command({ "-c", ("cd '%s' && exec '%s' %s %s %s"):format(folder, run.absolute,
					kind == "test" and "--test --test-output=TAP" or "-S", name, table.concat(words, " ")) },
					{ program = "sh", stdin = STDIN, alone = true })
				assert.equal("", result.err, result.out)
				assert.equal(0, result.status, result.out)
				if kind == "test" then return assert.is_nil(result.out:find "not ok", result.out) end
				local lines, expected = mdoc.output_lines(result.out), claims(code.lines)
				for i = 1, math.max(#lines, #expected) do
					assert.is_true(expected[i] ~= nil and lines[i] ~= nil and mdoc.matches(expected[i], lines[i]),
						("line %d: claimed %s, got %s\n%s"):format(i, expected[i], lines[i], result.out))
				end
			end)
		end
	end

	it("goes into the background", function()
		local folder = run.scratch "manual-daemon"
		assert(os.execute(("mkdir -p '%s'"):format(folder)))
		local result = run.command({ "-c", ("cd '%s' && '%s' -e '%s'"):format(folder, run.absolute,
			[[local s = require "smtptest" s.daemonize "talk.pid" s.pidfile "done"]]) }, { program = "sh" })
		assert.same({ 0, "" }, { result.status, result.err })
		assert.matches("^%d+$", run.read(folder .. "/talk.pid"))
	end)
end)
