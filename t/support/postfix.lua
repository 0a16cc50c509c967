--- postfix: Postfix, as a server that authenticates with the Cyrus library and keeps what it gets in a Maildir.

local cert = require "smtptest.core.cert"
local daemon = require "support.daemon"
local run = require "support.run"

local postfix = {}

postfix.mechanisms = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512", "OTP" }

-- Accounts and groups that every Debian has (base-passwd) and that no other program uses: no new ones are made.
local MAIN = [[
compatibility_level = 3.6
queue_directory = @FOLDER@/spool
data_directory = @FOLDER@/data
command_directory = @ROOT@/usr/sbin
daemon_directory = @ROOT@/usr/lib/postfix/sbin
shlib_directory = @ROOT@/usr/lib/postfix
meta_directory = @FOLDER@/etc
mail_owner = news
setgid_group = uucp
default_privs = nobody
import_environment = MAIL_CONFIG LD_LIBRARY_PATH LANG=C TZ
maillog_file = @FOLDER@/daemon.log
maillog_file_prefixes = @FOLDER@
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.peer.test
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
disable_dns_lookups = yes
smtpd_peername_lookup = no
smtpd_error_sleep_time = 0
smtpd_client_connection_count_limit = 0
always_add_missing_headers = no

virtual_mailbox_domains = peer.test
virtual_mailbox_base = @FOLDER@/mail
virtual_mailbox_maps = static:box/
virtual_minimum_uid = 1
virtual_uid_maps = static:65534
virtual_gid_maps = static:65534

smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = cyrus
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = peer.test
smtpd_sasl_security_options = noanonymous
smtpd_tls_security_level = may
smtpd_tls_chain_files = @FOLDER@/chain.pem
]]

local MASTER = [[
127.0.0.1:@PORT@ inet n - n - - smtpd
cleanup  unix       n - n - 0 cleanup
qmgr     unix       n - n 300 1 qmgr
tlsmgr   unix       - - n 1000? 1 tlsmgr
rewrite  unix       - - n - - trivial-rewrite
bounce   unix       - - n - 0 bounce
defer    unix       - - n - 0 bounce
trace    unix       - - n - 0 bounce
proxymap unix       - - n - - proxymap
error    unix       - - n - - error
retry    unix       - - n - - error
discard  unix       - - n - - discard
smtp     unix       - - n - - smtp
virtual  unix       - n n - - virtual
anvil    unix       - - n - 1 anvil
scache   unix       - - n - 1 scache
postlog  unix-dgram n - n - 1 postlogd
]]

local SASL = [[
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: @FOLDER@/sasldb
mech_list: @MECHANISMS@
]]

-- The spool's folders, and whose they are.
local SPOOL = [[
mkdir -m 755 etc etc/sasl data spool mail
cd spool
mkdir -m 700 active bounce corrupt defer deferred flush hold incoming private saved trace
mkdir -m 710 public
mkdir -m 1730 maildrop
mkdir -m 755 pid
chown news active bounce corrupt defer deferred flush hold incoming private saved trace public maildrop ../data
chgrp uucp public maildrop
chown 65534:65534 ../mail
]]

--- Starts Postfix.
-- @param options  main (text: parameters that replace those above), users (name → password; default: alice, "secret")
-- @return daemon with port, certificate (path)
function postfix.start(options)
	options = options or {}
	local self = daemon.new "postfix"
	self.port = run.free_port()
	local values = { FOLDER = self.folder, ROOT = self.root, PORT = self.port,
		MECHANISMS = table.concat(postfix.mechanisms, " ") }
	local function filled(text) return (text:gsub("@(%u+)@", values)) end
	self:shell(SPOOL)
	local certificate, key = assert(cert.self_signed { name = "localhost" })
	self.certificate = self:write("cert.pem", certificate)
	self:write("chain.pem", key .. certificate)
	self:write("etc/main.cf", filled(MAIN .. (options.main or "")))
	self:write("etc/master.cf", filled(MASTER))
	self:write("etc/dynamicmaps.cf", "")
	self:write("etc/sasl/smtpd.conf", filled(SASL))
	for name, password in pairs(options.users or { alice = "secret" }) do
		self:run({ "/usr/sbin/saslpasswd2", "-p", "-c", "-f", self:path "sasldb", "-u", "peer.test", name },
			{ stdin = password })
	end
	-- One-time passwords are counted in sasldb; every program waits a second while main.cf is new.
	self:shell "chown news sasldb; touch -d 2000-01-01 etc/main.cf"
	self:start({ "/usr/lib/postfix/sbin/master", "-d", "-c", self:path "etc" }, self.port,
		{ MAIL_CONFIG = self:path "etc" })
	return self
end

return postfix
