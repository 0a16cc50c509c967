/* What Lua may ask a TLS layer: what was agreed on, who the peer is, what was
 * wrong with it. */
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <string.h>

#include "fail.h"
#include "tls.h"

static int
not_yet(lua_State *L)
{
	return fail_code(L, "TLS", "the handshake is not complete");
}

static void
set_string(lua_State *L, const char *key, const char *value)
{
	lua_pushstring(L, value);
	lua_setfield(L, -2, key);
}

static void
set_boolean(lua_State *L, const char *key, int value)
{
	lua_pushboolean(L, value);
	lua_setfield(L, -2, key);
}

static void
set_integer(lua_State *L, const char *key, lua_Integer value)
{
	lua_pushinteger(L, value);
	lua_setfield(L, -2, key);
}

/* The key exchange's group, as the groups option names it; also of TLS 1.2 with
 * an elliptic curve. */
static const char *
group_name(SSL *ssl)
{
	int nid = (int)SSL_get_negotiated_group(ssl);
	const char *nist;

	if (nid == NID_undef)
		return NULL;
	if (nid & TLSEXT_nid_unknown)
		return SSL_group_to_name(ssl, nid);
	nist = EC_curve_nid2nist(nid);
	return nist != NULL ? nist : OBJ_nid2sn(nid);
}

/* layer:info() → {protocol="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384",
 * bits=256 (effective), algbits=256 (of the algorithm), group="X25519",
 * alpn=, resumed=, verified= (the peer showed a certificate and nothing was
 * wrong with it), sni= (server: the name the client asked for)}; before the
 * handshake's end nil, message, TLS. */
int
tlsinfo_info(lua_State *L)
{
	struct layer *l = tls_layer(L);
	const unsigned char *alpn;
	unsigned int size;
	const SSL_CIPHER *cipher;
	int algbits = 0;

	if (l->ssl == NULL)
		return fail_closed(L);
	if (!l->shaken)
		return not_yet(L);
	cipher = SSL_get_current_cipher(l->ssl);
	lua_createtable(L, 0, 9);
	set_string(L, "protocol", SSL_get_version(l->ssl));
	set_string(L, "cipher", SSL_CIPHER_get_name(cipher));
	set_integer(L, "bits", SSL_CIPHER_get_bits(cipher, &algbits));
	set_integer(L, "algbits", algbits);
	set_string(L, "group", group_name(l->ssl));
	SSL_get0_alpn_selected(l->ssl, &alpn, &size);
	if (size > 0) {
		lua_pushlstring(L, (const char *)alpn, size);
		lua_setfield(L, -2, "alpn");
	}
	set_boolean(L, "resumed", SSL_session_reused(l->ssl));
	set_boolean(L, "verified",
	    SSL_get0_peer_certificate(l->ssl) != NULL &&
	    SSL_get_verify_result(l->ssl) == X509_V_OK);
	if (l->server)
		set_string(L, "sni",
		    SSL_get_servername(l->ssl, TLSEXT_NAMETYPE_host_name));
	return 1;
}

/* layer:problems() → list of {code=, text=, depth= (0: the peer's own
 * certificate), subject=, issuer=, again=}, in the order in which OpenSSL's
 * verification told them. again: OpenSSL came back to the certificate and the
 * problem still stood. A resumed handshake verifies nothing. */
int
tlsinfo_problems(lua_State *L)
{
	struct layer *l = tls_layer(L);
	struct note *note;
	lua_Integer i = 0;

	if (l->ssl == NULL)
		return fail_closed(L);
	lua_newtable(L);
	for (note = l->problems.first; note != NULL; note = note->next) {
		lua_createtable(L, 0, 6);
		set_integer(L, "code", note->code);
		set_string(L, "text", X509_verify_cert_error_string(note->code));
		set_integer(L, "depth", note->depth);
		set_string(L, "subject", note->bytes);
		set_string(L, "issuer", note->issuer);
		set_boolean(L, "again", note->again);
		lua_seti(L, -2, ++i);
	}
	return 1;
}

static void
append_certificate(lua_State *L, X509 *cert)
{
	int size = i2d_X509(cert, NULL);
	unsigned char *end;
	luaL_Buffer der;

	if (size <= 0)
		return;
	end = (unsigned char *)luaL_buffinitsize(L, &der, size);
	size = i2d_X509(cert, &end);
	luaL_pushresultsize(&der, size > 0 ? size : 0);
	lua_seti(L, -2, luaL_len(L, -2) + 1);
}

/* layer:peer() → the peer's certificates as DER, its own first; {} when there
 * are none. Of a resumed session only the first is known. */
int
tlsinfo_peer(lua_State *L)
{
	struct layer *l = tls_layer(L);
	STACK_OF(X509) *chain;
	X509 *leaf;
	int i;

	if (l->ssl == NULL)
		return fail_closed(L);
	leaf = SSL_get0_peer_certificate(l->ssl);
	chain = SSL_get_peer_cert_chain(l->ssl);
	lua_newtable(L);
	if (leaf != NULL)
		append_certificate(L, leaf);
	/* A client's chain begins with the leaf, a server's does not. */
	for (i = l->server ? 0 : 1; i < sk_X509_num(chain); i++)
		append_certificate(L, sk_X509_value(chain, i));
	ERR_clear_error();
	return 1;
}

/* Pushes the bytes of the notes, which are forgotten then, as a list. */
static int
take_notes(lua_State *L, struct notes *notes)
{
	lua_Integer i = 0;

	lua_newtable(L);
	while (notes->first != NULL) {
		lua_pushlstring(L, notes->first->bytes, notes->first->size);
		lua_seti(L, -2, ++i);
		tls_forget(notes);
	}
	return 1;
}

/* layer:sessions() → list of sessions that came since the last call, as bytes
 * for ctx:client{session=}. TLS 1.2: with the handshake; TLS 1.3: with reads
 * after it. They hold secrets. */
int
tlsinfo_sessions(lua_State *L)
{
	struct layer *l = tls_layer(L);

	return l->ssl == NULL ? fail_closed(L) : take_notes(L, &l->sessions);
}

/* layer:trace() → list of handshake states and alerts since the last call, in
 * the words of openssl s_client -state; {} unless the layer was made with
 * trace. */
int
tlsinfo_trace(lua_State *L)
{
	struct layer *l = tls_layer(L);

	return l->ssl == NULL ? fail_closed(L) : take_notes(L, &l->states);
}

/* The first Finished message of the handshake: the client's, but the server's
 * when resumed (RFC 5929 section 3.1). */
static size_t
binding_unique(struct layer *l, unsigned char *bytes, size_t size)
{
	if (!l->server != !SSL_session_reused(l->ssl))
		return SSL_get_peer_finished(l->ssl, bytes, size);
	return SSL_get_finished(l->ssl, bytes, size);
}

/* RFC 9266 section 4.2: of TLS 1.2 only with the extended master secret. */
static size_t
binding_exporter(struct layer *l, unsigned char *bytes)
{
	static const char label[] = "EXPORTER-Channel-Binding";
	static const unsigned char context[] = "";

	if (SSL_export_keying_material(l->ssl, bytes, 32, label,
	    sizeof label - 1, context, 0, 1) != 1)
		return 0;
	return 32;
}

/* The hash of the server's certificate: that of its signature, but SHA-256 for
 * MD5, SHA-1 and those without one (RFC 5929 section 4.1). */
static size_t
binding_endpoint(struct layer *l, unsigned char *bytes)
{
	X509 *cert = l->server ? SSL_get_certificate(l->ssl) :
	    SSL_get0_peer_certificate(l->ssl);
	const EVP_MD *digest = NULL;
	unsigned int size = 0;
	int nid = NID_undef;

	if (cert == NULL)
		return 0;
	if (X509_get_signature_info(cert, &nid, NULL, NULL, NULL) &&
	    nid != NID_md5 && nid != NID_sha1 && nid != NID_md5_sha1)
		digest = EVP_get_digestbynid(nid);
	if (digest == NULL)
		digest = EVP_sha256();
	return X509_digest(cert, digest, bytes, &size) ? size : 0;
}

/* layer:channel_binding(type) → bytes, equal at both ends | nil, message, TLS
 * where this handshake has none of that type. Types: "tls-unique" (up to TLS
 * 1.2) and "tls-server-end-point" (RFC 5929), "tls-exporter" (RFC 9266). */
int
tlsinfo_binding(lua_State *L)
{
	static const char *const types[] = {
		"tls-unique", "tls-exporter", "tls-server-end-point", NULL
	};
	struct layer *l = tls_layer(L);
	int type = luaL_checkoption(L, 2, NULL, types);
	unsigned char bytes[EVP_MAX_MD_SIZE];
	size_t size;

	if (l->ssl == NULL)
		return fail_closed(L);
	if (!l->shaken)
		return not_yet(L);
	if (type == 0 && SSL_version(l->ssl) >= TLS1_3_VERSION)
		return fail_code(L, "TLS", "TLS 1.3 has no tls-unique");
	if (type == 1 && SSL_version(l->ssl) < TLS1_3_VERSION &&
	    SSL_get_extms_support(l->ssl) != 1)
		return fail_code(L, "TLS", "tls-exporter needs TLS 1.3 or the "
		    "extended master secret");
	ERR_clear_error();
	size = type == 0 ? binding_unique(l, bytes, sizeof bytes) :
	    type == 1 ? binding_exporter(l, bytes) : binding_endpoint(l, bytes);
	ERR_clear_error();
	if (size == 0)
		return fail_code(L, "TLS", "no %s here", types[type]);
	lua_pushlstring(L, (const char *)bytes, size);
	return 1;
}
