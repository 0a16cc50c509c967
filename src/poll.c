/* Readiness of descriptors, and the clock: epoll on Linux; poll(2) elsewhere,
 * or wherever SMTPTEST_POLL is defined as 1. */
#include "fail.h"
#include "object.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef SMTPTEST_POLL
#ifdef __linux__
#define SMTPTEST_POLL 0
#else
#define SMTPTEST_POLL 1
#endif
#endif

#if !SMTPTEST_POLL
#include <sys/epoll.h>
#endif

/* The two may meet in one process, where a spec compares them. */
#if SMTPTEST_POLL
#define POLL "smtptest.core.poll(2)"
#else
#define POLL "smtptest.core.poll"
#endif
#define MOST_EVENTS 256 /* a wait */

enum mode { ABSENT, EDGE, LEVEL };
enum { READ = 1, WRITE = 2, HANGUP = 4 }; /* HANGUP: with both */

struct slot {
	enum mode mode;
	int interest; /* READ, WRITE: poll(2) only, where epoll has its own */
};

struct poll {
	int open;
	struct slot *slots; /* one a descriptor, by its number */
	int size;           /* of slots */
	int fd;             /* epoll's, or -1 */
#if SMTPTEST_POLL
	struct pollfd *set; /* size entries, filled anew for each wait */
	int first;          /* the slot to begin with, so that none starves */
#endif
};

static struct poll *
poll_check(lua_State *L)
{
	return luaL_checkudata(L, 1, POLL);
}

/* Writes the n-th event into the table that is argument 3. */
static void
report(lua_State *L, int n, int fd, int readiness)
{
	lua_pushinteger(L, fd);
	lua_rawseti(L, 3, 3 * n - 2);
	if (readiness & HANGUP)
		lua_pushliteral(L, "hup");
	else
		lua_pushboolean(L, readiness & READ);
	lua_rawseti(L, 3, 3 * n - 1);
	lua_pushboolean(L, readiness & WRITE);
	lua_rawseti(L, 3, 3 * n);
}

#if SMTPTEST_POLL

static int
backend_open(struct poll *p)
{
	(void)p;
	return 0;
}

static void
backend_close(struct poll *p)
{
	free(p->set);
	p->set = NULL;
}

/* What epoll refuses is always ready: refused here too. */
static int
backend_add(struct poll *p, int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -1;
	if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode)) {
		errno = EPERM;
		return -1;
	}
	p->slots[fd].interest = 0;
	return 0;
}

static int
backend_want(struct poll *p, int fd, int interest)
{
	p->slots[fd].interest = interest;
	return 0;
}

static void
backend_remove(struct poll *p, int fd)
{
	p->slots[fd].interest = 0;
}

static int
readiness_of(int revents)
{
	/* A descriptor closed behind our back: epoll would say nothing. */
	if (revents & POLLNVAL)
		return 0;
	if (revents & (POLLHUP | POLLERR | POLLRDHUP))
		return READ | WRITE | HANGUP;
	return (revents & POLLIN ? READ : 0) | (revents & POLLOUT ? WRITE : 0);
}

static int
backend_wait(lua_State *L, struct poll *p, int milliseconds)
{
	int i, fd, n, readiness;
	nfds_t count = 0, k;

	for (i = 0; i < p->size; i++) {
		fd = (p->first + i) % p->size;
		if (p->slots[fd].interest == 0)
			continue;
		p->set[count].fd = fd;
		p->set[count].events = (short)(POLLRDHUP |
		    (p->slots[fd].interest & READ ? POLLIN : 0) |
		    (p->slots[fd].interest & WRITE ? POLLOUT : 0));
		p->set[count++].revents = 0;
	}
	if (poll(p->set, count, milliseconds) < 0)
		return -1;
	for (n = 0, k = 0; k < count && n < MOST_EVENTS; k++) {
		if (p->set[k].revents == 0)
			continue;
		fd = p->set[k].fd;
		p->first = fd + 1;
		p->slots[fd].interest = 0;
		readiness = readiness_of(p->set[k].revents);
		if (readiness != 0)
			report(L, ++n, fd, readiness);
	}
	return n;
}

#else

static int
backend_open(struct poll *p)
{
	return p->fd = epoll_create1(EPOLL_CLOEXEC);
}

static void
backend_close(struct poll *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
}

static int
control(struct poll *p, int operation, int fd, uint32_t events)
{
	struct epoll_event event;

	memset(&event, 0, sizeof event);
	event.events = events;
	event.data.fd = fd;
	return epoll_ctl(p->fd, operation, fd, &event);
}

static int
backend_add(struct poll *p, int fd)
{
	uint32_t events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

	if (control(p, EPOLL_CTL_ADD, fd, events) < 0 &&
	    (errno != EEXIST || control(p, EPOLL_CTL_MOD, fd, events) < 0))
		return -1;
	return 0;
}

static int
backend_want(struct poll *p, int fd, int interest)
{
	uint32_t events = EPOLLONESHOT;

	if (p->slots[fd].mode == EDGE)
		return 0;
	if (interest == 0) {
		control(p, EPOLL_CTL_DEL, fd, 0);
		return 0;
	}
	events |= (interest & READ ? EPOLLIN | EPOLLRDHUP : 0) |
	    (interest & WRITE ? EPOLLOUT : 0);
	if (control(p, EPOLL_CTL_MOD, fd, events) == 0)
		return 0;
	return errno == ENOENT ? control(p, EPOLL_CTL_ADD, fd, events) : -1;
}

static void
backend_remove(struct poll *p, int fd)
{
	control(p, EPOLL_CTL_DEL, fd, 0);
}

static int
backend_wait(lua_State *L, struct poll *p, int milliseconds)
{
	struct epoll_event events[MOST_EVENTS];
	int i, readiness;
	int n = epoll_wait(p->fd, events, MOST_EVENTS, milliseconds);
	uint32_t e;

	for (i = 0; i < n; i++) {
		e = events[i].events;
		if (e & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
			readiness = READ | WRITE | HANGUP;
		else
			readiness = (e & EPOLLIN ? READ : 0) |
			    (e & EPOLLOUT ? WRITE : 0);
		report(L, i + 1, events[i].data.fd, readiness);
	}
	return n;
}

#endif

/* Makes room for the slot of fd. */
static int
poll_reach(struct poll *p, int fd)
{
	int size = p->size == 0 ? 64 : p->size;
	struct slot *slots;

	if (fd < p->size)
		return 0;
	if (fd >= INT_MAX / 2 || fcntl(fd, F_GETFD) < 0) {
		errno = EBADF;
		return -1;
	}
	while (size <= fd)
		size *= 2;
	slots = realloc(p->slots, (size_t)size * sizeof *slots);
	if (slots == NULL)
		return -1;
	p->slots = slots;
#if SMTPTEST_POLL
	struct pollfd *set = realloc(p->set, (size_t)size * sizeof *set);
	if (set == NULL)
		return -1;
	p->set = set;
#endif
	memset(slots + p->size, 0, (size_t)(size - p->size) * sizeof *slots);
	p->size = size;
	return 0;
}

static int
check_fd(lua_State *L, int index)
{
	lua_Integer fd = luaL_checkinteger(L, index);

	luaL_argcheck(L, fd >= 0 && fd <= INT_MAX, index, "no descriptor");
	return (int)fd;
}

/* poll.new() → a set of descriptors to wait for */
static int
poll_new(lua_State *L)
{
	struct poll *p = lua_newuserdatauv(L, sizeof *p, 0);

	memset(p, 0, sizeof *p);
	p->fd = -1;
	luaL_setmetatable(L, POLL);
	if (backend_open(p) < 0)
		return fail(L, "poll", errno);
	p->open = 1;
	return 1;
}

/* poll:add(fd, "edge"|"level") → true. An edge descriptor is reported when its
 * readiness changes (with poll(2): once for each want); remember what it said.
 * A level one is reported once for each want, when it is ready or already was.
 * What was added before begins afresh. EPERM: it cannot be waited for, because
 * it is always ready (a regular file). */
static int
poll_add(lua_State *L)
{
	static const char *const names[] = {"edge", "level", NULL};
	static const enum mode modes[] = {EDGE, LEVEL};
	struct poll *p = poll_check(L);
	int fd = check_fd(L, 2);
	enum mode mode = modes[luaL_checkoption(L, 3, NULL, names)];

	if (!p->open)
		return fail_closed(L);
	if (poll_reach(p, fd) < 0 || backend_add(p, fd) < 0)
		return fail(L, "poll", errno);
	/* It was only asked whether it can be waited for: epoll would report
	 * a HUP or ERR that nobody wants. */
	if (mode == LEVEL)
		backend_remove(p, fd);
	p->slots[fd].mode = mode;
	lua_pushboolean(L, 1);
	return 1;
}

/* poll:want(fd, "r"|"w"|"rw"|"") → true: what the next wait is to report of
 * fd, once. ENOENT: it was not added. */
static int
poll_want(lua_State *L)
{
	static const char *const names[] = {"", "r", "w", "rw", NULL};
	struct poll *p = poll_check(L);
	int fd = check_fd(L, 2);
	int interest = luaL_checkoption(L, 3, NULL, names);

	if (!p->open)
		return fail_closed(L);
	if (fd >= p->size || p->slots[fd].mode == ABSENT)
		return fail(L, "poll", ENOENT);
	if (backend_want(p, fd, interest) < 0)
		return fail(L, "poll", errno);
	lua_pushboolean(L, 1);
	return 1;
}

/* poll:remove(fd) → true, also for a descriptor that is closed by now or was
 * never added */
static int
poll_remove(lua_State *L)
{
	struct poll *p = poll_check(L);
	int fd = check_fd(L, 2);

	if (!p->open)
		return fail_closed(L);
	if (fd < p->size && p->slots[fd].mode != ABSENT) {
		backend_remove(p, fd);
		p->slots[fd].mode = ABSENT;
	}
	lua_pushboolean(L, 1);
	return 1;
}

/* Seconds as poll(2) and epoll_wait(2) take them: rounded up, because a wait
 * that ends too early is begun again at once; at most 24 days, after which
 * nothing is reported and the caller waits again; negative is for ever. */
static int
milliseconds(lua_Number seconds)
{
	int whole;

	if (seconds < 0)
		return -1;
	if (seconds >= INT_MAX / 1000)
		return INT_MAX;
	whole = (int)(seconds * 1000);
	return whole < seconds * 1000 ? whole + 1 : whole;
}

/* poll:wait(seconds, events) → n, the number of events: events[1..3n] is
 * fd, readable, writable, … Negative seconds are for ever, 0 only looks. An
 * error or a hang-up is both readable and writable, and readable is "hup": an
 * edge descriptor will report no end of file after the data that is still
 * there. A signal ends the wait with 0 events. At most 256 at a time; what is
 * left over comes next. */
static int
poll_wait(lua_State *L)
{
	struct poll *p = poll_check(L);
	lua_Number seconds = luaL_checknumber(L, 2);
	int n;

	luaL_argcheck(L, seconds == seconds, 2, "not a number");
	luaL_checktype(L, 3, LUA_TTABLE);
	if (!p->open)
		return fail_closed(L);
	n = backend_wait(L, p, milliseconds(seconds));
	if (n < 0 && errno != EINTR)
		return fail(L, "poll", errno);
	lua_pushinteger(L, n < 0 ? 0 : n);
	return 1;
}

/* poll:fd() → a descriptor that is readable when a wait would report
 * something, for a loop outside; nil where there is none (poll(2), closed) */
static int
poll_fd(lua_State *L)
{
	return object_fd(L, poll_check(L)->fd);
}

/* poll:close() → true, the first time and ever after */
static int
poll_close(lua_State *L)
{
	struct poll *p = poll_check(L);

	if (p->open) {
		p->open = 0;
		backend_close(p);
		free(p->slots);
		p->slots = NULL;
		p->size = 0;
	}
	lua_pushboolean(L, 1);
	return 1;
}

static int
push_clock(lua_State *L, clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	lua_pushnumber(L, (lua_Number)now.tv_sec + now.tv_nsec / 1e9);
	return 1;
}

/* poll.now() → seconds of a clock that never jumps */
static int
poll_now(lua_State *L)
{
	return push_clock(L, CLOCK_MONOTONIC);
}

/* poll.walltime() → seconds since 1970 UTC */
static int
poll_walltime(lua_State *L)
{
	return push_clock(L, CLOCK_REALTIME);
}

static const luaL_Reg methods[] = {
	{"add", poll_add},
	{"want", poll_want},
	{"remove", poll_remove},
	{"wait", poll_wait},
	{"fd", poll_fd},
	{"close", poll_close},
	{NULL, NULL},
};

static const luaL_Reg functions[] = {
	{"new", poll_new},
	{"now", poll_now},
	{"walltime", poll_walltime},
	{NULL, NULL},
};

SMTPTEST_OPEN LUAMOD_API int
luaopen_smtptest_core_poll(lua_State *L)
{
	object_type(L, POLL, methods);
	luaL_newlib(L, functions);
	return 1;
}
