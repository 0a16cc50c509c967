/* Reading and writing descriptors that may belong to others as well: blocking,
 * whatever they were switched to. */
#include "descriptor.h"
#include "fail.h"

#include <errno.h>
#include <lauxlib.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

/* A read of up to this many bytes allocates nothing but its string. */
#define SMALL_READ 16384

/* Whoever gave us the descriptor may have made it non-blocking. */
static void
await(int fd, short events)
{
	struct pollfd p;

	p.fd = fd;
	p.events = events;
	poll(&p, 1, -1);
}

int
descriptor_read(lua_State *L, int fd)
{
	lua_Integer max = luaL_checkinteger(L, 2);
	char small[SMALL_READ], *room = small;
	luaL_Buffer b;
	ssize_t count;

	luaL_argcheck(L, max >= 1 && max <= INT_MAX, 2, "out of range");
	if (fd < 0)
		return fail_closed(L);
	if (max > SMALL_READ)
		room = luaL_buffinitsize(L, &b, (size_t)max);
	while ((count = read(fd, room, (size_t)max)) < 0) {
		if (errno == EAGAIN)
			await(fd, POLLIN);
		else if (errno != EINTR)
			return fail(L, "read", errno);
	}
	if (count == 0)
		return fail_code(L, "EOF", "end of file");
	if (room == small)
		lua_pushlstring(L, small, (size_t)count);
	else
		luaL_pushresultsize(&b, (size_t)count);
	return 1;
}

/* A pipe whose reader is gone must not kill a program that only uses this
 * library: SIGPIPE is blocked while we write, and taken away if it came. */
static void
hold_sigpipe(sigset_t *before, int *was_pending)
{
	sigset_t pipe, pending;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe, before);
	sigpending(&pending);
	*was_pending = sigismember(&pending, SIGPIPE);
}

static void
release_sigpipe(const sigset_t *before, int was_pending, int came)
{
	static const struct timespec now = {0, 0};
	sigset_t pipe;

	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE);
	if (came && !was_pending)
		while (sigtimedwait(&pipe, NULL, &now) < 0 && errno == EINTR)
			;
	pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* Writes all of it. Returns 0 or an errno value. */
static int
write_all(int fd, const char *bytes, size_t length)
{
	ssize_t count;

	while (length > 0) {
		count = write(fd, bytes, length);
		if (count >= 0) {
			bytes += count;
			length -= (size_t)count;
		} else if (errno == EAGAIN)
			await(fd, POLLOUT);
		else if (errno != EINTR)
			return errno;
	}
	return 0;
}

int
descriptor_write(lua_State *L, int fd)
{
	size_t length;
	const char *bytes = luaL_checklstring(L, 2, &length);
	lua_Integer first = luaL_optinteger(L, 3, 1);
	lua_Integer last = luaL_optinteger(L, 4, (lua_Integer)length);
	sigset_t before;
	int was_pending, err;

	luaL_argcheck(L, first >= 1, 3, "must be positive");
	luaL_argcheck(L, last >= 0, 4, "must not be negative");
	if (fd < 0)
		return fail_closed(L);
	if (last > (lua_Integer)length)
		last = (lua_Integer)length;
	if (first > last) {
		lua_pushinteger(L, 0);
		return 1;
	}
	hold_sigpipe(&before, &was_pending);
	err = write_all(fd, bytes + first - 1, (size_t)(last - first + 1));
	release_sigpipe(&before, was_pending, err == EPIPE);
	if (err != 0)
		return fail(L, "write", err);
	lua_pushinteger(L, last - first + 1);
	return 1;
}

int
descriptor_ready(lua_State *L, int fd)
{
	lua_Number seconds = luaL_optnumber(L, 2, 0);
	int milliseconds = -1, count;
	struct pollfd p;

	luaL_argcheck(L, seconds == seconds, 2, "not a number");
	if (fd < 0)
		return fail_closed(L);
	if (seconds >= INT_MAX / 1000)
		milliseconds = INT_MAX;
	else if (seconds >= 0) {
		milliseconds = (int)(seconds * 1000);
		milliseconds += milliseconds < seconds * 1000;
	}
	p.fd = fd;
	p.events = POLLIN;
	count = poll(&p, 1, milliseconds);
	if (count < 0 && errno != EINTR)
		return fail(L, "poll", errno);
	if (count > 0 && (p.revents & POLLNVAL))
		return fail(L, "poll", EBADF);
	lua_pushboolean(L, count > 0);
	return 1;
}
