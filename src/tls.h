/* What the files of smtptest.core.tls share: tlscontext.c (settings),
 * tlsidentity.c (certificate and key), tlsstart.c (a machine from settings),
 * tls.c (the machine), tlsevent.c (what OpenSSL tells it) and tlsinfo.c (what
 * Lua may ask it). */
#ifndef SMTPTEST_TLS_H
#define SMTPTEST_TLS_H

#include <lauxlib.h>
#include <openssl/ssl.h>

#define TLS_CONTEXT "smtptest.core.tls.context"
#define TLS_LAYER "smtptest.core.tls.layer"
#define TLS_REASON 256	/* OpenSSL's longest words for a reason, and some */

/* Settings that many layers share. What follows `keylog` is needed only while
 * the context is made; it lives here so that a failing allocation of Lua's
 * cannot lose it. */
struct context {
	SSL_CTX *ctx;		/* NULL: not made, or collected */
	unsigned char *alpn;	/* server: length-prefixed names, own copy */
	unsigned int alpn_size;
	int server;
	int keylog;		/* descriptor, or -1 */
	BIO *certpem, *keypem;
	X509 *cert;
	EVP_PKEY *key;
};

/* Something that OpenSSL's callbacks told us and that Lua will ask for. They
 * run where no Lua may be called, so it is kept in C. */
struct note {
	struct note *next;
	int code, depth, again;	/* of a verification problem */
	char *issuer;		/* the same, owned; may be NULL */
	size_t size;
	char bytes[];		/* subject, session or state, NUL added */
};

struct notes {
	struct note *first, **last;
};

struct layer {
	SSL *ssl;		/* NULL when closed; owns both BIOs */
	BIO *in, *out;		/* from and for below */
	struct notes problems, sessions, states;
	int server;
	int verify;		/* a bad certificate ends the handshake */
	int shaken;		/* the handshake is complete */
	const char *code;	/* of the first failure, or NULL */
	char *message;		/* of the first failure, owned */
};

/* tlscontext.c */

/* tls.context{…}: see there. */
int tlscontext_new(lua_State *L);

/* Makes the metatable of contexts, with these methods. */
void tlscontext_open(lua_State *L, const luaL_Reg *methods);

/* Field `key` of the table at `index` as a string without zero bytes, or NULL;
 * pushes one value, which keeps the string alive. */
const char *tls_option(lua_State *L, int index, const char *key);

/* OpenSSL's first queued reason, in words, cut to size; empties the queue. */
const char *tls_reason(char *words, size_t size);

/* A password callback that has none: OpenSSL's own would ask the terminal. */
int tls_nopassword(char *buf, int size, int writing, void *unused);

/* Frees what only the making of a context needs. */
void tls_tidy(struct context *c);

/* tls_tidy, then nil, "what: OpenSSL's reason", TLS. What is the format with
 * one string, as lua_pushfstring knows it. */
int tls_refuse(lua_State *L, struct context *c, const char *format,
    const char *value);

/* tlsidentity.c */

/* PEM from memory, or from a file, which is read once and whole: it may be a
 * pipe and hold both certificate and key. BIO_reset goes back to the start. */
BIO *tls_pem(const char *path, const char *pem, size_t size);

/* Takes certfile keyfile cert key keypass of the table at index 1; a lone file
 * or text holds both. 0, or the number of results pushed. */
int tls_identity(lua_State *L, struct context *c);

/* tlsstart.c: methods of a context. */
int tlsstart_client(lua_State *L);
int tlsstart_server(lua_State *L);

/* tlsevent.c */

/* The callbacks by which OpenSSL tells a layer what happens: those that belong
 * to the context, and two for the layer's own SSL. */
void tls_hooks(SSL_CTX *ctx, int server);
int tls_onverify(int ok, X509_STORE_CTX *store);
void tls_onstate(const SSL *ssl, int where, int value);

/* Unlinks and wipes the first note, if any; all notes. */
void tls_forget(struct notes *notes);
void tls_forgetall(struct notes *notes);

/* tls.c */

/* The layer at index 1, whether closed or not; raises for anything else. */
struct layer *tls_layer(lua_State *L);

/* Frees all that the layer owns; again is harmless. */
void tls_free(struct layer *l);

/* tlsinfo.c: methods of a layer. */
int tlsinfo_info(lua_State *L);
int tlsinfo_problems(lua_State *L);
int tlsinfo_peer(lua_State *L);
int tlsinfo_sessions(lua_State *L);
int tlsinfo_binding(lua_State *L);
int tlsinfo_trace(lua_State *L);

#endif
