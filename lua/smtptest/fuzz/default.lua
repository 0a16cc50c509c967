--- default: the generator of --fuzz. Each case is of one kind, each kind walks through its space without repetition.
--
-- Which kind case n is, and which of its kind, follows from n alone: a round has a fixed number of each.

local base64 = require "smtptest.base64"
local behind = require "smtptest.fuzz.behind"
local body = require "smtptest.fuzz.body"
local canary = require "smtptest.fuzz.canary"
local covered = require "smtptest.fuzz.covered"
local dialogue = require "smtptest.fuzz.dialogue"
local keyword = require "smtptest.fuzz.keyword"
local leak = require "smtptest.fuzz.leak"
local login = require "smtptest.fuzz.login"
local mutate = require "smtptest.fuzz.mutate"
local secure = require "smtptest.fuzz.secure"
local segment = require "smtptest.fuzz.segment"
local talk = require "smtptest.fuzz.talk"
local tuple = require "smtptest.fuzz.tuple"
local walk = require "smtptest.fuzz.walk"

local default = {}

--- The kinds of cases by name: function(talk, index within the kind).
default.kinds = {
	tuple = tuple.draw, length = walk.lengths, byte = walk.bytes, ending = walk.line_ends, repeated = walk.repeats,
	split = segment.splits, pair = segment.pairs, group = segment.groups, login = login.draw, cancel = login.cancel,
	secure = secure.draw, smuggle = body.smuggle, twice = body.twice, lie = body.lies, leak = leak.draw,
	keyword = keyword.draw, dialogue = dialogue.draw, behind = behind.draw,
	covered = covered.draw,
}

-- A round.
local ROUND = {}
for word in ([[
	tuple length leak byte tuple pair behind dialogue length keyword tuple split byte ending length tuple login byte
	smuggle tuple length repeated secure behind byte dialogue keyword lie tuple length cancel group tuple length split
	byte leak twice covered tuple pair ending length behind leak tuple dialogue cancel byte]]):gmatch "%S+" do
	ROUND[#ROUND + 1] = word
end

-- By place in the round: how many of its kind stand before it; and by kind how many there are
local BEFORE, TOTAL = {}, {}
for i, kind in ipairs(ROUND) do
	BEFORE[i] = TOTAL[kind] or 0
	TOTAL[kind] = BEFORE[i] + 1
end

--- How many cases of each kind a round has, and how many in all.
default.round, default.shares = #ROUND, TOTAL

--- What case n is, without a corpus.
-- @return kind, index within it
function default.kind(n)
	local round, place = n // #ROUND, n % #ROUND + 1
	local kind = ROUND[place]
	return kind, round * TOTAL[kind] + BEFORE[place]
end

-- With a corpus every third case comes from it; the others keep their order.
local THIRD = 3

-- A text with the canaries of another case; those in a line of base64 too.
local function renew(text, random, known)
	local before = text:match "^[Aa][Uu][Tt][Hh] %S+ " or ""
	local token, past = text:match("^([%w+/]+=*)(\r\n)$", #before + 1)
	local inner = token and #token >= 16 and base64.decode(token)
	local other = inner and canary.renew(inner, random.seed, random.n, known)
	if other and other ~= inner then text = before .. base64.encode(other) .. past end
	return canary.renew(text, random.seed, random.n, known)
end

local function renewed(case, random)
	local known = {}
	for i, step in ipairs(case) do
		local bytes = step.bytes and renew(step.bytes, random, known)
		local parts
		for k, part in ipairs(step.parts or {}) do
			local text = type(part) == "string" and renew(part, random, known)
			if text and text ~= part then
				parts = parts or table.move(step.parts, 1, #step.parts, 1, {})
				parts[k] = text
			end
		end
		if parts or bytes ~= step.bytes then
			local copy = {}
			for key, value in pairs(step) do copy[key] = value end
			copy.bytes, copy.parts = bytes, parts or step.parts
			case[i] = copy
		end
	end
	return case
end

--- Another case from one: changed in a few ways, its canaries those of (seed, n) of `random`.
-- @param case    isn't changed; its steps may be shared with the result
-- @param corpus  others that it may be crossed with, or nil
function default.derive(random, case, corpus, context)
	-- Before, so that what is encoded is still whole; and behind, for what another case gave.
	local own = renewed(table.move(case, 1, #case, 1, {}), random)
	local result = renewed(mutate.any(random, own, corpus, context), random)
	-- Where it was read from says nothing about it any more.
	for i, step in ipairs(result) do
		if step.line then
			local copy = {}
			for key, value in pairs(step) do copy[key] = value end
			copy.line = nil
			result[i] = copy
		end
	end
	return result
end

--- Draws case n.
-- @param random   of smtptest.fuzz.random, made for n
-- @param n        its number, from 0 on
-- @param corpus   list of cases, sorted; not changed
-- @param context  {from=, to=, mechanisms=, protocol=, tls=, credentials=}: what the plan says
-- @return case: a list of steps as smtptest.case.parse gives it
function default.draw(random, n, corpus, context)
	local number = n
	if corpus and corpus[1] then
		if n % THIRD == THIRD - 1 then
			local parent = corpus[n // THIRD % #corpus + 1]
			return default.derive(random, parent, corpus, context)
		end
		number = n - (n + 1) // THIRD
	end
	local kind, index = default.kind(number)
	local self = talk.new(random, n, context or {})
	default.kinds[kind](self, index)
	return self.steps
end

return default
