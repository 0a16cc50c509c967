local case = require "smtptest.case"
local failure = require "smtptest.failure"
local folder = require "smtptest.core.folder"
local run = require "support.run"
local supply = require "smtptest.fuzz.supply"

local EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

local function numbered(random, n)
	return { ("NOOP %d %d"):format(n, random:integer(0, 999)) }
end

local function new(options)
	local all = { seed = 1, first = 1, draw = numbered }
	for name, value in pairs(options) do all[name] = value end
	return supply.new(all)
end

local function bytes_of(item)
	local list = {}
	for _, step in ipairs(item.steps) do list[#list + 1] = step.bytes end
	return table.concat(list)
end

local function refusal(fn, ...)
	local ok, err = pcall(fn, ...)
	assert.is_false(ok)
	assert.is_true(failure.is(err), tostring(err))
	return tostring(err)
end

describe("supply.steps", function()
	it("takes a list of steps as it is, the connection being c1", function()
		local steps = { { step = "connect" }, { step = "send", bytes = "x", connection = "c2" } }
		assert.equal(steps, supply.steps(steps))
		assert.same({ "c1", "c2" }, { steps[1].connection, steps[2].connection })
	end)

	it("takes a text in the case format", function()
		local steps = supply.steps(case.head .. 'c1 connect\nc1 reply 220\nc1 send "NOOP\\r\\n"\n')
		assert.equal("NOOP\r\n", steps[3].bytes)
		assert.is_truthy(refusal(supply.steps, case.head .. "c1 dance\n"):find "dance")
		refusal(supply.steps, "no case")
	end)

	it("makes a lockstep session of lines", function()
		local text = case.format(supply.steps { "EHLO a", "NOOP\n", "QUIT\r\n" })
		assert.equal(case.head .. [[
connect
reply
send "EHLO a\r\n"
reply
send "NOOP\n"
reply
send "QUIT\r\n"
reply
]], text)
	end)

	it("refuses what is no case", function()
		assert.equal("fuzz: a case is a list of steps, a text or a list of commands, got a number", refusal(supply.steps, 1))
		refusal(supply.steps, nil)
		for expected, value in pairs {
			["step 2: unknown step 'frob'"] = { { step = "connect" }, { step = "frob" } },
			["step 1: unknown step 'nil'"] = { {} },
			["step 2: a table is expected, got a string"] = { { step = "connect" }, "NOOP" },
			["command 2: a text is expected, got a number"] = { "NOOP", 1 },
			["step 1: send: bytes are expected, a text"] = { { step = "send" } },
			["step 1: send: split: sizes from 1 on are expected"] = { { step = "send", bytes = "x", split = { 0 } } },
			["step 1: send: gap: seconds are expected"] = { { step = "send", bytes = "x", split = { 1 }, gap = "1" } },
			["step 1: reply: specs: a list is expected"] = { { step = "reply", specs = 250 } },
			["step 1: reply: raw: a text is expected"] = { { step = "reply", raw = 250 } },
			["step 1: auth: a mechanism is expected"] = { { step = "auth" } },
			["step 1: pause: seconds are expected"] = { { step = "pause", seconds = 0 / 0 } },
			["step 1: silent: seconds are expected"] = { { step = "silent", seconds = math.huge } },
			["step 1: var: a name and a pattern are expected"] = { { step = "var", name = "X" } },
			["step 1: var: the pattern is none"] = { { step = "var", name = "X", pattern = "(" } },
			["step 1: comment: a text is expected"] = { { step = "comment" } },
			["step 1: close: connection: c1, c2 and so on are expected"] = { { step = "close", connection = 1 } },
		} do
			assert.equal("fuzz: " .. expected, refusal(supply.steps, value))
			assert.equal("fuzz: case 3: " .. expected, refusal(supply.steps, value, "case 3"))
		end
		supply.steps { { step = "send", parts = { "a", { var = "X" } }, split = { 1, 2 }, gap = 0 }, { step = "reply" } }
	end)
end)

describe("supply.corpus", function()
	local path

	before_each(function()
		path = run.scratch("corpus" .. math.random(0))
		assert(folder.make(path))
	end)

	local function write(name, text)
		local handle <close> = assert(io.open(path .. "/" .. name, "wb"))
		handle:write(text)
	end

	it("is empty where there is none", function()
		assert.same({ {}, EMPTY }, { supply.corpus() })
	end)

	it("is read in the order of the names, whatever that of the folder", function()
		for _, name in ipairs { "b", "c", "a", ".hidden" } do
			write(name, ('%sc1 connect\nc1 send "NOOP %s\\r\\n"\n'):format(case.head, name))
		end
		local list, sum = supply.corpus(path)
		assert.equal(3, #list)
		for i, name in ipairs { "a", "b", "c" } do assert.equal("NOOP " .. name .. "\r\n", list[i][2].bytes) end
		assert.equal(64, #sum)
		assert.equal(sum, select(2, supply.corpus(path)))
		write("c", case.head .. "c1 connect\n")
		assert.not_equal(sum, select(2, supply.corpus(path)))
	end)

	it("passes over folders, and refuses what is no case, nothing, and no folder", function()
		assert.is_truthy(refusal(supply.corpus, path):find("no case in it", 1, true))
		assert(folder.make(path .. "/sub"))
		write("a", case.head .. "c1 connect\n")
		assert.equal(1, #supply.corpus(path))
		write("b", "nonsense")
		assert.is_truthy(refusal(supply.corpus, path):find(path .. "/b", 1, true))
		assert.is_truthy(refusal(supply.corpus, path .. "/none"):find("No such file", 1, true))
	end)

	it("refuses what can't be read, and waits for nobody at the other end of a FIFO", function()
		write("a", case.head .. "c1 connect\n")
		for command, message in pairs {
			["ln -s none"] = "No such file", ["ln -s b"] = "symbolic links", ["mkfifo"] = "no file with a case",
			["ln -s /dev/zero"] = "no file with a case", ["touch"] = "no file with a case",
		} do
			assert(os.execute(("cd '%s' && %s b"):format(path, command)))
			local text = refusal(supply.corpus, path)
			assert.is_truthy(text:find("corpus " .. path .. "/b: ", 1, true), text)
			assert.is_truthy(text:find(message, 1, true), text)
			os.remove(path .. "/b")
		end
		assert(os.execute(("cd '%s' && mkfifo .hidden && ln -s a b && mkdir c && ln -s c d"):format(path)))
		assert.equal(2, #supply.corpus(path))
	end)
end)

describe("a supply", function()
	it("has the cases of a range, and no more", function()
		local one = new { first = 3, last = 5 }
		local names = {}
		while one:more() do
			local item = one:next()
			names[#names + 1] = item.name
			assert.equal(tonumber(item.name), item.n)
		end
		assert.same({ "3", "4", "5" }, names)
		assert.is_nil(one:next())
		assert.equal(6, one.n)
	end)

	it("has no end without a last one", function()
		local one = new {}
		for _ = 1, 100 do one:next() end
		assert.is_true(one:more())
		assert.equal(101, one.n)
	end)

	it("ends where there are no more numbers", function()
		for _, last in ipairs { math.maxinteger, false } do
			local one = new { first = math.maxinteger - 1, last = last or nil }
			assert.equal(math.maxinteger - 1, one:next().n)
			assert.equal(math.maxinteger, one:next().n)
			assert.is_false(one:more())
			assert.is_nil(one:next())
		end
	end)

	it("gives the same case for a seed and a number", function()
		local one, two, other = new { seed = 7 }, new { seed = 7, first = 2 }, new { seed = 8, first = 2 }
		one:next()
		local text = bytes_of(one:next())
		assert.equal(text, bytes_of(two:next()))
		assert.not_equal(text, bytes_of(other:next()))
		assert.equal(text, bytes_of { steps = one:generate(2) })
		assert.equal(3, one.n)
	end)

	it("has a digest of what was generated, whoever took it and whatever was derived meanwhile", function()
		local plain = new { last = 200 }
		while plain:next() do end
		local fed = new { last = 200, feedback = true, derive = function() return { "RSET" } end }
		local derived = 0
		repeat
			local item = fed:next()
			if item and not item.n then derived = derived + 1 elseif item then fed:keep(item) end
		until not item
		assert.is_true(derived > 50)
		assert.equal(plain:digest(), fed:digest())
		assert.equal(plain:digest(), plain:digest())
		local less = new { last = 199 }
		while less:next() do end
		assert.not_equal(plain:digest(), less:digest())
		assert.equal(EMPTY, new {}:digest())
	end)

	it("has another digest for the same bytes in other segments or on another connection", function()
		local function sum(text)
			local one = new { last = 1, draw = function() return case.head .. text end }
			one:next()
			return one:digest()
		end
		local seen = {}
		for _, text in ipairs { 'c1 send "NOOP\\r\\n"\n', 'c2 send "NOOP\\r\\n"\n', 'c1 send "NOOP\\r\\n" split 2,3\n',
			'c1 send "NOOP\\r\\n" split 2,4\n', 'c1 send "NOOP\\r\\n" split 2,3 gap 1\n', 'c1 send "NO"\nc1 send "OP\\r\\n"\n',
			'c1 pause 1\n', 'c1 pause 2\n', 'c1 half_close\n', 'c1 abort\n' } do
			assert.is_nil(seen[sum(text)], text)
			seen[sum(text)] = true
		end
	end)

	it("passes the frozen corpus on", function()
		local corpus = { { { step = "connect", connection = "c1" } } }
		local got
		local one = new { corpus = corpus, draw = function(_, _, list)
			got = list
			return { "NOOP" }
		end }
		one:next()
		assert.equal(corpus, got)
	end)

	it("derives cases from those that are kept, the new ones first, and names the parent", function()
		local parents = {}
		local one = new { feedback = true, derive = function(_, steps)
			parents[#parents + 1] = steps
			return { "RSET" }
		end }
		local first = one:next()
		one:keep(first)
		local names = {}
		for i = 1, 9 do
			local item = one:next()
			names[i] = item.name
			if not item.n then assert.equal("1", item.parent) end
		end
		assert.equal("2 3 D1 4 5 D2 6 7 D3", table.concat(names, " "))
		for _, steps in ipairs(parents) do assert.equal(first.steps, steps) end
		assert.equal(3, one.derived)
	end)

	it("keeps nothing without feedback", function()
		local one = new { last = 10 }
		one:keep(one:next())
		for i = 2, 10 do assert.equal(i, one:next().n) end
	end)
end)
