local base64 = require "smtptest.base64"
local canary = require "smtptest.fuzz.canary"
local case = require "smtptest.case"
local default = require "smtptest.fuzz.default"
local mutate = require "smtptest.fuzz.mutate"
local random = require "smtptest.fuzz.random"
local rearrange = require "smtptest.fuzz.rearrange"

local CONTEXT = { protocol = "smtp", tls = "starttls", credentials = true }

local function corpus()
	local list = {}
	for n = 0, 39 do list[#list + 1] = default.draw(random.new(11, n), n, {}, CONTEXT) end
	return list
end

-- A table in which nothing can be changed
local function frozen(value)
	if type(value) ~= "table" then return value end
	local copy = {}
	for key, one in pairs(value) do copy[key] = frozen(one) end
	return setmetatable({}, { __index = copy, __len = function() return #copy end, __pairs = function() return pairs(copy) end,
		__newindex = function() error("it was changed", 2) end })
end

local function sent(self)
	local list = {}
	for _, step in ipairs(self) do
		if step.step == "send" then list[#list + 1] = step.bytes or "" end
	end
	return list
end

local function count(self, name)
	local number = 0
	for _, step in ipairs(self) do
		if step.step == name then number = number + 1 end
	end
	return number
end

describe("mutate, of bytes,", function()
	for _, name in ipairs(mutate.of_bytes) do
		it(name .. " gives other bytes, the same for the same draw", function()
			local changed = 0
			for n = 1, 300 do
				local before = "MAIL FROM:<x@y.test> SIZE=100"
				local after = mutate[name](random.new(1, n), before)
				assert.equal(after, mutate[name](random.new(1, n), before))
				if after ~= before then changed = changed + 1 end
				assert.equal("string", type(mutate[name](random.new(1, n), "")))
			end
			assert.is_true(changed > 200)
		end)
	end

	it("does what its name says", function()
		for n = 1, 100 do
			local r = random.new(2, n)
			assert.equal(5, #mutate.flip(r, "abcde"))
			assert.equal(5, #mutate.set(r, "abcde"))
			assert.is_true(#mutate.insert(r, "abcde") > 5)
			assert.is_true(#mutate.delete(r, "abcde") < 5)
			assert.is_true(#mutate.duplicate(r, "abcde") > 5)
			local short = mutate.truncate(r, "abcde")
			assert.equal(("abcde"):sub(1, #short), short)
		end
	end)
end)

describe("mutate, of lines,", function()
	it("changes case, blanks, ends, verb and parameters", function()
		local seen = {}
		for n = 1, 400 do
			local r = random.new(3, n)
			assert.equal("mail from:<x>", mutate.letters(r, "MAIL FROM:<x>"):lower())
			assert.equal("MAILFROM:<x>", (mutate.blank(r, "MAIL FROM:<x>\r\n"):gsub("[%s]", "")))
			seen[mutate.ending(r, "NOOP\r\n")] = true
			assert.is_truthy(mutate.verb(r, "NOOP x"):find "^%S+ x$")
			assert.is_truthy(mutate.parameter(r, "RCPT TO:<x>\r\n"):find "^RCPT TO:<x> .*\r\n$")
		end
		for _, ending in ipairs { "", "\n", "\r", "\n\r", "\0\r\n" } do assert.is_true(seen["NOOP" .. ending]) end
	end)

	it("keeps what a reply depends on: a line's end, the end of data", function()
		for n = 1, 500 do
			assert.equal("\r\n", mutate.bytes(random.new(4, n), "VRFY x\r\n"):sub(-2))
			assert.equal("\r\n.\r\n", mutate.bytes(random.new(4, n), "Subject: x\r\n\r\nx\r\n.\r\n"):sub(-5))
		end
	end)
end)

describe("mutate, of cases,", function()
	local list = corpus()
	local names = { "content", "unended" }
	for name in pairs(rearrange.of_cases) do names[#names + 1] = name end
	table.sort(names)

	for _, name in ipairs(names) do
		it(name .. " leaves its argument as it is, and gives a case", function()
			local changed, texts, ice = 0, {}, {}
			for i, one in ipairs(list) do texts[i], ice[i] = case.format(one), frozen(one) end
			for n = 0, 119 do
				local i = n % #list + 1
				local result = mutate[name](random.new(5, n), ice[i], ice, CONTEXT)
				assert.not_equal(ice[i], result)
				local text = case.format(result)
				assert.equal(text, case.format(assert(case.parse(text))))
				assert.equal(text, case.format(mutate[name](random.new(5, n), list[i], list, CONTEXT)))
				if text ~= texts[i] then changed = changed + 1 end
				assert.is_true(#result <= 500)
			end
			assert.is_true(changed > 40, changed)
		end)
	end

	it("does what its name says", function()
		local one = default.draw(random.new(1, 0), 0, {}, { tls = "none" })
		for n = 1, 50 do
			local r = random.new(6, n)
			assert.is_true(#sent(mutate.drop(r, one)) < #sent(one))
			assert.is_true(#sent(mutate.again(r, one)) > #sent(one))
			local swapped = sent(mutate.swap(r, one))
			local before = sent(one)
			table.sort(swapped)
			table.sort(before)
			assert.same(before, swapped)
			local joined = mutate.join(r, one)
			assert.equal(table.concat(sent(one)), table.concat(sent(joined)))
			assert.equal(count(one, "reply"), count(joined, "reply"))
			assert.is_true(#sent(joined) < #sent(one))
			assert.equal(table.concat(sent(one)), table.concat(sent(mutate.split(r, one))))
			assert.equal(1, count(mutate.pause(r, one), "pause"))
			for _, step in ipairs(mutate.pause(r, one)) do assert.is_true((step.seconds or 0) <= 0.02) end
			assert.equal(2, count(mutate.second(random.new(6, n + 100), one), "connect"))
		end
	end)

	it("works on cases with nothing in them", function()
		for _, name in ipairs(names) do
			for _, empty in ipairs { {}, { { step = "connect", connection = "c1" } } } do
				assert.equal("table", type(mutate[name](random.new(1, 1), empty, {}, CONTEXT)))
			end
		end
	end)
end)

describe("default.derive", function()
	it("changes nearly every case, and gives it canaries of its own", function()
		local list, changed = corpus(), 0
		for n = 1000, 1999 do
			local parent = list[n % #list + 1]
			local result = default.derive(random.new(7, n), parent, list, CONTEXT)
			if canary.renew(case.format(parent), 7, n) ~= case.format(result) then changed = changed + 1 end
			for _, bytes in ipairs(sent(result)) do
				for _, word in ipairs(canary.find(bytes)) do assert.equal(n, (canary.origin(word))) end
			end
		end
		assert.is_true(changed > 950, changed)
	end)

	it("exchanges canaries in base64 as well", function()
		local name = canary.make(1, 2, 1)
		local parent = { { step = "connect", connection = "c1" }, { step = "reply", connection = "c1", specs = {} },
			{ step = "send", connection = "c1", bytes = "AUTH PLAIN " .. base64.encode("\0" .. name .. "\0x") .. "\r\n" },
			{ step = "reply", connection = "c1", specs = {} },
			{ step = "send", connection = "c1", bytes = base64.encode(name .. name) .. "\r\n" } }
		local seen = 0
		for n = 1, 100 do
			for _, bytes in ipairs(sent(default.derive(random.new(3, n), parent, {}, CONTEXT))) do
				local text = base64.decode(bytes:match "([%w+/]+=*)\r\n$" or "") or ""
				for _, word in ipairs(canary.find(text)) do
					assert.equal(canary.make(3, n, 1), word)
					seen = seen + 1
				end
			end
		end
		assert.is_true(seen > 100)
	end)

	it("forgets where its parent was read", function()
		local parent = assert(case.parse 'smtptest case 1\nconnect\nreply\nsend "NOOP\\r\\n"\nreply\n')
		for n = 1, 100 do
			local result = default.derive(random.new(1, n), parent, { parent }, CONTEXT)
			assert.is_nil(result.name)
			for _, step in ipairs(result) do assert.is_nil(step.line) end
		end
		assert.equal(2, parent[1].line)
	end)
end)
