-- msmtp, whose SASL is GNU's and whose TLS is GnuTLS, as a client of our server.

local guest = require "support.guest"

describe("msmtp", function()
	local why = guest.missing("msmtp", "the package msmtp")
	if why then return pending("delivers mail: " .. why) end

	local function words(port, way, mechanism, password)
		return { "--file=/dev/null", "--host=localhost", "--port=" .. port, "--domain=client.test", "--timeout=20",
			"--tls=" .. (way == "none" and "off" or "on"), "--tls-starttls=" .. (way == "starttls" and "on" or "off"),
			"--tls-trust-file=" .. guest.authority(), "--auth=" .. mechanism:lower(), "--user=alice",
			"--passwordeval=echo " .. password, "--from=" .. guest.FROM, guest.TO }
	end

	local function stdin() return guest.letter end

	guest.specs { program = "msmtp", words = words, stdin = stdin,
		mechanisms = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256" } }

	it("logs in by its certificate", function()
		local cert, key = guest.certificate()
		guest.delivers { program = "msmtp", plan = { tls = "starttls" }, mechanism = "EXTERNAL", stdin = stdin,
			argv = function(port)
				return { "--tls-cert-file=" .. cert, "--tls-key-file=" .. key,
					table.unpack(words(port, "starttls", "EXTERNAL", "")) }
			end }
	end)
end)
