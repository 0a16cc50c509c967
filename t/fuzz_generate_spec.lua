local base64 = require "smtptest.base64"
local canary = require "smtptest.fuzz.canary"
local case = require "smtptest.case"
local g = require "smtptest.fuzz.generate"
local random = require "smtptest.fuzz.random"

-- Many values of a generator
local function draws(one, count, seed)
	local list = {}
	for n = 1, count or 200 do list[n] = one:draw(random.new(seed or 1, n), n) end
	return list
end

-- The least value that a test holds for, by way of shrink
local function least(one, value, holds)
	local steps = 0
	while true do
		local better
		for simpler in one:shrink(value) do
			steps = steps + 1
			assert.is_true(steps < 20000)
			if holds(simpler) then
				better = simpler
				break
			end
		end
		if better == nil then return value end
		value = better
	end
end

describe("generate", function()
	it("draws the same for the same seed and number", function()
		local all = { g.mailbox(), g.parameters "MAIL", g.parameters "RCPT", g.command(), g.message(), g.bdat(), g.number(),
			g.integer(), g.bytes(), g.text(0, 40, true), g.verb(), g.domain(), g.smuggled(), g.base64(g.text()) }
		for _, one in ipairs(all) do assert.same(draws(one, 50), draws(one, 50)) end
		assert.same(draws(g.auth(), 50), draws(g.auth(), 50))
		assert.not_same(draws(g.command(), 50, 1), draws(g.command(), 50, 2))
	end)

	it("puts generators together", function()
		for _, value in ipairs(draws(g.sequence { "a", g.pick { "b", "c" }, g.optional "d" })) do
			assert.is_truthy(value:find "^a[bc]d?$")
		end
		for _, value in ipairs(draws(g.list("x", { min = 1, max = 3, separator = "," }))) do
			assert.is_truthy(({ x = true, ["x,x"] = true, ["x,x,x"] = true })[value])
		end
		for _, value in ipairs(draws(g.list(g.integer(1, 9), { min = 2, max = 2 }))) do assert.equal(2, #value) end
		for _, value in ipairs(draws(g.map(g.integer(0, 9), function(i) return i * 2 end))) do assert.equal(0, value % 2) end
		local seen = {}
		for _, value in ipairs(draws(g.weighted { { 1, "a" }, { 0, "b" }, { 3, g.constant "c" } })) do seen[value] = true end
		assert.same({ a = true, c = true }, seen)
	end)

	it("finds the edges of integers", function()
		local seen = {}
		for _, value in ipairs(draws(g.integer(), 3000)) do seen[value] = true end
		for _, edge in ipairs { 0, 1, -1, 512, 998, 1000, 2048, 1 << 31, (1 << 31) - 1, 1 << 32, math.maxinteger,
			math.mininteger } do assert.is_true(seen[edge], edge) end
		for _, value in ipairs(draws(g.integer(5, 600), 500)) do assert.is_true(value >= 5 and value <= 600) end
	end)

	it("shrinks to the least value", function()
		assert.equal(513, least(g.integer(0, 100000), 70000, function(v) return v >= 513 end))
		assert.equal(-7, least(g.integer(), -70000, function(v) return v <= -7 end))
		assert.equal(5, least(g.integer(5, 10), 9, function() return true end))
		assert.equal("a", least(g.pick { "a", "b", "c" }, "c", function() return true end))
		assert.equal("", least(g.optional "abc", "abc", function() return true end))
		assert.same({ 3 }, least(g.list(g.integer(0, 9)), { 1, 2, 3, 4, 5, 6 }, function(v)
			for _, i in ipairs(v) do
				if i == 3 then return true end
			end
			return false
		end))
		assert.equal("aaaa", least(g.bytes(4), "xyzxyzxyz", function() return true end))
		assert.equal(math.mininteger + 1, least(g.integer(), math.mininteger, function(v) return v < math.mininteger + 2 end))
		for _ in g.constant("x"):shrink "x" do error "nothing is simpler" end
	end)

	it("makes right mailboxes, with a canary", function()
		for _, value in ipairs(draws(g.mailbox { valid = true }, 500)) do
			assert.is_true(#canary.find(value) >= 1 or value:find '^"' ~= nil, value)
			local text = value:gsub("^@[^:]*:", "")
			local name, domain = text:match "^(.*)@([^@]*)$"
			assert.is_true(#name <= 64 and #name > 0, name)
			assert.is_truthy(name:find '^".*"$' or name:find "^[%w!#$%%&'*+/=?^_`{|}~.-]+$", name)
			assert.is_true(#domain <= 255 and (domain:find "%.test$" or domain:find "%.TEST$" or domain:find "%.invalid$"
				or domain:find "%.INVALID$" or domain:find "^%[.*%]$") ~= nil, domain)
		end
		local kinds = { '^"', "^@.-:", "%[IPv6:", "%[127", "\u{e9}", "b\u{fc}cher", ("a"):rep(63) }
		local all = table.concat(draws(g.mailbox { wide = true }, 3000), "\n")
		for _, kind in ipairs(kinds) do assert.is_truthy(all:find(kind) or all:find("\n" .. kind:gsub("^%^", "")), kind) end
	end)

	it("makes each parameter", function()
		local mail, rcpt = table.concat(draws(g.parameters "MAIL", 1000), "\n"), table.concat(draws(g.parameters "RCPT", 500), "\n")
		for word in ("SIZE= BODY=8BITMIME SMTPUTF8 RET= ENVID= AUTH= MT-PRIORITY= BY= HOLDFOR= REQUIRETLS"):gmatch "%S+" do
			assert.is_truthy(mail:find(" " .. word, 1, true), word)
		end
		assert.is_truthy(rcpt:find " NOTIFY=" and rcpt:find " ORCPT=" and rcpt:find " RRVS=")
	end)

	it("makes commands of one line", function()
		for _, value in ipairs(draws(g.command(), 500)) do assert.is_truthy(value:find "^[^\r\n]*\r\n$") end
	end)

	it("makes exchanges, whole, canceled, broken, too long", function()
		local all = {}
		for _, lines in ipairs(draws(g.auth(), 1000)) do
			assert.is_truthy(lines[1]:find "^AUTH [^\r\n]+\r\n$")
			for _, line in ipairs(lines) do assert.is_truthy(line:find "^[^\r\n]*\r\n$") end
			all[#all + 1] = table.concat(lines)
		end
		local text = table.concat(all, "\n")
		for _, part in ipairs { "AUTH PLAIN %S+\r", "AUTH PLAIN\r\n%S+\r", "\r\n%*\r\n", "AUTH %S+ =\r", "AUTH LOGIN\r\n%S+\r\n%S+\r\n",
			"AUTH SCRAM%-SHA%-256 %S+\r\n%S+\r\n", ("QUFB"):rep(128) } do assert.is_truthy(text:find(part), part) end
		for _, lines in ipairs(draws(g.auth { mechanisms = { "X" } }, 20)) do assert.is_truthy(lines[1]:find "^AUTH X[ \r]") end
	end)

	it("breaks base64 as often as told", function()
		for _, value in ipairs(draws(g.base64(g.text(), 0))) do assert.is_truthy(base64.decode(value)) end
		local broken = 0
		for _, value in ipairs(draws(g.base64(g.text(10, 20), 1000))) do
			if not base64.decode(value) then broken = broken + 1 end
		end
		assert.is_true(broken > 150, broken)
	end)

	it("makes messages that DATA's end doesn't stand in, unless it is meant to", function()
		for _, value in ipairs(draws(g.message(), 500)) do
			assert.is_nil(("\r\n" .. value):find("\r\n.\r\n", 1, true))
			assert.is_true(value == "" or value:sub(-2) == "\r\n")
		end
		for _, value in ipairs(draws(g.data_end())) do assert.not_equal("\r\n.\r\n", value) end
		for _, value in ipairs(draws(g.data_end(1000))) do assert.equal("\r\n.\r\n", value) end
		for _, value in ipairs(draws(g.smuggled())) do assert.equal("\r\n.\r\n", value:sub(-5)) end
	end)

	it("makes chunks of honest and of lying sizes", function()
		for _, value in ipairs(draws(g.bdat { honest = true })) do
			local size, chunk = value:match "^BDAT (%d+)[^\r]*\r\n(.*)$"
			assert.equal(#chunk, tonumber(size))
		end
		local seen = { less = 0, more = 0, odd = 0 }
		for _, value in ipairs(draws(g.bdat(), 500)) do
			local size, chunk = value:match "^BDAT (%d+)[^\r]*\r\n(.*)$"
			local kind = not size and "odd" or tonumber(size) < #chunk and "less" or tonumber(size) > #chunk and "more"
			if kind then seen[kind] = seen[kind] + 1 end
		end
		assert.is_true(seen.less > 20 and seen.more > 20 and seen.odd > 20)
	end)

	it("makes dialogues and cases that can be written and shrunk", function()
		for _, steps in ipairs(draws(g.dialogue { connection = "c3", max = 5 }, 50)) do
			for _, step in ipairs(steps) do assert.equal("c3", step.connection) end
			assert(case.parse(case.format(steps)))
		end
		local one = g.case { protocol = "smtp", tls = "none" }
		for n, steps in ipairs(draws(one, 20)) do
			assert.equal(case.format(steps), case.format(one:draw(random.new(1, n), n)))
		end
		local short = least(one, one:draw(random.new(1, 4), 4), function(steps)
			for _, step in ipairs(steps) do
				if step.bytes and step.bytes:find "^HELP" then return true end
			end
			return false
		end)
		assert.is_true(#short <= 3)
		assert.equal("connect", g.case(nil, "tuple"):draw(random.new(1, 1), 1)[1].step)
	end)
end)
