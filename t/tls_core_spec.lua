local tls = require "smtptest.core.tls"
local cert = require "smtptest.core.cert"
local pki = require "pki"

local lab
setup(function() lab = pki.make() end)
teardown(function() lab.remove() end)

local VERSIONS = {"1.0", "1.1", "1.2", "1.3"}

-- A server's context with the lab's certificate, and a client's that trusts it.
local function server_context(changes)
	local options = {server = true, certfile = lab.path "server.pem", keyfile = lab.path "server.key"}
	for name, value in pairs(changes or {}) do options[name] = value end
	return assert(tls.context(options))
end

local function client_context(changes)
	local options = {cafile = lab.path "ca.pem"}
	for name, value in pairs(changes or {}) do options[name] = value end
	return assert(tls.context(options))
end

-- Carries what one machine has for below to the other, in pieces of that size.
local function carry(from, to, size)
	local bytes = from:drain()
	for i = 1, #bytes, size or #bytes + 1 do to:feed(bytes:sub(i, i + (size or #bytes) - 1)) end
	return #bytes
end

-- Shakes hands until both are done or nothing moves; the two last results.
local function shake(client, server, size)
	local mine, yours
	repeat
		mine = table.pack(client:handshake())
		local moved = carry(client, server, size)
		yours = table.pack(server:handshake())
		moved = moved + carry(server, client, size)
	until mine[1] and yours[1] or moved == 0
	return mine, yours
end

-- client, server: connected machines of that version.
local function connected(version, options, contexts)
	contexts = contexts or {}
	local client = (contexts.client or client_context{min_version = version, max_version = version})
		:client(options or {})
	local server = (contexts.server or server_context{min_version = version, max_version = version})
		:server()
	local mine, yours = shake(client, server)
	assert(mine[1], mine[2])
	assert(yours[1], yours[2])
	return client, server
end

-- What `bytes`, written at one end, are at the other.
local function send(from, to, bytes)
	assert.equal(#bytes, from:write(bytes))
	carry(from, to)
	local got = {}
	repeat
		local piece, message, code = to:read()
		got[#got + 1] = piece
		assert(piece or code == "WANTREAD", message)
	until not piece
	return table.concat(got)
end

local function fails(code, pattern, ...)
	local value, message, got = ...
	assert.is_nil(value)
	assert.equal(code, got, message)
	assert.matches(pattern, message)
end

-- The result of a machine after a handshake, spread.
local function spread(results) return table.unpack(results, 1, results.n) end

local function codes(layer)
	local list = {}
	for i, problem in ipairs(layer:problems()) do
		list[i] = problem.code .. (problem.again and " again" or "")
	end
	return list
end

for _, version in ipairs(VERSIONS) do
	describe("two machines of TLS " .. version, function()
		it("shake hands and carry bytes both ways", function()
			local client, server = connected(version)
			assert.equal("EHLO a\r\n", send(client, server, "EHLO a\r\n"))
			assert.equal("250 \0\255\r\n", send(server, client, "250 \0\255\r\n"))
			local name = version == "1.0" and "TLSv1" or "TLSv" .. version
			assert.equal(name, client:info().protocol)
			assert.equal(name, server:info().protocol)
		end)

		it("carry more than a record", function()
			local client, server = connected(version)
			local bytes = ("0123456789abcdef"):rep(20000)
			assert.equal(bytes, send(client, server, bytes))
			assert.equal(bytes, send(server, client, bytes))
			assert.equal("", client:drain())
		end)

		it("live on single bytes", function()
			local client = client_context{min_version = version, max_version = version}:client{}
			local server = server_context{min_version = version, max_version = version}:server()
			local mine, yours = shake(client, server, 1)
			assert.is_true(mine[1])
			assert.is_true(yours[1])
			client:write("one by one")
			local bytes = client:drain()
			for i = 1, #bytes - 1 do
				server:feed(bytes:sub(i, i))
				fails("WANTREAD", "", server:read())
			end
			server:feed(bytes:sub(-1))
			assert.equal("one by one", server:read())
		end)

		it("tell the peer's close_notify from an end without it", function()
			local client, server = connected(version)
			client:write("last words")
			client:finish()
			carry(client, server)
			assert.equal("last words", server:read())
			fails("EOF", "closed TLS", server:read())
			fails("EOF", "closed TLS", server:read())
			server:eof()
			fails("EOF", "closed TLS", server:read())

			client, server = connected(version)
			client:write("last words")
			carry(client, server)
			server:eof()
			assert.equal("last words", server:read())
			fails("TRUNCATED", "without close_notify", server:read())
			fails("TRUNCATED", "without close_notify", server:read())
			fails("TRUNCATED", "without close_notify", server:write("x"))
		end)

		it("take half a record before the end for a truncation", function()
			local client, server = connected(version)
			server:write("never whole")
			client:feed(server:drain():sub(1, -2))
			client:eof()
			repeat local piece, _, code = client:read() until not piece and code ~= "WANTREAD"
			fails("TRUNCATED", "without close_notify", client:read())
		end)

		it("leave the plain text after close_notify alone, in both directions", function()
			for _, side in ipairs{"client", "server"} do
				local client, server = connected(version)
				local from, to = client, server
				if side == "server" then from, to = server, client end
				from:write("sealed")
				from:finish()
				to:feed(from:drain() .. "in clear\r\n")
				assert.equal("", to:rest())
				assert.equal("sealed", to:read())
				assert.equal("", to:rest())
				fails("EOF", "", to:read())
				assert.equal("in clear\r\n", to:rest())
				assert.equal("", to:rest())
				to:feed("more")
				assert.equal("more", to:rest())
			end
		end)

		it("read on after their own close_notify, but do not write", function()
			local client, server = connected(version)
			client:finish()
			assert.is_true(client:finish())
			carry(client, server)
			assert.equal("answer", send(server, client, "answer"))
			fails("EPIPE", "after close_notify", client:write("x"))
			assert.equal("again", send(server, client, "again"))
		end)

		it("resume a session from its bytes and agree on bindings", function()
			local contexts = {
				client = client_context{min_version = version, max_version = version},
				server = server_context{min_version = version, max_version = version},
			}
			local stored
			for round = 1, 3 do
				local client, server = connected(version,
					{session = stored, sni = "mail.test", name = "mail.test", verify = true}, contexts)
				assert.equal(round > 1, client:info().resumed)
				assert.equal(round > 1, server:info().resumed)
				assert.is_true(client:info().verified)
				assert.equal("mail.test", server:info().sni)
				for _, kind in ipairs{"tls-unique", "tls-exporter", "tls-server-end-point"} do
					if kind == "tls-unique" and version == "1.3" then
						fails("TLS", "TLS 1.3 has no tls%-unique", client:channel_binding(kind))
					else
						local bytes = assert(client:channel_binding(kind))
						assert.equal(kind == "tls-unique" and 12 or 32, #bytes)
						assert.equal(bytes, server:channel_binding(kind))
					end
				end
				assert.equal("x", send(server, client, "x"))
				assert.equal(1, #client:peer())
				local sessions = client:sessions()
				stored = sessions[#sessions] or stored
				assert.is_string(stored)
				assert.same({}, client:sessions())
				-- no close_notify: the session must survive that
				client:close()
				server:close()
			end
		end)

		it("shake hands by writing, when nobody did before", function()
			local client = client_context{min_version = version, max_version = version}:client{}
			local server = server_context{min_version = version, max_version = version}:server()
			fails("WANTREAD", "", client:write("early"))
			fails("WANTREAD", "", server:read())
			for _ = 1, 4 do
				carry(client, server)
				server:read()
				carry(server, client)
				client:handshake()
			end
			assert.equal("early", send(client, server, "early"))
		end)
	end)
end

describe("a write", function()
	it("takes a part of its string as string.sub does", function()
		local client, server = connected "1.3"
		assert.equal(3, client:write("abcdef", 2, 4))
		assert.equal(2, client:write("abcdef", 5))
		assert.equal(0, client:write("abcdef", 7))
		assert.equal(0, client:write("abcdef", 3, 2))
		assert.equal(0, client:write(""))
		assert.equal(1, client:write("abcdef", 1, 1))
		assert.equal(6, client:write("abcdef", 1, 100))
		carry(client, server)
		assert.equal("bcd", server:read())
		assert.equal("ef", server:read())
		assert.equal("a", server:read())
		assert.equal("abcdef", server:read())
		fails("WANTREAD", "", server:read())
		assert.error(function() client:write("a", 0) end)
		assert.error(function() client:write("a", 1, -1) end)
	end)

	it("makes a record each time, and a read takes one at most", function()
		local client, server = connected "1.2"
		client:write("one")
		client:write("two")
		carry(client, server)
		assert.equal("one", server:read())
		assert.equal("t", server:read(1))
		assert.equal("wo", server:read(100000))
		assert.error(function() server:read(0) end)
	end)

	it("leaves a drained machine empty and working after a large one", function()
		local client, server = connected "1.3"
		for _ = 1, 3 do
			local bytes = ("x"):rep(300000)
			assert.equal(bytes, send(client, server, bytes))
			assert.equal("", client:drain())
			assert.equal("short", send(client, server, "short"))
		end
	end)
end)

describe("the certificate of a server", function()
	-- The client's machine after a handshake, its result, the server's result.
	local function judged(options, leaf, context)
		local client = client_context(context):client(options)
		local server = server_context{certfile = lab.path(leaf .. ".pem"),
			keyfile = lab.path(leaf .. ".key")}:server()
		local mine, yours = shake(client, server)
		return client, mine, yours
	end

	for _, name in ipairs{"mail.test", "MAIL.TEST", "a.wild.test", "192.0.2.1"} do
		it("is good for " .. name, function()
			local client, mine = judged({verify = true, name = name}, "server")
			assert.is_true(mine[1], mine[2])
			assert.is_true(client:info().verified)
			assert.same({}, client:problems())
		end)
	end

	for _, name in ipairs{"mail.test.", "other.test", "a.b.wild.test", "wild.test", "192.0.2.2",
		"server"} do
		it("is not good for " .. name, function()
			local client, mine, yours = judged({verify = true, name = name}, "server")
			fails("CERTIFICATE", "mismatch %(/O=Lab/CN=server%)", spread(mine))
			fails("TLS", "alert", spread(yours))
			assert.equal(name == "192.0.2.2" and "64" or "62", codes(client)[1])
			for i = 2, #client:problems() do assert.is_true(client:problems()[i].again) end
		end)
	end

	it("is judged against an address", function()
		local client, mine = judged({verify = true, ip = "192.0.2.1"}, "server")
		assert.is_true(mine[1], mine[2])
		assert.same({}, client:problems())
		client, mine = judged({verify = true, ip = "192.0.2.2"}, "server")
		fails("CERTIFICATE", "IP address mismatch", spread(mine))
		assert.equal("64", codes(client)[1])
		fails("TLS", "cannot verify this address", client_context():client{ip = "no address"})
	end)

	it("is only reported when verify is not asked for", function()
		local client, mine, yours = judged({name = "other.test"}, "server")
		assert.is_true(mine[1])
		assert.is_true(yours[1])
		assert.is_false(client:info().verified)
		local problem = client:problems()[1]
		assert.equal(62, problem.code)
		assert.equal("hostname mismatch", problem.text)
		assert.equal(0, problem.depth)
		assert.equal("/O=Lab/CN=server", problem.subject)
		assert.equal("/O=Lab/CN=Lab CA", problem.issuer)
		assert.is_false(problem.again)
	end)

	it("has expired, which OpenSSL says twice", function()
		local client, mine = judged({name = "mail.test"}, "expired")
		assert.is_true(mine[1], mine[2])
		assert.same({"10", "10 again"}, codes(client))
		assert.equal("certificate has expired", client:problems()[1].text)
		client, mine = judged({name = "other.test", verify = true}, "expired")
		fails("CERTIFICATE", "hostname mismatch", spread(mine))
		-- all that is wrong, not only the first
		assert.same({"62", "62 again", "10", "10 again"}, codes(client))
	end)

	it("is unknown without its authority", function()
		local client, mine = judged({verify = true}, "server", {cafile = lab.path "rsa.pem"})
		fails("CERTIFICATE", "unable to get local issuer certificate", spread(mine))
		assert.equal("20", codes(client)[1])
	end)

	it("may be self-signed, and is then good for who trusts itself", function()
		local pem, key = cert.self_signed{name = "localhost"}
		local own = server_context{cert = pem, key = key, certfile = nil}
		local client = client_context():client{name = "localhost"}
		local mine = shake(client, own:server())
		assert.is_true(mine[1])
		assert.equal("18", codes(client)[1])
		assert.is_false(client:info().verified)
		client = client_context{cafile = lab.write("self.pem", pem)}
			:client{name = "localhost", verify = true}
		mine = shake(client, own:server())
		assert.is_true(mine[1], mine[2])
		assert.is_true(client:info().verified)
	end)

	it("comes as DER, with its chain", function()
		local chain = lab.write("chain.pem", lab.read "server.pem" .. lab.read "ca.pem")
		local client = client_context():client{}
		assert.is_true(shake(client, server_context{certfile = chain}:server())[1])
		local list = client:peer()
		assert.equal(2, #list)
		assert.equal("/O=Lab/CN=server", cert.parse(list[1]).subject)
		assert.equal("/O=Lab/CN=Lab CA", cert.parse(list[2]).subject)
	end)

	it("is found in a hashed folder", function()
		assert(os.execute("mkdir -p " .. lab.path "hashed"))
		lab.write("hashed/ca.pem", lab.read "ca.pem")
		assert(os.execute("openssl rehash " .. lab.path "hashed"))
		local client = assert(tls.context{capath = lab.path "hashed"}):client{verify = true}
		assert.is_true(shake(client, server_context():server())[1])
	end)

	it("must fit before a session is resumed under other demands", function()
		local contexts = {client = client_context(), server = server_context()}
		local client, server = connected(nil, {name = "other.test"}, contexts)
		send(server, client, "x")
		local stored = client:sessions()[1]
		local again = contexts.client:client{session = stored, name = "mail.test", verify = true}
		assert.is_true(shake(again, contexts.server:server())[1])
		assert.is_false(again:info().resumed)
		assert.is_true(again:info().verified)

		client, server = connected(nil, {}, contexts)
		send(server, client, "x")
		stored = client:sessions()[1]
		for _, demand in ipairs{{name = "other.test"}, {ip = "192.0.2.2"}} do
			demand.verify, demand.session = true, stored
			again = contexts.client:client(demand)
			fails("CERTIFICATE", "mismatch", spread(shake(again, contexts.server:server())))
		end
	end)
end)

describe("the certificate of a client", function()
	local function identity()
		return client_context{certfile = lab.path "client.pem", keyfile = lab.path "client.key"}
	end

	for _, version in ipairs{"1.2", "1.3"} do
		it("is shown to a server that asks, in TLS " .. version, function()
			local context = server_context{cafile = lab.path "ca.pem", verify_client = "require",
				min_version = version, max_version = version}
			local client, server = identity():client{}, context:server{verify = true}
			local mine, yours = shake(client, server)
			assert.is_true(mine[1], mine[2])
			assert.is_true(yours[1], yours[2])
			assert.is_true(server:info().verified)
			assert.equal("/O=Lab/CN=client", cert.parse(server:peer()[1]).subject)
		end)

		it("is judged by the server in TLS " .. version, function()
			local context = server_context{cafile = lab.path "rsa.pem", verify_client = true,
				min_version = version, max_version = version}
			local server = context:server()
			assert.is_true(shake(identity():client{}, server)[1])
			assert.is_false(server:info().verified)
			assert.equal("20", codes(server)[1])
			server = context:server{verify = true}
			local _, yours = shake(identity():client{}, server)
			fails("CERTIFICATE", "unable to get local issuer", spread(yours))
		end)

		it("is not needed where a server only asks, in TLS " .. version, function()
			local server = server_context{verify_client = true, min_version = version,
				max_version = version}:server{verify = true}
			local mine, yours = shake(client_context():client{}, server)
			assert.is_true(mine[1])
			assert.is_true(yours[1])
			assert.is_false(server:info().verified)
			assert.same({}, server:peer())
		end)
	end

	it("is remembered in a resumed session", function()
		local stored
		local contexts = {client = identity(), server = server_context{cafile = lab.path "ca.pem",
			verify_client = "require"}}
		for round = 1, 2 do
			local client, server = connected(nil, {session = stored}, contexts)
			assert.equal(round == 2, server:info().resumed)
			assert.is_true(server:info().verified)
			assert.equal("/O=Lab/CN=client", cert.parse(server:peer()[1]).subject)
			send(server, client, "x")
			stored = client:sessions()[1]
		end
	end)

	it("is missed during the handshake of TLS 1.2", function()
		local server = server_context{verify_client = "require", max_version = "1.2"}:server()
		local mine, yours = shake(client_context():client{}, server)
		fails("TLS", "handshake failure", spread(mine))
		fails("TLS", "peer did not return a certificate", spread(yours))
	end)

	it("is missed after the handshake of TLS 1.3, and the client says so", function()
		local client = client_context():client{}
		local mine, yours = shake(client, server_context{verify_client = "require"}:server())
		assert.is_true(mine[1])
		fails("TLS", "peer did not return a certificate", spread(yours))
		fails("TLS", "^client certificate refused after the handshake: .*certificate required",
			client:read())
		fails("TLS", "^client certificate refused", client:write("x"))
	end)

	it("is disliked after the handshake of TLS 1.3", function()
		local client = identity():client{}
		local server = server_context{verify_client = true, cafile = lab.path "rsa.pem"}
			:server{verify = true}
		assert.is_true(shake(client, server)[1])
		fails("TLS", "^client certificate refused after the handshake: .*unknown ca", client:read())
	end)
end)

describe("a handshake", function()
	it("says that a peer in clear text does not speak TLS", function()
		local client = client_context():client{}
		client:handshake()
		client:drain()
		client:feed("220 mail.test ESMTP ready\r\n")
		fails("TLS", "wrong version number %(the peer does not speak TLS%?%)", client:handshake())
		client:drain()
		-- the first failure, not that nothing is left to say
		fails("TLS", "wrong version number", client:handshake())
		fails("TLS", "wrong version number", client:read())
		fails("TLS", "wrong version number", client:write("x"))
		assert.is_true(client:finish())
		fails("TLS", "not complete", client:info())
	end)

	it("that the peer ends is a failure of TLS, wherever it ends", function()
		local client = client_context():client{}
		client:handshake()
		client:eof()
		fails("TLS", "closed the connection during the handshake", client:handshake())
		local one = client_context():client{}
		local two = server_context():server()
		one:handshake()
		two:feed(one:drain())
		two:handshake()
		one:feed(two:drain():sub(1, 20))
		one:eof()
		fails("TLS", "closed the connection during the handshake", one:handshake())
	end)

	it("fails in words when no version is in common", function()
		local mine, yours = shake(client_context{max_version = "1.2"}:client{},
			server_context{min_version = "1.3"}:server())
		fails("TLS", "protocol version %(the peer speaks none of our TLS versions%)", spread(mine))
		fails("TLS", "unsupported protocol %(no TLS version in common%)", spread(yours))
	end)

	it("fails in words when no cipher is in common", function()
		local mine, yours = shake(client_context{max_version = "1.2", ciphers = "AES128-SHA"}:client{},
			server_context():server())
		fails("TLS", "handshake failure %(the peer found no", spread(mine))
		fails("TLS", "no shared cipher", spread(yours))
	end)

	it("uses the cipher, suite, group and protocol that were asked for", function()
		local server = server_context{alpn = {"smtp", "other"}}
		local info = connected(nil, {}, {server = server,
			client = client_context{ciphersuites = "TLS_CHACHA20_POLY1305_SHA256", groups = "P-384",
				alpn = {"none", "other"}}}):info()
		assert.equal("TLSv1.3", info.protocol)
		assert.equal("TLS_CHACHA20_POLY1305_SHA256", info.cipher)
		assert.equal(256, info.bits)
		assert.equal(256, info.algbits)
		assert.equal("P-384", info.group)
		assert.equal("other", info.alpn)
		assert.is_nil(info.sni)
		info = connected(nil, {}, {server = server, client = client_context{max_version = "1.2",
			ciphers = "ECDHE-ECDSA-AES128-SHA256"}}):info()
		assert.equal("ECDHE-ECDSA-AES128-SHA256", info.cipher)
		assert.equal(128, info.bits)
		assert.is_nil(info.alpn)
		local mine = shake(client_context{alpn = {"none"}}:client{}, server:server())
		fails("TLS", "no application protocol", spread(mine))
	end)

	it("works without any certificate, but never verified", function()
		local both = {ciphers = "ADH-AES128-SHA256:@SECLEVEL=0", max_version = "1.2"}
		local anonymous = assert(tls.context{server = true, ciphers = both.ciphers})
		local client, server = connected(nil, {}, {client = client_context(both), server = anonymous})
		assert.is_false(client:info().verified)
		assert.same({}, client:peer())
		fails("TLS", "no tls%-server%-end%-point here", server:channel_binding "tls-server-end-point")
		local mine = shake(client_context(both):client{verify = true}, anonymous:server())
		fails("CERTIFICATE", "the peer has no certificate", spread(mine))
	end)

	it("leaves a trace when asked to, once", function()
		local client = connected(nil, {trace = true})
		local trace = table.concat(client:trace(), "\n")
		assert.matches("SSL_connect:SSLv3/TLS write client hello", trace, 1, true)
		assert.matches("SSL_connect:SSLv3/TLS read server hello", trace, 1, true)
		assert.not_matches("error in", trace)
		assert.same({}, client:trace())
		client:finish()
		assert.same({"SSL3 alert write:warning:close notify"}, client:trace())
		assert.same({}, connected(nil, {}):trace())
	end)

	it("appends its secrets to a key log", function()
		local path = lab.path "keys"
		lab.write("keys", "# before\n")
		connected(nil, {}, {client = client_context{keylog = path}, server = server_context()})
		local log = lab.read "keys"
		assert.matches("^# before\n", log)
		assert.matches("\nCLIENT_TRAFFIC_SECRET_0 %x+ %x+\n", log)
		assert.matches("\n$", log)
		fails("TLS", "cannot open key log .*/none/keys: No such file", tls.context{
			keylog = lab.path "none/keys"})
	end)

	it("has bindings and facts only when it is over", function()
		local client = client_context():client{}
		fails("TLS", "not complete", client:channel_binding "tls-exporter")
		fails("TLS", "not complete", client:info())
		assert.same({}, client:peer())
		assert.same({}, client:sessions())
		assert.same({}, client:problems())
		assert.error(function() client:channel_binding "tls-nosuch" end)
	end)

	it("hashes the server's certificate with SHA-256 when its signature has no hash", function()
		local file = lab.path "ed"
		assert(os.execute(("openssl req -x509 -newkey ed25519 -nodes -keyout %s.key -out %s.pem " ..
			"-days 3 -subj /CN=ed 2>/dev/null"):format(file, file)))
		local client, server = connected(nil, {}, {client = client_context(),
			server = server_context{certfile = file .. ".pem", keyfile = file .. ".key"}})
		local bytes = client:channel_binding "tls-server-end-point"
		assert.equal(bytes, server:channel_binding "tls-server-end-point")
		assert.equal(cert.parse(client:peer()[1]).fingerprint,
			(bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end)))
	end)
end)

describe("tls-unique", function()
	local function hex(bytes)
		return (bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end))
	end

	-- The handshake messages in records, up to the first change of cipher.
	local function messages(bytes)
		local list, at = {}, 1
		while bytes:byte(at) == 22 do
			local body, after = (">s2"):unpack(bytes, at + 3)
			list[#list + 1], at = body, after
		end
		assert(bytes:byte(at) == 20)
		return table.concat(list)
	end

	-- RFC 5246 section 7.4.9, computed by the openssl program; sends all there is.
	local function finished(client, server, label)
		lab.write("secrets", "")
		local seen = ""
		repeat
			client:handshake()
			local up = client:drain()
			server:feed(up)
			server:handshake()
			local down = server:drain()
			client:feed(down)
			seen = seen .. up .. down
		until up .. down == ""
		local secret = lab.read "secrets":match "CLIENT_RANDOM %x+ (%x+)"
		local path = lab.write("messages", messages(seen))
		local digest <close> = assert(io.popen("openssl dgst -sha256 -r " .. path))
		local prf <close> = assert(io.popen(("openssl kdf -keylen 12 -kdfopt digest:SHA256 -kdfopt " ..
			"hexsecret:%s -kdfopt hexseed:%s%s TLS1-PRF"):format(secret, hex(label),
			digest:read "a":match "^%x+")))
		return (prf:read "a":gsub("[:%s]", ""):lower())
	end

	it("is the first Finished: the client's, but the server's when resumed", function()
		local context = client_context{max_version = "1.2", keylog = lab.path "secrets",
			ciphers = "ECDHE-ECDSA-AES128-GCM-SHA256"}
		local server_side, stored = server_context(), nil
		for _, label in ipairs{"client finished", "server finished"} do
			local client, server = context:client{session = stored}, server_side:server()
			local expected = finished(client, server, label)
			assert.equal(label == "server finished", client:info().resumed)
			assert.equal(expected, hex(client:channel_binding "tls-unique"))
			assert.equal(expected, hex(server:channel_binding "tls-unique"))
			stored = client:sessions()[1]
		end
	end)
end)

describe("garbage", function()
	it("never crashes a machine, whenever it comes", function()
		local client_side, server_side = client_context(), server_context()
		math.randomseed(20)
		for round = 1, 300 do
			local client, server = client_side:client{trace = round % 3 == 0}, server_side:server()
			local steps = round % 6
			for _ = 1, steps do
				client:handshake()
				carry(client, server)
				server:handshake()
				carry(server, client)
			end
			if steps > 3 then server:write("some text") client:write("other text") end
			for _, pair in ipairs{{client, server}, {server, client}} do
				local bytes = pair[1]:drain()
				local kind = round % 4
				if kind == 0 then
					local noise = {}
					for i = 1, math.random(200) do noise[i] = string.char(math.random(0, 255)) end
					bytes = table.concat(noise)
				elseif kind == 1 and #bytes > 0 then
					local at = math.random(#bytes)
					bytes = bytes:sub(1, at - 1) .. string.char(math.random(0, 255)) .. bytes:sub(at + 1)
				elseif kind == 2 then
					bytes = bytes:sub(1, math.random(0, #bytes))
				else
					bytes = bytes .. bytes
				end
				pair[2]:feed(bytes)
				if round % 2 == 0 then pair[2]:eof() end
				for _ = 1, 3 do
					local got, message, code = pair[2]:read()
					assert(got or (message and code))
					pair[2]:finish()
					pair[2]:drain()
					pair[2]:rest()
					pair[2]:problems()
				end
			end
		end
	end)

	for name, bytes in pairs{empty = "", short = "x", text = "no session at all",
		["a cut one"] = "\48\130\1\0\2\1\1"} do
		it("is refused as a stored session: " .. name, function()
			fails("TLS", "cannot use the stored session", client_context():client{session = bytes})
		end)
	end
end)

describe("a context", function()
	local function refused(options, pattern)
		local context, message, code, what = tls.context(options)
		assert.is_nil(context)
		assert.equal("TLS", code)
		assert.equal(pattern:gsub("@", function() return lab.dir end), message)
		return what
	end

	it("takes certificate and key from one file, one text, or two", function()
		local both = lab.read "both.pem"
		for _, options in ipairs{
			{certfile = lab.path "both.pem"}, {keyfile = lab.path "both.pem"}, {cert = both},
			{key = both}, {cert = lab.read "server.pem", keyfile = lab.path "server.key"},
			{certfile = lab.path "server.pem", key = lab.read "server.key"},
			{certfile = lab.path "both.pem", keyfile = lab.path "both.pem"},
		} do
			options.server = true
			assert.is_true(shake(client_context():client{verify = true},
				assert(tls.context(options)):server())[1])
		end
	end)

	it("says what is wrong with its files", function()
		local server, client = lab.path "server.pem", lab.path "client.key"
		refused({certfile = lab.path "none.pem"},
			"cannot load certificate from @/none.pem: No such file or directory")
		refused({certfile = server, keyfile = lab.path "none.key"},
			"cannot load private key from @/none.key: No such file or directory")
		refused({certfile = lab.dir}, "cannot load certificate from @: Is a directory")
		refused({certfile = server}, "cannot load private key from @/server.pem: no private key in it")
		refused({keyfile = client}, "cannot load certificate from @/client.key: no certificate in it")
		refused({certfile = lab.write("empty", "")},
			"cannot load certificate from @/empty: no certificate in it")
		refused({certfile = server, keyfile = client},
			"the private key in @/client.key does not belong to the certificate in @/server.pem")
		refused({cert = "garbage"}, "cannot load certificate from the given PEM: no certificate in it")
		refused({cafile = lab.path "none.pem"},
			"cannot load CA certificates from @/none.pem: No such file or directory")
		refused({cafile = lab.path "server.key"},
			"cannot load CA certificates from @/server.key: no certificate or crl found")
		refused({capath = lab.path "none"},
			"cannot load CA certificates from @/none: No such file or directory")
		refused({capath = server}, "cannot load CA certificates from @/server.pem: Not a directory")
	end)

	it("says what is wrong with a damaged certificate or key", function()
		local damaged = lab.write("damaged", (lab.read "server.pem":gsub("\n(....)", "\n@@@@", 2)))
		local context, message, code = tls.context{certfile = damaged}
		assert.is_nil(context)
		assert.equal("TLS", code)
		assert.matches("cannot load certificate from .*/damaged: ", message)
		damaged = lab.write("damaged", lab.read "server.pem" .. lab.read "server.key"
			:gsub("\n(....)", "\nAAAA", 1))
		context, message, code = tls.context{certfile = damaged}
		assert.is_nil(context)
		assert.equal("TLS", code)
		assert.matches("cannot load private key from .*/damaged: ", message)
	end)

	it("opens an encrypted key, and tells a missing password from a wrong one", function()
		local options = {certfile = lab.path "server.pem", keyfile = lab.path "locked.key"}
		assert.equal("keypass", refused(options,
			"cannot load private key from @/locked.key: it is encrypted and needs a password"))
		for _, wrong in ipairs{"", "close sesame", "open sesame "} do
			options.keypass = wrong
			assert.equal("keypass", refused(options,
				"cannot load private key from @/locked.key: wrong password"))
		end
		options.keypass = ("x"):rep(5000)
		assert.equal("keypass", refused(options,
			"cannot load private key from @/locked.key: the password is too long"))
		options.keypass = "open sesame"
		assert(tls.context(options))
		options.keyfile = lab.path "server.key"
		assert(tls.context(options))
	end)

	it("opens a key in the old encrypted form", function()
		assert(os.execute(("openssl ec -in %s -aes128 -passout pass:old -out %s 2>/dev/null")
			:format(lab.path "server.key", lab.path "old.key")))
		local options = {certfile = lab.path "server.pem", keyfile = lab.path "old.key"}
		assert.equal("keypass", refused(options,
			"cannot load private key from @/old.key: it is encrypted and needs a password"))
		options.keypass = "new"
		assert.equal("keypass", refused(options,
			"cannot load private key from @/old.key: wrong password"))
		options.keypass = "old"
		assert(tls.context(options))
	end)

	it("says which algorithms it does not know", function()
		refused({ciphers = "NOSUCH"}, "ciphers NOSUCH: no cipher match (no such cipher)")
		fails("TLS", "^ciphersuites NOSUCH: ", tls.context{ciphersuites = "NOSUCH"})
		fails("TLS", "^groups NOSUCH: ", tls.context{groups = "NOSUCH"})
		refused({min_version = "1.3", max_version = "1.2"}, "min_version is above max_version")
	end)

	for name, options in pairs{
		["a version that nobody has heard of"] = {min_version = "1.4"},
		["a version as a table"] = {max_version = {}},
		["a path with a zero byte"] = {cafile = "/etc\0"},
		["an empty ALPN name"] = {alpn = {"smtp", ""}},
		["a long ALPN name"] = {alpn = {("x"):rep(256)}},
		["an ALPN list that is none"] = {alpn = "smtp"},
		["another word than require"] = {verify_client = "please"},
	} do
		it("raises for " .. name, function()
			assert.error(function() tls.context(options) end)
		end)
	end

	it("raises for the wrong end and the wrong self", function()
		assert.error(function() client_context():server() end)
		assert.error(function() server_context():client{} end)
		assert.error(function() client_context():client() end)
		assert.error(function() client_context().client(io.stdout, {}) end)
		assert.error(function() client_context():client{sni = "a\0b"} end)
		assert.error(function() tls.context() end)
	end)

	it("outlives its own name in a layer", function()
		local client = client_context():client{}
		local server = server_context{keylog = lab.path "kept"}:server()
		collectgarbage()
		collectgarbage()
		assert.is_true(shake(client, server)[1])
		assert.is_true(#lab.read "kept" > 0)
	end)

	it("speaks old versions to old peers only when asked to", function()
		local mine = shake(client_context():client{}, server_context{max_version = "1.1"}:server())
		assert.is_nil(mine[1])
		assert.equal("TLS", mine[3])
		for _, old in ipairs{{min_version = "1.0"}, {max_version = "1.1"}} do
			local client = client_context(old):client{}
			assert.is_true(shake(client, server_context{max_version = "1.1"}:server())[1])
			assert.equal("TLSv1.1", client:info().protocol)
		end
	end)

	it("trusts the system when no authority is named", function()
		local client = assert(tls.context{}):client{}
		assert.is_true(shake(client, server_context():server())[1])
		assert.is_false(client:info().verified)
	end)
end)

describe("a layer", function()
	it("is closed twice without harm, and then says so", function()
		local layer = client_context():client{}
		assert.is_true(layer:close())
		assert.is_true(layer:close())
		for _, name in ipairs{"handshake", "drain", "finish", "eof", "rest", "info", "problems", "peer",
			"sessions", "trace", "read"} do
			fails("EBADF", "closed", layer[name](layer))
		end
		fails("EBADF", "closed", layer:feed("x"))
		fails("EBADF", "closed", layer:write("x"))
		fails("EBADF", "closed", layer:channel_binding "tls-exporter")
	end)

	it("is closed at the end of its block", function()
		local kept
		do
			local layer <close> = client_context():client{}
			kept = layer
		end
		fails("EBADF", "closed", kept:drain())
	end)

	it("refuses another self and bytes that are none", function()
		local layer = client_context():client{}
		for _, name in ipairs{"handshake", "drain", "finish", "eof", "rest", "info", "problems", "peer",
			"sessions", "trace", "read", "close"} do
			assert.error(function() layer[name](io.stdout) end)
			assert.error(function() layer[name]() end)
		end
		assert.error(function() layer:feed({}) end)
		assert.error(function() layer:write(nil) end)
	end)
end)

it("tls.version names the library", function()
	assert.matches("^OpenSSL %d+%.%d+%.%d+", tls.version())
end)
