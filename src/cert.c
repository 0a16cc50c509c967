/* Certificates as data, and a certificate for servers that have none. */
#include <lauxlib.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#include "fail.h"
#include "tls.h"

#define WORK "smtptest.core.cert.work"

/* What a call has in hand. It is a userdata, so that none of it is lost when
 * Lua has no memory for a string; it never leaves its call. */
struct work {
	BIO *in, *out;
	X509 *cert;
	EVP_PKEY *key;
	GENERAL_NAMES *names;
	BIGNUM *number;
	char *text;
	unsigned char *bytes;
};

static void
work_drop(struct work *w)
{
	BIO_free(w->in);
	BIO_free(w->out);
	X509_free(w->cert);
	EVP_PKEY_free(w->key);
	GENERAL_NAMES_free(w->names);
	BN_free(w->number);
	OPENSSL_free(w->text);
	OPENSSL_free(w->bytes);
	memset(w, 0, sizeof *w);
}

static int
work_gc(lua_State *L)
{
	work_drop(luaL_checkudata(L, 1, WORK));
	return 0;
}

static struct work *
work_new(lua_State *L)
{
	struct work *w = lua_newuserdatauv(L, sizeof *w, 0);

	memset(w, 0, sizeof *w);
	luaL_setmetatable(L, WORK);
	ERR_clear_error();
	return w;
}

static int
work_fail(lua_State *L, struct work *w, const char *what)
{
	char reason[TLS_REASON];

	tls_reason(reason, sizeof reason);
	work_drop(w);
	return fail_code(L, "TLS", "%s: %s", what, reason);
}

/* Each push_ pushes one value, which may be nil. */

static void
push_name(lua_State *L, struct work *w, const X509_NAME *name)
{
	w->text = X509_NAME_oneline(name, NULL, 0);
	lua_pushstring(L, w->text);
	OPENSSL_free(w->text);
	w->text = NULL;
}

/* The first common name, in UTF-8. */
static void
push_cn(lua_State *L, struct work *w, const X509_NAME *name)
{
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
	int size = -1;

	if (at >= 0)
		size = ASN1_STRING_to_UTF8(&w->bytes,
		    X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
	if (size < 0) {
		lua_pushnil(L);
		return;
	}
	lua_pushlstring(L, (char *)w->bytes, (size_t)size);
	OPENSSL_free(w->bytes);
	w->bytes = NULL;
}

static void
push_time(lua_State *L, const ASN1_TIME *when)
{
	struct tm tm;

	if (when != NULL && ASN1_TIME_to_tm(when, &tm))
		lua_pushinteger(L, (lua_Integer)timegm(&tm));
	else
		lua_pushnil(L);
}

static void
push_serial(lua_State *L, struct work *w)
{
	w->number = ASN1_INTEGER_to_BN(X509_get0_serialNumber(w->cert), NULL);
	if (w->number != NULL)
		w->text = BN_bn2hex(w->number);
	lua_pushstring(L, w->text);
	BN_free(w->number);
	OPENSSL_free(w->text);
	w->number = NULL;
	w->text = NULL;
}

static void
push_out(lua_State *L, struct work *w)
{
	char *bytes;
	long size = BIO_get_mem_data(w->out, &bytes);

	lua_pushlstring(L, bytes, size > 0 ? (size_t)size : 0);
	BIO_reset(w->out);
}

/* A list of "DNS:…", "IP Address:…", "email:…". */
static void
push_names(lua_State *L, struct work *w)
{
	int i;

	lua_newtable(L);
	w->names = X509_get_ext_d2i(w->cert, NID_subject_alt_name, NULL, NULL);
	for (i = 0; i < sk_GENERAL_NAME_num(w->names); i++) {
		GENERAL_NAME_print(w->out, sk_GENERAL_NAME_value(w->names, i));
		push_out(L, w);
		lua_seti(L, -2, i + 1);
	}
	GENERAL_NAMES_free(w->names);
	w->names = NULL;
}

static void
push_ec(lua_State *L, EVP_PKEY *key)
{
	char group[80];
	const char *nist;
	size_t size;

	if (!EVP_PKEY_get_group_name(key, group, sizeof group, &size)) {
		lua_pushfstring(L, "EC %d", EVP_PKEY_get_bits(key));
		return;
	}
	nist = EC_curve_nid2nist(OBJ_sn2nid(group));
	lua_pushfstring(L, "EC %s", nist != NULL ? nist : group);
}

/* "RSA 2048", "EC P-256", "ED25519"; the algorithm alone for a key that
 * OpenSSL cannot read. */
static void
push_key(lua_State *L, X509 *cert)
{
	EVP_PKEY *key = X509_get0_pubkey(cert);
	ASN1_OBJECT *algorithm = NULL;
	char text[80] = "";

	if (key == NULL) {
		X509_PUBKEY_get0_param(&algorithm, NULL, NULL, NULL,
		    X509_get_X509_PUBKEY(cert));
		if (algorithm != NULL)
			OBJ_obj2txt(text, sizeof text, algorithm, 0);
		lua_pushstring(L, text);
	} else if (EVP_PKEY_is_a(key, "EC"))
		push_ec(L, key);
	else if (EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_is_a(key, "RSA-PSS") ||
	    EVP_PKEY_is_a(key, "DSA"))
		lua_pushfstring(L, "%s %d", EVP_PKEY_get0_type_name(key),
		    EVP_PKEY_get_bits(key));
	else
		lua_pushstring(L, EVP_PKEY_get0_type_name(key));
}

static void
push_signature(lua_State *L, X509 *cert)
{
	const X509_ALGOR *algorithm;
	const ASN1_OBJECT *object;
	char text[80] = "";

	X509_get0_signature(NULL, &algorithm, cert);
	X509_ALGOR_get0(&object, NULL, NULL, algorithm);
	OBJ_obj2txt(text, sizeof text, object, 0);
	lua_pushstring(L, text);
}

static void
push_fingerprint(lua_State *L, X509 *cert)
{
	static const char digits[] = "0123456789abcdef";
	unsigned char digest[EVP_MAX_MD_SIZE];
	char hex[2 * EVP_MAX_MD_SIZE];
	unsigned int i, size = 0;

	X509_digest(cert, EVP_sha256(), digest, &size);
	for (i = 0; i < size; i++) {
		hex[2 * i] = digits[digest[i] >> 4];
		hex[2 * i + 1] = digits[digest[i] & 15];
	}
	lua_pushlstring(L, hex, 2 * size);
}

static void
push_certificate(lua_State *L, struct work *w)
{
	const X509_NAME *subject = X509_get_subject_name(w->cert);
	const X509_NAME *issuer = X509_get_issuer_name(w->cert);

	lua_createtable(L, 0, 12);
	push_name(L, w, subject);
	lua_setfield(L, -2, "subject");
	push_name(L, w, issuer);
	lua_setfield(L, -2, "issuer");
	push_cn(L, w, subject);
	lua_setfield(L, -2, "subject_cn");
	push_cn(L, w, issuer);
	lua_setfield(L, -2, "issuer_cn");
	push_names(L, w);
	lua_setfield(L, -2, "names");
	push_time(L, X509_get0_notBefore(w->cert));
	lua_setfield(L, -2, "not_before");
	push_time(L, X509_get0_notAfter(w->cert));
	lua_setfield(L, -2, "not_after");
	push_serial(L, w);
	lua_setfield(L, -2, "serial");
	push_key(L, w->cert);
	lua_setfield(L, -2, "key");
	push_signature(L, w->cert);
	lua_setfield(L, -2, "signature");
	push_fingerprint(L, w->cert);
	lua_setfield(L, -2, "fingerprint");
	PEM_write_bio_X509(w->out, w->cert);
	push_out(L, w);
	lua_setfield(L, -2, "pem");
	ERR_clear_error();
}

/* cert.parse(bytes) → {subject="/CN=localhost", issuer=, subject_cn=,
 * issuer_cn=, names={"DNS:localhost", …}, not_before=, not_after= (seconds
 * since 1970, UTC), serial= (hex), key="EC P-256", signature=, fingerprint=
 * (SHA-256, lower-case hex), pem=} | nil, message, TLS. Of PEM the first
 * certificate; DER must be one and no more. */
static int
cert_parse(lua_State *L)
{
	size_t size;
	const char *bytes = luaL_checklstring(L, 1, &size);
	const unsigned char *end = (const unsigned char *)bytes;
	struct work *w = work_new(L);

	w->out = BIO_new(BIO_s_mem());
	if (memmem(bytes, size, "-----BEGIN", 10) != NULL) {
		w->in = BIO_new_mem_buf(bytes, (int)size);
		w->cert = PEM_read_bio_X509(w->in, NULL, tls_nopassword, NULL);
	} else {
		w->cert = d2i_X509(NULL, &end, (long)size);
		if (w->cert != NULL && (const char *)end != bytes + size) {
			work_drop(w);
			return fail_code(L, "TLS", "cannot read the "
			    "certificate: more bytes follow it");
		}
	}
	if (w->out == NULL || w->cert == NULL)
		return work_fail(L, w, "cannot read the certificate");
	push_certificate(L, w);
	work_drop(w);
	return 1;
}

/* cert.load(path) → list of all certificates of a PEM file, as cert.parse
 * gives them | nil, message, TLS. */
static int
cert_load(lua_State *L)
{
	const char *path = luaL_checkstring(L, 1);
	struct work *w = work_new(L);
	lua_Integer count = 0;

	lua_pushfstring(L, "cannot load certificates from %s", path);
	w->out = BIO_new(BIO_s_mem());
	w->in = tls_pem(path, NULL, 0);
	if (w->out == NULL || w->in == NULL)
		return work_fail(L, w, lua_tostring(L, -1));
	lua_newtable(L);
	while ((w->cert = PEM_read_bio_X509(w->in, NULL, tls_nopassword,
	    NULL)) != NULL) {
		push_certificate(L, w);
		lua_seti(L, -2, ++count);
		X509_free(w->cert);
		w->cert = NULL;
	}
	/* The end of a file is that no other line starts one. */
	if (ERR_GET_LIB(ERR_peek_error()) != ERR_LIB_PEM ||
	    ERR_GET_REASON(ERR_peek_error()) != PEM_R_NO_START_LINE)
		return work_fail(L, w, lua_tostring(L, -2));
	work_drop(w);
	if (count == 0)
		return fail_code(L, "TLS", "%s: no certificate in it",
		    lua_tostring(L, -2));
	return 1;
}

static const struct prefix {
	const char *text;
	int type;
} prefixes[] = {
	{"DNS:", GEN_DNS}, {"IP Address:", GEN_IPADD}, {"IP:", GEN_IPADD},
	{"email:", GEN_EMAIL}, {"URI:", GEN_URI},
};

/* Appends one name; raises when the script wrote nonsense. */
static void
add_name(lua_State *L, struct work *w, const char *name)
{
	GENERAL_NAME *general = NULL;
	size_t i, size;

	for (i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
		size = strlen(prefixes[i].text);
		if (strncmp(name, prefixes[i].text, size) == 0)
			break;
	}
	if (i < sizeof prefixes / sizeof prefixes[0])
		general = a2i_GENERAL_NAME(NULL, NULL, NULL, prefixes[i].type,
		    name + size, 0);
	if (general == NULL || !sk_GENERAL_NAME_push(w->names, general)) {
		GENERAL_NAME_free(general);
		ERR_clear_error();
		luaL_error(L, "names: DNS:name, IP:address, email:address or "
		    "URI:uri expected, got %s", name);
	}
}

static void
add_names(lua_State *L, struct work *w, const char *name)
{
	lua_Integer i, count;
	size_t size;

	if (lua_getfield(L, 1, "names") == LUA_TNIL) {
		add_name(L, w, lua_pushfstring(L, "DNS:%s", name));
		if (strcmp(name, "localhost") == 0) {
			add_name(L, w, "IP:127.0.0.1");
			add_name(L, w, "IP:::1");
		}
		return;
	}
	luaL_checktype(L, -1, LUA_TTABLE);
	count = luaL_len(L, -1);
	for (i = 1; i <= count; i++) {
		lua_geti(L, -1, i);
		name = lua_tolstring(L, -1, &size);
		luaL_argcheck(L, name != NULL && strlen(name) == size, 1,
		    "names: strings without zero bytes expected");
		add_name(L, w, name);
		lua_pop(L, 1);
	}
}

static int
add_extension(X509 *cert, int nid, const char *value)
{
	X509_EXTENSION *extension;
	X509V3_CTX context;
	int ok;

	X509V3_set_ctx(&context, cert, cert, NULL, NULL, 0);
	X509V3_set_ctx_nodb(&context);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	ok = extension != NULL && X509_add_ext(cert, extension, -1);
	X509_EXTENSION_free(extension);
	return ok;
}

/* 127 random bits: positive and never zero in practice (RFC 5280 4.1.2.2). */
static int
set_serial(X509 *cert)
{
	BIGNUM *number = BN_new();
	int ok;

	ok = number != NULL &&
	    BN_rand(number, 127, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) &&
	    BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != NULL;
	BN_free(number);
	return ok;
}

/* Valid from an hour ago, for clocks that differ, or from an hour before an
 * end that is past. */
static int
set_times(X509 *cert, int days)
{
	int begin = days < 0 ? days : 0;

	return X509_time_adj_ex(X509_getm_notBefore(cert), begin, -3600,
	    NULL) != NULL &&
	    X509_time_adj_ex(X509_getm_notAfter(cert), days, 0, NULL) != NULL;
}

static int
set_subject(X509 *cert, const char *name)
{
	X509_NAME *subject = X509_get_subject_name(cert);

	return X509_NAME_add_entry_by_NID(subject, NID_commonName,
	    MBSTRING_UTF8, (const unsigned char *)name, -1, -1, 0) &&
	    X509_set_issuer_name(cert, subject);
}

static int
sign_certificate(struct work *w, const char *name, int days)
{
	return X509_set_version(w->cert, X509_VERSION_3) &&
	    set_serial(w->cert) && set_times(w->cert, days) &&
	    set_subject(w->cert, name) && X509_set_pubkey(w->cert, w->key) &&
	    add_extension(w->cert, NID_basic_constraints,
	    "critical,CA:FALSE") &&
	    add_extension(w->cert, NID_ext_key_usage,
	    "serverAuth,clientAuth") &&
	    add_extension(w->cert, NID_subject_key_identifier, "hash") &&
	    (sk_GENERAL_NAME_num(w->names) == 0 ||
	    X509_add1_ext_i2d(w->cert, NID_subject_alt_name, w->names, 0,
	    X509V3_ADD_DEFAULT) == 1) &&
	    X509_sign(w->cert, w->key, EVP_sha256()) > 0;
}

/* cert.self_signed{name="localhost", names={"DNS:localhost",
 * "IP:127.0.0.1"}, days=30} → certificate PEM, key PEM | nil, message, TLS.
 * P-256. names: all that the certificate is good for (default: the name, and
 * the loopback addresses for localhost). Negative days: expired so long ago. */
static int
cert_self_signed(lua_State *L)
{
	const char *name;
	lua_Integer days;
	struct work *w;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	name = tls_option(L, 1, "name");
	if (name == NULL)
		name = "localhost";
	lua_getfield(L, 1, "days");
	days = luaL_optinteger(L, -1, 30);
	luaL_argcheck(L, days >= -100000 && days <= 100000, 1,
	    "days: out of range");
	w = work_new(L);
	w->names = GENERAL_NAMES_new();
	w->out = BIO_new(BIO_s_mem());
	w->cert = X509_new();
	w->key = EVP_EC_gen("P-256");
	if (w->names != NULL)
		add_names(L, w, name);
	if (w->names == NULL || w->out == NULL || w->cert == NULL ||
	    w->key == NULL || !sign_certificate(w, name, (int)days) ||
	    !PEM_write_bio_X509(w->out, w->cert))
		return work_fail(L, w, "cannot make a certificate");
	push_out(L, w);
	if (!PEM_write_bio_PrivateKey(w->out, w->key, NULL, NULL, 0, NULL,
	    NULL))
		return work_fail(L, w, "cannot make a private key");
	push_out(L, w);
	work_drop(w);
	return 2;
}

static const luaL_Reg functions[] = {
	{"parse", cert_parse},
	{"load", cert_load},
	{"self_signed", cert_self_signed},
	{NULL, NULL},
};

SMTPTEST_OPEN LUAMOD_API int
luaopen_smtptest_core_cert(lua_State *L)
{
	luaL_newmetatable(L, WORK);
	lua_pushcfunction(L, work_gc);
	lua_setfield(L, -2, "__gc");
	lua_pop(L, 1);
	luaL_newlib(L, functions);
	return 1;
}
