--- mailbox: generators of what stands between "<" and ">": RFC 5321 section 4.1.2, RFC 6531, and what is nearly that.

local canary = require "smtptest.fuzz.canary"
local dictionary = require "smtptest.fuzz.dictionary"
local generator = require "smtptest.fuzz.generator"

local mailbox = {}

local ATEXT = "abcdefghijklmnopqrstuvwxyz0123456789!#$%&'*+-/=?^_`{|}~"

-- Local parts: right ones, ones of RFC 6531, wrong ones; each a function(random, canary)
local LOCAL = {
	function(_, name) return name end,
	function(_, name) return name .. ".x" end,
	function(random, name) return name .. "." .. random:bytes(random:integer(1, 12), ATEXT) end,
	function(_, name) return name:upper() end,
	function(_, name) return name .. "+tag" end,
	function(_, name) return name .. ("a"):rep(64 - #name) end,
	function(_, name) return '"' .. name .. '"' end,
	function(_, name) return '"' .. name .. ' x"' end,
	function(_, name) return '"' .. name .. '\\"\\\\@x"' end,
	function(_, name) return '"' .. name .. '@x.test"' end,
	function(_, name) return '"' .. name .. '\\ "' end,
}
local WIDE_LOCAL = {
	function(_, name) return name .. "\u{e9}" end,
	function(_, name) return '"\u{20ac}' .. name .. '"' end,
	function(_, name) return "\u{7528}\u{6237}" .. name end,
}
local WRONG_LOCAL = {
	function() return "" end,
	function(_, name) return "." .. name end,
	function(_, name) return name .. "." end,
	function(_, name) return name .. "..x" end,
	function(_, name) return name .. " x" end,
	function(_, name) return '"' .. name end,
	function(_, name) return name .. '"' end,
	function(_, name) return '"' .. name .. '"x' end,
	function(_, name) return '"' .. name .. '\\"' end,
	function() return '""' end,
	function(_, name) return name .. ("a"):rep(65 - #name) end,
	function(random, name) return name .. ("a"):rep(random:pick { 100, 200, 244, 256, 500, 1000, 2000, 10000 }) end,
	function(_, name) return name .. "(comment)" end,
	function(_, name) return name .. ",x" end,
	function(_, name) return name .. "%x" end,
	function(_, name) return "x!" .. name end,
	function(_, name) return name .. "\0" end,
	function(_, name) return name .. "\255" end,
	function(_, name) return name .. "\192\128" end,
	function(random, name) return name .. random:pick(dictionary.bytes):gsub("[\r\n]", "\8") end,
	function(random, name) return name .. random:pick(dictionary.strings):gsub("[\r\n]", "\8") end,
	function(_, name) return '"' .. name .. "\t\1" .. '"' end,
	function(_, name) return "<" .. name .. ">" end,
}

-- Domains
local DOMAIN = {
	function(random) return random:pick(dictionary.domains) end,
	function(_, name) return name .. ".test" end,
	function(random) return random:pick(dictionary.domains):upper() end,
	function(_, name) return "a-b." .. name .. ".invalid" end,
	function() return ("a"):rep(63) .. ".test" end,
	function() return ("abcdefg."):rep(30) .. "test" end,
	function() return "xn--bcher-kva.test" end,
	function() return "1.test" end,
}
local LITERAL = {
	function() return "[127.0.0.1]" end,
	function() return "[IPv6:::1]" end,
	function() return "[IPv6:2001:db8::1]" end,
	function() return "[IPv6:::ffff:127.0.0.1]" end,
	function() return "[x-tag:zz]" end,
}
local WIDE_DOMAIN = {
	function() return "b\u{fc}cher.test" end,
	function() return "\u{4f8b}\u{5b50}.test" end,
}
local WRONG_DOMAIN = {
	function() return "" end,
	function() return ".test" end,
	function() return "a.test." end,
	function() return "a..test" end,
	function() return "-a.test" end,
	function() return "a-.test" end,
	function() return "a_b.test" end,
	function() return "a b.test" end,
	function() return ("a"):rep(64) .. ".test" end,
	function(random) return ("a."):rep(random:pick { 126, 127, 128, 500, 1000 }) .. "test" end,
	function(random) return ("a"):rep(random:pick { 255, 256, 512, 1024, 2048 }) .. ".test" end,
	function() return "[127.0.0.1" end,
	function() return "127.0.0.1]" end,
	function() return "[]" end,
	function() return "[127.0.0.256]" end,
	function() return "[127.0.0.1.1]" end,
	function() return "[99999999999.1.1.1]" end,
	function() return "[IPv6:]" end,
	function() return "[IPv6:1:2:3:4:5:6:7:8:9]" end,
	function() return "[IPv6:::::]" end,
	function() return "[IPv6:fffff::1]" end,
	function(random) return "[IPv6:" .. ("1:"):rep(random:pick { 8, 20, 100, 500 }) .. "1]" end,
	function(random) return "[" .. ("["):rep(random:pick { 1, 50, 300 }) .. "]" end,
	function() return "xn--.test" end,
	function() return "xn--" .. ("9"):rep(60) .. ".test" end,
	function() return "\255\254.test" end,
	function() return "a\0.test" end,
	function() return "@a.test" end,
}

-- All around: the empty path, routes (RFC 5321 appendix C)
local ROUTES = {
	function(_, whole) return "@a.test:" .. whole end,
	function(_, whole) return "@a.test,@b.test:" .. whole end,
	function(random, whole) return ("@a.test,"):rep(random:pick { 5, 20, 100, 300 }):sub(1, -2) .. ":" .. whole end,
}
local WRONG_ROUTES = {
	function(_, whole) return "@a.test" .. whole end,
	function(_, whole) return "@:" .. whole end,
	function(_, whole) return "@a.test,:" .. whole end,
	function(_, whole) return ":" .. whole end,
	function(_, whole) return "@a.test:@b.test:" .. whole end,
	function(_, whole) return whole .. "@b.test" end,
	function(_, whole) return whole:gsub("@", "@@") end,
	function(_, whole) return whole:gsub("@", "") end,
	function(_, whole) return " " .. whole end,
	function(_, whole) return whole .. " " end,
	function(_, whole) return whole .. ">" end,
	function(_, whole) return whole .. "," .. whole end,
	function() return "" end,
	function() return "@" end,
}

local function joined(...)
	local all = {}
	for _, list in ipairs { ... } do table.move(list, 1, #list, #all + 1, all) end
	return all
end

local GOOD_LOCAL, GOOD_DOMAIN = joined(LOCAL), joined(DOMAIN, DOMAIN, LITERAL)

--- What is written between the angle brackets. Every name holds the canary of the generator's case.
-- @param options  valid: true (right, and short enough), false (wrong in one place), nil (any); wide: also characters
--   of RFC 6531; connection (1): whose canary it is
function mailbox.mailbox(options)
	options = options or {}
	local names, hosts = GOOD_LOCAL, GOOD_DOMAIN
	if options.wide then names, hosts = joined(names, WIDE_LOCAL), joined(hosts, WIDE_DOMAIN) end
	return generator.new(function(random, n)
		local name = canary.make(random, n or random.n, options.connection or 1)
		local valid = options.valid
		if valid == nil then valid = random:chance(1, 2) end
		local place = not valid and random:integer(1, 3) or 0
		local text = random:pick(place == 1 and WRONG_LOCAL or names)(random, name) .. "@"
			.. random:pick(place == 2 and WRONG_DOMAIN or hosts)(random, name)
		if place == 3 then
			text = random:pick(WRONG_ROUTES)(random, text)
		elseif random:chance(1, 16) then
			text = random:pick(ROUTES)(random, text)
		end
		return text
	end)
end

--- A domain, as EHLO names one.
function mailbox.domain(options)
	options = options or {}
	return generator.new(function(random, n)
		local name = canary.make(random, n or random.n, options.connection or 1)
		local valid = options.valid
		if valid == nil then valid = random:chance(1, 2) end
		return random:pick(valid and GOOD_DOMAIN or WRONG_DOMAIN)(random, name)
	end)
end

return mailbox
