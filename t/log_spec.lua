-- Lines of JSON: one event each, with all that is known, and without secrets.

local base64 = require "smtptest.base64"
local json = require "dkjson"
local leak = require "support.leak"
local run = require "support.run"
local serving = require "support.serve"
local server = require "smtptest.server"
local sink = require "smtptest.sink"
local smtptest = require "smtptest"
local written = require "support.written"

local PASSWORD = written.PASSWORD

-- The events of a file; the connection's number, the time and the direction are in all of them.
local function events(path)
	local list = {}
	for line in io.lines(path) do
		assert.is_truthy(utf8.len(line))
		local event, position = json.decode(line)
		assert.equal(#line + 1, position, line)
		for _, name in ipairs { "time", "elapsed", "connection" } do assert.is_number(event[name], name) end
		for _, name in ipairs { "direction", "layer" } do assert.is_string(event[name], name) end
		list[#list + 1] = event
	end
	return list
end

local function find(list, name, value)
	for _, event in ipairs(list) do
		if event[name] == value then return event end
	end
end

local function logged(plan, fn)
	local path, peer = written.session("log", plan, fn)
	return events(path), run.read(path), peer
end

describe("a log", function()
	it("has connecting, bytes, replies, TLS, AUTH and the end", function()
		local list, text, peer = logged({}, function(s)
			s:ehlo()
			s:starttls()
			s:ehlo()
			s:auth { mechanism = "LOGIN", password = PASSWORD }
		end)
		assert.is_nil((leak.find(text, { PASSWORD })))
		assert.equal("connect", list[1].event)
		assert.equal(peer.port, list[1].port)
		assert.equal(0, list[1].elapsed)
		assert.is_true(math.abs(list[1].time - os.time()) < 100)
		local sent = find(list, "text", "EHLO smtptest\r\n")
		assert.equal("send", sent.direction)
		assert.equal("clear", sent.layer)
		local tls = find(list, "event", "tls")
		assert.equal("TLSv1.3", tls.protocol)
		assert.is_false(tls.verified)
		assert.same({ "self-signed certificate" }, tls.problems)
		local reply = find(list, "code", 235)
		assert.equal("reply", reply.event)
		assert.equal("2.7.0", reply.enhanced)
		assert.equal("tls", reply.layer)
		assert.is_number(reply.took)
		local auth = find(list, "event", "auth")
		assert.equal("LOGIN", auth.mechanism)
		assert.equal(235, auth.code)
		local secret = find(list, "secret", true)
		assert.equal("<8 bytes hidden>\r\n", secret.text)
		assert.equal("close", find(list, "event", "end").how)
		for i = 2, #list do assert.is_true(list[i].elapsed >= list[i - 1].elapsed) end
	end)

	it("has bytes that are no text in base64", function()
		local list = logged({}, function(s)
			s:send "ü\"\\\t\r\n"
			s:send "\0\255\r\n"
			s:drain(0.05)
		end)
		assert.is_table(find(list, "text", "ü\"\\\t\r\n"))
		assert.is_table(find(list, "base64", base64.encode "\0\255\r\n"))
	end)

	it("has the secrets where that is wanted", function()
		local list = logged({ show_secrets = true }, function(s)
			s:ehlo()
			s:auth { mechanism = "LOGIN", password = PASSWORD }
		end)
		assert.is_true(find(list, "text", base64.encode(PASSWORD) .. "\r\n").secret)
	end)

	it("numbers the connections", function()
		local path = run.scratch "log-several"
		local peer = server.listen {}
		peer:start()
		for _ = 1, 2 do
			local s <close> = smtptest.connect { host = "127.0.0.1", port = peer.port, timeout = 20, log = path }
			s:quit()
		end
		peer:stop()
		sink.close_all()
		local list = events(path)
		assert.equal(1, list[1].connection)
		assert.equal(2, list[#list].connection)
	end)

	it("is refused before anybody is connected to, where its file can't be", function()
		local ok, err = pcall(smtptest.connect, { host = "127.0.0.1", port = 1, log = "/nosuch/file" })
		assert.is_false(ok)
		assert.equal("--log: /nosuch/file: No such file or directory", tostring(err))
	end)
end)

describe("--log", function()
	it("has the session of the command", function()
		local path = run.scratch "command.json"
		local peer = server.listen { sasl = { users = { alice = PASSWORD } } }
		peer:start()
		local r = run.command({ "-p", tostring(peer.port), "-m", "PLAIN", "-a", "alice", "-w", PASSWORD, "--log=" .. path,
			"127.0.0.1" }, { stdin = "NOOP\nQUIT\n" })
		peer:stop()
		assert.equal(0, r.status, r.err)
		local list = events(path)
		assert.is_table(find(list, "text", "NOOP\r\nQUIT\r\n") or find(list, "text", "NOOP\r\n"))
		assert.equal("EOF", find(list, "event", "closed").code)
	end)

	it("of --serve has each client, and its messages", function()
		local path = run.scratch "serve.json"
		local r = serving({ "-p", "0", "-t", "", "-a", "alice", "-w", PASSWORD, "--log=" .. path }, function(port)
			local s <close> = smtptest.open { host = "127.0.0.1", port = port, tls = "starttls", authname = "alice",
				password = PASSWORD, mechanism = "PLAIN", timeout = 20 }
			s:mail "a@x.test"
			s:rcpt "b@y.test"
			s:data "x\r\n"
			s:quit()
		end)
		assert.equal(0, r.status, r.err)
		local list = events(path)
		local message = find(list, "event", "message")
		assert.equal("a@x.test", message.from)
		assert.same({ "b@y.test" }, message.to)
		assert.equal(3, message.size)
		assert.equal("receive", find(list, "text", "AUTH PLAIN <24 bytes hidden>\r\n").direction)
		assert.equal("PLAIN", find(list, "event", "auth").mechanism)
		assert.is_nil((leak.find(run.read(path), { PASSWORD })))
	end)
end)
