local fault = require "smtptest.fault"
local peer = require "support.peer"
local visit = require "support.visit"

local LIMIT = 20

local function with(on, body, plan, changes)
	visit.connected(peer.laid({ on = on, timeout = LIMIT }, plan), body, changes)
end

describe("fault", function()
	it("delay waits", function()
		with({ mail = fault.delay(0.1) }, function(s)
			s:ehlo()
			assert.is_true(s:mail("a@b.test").elapsed >= 0.09)
		end)
	end)

	it("reply says the wrong code", function()
		with({ begin = fault.reply(250, "2.0.0 not 354"), rcpt = fault.reply(299, "odd") }, function(s)
			s:ehlo()
			s:mail("a@b.test")
			assert.equal(299, s:rcpt("a@b.test").code)
			assert.equal(250, s:data("x").code)
		end)
	end)

	it("raw and malformed say what no server should", function()
		with({ mail = fault.raw "25", command = fault.malformed "mixed-codes" }, function(s)
			s:ehlo()
			s:send "MAIL FROM:<a@b.test>\r\n"
			assert.equal("25", s:drain(0.1, 5).rest)
			s.transport:pending()
			s.partial = nil
			local reply = s:noop()
			assert.equal("250-one\r\n599 two\r\n", reply.raw)
			assert.is_true(reply.lint["mixed-codes"])
		end)
	end)

	it("malformed knows its kinds", function()
		for _, kind in ipairs { "mixed-codes", "no-end", "no-blank", "no-text", "no-code", "bare-lf", "bare-cr", "nul", "8bit",
			"control", "long-line", "enhanced-mismatch", "half" } do
			assert.is_function(fault.malformed(kind, 550))
		end
		assert.has_error(function() fault.malformed "nosuch" end, "unknown malformation 'nosuch'")
	end)

	it("inject puts bytes before the right answer", function()
		with({ mail = fault.inject "250 early\r\n" }, function(s)
			s:ehlo()
			assert.equal("early", s:mail("a@b.test").text)
			assert.equal(250, s:reply().code)
		end)
	end)

	it("split sends in pieces", function()
		with({ ehlo = fault.split({ 3, 10 }) }, function(s)
			local sizes = {}
			s:on(function(event) if event.direction == "receive" then sizes[#sizes + 1] = #event.bytes end end)
			s:ehlo():expect(250)
			assert.is_true(#sizes >= 2)
			assert.equal(3, sizes[1])
		end, { tls = "implicit" }, { tls = "implicit" })
		assert.has_error(function() fault.split(0) end, "a size is an integer from 1")
	end)

	it("cut ends the connection after so many bytes", function()
		for how, code in pairs { close = "EOF", reset = "ECONNRESET" } do
			with({ ehlo = fault.cut(7, how) }, function(s)
				s:send "EHLO x\r\n"
				local result = s:drain(5)
				assert.equal(code, result.closed)
				if how == "close" then assert.equal("250-loc", result.rest) end
			end)
		end
		with({ ehlo = fault.cut(7, "silence") }, function(s)
			s:send "EHLO x\r\n"
			assert.equal("250-loc", s:drain(0.1).rest)
		end)
		assert.has_error(function() fault.cut(1, "slam") end)
	end)

	it("cut and truncate end TLS without close_notify", function()
		local implicit = { tls = "implicit" }
		with({ ehlo = fault.cut(7) }, function(s)
			s:send "EHLO x\r\n"
			assert.equal("TRUNCATED", s:drain(5).closed)
		end, implicit, implicit)
		with({ quit = fault.truncate() }, function(s)
			s:quit():expect(221)
			assert.equal("TRUNCATED", s:drain(5).closed)
		end, implicit, implicit)
		with({}, function(s)
			s:quit():expect(221)
			assert.equal("EOF", s:drain(5).closed)
		end, implicit, implicit)
	end)

	it("close ends it now", function()
		with({ mail = fault.close "reset" }, function(s)
			s:ehlo()
			s:send "MAIL FROM:<a@b.test>\r\n"
			assert.equal("ECONNRESET", s:drain(5).closed)
		end)
		with({ mail = fault.close "silence" }, function(s)
			s:ehlo()
			s:send "MAIL FROM:<a@b.test>\r\n"
			assert.is_true(s:silent(0.1))
		end)
	end)

	it("silence does not close, also where QUIT would", function()
		for _, handler in ipairs { fault.cut(0, "silence"), fault.cut(5, "silence"), fault.close "silence" } do
			with({ quit = handler }, function(s)
				s:ehlo()
				s:send "QUIT\r\n"
				local result = s:drain(0.1, 0.1)
				assert.is_nil(result.closed)
				assert.is_true(#result.rest <= 5)
			end)
		end
	end)

	it("refuses wrong arguments where they are written", function()
		for words, fn in pairs {
			["'fault.cut' (number of bytes expected, got nil)"] = function() fault.cut() end,
			["'fault.cut' (number of bytes expected, got -1)"] = function() fault.cut(-1) end,
			["'fault.delay' (seconds expected, got nil)"] = function() fault.delay() end,
			["'fault.reply' (code expected, got string)"] = function() fault.reply "550 no" end,
			["'fault.reply' (text expected, got boolean)"] = function() fault.reply(550, true) end,
			["'fault.raw' (bytes expected, got nil)"] = function() fault.raw() end,
			["'fault.inject' (bytes expected, got 250)"] = function() fault.inject(250) end,
			["'fault.malformed' (code expected, got 1000)"] = function() fault.malformed("nul", 1000) end,
			["'fault.split' (seconds expected, got string)"] = function() fault.split(1, "x") end,
			["'fault.truncate' (code expected, got string)"] = function() fault.truncate "bye" end,
			["unknown option 'befor' (did you mean 'before'?)"] = function() fault.starttls { befor = "" } end,
			["#2 to 'fault.all' (function expected, got nil)"] = function() fault.all(fault.delay(0), nil) end,
			["'fault.nth' (number expected, got 0)"] = function() fault.nth(0, fault.delay(0)) end,
			["'fault.first' (function expected, got 451)"] = function() fault.first(1, 451) end,
			["'fault.where' (pattern expected, got function)"] = function() fault.where(fault.delay(0)) end,
		} do
			local ok, err = pcall(fn)
			assert.is_false(ok, words)
			assert.matches("^%S*t/fault_spec%.lua:%d+: ", err)
			assert.is_truthy(err:find(words, 1, true), err)
		end
	end)

	it("starttls says what does not belong there, before, after and inside", function()
		local starttls = { tls = "starttls" }
		with({ command = fault.starttls { before = "250 early\r\n" } }, function(s)
			s:ehlo()
			s:mail("a@b.test"):expect(250)
			s:command("STARTTLS"):expect(250)
			s:reply():expect(220)
			s:handshake()
			s:rcpt("a@b.test"):expect(503)
			s:ehlo():expect(250)
		end, starttls)
		with({ command = fault.starttls { after = "250 injected\r\n", inside = "250 first\r\n" } }, function(s)
			s:ehlo()
			s:starttls():expect(220)
			assert.equal("250 injected\r\n", s.tls.leftover)
			assert.equal("first", s:reply().text)
			s:ehlo():expect(250)
		end, starttls)
		with({ command = fault.starttls { code = 454, text = "4.7.0 no" } }, function(s)
			s:ehlo()
			s:starttls():expect(454)
			s:noop():expect(250)
		end, starttls)
	end)

	it("certificate makes those that a client must refuse", function()
		for kind, number in pairs { expired = 10, ["wrong-name"] = 62, ["self-signed"] = 18 } do
			local bad = fault.certificate(kind)
			with({}, function(s)
				local numbers = {}
				for _, problem in ipairs(s.tls.problems) do numbers[problem.code] = true end
				assert.is_true(numbers[number], kind)
			end, { tls = "implicit", cert = bad.cert, key = bad.key },
				{ tls = "implicit", host = "localhost", family = "inet" })
		end
		assert.has_error(function() fault.certificate "good" end, "unknown kind of certificate 'good'")
	end)

	it("all, nth, first and where combine", function()
		with({
			mail = fault.first(2, fault.reply(451, "4.3.0 later")),
			rcpt = fault.all(fault.where("^bad@", fault.reply(550, "5.1.1 no")), fault.nth(2, fault.reply(452, "4.5.3 full"))),
		}, function(s)
			s:ehlo()
			local codes = {}
			for i = 1, 3 do codes[i] = s:mail("a@b.test").code end
			assert.same({ 451, 451, 250 }, codes)
			codes = {}
			for i, address in ipairs { "a@b.test", "bad@b.test", "c@b.test", "d@b.test" } do codes[i] = s:rcpt(address).code end
			assert.same({ 250, 550, 452, 250 }, codes)
		end)
	end)
end)
