-- Every read of the default script, reached by a server that falls silent just there.

local run = require "support.run"
local smtp = require "smtptest.smtp"
local task = require "smtptest.task"

local PLAIN = { "-m", "PLAIN", "-a", "alice", "-w", "secret" }
local MESSAGE = { "--no-auth", "--from", "a@x.test", "--to", "b@x.test" }

local function greeted(c)
	c:send "220 stub ESMTP\r\n"
end

local function welcomed(c, ...)
	greeted(c)
	c:capabilities(...)
end

local function talking(c)
	welcomed(c, "AUTH PLAIN")
	c:reply "235 ok"
end

-- A conversation up to the command that is not answered.
local function until_line(...)
	local answers = { ... }
	return function(c)
		welcomed(c)
		for _, answer in ipairs(answers) do c:reply(answer) end
		c:line()
	end
end

local function challenging(challenge)
	return function(c)
		welcomed(c, "AUTH PLAIN")
		c:reply("334 " .. challenge)
		c:line()
	end
end

-- phase -> the flags, and what the server does before it says no more.
local SILENCE = {
	greeting = { PLAIN, function() end },
	EHLO = { PLAIN, function(c) greeted(c); c:line() end },
	HELO = { PLAIN, function(c) greeted(c); c:reply "502 what?"; c:line() end },
	LHLO = { { "-P", "lmtp", table.unpack(PLAIN) }, function(c) greeted(c); c:line() end },
	STARTTLS = { { "-t", "", table.unpack(PLAIN) }, function(c) welcomed(c, "STARTTLS"); c:line() end },
	["TLS handshake"] = { { "-t", "", table.unpack(PLAIN) }, function(c) welcomed(c, "STARTTLS"); c:reply "220 go" end },
	AUTH = { PLAIN, function(c) welcomed(c, "AUTH PLAIN"); c:line() end },
	MAIL = { MESSAGE, until_line() },
	RCPT = { MESSAGE, until_line "250 ok" },
	DATA = { MESSAGE, until_line("250 ok", "250 ok") },
	["end of DATA"] = { MESSAGE, function(c)
		welcomed(c)
		c:reply "250 ok"
		c:reply "250 ok"
		c:reply "354 go"
		repeat until c:line() == "."
	end },
	QUIT = { { "-n", "2", table.unpack(PLAIN) }, function(c) talking(c); c:line() end },
	session = { PLAIN, function(c) talking(c); c:line() end },
	reply = {
		{ "--lockstep", table.unpack(PLAIN) }, function(c) talking(c); c:line() end, stdin = "NOOP\nNOOP\n",
	},
}

-- Phases of the API that the default script does not pass through: other specs reach them.
local ELSEWHERE = { BDAT = true, command = true, RSET = true, XCLIENT = true, XFORWARD = true }

-- Others than the first silence of a phase: the same read, reached another way.
local AGAIN = {
	{ "AUTH", { "-m", "LOGIN", "-a", "alice", "-w", "secret" }, challenging "VXNlcm5hbWU6" },
	{ "AUTH", { "-m", "CRAM-MD5", "-a", "alice", "-w", "secret" }, challenging "!bad!" },
	{ "EHLO", PLAIN, function(c) greeted(c); c:line(); c:send "250-half of a rep" end },
	{ "EHLO", { "-t", "", table.unpack(PLAIN) }, function(c)
		welcomed(c, "STARTTLS")
		c:reply "220 go"
		c:tls()
		c:line()
	end },
	{ "greeting", { "-s", table.unpack(PLAIN) }, function(c) c:tls() end },
	{ "TLS handshake", { "-s", table.unpack(PLAIN) }, function() end },
}

local function silence(seconds, argv, script, stdin)
	return run.against(function(c)
		script(c)
		c:gone()
	end, { "--timeout=" .. seconds, table.unpack(argv) }, { stdin = stdin })
end

describe("a server that falls silent", function()
	local results = {}

	setup(function()
		local tasks = {}
		for phase, case in pairs(SILENCE) do
			tasks[phase] = task.spawn(silence, 1, case[1], case[2], case.stdin)
		end
		for i, case in ipairs(AGAIN) do tasks[i] = task.spawn(silence, 1, case[2], case[3]) end
		for key, one in pairs(tasks) do results[key] = one:join() end
	end)

	it("is met in every phase that the code names", function()
		for phase in pairs(smtp.phases) do
			assert.is_true((SILENCE[phase] or ELSEWHERE[phase]) ~= nil, "no test for the phase " .. phase)
		end
		for phase in pairs(SILENCE) do assert.is_truthy(smtp.phases[phase], phase .. " is not a phase") end
	end)

	-- Sending one message, the exit status tells what failed. A machine that is too busy for the first second falls
	-- silent in an earlier phase: there the same is tried alone and with more time.
	local function timed_out(phase, result, argv, script, stdin)
		local text = phase == "TLS handshake" and "failure: TLS negotiation failed: timed out after %d s\n"
			or ("failure: %s: timed out after %%d s\n"):format(phase)
		local seconds = 1
		while result.err ~= text:format(seconds) and seconds < 10 do
			seconds = seconds + 4
			result = silence(seconds, argv, script, stdin)
		end
		assert.are.equal(text:format(seconds), result.err)
		assert.are.equal(argv == MESSAGE and 7 or 1, result.status, result.out .. result.err)
	end

	for phase in pairs(SILENCE) do
		it(("during %s ends the program with its name"):format(phase), function()
			timed_out(phase, results[phase], SILENCE[phase][1], SILENCE[phase][2], SILENCE[phase].stdin)
		end)
	end

	for i, case in ipairs(AGAIN) do
		it(("during %s, case %d, ends the program too"):format(case[1], i), function()
			timed_out(case[1], results[i], case[2], case[3])
		end)
	end
end)
