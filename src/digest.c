/* SHA-256 of bytes that come in pieces (FIPS 180-4, OpenSSL's EVP_Digest). */
#include "fail.h"
#include "object.h"

#include <lauxlib.h>
#include <openssl/evp.h>

#define TYPE "smtptest.digest"

struct digest {
	EVP_MD_CTX *ctx;
};

/* digest.sha256() → an object that takes bytes. Raises when OpenSSL has none. */
static int
digest_sha256(lua_State *L)
{
	struct digest *self = lua_newuserdatauv(L, sizeof(*self), 0);

	self->ctx = NULL;
	luaL_setmetatable(L, TYPE);
	self->ctx = EVP_MD_CTX_new();
	if (self->ctx == NULL ||
	    EVP_DigestInit_ex(self->ctx, EVP_sha256(), NULL) != 1)
		return luaL_error(L, "no SHA-256");
	return 1;
}

static struct digest *
check(lua_State *L)
{
	struct digest *self = luaL_checkudata(L, 1, TYPE);

	luaL_argcheck(L, self->ctx != NULL, 1, "closed");
	return self;
}

/* digest:add(bytes) → digest */
static int
digest_add(lua_State *L)
{
	struct digest *self = check(L);
	size_t size;
	const char *bytes = luaL_checklstring(L, 2, &size);

	if (EVP_DigestUpdate(self->ctx, bytes, size) != 1)
		return luaL_error(L, "SHA-256 failed");
	lua_settop(L, 1);
	return 1;
}

/* digest:hex() → 64 hexadecimal digits of all that was added so far; more may
 * follow. */
static int
digest_hex(lua_State *L)
{
	struct digest *self = check(L);
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned int size = 0, i;
	char hex[2 * EVP_MAX_MD_SIZE];
	EVP_MD_CTX *copy = EVP_MD_CTX_new();
	int ok = copy != NULL && EVP_MD_CTX_copy_ex(copy, self->ctx) == 1 &&
	    EVP_DigestFinal_ex(copy, sum, &size) == 1;

	EVP_MD_CTX_free(copy);
	if (!ok)
		return luaL_error(L, "SHA-256 failed");
	for (i = 0; i < size; i++) {
		hex[2 * i] = "0123456789abcdef"[sum[i] >> 4];
		hex[2 * i + 1] = "0123456789abcdef"[sum[i] & 15];
	}
	lua_pushlstring(L, hex, 2 * size);
	return 1;
}

static int
digest_close(lua_State *L)
{
	struct digest *self = luaL_checkudata(L, 1, TYPE);

	EVP_MD_CTX_free(self->ctx);
	self->ctx = NULL;
	return 0;
}

static const luaL_Reg methods[] = {
	{"add", digest_add},
	{"hex", digest_hex},
	{"close", digest_close},
	{NULL, NULL},
};

static const luaL_Reg functions[] = {
	{"sha256", digest_sha256},
	{NULL, NULL},
};

SMTPTEST_OPEN LUAMOD_API int
luaopen_smtptest_core_digest(lua_State *L)
{
	object_type(L, TYPE, methods);
	luaL_newlib(L, functions);
	return 1;
}
