-- What a server must not do: each rule on replies that break it, and on those that do not.

local core = require "smtptest.core.reply"
local canary = require "smtptest.fuzz.canary"
local base64 = require "smtptest.base64"
local oracle = require "smtptest.fuzz.oracle"

local function sorted(set)
	local list = {}
	for name in pairs(set) do list[#list + 1] = name end
	table.sort(list)
	return table.concat(list, " ")
end

-- A connection in a state.
local function link(fields)
	local one = { track = { helo = true, mail = false, rcpts = 0, more = 0, line = "" }, target = { traits = {}, plan = {} },
		has_sent = function() return false end }
	for name, value in pairs(fields or {}) do
		local place = one.target[name] and one.target or one
		if type(value) == "table" and place[name] then
			for key, each in pairs(value) do place[name][key] = each end
		else
			place[name] = value
		end
	end
	return one
end

-- What one oracle says of a reply.
local function judge(name, verb, raw, fields)
	local _, code, flaws = core.scan(raw)
	local check = assert(oracle.of_reply { [name] = true }[1], name)
	return check[2](fields and fields.target and fields or link(fields), verb, { raw = raw, code = code, flaws = flaws })
end

describe("oracle.set", function()
	local ALL = "auth class count death drop hang injection leak liveness memory split state syntax"

	it("is all where nothing is said", function()
		assert.equal(ALL, sorted(oracle.set()))
		assert.equal(ALL, sorted(oracle.set ""))
		assert.equal(13, #oracle.names)
	end)

	it("is what is named", function()
		assert.equal("count drop", sorted(oracle.set "drop,count"))
		assert.equal("count drop", sorted(oracle.set " drop , count,drop"))
	end)

	it("is all but what is named with a minus", function()
		assert.equal((ALL:gsub("memory ", "")), sorted(oracle.set "-memory"))
		assert.equal((ALL:gsub("memory ", ""):gsub("auth ", "")), sorted(oracle.set "-memory,-auth"))
		assert.equal("count", sorted(oracle.set "count,drop,-drop"))
	end)

	it("refuses another name", function()
		for _, words in ipairs { "x", "drop,x", "-x", "Drop", "--drop", "-" } do
			local set, message = oracle.set(words)
			assert.is_nil(set, words)
			assert.is_truthy(message:find("^no oracle '.*' %(death, liveness"), message)
		end
	end)
end)

describe("oracle.of_reply", function()
	it("has those of the set that look at replies", function()
		local names = {}
		for i, each in ipairs(oracle.of_reply(oracle.set())) do names[i] = each[1] end
		assert.same({ "syntax", "class", "state", "auth", "leak" }, names)
		assert.equal(0, #oracle.of_reply { death = true })
	end)

	it("knows those that are about a reply without flaws", function()
		local function sound(verb)
			local names = {}
			for i, each in ipairs(oracle.of_reply(oracle.set()).sound[verb]) do names[i] = each[1] end
			return table.concat(names, " ")
		end
		assert.equal("state auth leak", sound "MAIL")
		assert.equal("state leak", sound "DATA")
		assert.equal("leak", sound "NOOP")
	end)
end)

describe("the oracle syntax", function()
	for raw, detail in pairs { ["25 a\r\n"] = "bad-code", ["250-a\r\n251 b\r\n"] = "mixed-codes",
		["250 " .. ("x"):rep(600) .. "\r\n"] = "long-line", ["250 a\n"] = "bare-lf", ["250 a\rb\r\n"] = "bare-cr",
		["250 a\0\r\n"] = "nul", ["250 \1\r\n"] = "control" } do
		it("sees " .. detail, function()
			local found, text = judge("syntax", "NOOP", raw)
			assert.equal(detail, found)
			assert.is_truthy(text:find("the reply to NOOP is malformed (" .. detail .. "): ", 1, true))
			assert.is_true(#text < 1000)
		end)
	end

	it("has nothing against what is well formed, or class's, or UTF-8", function()
		for _, raw in ipairs { "250 ok\r\n", "250-a\r\n250 b\r\n", "250 5.1.1 a\r\n", "250 \xc3\xa9\r\n", "354\r\n" } do
			assert.is_nil(judge("syntax", "NOOP", raw))
		end
	end)
end)

describe("the oracle class", function()
	it("sees an enhanced code of another class", function()
		assert.equal("2xx with 5.x.x", (judge("class", "MAIL", "250 5.1.0 a\r\n")))
		assert.equal("5xx with 4.x.x", (judge("class", "RCPT", "550-4.1.0 a\r\n550 4.1.0 b\r\n")))
		assert.equal("2xx with several codes", (judge("class", "NOOP", "250-2.0.0 a\r\n250 2.1.0 b\r\n")))
	end)

	it("has nothing against what agrees, and what may look like one", function()
		assert.is_nil(judge("class", "MAIL", "250 2.1.0 a\r\n"))
		assert.is_nil(judge("class", "MAIL", "250 a\r\n"))
		for _, verb in ipairs { "greeting", "EHLO", "LHLO" } do
			assert.is_nil(judge("class", verb, "250 5.1.0 a\r\n"))
		end
	end)
end)

-- verb, reply, state, what is wrong (or nil)
local STATES = {
	{ "MAIL", 250, { mail = true }, "MAIL inside a transaction" }, { "MAIL", 503, { mail = true } }, { "MAIL", 250, {} },
	{ "MAIL", 250, { helo = false } },
	{ "RCPT", 250, {}, "RCPT without MAIL" }, { "RCPT", 251, {}, "RCPT without MAIL" }, { "RCPT", 550, {} },
	{ "RCPT", 250, { mail = true } },
	{ "DATA", 354, { mail = true }, "DATA without a recipient" }, { "DATA", 354, { mail = true, rcpts = 1 } },
	{ "DATA", 503, {} }, { "DATA", 250, {} },
	{ "BDAT", 250, {}, "BDAT without a recipient" }, { "BDAT", 503, {} }, { "BDAT", 250, { mail = true, rcpts = 1 } },
	{ "STARTTLS", 220, { tls = true }, "STARTTLS under TLS" }, { "STARTTLS", 503, { tls = true } },
	{ "STARTTLS", 220, {} },
	{ "AUTH", 235, { authed = true }, "AUTH after AUTH" }, { "AUTH", 334, { authed = true }, "AUTH after AUTH" },
	{ "AUTH", 503, { authed = true } }, { "AUTH", 334, {} }, { "NOOP", 250, {} },
}

describe("the oracle state", function()
	for _, one in ipairs(STATES) do
		local verb, code, state, detail = one[1], one[2], one[3], one[4]
		it(("says %s of %d to %s, {%s}"):format(detail or "nothing", code, verb, sorted(state)), function()
			assert.equal(detail, (judge("state", verb, code .. " x\r\n", { track = state })))
		end)
		if detail then
			it(("does not guess: %s"):format(detail), function()
				state.unsure = true
				assert.is_nil(judge("state", verb, code .. " x\r\n", { track = state }))
				state.unsure, state.vague = nil, true
				assert.is_nil(judge("state", verb, code .. " x\r\n", { track = state }))
				state.vague = nil
			end)
		end
	end

	it("says MAIL without EHLO only of a server that asks for it", function()
		local state = { track = { helo = false }, traits = { helo_required = true } }
		assert.equal("MAIL without a greeting by name", (judge("state", "MAIL", "250 x\r\n", state)))
		assert.is_nil(judge("state", "MAIL", "503 x\r\n", state))
	end)
end)

describe("the oracle auth", function()
	-- Says lines and hears codes → what it says of the last one
	local function exchange(one, ...)
		local words = { ... }
		local detail
		for i = 1, #words, 2 do
			one.track.line = words[i]
			detail = judge("auth", i == 1 and "AUTH" or "response", words[i + 1] .. " x\r\n", one)
		end
		return detail
	end

	it("sees success without the password", function()
		assert.equal("235", exchange(link { plan = { password = "p4ss" } }, "AUTH PLAIN AAAA", 235))
		assert.equal("235", exchange(link(), "AUTH LOGIN", 334, "AAAA", 334, "*", 235))
		local other = base64.encode "\0alice\0wrong"
		assert.equal("235", exchange(link { plan = { password = "p4ss" } }, "AUTH PLAIN " .. other, 235))
	end)

	it("has nothing against success with it, and refusals", function()
		local good = base64.encode "\0alice\0p4ss"
		local one = link { plan = { password = "p4ss" } }
		assert.is_nil(exchange(one, "AUTH PLAIN " .. good, 235))
		assert.is_true(one.legitimate)
		assert.is_nil(exchange(link { plan = { password = "p4ss" } }, "AUTH LOGIN", 334, base64.encode "alice", 334,
			base64.encode "p4ss", 235))
		assert.is_nil(exchange(link(), "AUTH PLAIN AAAA", 535))
		assert.is_nil(exchange(link(), "AUTH PLAIN AAAA", 334))
	end)

	it("has nothing against mechanisms that ask for no secret", function()
		assert.is_nil(exchange(link(), "AUTH ANONYMOUS AAAA", 235))
		assert.is_nil(exchange(link(), "auth external =", 235))
	end)

	it("asks for this password of each exchange, not for one before", function()
		local one = link { plan = { password = "p4ss" } }
		assert.is_nil(exchange(one, "AUTH PLAIN " .. base64.encode "\0alice\0p4ss", 535))
		assert.equal("235", exchange(one, "AUTH PLAIN AAAA", 235))
	end)

	it("sees MAIL without AUTH where calibration was told 530", function()
		assert.equal("MAIL", (judge("auth", "MAIL", "250 x\r\n", { traits = { needs_auth = true } })))
		assert.is_nil(judge("auth", "MAIL", "250 x\r\n", {}))
		assert.is_nil(judge("auth", "MAIL", "530 x\r\n", { traits = { needs_auth = true } }))
		assert.is_nil(judge("auth", "MAIL", "250 x\r\n", { traits = { needs_auth = true }, legitimate = true }))
	end)

	it("sees relaying where calibration was refused it", function()
		local function rcpt(line, code, no_relay)
			return (judge("auth", "RCPT", code .. " x\r\n", { traits = { no_relay = no_relay }, track = { line = line } }))
		end
		assert.equal("relay", rcpt("RCPT TO:<a@relay.invalid>", 250, true))
		assert.equal("relay", rcpt("rcpt to:<a@RELAY.invalid>", 250, true))
		assert.is_nil(rcpt("RCPT TO:<a@relay.invalid>", 550, true))
		assert.is_nil(rcpt("RCPT TO:<a@relay.invalid>", 250, false))
		assert.is_nil(rcpt("RCPT TO:<a@recipient.test>", 250, true))
	end)
end)

describe("the oracle leak", function()
	local mine, other = canary.make(1, 1, 1), canary.make(1, 2, 1)
	local sender = { has_sent = function(_, text) return text == mine end }

	it("sees what another session has said, whatever its case", function()
		for _, text in ipairs { other, other:upper() } do
			local detail, _, word = judge("leak", "NOOP", ("250 <%s@x.test>\r\n"):format(text), sender)
			assert.same({ "another session", other }, { detail, word:lower() })
		end
	end)

	it("has nothing against our own words, and those that nobody has made", function()
		assert.is_nil(judge("leak", "NOOP", ("250 %s\r\n"):format(mine), sender))
		assert.is_nil(judge("leak", "NOOP", "250 zqzqzqzqzqzq\r\n", sender))
		assert.is_nil(judge("leak", "NOOP", "250 ok\r\n", sender))
	end)
end)

describe("the oracle split", function()
	local function units(name, ...)
		local list = { name = name, units = {}, track = {} }
		for i, unit in ipairs { ... } do list.units[i] = { key = unit[1], code = unit[2], verb = unit[3] or unit[1], at = i } end
		return list
	end

	it("sees another code for the same bytes", function()
		local finding = oracle.twins { units("c1", { "NOOP", 250 }, { "RSET", 250 }), units("c2", { "NOOP", 250 },
			{ "RSET", 500 }) }
		assert.equal("split/codes/RSET", oracle.signature(finding))
		assert.equal("RSET: the same bytes got 250 on c1 and 500 on c2", finding.text)
		assert.equal("c2", finding.connection)
	end)

	it("looks at every two", function()
		assert.is_truthy(oracle.twins { units("c1", { "X", 500 }), units("c2", { "NOOP", 250 }), units("c3", { "NOOP", 500 }) })
	end)

	it("has nothing against other bytes, less of them, and 421 at any time", function()
		assert.is_nil(oracle.twins { units("c1", { "NOOP", 250 }), units("c2", { "NOOP", 250 }) })
		assert.is_nil(oracle.twins { units("c1", { "NOOP", 250 }), units("c2", { "HELP", 500 }) })
		assert.is_nil(oracle.twins { units("c1", { "NOOP", 250 }), units("c2") })
		assert.is_nil(oracle.twins { units("c1", { "A", 1 }, { "NOOP", 250 }), units("c2", { "B", 2 }, { "NOOP", 500 }) })
		assert.is_nil(oracle.twins { units("c1", { "NOOP", 250 }), units("c2", { "NOOP", 421 }) })
		assert.is_nil(oracle.twins {})
	end)

	it("has nothing against a server that knows only one of DATA and BDAT", function()
		assert.is_nil(oracle.twins { units("c1", { "message:x", 250, "message" }), units("c2", { "message:x", 502, "BDAT" }) })
		assert.is_truthy(oracle.twins { units("c1", { "message:x", 250, "message" }),
			units("c2", { "message:x", 554, "BDAT" }) })
	end)
end)
