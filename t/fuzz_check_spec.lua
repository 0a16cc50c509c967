-- Each planted bug alone, and the case that triggers it, judged; the key is another one in each run.

local fuzz = require "smtptest.fuzz"
local planted = require "support.planted"
local run = require "support.run"
local server = require "smtptest.server"
local task = require "smtptest.task"

local LANES = 7         -- at once: most of it is waiting
local PLAYS = 2

local function check(key, bugs, steps)
	return fuzz.check(steps, { target = { host = "127.0.0.1", port = 0 }, spawn = planted.words(key, bugs),
		confirm = PLAYS })
end

local key = planted.key()
local bugs = planted.list()

describe("fuzz.check with key " .. key, function()
	local bad, good = {}, {}

	setup(function()
		local waiting = {}
		for _, bug in ipairs(bugs) do
			waiting[#waiting + 1] = { into = bad, name = bug.name, bugs = bug.name }
			waiting[#waiting + 1] = { into = good, name = bug.name, bugs = "none" }
		end
		local lanes = {}
		for i = 1, LANES do
			lanes[i] = task.spawn(function()
				while waiting[1] do
					local one = table.remove(waiting, 1)
					one.into[one.name] = table.pack(pcall(check, key, one.bugs, planted.trigger(key, one.name)))
				end
			end)
		end
		for _, lane in ipairs(lanes) do lane:join() end
	end)

	for _, bug in ipairs(bugs) do
		it(("sees %s as %s"):format(bug.name, bug.oracle), function()
			local ok, list, plays = table.unpack(bad[bug.name])
			assert.is_true(ok, tostring(list))
			assert.equal(PLAYS, plays)
			local seen = {}
			for _, one in ipairs(list) do seen[#seen + 1] = one.signature end
			seen = table.concat(seen, ", ")
			assert.is_truthy(list[1], "nothing")
			assert.equal(bug.oracle, list[1].finding.oracle, seen)
			assert.equal(PLAYS, list[1].hits, seen)
			assert.is_string(list[1].finding.text)
		end)

		it(("sees nothing in the case of %s without it"):format(bug.name), function()
			local ok, list = table.unpack(good[bug.name])
			assert.is_true(ok, tostring(list))
			assert.same({}, list)
		end)
	end
end)

describe("fuzz.check", function()
	local one

	setup(function() one = server.listen {}:start() end)
	teardown(function() one:stop() end)

	local function target() return { host = one.host, port = one.port } end

	it("takes steps, the text of a case and a list of lines", function()
		local text = 'smtptest case 1\nconnect\nreply 220\nsend "NOOP\\r\\n"\nreply 250\n'
		for _, steps in ipairs { text, { "EHLO a.test", "NOOP" }, assert(require "smtptest.case".parse(text)) } do
			local list, plays = fuzz.check(steps, { target = target(), confirm = 1 })
			assert.same({}, list)
			assert.equal(1, plays)
		end
	end)

	it("raises for what it does not know, and where nobody is", function()
		assert.error_matches(function() fuzz.check({ "NOOP" }, { target = target(), oracels = "x" }) end, "oracels")
		assert.error_matches(function() fuzz.check({ "NOOP" }, { target = target(), oracles = "x" }) end, "no oracle 'x'")
		local ok, err = pcall(fuzz.check, { "NOOP" }, { target = { host = "127.0.0.1", port = run.closed_port() } })
		assert.is_false(ok)
		assert.is_true(fuzz.gone(err))
		ok, err = pcall(fuzz.check, "nonsense", { target = target() })
		assert.is_false(ok)
		assert.is_false(fuzz.gone(err))
	end)
end)

describe("fuzz.case", function()
	it("is the case of a number, the same each time", function()
		local format = require "smtptest.case".format
		local seen = {}
		for n = 1, 50 do
			local text = format(fuzz.case(n, { seed = 7 }))
			assert.equal(text, format(fuzz.case(n, { seed = 7 })))
			seen[text] = true
			assert.is_truthy(require "smtptest.case".parse(text))
		end
		local different = 0
		for _ in pairs(seen) do different = different + 1 end
		assert.is_true(different > 45)
		assert.not_equal(format(fuzz.case(1, { seed = 7 })), format(fuzz.case(1, { seed = 8 })))
	end)

	it("raises in one line that blames the caller, as run and check do", function()
		local here = "^" .. debug.getinfo(1, "S").short_src:gsub("%p", "%%%0") .. ":%d+: fuzz: "
		for _, each in ipairs {
			{ "the number of a case must be an integer from 1 on$", fuzz.case, 1.5 },
			{ "the number of a case must be an integer from 1 on$", fuzz.case, 0 },
			{ "the number of a case must be an integer from 1 on$", fuzz.case },
			{ "seed must be an integer$", fuzz.case, 1, { seed = 1.5 } },
			{ "case must be a function or a generator$", fuzz.case, 1, { case = {} } },
			{ "confirm must be an integer from 0 on$", fuzz.check, { "NOOP" }, { confirm = 1.5 } },
			{ "seed must be an integer$", fuzz.run, { seed = 1.5 } },
			{ "workers must be an integer from 1 on$", fuzz.run, { workers = 0 } },
			{ "seconds must not be below 0$", fuzz.run, { seconds = 0 / 0 } },
			{ "shrink must not be below 0$", fuzz.run, { shrink = -1 } },
		} do
			local ok, message = pcall(function() each[2](each[3], each[4]) end)
			assert.is_false(ok)
			assert.is_truthy(message:find(here .. each[1]), message)
		end
		local ok, err = pcall(fuzz.check, { { step = "connect" }, { step = "frob" } })
		assert.same({ false, "EINVAL", "fuzz: step 2: unknown step 'frob'" }, { ok, err.code, tostring(err) })
		ok, err = pcall(fuzz.case, 2, { case = function() return { { step = "send" } } end })
		assert.same({ false, "fuzz: case 2: step 1: send: bytes are expected, a text" }, { ok, tostring(err) })
	end)

	it("is made by a function or a generator", function()
		local steps = fuzz.case(3, { case = function(_, n) return { "NOOP " .. n } end })
		assert.equal("NOOP 3\r\n", steps[3].bytes)
		steps = fuzz.case(3, { case = fuzz.g.list(fuzz.g.verb(), { min = 2, max = 2 }) })
		assert.equal(6, #steps)
	end)
end)
