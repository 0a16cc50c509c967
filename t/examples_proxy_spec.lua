-- The examples about clients that are not who they seem, and Postfix.

local daemon = require "support.daemon"
local example = require "support.example"
local postfix = require "support.postfix"

describe("with Postfix, the example", function()
	local why = daemon.missing "postfix"
	if why then return pending("is taken for another client: " .. why) end

	local MAIN = [[
inet_protocols = all
smtpd_relay_restrictions =
  check_client_access inline:{ { 192.0.2.66 = REJECT not you } }, reject_unauth_destination
]]
	local told, behind

	setup(function()
		local main = MAIN:gsub("=\n +", "= ")
		told = postfix.start { main = main .. "smtpd_authorized_xclient_hosts = 127.0.0.1" }
		behind = postfix.start { main = main .. "smtpd_upstream_proxy_protocol = haproxy" }
	end)

	teardown(function()
		told:stop()
		behind:stop()
	end)

	local function words(server, ...)
		return { "-p", tostring(server.port), "--to=bob@peer.test", "127.0.0.1", "--", ... }
	end

	it("xclient.lua hears what another client would hear", function()
		local out = example.content("xclient", words(told, "ADDR=192.0.2.66", "NAME=spike.test"))
		assert.is_truthy(out:find("\nwe        RCPT  250 2.1.5 Ok\n", 1, true), out)
		assert.is_truthy(out:find("\nthe other RCPT  554 5.7.1 <spike.test[192.0.2.66]>: Client host rejected: not you\n", 1, true),
			out)
		out = example.content("xclient", words(told, "192.0.2.67"))
		assert.is_truthy(out:find("\nthe other RCPT  250 2.1.5 Ok\n", 1, true), out)
	end)

	it("xclient.lua tells when it is not believed", function()
		local out = example.complains("xclient", words(told, "ADDR=nowhere"))
		assert.is_truthy(out:find("\nXCLIENT         501 5.5.4 ", 1, true), out)
	end)

	it("proxy.lua is believed, and only with a right header", function()
		local out = example.complains("proxy", words(behind, "192.0.2.66", "192.0.2.67", "2001:db8::1"))
		for version = 1, 2 do
			for address, reply in pairs { ["192.0.2.66"] = "554 5.7.1 <unknown[192.0.2.66]>: Client host rejected: not you",
				["192.0.2.67"] = "250 2.1.5 Ok", ["2001:db8::1"] = "250 2.1.5 Ok" } do
				assert.is_truthy(out:find(("ok     version %d, %-16s %s\n"):format(version, address, reply), 1, true), out)
			end
		end
		-- Which Postfix does not know.
		local wrong = example.lines(out, "not ok")
		assert.are.equal(1, #wrong, out)
		assert.is_truthy(wrong[1]:find("^version 1, PROXY UNKNOWN +greeting refused: 421 "), out)
		assert.is_truthy(out:find "\nok     no header +421 4%.3%.0 ", out)
	end)

	it("proxy.lua sees that a server does not wait for a header", function()
		local out = example.complains("proxy", words(told))
		assert.is_truthy(out:find("\nnot ok no header                   220 mail.peer.test ESMTP Postfix, 250-mail.peer.test / ", 1,
			true), out)
	end)
end)
