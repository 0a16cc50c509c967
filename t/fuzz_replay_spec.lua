-- The command line that plays a finding again: all that tells how the server was reached, and no secret.

local brittle = require "support.brittle"
local fuzz = require "smtptest.fuzz"
local json = require "dkjson"
local run = require "support.run"

-- @return its words behind "smtptest --fuzz --replay=…", and the status of running it with a password
local function replayed(plan, spawn, name)
	local out = run.scratch(name)
	local result = fuzz.run { target = plan, spawn = spawn, runs = 4, shrink = false, oracles = "death", out = out,
		case = function() return { "EHLO a.test", "HELP me" } end }
	assert.equal(1, #result.findings)
	local replay = json.decode(run.read(result.findings[1].folder .. "/meta.json")).replay
	assert.is_truthy(result.findings[1].paragraph:find(replay, 1, true))
	local command = replay:gsub("^smtptest ", run.absolute .. " "):gsub("PASSWORD", "x")
	local again = run.command({ "-c", command }, { program = "sh", limit = 60 })
	assert.is_truthy(again.out:find("death/exit 3/HELP, 3 of 3 times", 1, true), again.out .. again.err)
	return replay:gsub("^smtptest %-%-fuzz %-%-replay=%S+ ", "")
end

describe("how a finding is played again", function()
	local words = brittle.words "if line == 'HELP me\\r' then os.exit(3) end"

	it("has no more than it needs", function()
		local text = replayed({ host = "127.0.0.1", port = 0 }, words, "replay-plain")
		assert.equal(("--spawn='%s' -p 0 127.0.0.1"):format(table.concat(words, " ")), text)
	end)

	it("has what was said of the connection, quoted, but the password", function()
		local spawn = { "sh", "-c", ("exec %s # it's"):format(table.concat(words, " ")) }
		local plan = { host = "127.0.0.1", port = 0, family = "inet", source = { host = "127.0.0.1" }, helo = "it's",
			timeout = 20, authname = "alice", username = "bob", password = "se cret", mechanism = "PLAIN", realm = "r",
			tls = "starttls", cafile = "/a b/c", verify = "mail.example", ciphers = "ALL", sasl_options = { a = "b c" },
			ciphersuites = "TLS_AES_128_GCM_SHA256", to = { "a@b.test" } }
		local text = replayed(plan, spawn, "replay-all")
		assert.is_nil(text:find("cret", 1, true))
		for _, word in ipairs { "-t '' ", " -4 ", " --source=127.0.0.1 ", [[ --helo='it'\''s' ]], " --timeout=20 ", " -a alice ",
			" -u bob ", " -m PLAIN ", " -r r ", " --cafile='/a b/c' ", " --verify=mail.example ", " -o 'a=b c' ",
			" --ciphers=ALL:TLS_AES_128_GCM_SHA256 ", " --to=a@b.test ", " -w PASSWORD ",
			" -p 0 127.0.0.1" } do
			assert.is_truthy((text .. " "):find(word, 1, true), word .. "\n" .. text)
		end
	end)
end)
