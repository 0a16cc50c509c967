-- The classic smtptest, as a client of our server.

local guest = require "support.guest"
local run = require "support.run"
local serve = require "support.serve"

-- Made by `make check`.
local CLASSIC = "build/peers/bin/smtptest"

local FILE = run.file("classic.session", table.concat(guest.commands))

local FLAGS = { none = {}, starttls = { "-t", "" }, implicit = { "-s" } }

-- The command's words; those given come last before the host.
local function words(port, way, mechanism, password, ...)
	local list = { "-p", tostring(port), "-m", mechanism, "-a", "alice", "-u", "alice", "-w", password, "-f", FILE }
	for _, more in ipairs { FLAGS[way], { ... }, { "localhost" } } do table.move(more, 1, #more, #list + 1, list) end
	return list
end

describe("the classic program", function()
	local why = guest.missing(CLASSIC, "`make check` fetches it")
	if why then return pending("delivers mail: " .. why) end

	-- It ends with 0 whatever happens. It has DIGEST-MD5's layer only where TLS is not.
	guest.specs { program = CLASSIC, words = words, status = false,
		mechanisms = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512" },
		ssf = function(mechanism, way) return mechanism == "DIGEST-MD5" and way == "none" and 128 or 0 end }

	for _, mechanism in ipairs { "NTLM", "OTP" } do
		it("logs in with " .. mechanism .. " where that is offered", function()
			local case = { program = CLASSIC, plan = { sasl = { users = { alice = "secret" }, mechanisms = mechanism } },
				mechanism = mechanism, status = false,
				argv = function(port, password) return words(port, "none", mechanism, password .. "-phrase") end }
			case.plan.sasl.users.alice = "secret-phrase"
			guest.delivers(case)
			guest.fails(case)
		end)
	end

	for _, factor in ipairs { 0, 1, 56, 128 } do
		it(("delivers a message inside the layer of DIGEST-MD5 -l %d"):format(factor), function()
			guest.delivers { program = CLASSIC, plan = {}, mechanism = "DIGEST-MD5", ssf = factor,
				argv = function(port, password)
					return words(port, "none", "DIGEST-MD5", password, "-k", tostring(factor), "-l", tostring(factor))
				end }
		end)
	end

	it("delivers a message inside a layer inside TLS", function()
		guest.delivers { program = CLASSIC, mechanism = "DIGEST-MD5", ssf = 128,
			plan = { tls = "starttls", sasl = { users = { alice = "secret" }, maxssf = 512 } },
			argv = function(port, password) return words(port, "starttls", "DIGEST-MD5", password, "-l", "384") end }
	end)

	it("logs in by its certificate", function()
		local _, _, both = guest.certificate()
		guest.delivers { program = CLASSIC, plan = { tls = "starttls" }, mechanism = "EXTERNAL",
			argv = function(port) return words(port, "none", "EXTERNAL", "", "-t", both) end }
	end)

	for _, mechanism in ipairs { "PLAIN", "DIGEST-MD5", "SCRAM-SHA-256" } do
		it("delivers a message by LMTP after " .. mechanism, function()
			guest.delivers { program = CLASSIC, plan = { protocol = "lmtp" }, mechanism = mechanism,
				ssf = mechanism == "DIGEST-MD5" and 128 or 0,
				argv = function(port, password) return words(port, "none", mechanism, password, "-P", "lmtp") end }
		end)
	end

	it("comes back with -n, and resumes TLS where it can", function()
		for version, resumed in pairs { ["1.2"] = true, ["1.3"] = false } do
			local seen = {}
			guest.beside({ tls = "starttls", max_version = version, on = { ehlo = function(client)
				if client.tls then table.insert(seen, client.tls.resumed) end
			end } }, function(self)
				guest.run(CLASSIC, words(self.port, "starttls", "DIGEST-MD5", "secret", "-n", "3"))
				guest.same(guest.letter, guest.messages(self, 1)[1])
				assert.same({ false, resumed, resumed }, seen, version)
			end)
		end
	end)

	-- The Cyrus library asks for the option once in a process, so this server has one of its own.
	for _, way in ipairs { "none", "starttls", "implicit" } do
		it("reauthenticates fast with -n and DIGEST-MD5, where the server has a reauth_timeout: " .. way, function()
			local folder = run.scratch("reauth." .. way)
			local argv = { "-a", "alice", "-w", "secret", "-l", "512", "-o", "reauth_timeout=10", "--save=" .. folder,
				table.unpack(FLAGS[way]) }
			local result, told
			told = serve(argv, function(port)
				result = guest.run(CLASSIC, words(port, way, "DIGEST-MD5", "secret", "-n", "2", "-l", "384"))
			end).out
			local _, rounds = result.out:gsub("Authenticated.\nSecurity strength factor: %d+", "")
			assert.equal(2, rounds, result.out)
			-- In the first round a challenge, whose answer's proof is one too; in the second only that proof.
			assert.matches("C: AUTH DIGEST%-MD5\r\nS: 334 .-\r\nC: .-\r\nS: 334 .-\r\nC: \r\nS: 235 .*"
				.. "C: AUTH DIGEST%-MD5 %S+\r\nS: 334 .-\r\nC: \r\nS: 235 ", result.out)
			assert.is_truthy(told:find(" as alice, " .. folder, 1, true), told)
			local saved = io.popen("cat " .. folder .. "/*.eml")
			guest.same(guest.letter, { data = saved:read "a" })
			saved:close()
		end)
	end
end)
