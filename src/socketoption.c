#include "socketoption.h"
#include "fail.h"

#include <errno.h>
#include <lauxlib.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

enum kind { FLAG, COUNT, LINGER, SYMBOL, TYPE };

static const struct option {
	const char *name;
	int level, option;
	enum kind kind;
} options[] = {
	{"nodelay", IPPROTO_TCP, TCP_NODELAY, FLAG},
	{"keepalive", SOL_SOCKET, SO_KEEPALIVE, FLAG},
	{"sndbuf", SOL_SOCKET, SO_SNDBUF, COUNT},
	{"rcvbuf", SOL_SOCKET, SO_RCVBUF, COUNT},
	{"reuseaddr", SOL_SOCKET, SO_REUSEADDR, FLAG},
	{"linger", SOL_SOCKET, SO_LINGER, LINGER},
	{"error", SOL_SOCKET, SO_ERROR, SYMBOL},
	{"type", SOL_SOCKET, SO_TYPE, TYPE},
	{"v6only", IPPROTO_IPV6, IPV6_V6ONLY, FLAG},
};

#define OPTIONS (sizeof options / sizeof options[0])

static const struct option *
check_option(lua_State *L, int index)
{
	const char *name = luaL_checkstring(L, index);
	luaL_Buffer b;
	size_t i;

	for (i = 0; i < OPTIONS; i++)
		if (strcmp(options[i].name, name) == 0)
			return &options[i];
	luaL_buffinit(L, &b);
	for (i = 0; i < OPTIONS; i++) {
		luaL_addchar(&b, ' ');
		luaL_addstring(&b, options[i].name);
	}
	luaL_pushresult(&b);
	luaL_error(L, "no socket option %s; there are%s", name,
	    lua_tostring(L, -1));
	return NULL;
}

static int
option_get(lua_State *L, int fd, const struct option *o)
{
	struct linger linger;
	socklen_t length = sizeof linger;
	int value = 0;

	if (o->kind == LINGER) {
		if (getsockopt(fd, o->level, o->option, &linger, &length) < 0)
			return fail(L, o->name, errno);
		if (linger.l_onoff)
			lua_pushinteger(L, linger.l_linger);
		else
			lua_pushboolean(L, 0);
		return 1;
	}
	length = sizeof value;
	if (getsockopt(fd, o->level, o->option, &value, &length) < 0)
		return fail(L, o->name, errno);
	if (o->kind == FLAG)
		lua_pushboolean(L, value);
	else if (o->kind == COUNT)
		lua_pushinteger(L, value);
	else if (o->kind == TYPE)
		lua_pushstring(L, value == SOCK_STREAM ? "stream" :
		    value == SOCK_SEQPACKET ? "seqpacket" : "dgram");
	else if (value == 0)
		lua_pushboolean(L, 0);
	else
		fail_name(L, value);
	return 1;
}

static int
option_set(lua_State *L, int fd, const struct option *o)
{
	struct linger linger = {0, 0};
	lua_Integer value = 0;
	int number, result;

	if (o->kind == SYMBOL || o->kind == TYPE)
		return luaL_error(L, "socket option %s cannot be set", o->name);
	if (o->kind == FLAG || (o->kind == LINGER && lua_isboolean(L, 3))) {
		luaL_checktype(L, 3, LUA_TBOOLEAN);
		value = lua_toboolean(L, 3);
		luaL_argcheck(L, o->kind == FLAG || value == 0, 3,
		    "seconds or false expected");
	} else {
		value = luaL_checkinteger(L, 3);
		luaL_argcheck(L, value >= 0 && value <= INT_MAX, 3,
		    "out of range");
		linger.l_onoff = 1;
		linger.l_linger = (int)value;
	}
	number = (int)value;
	if (o->kind == LINGER)
		result = setsockopt(fd, o->level, o->option, &linger,
		    sizeof linger);
	else
		result = setsockopt(fd, o->level, o->option, &number,
		    sizeof number);
	if (result < 0)
		return fail(L, o->name, errno);
	lua_pushboolean(L, 1);
	return 1;
}

int
socketoption(lua_State *L, int fd)
{
	const struct option *o = check_option(L, 2);

	return lua_isnoneornil(L, 3) ? option_get(L, fd, o) :
	    option_set(L, fd, o);
}
