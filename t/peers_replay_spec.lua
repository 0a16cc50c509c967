-- A session with Postfix, typed at a terminal and recorded; one line of the case is changed; it is played against Dovecot.

local base64 = require "smtptest.base64"
local case = require "smtptest.case"
local daemon = require "support.daemon"
local dovecot = require "support.dovecot"
local leak = require "support.leak"
local postfix = require "support.postfix"
local run = require "support.run"
local sink = require "support.sink"
local task = require "smtptest.task"

-- Types lines at a terminal, each once the program has shown what comes before it.
local function typed(argv, keys)
	local output, promise = "", nil
	local items = {}
	for i, key in ipairs(keys) do
		items[2 * i - 1] = function()
			while not output:find(key[1]) do
				promise = task.promise()
				promise:wait()
			end
			output = ""
		end
		items[2 * i] = key[2] .. "\n"
	end
	local words = {}
	for i, word in ipairs { run.program, table.unpack(argv) } do words[i] = "'" .. word:gsub("'", "'\\''") .. "'" end
	local before = 0
	return run.command({ "-qec", table.concat(words, " "), "/dev/null" }, { program = "script", stdin = items,
		on_output = function(all)
			-- What was seen for one key is not looked at for the next.
			output, before = output .. all:sub(before + 1), #all
			if promise then promise:set(true) end
		end })
end

describe("a session that was typed", function()
	local why = daemon.missing("postfix", "dovecot")
	if why then return pending("is recorded at Postfix and played at Dovecot: " .. why) end

	local PASSWORD = "wonderland"
	local from, to, relay

	setup(function()
		from = postfix.start { users = { alice = PASSWORD } }
		relay = sink.start()
		to = dovecot.start { relay = relay.port, users = { alice = PASSWORD } }
	end)
	teardown(function()
		from:stop()
		to:stop()
		relay:stop()
	end)

	it("is recorded at Postfix, without its password, and played at Dovecot", function()
		local path, log = run.scratch "typed.case", run.scratch "typed.json"
		local r = typed({ "--no-auth", "-p", tostring(from.port), "--record=" .. path, "--log=" .. log, "localhost" }, {
			{ "250 [^\n]*\n", "STARTTLS" },
			{ "TLS connection established[^\n]*\n", "EHLO typed.test" },
			{ "250 [^\n]*\n", "AUTH PLAIN" },
			{ "\n334 [^\n]*\n", base64.encode("\0alice\0" .. PASSWORD) },
			{ "\n235 [^\n]*\n", "AUTH LOGIN" },
			{ "\n503 [^\n]*\n", "MAIL FROM:<alice@peer.test>" },
			{ "\n250 [^\n]*\n", "RSET" },
			{ "\n250 [^\n]*\n", "QUIT" },
		})
		assert.equal(0, r.status, r.out)
		for _, file in ipairs { path, log } do assert.is_nil((leak.find(run.read(file), { PASSWORD })), run.read(file)) end

		local self = assert(case.parse(run.read(path), path))
		local kinds = {}
		for _, step in ipairs(self) do
			if step.step ~= "send" and step.step ~= "reply" and step.step ~= "comment" then kinds[#kinds + 1] = step.step end
		end
		assert.same({ "connect", "handshake", "auth", "close" }, kinds)

		-- The one line: what only Postfix says to a second AUTH is of no interest.
		local text, changed = run.read(path):gsub('\nsend "AUTH LOGIN\\r\\n"\n', '\nsend "NOOP\\r\\n"\n')
		assert.equal(1, changed)
		local edited = run.file("edited.case", text)
		r = run.command { "--replay=" .. edited, "-a", "alice", "--password-file=" .. run.file("typed.password", PASSWORD),
			"-p", tostring(to.port), "localhost" }
		assert.equal(6, r.status, r.out .. r.err)
		local line = 0
		for one in text:gmatch "[^\n]*\n" do
			line = line + 1
			if one:find "^reply 503" then break end
		end
		assert.matches(("^[^\n]*edited%%.case:%d: expected 503, got 250 [^\n]*\n$"):format(line), r.out)

		r = run.command { "--replay=" .. run.file("edited.case", (text:gsub("\nreply 503 [^\n]*\n", "\nreply 250\n"))), "-a",
			"alice", "--password-file=" .. run.file("typed.password", PASSWORD), "-p", tostring(to.port), "localhost" }
		assert.equal(0, r.status, r.out .. r.err)
		assert.matches("no difference\n$", r.out)
	end)
end)
