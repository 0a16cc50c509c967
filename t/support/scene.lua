--- scene: black-box cases as tables; those of one describe are all played before the first is judged, several at once.

local assert = require "luassert"
local busted = require "busted"
local run = require "support.run"
local task = require "smtptest.task"

local scene = {}

-- Programs that run at the same time.
local AT_ONCE = 8

--- What authenticates with few words; and what it looks like.
scene.PLAIN = { "-m", "PLAIN", "-a", "alice", "-w", "secret" }

--- Text as a session prints it: the lines of the conversation end in CR LF, our own ones in LF.
function scene.text(lines)
	return (lines:gsub("([^\n]*)\n", function(line)
		local spoken = line:find "^[CS]: " or line:find "^%d%d%d[ -]"
		return line .. (spoken and "\r\n" or "\n")
	end))
end

--- Words, then more words.
function scene.words(...)
	local all = {}
	for _, words in ipairs { ... } do table.move(words, 1, #words, #all + 1, all) end
	return all
end

--- A server that lets anybody in with PLAIN, and is polite afterwards.
function scene.polite(client)
	client:welcome "AUTH PLAIN"
	client:serve()
end

--- One that refuses nothing and offers no AUTH.
function scene.open(client)
	client:welcome()
	client:serve()
end

scene.START = [[
S: 220 stub ESMTP
C: EHLO smtptest
S: 250-stub
S: 250 AUTH PLAIN
]]
scene.AUTHED = scene.START .. [[
C: AUTH PLAIN AGFsaWNlAHNlY3JldA==
S: 235 ok
Authenticated.
Security strength factor: 0
]]
scene.BYE = [[
C: QUIT
221 bye
Connection closed.
]]

-- What to type, where {wait=text} waits until the program has printed that.
local function typing(case)
	local output, promise = "", nil
	local items = {}
	for i, item in ipairs(type(case.stdin) == "table" and case.stdin or { case.stdin }) do
		items[i] = type(item) ~= "table" and item or function()
			while not output:find(item.wait, 1, true) do
				promise = task.promise()
				promise:wait()
			end
		end
	end
	return items, function(text)
		output = text
		if promise then promise:set(true) end
	end
end

local function play_one(case)
	local options = { env = case.env, host = case.host, listen = case.listen, program = case.program, alone = case.alone }
	if case.stdin then options.stdin, options.on_output = typing(case) end
	local argv = case.argv or scene.PLAIN
	if case.setup then case.setup(case) end
	case.result = case.server and run.against(case.server, argv, options) or run.command(argv, options)
end

--- Plays all cases.
function scene.play(cases)
	local next_one = 1
	local workers = {}
	for i = 1, AT_ONCE do
		workers[i] = task.spawn(function()
			while cases[next_one] do
				local case = cases[next_one]
				next_one = next_one + 1
				local ok, message = pcall(play_one, case)
				if not ok then case.result = { err = message, seen = {} } end
			end
		end)
	end
	for _, worker in ipairs(workers) do worker:join() end
end

local function list(value)
	return type(value) == "table" and value or { value }
end

local function contains(name, text, wanted)
	for _, part in ipairs(list(wanted)) do
		assert.is_truthy(text:find(part, 1, true), ("%s lacks %q:\n%s"):format(name, part, text))
	end
end

local function lacks(name, text, unwanted)
	for _, part in ipairs(list(unwanted)) do
		assert.is_nil(text:find(part, 1, true), ("%s has %q:\n%s"):format(name, part, text))
	end
end

--- Judges a case that was played.
-- @param case  argv (default PLAIN; run.against), server (function(client, n); without it none is started), stdin
--   (string, or list of strings and {wait=text}), env, host, listen, program, alone, setup (function(case), called
--   before); and what is expected: status (default 0), out (all of stdout, as scene.text), has (strings in stdout),
--   lacks (strings neither in stdout nor in stderr), err (all of stderr; default ""), err_has, seen (lines that the server read,
--   without their CR LF; or a string: all bytes; what else a server noted there is not looked at), check
--   (function(result, case))
function scene.judge(case)
	local r = case.result
	local told = ("status %s\n%s\n--stderr\n%s"):format(r.status or r.signal, r.out, r.err)
	assert.are.equal(case.status or 0, r.status, told)
	if case.out then assert.are.equal(scene.text(case.out), r.out) end
	contains("stdout", r.out, case.has)
	lacks("stdout", r.out, case.lacks)
	lacks("stderr", r.err, case.lacks)
	if case.err_has then
		contains("stderr", r.err, case.err_has)
	else
		assert.are.equal(case.err or "", r.err)
	end
	if type(case.seen) == "string" then
		assert.are.equal(case.seen, table.concat(r.seen))
	elseif case.seen then
		local lines = {}
		for i, line in ipairs(case.seen) do lines[i] = line .. "\r\n" end
		assert.are.same(lines, table.move(r.seen, 1, #r.seen, 1, {}))
	end
	if case.check then case.check(r, case) end
end

--- Specs: each case, named by its first field.
function scene.specs(title, cases)
	busted.describe(title, function()
		busted.setup(function() scene.play(cases) end)
		for _, case in ipairs(cases) do
			busted.it(case[1], function() scene.judge(case) end)
		end
	end)
end

return scene
