local sasl = require "smtptest.core.sasl"

local child = require "child"
local pair = require "saslpair"

local USERS, CREDENTIALS = pair.users, pair.credentials
local with, ask, authenticate = pair.with, pair.ask, pair.authenticate

local function succeeds(list, options)
	local result = authenticate(list, options)
	assert.is_nil(result.message)
	assert.is_true(result.done)
	return result
end

local function refused(list, options, number)
	local result = authenticate(list, options)
	assert.equal("server", result.at)
	assert.equal("SASL", result.code)
	if number then assert.equal(number, result.number) end
	assert.is_true(#result.message > 0)
	assert.is_nil(result.message:find("SASL(", 1, true))
	return result
end

local PASSWORD = {"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", "OTP"}
local SCRAM = {"SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"}

describe("the library", function()
	it("says its version", function()
		assert.matches("^%d+%.%d+%.%d+$", sasl.version())
	end)

	it("lists what is installed, in upper case", function()
		local has = {}
		for _, name in ipairs(sasl.mechanisms()) do
			assert.equal(name:upper(), name)
			has[name] = true
		end
		for _, name in ipairs {"PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "EXTERNAL", "ANONYMOUS"} do
			assert.is_true(has[name])
		end
	end)
end)

for _, mechanism in ipairs(PASSWORD) do
	describe(mechanism, function()
		it("lets the right password in and names the user on both sides", function()
			local result = succeeds(mechanism)
			assert.equal(mechanism, result.mechanism)
			assert.equal("alice", result.server:username())
			assert.equal("alice", result.server:authid())
			assert.equal("alice", result.client:username())
		end)

		it("refuses a wrong password", function()
			refused(mechanism, {credentials = with(CREDENTIALS, {password = "wrong"})}, -13)
		end)

		it("refuses an unknown user", function()
			refused(mechanism, {credentials = with(CREDENTIALS, {authname = "mallory"})}, -20)
		end)

		it("refuses an empty password", function()
			local result = authenticate(mechanism, {credentials = with(CREDENTIALS, {password = ""})})
			assert.equal("SASL", result.code)
		end)

		it("gives alice another password on each server", function()
			local other = {users = {alice = "another"}}
			refused(mechanism, {server = other}, -13)
			succeeds(mechanism, {server = other, credentials = with(CREDENTIALS, {password = "another"})})
			succeeds(mechanism)
		end)

		it("sends no initial response where none is wanted", function()
			local result = succeeds(mechanism, {initial = false})
			assert.is_nil(result.first)
		end)

		it("takes the name of the mechanism in any case", function()
			local server = assert(sasl.server {users = USERS, mechanisms = mechanism})
			assert.is_true((server:start(mechanism:lower())))
		end)
	end)
end

describe("questions", function()
	local ORDER = {
		PLAIN = "username authname password", LOGIN = "authname password", ["CRAM-MD5"] = "authname password",
		["DIGEST-MD5"] = "username authname password", ["SCRAM-SHA-256"] = "username authname password",
		ANONYMOUS = "username", EXTERNAL = "username",
	}
	for mechanism, order in pairs(ORDER) do
		it("of " .. mechanism .. " come in its order", function()
			local result = succeeds(mechanism, {
				client = {external_name = "CN=alice"}, server = {external_name = "CN=alice"}})
			assert.equal(order, table.concat(result.asked, " "))
		end)
	end

	it("come before AUTH only where there is an initial response", function()
		local function start(mechanism)
			return (select(3, sasl.client({}):start(mechanism)))
		end
		assert.equal("INTERACT", start "PLAIN")
		assert.equal("INTERACT", start "SCRAM-SHA-256")
		for _, mechanism in ipairs {"LOGIN", "CRAM-MD5", "DIGEST-MD5"} do
			-- DIGEST-MD5 remembers hosts, and then has a first message.
			local ok, response, name, done = sasl.client({host = "new.host.test"}):start(mechanism)
			assert.same({true, mechanism, false}, {ok, name, done})
			assert.is_nil(response)
		end
	end)

	local function challenge(realms)
		return realms .. 'nonce="OA6MG9tEQGm2hh",qop="auth",charset=utf-8,algorithm=md5-sess'
	end

	local function asked(text)
		local client = sasl.client {host = "mail.lab.test"}
		assert(client:start "DIGEST-MD5")
		assert.equal("INTERACT", (select(3, client:step(challenge(text)))))
		local list, realm = {}, nil
		for i, prompt in ipairs(client:prompts()) do
			list[i] = prompt.id
			if prompt.id == "realm" then realm = prompt end
		end
		return client, table.concat(list, " "), realm
	end

	it("are about the realm when several are offered", function()
		local client, ids, realm = asked 'realm="lab.test",realm="localhost",'
		assert.equal("username authname password realm", ids)
		assert.matches("{lab.test}", realm.challenge, 1, true)
		assert.matches("{localhost}", realm.challenge, 1, true)
		assert.is_string(realm.default)
		assert(client:answer(with(CREDENTIALS, {realm = "lab.test"})))
		local ok, response = client:step(challenge 'realm="lab.test",realm="localhost",')
		assert.is_true(ok)
		assert.matches('realm="lab.test"', response, 1, true)
	end)

	it("take the default where there is no answer", function()
		local client, _, realm = asked 'realm="lab.test",realm="localhost",'
		assert(client:answer {authname = "alice", username = "", password = "secret"})
		local _, response = client:step(challenge 'realm="lab.test",realm="localhost",')
		assert.matches(('realm="%s"'):format(realm.default), response, 1, true)
	end)

	it("are not about the realm when one is offered", function()
		local _, ids = asked 'realm="lab.test",'
		assert.equal("username authname password", ids)
	end)

	it("fail the exchange when they are not answered", function()
		local client = sasl.client {}
		assert.equal("INTERACT", (select(3, client:start "PLAIN")))
		local ok, message, code = client:start "PLAIN"
		assert.same({nil, "SASL"}, {ok, code})
		assert.is_true(#message > 0)
	end)

	it("are none at first and none when all is done", function()
		assert.same({}, sasl.client({}):prompts())
		assert.same({}, succeeds("PLAIN").client:prompts())
	end)

	it("about one-time passwords come only to who wants them", function()
		local result = authenticate("OTP", {client = {challenge = true},
			credentials = with(CREDENTIALS, {echo = "word:NO", noecho = "word:NO"})})
		assert.matches("echo", table.concat(result.asked, " "))
		assert.is_nil(table.concat(succeeds("OTP").asked, " "):find("echo"))
	end)

	it("take any byte in a password and no zero in a name", function()
		local client = sasl.client {}
		client:start "PLAIN"
		assert.error_matches(function() client:answer {authname = "al\0ice"} end, "authname")
		assert.error_matches(function() client:answer {authname = {}} end, "authname")
		client:answer {authname = "a", username = "b", password = "c\0d"}
		assert.same({true, "b\0a\0c\0d", "PLAIN", true}, {client:start "PLAIN"})
	end)
end)

describe("passwords", function()
	local long = ("0123456789"):rep(10000)
	for _, mechanism in ipairs {"PLAIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-256"} do
		it("of 100 kB work with " .. mechanism, function()
			succeeds(mechanism, {server = {users = {alice = long}}, credentials = with(CREDENTIALS, {password = long})})
			refused(mechanism, {server = {users = {alice = long}},
				credentials = with(CREDENTIALS, {password = long:sub(2)})})
		end)
	end

	it("of 100 kB are refused by the library's LOGIN server", function()
		refused("LOGIN", {server = {users = {alice = long}}, credentials = with(CREDENTIALS, {password = long})})
	end)

	it("with a zero byte reach the server, which refuses them", function()
		local password = "sec\0ret"
		local result = refused("PLAIN",
			{server = {users = {alice = password}}, credentials = with(CREDENTIALS, {password = password})})
		assert.equal("\0alice\0sec\0ret", result.first)
	end)

	it("that are empty on the server let nobody in by SCRAM", function()
		refused("SCRAM-SHA-256", {server = {users = {alice = ""}}, credentials = with(CREDENTIALS, {password = ""})})
	end)
end)

describe("names", function()
	it("may be two: who logs in and for whom", function()
		for _, mechanism in ipairs {"PLAIN", "DIGEST-MD5", "SCRAM-SHA-256"} do
			local result = succeeds(mechanism, {client = {proxying = true},
				credentials = with(CREDENTIALS, {username = "bob"})})
			assert.equal("bob", result.server:username())
			assert.equal("alice", result.server:authid())
		end
	end)

	it("that are two leave out mechanisms that know one", function()
		local result = authenticate("LOGIN CRAM-MD5", {client = {proxying = true}})
		assert.same({"client", "NOMECH", "no mechanism available"}, {result.at, result.code, result.message})
		assert.equal("PLAIN", authenticate("LOGIN PLAIN CRAM-MD5", {client = {proxying = true}}).mechanism)
	end)

	it("carry the realm of a server that has one", function()
		local result = succeeds("DIGEST-MD5", {server = {realm = "lab.test"},
			credentials = with(CREDENTIALS, {realm = "lab.test"})})
		assert.equal("alice@lab.test", result.server:username())
	end)

	it("with an @ of their own are whole names", function()
		succeeds("PLAIN", {server = {users = {["alice@lab.test"] = "secret"}},
			credentials = with(CREDENTIALS, {authname = "alice@lab.test"})})
		refused("PLAIN", {server = {users = {["alice@lab.test"] = "secret"}}})
	end)

	it("are not known before the end", function()
		local client, server = sasl.client {}, sasl.server {}
		assert.is_nil(client:username())
		assert.is_nil(client:authid())
		assert.is_nil(server:username())
	end)
end)

describe("ANONYMOUS", function()
	it("lets anybody in, users or not", function()
		assert.equal("anonymous", succeeds("ANONYMOUS", {server = {users = {}}}).server:username())
	end)
end)

describe("EXTERNAL", function()
	it("takes the name that the channel proved", function()
		local result = succeeds("EXTERNAL",
			{client = {external_name = "CN=alice"}, server = {external_name = "CN=alice"}})
		assert.equal("CN=alice", result.server:username())
		assert.equal("", result.first)
	end)

	it("is not offered and not taken without a name", function()
		assert.is_nil(table.concat(sasl.server({}):mechanisms(), " "):find("EXTERNAL"))
		assert.equal("NOMECH", authenticate("EXTERNAL").code)
		local server = sasl.server {external_name = "CN=alice"}
		assert.matches("EXTERNAL", table.concat(server:mechanisms(), " "))
	end)
end)

describe("channel binding", function()
	local binding = {type = "tls-exporter", data = ("\0\255x"):rep(11)}

	for _, mechanism in ipairs(SCRAM) do
		local both = mechanism .. " " .. mechanism .. "-PLUS"

		it("of " .. mechanism .. " is named -PLUS and holds for equal bytes", function()
			local result = succeeds(both, {client = {binding = binding}, server = {binding = binding}})
			assert.equal(mechanism .. "-PLUS", result.mechanism)
			assert.matches("^p=tls%-exporter,", result.first)
		end)

		it("of " .. mechanism .. " is refused for different bytes", function()
			local other = {type = "tls-exporter", data = ("y"):rep(33)}
			refused(both, {client = {binding = binding}, server = {binding = other}}, -5)
		end)

		it("of " .. mechanism .. " is named -PLUS before the first message too", function()
			local result = succeeds(both, {client = {binding = binding}, server = {binding = binding}, initial = false})
			assert.equal(mechanism .. "-PLUS", result.mechanism)
		end)
	end

	it("lasts as long as the connection", function()
		local client = sasl.client {binding = {type = "tls-exporter", data = ("z"):rep(32)}}
		local server = sasl.server {users = USERS, binding = {type = "tls-exporter", data = ("z"):rep(32)}}
		collectgarbage()
		collectgarbage()
		local _, first, mechanism = ask(client, CREDENTIALS, {}, "start", "SCRAM-SHA-256-PLUS SCRAM-SHA-256")
		local _, challenge = server:start(mechanism, first)
		collectgarbage()
		local _, response = client:step(challenge)
		local _, proof = server:step(response)
		assert.same({true, "", true}, {client:step(proof)})
		assert.is_true(select(3, server:step ""))
	end)

	it("is not used where the server does not offer it", function()
		local result = succeeds("SCRAM-SHA-256", {client = {binding = binding}})
		assert.equal("SCRAM-SHA-256", result.mechanism)
		assert.matches("^[ny],,", result.first)
	end)

	it("that is critical leaves only -PLUS", function()
		local client = sasl.client {binding = with(binding, {critical = true})}
		local ok, message, code = client:start "PLAIN CRAM-MD5"
		assert.same({nil, "no mechanism available", "NOMECH"}, {ok, message, code})
	end)

	it("makes the server offer -PLUS", function()
		assert.matches("SCRAM%-SHA%-256%-PLUS", table.concat(sasl.server({binding = binding}):mechanisms(), " "))
		assert.is_nil(table.concat(sasl.server({}):mechanisms(), " "):find("PLUS"))
	end)

	-- libsasl 2.1.28 writes behind its list when all names have a -PLUS form.
	it("is listed where every mechanism can bind", function()
		local server = sasl.server {binding = binding, mechanisms = "SCRAM-SHA-256", users = USERS}
		assert.same({"SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"}, server:mechanisms())
		local client = sasl.client {binding = binding}
		local _, first, mechanism = ask(client, CREDENTIALS, {}, "start", table.concat(server:mechanisms(), " "))
		assert.equal("SCRAM-SHA-256-PLUS", mechanism)
		assert.is_true((server:start(mechanism, first)))
	end)

	it("that is critical leaves only -PLUS on the server", function()
		local server = sasl.server {binding = with(binding, {critical = true}), users = USERS,
			mechanisms = "SCRAM-SHA-256 PLAIN"}
		assert.same({"SCRAM-SHA-256-PLUS"}, server:mechanisms())
		assert.is_nil((server:start("PLAIN", "\0alice\0secret")))
	end)
end)

describe("strength", function()
	it("that nobody brings leaves no mechanism", function()
		local ok, message, code = sasl.client({minssf = 56}):start "PLAIN LOGIN"
		assert.same({nil, "no mechanism available", "NOMECH"}, {ok, message, code})
		assert.same({}, sasl.server({minssf = 1000}):mechanisms())
	end)

	it("of the channel counts", function()
		succeeds("PLAIN", {client = {minssf = 128, external_ssf = 256}})
	end)

	it("that the server refuses is too weak for this user", function()
		local result = authenticate("DIGEST-MD5", {client = {minssf = 1}, server = {maxssf = 0}})
		assert.same({"client", "SASL", "mechanism too weak for this user"}, {result.at, result.code, result.message})
		assert.equal(-15, (select(2, result.client:detail())))
	end)

	it("is 0 without a layer, and before the end", function()
		local result = succeeds "PLAIN"
		assert.equal(0, result.client:ssf())
		assert.is_nil(result.client:layer())
		local client = sasl.client {}
		assert.equal(0, client:ssf())
		assert.is_nil(client:layer())
	end)

	it("without room for packets is 0", function()
		assert.equal(0, succeeds("DIGEST-MD5", {client = {maxbufsize = 0}}).client:ssf())
	end)
end)

describe("choosing", function()
	it("takes the strongest of a list", function()
		local result = authenticate("PLAIN LOGIN CRAM-MD5 SCRAM-SHA-256")
		assert.equal("SCRAM-SHA-256", result.mechanism)
	end)

	it("finds nothing in lists of nonsense", function()
		for _, list in ipairs {"", " ", "NOSUCH", ("X"):rep(100000), "PLAINX", ", ; .", "\255\254"} do
			local client = sasl.client {}
			local ok, _, code = client:start(list)
			assert.same({nil, "NOMECH"}, {ok, code})
		end
		assert.equal("SASL", (select(3, sasl.client({}):start "PLAIN\0LOGIN")))
	end)

	it("says which mechanism failed", function()
		local has = table.concat(sasl.mechanisms(), " ")
		if not has:find("GSSAPI", 1, true) then pending("GSSAPI is not installed") end
		local client = sasl.client {host = "host.invalid"}
		local ok, message, code, mechanism = ask(client, CREDENTIALS, {}, "start", "GSSAPI PLAIN")
		assert.same({nil, "SASL", "GSSAPI"}, {ok, code, mechanism})
		assert.matches("^GSSAPI Error", message)
	end)

	it("of the server is by its list, whatever is installed", function()
		local server = sasl.server {mechanisms = "PLAIN CRAM-MD5"}
		local names = server:mechanisms()
		table.sort(names)
		assert.same({"CRAM-MD5", "PLAIN"}, names)
		local ok, _, code, number = server:start("LOGIN")
		assert.same({nil, "NOMECH", -4}, {ok, code, number})
		assert.is_true((server:start("PLAIN")))
	end)

	it("of the server finds nothing under names of nonsense", function()
		for _, name in ipairs {"", "NOSUCH", ("X"):rep(100000), "PLAIN LOGIN", "PLAIN\0", "-PLUS", "PLAIN-PLUS\255"} do
			local ok, _, code = sasl.server({users = USERS}):start(name, "")
			assert.is_nil(ok)
			assert.equal("NOMECH", code)
		end
	end)

	it("of the server does not offer Kerberos by itself", function()
		local list = table.concat(sasl.server({}):mechanisms(), " ")
		assert.is_nil(list:find("GS"))
		assert.is_nil(list:find("NTLM"))
	end)
end)

describe("options", function()
	local function iterations(options)
		local server = sasl.server {users = USERS, options = options}
		local _, first = server:start("SCRAM-SHA-256", "n,,n=alice,r=abcdefgh")
		return tonumber(first:match ",i=(%d+)$")
	end

	it("are answered to the mechanisms", function()
		assert.equal(5000, iterations {scram_iteration_counter = "5000"})
		assert.equal(5000, iterations {scram_iteration_counter = 5000})
	end)

	it("may name the plug-in, which wins", function()
		assert.equal(6000, iterations {
			scram_iteration_counter = "5000", ["scram-sha-256_scram_iteration_counter"] = "6000"})
		assert.equal(5000, iterations {
			scram_iteration_counter = "5000", ["scram-sha-1_scram_iteration_counter"] = "6000"})
	end)

	it("of one connection do not reach the next", function()
		assert.equal(4096, iterations())
	end)

	it("of a client choose its mechanisms", function()
		local ok, _, code = sasl.client({options = {mech_list = "CRAM-MD5"}}):start "PLAIN"
		assert.same({nil, "INTERACT"}, {ok, code})
	end)

	-- In a process of its own, where nobody has started libsasl yet.
	it("that libsasl asks for when it starts are the first one's; what later ones say otherwise is ignored", function()
		local p = child.run([[
			local sasl = require "smtptest.core.sasl"
			local function ignored(kind, options)
				local words = {}
				for _, option in ipairs(sasl[kind] {options = options}:ignored()) do
					words[#words + 1] = ("%s %s %s"):format(option.name, option.once, option.value)
				end
				table.sort(words)
				print(table.concat(words, ", "))
			end
			ignored("server", {reauth_timeout = "5", x = "y"})
			ignored("server", {["Digest-MD5_Reauth_Timeout"] = "5"})
			ignored("server", {reauth_timeout = "6", ["gssapi_keytab"] = "/x", plugin_list = "y"})
			ignored("server", {})
			ignored("client", {reauth_timeout = "5"})]], {stdout = "pipe"})
		assert.equal("x false nil\n\ngssapi_keytab true nil, plugin_list true nil, reauth_timeout true 5\n\n" ..
			"reauth_timeout false nil\n", child.all(p:stdout()))
		assert.same({"exit", 0}, {child.wait(p)})
	end)

	it("that nobody has asked for yet are ignored, until somebody does", function()
		local client = sasl.client {options = {mech_list = "PLAIN", client_mech_list = "PLAIN"}}
		assert.same({{name = "mech_list", once = false}}, client:ignored())
		local server = sasl.server {users = USERS, options = {scram_iteration_counter = "5000"}}
		assert.same({{name = "scram_iteration_counter", once = false}}, server:ignored())
		server:start("SCRAM-SHA-256", "n,,n=alice,r=abcdefgh")
		assert.same({}, server:ignored())
	end)
end)

describe("what makes no sense", function()
	local GARBAGE = {
		"", "\0", "\255", ("A"):rep(100000), "a\0b\0c\0d\0e", "\0\0\0", "=,=,=", 'realm="', "nonce=", "n,,",
		"r=,s=,i=", "r=x,s=QUJD,i=0", "r=x,s=QUJD,i=99999999999", "p=,,", "v=", "e=other-error", ",,,,", "<>@",
		'nonce="x",nonce="y",qop="auth",algorithm=md5-sess', 'nonce="x",qop="auth-conf",maxbuf=17,algorithm=md5-sess',
		'nonce="x",maxbuf=99999999999999,algorithm=md5-sess', "otp-md5 499 ke1234 ext", "otp-md5 -1 x ext",
		"otp-md5 99999999999 x ext", "otp-nosuch 1 seed ext", "hex:0000000000000000", "word:",
	}

	for _, mechanism in ipairs(PASSWORD) do
		it("is refused or ignored by the client's " .. mechanism, function()
			for _, garbage in ipairs(GARBAGE) do
				local client = sasl.client {}
				local ok = ask(client, CREDENTIALS, {}, "start", mechanism)
				for _ = 1, 5 do
					if not ok then break end
					ok = ask(client, CREDENTIALS, {}, "step", garbage)
				end
				if not ok then
					local again, message, code = client:step(garbage)
					assert.is_nil(again)
					assert.equal("SASL", code)
					assert.is_true(#message > 0)
				end
			end
		end)

		it("is refused by the server's " .. mechanism, function()
			for _, garbage in ipairs(GARBAGE) do
				for _, initial in ipairs {true, false} do
					local server = sasl.server {users = USERS, mechanisms = mechanism}
					local ok, message, done = server:start(mechanism, initial and garbage or nil)
					for _ = 1, 5 do
						if not ok then break end
						assert.is_false(done)
						ok, message, done = server:step(garbage)
					end
					assert.is_nil(ok)
					assert.equal("SASL", done)
					assert.is_true(#message > 0)
				end
			end
		end)
	end

	it("is a step without a challenge", function()
		for _, mechanism in ipairs {"LOGIN", "CRAM-MD5", "DIGEST-MD5"} do
			local client = sasl.client {}
			assert(client:start(mechanism))
			local _, _, code = ask(client, CREDENTIALS, {}, "step", nil)
			assert.is_true(code == "SASL" or code == false or code == true)
		end
	end)

	it("is a step before the start, after the end, a second start", function()
		local client, server = sasl.client {}, sasl.server {}
		assert.same({nil, "the exchange has not begun", "SASL"}, {client:step ""})
		assert.same({nil, "no exchange is open", "SASL", -7}, {server:step ""})
		local result = succeeds "PLAIN"
		assert.same({nil, "the exchange is done", "SASL"}, {result.client:step ""})
		assert.same({nil, "the exchange is done", "SASL"}, {result.client:start "PLAIN"})
		assert.equal("SASL", (select(3, result.server:step "")))
		assert.equal("SASL", (select(3, result.server:start "PLAIN")))
	end)

	it("is a client that is told yes too early: it is not done", function()
		local client = sasl.client {}
		local _, _, _, done = ask(client, CREDENTIALS, {}, "start", "SCRAM-SHA-256")
		assert.is_false(done)
		assert.equal(0, client:ssf())
	end)

	it("is told from a wrong server", function()
		local client, server = sasl.client {}, sasl.server {users = USERS}
		local _, first = ask(client, CREDENTIALS, {}, "start", "SCRAM-SHA-256")
		local _, challenge = server:start("SCRAM-SHA-256", first)
		local _, response = client:step(challenge)
		assert(server:step(response))
		local ok, _, code = client:step("v=" .. ("A"):rep(43) .. "=")
		assert.same({nil, "SASL"}, {ok, code})
	end)

	it("is refused in the options, with their name", function()
		local WRONG = {
			minssf = {"many", -1, 1.5, 2^40}, service = {"a\0b", {}}, host = {"a\0b", {}, print},
			options = {"x", {5}, {x = {}}}, binding = {"x", {}, {type = "tls-exporter"}},
		}
		for name, values in pairs(WRONG) do
			for _, value in ipairs(values) do
				assert.error_matches(function() sasl.client {[name] = value} end, name)
			end
		end
		for _, users in ipairs {"x", {"x"}, {alice = {}}, {["a\0b"] = "x"}} do
			assert.error_matches(function() sasl.server {users = users} end, "users")
		end
		assert.has_error(function() sasl.client() end)
	end)

	it("is an address that is none", function()
		for _, address in ipairs {"x", "1.2.3.4;x", ("1"):rep(100000) .. ";25"} do
			local client, message, code = sasl.client {iplocal = address}
			assert.is_nil(client)
			assert.equal("SASL", code)
			assert.is_true(#message > 0)
		end
		assert(sasl.client {iplocal = "1.2.3.4;25", ipremote = "::1;25"})
	end)
end)

describe("the reason of a failure", function()
	it("is in words, with libsasl's number", function()
		local result = refused("CRAM-MD5", {credentials = with(CREDENTIALS, {password = "wrong"})})
		local text, number = result.server:detail()
		assert.equal("incorrect digest response", text)
		assert.equal(-13, number)
		assert.equal(text, result.message)
	end)

	it("of a wrong one-time password is not a stale one", function()
		assert.equal("authentication failure",
			refused("OTP", {credentials = with(CREDENTIALS, {password = "wrong"})}).message)
	end)

	it("is 0 when nothing failed", function()
		assert.equal(0, (select(2, succeeds("PLAIN").client:detail())))
	end)
end)

describe("a life", function()
	local METHODS = {
		client = {start = {"PLAIN"}, step = {""}, prompts = {}, answer = {{}}, detail = {}, ignored = {}, ssf = {}, layer = {},
			username = {}, authid = {}},
		server = {mechanisms = {}, start = {"PLAIN"}, step = {""}, detail = {}, ignored = {}, ssf = {}, layer = {}, username = {},
			authid = {}},
	}
	for kind, methods in pairs(METHODS) do
		it("of a " .. kind .. " ends by close, twice if need be", function()
			local object = sasl[kind] {}
			assert.is_true(object:close())
			assert.is_true(object:close())
			for name, arguments in pairs(methods) do
				assert.same({nil, "closed", "EBADF"}, {object[name](object, table.unpack(arguments))}, name)
			end
		end)

		it("of a " .. kind .. " ends with its block", function()
			local kept
			do
				local object <close> = sasl[kind] {}
				kept = object
			end
			assert.equal("EBADF", (select(3, kept:ssf())))
		end)

		it("of a " .. kind .. " is for no other object's methods", function()
			local object = sasl[kind] {}
			for name, arguments in pairs(methods) do
				assert.has_error(function() object[name](io.stdout, table.unpack(arguments)) end)
				assert.has_error(function() object[name]({}, table.unpack(arguments)) end)
			end
			assert.has_error(function() object.close(io.stdout) end)
		end)
	end

	it("may end in the middle of everything", function()
		for _, mechanism in ipairs(PASSWORD) do
			local client, server = sasl.client {}, sasl.server {users = USERS, mechanisms = mechanism}
			client:start(mechanism)          -- asks, or waits for a challenge
			server:start(mechanism)
			server:close()
			client:step "challenge"
			client:close()
		end
		collectgarbage()
	end)

	it("of many side by side is each its own", function()
		local all = {}
		for i = 1, 10 do
			local password = "secret" .. i
			all[i] = authenticate("SCRAM-SHA-1", {server = {users = {["user" .. i] = password}},
				credentials = {authname = "user" .. i, username = "", password = password}})
		end
		for i, result in ipairs(all) do assert.equal("user" .. i, result.server:username()) end
	end)
end)
