--- kdc: MIT Kerberos' key distribution center, for one realm and the services of localhost.

local daemon = require "support.daemon"
local run = require "support.run"

local kdc = {}

-- The client's and the servers' view. No name is ever looked up.
local KRB5 = [[
[libdefaults]
 default_realm = PEER.TEST
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 udp_preference_limit = 1
 ignore_acceptor_hostname = true
[realms]
 PEER.TEST = {
  kdc = 127.0.0.1:@PORT@
 }
[domain_realm]
 localhost = PEER.TEST
]]

local KDC = [[
[kdcdefaults]
 kdc_listen = 127.0.0.1:@PORT@
 kdc_tcp_listen = 127.0.0.1:@PORT@
[realms]
 PEER.TEST = {
  database_name = @FOLDER@/principal
  key_stash_file = @FOLDER@/stash
  acl_file = @FOLDER@/acl
  supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal
 }
[dbmodules]
 db_module_dir = @MODULES@
[logging]
 kdc = FILE:@FOLDER@/daemon.log
]]

--- Starts it, with alice among its users.
-- @param options  services (list of names; default "smtp"), password (alice's; default "secret")
-- @return daemon with: env, in which alice has a ticket; config (path of krb5.conf), keytab (path) for the servers
function kdc.start(options)
	options = options or {}
	local self = daemon.new "krb5"
	local port = run.free_port()
	local values = { FOLDER = self.folder, PORT = port,
		MODULES = self:shell(("cd '%s'; printf %%s \"$PWD\"/usr/lib/*/krb5/plugins/kdb"):format(self.root)) }
	local function filled(text) return (text:gsub("@(%u+)@", values)) end
	self.config = self:write("krb5.conf", filled(KRB5))
	self.keytab = self:path "keytab"
	self.env = { KRB5_CONFIG = self.config, KRB5CCNAME = "FILE:" .. self:path "ccache" }
	local own = { KRB5_CONFIG = self.config, KRB5_KDC_PROFILE = self:write("kdc.conf", filled(KDC)) }

	self:run({ "/usr/sbin/kdb5_util", "create", "-s", "-P", "master" }, { env = own })
	local commands = { "addprinc -pw " .. (options.password or "secret") .. " alice" }
	for _, service in ipairs(options.services or { "smtp" }) do
		table.insert(commands, ("addprinc -randkey %s/localhost"):format(service))
		table.insert(commands, ("ktadd -k %s %s/localhost"):format(self.keytab, service))
	end
	self:run({ "/usr/sbin/kadmin.local" }, { env = own, stdin = table.concat(commands, "\n") .. "\n" })
	self:start({ "/usr/sbin/krb5kdc", "-n" }, port, own)
	self:run({ "/usr/bin/kinit", "alice" }, { env = self.env, stdin = (options.password or "secret") .. "\n" })
	return self
end

return kdc
