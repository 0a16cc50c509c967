local canary = require "smtptest.fuzz.canary"
local case = require "smtptest.case"
local command = require "smtptest.fuzz.command"
local default = require "smtptest.fuzz.default"
local random = require "smtptest.fuzz.random"
local segment = require "smtptest.fuzz.segment"
local talk = require "smtptest.fuzz.talk"
local tuple = require "smtptest.fuzz.tuple"
local unit = require "smtptest.fuzz.unit"
local walk = require "smtptest.fuzz.walk"

local PLAIN = { protocol = "smtp", tls = "none" }
local CONTEXTS = { PLAIN, { protocol = "lmtp", tls = "none" },
	{ protocol = "smtp", tls = "starttls", credentials = true, mechanisms = { "SCRAM-SHA-1", "PLAIN" } },
	{ protocol = "smtp", tls = "implicit", from = "from@example.com", to = { "to@example.com", "also@example.com" } } }

local function draw(seed, n, context, corpus)
	return default.draw(random.new(seed, n), n, corpus or {}, context or PLAIN)
end

-- Read back, without what the text adds
local function read(text)
	local self = assert(case.parse(text))
	self.name = nil
	for _, step in ipairs(self) do step.line = nil end
	return self
end

local function digest(first, last, step, context, corpus)
	local hashes = {}
	for n = first, last, step do hashes[n] = random.hash(case.format(draw(5, n, context, corpus))) end
	local sum = 0
	for n = math.min(first, last), math.max(first, last) do sum = (sum ~ hashes[n]) * 0x100000001b3 end
	return ("%016x"):format(sum)
end

local function corpus()
	local list = {}
	for n = 0, 9 do list[#list + 1] = read(case.format(draw(77, n * 7))) end
	return list
end

describe("default.draw", function()
	it("gives the same cases everywhere, in any order", function()
		assert.equal("627e854632ca6f6e", digest(0, 999, 1))
		assert.equal("627e854632ca6f6e", digest(999, 0, -1))
		local frozen = corpus()
		assert.equal(digest(0, 299, 1, CONTEXTS[3], frozen), digest(299, 0, -1, CONTEXTS[3], corpus()))
	end)

	it("gives what a case file can hold", function()
		for i, context in ipairs(CONTEXTS) do
			local frozen = i % 2 == 0 and corpus() or {}
			for n = 0, 199 do
				local self = draw(i, n, context, frozen)
				local text = case.format(self)
				if n % 8 < 3 then assert.same(self, read(text)) end
				assert.equal(text, case.format(read(text)))
				assert.equal("connect", self[1].step)
				assert.equal("reply", self[2].step)
			end
		end
	end)

	it("leaves the corpus as it is", function()
		local frozen, before = corpus(), {}
		for i, one in ipairs(frozen) do before[i] = case.format(one) end
		for n = 0, 999 do draw(1, n, CONTEXTS[3], frozen) end
		for i, one in ipairs(frozen) do assert.equal(before[i], case.format(one)) end
		assert.same(corpus(), frozen)
	end)

	it("names only its own canaries, those of each connection on it", function()
		local frozen = corpus()
		for n = 0, 999 do
			local kind = default.kind(n)
			for _, step in ipairs(draw(3, n, PLAIN, n % 2 == 0 and frozen or nil)) do
				for _, word in ipairs(canary.find(step.bytes or "")) do
					local number, connection = canary.origin(word)
					assert.equal(n, number, kind)
					assert.equal(canary.make(3, n, connection), word)
				end
			end
		end
	end)

	it("sends to nobody who could get it, unless told", function()
		for n = 0, 499 do
			for _, step in ipairs(draw(3, n)) do
				for domain in (step.bytes or ""):lower():gmatch "to:<[%w.]+@([%w.-]+)>" do
					assert.is_truthy(domain:find "%.test%.?$" or domain:find "%.invalid$" or not domain:find "%.%a+$", domain)
				end
			end
		end
	end)

	it("uses the addresses that it is told in about half of the cases", function()
		local with, all = 0, 0
		for n = 0, 999 do
			local text = case.format(draw(3, n, CONTEXTS[4]))
			if text:find "RCPT TO:" then
				all = all + 1
				if text:find("o@example.com", 1, true) then with = with + 1 end
			end
		end
		assert.is_true(with > all * 35 // 100 and with < all * 60 // 100, with .. "/" .. all)
	end)

	it("walks through each kind without a gap", function()
		local next_of = {}
		for n = 0, 5 * default.round - 1 do
			local kind, index = default.kind(n)
			assert.equal(next_of[kind] or 0, index)
			next_of[kind] = index + 1
		end
	end)
end)

describe("tuple", function()
	it("has every four of its commands in a row within its first pass", function()
		local seen, count = {}, 0
		for index = 0, tuple.first_pass - 1 do
			local names = tuple.names(9, index)
			for i = 1, #names - 3 do
				local key = table.concat(names, " ", i, i + 3)
				if not seen[key] then
					seen[key] = true
					count = count + 1
				end
			end
		end
		assert.equal(14641, count)
	end)
end)

describe("walk", function()
	it("reaches every length once, evenly", function()
		local seen = {}
		for index = 0, 2047 do
			local length = walk.length(4, index)
			assert.is_true(length >= 1 and length <= 2048)
			assert.is_nil(seen[length])
			seen[length] = true
			if index == 127 then
				for first = 1, 2048, 16 do
					local hit = false
					for i = first, first + 15 do hit = hit or seen[i] end
					assert.is_true(hit)
				end
			end
		end
	end)

	it("says every command with every byte, and with a length in every sixteen, within some hundred cases", function()
		local bytes, lengths = {}, {}
		local function note(set, pattern, line, size)
			for i, one in ipairs(command.walk) do
				local prefix, suffix = one.write:match "^(.-)%%s(.*)$"
				if line:sub(1, #prefix) == prefix and (prefix ~= "" or not line:find "^%u") and line:find(suffix, 1, true) then
					local argument = line:sub(#prefix + 1, #line - #suffix)
					local value = pattern and argument:match(pattern) or size and (#argument - 1) // 16
					if value then set[i .. " " .. value] = true end
				end
			end
		end
		local function count(set)
			local number = 0
			for _ in pairs(set) do number = number + 1 end
			return number
		end
		for index = 0, 470 do
			for _, kind in ipairs { "byte", "length" } do
				local self = talk.new(random.new(1, index), index, PLAIN)
				default.kinds[kind](self, index)
				for _, step in ipairs(self.steps) do
					if step.step == "send" and step.bytes:find "\r\n$" then
						local line = step.bytes:sub(1, -3)
						if kind == "byte" then
							note(bytes, "^zq%w%w%w%w%w%w%w%w%w%w(.)$", line)
						else
							note(lengths, nil, line, true)
						end
					end
				end
			end
		end
		assert.is_true(count(bytes) >= 254 * #command.walk, count(bytes))
		assert.is_true(count(lengths) >= 128 * #command.walk, count(lengths))
	end)
end)

-- The sends of a kind's first cases: calls fn(bytes, step, steps, index of the step)
local function sends(kind, count, context, fn)
	for index = 0, count - 1 do
		local self = talk.new(random.new(1, index), index, context)
		default.kinds[kind](self, index)
		for i, step in ipairs(self.steps) do
			if step.step == "send" then fn(step.bytes, step, self.steps, i) end
		end
	end
end

local function size(set)
	local number = 0
	for _ in pairs(set) do number = number + 1 end
	return number
end

describe("default.kinds", function()
	it("joins every pair of commands", function()
		local pairs_seen = {}
		sends("pair", 22, PLAIN, function(bytes, step)
			local before
			for verb in bytes:gmatch "(%S*)[^\r\n]*\r\n" do
				verb = verb:gsub("^ZQ.*", "X")
				if before and step.connection == "c2" then pairs_seen[before .. " " .. verb] = true end
				before = verb
			end
		end)
		for _, one in ipairs(tuple.symbols) do
			for _, two in ipairs(tuple.symbols) do
				if one ~= "DATA" then assert.is_true(pairs_seen[one .. " " .. two], one .. " " .. two) end
			end
		end
	end)

	it("cuts every command at every place, its twin in lockstep", function()
		local places = {}
		sends("split", segment.ways, PLAIN, function(bytes, step)
			if step.split then places[bytes:match "^%a*" .. " " .. step.split[1]] = true end
			assert.is_true(step.connection == "c2" or not step.split)
			assert.is_true((step.gap or 0) <= 0.02)
		end)
		for _, verb in ipairs { "EHLO", "NOOP", "VRFY", "EXPN", "MAIL", "RCPT", "HELO", "QUIT", "DATA" } do
			for place = 1, 4 do assert.is_true(places[verb .. " " .. place], verb .. " " .. place) end
		end
	end)

	it("gives twins the same bytes", function()
		for _, kind in ipairs { "split", "pair", "group" } do
			for index = 0, 59 do
				local self = talk.new(random.new(1, index), index, CONTEXTS[3])
				default.kinds[kind](self, index)
				assert.same({ c1 = { "c2" }, c2 = { "c1" } }, unit.twins(self.steps))
			end
		end
	end)

	it("cancels common mechanisms behind every command, and says each command with each wrong end", function()
		local behind, ends = {}, {}
		sends("cancel", 70, PLAIN, function(bytes, _, steps, i)
			local mechanism = bytes:match "^AUTH (%S+)"
			local canceled = mechanism and (steps[i + 2].bytes == "*\r\n" or (steps[i + 4] or {}).bytes == "*\r\n")
			if canceled then
				behind[(steps[i - 2].bytes or ""):match "^%S*" .. " " .. mechanism] = true
			end
		end)
		for _, verb in ipairs { "EHLO", "NOOP", "RSET", "VRFY", "HELP", "HELO" } do
			for _, mechanism in ipairs { "PLAIN", "LOGIN", "CRAM-MD5" } do
				assert.is_true(behind[verb .. " " .. mechanism], verb .. " " .. mechanism)
			end
		end
		sends("ending", #command.walk, PLAIN, function(bytes)
			local verb, ending = bytes:match "^(%u+)[^\r\n]-([\r\n]+)$"
			if verb then ends[verb .. ending] = true end
		end)
		for _, verb in ipairs { "MAIL", "RCPT", "NOOP", "VRFY", "HELP", "EXPN", "RSET", "EHLO" } do
			assert.is_true(ends[verb .. "\n"] and ends[verb .. "\r"], verb)
		end
	end)

	it("asks for what another session left", function()
		local asked = {}
		sends("leak", 40, PLAIN, function(bytes, step)
			local number = canary.find(bytes)[1]
			if number then
				assert.equal(step.connection, "c" .. select(2, canary.origin(number)))
			end
			if step.connection == "c2" then asked[bytes:match "^%u*" .. #bytes // 50] = true end
		end)
		assert.is_true(size(asked) > 60, size(asked))
	end)

	it("tries what only this server names", function()
		local late = 0
		for index = 0, 23 do
			local self = talk.new(random.new(1, index), index, PLAIN)
			default.kinds.keyword(self, index)
			local bound = {}
			for _, step in ipairs(self.steps) do
				if step.step == "var" then bound[step.name] = step.pattern end
				for _, part in ipairs(step.parts or {}) do
					if type(part) == "table" then
						assert.is_truthy(bound[part.var])
						late = late + 1
					end
				end
			end
			if index == 0 then
				local text = "a.test\nSIZE 5\nAUTH=PLAIN LOGIN"
				assert.equal("SIZE", text:match(bound.KW1))
				assert.equal("5", text:match(bound.KV1))
				assert.equal("AUTH", text:match(bound.KW2))
				assert.equal("PLAIN", text:match(bound.KV2))
			end
		end
		assert.is_true(late > 200)
	end)
end)
