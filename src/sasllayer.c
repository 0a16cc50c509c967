/* The security layer of SASL (RFC 4422 section 3.7) as a byte machine: it owns
 * no descriptor. Packets are four bytes of length and so many bytes. */
#include "saslconn.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "object.h"

/* The connection is the layer's one user value. */
#define CONN 1

struct bytes {
	char *data;		/* owned */
	size_t first, size;	/* what is left, in bytes */
	size_t room;
};

struct layer {
	struct conn *conn;	/* NULL when closed */
	struct bytes in;	/* from below, not decoded */
	struct bytes plain;	/* decoded, not read */
	struct bytes out;	/* encoded, for below */
	unsigned char header[4];
	unsigned headed;	/* bytes of the header that came */
	uint32_t rest;		/* bytes of the packet still to come */
	int eof;		/* below has ended */
	int failed;		/* libsasl's result that ended it, or SASL_OK */
	char *reason;		/* the same in words, owned; may be NULL */
};

static int
bytes_add(struct bytes *b, const char *data, size_t size)
{
	if (b->first && b->first + b->size + size > b->room) {
		memmove(b->data, b->data + b->first, b->size);
		b->first = 0;
	}
	if (size > b->room - b->size - b->first) {
		size_t room = b->room ? b->room : 1024;
		char *data2;

		while (room - b->size < size) {
			if (room > SIZE_MAX / 2)
				return 0;
			room *= 2;
		}
		data2 = realloc(b->data, room);
		if (!data2)
			return 0;
		b->data = data2;
		b->room = room;
	}
	if (size)
		memcpy(b->data + b->first + b->size, data, size);
	b->size += size;
	return 1;
}

static void
bytes_drop(struct bytes *b, size_t size)
{
	b->size -= size;
	b->first = b->size ? b->first + size : 0;
}

static void
bytes_free(struct bytes *b)
{
	free(b->data);
	memset(b, 0, sizeof *b);
}

void
sasllayer_push(lua_State *L, struct conn *c)
{
	struct layer *l = lua_newuserdatauv(L, sizeof *l, 1);

	memset(l, 0, sizeof *l);
	luaL_setmetatable(L, SASL_LAYER);
	lua_pushvalue(L, 1);
	lua_setiuservalue(L, -2, CONN);
	l->conn = c;
}

static struct layer *
layer_check(lua_State *L)
{
	return luaL_checkudata(L, 1, SASL_LAYER);
}

/* Closed by itself, or under it. */
static int
closed(const struct layer *l)
{
	return !l->conn || !l->conn->sasl;
}

/* Keeps a failure for good: packets are numbered, so nothing after it can be
 * right. The reason is owned from now on; NULL: what the status says. */
static void
spoil(struct layer *l, int status, char *reason)
{
	l->conn->status = status;
	l->failed = status;
	l->reason = reason;
}

/* Libsasl's words for that status, which it has just returned. */
static char *
words(struct layer *l, int status)
{
	l->conn->status = status;
	return strdup(saslconn_reason(l->conn));
}

static int
spoilt(lua_State *L, const struct layer *l)
{
	return fail_code(L, "SASL", "%s", l->reason ? l->reason :
		sasl_errstring(l->failed, NULL, NULL));
}

/* layer:feed(bytes) -> true | nil, message, "ENOMEM"|"EBADF"
 * Takes bytes from below, cut anywhere. */
static int
layer_feed(lua_State *L)
{
	struct layer *l = layer_check(L);
	size_t size;
	const char *data = luaL_checklstring(L, 2, &size);

	if (closed(l))
		return fail_closed(L);
	if (!bytes_add(&l->in, data, size))
		return fail(L, "feed", ENOMEM);
	lua_pushboolean(L, 1);
	return 1;
}

/* How many of the bytes belong to the packet that is open; counts them. Given
 * more than one packet libsasl would lose those before a bad one. */
static size_t
packet(struct layer *l)
{
	const unsigned char *data = (unsigned char *)l->in.data + l->in.first;
	size_t n = 0, body;

	while (l->headed < 4 && n < l->in.size) {
		l->header[l->headed++] = data[n++];
		if (l->headed == 4)
			l->rest = (uint32_t)l->header[0] << 24 |
				(uint32_t)l->header[1] << 16 |
				(uint32_t)l->header[2] << 8 | l->header[3];
	}
	body = l->in.size - n < l->rest ? l->in.size - n : l->rest;
	l->rest -= (uint32_t)body;
	return n + body;
}

/* Gives libsasl the next bytes, of one packet. */
static void
decode(struct layer *l)
{
	const char *data = l->in.data + l->in.first;
	uint32_t rest;
	size_t n = packet(l);
	const char *out = NULL;
	char *reason = NULL;
	unsigned size = 0;
	int status;

	rest = l->headed == 4 ? l->rest : 0;
	/* Some plug-ins look at an empty packet only when the next one comes;
	 * it has no place for a checksum, so it is never right. */
	if (l->headed == 4 && memcmp(l->header, "\0\0\0", 4) == 0)
		status = SASL_BADMAC;
	else {
		status = sasl_decode(l->conn->sasl, data, (unsigned)n,
			&out, &size);
		/* Before a packet is whole only its length can be wrong,
		 * of which libsasl has no words. */
		if (status != SASL_OK && rest)
			reason = strdup("packet longer than agreed");
		else if (status != SASL_OK)
			reason = words(l, status);
	}
	if (l->headed == 4 && !rest)
		l->headed = 0;
	bytes_drop(&l->in, n);
	if (status == SASL_OK && size && !bytes_add(&l->plain, out, size))
		status = SASL_NOMEM;
	if (status != SASL_OK)
		spoil(l, status, reason);
}

/* layer:read([max]) -> bytes | nil, message, code
 * At most max bytes, at most those of one packet. WANTREAD: feed more. EOF:
 * below ended between packets; TRUNCATED: inside one. SASL: a packet was
 * wrong; all before it were read. */
static int
layer_read(lua_State *L)
{
	struct layer *l = layer_check(L);
	lua_Integer max = luaL_optinteger(L, 2, INT_MAX);
	size_t size;

	luaL_argcheck(L, max > 0, 2, "at least one byte expected");
	if (closed(l))
		return fail_closed(L);
	while (!l->plain.size && l->in.size && !l->failed)
		decode(l);
	if (l->plain.size) {
		size = l->plain.size;
		if ((lua_Unsigned)max < size)
			size = (size_t)max;
		lua_pushlstring(L, l->plain.data + l->plain.first, size);
		bytes_drop(&l->plain, size);
		return 1;
	}
	if (l->failed)
		return spoilt(L, l);
	if (!l->eof)
		return fail_code(L, "WANTREAD", "no whole packet yet");
	if (l->headed)
		return fail_code(L, "TRUNCATED",
			"connection ended inside a packet");
	return fail_code(L, "EOF", "end of file");
}

/* layer:write(bytes[, first[, last]]) -> count | nil, message, "SASL"
 * Encodes bytes first to last (as string.sub, positive only), in packets as
 * large as the peer allows; drain gives them. The count is always all. */
static int
layer_write(lua_State *L)
{
	struct layer *l = layer_check(L);
	size_t length, count;
	const char *data = luaL_checklstring(L, 2, &length);
	lua_Integer first = luaL_optinteger(L, 3, 1);
	lua_Integer last = luaL_optinteger(L, 4, (lua_Integer)length);
	const void *most;
	unsigned piece;

	luaL_argcheck(L, first > 0, 3, "positive position expected");
	luaL_argcheck(L, last >= 0, 4, "position from 0 expected");
	if (closed(l))
		return fail_closed(L);
	if (l->failed)
		return spoilt(L, l);
	if ((lua_Unsigned)last > length)
		last = (lua_Integer)length;
	count = first > last ? 0 : (size_t)(last - first) + 1;
	lua_pushinteger(L, (lua_Integer)count);
	if (sasl_getprop(l->conn->sasl, SASL_MAXOUTBUF, &most) != SASL_OK)
		return fail_code(L, "SASL", "no security layer");
	piece = *(const unsigned *)most;
	if (!piece)
		return fail_code(L, "SASL", "the peer takes no packets");
	for (data += first - 1; count; data += piece, count -= piece) {
		const char *out;
		unsigned size;
		char *reason = NULL;
		int status;

		if (piece > count)
			piece = (unsigned)count;
		status = sasl_encode(l->conn->sasl, data, piece, &out, &size);
		if (status != SASL_OK)
			reason = words(l, status);
		else if (!bytes_add(&l->out, out, size))
			status = SASL_NOMEM;
		if (status != SASL_OK) {
			spoil(l, status, reason);
			return spoilt(L, l);
		}
	}
	return 1;
}

/* layer:drain() -> bytes for below, "" when there are none */
static int
layer_drain(lua_State *L)
{
	struct layer *l = layer_check(L);

	if (closed(l))
		return fail_closed(L);
	lua_pushlstring(L, l->out.size ? l->out.data + l->out.first : "",
		l->out.size);
	bytes_drop(&l->out, l->out.size);
	return 1;
}

/* layer:finish() -> true. A security layer has no way to say that it ends. */
static int
layer_finish(lua_State *L)
{
	if (closed(layer_check(L)))
		return fail_closed(L);
	lua_pushboolean(L, 1);
	return 1;
}

/* layer:eof() -> true. Below has ended: read() says EOF or TRUNCATED when
 * what was fed is used up. */
static int
layer_eof(lua_State *L)
{
	struct layer *l = layer_check(L);

	if (closed(l))
		return fail_closed(L);
	l->eof = 1;
	lua_pushboolean(L, 1);
	return 1;
}

/* layer:rest() -> the bytes from below that are not decoded: they belong to
 * what takes this layer's place. Of a packet that is open what came is lost. */
static int
layer_rest(lua_State *L)
{
	struct layer *l = layer_check(L);

	if (closed(l))
		return fail_closed(L);
	lua_pushlstring(L, l->in.size ? l->in.data + l->in.first : "",
		l->in.size);
	bytes_drop(&l->in, l->in.size);
	return 1;
}

/* layer:close() -> true. Lets go of its connection, which it does not close. */
static int
layer_close(lua_State *L)
{
	struct layer *l = layer_check(L);

	l->conn = NULL;
	bytes_free(&l->in);
	bytes_free(&l->plain);
	bytes_free(&l->out);
	free(l->reason);
	l->reason = NULL;
	lua_pushnil(L);
	lua_setiuservalue(L, 1, CONN);
	lua_pushboolean(L, 1);
	return 1;
}

static const luaL_Reg methods[] = {
	{ "feed", layer_feed },
	{ "read", layer_read },
	{ "write", layer_write },
	{ "drain", layer_drain },
	{ "finish", layer_finish },
	{ "eof", layer_eof },
	{ "rest", layer_rest },
	{ "close", layer_close },
	{ NULL, NULL }
};

void
sasllayer_open(lua_State *L)
{
	object_type(L, SASL_LAYER, methods);
}
