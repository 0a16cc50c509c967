/* The controlling terminal, for questions whose answers are not echoed. */
#include "tty.h"
#include "descriptor.h"
#include "fail.h"
#include "object.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define TTY "smtptest.core.tty"

struct tty {
	int fd; /* -1 when closed */
};

/* The one terminal whose echo is off. It belongs to the process: a signal
 * handler must find it. off is set last and cleared first. */
static struct {
	volatile sig_atomic_t off;
	int fd;
	struct termios before;
} quiet;

void
tty_restore(void)
{
	int err = errno;

	if (quiet.off) {
		quiet.off = 0;
		tcsetattr(quiet.fd, TCSANOW, &quiet.before);
	}
	errno = err;
}

static struct tty *
tty_check(lua_State *L)
{
	return luaL_checkudata(L, 1, TTY);
}

/* Puts the echo back, after what is written is out. */
static int
tty_loud(struct tty *t)
{
	if (!quiet.off || quiet.fd != t->fd)
		return 0;
	while (tcsetattr(t->fd, TCSADRAIN, &quiet.before) < 0)
		if (errno != EINTR)
			return -1;
	quiet.off = 0;
	return 0;
}

static int
tty_quiet(struct tty *t, int action)
{
	struct termios now;

	if (quiet.off && quiet.fd == t->fd)
		return 0;
	if (quiet.off) {
		errno = EBUSY;
		return -1;
	}
	if (tcgetattr(t->fd, &now) < 0)
		return -1;
	quiet.before = now;
	quiet.fd = t->fd;
	quiet.off = 1;
	now.c_lflag &= ~(tcflag_t)ECHO;
	while (tcsetattr(t->fd, action, &now) < 0)
		if (errno != EINTR) {
			quiet.off = 0;
			return -1;
		}
	return 0;
}

/* tty.open() → the controlling terminal. Codes: ENXIO when there is none … */
static int
tty_open(lua_State *L)
{
	struct tty *t = lua_newuserdatauv(L, sizeof *t, 0);

	t->fd = -1;
	luaL_setmetatable(L, TTY);
	t->fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
	return t->fd < 0 ? fail(L, "open /dev/tty", errno) : 1;
}

/* tty.isatty(fd) → boolean */
static int
tty_isatty(lua_State *L)
{
	lua_Integer fd = luaL_checkinteger(L, 1);

	lua_pushboolean(L, fd >= 0 && fd <= INT_MAX && isatty((int)fd));
	return 1;
}

/* tty:echo(false[, keep]) → true: switches the echo off and, unless keep is true,
 * throws away what was typed before, which was echoed; tty:echo(true) → true:
 * puts back what was there. EBUSY: another terminal's echo is off. */
static int
tty_echo(lua_State *L)
{
	struct tty *t = tty_check(L);

	luaL_checktype(L, 2, LUA_TBOOLEAN);
	if (t->fd < 0)
		return fail_closed(L);
	if ((lua_toboolean(L, 2) ? tty_loud(t) :
	    tty_quiet(t, lua_toboolean(L, 3) ? TCSADRAIN : TCSAFLUSH)) < 0)
		return fail(L, "tcsetattr", errno);
	lua_pushboolean(L, 1);
	return 1;
}

/* tty:read(max) → what was typed, a line with its LF; EOF for ^D */
static int
tty_read(lua_State *L)
{
	return descriptor_read(L, tty_check(L)->fd);
}

/* tty:write(bytes[, first[, last]]) → count, as file:write */
static int
tty_write(lua_State *L)
{
	return descriptor_write(L, tty_check(L)->fd);
}

/* tty:ready([seconds=0]) → boolean, as file:ready */
static int
tty_ready(lua_State *L)
{
	return descriptor_ready(L, tty_check(L)->fd);
}

/* tty:fd() → the descriptor; nil after close */
static int
tty_fd(lua_State *L)
{
	return object_fd(L, tty_check(L)->fd);
}

/* tty:close() → true, the first time and ever after; puts the echo back */
static int
tty_close(lua_State *L)
{
	struct tty *t = tty_check(L);

	if (t->fd >= 0) {
		tty_loud(t);
		if (quiet.fd == t->fd)
			quiet.off = 0;
		close(t->fd);
	}
	t->fd = -1;
	lua_pushboolean(L, 1);
	return 1;
}

static const luaL_Reg methods[] = {
	{"echo", tty_echo},
	{"read", tty_read},
	{"write", tty_write},
	{"ready", tty_ready},
	{"fd", tty_fd},
	{"close", tty_close},
	{NULL, NULL},
};

static const luaL_Reg functions[] = {
	{"open", tty_open},
	{"isatty", tty_isatty},
	{NULL, NULL},
};

SMTPTEST_OPEN LUAMOD_API int
luaopen_smtptest_core_tty(lua_State *L)
{
	object_type(L, TTY, methods);
	luaL_newlib(L, functions);
	return 1;
}
