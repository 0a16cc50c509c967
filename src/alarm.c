/* A descriptor that becomes readable at a time, for a loop that is not ours:
 * timerfd on Linux; elsewhere there is none. */
#include "fail.h"
#include "object.h"

#include <errno.h>
#include <lauxlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/timerfd.h>
#endif

#define ALARM "smtptest.core.alarm"
#define LONGEST 1e9	/* seconds: what comes later is never */

struct alarm {
	int fd;		/* -1: closed */
};

static struct alarm *
alarm_check(lua_State *L)
{
	return luaL_checkudata(L, 1, ALARM);
}

/* alarm.new() → an alarm that is not set; ENOSYS where there is none */
static int
alarm_new(lua_State *L)
{
	struct alarm *a = lua_newuserdatauv(L, sizeof *a, 0);

	a->fd = -1;
	luaL_setmetatable(L, ALARM);
#ifdef __linux__
	a->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
#else
	errno = ENOSYS;
#endif
	if (a->fd < 0)
		return fail(L, "alarm", errno);
	return 1;
}

/* alarm:set(seconds) → true: readable from then on, until it is set again; 0
 * is at once, math.huge never. */
static int
alarm_set(lua_State *L)
{
	struct alarm *a = alarm_check(L);
	lua_Number seconds = luaL_checknumber(L, 2);

	luaL_argcheck(L, seconds >= 0, 2, "not a time to come");
	if (a->fd < 0)
		return fail_closed(L);
#ifdef __linux__
	struct itimerspec when;

	memset(&when, 0, sizeof when);
	if (seconds <= LONGEST) {
		when.it_value.tv_sec = (time_t)seconds;
		when.it_value.tv_nsec = (long)
		    ((seconds - (lua_Number)when.it_value.tv_sec) * 1e9);
		/* Nothing but zeros would mean never. */
		if (when.it_value.tv_sec == 0 && when.it_value.tv_nsec == 0)
			when.it_value.tv_nsec = 1;
	}
	if (timerfd_settime(a->fd, 0, &when, NULL) < 0)
		return fail(L, "alarm", errno);
#endif
	lua_pushboolean(L, 1);
	return 1;
}

/* alarm:fd() → its descriptor, nil when it is closed */
static int
alarm_fd(lua_State *L)
{
	return object_fd(L, alarm_check(L)->fd);
}

/* alarm:close() → true, the first time and ever after */
static int
alarm_close(lua_State *L)
{
	struct alarm *a = alarm_check(L);

	if (a->fd >= 0)
		close(a->fd);
	a->fd = -1;
	lua_pushboolean(L, 1);
	return 1;
}

static const luaL_Reg methods[] = {
	{ "set", alarm_set },
	{ "fd", alarm_fd },
	{ "close", alarm_close },
	{ NULL, NULL }
};

static const luaL_Reg functions[] = {
	{ "new", alarm_new },
	{ NULL, NULL }
};

SMTPTEST_OPEN int
luaopen_smtptest_core_alarm(lua_State *L)
{
	object_type(L, ALARM, methods);
	luaL_newlib(L, functions);
	return 1;
}
