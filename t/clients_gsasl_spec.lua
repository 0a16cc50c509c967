-- gsasl, GNU SASL's own program, as a client of our server: it shares no code with the Cyrus library.

local guest = require "support.guest"
local task = require "smtptest.task"

local LIMIT = 20

describe("gsasl", function()
	local why = guest.missing("gsasl", "the package gsasl")
	if why then return pending("delivers mail: " .. why) end

	local MAIL, RCPT, DATA, LETTER = table.unpack(guest.commands)

	-- It polls a standard input that it reads through a buffer: what is in there would wait for more.
	local PROGRAM = "stdbuf"

	-- What is typed after the login. It says QUIT by itself.
	local function stdin() return guest.commands end

	local function words(port, way, mechanism, password, protection)
		local list = { "-i0", "gsasl", "--smtp", "--connect=localhost:" .. port, "--mechanism=" .. mechanism, "--quiet",
			"--authentication-id=alice", "--password=" .. password, "--realm=localhost",
			"--quality-of-protection=" .. (protection or "qop-auth"), "--x509-ca-file=" .. guest.authority() }
		-- It fails where it knows the channel and shall not bind to it.
		if not mechanism:find "-PLUS$" then table.insert(list, "--no-cb") end
		if way == "none" then table.insert(list, "--no-starttls") end
		return list
	end

	local CLEAR, STARTTLS = guest.WAYS[1], guest.WAYS[2]

	guest.specs { program = PROGRAM, words = words, stdin = stdin, ways = { CLEAR, STARTTLS },
		mechanisms = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256" } }
	guest.specs { program = PROGRAM, words = words, stdin = stdin, ways = { STARTTLS },
		mechanisms = { "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS" } }

	for _, mechanism in ipairs { "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS" } do
		it(("binds %s to a channel of TLS 1.2"):format(mechanism), function()
			guest.delivers { program = PROGRAM, plan = { tls = "starttls", max_version = "1.2" }, mechanism = mechanism,
				stdin = stdin,
				argv = function(port, password) return words(port, "starttls", mechanism, password) end }
		end)
	end

	it("logs in by its certificate", function()
		local cert, key = guest.certificate()
		guest.delivers { program = PROGRAM, plan = { tls = "starttls" }, mechanism = "EXTERNAL", stdin = stdin,
			argv = function(port)
				local list = words(port, "starttls", "EXTERNAL", "")
				table.move({ "--authorization-id=alice", "--x509-cert-file=" .. cert, "--x509-key-file=" .. key }, 1, 3,
					#list + 1, list)
				return list
			end }
	end)

	-- It takes one packet at a time, so each command waits for the reply to the one before.
	it("delivers a message inside DIGEST-MD5's layer of integrity", function()
		local output, changed = "", nil
		local function wait(pattern)
			return function()
				while not output:find(pattern) do
					changed = task.promise()
					assert(changed:wait(LIMIT), output)
				end
			end
		end
		guest.beside({}, function(self)
			local result = guest.run(PROGRAM, words(self.port, "none", "DIGEST-MD5", "secret", "qop-int"), {
				stdin = { wait "\n235 ", "EHLO client.test\r\n", wait "\n235 .*\n250 AUTH", MAIL, wait "250 2%.1%.0",
					RCPT, wait "250 2%.1%.5", DATA, wait "354 ", LETTER, wait "accepted" },
				on_output = function(text)
					output = text
					if changed then changed:set(true) end
				end,
			})
			assert.is_truthy(self.messages[1], result.out .. result.err)
			assert.equal(1, self.messages[1].ssf)
			guest.same(guest.letter, self.messages[1])
		end)
	end)
end)
