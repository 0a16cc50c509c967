-- A case played once: each kind of step as the server sees it, what is done at the end, what is told of bad servers.

local case = require "smtptest.case"
local oracle = require "smtptest.fuzz.oracle"
local planted = require "support.planted"
local play = require "smtptest.fuzz.play"
local run = require "support.run"
local targets = require "smtptest.fuzz.target"

local SET = oracle.set()

-- A target on a port, with little patience.
local function target_of(port, plan)
	local all = { host = "127.0.0.1", port = port }
	for name, value in pairs(plan or {}) do all[name] = value end
	local target = targets.new { plan = all }
	target.address = { family = "inet", host = "127.0.0.1", port = port }
	target.patience, target.brisk, target.settle, target.lingering = 0.3, 0.3, 0.03, 0.1
	return target
end

local function signatures(result)
	local list = {}
	for i, finding in ipairs(result.findings) do list[i] = oracle.signature(finding) end
	return table.concat(list, " ")
end

-- Plays the text of a case against a scripted server → result, the lines it read
local function against(script, text, options)
	options = options or {}
	local server = run.server(script)
	local target = target_of(server.port, options.plan)
	for name, value in pairs(options.traits or {}) do target.traits[name] = value end
	for code in pairs(options.closing or {}) do target.closing[code] = true end
	local result = play.run(assert(case.parse(case.head .. text)), target, { oracles = SET,
		checks = oracle.of_reply(SET), careful = options.careful ~= false, transcript = true })
	server.stop()
	local seen = table.concat(server.seen, "|"):gsub("\r\n", "")
	return result, seen
end

local function polite(c)
	c:send "220 stub\r\n"
	c:serve()
end

-- A server that says these replies, each behind a line, and then closes.
local function saying(...)
	local replies = { ... }
	return function(c)
		c:send "220 stub\r\n"
		for _, text in ipairs(replies) do
			if text == "" then c:line() else c:reply(text) end
		end
	end
end

describe("play", function()
	it("says QUIT at the end, and reads what is due", function()
		local result, seen = against(polite, 'connect\nreply\nsend "EHLO a\\r\\nNOOP\\r\\n"\n')
		assert.equal("EHLO a|NOOP|QUIT", seen)
		assert.same({}, result.findings)
		assert.is_falsy(result.suspicious or result.left or result.refused)
	end)

	it("writes a transcript", function()
		local result = against(polite, 'connect\nreply\nsend "NOOP\\r\\n"\nreply\n')
		assert.equal([[
c1 S: 220 stub\r\n
c1 C: NOOP\r\n
c1 S: 250 ok\r\n
c1 C: QUIT\r\n
c1 S: 221 bye\r\n
]], table.concat(result.transcript))
	end)

	it("has several connections, each with a QUIT", function()
		local result, seen = against(polite, 'c1 connect\nc2 connect\nc1 send "NOOP 1\\r\\n"\nc2 send "NOOP 2\\r\\n"\n')
		assert.same({}, result.findings)
		for _, line in ipairs { "NOOP 1", "NOOP 2", "QUIT" } do assert.is_truthy(seen:find(line, 1, true), seen) end
	end)

	it("opens a connection again, the old one being ended", function()
		local _, seen = against(polite, 'connect\nsend "NOOP 1\\r\\n"\nconnect\nsend "NOOP 2\\r\\n"\n')
		assert.equal("NOOP 1|QUIT|NOOP 2|QUIT", seen)
	end)

	it("sends in segments", function()
		local pieces = {}
		local result = against(function(c)
			c:send "220 stub\r\n"
			for _ = 1, 3 do pieces[#pieces + 1] = c.transport:read(100) end
			c:send "250 ok\r\n"
			c:serve()
		end, 'connect\nreply\nsend "NOOP\\r\\n" split 1,3 gap 0.05\nreply\n')
		assert.same({ "N", "OOP", "\r\n" }, pieces)
		assert.same({}, result.findings)
	end)

	it("waits for all replies that are due", function()
		local result, seen = against(polite,
			'connect\nreply\nsend "EHLO a\\r\\nMAIL FROM:<>\\r\\nRCPT TO:<b@b.test>\\r\\nDATA\\r\\n"\nreply\nsend "x\\r\\n.\\r\\n"\n')
		assert.equal("EHLO a|MAIL FROM:<>|RCPT TO:<b@b.test>|DATA|x|.|QUIT", seen)
		assert.same({}, result.findings)
	end)

	it("sends no message where DATA was refused", function()
		local result, seen = against(saying("503 no", "221 bye"), 'connect\nsend "DATA\\r\\n"\nreply\nsend "x\\r\\n.\\r\\n"\n')
		assert.equal("DATA|QUIT", seen)
		assert.same({}, result.findings)
	end)

	it("keeps a part of a reply for later", function()
		local result, seen = against(saying("250-a\r\n250 token=abc1 x", "250 ok", "221 bye"), [[
connect
reply
send "EHLO a\r\n"
reply
var T "token=(%w+)"
send "NOOP ${T} ${U}x\r\n"
]])
		assert.equal("EHLO a|NOOP abc1 x|QUIT", seen)
		assert.same({}, result.findings)
	end)

	it("cancels an AUTH that is left in the middle", function()
		local result, seen = against(saying("334 ", "501 canceled", "221 bye"), 'connect\nsend "AUTH PLAIN\\r\\n"\nreply\n')
		assert.equal("AUTH PLAIN|*|QUIT", seen)
		assert.same({}, result.findings)
	end)

	it("leaves comments and pauses alone", function()
		local result, seen = against(polite, "# nothing\nconnect\npause 0.01\n# more\n")
		assert.equal("QUIT", seen)
		assert.same({}, result.findings)
	end)

	for _, step in ipairs { "close", "abort" } do
		it(("may %s, and says nothing any more"):format(step), function()
			local result, seen = against(polite, ('connect\nreply\nsend "NOOP\\r\\n"\nreply\n%s\nsend "RSET\\r\\n"\n'):format(step))
			assert.equal("NOOP", seen)
			assert.same({}, result.findings)
			assert.is_true(result.left)
		end)
	end

	it("may half-close, and still reads", function()
		local result, seen = against(function(c)
			c:send "220 stub\r\n"
			c:line()
			c:gone()
			c:send "250 ok\r\n"
		end, 'connect\nreply\nsend "NOOP\\r\\n"\nhalf_close\nreply\n')
		assert.equal("NOOP", seen)
		assert.same({}, result.findings)
		assert.is_truthy(table.concat(result.transcript):find("S: 250 ok", 1, true))
	end)

	it("changes to TLS, by one step or by two", function()
		local function secure(c)
			c:welcome "STARTTLS"
			c:reply "220 go"
			c:tls()
			c:serve()
		end
		for _, words in ipairs { "starttls\n", 'send "STARTTLS\\r\\n"\nreply\nhandshake\n' } do
			local result, seen = against(secure, 'connect\nreply\nsend "EHLO a\\r\\n"\nreply\n' .. words ..
				'send "EHLO b\\r\\n"\nreply\n')
			assert.equal("EHLO a|STARTTLS|EHLO b|QUIT", seen)
			assert.same({}, result.findings)
		end
	end)

	it("does not shake hands where STARTTLS was refused", function()
		local result, seen = against(saying("454 no", "221 bye"), "connect\nreply\nstarttls\n")
		assert.equal("STARTTLS|QUIT", seen)
		assert.same({}, result.findings)
	end)

	it("authenticates with the plan's password, which no transcript shows", function()
		local result, seen = against(function(c)
			c:welcome "AUTH PLAIN"
			c:reply "235 ok"
			c:serve()
		end, 'connect\nreply\nsend "EHLO a\\r\\n"\nreply\nauth PLAIN\nsend "NOOP\\r\\n"\n',
			{ plan = { authname = "alice", password = "p4ssw0rd" } })
		assert.equal("EHLO a|AUTH PLAIN AGFsaWNlAHA0c3N3MHJk|NOOP|QUIT", seen)
		assert.same({}, result.findings)
		local text = table.concat(result.transcript)
		assert.is_nil(text:find("p4ssw0rd", 1, true))
		assert.is_nil(text:find("AHA0c3N3", 1, true))
	end)

	it("hears what comes while there should be silence", function()
		local result = against(function(c)
			c:send "220 stub\r\n250 what\r\n"
			c:serve()
		end, "connect\nreply\nsilent 0.1\n", { careful = false })
		assert.equal("count/surplus/greeting", signatures(result))
	end)

	it("says so where it can't connect", function()
		local target = target_of(run.closed_port())
		local result = play.run(assert(case.parse(case.head .. "connect\nreply\n")), target,
			{ oracles = SET, checks = oracle.of_reply {} })
		assert.equal("ECONNREFUSED", result.refused)
		assert.is_true(result.suspicious)
		assert.same({}, result.findings)
	end)
end)

-- What a server does, what is said to it, and what is found.
local NOOP = 'connect\nreply\nsend "NOOP\\r\\n"\nreply\n'
local BAD = {
	["drop/no reply/NOOP"] = { saying "", NOOP },
	["drop/after 500/NOOP"] = { saying "500 no", NOOP },
	["drop/no reply/greeting"] = { function() end, "connect\n" },
	["drop/no reply/message"] = { function(c)
		c:send "220 stub\r\n"
		for _, text in ipairs { "250 ok", "250 ok", "354 go" } do c:reply(text) end
		c:line()
	end, 'connect\nsend "MAIL FROM:<>\\r\\nRCPT TO:<b@b.test>\\r\\nDATA\\r\\n"\nreply\nsend "x\\r\\n"\n' },
	["hang/session/NOOP"] = { function(c)
		c:send "220 stub\r\n"
		c:gone()
	end, NOOP },
	["hang/session/greeting"] = { function(c) c:gone() end, "connect\nreply\n" },
	["count/missing/NOOP"] = { function(c)
		c:send "220 stub\r\n"
		c:line()
		c:serve()
	end, NOOP },
	["count/missing/several"] = { function(c)
		c:send "220 stub\r\n"
		c:reply "250 ok"
		c:line()
		c:reply "354 go"
		c:gone()
	end, 'connect\nsend "MAIL FROM:<>\\r\\nRCPT TO:<b@b.test>\\r\\nDATA\\r\\n"\nreply\n' },
	["count/surplus/NOOP"] = { function(c)
		c:send "220 stub\r\n"
		c:reply "250 ok\r\n250 ok"
		c:serve()
	end, NOOP },
	["syntax/bare-lf/NOOP"] = { function(c)
		c:send "220 stub\r\n"
		c:line()
		c:send "250 ok\n"
		c:serve()
	end, NOOP },
	["syntax/mixed-codes/NOOP"] = { saying("250-ok\r\n251 ok", "221 bye"), NOOP },
	["class/2xx with 5.x.x/NOOP"] = { saying("250 5.0.0 ok", "221 bye"), NOOP },
	["state/RCPT without MAIL/RCPT"] = { polite, 'connect\nreply\nsend "RCPT TO:<b@b.test>\\r\\n"\nreply\n' },
	["auth/235/AUTH"] = { polite, 'connect\nreply\nsend "AUTH PLAIN AAAA\\r\\n"\nreply\n' },
	["injection/inside TLS/STARTTLS"] = { function(c)
		c:send "220 stub\r\n"
		local first = c.transport:read(100)
		assert(first == "STARTTLS\r\nNOOP\r\n", first)
		c:send "220 go\r\n"
		c:tls()
		c:send "250 ok\r\n"
		c:serve()
	end, 'connect\nreply\nsend "STARTTLS\\r\\nNOOP\\r\\n"\nreply\nhandshake\nreply\n' },
	["split/codes/message"] = { function(c)
		c:send "220 stub\r\n"
		while true do
			local line = c:line():upper()
			if line:find "^QUIT" then return c:send "221 bye\r\n" end
			if line:find "^DATA" then
				c:send "354 go\r\n"
				repeat until c:line() == "."
			elseif line:find "^BDAT" then
				c:line()
			end
			c:send(line:find "^BDAT" and "554 no\r\n" or "250 ok\r\n")
		end
	end, 'c1 connect\nc1 send "EHLO a\\r\\nMAIL FROM:<>\\r\\nRCPT TO:<b@b.test>\\r\\nDATA\\r\\n"\nc1 reply\n' ..
		'c1 send "x\\r\\n.\\r\\n"\nc1 reply\nc2 connect\n' ..
		'c2 send "EHLO a\\r\\nMAIL FROM:<>\\r\\nRCPT TO:<b@b.test>\\r\\nBDAT 3 LAST\\r\\nx\\r\\n"\nc2 reply\n' },
}

describe("play finds", function()
	for signature, one in pairs(BAD) do
		it(signature, function()
			local result = against(one[1], one[2])
			assert.equal(signature, signatures(result), table.concat(result.transcript))
			local finding = result.findings[1]
			assert.is_string(finding.text)
			assert.equal("number", type(finding.at))
		end)
	end
end)

describe("play", function()
	it("gives a connection up that does not stop talking", function()
		for _, lines in ipairs { NOOP, NOOP .. "silent 20\n", NOOP .. 'send "QUIT\\r\\n"\nreply\n' } do
			local result = against(function(c)
				c:send "220 stub\r\n"
				c:line()
				while c.transport:write(("250 flood\r\n"):rep(50)) do end
			end, lines)
			assert.equal("count/surplus/NOOP", signatures(result):match "^%S+")
		end
	end)
end)

describe("play finds nothing in", function()
	it("an end after 421, or after a code with which this server says goodbye", function()
		assert.same({}, (against(saying "421 later", NOOP)).findings)
		assert.same({}, (against(saying "554 no", NOOP, { closing = { [554] = true } })).findings)
	end)

	it("what was not asked for in time, where nobody waits for it", function()
		assert.same({}, (against(polite, 'connect\nreply\nsend "NOOP\\r\\n"\nclose\n')).findings)
	end)

	it("an end after about as many idle commands as the server bears", function()
		local lines = "connect\nreply\n" .. ('send "NOOP\\r\\n"\nreply\n'):rep(3)
		assert.same({}, (against(saying("250 ok", "250 ok", ""), lines, { traits = { idle = 5 } })).findings)
		assert.equal("drop/no reply/NOOP",
			signatures((against(saying("250 ok", "250 ok", ""), lines, { traits = { idle = 9 } }))))
	end)

	it("a reply for each recipient of a chunk, also where the first one is refused (LMTP)", function()
		local lines = 'connect\nreply\nsend "LHLO a\\r\\n"\nreply\nsend "MAIL FROM:<>\\r\\n"\nreply\n' ..
			('send "RCPT TO:<b@b.test>\\r\\n"\nreply\n'):rep(2) .. 'send "BDAT 3 LAST\\r\\nabc"\nreply\nsend "NOOP\\r\\n"\nreply\n'
		for _, code in ipairs { 250, 452 } do
			local result = against(function(c)
				c:send "220 stub\r\n"
				for _ = 1, 4 do c:reply "250 ok" end
				c:line()
				c.transport:read(3)
				c:send(code .. " one\r\n250 two\r\n")
				c:serve()
			end, lines, { plan = { protocol = "lmtp" } })
			assert.equal("", signatures(result), table.concat(result.transcript))
		end
	end)

	it("a goodbye that is not that to QUIT", function()
		local lines, traits = 'connect\nreply\nsend "NOOP\\r\\nQUIT\\r\\n"\nreply\n', { goodbye = "0 bye, you had 0\r\n" }
		local function to_quit(text)
			return function(c)
				c:send "220 stub\r\n"
				c:line()
				c:reply(text)
			end
		end
		assert.same({}, (against(to_quit "221 I am tired", lines, { traits = traits })).findings)
		assert.equal("count/missing/several",
			signatures((against(to_quit "221 bye, you had 7", lines, { traits = traits }))))
	end)

	it("commands that a server counts as one", function()
		local traits = { bounds = { VRFY = 2 } }
		local _, seen = against(polite, "connect\nreply\n" .. ('send "VRFY\\r\\n"\nreply\n' ..
			'send "EXPN a\\r\\n"\nreply\n'):rep(2), { traits = traits })
		assert.equal("VRFY|EXPN a|QUIT", seen)
		_, seen = against(polite, 'connect\nreply\nsend "NOOP\\r\\nVRFY\\r\\nVRFY\\r\\n"\nreply\n' ..
			'send "NOOP\\r\\nEXPN\\r\\n"\nsend "NOOP\\r\\n"\n', { traits = traits })
		assert.equal("NOOP|VRFY|VRFY|NOOP|QUIT", seen)
	end)

	it("more of a verb than the server bears, which is left out", function()
		local traits = { bounds = { NOOP = 2 } }
		local result, seen = against(polite, "connect\nreply\n" .. ('send "NOOP\\r\\n"\nreply\n'):rep(5), { traits = traits })
		assert.equal("NOOP|NOOP|QUIT", seen)
		assert.same({}, result.findings)
	end)
end)

describe("play against a good server", function()
	local child, target

	setup(function()
		local port
		child, port = planted.start(planted.key(), "none")
		target = target_of(port)
	end)
	teardown(function() child:close() end)

	it("finds nothing in what triggers bugs in others", function()
		local checks = oracle.of_reply(SET)
		for _, bug in ipairs(planted.list()) do
			local steps = planted.trigger("1", bug.name)
			assert.equal("", signatures(play.run(steps, target, { oracles = SET, checks = checks, careful = true })), bug.name)
		end
		assert.is_true(child:alive())
	end)

	it("tells what is new to a model", function()
		local model = require "smtptest.fuzz.model".new()
		local steps = assert(case.parse(case.head .. NOOP))
		local options = { oracles = SET, checks = oracle.of_reply {}, model = model }
		assert.is_true(play.run(steps, target, options).fresh)
		assert.is_nil(play.run(steps, target, options).fresh)
		assert.is_true(model.transitions >= 3)
	end)
end)
