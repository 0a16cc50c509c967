-- A certification authority in a temporary folder, made by the openssl program:
-- certificates that we did not write ourselves.
local pki = {}

local function run(format, ...)
	local command = format:format(...)
	assert(os.execute(command .. " >/dev/null 2>&1"), command)
end

-- A file of the folder, with these bytes if any are given.
local function writer(dir)
	return function(name, bytes)
		local path = dir .. "/" .. name
		local handle = assert(io.open(path, "wb"))
		handle:write(bytes)
		handle:close()
		return path
	end
end

local function slurp(path)
	local handle <close> = assert(io.open(path, "rb"))
	return handle:read "a"
end

local KEY = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"

-- A folder with ca.pem, and NAME.pem and NAME.key for each leaf: server,
-- client, expired (ended yesterday), rsa; locked.key is server.key under the
-- password "open sesame"; both.pem has certificate and key of server.
-- dir: its path; path(name); write(name, bytes) → path; read(name) → bytes;
-- remove().
function pki.make()
	local dir = os.tmpname()
	os.remove(dir)
	run("mkdir %s", dir)
	local self = {dir = dir, write = writer(dir)}
	function self.path(name) return dir .. "/" .. name end
	function self.read(name) return slurp(dir .. "/" .. name) end
	function self.remove() os.execute("rm -r " .. dir) end

	run("%s -out %s/ca.key", KEY, dir)
	run("openssl req -x509 -new -key %s/ca.key -out %s/ca.pem -days 30 -subj '/O=Lab/CN=Lab CA'",
		dir, dir)
	local function leaf(name, days, key)
		local file = dir .. "/" .. name
		self.write(name .. ".ext", "subjectAltName=DNS:mail.test,DNS:*.wild.test,IP:192.0.2.1," ..
			"email:post@mail.test\nextendedKeyUsage=serverAuth,clientAuth\n")
		run("%s -out %s.key", key, file)
		run("openssl req -new -key %s.key -out %s.csr -subj '/O=Lab/CN=%s'", file, file, name)
		run("openssl x509 -req -in %s.csr -CA %s/ca.pem -CAkey %s/ca.key -set_serial 0x%02X " ..
			"-days %d -extfile %s.ext -out %s.pem", file, dir, dir, #name, days, file, file)
	end
	leaf("server", 30, KEY)
	leaf("client", 30, KEY)
	leaf("expired", -1, KEY)
	leaf("rsa", 30, "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048")
	run("openssl pkcs8 -topk8 -in %s/server.key -out %s/locked.key -passout 'pass:open sesame'",
		dir, dir)
	self.write("both.pem", self.read "server.pem" .. self.read "server.key")
	return self
end

return pki
