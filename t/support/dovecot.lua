--- dovecot: Dovecot, as a submission server that relays what it gets, and as an LMTP server that keeps it in Maildirs.

local base64 = require "smtptest.base64"
local cert = require "smtptest.core.cert"
local daemon = require "support.daemon"
local run = require "support.run"

local dovecot = {}

-- Those with a password.
dovecot.mechanisms = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256" }

-- Accounts that every Debian has (base-passwd), in the place of those that its packages make.
local CONFIG = [[
protocols = submission lmtp
listen = 127.0.0.1
base_dir = @FOLDER@/base
state_dir = @FOLDER@/state
log_path = @FOLDER@/daemon.log
import_environment = LD_LIBRARY_PATH=@FOLDER@ TZ
default_internal_user = news
default_internal_group = news
default_login_user = uucp
hostname = mail.peer.test
postmaster_address = postmaster@peer.test

ssl = yes
ssl_cert = <@FOLDER@/cert.pem
ssl_key = <@FOLDER@/key.pem
ssl_ca = <@FOLDER@/alice.pem
ssl_verify_client_cert = yes
ssl_require_crl = no
auth_ssl_username_from_cert = yes
disable_plaintext_auth = no
# wrong passwords are answered at once
auth_failure_delay = 0
service anvil {
  unix_listener anvil-auth-penalty {
    mode = 0
  }
}
auth_username_format = %n
auth_mechanisms = plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256 external oauthbearer xoauth2
passdb {
  driver = passwd-file
  mechanisms = plain login cram-md5 digest-md5 scram-sha-1 scram-sha-256
  args = scheme=PLAIN username_format=%n @FOLDER@/users
}
passdb {
  driver = static
  mechanisms = external
  args = nopassword=y
}
passdb {
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = @FOLDER@/oauth2.conf
}
userdb {
  driver = static
  args = uid=65534 gid=65534 allow_all_users=yes home=@FOLDER@/mail/%n
}
mail_location = maildir:~

submission_relay_host = 127.0.0.1
submission_relay_port = @RELAY@
service submission-login {
  inet_listener submission {
    port = @PORT@
  }
}
service lmtp {
  inet_listener lmtp {
    port = @LMTP@
  }
}
]]

-- A token is a JWT that is signed with the key of its name.
local OAUTH2 = [[
introspection_mode = local
local_validation_key_dict = fs:posix:prefix=@FOLDER@/keys/
username_attribute = sub
issuers = https://peer.test/
]]

-- Dovecot finds its parts below the path that it was compiled with. The folder, with slashes at its end, has that length:
-- so it is written into copies of the programs, which unprivileged users can reach, wherever we are unpacked.
local COMPILED = "/usr/lib/dovecot"
local COPY = [[
cp -r '@ROOT@'/usr/lib/dovecot/. .
cp '@ROOT@'/usr/sbin/dovecot dovecot
cp '@ROOT@'/usr/bin/doveconf c
find '@ROOT@' -path '*-linux-*' -name '*.so*' -exec cp -P -t . {} +
LC_ALL=C find . -type f -exec sed -i 's|@COMPILED@|@PADDED@|g; s|/usr/bin/doveconf|@PADDED@c|g' {} +
mkdir -m 755 base state mail keys keys/default keys/default/HS256
chown 65534:65534 mail
]]

local function url64(bytes)
	return (base64.encode(bytes):gsub("%+", "-"):gsub("/", "_"):gsub("=", ""))
end

--- A token, for OAUTHBEARER and XOAUTH2 instead of a password.
-- @param name     of its user
-- @param seconds  for which it is valid from now on
local function token(name, seconds)
	local now = os.time()
	local text = url64 '{"alg":"HS256","typ":"JWT","kid":"default"}' .. "." ..
		url64(('{"sub":"%s","iss":"https://peer.test/","iat":%d,"nbf":%d,"exp":%d}'):format(name, now - 60, now - 60,
			now + seconds))
	local sum = run.command({ "dgst", "-sha256", "-hmac", "key", "-binary" }, { program = "openssl", stdin = text })
	return text .. "." .. url64(sum.out)
end

--- Starts Dovecot.
-- @param options  relay (port of 127.0.0.1), users (name → password; default: alice, "secret")
-- @return daemon with port (submission), lmtp (port), certificate (path), client (path of alice's certificate and its key),
--   token(name, seconds); an LMTP recipient bob@… has the Maildir mail/bob
function dovecot.start(options)
	local self = daemon.new "dovecot"
	self.token = token
	self.port, self.lmtp = run.free_port(), run.free_port()
	local values = { FOLDER = self.folder, ROOT = self.root, PORT = self.port, LMTP = self.lmtp, RELAY = options.relay,
		COMPILED = COMPILED, PADDED = self.folder .. ("/"):rep(#COMPILED - #self.folder) }
	assert(#values.PADDED == #COMPILED, self.folder)
	local function filled(text) return (text:gsub("@(%u+)@", values)) end
	self:shell(filled(COPY))
	local certificate, key = assert(cert.self_signed { name = "localhost" })
	self.certificate = self:write("cert.pem", certificate)
	self:write("key.pem", key)
	certificate, key = assert(cert.self_signed { name = "alice" })
	self:write("alice.pem", certificate)
	self.client = self:write("both.pem", certificate .. key)
	local users = {}
	for name, password in pairs(options.users or { alice = "secret" }) do
		users[#users + 1] = ("%s:{PLAIN}%s\n"):format(name, password)
	end
	self:write("users", table.concat(users))
	self:write("keys/default/HS256/default", base64.encode "key")
	self:write("oauth2.conf", filled(OAUTH2))
	self:write("dovecot.conf", filled(CONFIG))
	self.program = "env"
	self:start({ self:path "dovecot", "-F", "-c", self:path "dovecot.conf" }, self.port, { LD_LIBRARY_PATH = self.folder })
	return self
end

return dovecot
