local case = require "smtptest.case"
local random = require "smtptest.fuzz.random"
local simplify = require "smtptest.fuzz.simplify"
local unit = require "smtptest.fuzz.unit"

local function read(...)
	return assert(case.parse("smtptest case 1\n" .. table.concat({ ... }, "\n") .. "\n", "x"))
end

local function line(connection, text)
	return { step = "send", connection = connection, bytes = text .. "\r\n" }
end

-- A conversation of one connection.
local function talk(texts)
	local self = { { step = "connect", connection = "c1" }, { step = "reply", connection = "c1", specs = {} } }
	for _, text in ipairs(texts) do
		self[#self + 1] = line("c1", text)
		self[#self + 1] = { step = "reply", connection = "c1", specs = {} }
	end
	return self
end

local function sent(self, connection)
	local list = {}
	for _, step in ipairs(self) do
		if step.step == "send" and step.connection == (connection or "c1") then list[#list + 1] = step.bytes end
	end
	return table.concat(list)
end

local function text(self) return (case.format(self):gsub("^[^\n]*\n", "")) end

describe("simplify.bytes", function()
	it("gives what is shorter or plainer, and keeps the line end", function()
		local bytes = "MAIL FROM:<x@y.test> SIZE=1000\r\n"
		local count = 0
		for variant in simplify.bytes(bytes) do
			count = count + 1
			assert.equal("\r\n", variant:sub(-2))
			local _, plain = variant:gsub("a", "")
			local _, before = bytes:gsub("a", "")
			assert.is_true(#variant < #bytes or #variant == #bytes and plain > before)
		end
		assert.is_true(count > 30)
	end)

	it("ends for what is plain, empty, or only a line end", function()
		for _, bytes in ipairs { "", "a", "\r\n", "\n", "a\r\n" } do
			local count = 0
			for _ in simplify.bytes(bytes) do count = count + 1 end
			assert.is_true(count <= 4)
		end
	end)
end)

describe("simplify.greedy", function()
	local function shrink(bytes, holds, budget)
		return simplify.greedy(bytes, simplify.bytes, holds, budget)
	end

	it("finds the shortest line above a length", function()
		local bytes = "VRFY " .. random.new(1, 1):bytes(1990, "abcdefghij0123456789") .. "\r\n"
		local least, used = shrink(bytes, function(one) return #one >= 1503 and one:find "^VRFY " ~= nil end)
		assert.equal("VRFY " .. ("a"):rep(1496) .. "\r\n", least)
		assert.is_true(used < 300, used)
	end)

	it("keeps the one byte that matters", function()
		local bytes = "HELP " .. random.new(1, 1):bytes(300, "abc DEF0123456789\t") .. "\200xyz\r\n"
		local least = shrink(bytes, function(one) return one:find "^HELP.*\200" ~= nil end)
		assert.equal("HELP\200\r\n", least)
	end)

	it("asks no more than the budget, and nothing twice", function()
		local asked, seen = 0, {}
		local function never(one)
			assert.is_nil(seen[one])
			seen[one] = true
			asked = asked + 1
			return false
		end
		local _, used = shrink(("xyz"):rep(500), never, 100)
		assert.equal(100, asked)
		assert.equal(100, used)
	end)

	it("asks about several at once", function()
		local widest = 0
		local test = { width = 8, many = function(list)
			widest = math.max(widest, #list)
			for i, one in ipairs(list) do
				if one:find "k" and one:find "q" then return i end
			end
		end }
		assert.equal("kq", (shrink("abcdefghijklmnopqrstuvwxyz", test)))
		assert.equal(8, widest)
	end)
end)

describe("simplify.steps", function()
	local function verbs(count, seed)
		local r, list = random.new(seed, 0), {}
		for i = 1, count do list[i] = r:pick { "NOOP", "RSET", "VRFY a", "EXPN a", "HELP", "EHLO a", "MAIL FROM:<>" } end
		return list
	end

	it("finds four commands in a row among forty", function()
		local list = verbs(40, 5)
		table.move({ "HELP", "HELP", "RSET", "VRFY a" }, 1, 4, 21, list)
		local function holds(self) return sent(self):find("HELP\r\nHELP\r\nRSET\r\nVRFY a\r\n", 1, true) ~= nil end
		local self = talk(list)
		local before = case.format(self)
		local least, used = simplify.steps(self, holds)
		assert.equal(before, case.format(self))
		assert.equal("HELP\r\nHELP\r\nRSET\r\nVRFY a\r\n", sent(least))
		assert.equal(5, #least, text(least))
		assert.is_true(used < 120, used)
	end)

	it("finds steps far apart, and is 1-minimal", function()
		local list = verbs(60, 9)
		list[3], list[30], list[59] = "ONE", "TWO", "THREE"
		local function holds(self) return sent(self):find "ONE.*TWO.*THREE" ~= nil end
		for width = 1, 5, 4 do
			local least = simplify.steps(talk(list), { width = width, many = function(cases)
				for i, one in ipairs(cases) do
					if holds(one) then return i end
				end
			end })
			assert.equal("ONE\r\nTWO\r\nTHREE\r\n", sent(least))
			for _, one in ipairs(unit.single(least)) do assert.is_false(holds(unit.remove(least, { one }))) end
		end
	end)

	it("leaves out a whole connection", function()
		local self = talk(verbs(5, 1))
		for _, step in ipairs { { step = "connect", connection = "c2" }, line("c2", "QUIT") } do self[#self + 1] = step end
		local least = simplify.steps(self, function(one) return sent(one):find "." ~= nil end)
		for _, step in ipairs(least) do assert.equal("c1", step.connection) end
	end)

	it("keeps twins alike, whatever their segments are", function()
		local self = talk { "EHLO a", "NOOP", "RSET", "HELP", "VRFY a", "QUIT" }
		for _, step in ipairs(read("c2 connect", "c2 reply", 'c2 send "EHLO a\\r\\n" split 3', "c2 reply",
			'c2 send "NOOP\\r\\nRSET\\r\\n"', "c2 reply", "c2 reply", 'c2 send "HELP\\r\\nVRFY a\\r\\nQUIT\\r\\n"', "c2 reply",
			"c2 reply", "c2 reply")) do self[#self + 1] = step end
		local asked = 0
		local function holds(one)
			asked = asked + 1
			-- The player compares twins only.
			return sent(one) == sent(one, "c2") and sent(one, "c2"):find("HELP\r\nVRFY a\r\n", 1, true) ~= nil
		end
		local least = simplify.steps(self, holds)
		assert.equal("HELP\r\nVRFY a\r\n", sent(least))
		assert.equal("HELP\r\nVRFY a\r\n", sent(least, "c2"))
		local replies = { c1 = 0, c2 = 0 }
		for _, step in ipairs(least) do
			if step.step == "reply" then replies[step.connection] = replies[step.connection] + 1 end
		end
		assert.equal(replies.c1, replies.c2)
		assert.is_true(asked < 100, asked)
	end)
end)

describe("simplify.case", function()
	it("makes bytes small as well, those of twins alike", function()
		local self = talk { "EHLO abc", "NOOP one two", "VRFY " .. ("x"):rep(700), "QUIT" }
		for _, step in ipairs(read("c2 connect", "c2 reply", 'c2 send "EHLO abc\\r\\n" split 3 gap 0.01', "c2 reply",
			('c2 send "NOOP one two\\r\\nVRFY %s\\r\\nQUIT\\r\\n" split 5,6'):format(("x"):rep(700)), "c2 reply", "c2 reply",
			"c2 reply")) do self[#self + 1] = step end
		local least = simplify.case(self, function(one)
			return sent(one) == sent(one, "c2") and #(sent(one):match "VRFY%s*(%w*)\r\n" or "") >= 512
		end)
		assert.equal("VRFY" .. ("a"):rep(512) .. "\r\n", sent(least))
		for _, step in ipairs(least) do assert.is_nil(step.split) end
	end)

	it("leaves what it can't make smaller", function()
		local self = read("connect", "reply", 'send "${KW} x\\r\\n"', "reply")
		local least = simplify.case(self, function(one) return #one == 4 and one[3].parts ~= nil end)
		assert.equal(text(self), text(least))
	end)
end)
