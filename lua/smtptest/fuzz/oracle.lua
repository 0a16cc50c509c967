--- oracle: what a server must not do. Each looks at one reply, or at the end of a connection or of a case.
--
-- A finding is {oracle, detail, verb, text, at, connection}: what is wrong in few words that do not change from run to
-- run, at the answer to which verb, a sentence, the ordinal of the case's step. Its signature is the first three.

local base64 = require "smtptest.base64"
local canary = require "smtptest.fuzz.canary"
local core = require "smtptest.core.reply"
local line = require "smtptest.core.line"

local oracle = {}

--- Their names, in the order of DESIGN's list.
oracle.names = { "death", "liveness", "hang", "drop", "syntax", "count", "split", "class", "state", "auth", "injection",
	"leak", "memory" }

--- The signature of a finding.
function oracle.signature(finding)
	return ("%s/%s/%s"):format(finding.oracle, finding.detail, finding.verb)
end

--- A set of names.
-- @param words  names between commas; "-NAME" takes one away from all; nil: all
-- @return {name = true} | nil, message
function oracle.set(words)
	local known, set, first = {}, {}, true
	for _, name in ipairs(oracle.names) do known[name] = true end
	for word in (words or ""):gmatch "[^,]+" do
		local minus, name = word:match "^%s*(%-?)(.-)%s*$"
		if not known[name] then
			return nil, ("no oracle '%s' (%s)"):format(name, table.concat(oracle.names, ", "))
		end
		if minus == "-" and first then
			for _, each in ipairs(oracle.names) do set[each] = true end
		end
		set[name], first = minus ~= "-" or nil, false
	end
	return first and known or set
end

-- ---------------------------------------------------------------- one reply

-- A bit for each flaw of the form; that of the enhanced code is another oracle's.
local FORM, CLASS = 0, 0
for i, name in ipairs(core.flaws) do
	if name == "enhanced-mismatch" then CLASS = 1 << i - 1 elseif name ~= "8bit" then FORM = FORM | 1 << i - 1 end
end

local function syntax(link, verb, answer)
	local flaws = answer.flaws & FORM
	if flaws == 0 or link.track.verbose then return nil end
	for i, name in ipairs(core.flaws) do
		if flaws & 1 << i - 1 ~= 0 then
			return name, ("the reply to %s is malformed (%s): %s"):format(verb, name, line.escape(answer.raw:sub(1, 200)))
		end
	end
end

local function class(_, verb, answer)
	if answer.flaws & CLASS == 0 or verb == "greeting" or verb == "EHLO" or verb == "LHLO" then return nil end
	local other = answer.raw:match("^%d%d%d[ -](%d)%.") or "another"
	if other == answer.raw:sub(1, 1) then other = "several codes" else other = other .. ".x.x" end
	return ("%dxx with %s"):format(answer.code // 100, other),
		("the enhanced code and the code disagree: %s"):format(line.escape(answer.raw:sub(1, 200)))
end

-- RFC 5321 section 4.1.4 and 3.3, RFC 3030 section 2, RFC 3207 section 4.2, RFC 4954 section 4. `before` is the
-- tracker, which has not heard of the reply yet.
local RULES = {
	MAIL = function(before, code, traits)
		if code // 100 ~= 2 then return nil end
		if before.mail then return "MAIL inside a transaction" end
		if traits.helo_required and not before.helo then return "MAIL without a greeting by name" end
	end,
	RCPT = function(before, code)
		if code // 100 == 2 and not before.mail then return "RCPT without MAIL" end
	end,
	DATA = function(before, code)
		if code == 354 and before.rcpts == 0 then return "DATA without a recipient" end
	end,
	BDAT = function(before, code)
		if code // 100 == 2 and before.rcpts == 0 then return "BDAT without a recipient" end
	end,
	STARTTLS = function(before, code)
		if code == 220 and before.tls then return "STARTTLS under TLS" end
	end,
	AUTH = function(before, code)
		if before.authed and not before.bogus and (code == 235 or code == 334) then return "AUTH after AUTH" end
	end,
}

local function state(link, verb, answer)
	local rule = RULES[verb]
	local track = link.track
	-- A further reply to a message is about one recipient (RFC 2033 section 4.2).
	if not rule or track.more > 0 or track.unsure or track.vague then return nil end
	local broken = rule(track, answer.code, link.target.traits)
	if broken then return broken, ("%s was accepted: %s"):format(broken, line.escape(answer.raw:sub(1, 200))) end
end

-- Whether what the client sent in an exchange had the password in it.
local function good(link, responses)
	local password = link.target.plan.password
	if type(password) ~= "string" then return false end
	for _, text in ipairs(responses) do
		for word in text:gmatch "%S+" do
			local bytes = base64.decode(word)
			if bytes and bytes:find(password, 1, true) then return true end
		end
	end
	return false
end

-- Mechanisms that ask for no secret (RFC 4505, RFC 4422 appendix A).
local OPEN = { ANONYMOUS = true, EXTERNAL = true }

local function auth(link, verb, answer)
	local code = answer.code
	if verb == "AUTH" then link.exchange = {} end
	if verb == "AUTH" or verb == "response" then
		if link.exchange then table.insert(link.exchange, link.track.line) end
		if code ~= 235 then return nil end
		local mechanism = link.exchange and link.exchange[1] and link.exchange[1]:match "^%a+%s+(%S+)"
		if mechanism and OPEN[mechanism:upper()] or good(link, link.exchange or {}) then
			link.legitimate = true
			return nil
		end
		link.track.bogus = true
		return "235", "AUTH succeeded without good credentials"
	end
	if link.legitimate or code // 100 ~= 2 or link.track.unsure then return nil end
	local traits = link.target.traits
	if verb == "MAIL" and traits.needs_auth then
		return "MAIL", "MAIL was accepted without AUTH, which this server asks for"
	elseif verb == "RCPT" and traits.no_relay and link.track.line:lower():find("@relay.invalid", 1, true) then
		return "relay", "relaying was allowed without AUTH"
	end
end

-- What another connection alone has said. Of the case's own connections each has canaries of its own.
local function leak(link, _, answer)
	for _, found in ipairs(canary.find(answer.raw)) do
		if not link:has_sent(found) then
			return "another session", ("a reply shows what only another session has said (%s)"):format(found), found
		end
	end
end

-- With what each is about: flaws of the form, verbs, a pattern. Most replies are about nothing.
local EACH = {
	{ "syntax", syntax, flaws = true }, { "class", class, flaws = true }, { "state", state, verbs = RULES },
	{ "auth", auth, verbs = { AUTH = true, response = true, MAIL = true, RCPT = true } },
	{ "leak", leak, pattern = "[zZ][qQ]" },
}

--- The checks of one reply.
-- @param set  as set() gives it
-- @return list of {name, function(link, verb, answer) → detail, text | nil}, with `flaws` (true: where the reply has
--   flaws), `verbs` (set) or `pattern` where it is only about such replies; `sound`: verb → those of them that are
--   about a reply without flaws
function oracle.of_reply(set)
	local list = {}
	for _, each in ipairs(EACH) do
		if set[each[1]] then list[#list + 1] = each end
	end
	list.sound = setmetatable({}, { __index = function(sound, verb)
		local few = {}
		for _, each in ipairs(list) do
			if not each.flaws and (not each.verbs or each.verbs[verb]) then few[#few + 1] = each end
		end
		sound[verb] = few
		return few
	end })
	return list
end

-- ---------------------------------------------------------------- two connections with the same bytes

-- Codes that a server may give at any time.
local ANY_TIME = { [421] = true }

-- A server without CHUNKING answers BDAT as it likes.
local function compare(a, b)
	for i = 1, math.min(#a, #b) do
		local one, two = a[i], b[i]
		if one.key ~= two.key then return nil end
		if one.code ~= two.code and not ANY_TIME[one.code] and not ANY_TIME[two.code] then
			-- Some commands may only be the last of a group (RFC 2920 section 3.1).
			if one.grouped and one.code == 554 or two.grouped and two.code == 554 then return nil end
			if one.verb ~= two.verb and (one.code // 10 == 50 or two.code // 10 == 50) then return nil end
			return one, two
		end
	end
end

-- How a session begins, TLS or not.
local BEGINNING = { EHLO = true, LHLO = true, STARTTLS = true }
-- What may be another thing under TLS.
local OF_TLS = { STARTTLS = true, AUTH = true }

-- The units behind the greetings, up to what TLS may change; none where it was not greeted last.
local function behind_greeting(units)
	local list, i = {}, 1
	while units[i] and BEGINNING[units[i].verb] do i = i + 1 end
	local last = units[i - 1]
	if not last or last.verb == "STARTTLS" or last.code ~= 250 then return list end
	while units[i] and not OF_TLS[units[i].verb] and units[i].code ~= 530 do
		list[#list + 1], i = units[i], i + 1
	end
	return list
end

-- The units of two connections, so that they can be compared.
local function units_of(one, two)
	if one.track.tls == two.track.tls then return one.units, two.units end
	return behind_greeting(one.units), behind_greeting(two.units)
end

--- Split invariance (RFC 5321 section 4.1.1, RFC 3030 section 3): the same bytes get the same codes, however they are
-- cut into segments, in clear or under TLS, and the same message, whether by DATA or BDAT.
-- @param links  connections of one case with their `units`
-- @return finding | nil
function oracle.twins(links)
	for i = 1, #links do
		for j = i + 1, #links do
			local one, two
			if not links[i].track.unsure and not links[j].track.unsure then
				one, two = compare(units_of(links[i], links[j]))
			end
			if one then
				return { oracle = "split", detail = "codes", verb = one.verb, at = math.max(one.at, two.at),
					connection = links[j].name,
					text = ("%s: the same bytes got %d on %s and %d on %s"):format(one.verb, one.code, links[i].name, two.code,
						links[j].name) }
			end
		end
	end
end

return oracle
