-- The layers of GSSAPI between the classic program and our server, with tickets of MIT Kerberos' own center.

local daemon = require "support.daemon"
local guest = require "support.guest"
local kdc = require "support.kdc"
local run = require "support.run"
local serve = require "support.serve"

-- Made by `make check`.
local CLASSIC = "build/peers/bin/smtptest"

describe("a client with a ticket", function()
	local why = guest.missing(CLASSIC, "`make check` fetches it") or daemon.missing("krb5")
	if why then return pending("delivers mail inside GSSAPI's layers: " .. why) end

	local center, session

	setup(function()
		center = kdc.start()
		session = run.file("gssapi.session", table.concat(guest.commands))
	end)

	teardown(function() center:stop() end)

	-- The keytab is named by the environment, so the server is a process of its own.
	local function serving(name, body)
		local folder = run.scratch("gssapi." .. name)
		local result = serve({ "-m", "GSSAPI", "-l", "512", "-t", "", "--save=" .. folder }, body,
			{ env = { KRB5_CONFIG = center.config, KRB5_KTNAME = center.keytab } })
		return result.out, function()
			local saved <close> = assert(io.popen("cat " .. folder .. "/*.eml"))
			guest.same(guest.letter, { data = saved:read "a" })
		end
	end

	for _, case in ipairs {
		{ "-l", "0", 0 }, { "-l", "1", 1 }, { "-l", "128", 1 }, { "-l", "256", 256 }, { "-t", "", 256 },
	} do
		local flag, value, factor = table.unpack(case)
		it(("delivers a message: smtptest -m GSSAPI %s '%s'"):format(flag, value), function()
			local result
			local told, arrived = serving(flag .. value, function(port)
				result = guest.run(CLASSIC, { "-p", tostring(port), "-m", "GSSAPI", "-a", "alice", "-u", "alice",
					flag, value, "-f", session, "localhost" }, { env = center.env })
			end)
			assert.matches(("Authenticated.\nSecurity strength factor: %d\n"):format(factor), result.out, 1, true)
			assert.matches(" as alice, ", told, 1, true)
			arrived()
		end)
	end

	it("is refused where the ticket is another's", function()
		local result
		local told = serving("refused", function(port)
			result = guest.run(CLASSIC, { "-p", tostring(port), "-m", "GSSAPI", "-a", "alice", "-u", "alice", "localhost" },
				{ env = { KRB5_CONFIG = center.config, KRB5CCNAME = "FILE:" .. center:path "nosuch" } })
		end)
		assert.matches("Authentication failed. ", result.out, 1, true)
		assert.equal("", (told:gsub("^listening on %C+\n", "")))
	end)
end)
