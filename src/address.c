#include "address.h"
#include "fail.h"

#include <arpa/inet.h>
#include <errno.h>
#include <lauxlib.h>
#include <limits.h>
#include <net/if.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_SCOPE UINT_MAX

static in_port_t
read_port(lua_State *L, int index)
{
	lua_Integer port = 0;
	int is_integer = 1;

	if (lua_getfield(L, index, "port") != LUA_TNIL)
		port = lua_tointegerx(L, -1, &is_integer);
	lua_pop(L, 1);
	if (!is_integer || port < 0 || port > 65535)
		luaL_error(L, "port must be an integer from 0 to 65535");
	return htons((in_port_t)port);
}

/* An interface's number or name; 0 when absent, NO_SCOPE for an unknown one. */
static unsigned
read_scope(lua_State *L, int index)
{
	lua_Integer number;
	unsigned scope = 0;
	int is_integer;

	if (lua_getfield(L, index, "scope") != LUA_TNIL) {
		number = lua_tointegerx(L, -1, &is_integer);
		if (is_integer && number >= 0 && number < NO_SCOPE)
			scope = (unsigned)number;
		else if (!lua_isstring(L, -1) ||
		    (scope = if_nametoindex(lua_tostring(L, -1))) == 0)
			scope = NO_SCOPE;
	}
	lua_pop(L, 1);
	return scope;
}

int
address_readhost(lua_State *L, int index, int family, struct address *a)
{
	const char *host = NULL;
	void *bytes = &a->as.inet.sin_addr;
	int good = 1;

	memset(a, 0, sizeof *a);
	a->as.any.sa_family = (sa_family_t)family;
	if (family == AF_INET) {
		a->length = sizeof a->as.inet;
		a->as.inet.sin_port = read_port(L, index);
	} else {
		bytes = &a->as.inet6.sin6_addr;
		a->length = sizeof a->as.inet6;
		a->as.inet6.sin6_port = read_port(L, index);
		a->as.inet6.sin6_scope_id = read_scope(L, index);
		good = a->as.inet6.sin6_scope_id != NO_SCOPE;
	}
	if (lua_getfield(L, index, "host") != LUA_TNIL) {
		if (lua_type(L, -1) != LUA_TSTRING)
			return luaL_error(L, "host must be a string");
		host = lua_tostring(L, -1);
		good = good && strlen(host) == lua_rawlen(L, -1) &&
		    inet_pton(family, host, bytes) == 1;
	}
	lua_pop(L, 1);
	return good;
}

/* Returns 0, or the errno value of what is wrong with the path. */
static int
read_path(lua_State *L, int index, struct address *a)
{
	const char *path;
	size_t length;

	if (lua_getfield(L, index, "path") != LUA_TSTRING)
		return luaL_error(L, "path must be a string");
	path = lua_tolstring(L, -1, &length);
	if (length == 0 || (path[0] != '\0' && strlen(path) != length))
		return EINVAL;
	if (length >= sizeof a->as.local.sun_path)
		return ENAMETOOLONG;
	memset(a, 0, sizeof *a);
	a->as.any.sa_family = AF_UNIX;
	memcpy(a->as.local.sun_path, path, length);
	a->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
	    length + (path[0] != '\0'));
	lua_pop(L, 1);
	return 0;
}

int
address_read(lua_State *L, int index, struct address *a)
{
	const char *family;
	int err;

	luaL_checktype(L, index, LUA_TTABLE);
	lua_getfield(L, index, "family");
	family = lua_tostring(L, -1);
	if (family != NULL && strcmp(family, "unix") == 0) {
		err = read_path(L, index, a);
		lua_pop(L, 1);
		return err == 0 ? 0 : fail(L, "socket path", err);
	}
	if (family == NULL ||
	    (strcmp(family, "inet") != 0 && strcmp(family, "inet6") != 0))
		return luaL_error(L,
		    "family must be \"inet\", \"inet6\" or \"unix\"");
	if (address_readhost(L, index,
	    family[4] == '6' ? AF_INET6 : AF_INET, a)) {
		lua_pop(L, 1);
		return 0;
	}
	lua_getfield(L, index, "host");
	return fail_code(L, "EINVAL", "not a numeric %s address: %s", family,
	    luaL_tolstring(L, -1, NULL));
}

static void
push_host(lua_State *L, int family, const void *bytes, in_port_t port)
{
	char host[INET6_ADDRSTRLEN];

	inet_ntop(family, bytes, host, sizeof host);
	lua_pushstring(L, host);
	lua_setfield(L, -2, "host");
	lua_pushinteger(L, ntohs(port));
	lua_setfield(L, -2, "port");
}

void
address_push(lua_State *L, const struct sockaddr *from, socklen_t length)
{
	const char *family = "unknown";
	struct address a;
	size_t size = 0;

	memset(&a, 0, sizeof a);
	if (length > sizeof a.as)
		length = sizeof a.as;
	memcpy(&a.as, from, length);
	lua_createtable(L, 0, 4);
	/* accept(2) tells nothing at all about some unnamed UNIX sockets. */
	switch (length == 0 ? AF_UNIX : a.as.any.sa_family) {
	case AF_INET:
		family = "inet";
		push_host(L, AF_INET, &a.as.inet.sin_addr, a.as.inet.sin_port);
		break;
	case AF_INET6:
		family = "inet6";
		push_host(L, AF_INET6, &a.as.inet6.sin6_addr,
		    a.as.inet6.sin6_port);
		if (a.as.inet6.sin6_scope_id != 0) {
			lua_pushinteger(L, a.as.inet6.sin6_scope_id);
			lua_setfield(L, -2, "scope");
		}
		break;
	case AF_UNIX:
		family = "unix";
		if (length > offsetof(struct sockaddr_un, sun_path))
			size = length - offsetof(struct sockaddr_un, sun_path);
		if (size > 0 && a.as.local.sun_path[0] != '\0')
			size = strnlen(a.as.local.sun_path, size);
		lua_pushlstring(L, a.as.local.sun_path, size);
		lua_setfield(L, -2, "path");
		break;
	}
	lua_pushstring(L, family);
	lua_setfield(L, -2, "family");
}

int
address_isstale(const struct address *a)
{
	struct stat st;
	int fd, refused;

	if (a->as.any.sa_family != AF_UNIX ||
	    a->as.local.sun_path[0] == '\0' ||
	    lstat(a->as.local.sun_path, &st) < 0 || !S_ISSOCK(st.st_mode))
		return 0;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	refused = connect(fd, &a->as.any, a->length) < 0 &&
	    errno == ECONNREFUSED;
	close(fd);
	return refused;
}
