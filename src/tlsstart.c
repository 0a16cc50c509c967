/* Making a TLS layer from a context: whom it names, trusts and resumes. */
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "fail.h"
#include "tls.h"

static int
layer_refuse(lua_State *L, struct layer *l, const char *what)
{
	char reason[TLS_REASON];

	tls_reason(reason, sizeof reason);
	tls_free(l);
	return fail_code(L, "TLS", "%s: %s", what, reason);
}

static struct layer *
layer_make(lua_State *L, struct context *c)
{
	struct layer *l = lua_newuserdatauv(L, sizeof *l, 1);

	memset(l, 0, sizeof *l);
	l->problems.last = &l->problems.first;
	l->sessions.last = &l->sessions.first;
	l->states.last = &l->states.first;
	l->server = c->server;
	luaL_setmetatable(L, TLS_LAYER);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, 1);
	return l;
}

/* What client and server layers have in common. */
static int
layer_start(struct layer *l, struct context *c)
{
	l->ssl = SSL_new(c->ctx);
	if (l->ssl == NULL)
		return 0;
	l->in = BIO_new(BIO_s_mem());
	l->out = BIO_new(BIO_s_mem());
	if (l->in == NULL || l->out == NULL) {
		BIO_free(l->in);
		BIO_free(l->out);
		return 0;
	}
	/* Empty means "not yet" until eof says otherwise. */
	BIO_set_mem_eof_return(l->in, -1);
	SSL_set_bio(l->ssl, l->in, l->out);
	return SSL_set_app_data(l->ssl, l);
}

static int
flag(lua_State *L, int index, const char *key)
{
	int on;

	lua_getfield(L, index, key);
	on = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return on;
}

/* Whether a stored session's peer would pass today's demands. A resumed
 * handshake shows no certificate, so the judgement must come before it. */
static int
session_fits(SSL *ssl, SSL_SESSION *session, const char *name, const char *ip)
{
	X509 *cert = SSL_SESSION_get0_peer(session);

	if (SSL_get_verify_result(ssl) != X509_V_OK || cert == NULL)
		return 0;
	/* SSL_set1_host takes a name that looks like an address for one. */
	if (name != NULL && X509_check_ip_asc(cert, name, 0) != 1 &&
	    X509_check_host(cert, name, 0, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
	    NULL) != 1)
		return 0;
	return ip == NULL || X509_check_ip_asc(cert, ip, 0) == 1;
}

static int
layer_resume(struct layer *l, const char *bytes, size_t size,
    const char *name, const char *ip)
{
	const unsigned char *p = (const unsigned char *)bytes;
	SSL_SESSION *session = d2i_SSL_SESSION(NULL, &p, (long)size);
	int ok;

	if (session == NULL)
		return 0;
	ok = SSL_set_session(l->ssl, session);
	if (ok && l->verify && !session_fits(l->ssl, session, name, ip))
		ok = SSL_set_session(l->ssl, NULL);
	SSL_SESSION_free(session);
	return ok;
}

/* ctx:client{sni=, name=, ip=, verify=, session=, trace=} → layer.
 *
 * sni: the name to ask for (RFC 6066 section 3; not for addresses). name or
 * ip: what the certificate is judged against (RFC 6125). verify: a bad
 * certificate fails the handshake; otherwise it is only reported. session:
 * bytes from layer:sessions(); one that verify would not accept is not used.
 * trace: collect handshake states. Fails with TLS when a value is refused. */
int
tlsstart_client(lua_State *L)
{
	struct context *c = luaL_checkudata(L, 1, TLS_CONTEXT);
	const char *sni, *name, *ip, *session;
	size_t size = 0;
	struct layer *l;
	int verify, trace;

	if (c->ctx == NULL)
		return fail_closed(L);
	luaL_argcheck(L, !c->server, 1, "a server's context");
	luaL_checktype(L, 2, LUA_TTABLE);
	sni = tls_option(L, 2, "sni");
	name = tls_option(L, 2, "name");
	ip = tls_option(L, 2, "ip");
	lua_getfield(L, 2, "session");
	session = luaL_optlstring(L, -1, NULL, &size);
	verify = flag(L, 2, "verify");
	trace = flag(L, 2, "trace");
	l = layer_make(L, c);
	l->verify = verify;
	ERR_clear_error();
	if (!layer_start(l, c))
		return layer_refuse(L, l, "cannot start TLS");
	SSL_set_connect_state(l->ssl);
	SSL_set_verify(l->ssl, SSL_VERIFY_PEER, tls_onverify);
	SSL_set_hostflags(l->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (trace)
		SSL_set_info_callback(l->ssl, tls_onstate);
	if (sni != NULL && !SSL_set_tlsext_host_name(l->ssl, sni))
		return layer_refuse(L, l, "cannot send this name as SNI");
	if (name != NULL && !SSL_set1_host(l->ssl, name))
		return layer_refuse(L, l, "cannot verify this name");
	if (ip != NULL && !X509_VERIFY_PARAM_set1_ip_asc(
	    SSL_get0_param(l->ssl), ip))
		return layer_refuse(L, l, "cannot verify this address");
	if (session != NULL && !layer_resume(l, session, size, name, ip))
		return layer_refuse(L, l, "cannot use the stored session");
	return 1;
}

/* ctx:server{verify=, trace=} → layer. verify: a bad certificate of the
 * client fails the handshake; the context decides whether one is asked for. */
int
tlsstart_server(lua_State *L)
{
	struct context *c = luaL_checkudata(L, 1, TLS_CONTEXT);
	struct layer *l;
	int verify = 0, trace = 0;

	if (c->ctx == NULL)
		return fail_closed(L);
	luaL_argcheck(L, c->server, 1, "a client's context");
	if (!lua_isnoneornil(L, 2)) {
		luaL_checktype(L, 2, LUA_TTABLE);
		verify = flag(L, 2, "verify");
		trace = flag(L, 2, "trace");
	}
	l = layer_make(L, c);
	l->verify = verify;
	ERR_clear_error();
	if (!layer_start(l, c))
		return layer_refuse(L, l, "cannot start TLS");
	SSL_set_accept_state(l->ssl);
	SSL_set_verify(l->ssl, SSL_CTX_get_verify_mode(c->ctx), tls_onverify);
	if (trace)
		SSL_set_info_callback(l->ssl, tls_onstate);
	return 1;
}
