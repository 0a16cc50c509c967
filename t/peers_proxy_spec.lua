-- Postfix takes our client for somebody else: XCLIENT, XFORWARD, and the PROXY protocol.

local daemon = require "support.daemon"
local postfix = require "support.postfix"
local smtptest = require "smtptest"

describe("Postfix", function()
	local why = daemon.missing "postfix"
	if why then return pending("believes what we say about the client: " .. why) end

	local FROM, TO = "alice@peer.test", "bob@peer.test"
	local server

	-- Everybody may send to peer.test.
	local RELAY = [[
inet_protocols = all
smtpd_relay_restrictions = reject_unauth_destination
]]

	local function start(main)
		return function() server = postfix.start { main = RELAY .. main } end
	end

	local function stop() server:stop() end

	local function connect(changes)
		local plan = { host = "127.0.0.1", port = server.port, timeout = 20 }
		for name, value in pairs(changes or {}) do plan[name] = value end
		return smtptest.connect(plan)
	end

	local function send(s)
		s:mail(FROM):expect(250)
		s:rcpt(TO):expect(250)
		s:data("Subject: x\r\n\r\nx\r\n"):expect(250)
	end

	-- The Received field of the message that arrives next.
	local function received()
		return server:take("mail/box"):match "\nReceived: (.-)\n%S"
	end

	local function logged(text)
		daemon.eventually(text .. " in the log", function() return server:log():find(text, 1, true) end,
			function() return server:log() end)
	end

	describe("told by XCLIENT", function()
		setup(start "smtpd_authorized_xclient_hosts = 127.0.0.1")
		teardown(stop)

		it("names the other client in Received and in its log", function()
			local s <close> = connect()
			s:ehlo():expect(250)
			assert.same({ "NAME", "ADDR", "PROTO", "HELO", "REVERSE_NAME", "PORT", "LOGIN", "DESTADDR", "DESTPORT" },
				s.capabilities.XCLIENT)
			s:xclient({ NAME = "spike.test", ADDR = "192.0.2.77", PORT = 4242, HELO = "first.test", PROTO = "SMTP" }):expect(220)
			assert.same({}, s.capabilities)
			assert.equal("220", s.greeting.raw:sub(1, 3))
			s:ehlo "second.test":expect(250)
			send(s)
			assert.matches("from second%.test %(spike%.test %[192%.0%.2%.77%]%)", received())
			logged "client=spike.test[192.0.2.77]"
		end)

		it("is told an IPv6 address, and that no name is known", function()
			local s <close> = connect()
			s:xclient { NAME = "[UNAVAILABLE]", ADDR = "IPV6:2001:db8::7" }:expect(220)
			s:ehlo():expect(250)
			send(s)
			assert.matches("%(unknown %[IPv6:2001:db8::7%]%)", received())
		end)

		it("is told in several commands what is too much for one", function()
			local s <close> = connect()
			local name = ("a"):rep(60) .. "." .. ("b"):rep(60) .. "." .. ("c"):rep(60) .. ".test"
			local said = {}
			s:on(function(e) if e.direction == "send" then said[#said + 1] = e.bytes end end)
			s:xclient { NAME = name, REVERSE_NAME = name, HELO = name, ADDR = "192.0.2.78" }:expect(220)
			assert.equal(2, #said)
			s:ehlo():expect(250)
			send(s)
			assert.is_truthy(received():find(name .. " [192.0.2.78]", 1, true))
		end)

		it("says what is wrong with a value", function()
			local s <close> = connect()
			s:xclient { ADDR = "nobody" }:expect(501)
			s:xclient { COLOUR = "red" }:expect(501)
			s:ehlo():expect(250)
			s:mail(FROM):expect(250)
			s:xclient { ADDR = "192.0.2.1" }:expect(503)
		end)

		it("takes a LOGIN name with odd characters", function()
			local s <close> = connect()
			s:xclient { LOGIN = "a+b c=d@peer.test" }:expect(220)
			s:ehlo():expect(250)
			send(s)
			logged "sasl_username=a+b c=d@peer.test"
			server:take "mail/box"
		end)
	end)

	describe("told by XFORWARD", function()
		setup(start "smtpd_authorized_xforward_hosts = 127.0.0.1")
		teardown(stop)

		it("names the other client in its log", function()
			local s <close> = connect()
			s:ehlo():expect(250)
			assert.same({ "NAME", "ADDR", "PROTO", "HELO", "SOURCE", "PORT", "IDENT" }, s.capabilities.XFORWARD)
			s:xforward { NAME = "spike.test", ADDR = "192.0.2.79", PORT = 4242, HELO = "a b", PROTO = "ESMTP", IDENT = "A",
				SOURCE = "REMOTE" }:expect(250)
			assert.is_table(s.capabilities.XFORWARD)
			send(s)
			logged "orig_client=spike.test[192.0.2.79]"
			server:take "mail/box"
		end)

		it("refuses XCLIENT", function()
			local s <close> = connect()
			s:ehlo():expect(250)
			s:xclient { ADDR = "192.0.2.1" }:expect "5xx"
			assert.is_table(s.capabilities.XFORWARD)
		end)
	end)

	describe("behind the PROXY protocol", function()
		setup(start "smtpd_upstream_proxy_protocol = haproxy")
		teardown(stop)

		local HEADERS = {
			["version 1"] = { version = 1, source = "192.0.2.81" },
			["version 1 with IPv6"] = { version = 1, source = "2001:db8::81" },
			["version 2"] = { version = 2, source = { host = "192.0.2.82", port = 4242 } },
			["version 2 with IPv6"] = { version = 2, source = "2001:db8::82" },
			["version 2 with TLVs"] = { version = 2, source = "192.0.2.83", tlvs = {
				{ type = "alpn", value = "smtp" }, "crc32c", { type = 0xe0, value = "own" },
				{ type = "ssl", value = { version = "TLSv1.3", cn = "x" } } } },
		}
		for name, header in pairs(HEADERS) do
			it("believes a header of " .. name, function()
				local s <close> = connect { proxy = header }
				s:ehlo():expect(250)
				send(s)
				local address = type(header.source) == "table" and header.source.host or header.source
				local shown = (address:find ":" and "IPv6:" or "") .. address
				assert.is_truthy(received():find("[" .. shown .. "]", 1, true))
				logged(("client=unknown[%s]"):format(address))
			end)
		end

		it("takes us for ourselves after LOCAL", function()
			local s <close> = connect { proxy = { command = "LOCAL" } }
			s:ehlo():expect(250)
			send(s)
			assert.is_truthy(received():find("[127.0.0.1]", 1, true))
		end)
	end)
end)
