-- Users belong to a server: two of one process give alice different passwords, and each takes only its own.

local guest = require "support.guest"
local run = require "support.run"
local smtptest = require "smtptest"
local task = require "smtptest.task"

local LIMIT = 20

-- Made by `make check`.
local CLASSIC = "build/peers/bin/smtptest"

-- Whatever of the Cyrus library needs a password.
local MECHANISMS = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-224", "SCRAM-SHA-256",
	"SCRAM-SHA-384", "SCRAM-SHA-512", "NTLM", "OTP" }
local PLUS = { "SCRAM-SHA-1-PLUS", "SCRAM-SHA-224-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-384-PLUS",
	"SCRAM-SHA-512-PLUS" }

-- Each SCRAM asks for memory a thousand times over, which a sanitizer makes slow.
if (os.getenv "SAN" or "") ~= "" then
	MECHANISMS = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-256", "NTLM", "OTP" }
	PLUS = { "SCRAM-SHA-256-PLUS" }
end

local PASSWORDS = { "the first of alice", "the second of alice" }

-- Runs body(servers) beside two servers.
local function beside_two(plan, body)
	local offered = table.concat(MECHANISMS, " ") .. " " .. table.concat(PLUS, " ")
	local function starting(password)
		local all = { sasl = { users = { alice = password }, mechanisms = offered } }
		for name, value in pairs(plan) do all[name] = value end
		return smtptest.listen(all):start()
	end
	local first <close> = starting(PASSWORDS[1])
	local second <close> = starting(PASSWORDS[2])
	body { first, second }
end

-- For each server and password: try(server, password, whether it is the server's), all at once.
local function each(servers, try)
	local tasks = {}
	for i, server in ipairs(servers) do
		for j, password in ipairs(PASSWORDS) do
			tasks[#tasks + 1] = task.spawn(try, server, password, i == j)
		end
	end
	for _, one in ipairs(tasks) do one:join(LIMIT) end
end

local function open(server, mechanism, password, changes)
	local plan = { host = "localhost", family = "inet", port = server.port, timeout = LIMIT, auth = false,
		tls = server.plan.tls }
	local s = smtptest.open(plan)
	local auth = { mechanism = mechanism, authname = "alice", username = "alice", password = password }
	for name, value in pairs(changes or {}) do auth[name] = value end
	return s, s:auth(auth)
end

describe("two servers of a process", function()
	local function takes_its_own(mechanism, plan)
		beside_two(plan, function(servers)
			each(servers, function(server, password, own)
				local s <close>, reply = open(server, mechanism, password)
				assert.equal(own and 235 or 535, reply.code)
				if own then
					if s.ssf > 0 then s:ehlo() end
					s:mail("a@client.test"):expect(250)
				end
			end)
		end)
	end

	for _, mechanism in ipairs(MECHANISMS) do
		it("each take only their own password: " .. mechanism, function() takes_its_own(mechanism, {}) end)
	end
	for _, mechanism in ipairs(PLUS) do
		it("each take only their own password: " .. mechanism, function() takes_its_own(mechanism, { tls = "starttls" }) end)
	end

	for _, factor in ipairs { 1, 56, 128 } do
		it(("each have DIGEST-MD5's layer of factor %d, at the same time"):format(factor), function()
			beside_two({}, function(servers)
				local first <close> = open(servers[1], "DIGEST-MD5", PASSWORDS[1], { minssf = factor, maxssf = factor })
				local second <close> = open(servers[2], "DIGEST-MD5", PASSWORDS[2], { minssf = factor, maxssf = factor })
				for i, s in ipairs { first, second } do
					assert.equal(factor, s.ssf)
					s:ehlo():expect(250)
					s:mail(("a@%d.test"):format(i)):expect(250)
				end
				for _, s in ipairs { second, first } do
					s:rcpt("b@server.test"):expect(250)
					s:data("x\r\n"):expect(250)
				end
				for i, server in ipairs(servers) do
					assert.equal(("a@%d.test"):format(i), server.messages[1].from.address)
					assert.equal(factor, server.messages[1].ssf)
				end
			end)
		end)
	end
end)

describe("DIGEST-MD5's fast reauthentication", function()
	-- In a process of its own: the Cyrus library keeps what it needs for it in one place for all servers.
	it("lets nobody into the other server of a process", function()
		local result = run.command { "-e", [[
			local smtptest = require "smtptest"
			local function start(password)
				return smtptest.listen { sasl = { users = { alice = password }, options = { reauth_timeout = "10" } } }:start()
			end
			local first, second = start "one", start "two"
			local function try(server, password)
				local s <close> = smtptest.open { host = "localhost", family = "inet", port = server.port, auth = false,
					reauth = true }
				local steps = 0
				s:on(function(event) if event.direction == "send" then steps = steps + 1 end end)
				local reply = s:auth { mechanism = "DIGEST-MD5", authname = "alice", password = password }
				print(steps, reply.code)
			end
			try(first, "one")
			try(first, "one")
			try(second, "one")
			try(second, "two")
			try(second, "two")
			try(first, "two")
			try(first, "one")
		]] }
		assert.equal("", result.err)
		assert.equal("3 235\n2 235\n2 535\n3 235\n2 235\n2 535\n3 235\n", (result.out:gsub("\t", " ")))
	end)
end)

describe("two servers and the classic program", function()
	local why = guest.missing(CLASSIC, "`make check` fetches it")
	if why then return pending("each take only their own password: " .. why) end

	for _, mechanism in ipairs(MECHANISMS) do
		it("each take only their own password: " .. mechanism, function()
			beside_two({}, function(servers)
				each(servers, function(server, password, own)
					local result = guest.run(CLASSIC, { "-p", tostring(server.port), "-m", mechanism, "-a", "alice", "-u", "alice",
						"-w", password, "localhost" })
					assert.equal(own, result.out:find("Authenticated.", 1, true) ~= nil, result.out)
					assert.equal(not own, result.out:find("535 5.7.8", 1, true) ~= nil, result.out)
				end)
			end)
		end)
	end
end)
