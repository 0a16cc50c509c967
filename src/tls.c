/* TLS as a byte machine: bytes from below go in by feed, bytes for below come
 * out by drain, plain text goes through read and write. No descriptor, no
 * waiting: what needs more bytes says WANTREAD. */
#include <errno.h>
#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "fail.h"
#include "object.h"
#include "tls.h"

#define RECORD 16384	/* the longest plain text of one record, RFC 8446 5.1 */
#define KEEP 65536	/* a larger output buffer is given back when drained */

struct layer *
tls_layer(lua_State *L)
{
	return luaL_checkudata(L, 1, TLS_LAYER);
}

void
tls_free(struct layer *l)
{
	SSL_free(l->ssl);
	l->ssl = NULL;
	l->in = l->out = NULL;
	tls_forgetall(&l->problems);
	tls_forgetall(&l->sessions);
	tls_forgetall(&l->states);
	OPENSSL_free(l->message);
	l->message = NULL;
}

/* Failures. The first one is kept: OpenSSL has nothing to say the second
 * time. */

static void
layer_broke(struct layer *l, const char *code, const char *format, ...)
{
	char message[2 * TLS_REASON];
	va_list args;

	if (l->code != NULL)
		return;
	va_start(args, format);
	vsnprintf(message, sizeof message, format, args);
	va_end(args);
	l->code = code;
	l->message = OPENSSL_strdup(message);
}

static int
layer_broken(lua_State *L, struct layer *l)
{
	return fail_code(L, l->code, "%s",
	    l->message != NULL ? l->message : "TLS failed: out of memory");
}

/* A TLS 1.3 client learns only now, with its first read, that the server did
 * not like its certificate or wanted one (RFC 8446 section 4.4.2.4). */
static int
refused_late(struct layer *l, unsigned long error)
{
	if (!l->shaken || l->server || SSL_version(l->ssl) < TLS1_3_VERSION ||
	    ERR_GET_LIB(error) != ERR_LIB_SSL)
		return 0;
	switch (ERR_GET_REASON(error)) {
	case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
	case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
	case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
	case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
	case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED:
		return 1;
	}
	return 0;
}

static void
layer_diagnose(struct layer *l)
{
	unsigned long error = ERR_peek_error();
	int why = ERR_GET_LIB(error) == ERR_LIB_SSL ? ERR_GET_REASON(error) : 0;
	struct note *bad = l->problems.first;
	int late = refused_late(l, error);
	char reason[TLS_REASON];

	tls_reason(reason, sizeof reason);
	if (why == SSL_R_UNEXPECTED_EOF_WHILE_READING && l->shaken)
		layer_broke(l, "TRUNCATED", "the connection ended inside TLS, "
		    "without close_notify");
	else if (why == SSL_R_UNEXPECTED_EOF_WHILE_READING)
		layer_broke(l, "TLS", "the peer closed the connection during "
		    "the handshake");
	else if (why == SSL_R_CERTIFICATE_VERIFY_FAILED && bad != NULL)
		layer_broke(l, "CERTIFICATE", "certificate verify failed: "
		    "%s (%.255s)", X509_verify_cert_error_string(bad->code),
		    bad->bytes);
	else if (why == SSL_R_CERTIFICATE_VERIFY_FAILED)
		layer_broke(l, "CERTIFICATE", "%s", reason);
	else if (late)
		layer_broke(l, "TLS", "client certificate refused after the "
		    "handshake: %s", reason);
	else
		layer_broke(l, "TLS", "%s", reason);
}

/* Reports what SSL_do_handshake, SSL_read or SSL_write could not do. */
static int
layer_fail(lua_State *L, struct layer *l, int result)
{
	switch (SSL_get_error(l->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return fail_code(L, "WANTREAD", "more bytes are needed");
	case SSL_ERROR_WANT_WRITE:
		return fail_code(L, "WANTWRITE", "drain first");
	case SSL_ERROR_ZERO_RETURN:
		if (l->shaken)
			return fail_code(L, "EOF", "the peer closed TLS");
		layer_broke(l, "TLS", "the peer closed TLS during the "
		    "handshake");
		break;
	default:
		layer_diagnose(l);
	}
	return layer_broken(L, l);
}

/* 0 when the handshake is complete; else pushes the failure. */
static int
layer_shake(lua_State *L, struct layer *l)
{
	int result;

	if (l->code != NULL)
		return layer_broken(L, l);
	if (l->shaken)
		return 0;
	ERR_clear_error();
	result = SSL_do_handshake(l->ssl);
	if (result <= 0)
		return layer_fail(L, l, result);
	if (l->verify && !l->server &&
	    SSL_get0_peer_certificate(l->ssl) == NULL) {
		layer_broke(l, "CERTIFICATE", "the peer has no certificate");
		return layer_broken(L, l);
	}
	l->shaken = 1;
	return 0;
}

/* layer:handshake() → true | nil, message, WANTREAD | TLS | CERTIFICATE.
 * Drain after every call, also after a failed one: alerts are in there. */
static int
layer_handshake(lua_State *L)
{
	struct layer *l = tls_layer(L);
	int results;

	if (l->ssl == NULL)
		return fail_closed(L);
	results = layer_shake(L, l);
	if (results > 0)
		return results;
	lua_pushboolean(L, 1);
	return 1;
}

/* layer:feed(bytes) → true. Bytes that came from below. */
static int
layer_feed(lua_State *L)
{
	struct layer *l = tls_layer(L);
	size_t size, done;
	const char *bytes = luaL_checklstring(L, 2, &size);

	if (l->ssl == NULL)
		return fail_closed(L);
	for (; size > 0; bytes += done, size -= done)
		if (!BIO_write_ex(l->in, bytes, size, &done)) {
			ERR_clear_error();
			return fail(L, "feed", ENOMEM);
		}
	lua_pushboolean(L, 1);
	return 1;
}

/* layer:read([max=16384]) → bytes | nil, message, WANTREAD | EOF (the peer's
 * close_notify) | TRUNCATED (no close_notify) | TLS | CERTIFICATE. One record
 * at most; drain afterwards. */
static int
layer_read(lua_State *L)
{
	struct layer *l = tls_layer(L);
	lua_Integer max = luaL_optinteger(L, 2, RECORD);
	char bytes[RECORD];
	int result;

	luaL_argcheck(L, max > 0, 2, "must be positive");
	if (l->ssl == NULL)
		return fail_closed(L);
	result = layer_shake(L, l);
	if (result > 0)
		return result;
	ERR_clear_error();
	result = SSL_read(l->ssl, bytes, max < RECORD ? (int)max : RECORD);
	if (result <= 0)
		return layer_fail(L, l, result);
	lua_pushlstring(L, bytes, result);
	return 1;
}

/* layer:write(bytes[, first[, last]]) → count | nil, message, CODE. Sends
 * bytes first to last (from 1, as string.sub); all of them or none. On
 * WANTREAD (the handshake, or a renegotiation) feed and call again with the
 * same bytes. EPIPE after finish. */
static int
layer_write(lua_State *L)
{
	struct layer *l = tls_layer(L);
	size_t size, done;
	const char *bytes = luaL_checklstring(L, 2, &size);
	lua_Integer first = luaL_optinteger(L, 3, 1);
	lua_Integer last = luaL_optinteger(L, 4, (lua_Integer)size);
	int result;

	luaL_argcheck(L, first > 0, 3, "must be positive");
	luaL_argcheck(L, last >= 0, 4, "must not be negative");
	if (l->ssl == NULL)
		return fail_closed(L);
	if (last > (lua_Integer)size)
		last = (lua_Integer)size;
	if (first > last) {
		lua_pushinteger(L, 0);
		return 1;
	}
	result = layer_shake(L, l);
	if (result > 0)
		return result;
	if (SSL_get_shutdown(l->ssl) & SSL_SENT_SHUTDOWN)
		return fail_code(L, "EPIPE", "write after close_notify");
	ERR_clear_error();
	result = SSL_write_ex(l->ssl, bytes + first - 1,
	    (size_t)(last - first + 1), &done);
	if (result <= 0)
		return layer_fail(L, l, result);
	lua_pushinteger(L, (lua_Integer)done);
	return 1;
}

/* layer:drain() → bytes for below, "" when there are none. */
static int
layer_drain(lua_State *L)
{
	struct layer *l = tls_layer(L);
	BIO *smaller = NULL;
	char *bytes;
	long size;

	if (l->ssl == NULL)
		return fail_closed(L);
	size = BIO_get_mem_data(l->out, &bytes);
	lua_pushlstring(L, bytes, (size_t)size);
	if (size == 0)
		return 1;
	/* During the handshake OpenSSL holds the BIO in a filter of its own. */
	if (size > KEEP && l->shaken)
		smaller = BIO_new(BIO_s_mem());
	if (smaller == NULL) {
		BIO_reset(l->out);
		return 1;
	}
	SSL_set0_wbio(l->ssl, smaller);
	l->out = smaller;
	return 1;
}

/* layer:finish() → true. Our close_notify, for the next drain; reading goes
 * on (RFC 8446 section 6.1). Nothing to say before the handshake is over. */
static int
layer_finish(lua_State *L)
{
	struct layer *l = tls_layer(L);

	if (l->ssl == NULL)
		return fail_closed(L);
	/* A second SSL_shutdown would read, and eat what comes. */
	if (l->shaken && l->code == NULL &&
	    !(SSL_get_shutdown(l->ssl) & SSL_SENT_SHUTDOWN)) {
		ERR_clear_error();
		SSL_shutdown(l->ssl);
		ERR_clear_error();
	}
	lua_pushboolean(L, 1);
	return 1;
}

/* layer:eof() → true. The layer below has ended: when what was fed is used
 * up, read and handshake fail instead of wanting more. */
static int
layer_eof(lua_State *L)
{
	struct layer *l = tls_layer(L);

	if (l->ssl == NULL)
		return fail_closed(L);
	BIO_set_mem_eof_return(l->in, 0);
	lua_pushboolean(L, 1);
	return 1;
}

/* layer:rest() → bytes that followed the peer's close_notify, taken out; ""
 * before it has come. They are the plain text of the layer below: OpenSSL
 * reads no further than the record it wants, as long as read_ahead is off. */
static int
layer_rest(lua_State *L)
{
	struct layer *l = tls_layer(L);
	char *bytes;
	long size = 0;

	if (l->ssl == NULL)
		return fail_closed(L);
	if (SSL_get_shutdown(l->ssl) & SSL_RECEIVED_SHUTDOWN)
		size = BIO_get_mem_data(l->in, &bytes);
	if (size <= 0) {
		lua_pushliteral(L, "");
		return 1;
	}
	lua_pushlstring(L, bytes, (size_t)size);
	BIO_reset(l->in);
	return 1;
}

/* layer:close() → true. Frees at once; sends nothing. */
static int
layer_close(lua_State *L)
{
	tls_free(tls_layer(L));
	lua_pushboolean(L, 1);
	return 1;
}

/* tls.version() → "OpenSSL 3.0.15", of the library that runs. */
static int
tls_version(lua_State *L)
{
	lua_pushfstring(L, "OpenSSL %s",
	    OpenSSL_version(OPENSSL_FULL_VERSION_STRING));
	return 1;
}

static const luaL_Reg context_methods[] = {
	{"client", tlsstart_client},
	{"server", tlsstart_server},
	{NULL, NULL},
};

static const luaL_Reg layer_methods[] = {
	{"handshake", layer_handshake},
	{"feed", layer_feed},
	{"read", layer_read},
	{"write", layer_write},
	{"drain", layer_drain},
	{"finish", layer_finish},
	{"eof", layer_eof},
	{"rest", layer_rest},
	{"info", tlsinfo_info},
	{"problems", tlsinfo_problems},
	{"peer", tlsinfo_peer},
	{"sessions", tlsinfo_sessions},
	{"channel_binding", tlsinfo_binding},
	{"trace", tlsinfo_trace},
	{"close", layer_close},
	{NULL, NULL},
};

static const luaL_Reg functions[] = {
	{"context", tlscontext_new},
	{"version", tls_version},
	{NULL, NULL},
};

SMTPTEST_OPEN LUAMOD_API int
luaopen_smtptest_core_tls(lua_State *L)
{
	tlscontext_open(L, context_methods);
	object_type(L, TLS_LAYER, layer_methods);
	luaL_newlib(L, functions);
	return 1;
}
