-- The scripted server: client:… as DESIGN has it.

local peer = require "support.peer"
local server = require "smtptest.server"
local smtptest = require "smtptest"
local visit = require "support.visit"

local LIMIT = 20

-- Runs body(session, server) against a server whose connections are scripted.
local function scripted(script, body, plan, session_plan)
	local self <close> = server.listen(peer.laid({ timeout = LIMIT }, plan))
	self:script(script):start()
	local s <close> = smtptest.connect(peer.laid({ host = "127.0.0.1", port = self.port, timeout = LIMIT }, session_plan))
	body(s, self)
	s:close()
	self:stop()
end

describe("a scripted client", function()
	it("is answered by reply(), with one line or several", function()
		scripted(function(client)
			client:reply(220, "hello")
			client:line()
			client:reply(250, "one\ntwo\nthree")
			client:line()
			client:reply(550, "5.1.1 no\nreally not")
			client:line()
			client:reply(250)
		end, function(s)
			assert.equal("220 hello\r\n", s.greeting.raw)
			assert.equal("250-one\r\n250-two\r\n250 three\r\n", s:ehlo().raw)
			assert.equal("550-5.1.1 no\r\n550 5.1.1 really not\r\n", s:noop().raw)
			assert.equal("250 \r\n", s:noop().raw)
		end)
	end)

	it("gets exact bytes from send()", function()
		scripted(function(client)
			client:send "220-a\n220 b\0\r\n"
		end, function(s)
			assert.equal("220-a\n220 b\0\r\n", s.greeting.raw)
		end)
	end)

	it("gives lines without their end, and says why there are no more", function()
		local lines = {}
		scripted(function(client)
			client:reply(220, "x")
			for i = 1, 3 do lines[i] = client:line() end
			lines.none, lines.message, lines.code = client:line(0.01)
			client:reply(250, "x")
			lines.last = { client:line() }
		end, function(s)
			s:send "a\r\nb\n\r\n"
			s:reply():expect(250)
			s:close()
			smtptest.task.sleep(0)
		end)
		assert.same({ "a", "b", "" }, { lines[1], lines[2], lines[3] })
		assert.is_nil(lines.none)
		assert.equal("TIMEOUT", lines.code)
	end)

	it("gives a message by read_data()", function()
		scripted(function(client)
			client:reply(220, "x")
			client:line()
			client:reply(354, "go")
			local data, raw = client:read_data()
			assert.equal(".a\r\n", data)
			assert.equal("..a\r\n.\r\n", raw)
			client:reply(250, "ok")
			assert.equal("QUIT", client:line())
			client:reply(221, "bye")
		end, function(s)
			assert.equal(250, s:data(".a\r\n").code)
			assert.equal(221, s:quit().code)
		end)
	end)

	it("shakes hands by starttls(), which sends no 220", function()
		scripted(function(client)
			client:reply(220, "x")
			client:line()
			client:reply(220, "go")
			local tls = assert(client:starttls())
			assert.equal(tls, client.tls)
			client:line()
			client:reply(250, tls.protocol)
		end, function(s)
			s:starttls():expect(220)
			assert.equal(s.tls.protocol, s:noop().text)
		end, nil, { host = "localhost", family = "inet" })
	end)

	it("blames who misspells a field of starttls()", function()
		local message
		scripted(function(client)
			client:reply(220, "x")
			local _
			_, message = pcall(function() return (client:starttls { certfle = "x" }) end)
		end, function() end)
		assert.matches("client_spec.lua:%d+: unknown option 'certfle' %(did you mean 'certfile'%?%)", message)
	end)

	it("shakes hands with another certificate", function()
		local fault = smtptest.fault
		scripted(function(client)
			client:reply(220, "x")
			client:line()
			client:reply(220, "go")
			assert(client:starttls(fault.certificate "expired"))
			client:line()
			client:reply(250, "ok")
		end, function(s)
			s:starttls()
			local codes = {}
			for _, problem in ipairs(s.tls.problems) do codes[problem.code] = true end
			assert.is_true(codes[10])           -- X509_V_ERR_CERT_HAS_EXPIRED
			s:noop()
		end, nil, { host = "localhost", family = "inet" })
	end)

	it("authenticates by auth(), whether the line was read or not, layers included", function()
		for _, read in ipairs { true, false } do
			scripted(function(client)
				client:reply(220, "x")
				if read then assert.matches("^AUTH DIGEST%-MD5", (client:line())) end
				assert.is_true(client:auth())
				assert.equal("alice", client.authname)
				assert.equal(128, client.ssf)
				assert.equal("NOOP", client:line())
				client:reply(250, "in the layer")
			end, function(s)
				s:auth { mechanism = "DIGEST-MD5", authname = "alice", password = "secret" }:expect(235)
				assert.equal(128, s.ssf)
				assert.equal("in the layer", s:noop().text)
			end, { sasl = { users = { alice = "secret" } } })
		end
	end)

	it("is told why auth() did not work", function()
		local message, code
		scripted(function(client)
			client:reply(220, "x")
			local ok
			ok, message, code = client:auth()
			assert.is_nil(ok)
		end, function(s)
			assert.equal(535, s:auth { mechanism = "PLAIN", authname = "alice", password = "wrong" }.code)
		end, { sasl = { users = { alice = "secret" } } })
		assert.equal("SASL", code)
		assert.is_string(message)
	end)

	it("is asked again by the next auth(), whichever line the last one answered", function()
		local results = {}
		scripted(function(client)
			client:reply(220, "x")
			assert.equal("AUTH", client:line())
			results[1] = { client:auth() }
			client:line()
			results[2] = { client:auth() }
			results[3] = { client:auth() }
		end, function(s)
			assert.equal(501, s:command("AUTH").code)
			assert.equal(535, s:auth { mechanism = "PLAIN", authname = "alice", password = "wrong" }.code)
			assert.equal(235, s:auth { mechanism = "PLAIN", authname = "alice", password = "secret" }.code)
		end, { sasl = { users = { alice = "secret" } } })
		assert.is_nil(results[1][1])
		assert.is_nil(results[2][1])
		assert.is_true(results[3][1])
	end)

	it("that said nothing in time gets what is said afterwards, and the end", function()
		scripted(function(client)
			client:reply(220, "x")
			local _, _, code = client:line(0.01)
			assert.equal("TIMEOUT", code)
			client:reply(250, "late")
			client:line()
			client:reply(421, ("y"):rep(100000))
		end, function(s)
			s:reply():expect(250)
			s:send(("z\r\n"):rep(10000))
			assert.equal(100000, #s:reply().text)
			assert.equal("EOF", s:drain(5).closed)
		end)
	end)

	it("can be aborted and closed", function()
		scripted(function(client)
			client:reply(220, "x")
			client:line()
			client:abort()
		end, function(s)
			s:send "x\r\n"
			assert.equal("ECONNRESET", s:drain(5).closed)
		end)
		scripted(function(client)
			client:reply(220, "x")
			client:close()
		end, function(s)
			assert.equal("EOF", s:drain(5).closed)
		end)
	end)

	it("whose script ends gets all that was said, and then the end", function()
		scripted(function(client)
			client:reply(220, "x")
			client:reply(250, ("y"):rep(100000))
		end, function(s)
			s:send(("z\r\n"):rep(10000))
			assert.equal(100000, #s:reply().text)
			assert.equal("EOF", s:drain(5).closed)
		end)
	end)

	it("fails the test by what its script raises", function()
		local ok, message = pcall(scripted, function(client)
			client:reply(220, "x")
			local _ = client.nosuch.field
		end, function(s) s:drain(5) end)
		assert.is_false(ok)
		assert.matches("client_spec.lua:%d+: attempt to index a nil value", message)
	end)
end)

describe("a handler", function()
	local function with(on, body, plan, changes)
		visit.connected(peer.laid({ on = on, timeout = LIMIT }, plan), body, changes)
	end

	it("answers instead of the server; what it leaves open is answered as ever", function()
		local seen = {}
		with({
			connect = function() return 220, "hello there" end,
			ehlo = function(_, name) seen.ehlo = name end,
			mail = function(_, address, params)
				seen.mail, seen.size = address, params.SIZE
				if address == "bad@x.test" then return 550, "5.1.8 not you" end
			end,
			rcpt = function(_, address) if address == "no@x.test" then return 550, "5.1.1 unknown" end end,
			data = function(_, message)
				seen.data = message.data
				return 250, "2.0.0 queued as 42"
			end,
			command = function(_, verb, argument)
				seen.verb = verb
				if verb == "XFOO" then return 250, "2.0.0 " .. argument end
			end,
			quit = function() return 221, "2.0.0 see you" end,
		}, function(s, self)
			assert.equal("hello there", s.greeting.text)
			s:ehlo("me.test"):expect(250)
			s:mail("bad@x.test"):expect("5.1.8")
			s:mail("good@x.test", { SIZE = 5 }):expect("2.1.0")
			s:rcpt("no@x.test"):expect("5.1.1")
			s:command("DATA"):expect(503)
			s:rcpt("yes@x.test"):expect(250)
			s:data("x\r\n"):expect(function(reply) return reply.text == "2.0.0 queued as 42" end)
			s:command("XFOO bar"):expect(250)
			assert.equal("XFOO", seen.verb)
			s:noop():expect(250)
			assert.equal("NOOP", seen.verb)
			assert.equal("2.0.0 see you", s:quit().text)
			assert.same({ "me.test", "good@x.test", "5", "x\r\n" }, { seen.ehlo, seen.mail, seen.size, seen.data })
			assert.equal(1, #self.messages)
		end)
	end)

	it("that refuses a message keeps it out of the list", function()
		with({ data = function() return 451, "4.3.0 later" end }, function(s, self)
			s:ehlo()
			s:mail("a@b.test")
			s:rcpt("a@b.test")
			s:data("x\r\n"):expect(451)
			assert.equal(0, #self.messages)
			s:mail("a@b.test"):expect(250)
		end)
	end)

	it("that has answered by itself leaves nothing to say", function()
		local said = function(code) return function(client)
			client:reply(code, "by myself")
			return true
		end end
		with({ connect = said(220), data = said(250), quit = said(221) }, function(s, self)
			assert.equal("by myself", s.greeting.text)
			s:ehlo():expect(250)
			s:mail("a@b.test")
			s:rcpt("a@b.test")
			assert.equal("by myself", s:data("x\r\n").text)
			s:noop():expect("2.0.0")
			assert.equal("by myself", s:quit().text)
			assert.equal(0, #s:drain(5))
			assert.equal(1, #self.messages)
		end)
	end)

	it("begin answers DATA; with 354 the message comes", function()
		local code = 451
		with({ begin = function() return code, "go or not" end }, function(s, self)
			s:ehlo()
			s:mail("a@b.test")
			s:rcpt("a@b.test")
			s:command("DATA"):expect(451)
			code = 354
			s:data("x\r\n"):expect(250)
			assert.equal("x\r\n", self.messages[1].data)
		end)
	end)

	it("that refuses one of LMTP's recipients is heard even if the message can't be stored", function()
		with({ data = function(_, _, to) if to.address == "no@x.test" then return 550, "5.2.2 full" end end },
			function(s, self)
				self.store = function() return "no room" end
				s:lhlo()
				s:mail("a@b.test")
				s:rcpt("no@x.test")
				s:rcpt("yes@x.test")
				local replies = s:data("x\r\n")
				assert.equal("5.2.2 full", replies[1].text)
				assert.equal("4.3.1 cannot store the message: no room", replies[2].text)
				assert.equal(0, #self.messages)
			end, { protocol = "lmtp" }, { protocol = "lmtp" })
	end)

	it("closes by false", function()
		with({ rcpt = function() return false end }, function(s)
			s:ehlo()
			s:mail("a@b.test")
			peer.failure("EOF", s.rcpt, s, "a@b.test")
		end)
	end)

	it("ends the connection by 421", function()
		with({ mail = function() return 421, "4.3.2 going down" end }, function(s)
			s:ehlo()
			s:mail("a@b.test"):expect(421)
			assert.equal("EOF", s:drain(5).closed)
		end)
	end)

	it("that greets with 554 leaves only QUIT (RFC 5321 section 3.1)", function()
		with({ connect = function() return 554, "no service" end }, function(s)
			assert.equal(554, s.greeting.code)
			s:ehlo():expect(503)
			s:noop():expect(503)
			s:quit():expect(221)
		end)
	end)

	it("judges who has authenticated, before the 235", function()
		local seen
		with({ auth = function(_, names)
			seen = names
			if names.authname == "bob" then return 535, "5.7.8 not bob" end
			if names.username ~= names.authname then return 235, "2.7.0 acting for another" end
		end }, function(s, self)
			s:ehlo()
			local told
			self:on_event(function(event) told = event.event == "auth" and event.refused or told end)
			s:auth { mechanism = "PLAIN", authname = "bob", password = "b" }:expect(535)
			assert.equal("5.7.8 not bob", told)
			s:auth { mechanism = "PLAIN", authname = "alice", username = "carol", password = "a" }:expect(235)
			assert.same({ mechanism = "PLAIN", authname = "alice", username = "carol" }, seen)
		end, { sasl = { users = { alice = "a", bob = "b" } } })
	end)

	it("must allow who acts for another, and may refuse by itself", function()
		local plan = { sasl = { users = { alice = "a" } } }
		local request = { mechanism = "PLAIN", authname = "alice", username = "carol", password = "a" }
		with({}, function(s)
			s:ehlo()
			s:auth(request):expect "5.7.8 not authorized to act for another"
			s:auth { mechanism = "PLAIN", authname = "alice", username = "alice", password = "a" }:expect(235)
		end, plan)
		with({ auth = function(client) return client:reply(454, "4.7.0 later") end }, function(s)
			s:ehlo()
			s:auth(request):expect(454)
			s:noop():expect(250)
			s:mail("a@b.test"):expect(250)
		end, plan)
	end)

	it("whose result is no reply is an error of the script", function()
		local ok, message = pcall(with, { mail = function() return "550 no" end }, function(s)
			s:ehlo()
			s:mail("a@b.test"):expect(421)
		end)
		assert.is_false(ok)
		assert.matches("handler 'mail' returned 550 no, nil: a code and a text expected", message, 1, true)
	end)

	it("may wait: others are served meanwhile", function()
		local gate = smtptest.task.promise()
		with({ mail = function() gate:wait(LIMIT) end }, function(s, self)
			s:ehlo()
			s:send "MAIL FROM:<a@b.test>\r\n"
			local other <close> = smtptest.connect { host = "127.0.0.1", port = self.port, timeout = LIMIT }
			assert.equal(250, other:ehlo().code)
			gate:set(true)
			assert.equal(250, s:reply().code)
		end)
	end)
end)
