local peer = require "support.peer"

local complaint, seen = peer.complaint, peer.seen

-- The lines that a server sees of call(session), each answered with `code`.
local function lines(call, code)
	local got
	local client = peer.with(function(c)
		while true do
			local ok = pcall(c.reply, c, (code or 220) .. " ok")
			if not ok then return end
		end
	end, function(s) got = call(s) end)
	return client.seen, got
end

for verb, code in pairs { xclient = 220, xforward = 250 } do
	describe(verb, function()
		local VERB = verb:upper()

		it("sends attributes sorted by name, values as xtext", function()
			for line, attributes in pairs {
				["ADDR=192.0.2.1 HELO=me.test NAME=spike.test PORT=25 PROTO=ESMTP"] =
					{ NAME = "spike.test", ADDR = "192.0.2.1", PORT = 25, PROTO = "ESMTP", HELO = "me.test" },
				["ADDR=IPV6:2001:db8::1 NAME=[UNAVAILABLE]"] = { NAME = "[UNAVAILABLE]", ADDR = "IPV6:2001:db8::1" },
				["NAME=[TEMPUNAVAIL]"] = { NAME = "[TEMPUNAVAIL]", ADDR = false },
				["LOGIN=a+2Bb+3Dc+20d+0D+0A+00+7F+FF!~<>*,"] = { LOGIN = "a+b=c d\r\n\0\127\255!~<>*," },
				["helo= name=x"] = { name = "x", helo = "" },
				["NAME"] = { NAME = true },
				["NAME=a+b ADDR = x"] = { "NAME=a+b", "ADDR = x" },
				["ADDR=1 NAME=a=b"] = { "ADDR=1", NAME = nil, "NAME=a=b" },
			} do
				local got, answer = lines(function(s) return s[verb](s, attributes) end, code)
				assert.same({ VERB .. " " .. line }, got)
				assert.equal(code, answer.code)
				assert.equal(VERB .. " " .. line, answer.command)
			end
		end)

		it("without attributes is the bare verb", function()
			assert.same({ VERB }, (lines(function(s) return s[verb](s, {}) end, code)))
			assert.same({ VERB }, (lines(function(s) return s[verb](s) end, code)))
		end)

		it("is split into commands of 512 octets", function()
			local names = { "A", "B", "C", "D" }
			local attributes = {}
			for _, name in ipairs(names) do attributes[name] = name:rep(250) end
			local got, answer = lines(function(s) return s[verb](s, attributes) end, code)
			assert.same({ ("%s A=%s"):format(VERB, ("A"):rep(250)), ("%s B=%s"):format(VERB, ("B"):rep(250)),
				("%s C=%s"):format(VERB, ("C"):rep(250)), ("%s D=%s"):format(VERB, ("D"):rep(250)) }, got)
			assert.equal(got[4], answer.command)
			-- Exactly as long as may be, and one byte more.
			local room = 510 - #VERB - #" A= B="
			for extra, n in pairs { [0] = 1, [1] = 2 } do
				got = lines(function(s) return s[verb](s, { A = ("x"):rep(250), B = ("x"):rep(room - 250 + extra) }) end, code)
				assert.equal(n, #got)
			end
			-- Name and address come last: with them the server may take away the right to say more.
			got = lines(function(s)
				return s[verb](s, { ADDR = "192.0.2.1", HELO = ("h"):rep(300), NAME = "x", PORT = ("1"):rep(200) })
			end, code)
			assert.same({ ("%s HELO=%s"):format(VERB, ("h"):rep(300)),
				("%s PORT=%s ADDR=192.0.2.1 NAME=x"):format(VERB, ("1"):rep(200)) }, got)
			-- What can't be split goes whole.
			got = lines(function(s) return s[verb](s, { A = ("x"):rep(2000), B = "y" }) end, code)
			assert.same({ VERB .. " A=" .. ("x"):rep(2000), VERB .. " B=y" }, got)
		end)

		it("ends with the first command that is refused", function()
			local got, answer = lines(function(s) return s[verb](s, { A = ("x"):rep(500), B = "y" }) end, 550)
			assert.equal(1, #got)
			assert.equal(550, answer.code)
		end)

		it("waits for its reply as long as the plan says", function()
			local s = peer.pair { timeout = 0.02 }
			local err = peer.failure("TIMEOUT", s[verb], s, { NAME = "x" })
			assert.equal(VERB .. ": timed out after 0.02 s", tostring(err))
			s:close()
		end)

		it("blames whoever wrote it", function()
			assert.equal("", seen(function(s)
				assert.matches("^t/xclient_spec%.lua:%d+: bad parameters %(a list or a map expected, got string%)",
					complaint(function() local r = s[verb](s, "NAME=x") return r end))
				assert.matches("^t/xclient_spec%.lua:%d+: bad command: \\n inside",
					complaint(function() local r = s[verb](s, { "NAME=x\nNOOP" }) return r end))
				assert.matches("^t/xclient_spec%.lua:%d+: bad command: \\r inside",
					complaint(function() local r = s[verb](s, { ["X\r"] = 1 }) return r end))
			end))
		end)
	end)
end

describe("xclient", function()
	it("that is answered by 220 has a new greeting, and no capabilities", function()
		peer.with(function(c)
			c:capabilities("XCLIENT NAME ADDR", "SIZE 5")
			c:reply "220 new.test"
		end, function(s)
			s:ehlo()
			assert.same({ "NAME", "ADDR" }, s.capabilities.XCLIENT)
			s:xclient { ADDR = "192.0.2.1" }
			assert.equal("220 new.test", tostring(s.greeting))
			assert.same({}, s.capabilities)
		end)
	end)

	it("that is refused changes nothing", function()
		for _, text in ipairs { "550 5.7.0 no", "501 5.5.4 bad", "503 5.5.1 MAIL", "250 what" } do
			peer.with(function(c)
				c:capabilities "SIZE"
				c:reply(text)
			end, function(s)
				s:ehlo()
				assert.equal(text, tostring(s:xclient { ADDR = "192.0.2.1" }))
				assert.is_nil(s.greeting)
				assert.same({ "SIZE", SIZE = {} }, s.capabilities)
			end)
		end
	end)

	it("begins a new LMTP session: earlier recipients are gone", function()
		peer.with(function(c)
			c:reply("250 b", "220 new", "250 c", "354 go")
			repeat until c:line() == "."
			c:send "250 for c\r\n"
		end, function(s)
			s:rcpt "b"
			s:xclient { NAME = "x" }
			s:rcpt "c"
			assert.equal("c", s:data("x")[1].recipient)
		end, { protocol = "lmtp" })
	end)
end)

describe("xforward", function()
	it("leaves capabilities and greeting alone", function()
		peer.with(function(c)
			c:capabilities "XFORWARD NAME"
			c:reply "250 2.0.0 ok"
		end, function(s)
			s:ehlo()
			s:xforward { NAME = "x" }
			assert.is_nil(s.greeting)
			assert.same({ "NAME" }, s.capabilities.XFORWARD)
		end)
	end)
end)
