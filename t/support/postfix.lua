--- postfix: Postfix, as a server that authenticates with the Cyrus library and keeps what it gets in a Maildir, or as a
-- client that relays all its mail.

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
import_environment = MAIL_CONFIG LD_LIBRARY_PATH LANG=C TZ@ENV@
export_environment = MAIL_CONFIG LD_LIBRARY_PATH LANG=C TZ
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
smtp     unix       - - n - - smtp
lmtp     unix       - - n - - lmtp
pickup   unix       n - n 60 1 pickup
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

-- Parameters, of which a later one replaces an earlier one of the same name: Postfix would complain in its log.
local function merged(...)
	local all = {}
	for name, value in table.concat({ ... }, "\n"):gmatch "([%w_]+) *= *([^\n]*)" do all[name] = value end
	local lines = {}
	for name, value in pairs(all) do lines[#lines + 1] = name .. " = " .. value .. "\n" end
	return table.concat(lines)
end

-- Starts Postfix with these parameters over those above, and that environment for its programs.
local function launch(self, main, env)
	local values = { FOLDER = self.folder, ROOT = self.root, PORT = self.port, ENV = "",
		MECHANISMS = table.concat(postfix.mechanisms, " ") }
	local function filled(text) return (text:gsub("@(%u+)@", values)) end
	local certificate, key = assert(cert.self_signed { name = "localhost" })
	self.certificate = self:write("cert.pem", certificate)
	self:write("chain.pem", key .. certificate)
	self.env = { MAIL_CONFIG = self:path "etc" }
	for name, value in pairs(env or {}) do
		self.env[name], values.ENV = value, values.ENV .. " " .. name
	end
	self:write("etc/main.cf", filled(merged(MAIN, main)))
	self:write("etc/master.cf", filled(MASTER))
	self:write("etc/dynamicmaps.cf", "")
	self:write("etc/sasl/smtpd.conf", filled(SASL))
	self:shell "touch -d 2000-01-01 etc/*"      -- every program that reads one waits while it is new
	self:start({ "/usr/lib/postfix/sbin/master", "-d", "-c", self:path "etc" }, self.port, self.env)
end

local function new()
	local self = daemon.new "postfix"
	self.port = run.free_port()
	self:shell(SPOOL)
	return self
end

--- Starts Postfix as a server.
-- @param options  main (text: parameters that replace those above), users (name → password; default: alice, "secret")
-- @return daemon with port, certificate (path); what it takes for peer.test is in the Maildir mail/box
function postfix.start(options)
	options = options or {}
	local self = new()
	for name, password in pairs(options.users or { alice = "secret" }) do
		self:run({ "/usr/sbin/saslpasswd2", "-p", "-c", "-f", self:path "sasldb", "-u", "peer.test", name },
			{ stdin = password })
	end
	self:shell "chown news sasldb"          -- one-time passwords are counted in there
	launch(self, options.main or "")
	return self
end

-- ---------------------------------------------------------------- the relay

local RELAY = [[
virtual_mailbox_domains =
default_transport = %s:[%s]:%d
smtp_tls_security_level = %s
smtp_tls_CAfile = %s
smtp_tls_loglevel = 1
]]

local LOGIN = [[
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = texthash:@FOLDER@/etc/password
smtp_sasl_security_options = noanonymous
smtp_sasl_mechanism_filter = %s
]]

-- Injects a message with sendmail(1).
-- @param from  address
-- @param to    address, or list of them
-- @param text  with line ends as they come
local function inject(self, from, to, text)
	self.injected = #self:log()
	self:run({ "/usr/sbin/sendmail", "-i", "-f", from, table.unpack(type(to) == "table" and to or { to }) },
		{ env = self.env, stdin = text })
end

-- Waits until it is decided what becomes of the last message.
-- @param to  which of its recipients
-- @return status ("sent", "deferred" or "bounced": then its sender gets a message, too), the reason, which has the server's
--   reply
local function outcome(self, to)
	local line = daemon.eventually("the outcome for " .. to, function()
		return self:log():match(": to=<" .. to:gsub("%W", "%%%0") .. ">,([^\n]*)\n", self.injected + 1)
	end, function() return self:log() end)
	return line:match "status=(%a+) %((.*)%)$"
end

--- Starts Postfix as a client, whose every message goes to one server.
-- @param options  port, host (address; default 127.0.0.1), protocol ("smtp" or "lmtp"; default "smtp"),
--   tls (smtp_tls_security_level: "none", "may", "encrypt", "verify"; default "none"), cafile (path),
--   username and password (then it authenticates), mechanisms (text: those that it may use; default: all that it has),
--   main (text: parameters over all others; those of lmtp(8) begin with lmtp_), env (for its programs)
-- @return daemon with inject(from, to, text), outcome(to), log()
function postfix.relay(options)
	local self = new()
	self.inject, self.outcome = inject, outcome
	local host, protocol = options.host or "127.0.0.1", options.protocol or "smtp"
	local main = RELAY:format(protocol, host, options.port, options.tls or "none", options.cafile or "")
	if options.username then
		main = main .. LOGIN:format(options.mechanisms or "")
		self:write("etc/password", ("[%s]:%d %s:%s\n"):format(host, options.port, options.username, options.password))
	end
	launch(self, merged(main:gsub("smtp_", protocol .. "_"), options.main or ""), options.env)
	return self
end

return postfix
