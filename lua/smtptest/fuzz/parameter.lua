--- parameter: generators of the parameters of MAIL and RCPT, and of whole commands.

local dictionary = require "smtptest.fuzz.dictionary"
local generator = require "smtptest.fuzz.generator"
local mailbox = require "smtptest.fuzz.mailbox"

local parameter = {}

local number = generator.number()
local xtext = generator.weighted {
	{ 4, generator.bytes(0, 100, "abcdefghijklmnopqrstuvwxyz0123456789") },
	{ 1, generator.pick { "+", "+2", "+20", "+zz", "+00", "+0D+0A", "a+3Db", "\u{e9}", "=", "\0", "\255" } },
	{ 1, generator.bytes(900, 2048, "a+20") },
}

-- By name of the parameter: its value; false: it has none
local MAIL = {
	{ "SIZE", number }, { "BODY", generator.pick { "7BIT", "8BITMIME", "BINARYMIME", "7bit", "8BIT", "" } },
	{ "SMTPUTF8", false }, { "RET", generator.pick { "FULL", "HDRS", "full", "NONE", "", "FULL,HDRS" } },
	{ "ENVID", xtext }, { "AUTH", generator.one_of { "<>", xtext, mailbox.mailbox() } },
	{ "MT-PRIORITY", generator.integer(-12, 12) },
	{ "BY", generator.sequence { number, ";", generator.pick { "R", "N", "RT", "NT", "X", "" } } },
	{ "HOLDFOR", number }, { "HOLDUNTIL", generator.pick { "2099-01-01T00:00:00Z", "2099-13-41T99:99:99Z", "x", "" } },
	{ "REQUIRETLS", false }, { "TRANSID", xtext }, { "MTRK", xtext }, { "SUBMITTER", mailbox.mailbox() },
	{ "SOLICIT", xtext }, { "CONPERM", false }, { "XVERP", xtext },
}
local NOTIFY = generator.list(generator.pick { "SUCCESS", "FAILURE", "DELAY", "NEVER", "success", "X", "" },
	{ min = 1, max = 6, separator = "," })
local RCPT = {
	{ "NOTIFY", NOTIFY },
	{ "ORCPT", generator.sequence { generator.pick { "rfc822", "utf-8", "RFC822", "x400", "" },
		generator.pick { ";", "", ";;" }, generator.one_of { xtext, mailbox.mailbox() } } },
	{ "RRVS", generator.pick { "2014-04-03T23:01:00Z", "2014-04-03T23:01:00Z;C", "x", "" } },
	{ "CONPERM", false },
}

local function one_of(list, words)
	return generator.new(function(random, n, corpus)
		if random:chance(1, 3) then return random:pick(words) end
		local pair = random:pick(list)
		local name = pair[1]
		if random:chance(1, 10) then name = name:lower() end
		if not pair[2] then return name end
		return name .. "=" .. tostring(pair[2]:draw(random, n, corpus))
	end)
end

--- A parameter of a verb ("MAIL", "RCPT"; another one has those of both).
function parameter.parameter(verb)
	verb = (verb or ""):upper()
	if verb == "MAIL" then return one_of(MAIL, dictionary.mail_parameters) end
	if verb == "RCPT" then return one_of(RCPT, dictionary.rcpt_parameters) end
	return generator.one_of { one_of(MAIL, dictionary.mail_parameters), one_of(RCPT, dictionary.rcpt_parameters) }
end

--- None to four of them, each with a blank before it; sometimes the same one many times.
function parameter.parameters(verb)
	local one = parameter.parameter(verb)
	return generator.new(function(random, n, corpus)
		if random:chance(1, 30) then return (" " .. one:draw(random, n, corpus)):rep(random:pick { 10, 40, 200 }) end
		local parts = {}
		for i = 1, random:integer(0, 4) do parts[i] = " " .. one:draw(random, n, corpus) end
		return table.concat(parts)
	end)
end

--- MAIL or RCPT with a path and parameters, without a line end.
-- @param verb     "MAIL" | "RCPT"
-- @param options  of smtptest.fuzz.mailbox
function parameter.envelope(verb, options)
	return generator.sequence { verb == "MAIL" and "MAIL FROM:<" or "RCPT TO:<", mailbox.mailbox(options), ">",
		parameter.parameters(verb) }
end

--- A line with its CR LF: any command.
function parameter.command()
	local text = generator.one_of { generator.text(0, 80), generator.word "strings", generator.bytes(0, 2100, "a") }
	return generator.map(generator.weighted {
		{ 4, parameter.envelope "MAIL" },
		{ 4, parameter.envelope "RCPT" },
		{ 2, generator.sequence { generator.pick { "EHLO ", "HELO ", "LHLO " }, mailbox.domain() } },
		{ 4, generator.sequence { generator.verb(), " ", text } },
		{ 2, generator.verb() },
		{ 2, generator.word "mistakes" },
		{ 1, generator.bytes(0, 600) },
	}, function(line) return (line:gsub("[\r\n]", " ")) .. "\r\n" end)
end

return parameter
