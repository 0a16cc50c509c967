/* TLS settings: certificate, trust, versions, ciphers. Many layers share one
 * context, and with it OpenSSL's session tickets. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fail.h"
#include "object.h"
#include "tls.h"

/* Where OpenSSL's own words leave a reader guessing. */
static const struct hint {
	int reason;
	const char *words;
} hints[] = {
	{SSL_R_WRONG_VERSION_NUMBER, "the peer does not speak TLS?"},
	{SSL_R_HTTP_REQUEST, "the peer speaks HTTP"},
	{SSL_R_HTTPS_PROXY_REQUEST, "the peer speaks HTTP"},
	{SSL_R_UNSUPPORTED_PROTOCOL, "no TLS version in common"},
	{SSL_R_NO_PROTOCOLS_AVAILABLE, "our own settings leave no version"},
	{SSL_R_NO_SHARED_CIPHER, "no cipher in common, or no certificate"},
	{SSL_R_NO_CIPHER_MATCH, "no such cipher"},
	{SSL_R_TLSV1_ALERT_PROTOCOL_VERSION,
	    "the peer speaks none of our TLS versions"},
	{SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE, "the peer found no cipher, "
	    "version or certificate to its liking"},
	{SSL_R_TLSV1_ALERT_UNKNOWN_CA, "the peer does not trust our "
	    "certificate's issuer"},
	{SSL_R_TLSV1_UNRECOGNIZED_NAME, "the peer does not know the name that "
	    "we asked for"},
	{SSL_R_LEGACY_SIGALG_DISALLOWED_OR_UNSUPPORTED,
	    "TLS below 1.2 is spoken only when min_version asks for it"},
	{SSL_R_UNSAFE_LEGACY_RENEGOTIATION_DISABLED,
	    "the peer lacks RFC 5746: min_version 1.0 allows that"},
};

const char *
tls_reason(char *words, size_t size)
{
	unsigned long error = ERR_peek_error();
	const char *reason = NULL, *hint = NULL;
	size_t i;

	if (ERR_SYSTEM_ERROR(error))
		reason = strerror(ERR_GET_REASON(error));
	else if (error != 0)
		reason = ERR_reason_error_string(error);
	if (ERR_GET_LIB(error) == ERR_LIB_SSL)
		for (i = 0; i < sizeof hints / sizeof hints[0]; i++)
			if (hints[i].reason == ERR_GET_REASON(error))
				hint = hints[i].words;
	if (reason == NULL && error != 0)
		ERR_error_string_n(error, words, size);
	else if (reason == NULL)
		snprintf(words, size, "no reason given");
	else if (hint != NULL)
		snprintf(words, size, "%s (%s)", reason, hint);
	else
		snprintf(words, size, "%s", reason);
	ERR_clear_error();
	return words;
}

int
tls_nopassword(char *buf, int size, int writing, void *unused)
{
	(void)buf, (void)size, (void)writing, (void)unused;
	return -1;
}

const char *
tls_option(lua_State *L, int index, const char *key)
{
	const char *value;
	size_t size;

	lua_getfield(L, index, key);
	if (lua_isnil(L, -1))
		return NULL;
	value = lua_tolstring(L, -1, &size);
	if (value == NULL) {
		luaL_error(L, "%s: string expected, got %s", key,
		    luaL_typename(L, -1));
		return NULL;
	}
	if (strlen(value) != size)
		luaL_error(L, "%s: has a zero byte", key);
	return value;
}

static int
option_version(lua_State *L, const char *key)
{
	static const char *const names[] = { "1.0", "1.1", "1.2", "1.3" };
	const char *value = tls_option(L, 1, key);
	int i;

	if (value == NULL)
		return 0;
	for (i = 0; i < 4; i++)
		if (strcmp(value, names[i]) == 0)
			return TLS1_VERSION + i;
	return luaL_error(L, "%s: \"1.0\", \"1.1\", \"1.2\" or \"1.3\" "
	    "expected, got %s", key, value);
}

static struct context *
context_make(lua_State *L)
{
	struct context *c = lua_newuserdatauv(L, sizeof *c, 0);

	memset(c, 0, sizeof *c);
	c->keylog = -1;
	luaL_setmetatable(L, TLS_CONTEXT);
	return c;
}

void
tls_tidy(struct context *c)
{
	BIO_free(c->certpem);
	BIO_free(c->keypem);
	X509_free(c->cert);
	EVP_PKEY_free(c->key);
	c->certpem = c->keypem = NULL;
	c->cert = NULL;
	c->key = NULL;
}

static int
context_gc(lua_State *L)
{
	struct context *c = luaL_checkudata(L, 1, TLS_CONTEXT);

	tls_tidy(c);
	SSL_CTX_free(c->ctx);
	c->ctx = NULL;
	OPENSSL_free(c->alpn);
	c->alpn = NULL;
	if (c->keylog >= 0)
		close(c->keylog);
	c->keylog = -1;
	return 0;
}

int
tls_refuse(lua_State *L, struct context *c, const char *format,
    const char *value)
{
	char reason[TLS_REASON];

	tls_reason(reason, sizeof reason);
	tls_tidy(c);
	lua_pushfstring(L, format, value);
	return fail_code(L, "TLS", "%s: %s", lua_tostring(L, -1), reason);
}

/* Whether a folder of the colon-separated list has hashed certificates: names
 * like 002c0b4f.0. */
static int
hashed(const char *list)
{
	const char *end;
	struct dirent *entry;
	char *path;
	DIR *dir;
	int found = 0;

	for (; *list != '\0' && !found; list = *end ? end + 1 : end) {
		end = list + strcspn(list, ":");
		path = strndup(list, end - list);
		dir = path != NULL ? opendir(path) : NULL;
		free(path);
		if (dir == NULL)
			continue;
		while (!found && (entry = readdir(dir)) != NULL)
			found = strspn(entry->d_name, "0123456789abcdef") == 8 &&
			    entry->d_name[8] == '.';
		closedir(dir);
	}
	return found;
}

/* The system's folder costs microseconds and its bundle 20 ms, so the bundle is
 * read only where the folder is of no use, or where the user names one. */
static int
trust_system(SSL_CTX *ctx)
{
	const char *dir = getenv(X509_get_default_cert_dir_env());
	int ok = SSL_CTX_set_default_verify_dir(ctx);

	if (dir == NULL)
		dir = X509_get_default_cert_dir();
	if (ok && (!hashed(dir) || getenv(X509_get_default_cert_file_env())))
		ok = SSL_CTX_set_default_verify_file(ctx);
	ERR_clear_error();
	return ok;
}

/* Tells clients whose certificates we would believe (RFC 8446 4.2.4). */
static void
announce_authorities(SSL_CTX *ctx)
{
	STACK_OF(X509_OBJECT) *all;
	int i;

	all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(ctx));
	for (i = 0; i < sk_X509_OBJECT_num(all); i++) {
		X509 *cert = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));

		if (cert != NULL)
			SSL_CTX_add_client_CA(ctx, cert);
	}
}

static int
context_trust(lua_State *L, struct context *c)
{
	const char *file = tls_option(L, 1, "cafile");
	const char *path = tls_option(L, 1, "capath");
	struct stat status;

	if (file == NULL && path == NULL && !c->server &&
	    !trust_system(c->ctx))
		return tls_refuse(L, c, "cannot trust the system's "
		    "certificates%s", "");
	if (file != NULL && !SSL_CTX_load_verify_file(c->ctx, file))
		return tls_refuse(L, c,
		    "cannot load CA certificates from %s", file);
	if (path != NULL && stat(path, &status) < 0)
		return fail_code(L, "TLS", "cannot load CA certificates from "
		    "%s: %s", path, strerror(errno));
	if (path != NULL && !S_ISDIR(status.st_mode))
		return fail_code(L, "TLS", "cannot load CA certificates from "
		    "%s: %s", path, strerror(ENOTDIR));
	if (path != NULL && !SSL_CTX_load_verify_dir(c->ctx, path))
		return tls_refuse(L, c,
		    "cannot load CA certificates from %s", path);
	if (c->server && file != NULL)
		announce_authorities(c->ctx);
	return 0;
}

static int
context_demand(lua_State *L, struct context *c)
{
	int mode = SSL_VERIFY_NONE;

	lua_getfield(L, 1, "verify_client");
	if (lua_type(L, -1) == LUA_TSTRING) {
		if (strcmp(lua_tostring(L, -1), "require") != 0)
			return luaL_error(L, "verify_client: a boolean or "
			    "\"require\" expected");
		mode = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
	} else if (lua_toboolean(L, -1))
		mode = SSL_VERIFY_PEER;
	/* Layers give the callback. */
	SSL_CTX_set_verify(c->ctx, mode, NULL);
	return 0;
}

/* Versions below 1.2 need security level 0, which OpenSSL 3 does not give by
 * itself; a cipher list may still say @SECLEVEL. An upper bound below what the
 * system allows takes the lower one along. */
static int
context_versions(lua_State *L, struct context *c)
{
	int min = option_version(L, "min_version");
	int max = option_version(L, "max_version");

	if (min == 0 && max != 0 && max < TLS1_2_VERSION)
		min = TLS1_VERSION;
	if (min != 0 && max != 0 && min > max)
		return fail_code(L, "TLS", "min_version is above max_version");
	if (min != 0 && min < TLS1_2_VERSION) {
		SSL_CTX_set_security_level(c->ctx, 0);
		SSL_CTX_set_options(c->ctx, SSL_OP_LEGACY_SERVER_CONNECT);
	}
	if ((min != 0 && !SSL_CTX_set_min_proto_version(c->ctx, min)) ||
	    (max != 0 && !SSL_CTX_set_max_proto_version(c->ctx, max)))
		return tls_refuse(L, c, "cannot set the TLS versions%s", "");
	return 0;
}

static int
context_algorithms(lua_State *L, struct context *c)
{
	const char *ciphers = tls_option(L, 1, "ciphers");
	const char *suites = tls_option(L, 1, "ciphersuites");
	const char *groups = tls_option(L, 1, "groups");

	if (ciphers != NULL && !SSL_CTX_set_cipher_list(c->ctx, ciphers))
		return tls_refuse(L, c, "ciphers %s", ciphers);
	if (suites != NULL && !SSL_CTX_set_ciphersuites(c->ctx, suites))
		return tls_refuse(L, c, "ciphersuites %s", suites);
	if (groups != NULL && !SSL_CTX_set1_groups_list(c->ctx, groups))
		return tls_refuse(L, c, "groups %s", groups);
	return 0;
}

/* A server takes the first of its own names that the client has too, and ends
 * the handshake when there is none (RFC 7301 section 3.2). */
static int
on_alpn(SSL *ssl, const unsigned char **out, unsigned char *size,
    const unsigned char *theirs, unsigned int theirsize, void *context)
{
	struct context *c = context;
	unsigned char *chosen;

	(void)ssl;
	if (SSL_select_next_proto(&chosen, size, c->alpn, c->alpn_size,
	    theirs, theirsize) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int
context_alpn(lua_State *L, struct context *c)
{
	luaL_Buffer list;
	const char *bytes;
	size_t size;
	lua_Integer i, count;
	int table;

	if (lua_getfield(L, 1, "alpn") == LUA_TNIL)
		return 0;
	table = lua_gettop(L);
	luaL_checktype(L, table, LUA_TTABLE);
	count = luaL_len(L, table);
	if (count == 0)
		return 0;
	luaL_buffinit(L, &list);
	for (i = 1; i <= count; i++) {
		lua_geti(L, table, i);
		if (!lua_isstring(L, -1) || lua_rawlen(L, -1) < 1 ||
		    lua_rawlen(L, -1) > 255)
			return luaL_error(L, "alpn: names of 1 to 255 bytes "
			    "expected");
		size = lua_rawlen(L, -1);
		lua_pushfstring(L, "%c", (int)size);
		lua_insert(L, -2);
		lua_concat(L, 2);
		luaL_addvalue(&list);
	}
	luaL_pushresult(&list);
	bytes = lua_tolstring(L, -1, &size);
	if (!c->server) {
		if (SSL_CTX_set_alpn_protos(c->ctx,
		    (const unsigned char *)bytes, (unsigned int)size) != 0)
			return tls_refuse(L, c, "cannot offer ALPN%s", "");
		return 0;
	}
	c->alpn = OPENSSL_memdup(bytes, size);
	if (c->alpn == NULL)
		return tls_refuse(L, c, "cannot offer ALPN%s", "");
	c->alpn_size = (unsigned int)size;
	SSL_CTX_set_alpn_select_cb(c->ctx, on_alpn, c);
	return 0;
}

/* Secrets in the NSS format, one line a write, so that processes may share the
 * file. */
static void
on_keylog(const SSL *ssl, const char *line)
{
	struct context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	struct iovec parts[2];
	ssize_t ignored;

	parts[0].iov_base = (char *)line;
	parts[0].iov_len = strlen(line);
	parts[1].iov_base = "\n";
	parts[1].iov_len = 1;
	/* A full disk must not end the session. */
	ignored = writev(c->keylog, parts, 2);
	(void)ignored;
}

static int
context_keylog(lua_State *L, struct context *c)
{
	const char *path = tls_option(L, 1, "keylog");

	if (path == NULL)
		return 0;
	c->keylog = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (c->keylog < 0)
		return fail_code(L, "TLS", "cannot open key log %s: %s", path,
		    strerror(errno));
	SSL_CTX_set_app_data(c->ctx, c);
	SSL_CTX_set_keylog_callback(c->ctx, on_keylog);
	return 0;
}

/* Without a callback that says yes, a resumed TLS 1.2 session has no name. */
static int
on_servername(SSL *ssl, int *alert, void *unused)
{
	(void)ssl, (void)alert, (void)unused;
	return SSL_TLSEXT_ERR_OK;
}

static int
context_defaults(lua_State *L, struct context *c)
{
	static const unsigned char id[] = "smtptest";

	lua_getfield(L, 1, "server");
	c->server = lua_toboolean(L, -1);
	c->ctx = SSL_CTX_new(c->server ? TLS_server_method() :
	    TLS_client_method());
	if (c->ctx == NULL)
		return tls_refuse(L, c, "cannot start TLS%s", "");
	/* What the system's openssl.cnf may have set: a truncation must be
	 * seen. */
	SSL_CTX_clear_options(c->ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_read_ahead(c->ctx, 0);
	/* A repeated write comes from another string; ten thousand idle layers
	 * need no buffers; what is sent is the chain that the file has. */
	SSL_CTX_set_mode(c->ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	    SSL_MODE_RELEASE_BUFFERS | SSL_MODE_NO_AUTO_CHAIN);
	if (c->server) {
		SSL_CTX_set_session_id_context(c->ctx, id, sizeof id - 1);
		SSL_CTX_set_dh_auto(c->ctx, 1);
		SSL_CTX_set_tlsext_servername_callback(c->ctx, on_servername);
	}
	tls_hooks(c->ctx, c->server);
	return 0;
}

/* tls.context{server=, certfile=, keyfile=, keypass=, cert=, key=, cafile=,
 * capath=, min_version=, max_version=, ciphers=, ciphersuites=, groups=,
 * alpn=, verify_client=, keylog=} → context | nil, message, TLS[, "keypass"].
 *
 * Files are PEM; cert and key are PEM text; one file or text may hold both,
 * and the certificate's chain after it. keypass: the key's password; the
 * fourth result says that it is missing or wrong. Versions are "1.0" to "1.3";
 * the other lists are in OpenSSL's syntax; alpn is a list of names. A client
 * trusts cafile and capath, or the system when neither is given. A server asks
 * for a certificate when verify_client is true and insists when it is
 * "require". keylog: a file that secrets are appended to. */
int
tlscontext_new(lua_State *L)
{
	static int (*const steps[])(lua_State *, struct context *) = {
		context_defaults, context_versions, context_algorithms,
		context_alpn, context_demand, tls_identity, context_trust,
		context_keylog,
	};
	struct context *c;
	size_t i;
	int results;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	c = context_make(L);
	for (i = 0; i < sizeof steps / sizeof steps[0]; i++) {
		lua_settop(L, 2);
		ERR_clear_error();
		results = steps[i](L, c);
		if (results != 0)
			return results;
	}
	tls_tidy(c);
	ERR_clear_error();
	lua_settop(L, 2);
	return 1;
}

void
tlscontext_open(lua_State *L, const luaL_Reg *methods)
{
	static const luaL_Reg end[] = {{"__gc", context_gc}, {NULL, NULL}};

	object_type(L, TLS_CONTEXT, methods);
	object_type(L, TLS_CONTEXT, end);
}
