--- guest: clients that somebody else wrote, run against our server in this process.

local assert = require "luassert"
local busted = require "busted"
local letter = require "support.letter"
local run = require "support.run"
local server = require "smtptest.server"

local guest = {}

local LIMIT = 20

guest.FROM, guest.TO = "alice@client.test", "bob@server.test"

--- What a client is to deliver, byte by byte: more than 100 kB.
guest.letter = letter.new(guest.FROM, guest.TO)

--- The commands that deliver it.
guest.commands = { ("MAIL FROM:<%s>\r\n"):format(guest.FROM), ("RCPT TO:<%s>\r\n"):format(guest.TO), "DATA\r\n",
	(guest.letter:gsub("%f[^\n\0]%.", "..")) .. ".\r\n" }

--- The ways to speak with a server: in words, and its `tls`.
guest.WAYS = { { "in clear", "none" }, { "under STARTTLS", "starttls" }, { "inside TLS", "implicit" } }

--- Why a program cannot be run, or nil.
-- @param program  a name, or a path
-- @param from     what brings it
function guest.missing(program, from)
	if run.command({ "-c", "command -v \"$0\"", program }, { program = "sh" }).status == 0 then return nil end
	return ("%s is missing: %s"):format(program, from)
end

--- Runs a program; a sanitizer that is preloaded is not for it.
-- @param options  of run.command, without program
-- @return what run.command gives
function guest.run(program, argv, options)
	options = options or {}
	local words = { "-u", "LD_PRELOAD", table.unpack(run.assignments(options.env or {}, { program })) }
	table.move(argv, 1, #argv, #words + 1, words)
	return run.command(words, { program = "env", stdin = options.stdin, on_output = options.on_output })
end

--- The path of a file with the certificate of our servers.
function guest.authority()
	guest.authority_file = guest.authority_file or run.file("guest.ca", assert(server.certificate "localhost"))
	return guest.authority_file
end

local client_certificate

--- The paths of a client's certificate for "alice", of its key, and of a file with both.
function guest.certificate()
	if not client_certificate then
		local cert, key = assert(require "smtptest.core.cert".self_signed { name = "alice" })
		client_certificate = { run.file("guest.pem", cert), run.file("guest.key", key), run.file("guest.both", cert .. key) }
	end
	return table.unpack(client_certificate)
end

local function told(result)
	return ("status %s, signal %s\n%s\n--stderr\n%s"):format(result.status, result.signal, result.out:sub(1, 4000),
		result.err:sub(1, 4000))
end

--- Starts a server that knows alice, whose password is "secret", and runs body(server) beside it.
-- @param plan  of smtptest.listen, over that; `events` of the server is the list of its facts
function guest.beside(plan, body)
	local all = { sasl = { users = { alice = "secret" } } }
	for name, value in pairs(plan or {}) do all[name] = value end
	local self <close> = server.listen(all)
	self.events = {}
	self:on_event(function(event) table.insert(self.events, event) end)
	self:start()
	body(self)
end

--- Fails unless a message is this text, byte by byte.
function guest.same(text, message)
	local data = message.data
	if data == text then return end
	local first = 1
	while data:byte(first) == text:byte(first) do first = first + 1 end
	error(("%d bytes were sent, %d came, which differ from byte %d on:\n%q\n%q"):format(#text, #data, first,
		text:sub(first - 20, first + 60), data:sub(first - 20, first + 60)), 2)
end

--- Lets a client log in and deliver the letter, and judges what came.
-- @param case  program; plan (of guest.beside); argv (function(port, password) → words); stdin (likewise, or nil); env;
--   mechanism, ssf (default 0); letter (what must come); status (false: whatever the client thinks of it)
function guest.delivers(case)
	guest.beside(case.plan, function(self)
		local result = guest.run(case.program, case.argv(self.port, "secret"),
			{ stdin = case.stdin and case.stdin(), env = case.env })
		if case.status ~= false then assert.are.equal(0, result.status, told(result)) end
		assert.are.equal(1, #self.messages, told(result))
		local message = self.messages[1]
		assert.are.equal(guest.FROM, message.from.address)
		assert.are.equal(guest.TO, message.to[1].address)
		assert.are.equal("alice", message.auth)
		assert.are.equal(case.mechanism, message.mechanism)
		assert.are.equal(case.ssf or 0, message.ssf)
		assert.are.equal((case.plan.tls or "none") ~= "none", message.tls ~= nil)
		guest.same(case.letter or guest.letter, message)
	end)
end

--- Lets a client fail to log in: with another password.
-- @param case  as of guest.delivers
function guest.fails(case)
	guest.beside(case.plan, function(self)
		local result = guest.run(case.program, case.argv(self.port, "wrong"),
			{ stdin = case.stdin and case.stdin(), env = case.env })
		assert.is_true(case.status == false or result.status ~= 0, told(result))
		for _, message in ipairs(self.messages) do assert.is_nil(message.auth) end
		local refused = {}
		for _, event in ipairs(self.events) do
			if event.event == "auth" then refused[#refused + 1] = event.refused and event.mechanism end
		end
		assert.are.equal(case.mechanism, refused[1], told(result))
	end)
end

--- Specs of what a client does the same way with every mechanism: it delivers the letter in every way, and another
-- password than alice's is refused.
-- @param client  program, from (as of guest.missing); mechanisms (list); words (function(port, way, mechanism, password)
--   → words, where way is a `tls`); ways (default: guest.WAYS); stdin; letter; status; ssf (function(mechanism, way))
function guest.specs(client)
	for _, mechanism in ipairs(client.mechanisms) do
		local function case(way, plan)
			return {
				program = client.program, plan = plan or { tls = way }, mechanism = mechanism, letter = client.letter,
				argv = function(port, password) return client.words(port, way, mechanism, password) end,
				stdin = client.stdin, status = client.status, ssf = client.ssf and client.ssf(mechanism, way),
			}
		end
		for _, way in ipairs(client.ways or guest.WAYS) do
			busted.it(("logs in with %s %s, and delivers a message"):format(mechanism, way[1]), function()
				guest.delivers(case(way[2]))
			end)
		end
		busted.it(("is refused with %s and another password"):format(mechanism), function()
			guest.fails(case((client.ways or guest.WAYS)[1][2]))
		end)
	end
end

--- Waits for messages that a server may have taken already.
function guest.messages(self, n)
	return assert(self:wait(n, LIMIT))
end

return guest
