-- curl, as a client of our server.

local guest = require "support.guest"
local run = require "support.run"

describe("curl", function()
	local why = guest.missing("curl", "the package curl")
	if why then return pending("delivers mail: " .. why) end

	local file = run.file("curl.letter", guest.letter)

	local function words(port, way, mechanism, password)
		local list = { "--silent", "--show-error", "--disable", "--ipv4", "--cacert", guest.authority(),
			"--user", "alice:" .. password, "--login-options", "AUTH=" .. mechanism,
			"--mail-from", guest.FROM, "--mail-rcpt", guest.TO, "--upload-file", file,
			("%s://localhost:%d/client.test"):format(way == "implicit" and "smtps" or "smtp", port) }
		if way == "starttls" then table.insert(list, "--ssl-reqd") end
		return list
	end

	guest.specs { program = "curl", mechanisms = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5" }, words = words }

	it("logs in by its certificate", function()
		local cert, key = guest.certificate()
		guest.delivers { program = "curl", plan = { tls = "starttls" }, mechanism = "EXTERNAL",
			argv = function(port)
				local list = words(port, "starttls", "EXTERNAL", "")
				table.move({ "--cert", cert, "--key", key }, 1, 4, #list + 1, list)
				return list
			end }
	end)
end)
