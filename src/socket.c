/* Stream sockets. Every descriptor is non-blocking and close-on-exec; each
 * method makes one system call and says EAGAIN for "not now". */
#include "address.h"
#include "fail.h"
#include "object.h"
#include "socketoption.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define SOCKET "smtptest.core.socket"

/* A read of up to this many bytes allocates nothing but its string. */
#define SMALL_READ 16384

struct socket {
	int fd; /* -1 when closed */
};

static struct socket *
socket_check(lua_State *L)
{
	return luaL_checkudata(L, 1, SOCKET);
}

/* Pushes a closed socket: its descriptor is put in as soon as it exists. */
static struct socket *
socket_new(lua_State *L)
{
	struct socket *s = lua_newuserdatauv(L, sizeof *s, 0);

	s->fd = -1;
	luaL_setmetatable(L, SOCKET);
	return s;
}

static void
socket_drop(struct socket *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

/* Closes s and reports error number err of step what. */
static int
socket_fail(lua_State *L, struct socket *s, const char *what, int err)
{
	socket_drop(s);
	return fail(L, what, err);
}

static int
socket_create(struct socket *s, int family)
{
	s->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	return s->fd < 0 ? -1 : 0;
}

static int
set_flag(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof value);
}

/* Binds s to the host and port of the table at index, of address a's family. */
static int
bind_source(lua_State *L, struct socket *s, int index, const struct address *a)
{
	struct address from;

	if (a->as.any.sa_family == AF_UNIX ||
	    !address_readhost(L, index, a->as.any.sa_family, &from)) {
		socket_drop(s);
		lua_getfield(L, index, "host");
		return fail_code(L, "EAFNOSUPPORT",
		    "source %s is not of the family of the address",
		    luaL_tolstring(L, -1, NULL));
	}
#ifdef IP_BIND_ADDRESS_NO_PORT
	/* The port is chosen at connect, by the whole connection: a load test
	 * may have more connections than one address has ports. */
	if (from.as.inet.sin_port == 0)
		set_flag(s->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1);
#endif
	set_flag(s->fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (bind(s->fd, &from.as.any, from.length) < 0)
		return socket_fail(L, s, "bind", errno);
	return 0;
}

/* socket.connect(address[, {source={host=, port=}}]) → socket: begins to
 * connect; ask :connected() when it is writable. An address is
 * {family="inet"|"inet6", host=numeric, port=[, scope=]} or {family="unix",
 * path=}, where a leading NUL means an abstract name. Codes: EINVAL for a host
 * that is none of its family, EAFNOSUPPORT for a source that is not,
 * ENAMETOOLONG for a path, or connect(2)'s. */
static int
socket_connect(lua_State *L)
{
	struct address a;
	struct socket *s;
	int failed;

	if (!lua_isnoneornil(L, 2))
		luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	if ((failed = address_read(L, 1, &a)) != 0)
		return failed;
	s = socket_new(L);
	if (socket_create(s, a.as.any.sa_family) < 0)
		return fail(L, "socket", errno);
	if (lua_istable(L, 2) && lua_getfield(L, 2, "source") != LUA_TNIL) {
		if (!lua_istable(L, -1))
			return luaL_error(L, "source must be a table");
		failed = bind_source(L, s, lua_gettop(L), &a);
		if (failed != 0)
			return failed;
	}
	if (connect(s->fd, &a.as.any, a.length) < 0 && errno != EINPROGRESS)
		return socket_fail(L, s, "connect", errno);
	lua_pushvalue(L, 3);
	return 1;
}

static int
read_flag(lua_State *L, const char *name, int absent)
{
	int type = lua_getfield(L, 2, name), value = lua_toboolean(L, -1);

	lua_pop(L, 1);
	return type == LUA_TNIL ? absent : value;
}

/* socket.listen(address[, {backlog=128, reuse=true, v6only=}]) → socket, bound
 * and listening; port 0 takes a free one. A socket file that nobody accepts on
 * is replaced; any other file in its place is EADDRINUSE. */
static int
socket_listen(lua_State *L)
{
	struct address a;
	struct socket *s;
	int failed, err, v6only, is_integer = 1;
	lua_Integer backlog = 128;

	lua_settop(L, lua_isnoneornil(L, 2) ? 1 : 2);
	if (lua_gettop(L) == 1)
		lua_newtable(L);
	luaL_checktype(L, 2, LUA_TTABLE);
	if (lua_getfield(L, 2, "backlog") != LUA_TNIL)
		backlog = lua_tointegerx(L, -1, &is_integer);
	if (!is_integer || backlog < 0 || backlog > INT_MAX)
		return luaL_error(L, "backlog must be an integer from 0");
	lua_settop(L, 2);
	if ((failed = address_read(L, 1, &a)) != 0)
		return failed;
	s = socket_new(L);
	if (socket_create(s, a.as.any.sa_family) < 0)
		return fail(L, "socket", errno);
	if (a.as.any.sa_family != AF_UNIX && read_flag(L, "reuse", 1))
		set_flag(s->fd, SOL_SOCKET, SO_REUSEADDR, 1);
	v6only = read_flag(L, "v6only", -1);
	if (a.as.any.sa_family == AF_INET6 && v6only >= 0)
		set_flag(s->fd, IPPROTO_IPV6, IPV6_V6ONLY, v6only);
	err = bind(s->fd, &a.as.any, a.length) < 0 ? errno : 0;
	if (err == EADDRINUSE && address_isstale(&a) &&
	    unlink(a.as.local.sun_path) == 0)
		err = bind(s->fd, &a.as.any, a.length) < 0 ? errno : 0;
	if (err != 0)
		return socket_fail(L, s, "bind", err);
	if (listen(s->fd, (int)backlog) < 0)
		return socket_fail(L, s, "listen", errno);
	return 1;
}

/* socket.pair(["stream"|"seqpacket"]) → two connected UNIX sockets */
static int
socket_pair(lua_State *L)
{
	static const char *const names[] = {"stream", "seqpacket", NULL};
	static const int types[] = {SOCK_STREAM, SOCK_SEQPACKET};
	int type = types[luaL_checkoption(L, 1, "stream", names)];
	struct socket *a = socket_new(L), *b = socket_new(L);
	int fds[2];

	type |= SOCK_NONBLOCK | SOCK_CLOEXEC;
	if (socketpair(AF_UNIX, type, 0, fds) < 0)
		return fail(L, "socketpair", errno);
	a->fd = fds[0];
	b->fd = fds[1];
	return 2;
}

/* socket.fromfd(fd) → socket that owns the descriptor from now on, switched to
 * non-blocking and close-on-exec. ENOTSOCK or EBADF leave it to the caller. */
static int
socket_fromfd(lua_State *L)
{
	lua_Integer number = luaL_checkinteger(L, 1);
	int fd = number < 0 || number > INT_MAX ? -1 : (int)number;
	struct socket *s = socket_new(L);
	socklen_t length = sizeof(int);
	int type, flags;

	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0)
		return fail(L, "fromfd", errno);
	if ((flags = fcntl(fd, F_GETFL)) < 0 ||
	    fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
	    fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return fail(L, "fromfd", errno);
	s->fd = fd;
	return 1;
}

/* socket:connected() → true; EAGAIN while connecting goes on, else the reason
 * why it failed. */
static int
socket_connected(lua_State *L)
{
	struct socket *s = socket_check(L);
	struct address a;
	struct pollfd writable = {s->fd, POLLOUT, 0};
	socklen_t length = sizeof(int);
	int why, err = 0;

	if (s->fd < 0)
		return fail_closed(L);
	a.length = sizeof a.as;
	if (getpeername(s->fd, &a.as.any, &a.length) == 0) {
		lua_pushboolean(L, 1);
		return 1;
	}
	why = errno;
	if (getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &err, &length) < 0)
		err = errno;
	if (err != 0)
		return fail(L, "connect", err);
	if (why == ENOTCONN && poll(&writable, 1, 0) == 0)
		return fail_code(L, "EAGAIN", "connect: %s",
		    strerror(EINPROGRESS));
	return fail(L, "connect", why);
}

/* socket:accept() → socket, its peer's address; EAGAIN when nobody waits. A
 * connection that was gone before we took it is passed over. */
static int
socket_accept(lua_State *L)
{
	struct socket *s = socket_check(L), *accepted;
	struct address a;

	if (s->fd < 0)
		return fail_closed(L);
	accepted = socket_new(L);
	do {
		a.length = sizeof a.as;
		accepted->fd = accept4(s->fd, &a.as.any, &a.length,
		    SOCK_NONBLOCK | SOCK_CLOEXEC);
	} while (accepted->fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (accepted->fd < 0)
		return fail(L, "accept", errno);
	address_push(L, &a.as.any, a.length);
	return 2;
}

/* socket:read(max) → 1 to max bytes. Codes: EAGAIN, EOF (the peer shut down),
 * ECONNRESET and what else recv(2) says. */
static int
socket_read(lua_State *L)
{
	struct socket *s = socket_check(L);
	lua_Integer max = luaL_checkinteger(L, 2);
	char small[SMALL_READ], *room = small;
	luaL_Buffer b;
	ssize_t count;

	luaL_argcheck(L, max >= 1 && max <= INT_MAX, 2, "out of range");
	if (s->fd < 0)
		return fail_closed(L);
	if (max > SMALL_READ)
		room = luaL_buffinitsize(L, &b, (size_t)max);
	do
		count = recv(s->fd, room, (size_t)max, 0);
	while (count < 0 && errno == EINTR);
	if (count < 0 && errno == EAGAIN)
		return fail_again(L, "read: Resource temporarily unavailable");
	if (count < 0)
		return fail(L, "read", errno);
	if (count == 0)
		return fail_code(L, "EOF", "end of stream");
	if (room == small)
		lua_pushlstring(L, small, (size_t)count);
	else
		luaL_pushresultsize(&b, (size_t)count);
	return 1;
}

/* socket:write(bytes[, first=1[, last=#bytes]]) → how many bytes of
 * bytes:sub(first, last) the kernel took. Codes: EAGAIN, EPIPE, ECONNRESET … */
static int
socket_write(lua_State *L)
{
	struct socket *s = socket_check(L);
	size_t length;
	const char *bytes = luaL_checklstring(L, 2, &length);
	lua_Integer first = luaL_optinteger(L, 3, 1);
	lua_Integer last = luaL_optinteger(L, 4, (lua_Integer)length);
	ssize_t count;

	luaL_argcheck(L, first >= 1, 3, "must be positive");
	luaL_argcheck(L, last >= 0, 4, "must not be negative");
	if (s->fd < 0)
		return fail_closed(L);
	if (last > (lua_Integer)length)
		last = (lua_Integer)length;
	if (first > last) {
		lua_pushinteger(L, 0);
		return 1;
	}
	do
		count = send(s->fd, bytes + first - 1,
		    (size_t)(last - first + 1), MSG_NOSIGNAL);
	while (count < 0 && errno == EINTR);
	if (count < 0)
		return fail(L, "write", errno);
	lua_pushinteger(L, count);
	return 1;
}

/* socket:shutdown("r"|"w"|"rw") → true: shutdown(2) */
static int
socket_shutdown(lua_State *L)
{
	static const char *const names[] = {"r", "w", "rw", NULL};
	static const int hows[] = {SHUT_RD, SHUT_WR, SHUT_RDWR};
	struct socket *s = socket_check(L);
	int how = hows[luaL_checkoption(L, 2, NULL, names)];

	if (s->fd < 0)
		return fail_closed(L);
	if (shutdown(s->fd, how) < 0)
		return fail(L, "shutdown", errno);
	lua_pushboolean(L, 1);
	return 1;
}

static int
push_address(lua_State *L, const char *what,
    int (*get)(int, struct sockaddr *, socklen_t *))
{
	struct socket *s = socket_check(L);
	struct address a;

	if (s->fd < 0)
		return fail_closed(L);
	a.length = sizeof a.as;
	if (get(s->fd, &a.as.any, &a.length) < 0)
		return fail(L, what, errno);
	address_push(L, &a.as.any, a.length);
	return 1;
}

/* socket:address() → the address at our end */
static int
socket_address(lua_State *L)
{
	return push_address(L, "address", getsockname);
}

/* socket:peer() → the address at the other end; ENOTCONN */
static int
socket_peer(lua_State *L)
{
	return push_address(L, "peer", getpeername);
}

/* socket:fd() → the descriptor, still ours; nil after close */
static int
socket_fd(lua_State *L)
{
	return object_fd(L, socket_check(L)->fd);
}

/* socket:option(name) → its value; socket:option(name, value) → true.
 * nodelay keepalive reuseaddr v6only: booleans; sndbuf rcvbuf: bytes; linger:
 * seconds, or false for none; read only: error, the pending error's symbol
 * (which is taken with it) or false; type, "stream", "seqpacket" or "dgram". */
static int
socket_option(lua_State *L)
{
	struct socket *s = socket_check(L);

	if (s->fd < 0)
		return fail_closed(L);
	return socketoption(L, s->fd);
}

/* socket:detach() → the descriptor, which is the caller's from now on */
static int
socket_detach(lua_State *L)
{
	struct socket *s = socket_check(L);

	if (s->fd < 0)
		return fail_closed(L);
	lua_pushinteger(L, s->fd);
	s->fd = -1;
	return 1;
}

/* socket:abort() → true: closes at once, the TCP peer gets a reset */
static int
socket_abort(lua_State *L)
{
	static const struct linger none = {1, 0};
	struct socket *s = socket_check(L);

	if (s->fd >= 0)
		setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
	socket_drop(s);
	lua_pushboolean(L, 1);
	return 1;
}

/* socket:close() → true, the first time and ever after */
static int
socket_close(lua_State *L)
{
	socket_drop(socket_check(L));
	lua_pushboolean(L, 1);
	return 1;
}

static int
socket_tostring(lua_State *L)
{
	struct socket *s = socket_check(L);

	if (s->fd < 0)
		lua_pushliteral(L, SOCKET " (closed)");
	else
		lua_pushfstring(L, SOCKET " (%d)", s->fd);
	return 1;
}

static const luaL_Reg methods[] = {
	{"connected", socket_connected},
	{"accept", socket_accept},
	{"read", socket_read},
	{"write", socket_write},
	{"shutdown", socket_shutdown},
	{"address", socket_address},
	{"peer", socket_peer},
	{"fd", socket_fd},
	{"option", socket_option},
	{"detach", socket_detach},
	{"abort", socket_abort},
	{"close", socket_close},
	{"__tostring", socket_tostring},
	{NULL, NULL},
};

static const luaL_Reg functions[] = {
	{"connect", socket_connect},
	{"listen", socket_listen},
	{"pair", socket_pair},
	{"fromfd", socket_fromfd},
	{NULL, NULL},
};

SMTPTEST_OPEN LUAMOD_API int
luaopen_smtptest_core_socket(lua_State *L)
{
	object_type(L, SOCKET, methods);
	luaL_newlib(L, functions);
	return 1;
}
