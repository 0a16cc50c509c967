local base64 = require "smtptest.base64"
local case = require "smtptest.case"
local mask = require "smtptest.fuzz.mask"

local PLAIN = "AGFsaWNlAHNlY3JldA=="        -- \0alice\0secret

local function of(password, more)
	local options = { plan = { authname = "alice", password = password } }
	for name, value in pairs(more or {}) do options[name] = value end
	return mask.new(options)
end

describe("mask", function()
	it("hides a password in clear and in base64, wherever it is there", function()
		local one = of "secret"
		assert.equal("250 ok <6 bytes hidden>.", one:text "250 ok secret.")
		assert.equal("235 ok AUTH PLAIN <20 bytes hidden>\\r\\n", one:text("235 ok AUTH PLAIN " .. PLAIN .. "\\r\\n"))
		assert.equal("c2VjcmU= <8 bytes hidden>", one:text "c2VjcmU= c2VjcmV0")
		for _, before in ipairs { "", "a", "ab", "abc" } do
			for _, behind in ipairs { "", "a", "ab", "\1\1" } do
				local token = base64.encode("user=" .. before .. "secret" .. behind)
				assert.equal(("x <%d bytes hidden> y"):format(#token), one:text("x " .. token .. " y"))
			end
		end
	end)

	it("hides what is glued to other letters, and what was cut off", function()
		local one = of "secret"
		assert.equal("\\<21 bytes hidden>", one:text("\\n" .. PLAIN))
		assert.equal("<15 bytes hidden>", one:text(PLAIN:sub(1, 15)))
		assert.equal("AGFsaWNlAA==", one:text "AGFsaWNlAA==")
	end)

	it("leaves another password as it is", function()
		local token = base64.encode "\0alice\0wrong"
		assert.equal("AUTH PLAIN " .. token, of "secret":text("AUTH PLAIN " .. token))
	end)

	it("hides a short password only in base64", function()
		local one = of "at"
		assert.equal("what is at it", one:text "what is at it")
		assert.equal("what <12 bytes hidden>", one:text("what " .. base64.encode "\0alice\0at"))
		assert.equal("it is <4 bytes hidden>", one:text("it is " .. base64.encode "at"))
		assert.equal("YXRzZWU4", one:text "YXRzZWU4")
	end)

	it("hides each in one pass, the longest first", function()
		local one = of("hidden", { spawn = "server --password=hidden-bytes -w 'two words' --threads 4 -w 1234567" })
		assert.equal("<6 bytes hidden> <12 bytes hidden> <9 bytes hidden> 1234567",
			one:text "hidden hidden-bytes two words 1234567")
		assert.equal("server -w '<9 bytes hidden>'", mask.new { spawn = { "server", "-w", "two words" } }
			:text "server -w 'two words'")
	end)

	it("knows a password that a function reads, one with control characters, and none", function()
		assert.equal("<6 bytes hidden>", of(function() return "secret" end):text "secret")
		assert.equal("secret", of(function() error "none" end):text "secret")
		assert.equal("<5 bytes hidden> <6 bytes hidden>", of "a\tbcd":text "a\tbcd a\\tbcd")
		for _, one in ipairs { mask.new {}, of "" } do assert.equal("as it is " .. PLAIN, one:text("as it is " .. PLAIN)) end
	end)

	it("hides what a corpus marks as secret, there and elsewhere", function()
		local steps = assert(case.parse(case.head .. 'secret\nsend "AUTH PLAIN AGJvYgBob2xh\\r\\n"\nreply 334\n' ..
			'secret\nsend "YQBiAGM=\\r\\n" split 2,3\nreply "235 YQBiAGM=\\r\\n"\n'))
		local one = mask.new { cases = { steps } }
		local text = case.format(one:steps(steps))
		assert.equal(case.head .. [[
secret
send "AUTH PLAIN <12 bytes hidden>\r\n"
reply 334
secret
send "<8 bytes hidden>\r\n" split 2,3
reply "235 <8 bytes hidden>\r\n"
]], text)
		assert.equal("AUTH PLAIN AGJvYgBob2xh\r\n", steps[1].bytes)
		assert.equal(text, case.format(assert(case.parse(text))))
		assert.equal(text, case.format(one:steps(assert(case.parse(text)))))
		assert.equal("bad <12 bytes hidden>", one:text "bad AGJvYgBob2xh")
	end)

	it("leaves a case one that can be read", function()
		local password = 'a"b\\c${x}'
		local steps = { { step = "comment", text = password }, { step = "send", connection = "c1", bytes = password .. "\n" },
			{ step = "send", connection = "c1", parts = { password, { var = "X" } } },
			{ step = "reply", connection = "c1", specs = {}, raw = "250 " .. password .. "\r\n" },
			{ step = "var", connection = "c1", name = "X", pattern = password } }
		local text = case.format(of(password):steps(steps))
		assert.is_nil(text:find('a\\"b', 1, true))
		assert.is_truthy(case.parse(text))
	end)

	it("takes them out of a record, and leaves what others have of it", function()
		local finding = { oracle = "class", text = "what " .. PLAIN }
		local steps = { { step = "send", connection = "c1", bytes = "AUTH PLAIN " .. PLAIN .. "\r\n" } }
		local record = { finding = finding, steps = steps, min = steps, transcript = "C: " .. PLAIN, log = "login secret" }
		of "secret":record(record)
		assert.equal("what <20 bytes hidden>", record.finding.text)
		assert.equal("AUTH PLAIN <20 bytes hidden>\r\n", record.min[1].bytes)
		assert.equal("C: <20 bytes hidden>", record.transcript)
		assert.equal("login <6 bytes hidden>", record.log)
		assert.equal("what " .. PLAIN, finding.text)
		assert.equal("AUTH PLAIN " .. PLAIN .. "\r\n", steps[1].bytes)
	end)
end)
