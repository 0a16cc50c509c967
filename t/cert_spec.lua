local cert = require "smtptest.core.cert"
local tls = require "smtptest.core.tls"
local pki = require "pki"

local lab
setup(function() lab = pki.make() end)
teardown(function() lab.remove() end)

-- What the openssl program says about a file, without the line's end.
local function openssl(format, ...)
	local pipe <close> = assert(io.popen("openssl " .. format:format(...)))
	return (pipe:read "a":gsub("\n$", ""))
end

local function refused(pattern, value, message, code)
	assert.is_nil(value)
	assert.equal("TLS", code)
	assert.matches(pattern, message)
end

local function der(pem)
	local path = lab.write("one.pem", pem)
	openssl("x509 -in %s -outform DER -out %s.der", path, path)
	return lab.read "one.pem.der"
end

describe("a certificate", function()
	it("is read as data, as the openssl program reads it", function()
		local path = lab.path "server.pem"
		local got = assert(cert.parse(lab.read "server.pem"))
		assert.equal("/O=Lab/CN=server", got.subject)
		assert.equal("/O=Lab/CN=Lab CA", got.issuer)
		assert.equal("server", got.subject_cn)
		assert.equal("Lab CA", got.issuer_cn)
		assert.same({"DNS:mail.test", "DNS:*.wild.test", "IP Address:192.0.2.1",
			"email:post@mail.test"}, got.names)
		assert.equal("06", got.serial)
		assert.equal("EC P-256", got.key)
		assert.equal("ecdsa-with-SHA256", got.signature)
		assert.equal(openssl("x509 -in %s", path) .. "\n", got.pem)
		local print = openssl("x509 -in %s -noout -fingerprint -sha256", path)
		assert.equal(print:match "=(.*)":gsub(":", ""):lower(), got.fingerprint)
		assert.equal(openssl("x509 -in %s -noout -dates", path):match "notBefore=(.-) GMT",
			(os.date("!%b %e %H:%M:%S %Y", got.not_before)))
		assert.equal(30 * 86400, got.not_after - got.not_before)
	end)

	it("is the same in DER and in PEM with text around it", function()
		local pem = lab.read "server.pem"
		local expected = cert.parse(pem)
		assert.same(expected, cert.parse(der(pem)))
		assert.same(expected, cert.parse("some text\n" .. pem .. "more\n"))
		assert.same(expected, cert.parse(lab.read "both.pem"))
	end)

	it("names its kind of key", function()
		assert.equal("RSA 2048", cert.parse(lab.read "rsa.pem").key)
		for name, command in pairs{["ED25519"] = "ed25519", ["EC P-384"] = "ec -pkeyopt " ..
			"ec_paramgen_curve:P-384", ["EC brainpoolP256r1"] = "ec -pkeyopt " ..
			"ec_paramgen_curve:brainpoolP256r1", ["RSA-PSS 2048"] = "rsa-pss -pkeyopt rsa_keygen_bits:2048"}
		do
			local pem = openssl("req -x509 -newkey %s -nodes -keyout /dev/null -subj /CN=x 2>/dev/null",
				command)
			assert.equal(name, assert(cert.parse(pem)).key)
		end
	end)

	it("may have no names at all, and strange ones", function()
		local path = lab.path "strange"
		openssl("req -x509 -newkey ed25519 -nodes -keyout %s.key -out %s.pem -utf8 " ..
			"-subj '/O=No common name' -set_serial 0xDEADBEEF 2>/dev/null", path, path)
		local got = assert(cert.parse(lab.read "strange.pem"))
		assert.is_nil(got.subject_cn)
		assert.is_nil(got.issuer_cn)
		assert.same({}, got.names)
		assert.equal("DEADBEEF", got.serial)
		assert.equal("ED25519", got.signature)
		openssl("req -x509 -newkey ed25519 -nodes -keyout %s.key -out %s.pem -utf8 " ..
			"-subj '/CN=Jürg/CN=second' 2>/dev/null", path, path)
		got = assert(cert.parse(lab.read "strange.pem"))
		assert.equal("Jürg", got.subject_cn)
		assert.equal("/CN=J\\xC3\\xBCrg/CN=second", got.subject)
	end)

	for name, bytes in pairs{nothing = "", text = "not a certificate", zeros = ("\0"):rep(100),
		["an empty block"] = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
		["a block without end"] = "-----BEGIN CERTIFICATE-----\nMIIB\n",
		["another block"] = "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n",
		["a long length"] = "\48\132\255\255\255\255",
		["an encrypted one"] = "-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n" ..
			"DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\nMIIBAAAA\n" ..
			"-----END CERTIFICATE-----\n",
	} do
		it("is not " .. name, function()
			refused("^cannot read the certificate: ", cert.parse(bytes))
		end)
	end

	it("is not one with bytes after it, nor a cut one", function()
		local bytes = der(lab.read "server.pem")
		refused("more bytes follow it", cert.parse(bytes .. "x"))
		for size = 0, #bytes - 1 do
			refused("^cannot read the certificate: ", cert.parse(bytes:sub(1, size)))
		end
	end)

	it("survives any changed byte", function()
		local bytes = der(lab.read "server.pem")
		for i = 1, #bytes do
			for _, with in ipairs{"\0", "\255", "\30"} do
				local got, message = cert.parse(bytes:sub(1, i - 1) .. with .. bytes:sub(i + 1))
				assert.is_truthy(got or message)
			end
		end
	end)
end)

describe("a file of certificates", function()
	it("is loaded whole", function()
		local path = lab.write("two.pem", lab.read "server.pem" .. lab.read "server.key" ..
			lab.read "ca.pem")
		local list = assert(cert.load(path))
		assert.equal(2, #list)
		assert.equal("/O=Lab/CN=server", list[1].subject)
		assert.equal("/O=Lab/CN=Lab CA", list[2].subject)
	end)

	it("says what is wrong with it", function()
		refused("^cannot load certificates from .*/none: No such file or directory",
			cert.load(lab.path "none"))
		refused("^cannot load certificates from .*/server.key: no certificate in it",
			cert.load(lab.path "server.key"))
		refused("^cannot load certificates from .*: Is a directory", cert.load(lab.dir))
		refused("^cannot load certificates from .*/damaged: ", cert.load(lab.write("damaged",
			lab.read "ca.pem" .. lab.read "server.pem":gsub("\n(....)", "\n@@@@", 2))))
		assert.error(function() cert.load() end)
	end)
end)

describe("a self-signed certificate", function()
	it("is made for localhost and the loopback addresses", function()
		local now = os.time()
		local got = assert(cert.parse((cert.self_signed{})))
		assert.equal("/CN=localhost", got.subject)
		assert.equal("/CN=localhost", got.issuer)
		assert.same({"DNS:localhost", "IP Address:127.0.0.1", "IP Address:0:0:0:0:0:0:0:1"}, got.names)
		assert.equal("EC P-256", got.key)
		assert.is_true(got.not_before <= now and now - got.not_before < 7200)
		assert.is_true(math.abs(got.not_after - now - 30 * 86400) < 60)
		assert.equal(32, #got.serial)
	end)

	it("has the names and days that were asked for", function()
		local got = cert.parse((cert.self_signed{name = "mail.test", days = 2,
			names = {"DNS:a.test,DNS:b.test", "IP:::1", "email:x@a.test", "URI:smtp://a.test"}}))
		assert.equal("mail.test", got.subject_cn)
		assert.same({"DNS:a.test,DNS:b.test", "IP Address:0:0:0:0:0:0:0:1", "email:x@a.test",
			"URI:smtp://a.test"}, got.names)
		assert.same({"DNS:mail.test"}, cert.parse((cert.self_signed{name = "mail.test"})).names)
		assert.same({}, cert.parse((cert.self_signed{names = {}})).names)
	end)

	it("may have expired", function()
		local got = cert.parse((cert.self_signed{days = -3}))
		assert.is_true(got.not_after < os.time() - 2 * 86400)
		assert.is_true(got.not_before < got.not_after)
	end)

	it("comes with its key and is never the same twice", function()
		local one, key = cert.self_signed{}
		local two = cert.self_signed{}
		assert(tls.context{server = true, cert = one, key = key})
		local context, message = tls.context{server = true, cert = two, key = key}
		assert.is_nil(context)
		assert.matches("does not belong", message)
		assert.not_equal(cert.parse(one).serial, cert.parse(two).serial)
	end)

	it("is valid for the openssl program", function()
		local path = lab.write("own.pem", (cert.self_signed{name = "mail.test"}))
		assert.equal(path .. ": OK", openssl("verify -x509_strict -check_ss_sig -purpose sslserver " ..
			"-verify_hostname mail.test -CAfile %s %s", path, path))
	end)

	for name, options in pairs{["no kind of name"] = {names = {"localhost"}},
		["a bad address"] = {names = {"IP:300.0.0.1"}}, ["a name that is none"] = {names = {{}}},
		["a zero byte"] = {name = "a\0b"}, ["a zero byte in names"] = {names = {"DNS:a\0b"}},
		["a list that is none"] = {names = "DNS:a"}, ["too many days"] = {days = 1e9},
	} do
		it("is refused for " .. name, function()
			assert.error(function() cert.self_signed(options) end)
		end)
	end

	it("cannot be made for too long a name", function()
		refused("cannot make a certificate: string too long", cert.self_signed{name = ("x"):rep(65)})
		assert.error(function() cert.self_signed() end)
	end)
end)
