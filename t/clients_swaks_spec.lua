-- swaks, as a client of our server, in SMTP and LMTP.

local guest = require "support.guest"
local run = require "support.run"

describe("swaks", function()
	local why = guest.missing("swaks", "the package swaks")
	if why then return pending("delivers mail: " .. why) end

	-- It adds the end of the last line.
	local file = run.file("swaks.letter", guest.letter:sub(1, -3))

	local TLS = { none = {}, starttls = { "--tls" }, implicit = { "--tls-on-connect" } }

	local function words(port, way, mechanism, password)
		local list = { "--server", "localhost", "--port", tostring(port), "--protocol", "ESMTP", "--helo", "client.test",
			"--auth", mechanism, "--auth-user", "alice", "--auth-password", password, "--timeout", "20",
			"--from", guest.FROM, "--to", guest.TO, "--data", "@" .. file, "--suppress-data" }
		table.move(TLS[way], 1, #TLS[way], #list + 1, list)
		return list
	end

	guest.specs { program = "swaks", words = words, mechanisms = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5" } }

	-- Not DIGEST-MD5: it names the service "smtp" there, too.
	for _, mechanism in ipairs { "PLAIN", "LOGIN", "CRAM-MD5" } do
		it("delivers a message by LMTP after " .. mechanism, function()
			guest.delivers { program = "swaks", plan = { protocol = "lmtp" }, mechanism = mechanism,
				argv = function(port, password)
					local list = words(port, "none", mechanism, password)
					table.move({ "--protocol", "LMTP" }, 1, 2, #list + 1, list)
					return list
				end }
		end)
	end

	it("is told of each recipient of LMTP", function()
		guest.beside({ protocol = "lmtp", on = { data = function(_, _, to)
			if to.address == "full@server.test" then return 452, "4.2.2 full" end
		end } }, function(self)
			local list = words(self.port, "none", "PLAIN", "secret")
			table.move({ "--protocol", "LMTP", "--to", "full@server.test," .. guest.TO }, 1, 4, #list + 1,
				list)
			local result = guest.run("swaks", list)
			assert.matches("452 4.2.2 full", result.out .. result.err, 1, true)
			assert.equal(1, #guest.messages(self, 1)[1].to)
		end)
	end)
end)
