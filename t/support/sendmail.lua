--- sendmail: Sendmail, the server that has the layers of SASL; what it gets it keeps in a Maildir.

local cert = require "smtptest.core.cert"
local daemon = require "support.daemon"
local run = require "support.run"

local sendmail = {}

sendmail.mechanisms = { "PLAIN", "LOGIN", "CRAM-MD5", "DIGEST-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256" }

local MC = [[
divert(0)dnl
OSTYPE(`linux')dnl
define(`confPID_FILE', `@FOLDER@/pid')dnl
define(`QUEUE_DIR', `@FOLDER@/queue')dnl
define(`ALIAS_FILE', `')dnl
define(`STATUS_FILE', `')dnl
define(`HELP_FILE', `')dnl
define(`confCW_FILE', `')dnl
define(`confDELIVERY_MODE', `interactive')dnl
define(`confLOG_LEVEL', `0')dnl
define(`confDOMAIN_NAME', `mail.peer.test')dnl
define(`confDONT_PROBE_INTERFACES', `true')dnl
define(`confDONT_BLAME_SENDMAIL', `TrustStickyBit')dnl
define(`confRUN_AS_USER', `root')dnl
define(`confTRUSTED_USER', `root')dnl
define(`confDEF_USER_ID', `65534:65534')dnl
define(`confTO_IDENT', `0')dnl
define(`confBIND_OPTS', `')dnl
define(`confCACERT_PATH', `@FOLDER@')dnl
define(`confCACERT', `@FOLDER@/cert.pem')dnl
define(`confSERVER_CERT', `@FOLDER@/cert.pem')dnl
define(`confSERVER_KEY', `@FOLDER@/key.pem')dnl
define(`confAUTH_REALM', `peer.test')dnl
define(`confAUTH_OPTIONS', `A')dnl
define(`confAUTH_MECHANISMS', `@MECHANISMS@')dnl
TRUST_AUTH_MECH(`@MECHANISMS@')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
LOCAL_DOMAIN(`peer.test')dnl
DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=127.0.0.1, Port=@PORT@')dnl
define(`LOCAL_MAILER_PATH', `/bin/sh')dnl
define(`LOCAL_MAILER_ARGS', `sh @FOLDER@/deliver $i $u')dnl
define(`LOCAL_MAILER_FLAGS', `Pn9')dnl
MODIFY_MAILER_FLAGS(`LOCAL', `-wA')dnl	who has no account has a box, and there are no aliases
MAILER(`local')dnl
MAILER(`smtp')dnl
LOCAL_CONFIG
# Sendmail forgets its environment but for this.
ESASL_CONF_PATH=@FOLDER@/sasl
EKRB5_CONFIG=@KRB5@
EKRB5_KTNAME=FILE:@KEYTAB@
]]

local SASL = [[
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: @FOLDER@/sasldb
mech_list: @MECHANISMS@
keytab: @KEYTAB@
]]

local DELIVER = [[
cd @FOLDER@/mail
cat >"tmp/$1"
mv "tmp/$1" "new/$1"
]]

-- Without a dot in the machine's name Sendmail sleeps for a minute, and looks it up in any case.
local HOSTNAME = [[
#include <netdb.h>
#include <string.h>
int gethostname(char *name, size_t size)
{
	strncpy(name, "mail.peer.test", size);
	return 0;
}
struct hostent *gethostbyname2(const char *name, int family)
{
	(void)name;
	(void)family;
	h_errno = HOST_NOT_FOUND;
	return NULL;
}
]]

--- Starts Sendmail.
-- @param options  kdc (of support.kdc: then there is GSSAPI, too), users (name → password; default: alice, "secret")
-- @return daemon with port, certificate (path)
function sendmail.start(options)
	options = options or {}
	local self = daemon.new "sendmail"
	self.port = run.free_port()
	local kdc = options.kdc
	local values = { FOLDER = self.folder, PORT = self.port, KRB5 = kdc and kdc.config or "/nonexistent",
		KEYTAB = kdc and kdc.keytab or "/nonexistent",
		MECHANISMS = (kdc and "GSSAPI " or "") .. table.concat(sendmail.mechanisms, " ") }
	local function filled(text) return (text:gsub("@([%u%d]+)@", values)) end
	self:shell [[
mkdir -m 700 queue
mkdir -m 755 mail mail/new mail/tmp sasl
chown -R 65534:65534 mail
]]
	local certificate, key = assert(cert.self_signed { name = "localhost" })
	self.certificate = self:write("cert.pem", certificate)
	self:write("key.pem", key)
	self:write("deliver", filled(DELIVER))
	self:write("sasl/Sendmail.conf", filled(SASL))
	for name, password in pairs(options.users or { alice = "secret" }) do
		self:run({ "/usr/sbin/saslpasswd2", "-p", "-c", "-f", self:path "sasldb", "-u", "peer.test", name },
			{ stdin = password })
	end
	local cf = self.root .. "/usr/share/sendmail/cf/"
	self:write("sendmail.cf", self:run { "/usr/bin/m4", "-I" .. cf, "-D_CF_DIR_=" .. cf, cf .. "m4/cf.m4",
		self:write("sendmail.mc", filled(MC)) })
	self:write("hostname.c", HOSTNAME)
	self:shell "chmod 600 key.pem sasldb; ${CC:-cc} -shared -fPIC -o hostname.so hostname.c"
	self:start({ "/usr/libexec/sendmail/sendmail", "-bD", "-C", self:path "sendmail.cf" }, self.port,
		{ PEER_PRELOAD = self:path "hostname.so" })
	return self
end

return sendmail
