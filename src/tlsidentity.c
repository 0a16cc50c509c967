/* The certificate and private key of a TLS context. */
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>

#include "fail.h"
#include "tls.h"

BIO *
tls_pem(const char *path, const char *pem, size_t size)
{
	BIO *memory, *file;
	char piece[4096];
	int count;

	if (pem != NULL)
		return BIO_new_mem_buf(pem, (int)size);
	file = BIO_new_file(path, "r");
	memory = file != NULL ? BIO_new(BIO_s_mem()) : NULL;
	if (memory == NULL) {
		BIO_free(file);
		return NULL;
	}
	while ((count = BIO_read(file, piece, sizeof piece)) > 0)
		if (BIO_write(memory, piece, count) != count)
			break;
	BIO_free(file);
	OPENSSL_cleanse(piece, sizeof piece);
	/* From now on BIO_reset goes back to the start, as of a file. */
	BIO_set_flags(memory, BIO_FLAGS_NONCLEAR_RST);
	BIO_set_mem_eof_return(memory, 0);
	if (count != 0 || ERR_peek_error() != 0) {
		BIO_free(memory);
		return NULL;
	}
	return memory;
}

static int
no_pem(void)
{
	unsigned long error = ERR_peek_last_error();

	return ERR_GET_LIB(error) == ERR_LIB_PEM &&
	    ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

static int
identity_certificate(lua_State *L, struct context *c, const char *path)
{
	X509 *next;

	c->cert = PEM_read_bio_X509_AUX(c->certpem, NULL, tls_nopassword, NULL);
	if (c->cert == NULL && no_pem()) {
		ERR_clear_error();
		tls_tidy(c);
		return fail_code(L, "TLS", "cannot load certificate from %s: "
		    "no certificate in it", path);
	}
	if (c->cert == NULL || SSL_CTX_use_certificate(c->ctx, c->cert) != 1)
		return tls_refuse(L, c, "cannot load certificate from %s",
		    path);
	for (;;) {
		next = PEM_read_bio_X509(c->certpem, NULL, tls_nopassword, NULL);
		if (next == NULL)
			break;
		if (!SSL_CTX_add0_chain_cert(c->ctx, next)) {
			X509_free(next);
			break;
		}
	}
	if (!no_pem())
		return tls_refuse(L, c, "cannot load the chain from %s",
		    path);
	ERR_clear_error();
	return 0;
}

struct password {
	const char *bytes;	/* NULL: none was given */
	size_t size;
	int asked, toolong;
};

/* Fills OpenSSL's buffer, which OpenSSL wipes. */
static int
on_password(char *buf, int size, int writing, void *context)
{
	struct password *password = context;

	(void)writing;
	password->asked = 1;
	if (password->bytes == NULL)
		return -1;
	if (password->size > (size_t)size) {
		password->toolong = 1;
		return -1;
	}
	memcpy(buf, password->bytes, password->size);
	return (int)password->size;
}

static int
identity_locked(lua_State *L, struct context *c, const char *path,
    const struct password *password)
{
	const char *why = password->bytes == NULL ?
	    "it is encrypted and needs a password" : password->toolong ?
	    "the password is too long" : "wrong password";

	ERR_clear_error();
	tls_tidy(c);
	fail_code(L, "TLS", "cannot load private key from %s: %s", path, why);
	lua_pushliteral(L, "keypass");
	return 4;
}

/* OpenSSL has but one word, "unsupported", for all that is not a key. */
static const char *
key_fault(BIO *pem)
{
	static const char label[] = "PRIVATE KEY-----";
	unsigned long error = ERR_peek_error();
	char *bytes;
	long size;

	BIO_reset(pem);
	size = BIO_get_mem_data(pem, &bytes);
	if (size <= 0 || memmem(bytes, size, label, sizeof label - 1) == NULL)
		return "no private key in it";
	if (ERR_GET_REASON(error) == ERR_R_UNSUPPORTED)
		return "damaged, or of a kind that OpenSSL does not know";
	return NULL;
}

static int
identity_key(lua_State *L, struct context *c, const char *path,
    const char *certpath)
{
	struct password password = { NULL, 0, 0, 0 };
	BIO *pem = c->keypem != NULL ? c->keypem : c->certpem;
	const char *fault;

	lua_getfield(L, 1, "keypass");
	password.bytes = luaL_optlstring(L, -1, NULL, &password.size);
	BIO_reset(pem);
	c->key = PEM_read_bio_PrivateKey(pem, NULL, on_password, &password);
	if (c->key == NULL && password.asked)
		return identity_locked(L, c, path, &password);
	if (c->key == NULL && (fault = key_fault(pem)) != NULL) {
		ERR_clear_error();
		tls_tidy(c);
		return fail_code(L, "TLS", "cannot load private key from %s: "
		    "%s", path, fault);
	}
	if (c->key == NULL)
		return tls_refuse(L, c, "cannot load private key from %s",
		    path);
	if (X509_check_private_key(c->cert, c->key) != 1) {
		ERR_clear_error();
		tls_tidy(c);
		return fail_code(L, "TLS", "the private key in %s does not "
		    "belong to the certificate in %s", path, certpath);
	}
	ERR_clear_error();
	if (SSL_CTX_use_PrivateKey(c->ctx, c->key) != 1)
		return tls_refuse(L, c, "cannot use the private key in %s",
		    path);
	return 0;
}

int
tls_identity(lua_State *L, struct context *c)
{
	const char *certpath = tls_option(L, 1, "certfile");
	const char *keypath = tls_option(L, 1, "keyfile");
	size_t certsize = 0, keysize = 0;
	const char *cert, *key;
	int results;

	lua_getfield(L, 1, "cert");
	cert = luaL_optlstring(L, -1, NULL, &certsize);
	lua_getfield(L, 1, "key");
	key = luaL_optlstring(L, -1, NULL, &keysize);
	if (cert == NULL && certpath == NULL && key == NULL && keypath == NULL)
		return 0;
	if (cert != NULL)
		certpath = "the given PEM";
	if (key != NULL)
		keypath = "the given PEM";
	if (certpath != NULL) {
		c->certpem = tls_pem(certpath, cert, certsize);
		if (c->certpem == NULL)
			return tls_refuse(L, c,
			    "cannot load certificate from %s", certpath);
	}
	if (keypath != NULL) {
		c->keypem = tls_pem(keypath, key, keysize);
		if (c->keypem == NULL)
			return tls_refuse(L, c,
			    "cannot load private key from %s", keypath);
	}
	if (c->certpem == NULL) {
		c->certpem = c->keypem;
		c->keypem = NULL;
	}
	if (certpath == NULL)
		certpath = keypath;
	if (keypath == NULL)
		keypath = certpath;
	results = identity_certificate(L, c, certpath);
	return results != 0 ? results : identity_key(L, c, keypath, certpath);
}
