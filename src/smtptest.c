#include "smtptest.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>

#include "embed.h"

#define EXIT_INTERNAL 70	/* EX_SOFTWARE */

struct command {
	int argc;
	char **argv;
	int status;
};

const char *
smtptest_version(void)
{
	return SMTPTEST_VERSION;
}

int
smtptest_preload(lua_State *L)
{
	luaL_checkstack(L, 8, "smtptest_preload");
	embed_preload(L);
	return 0;
}

static int
open_libraries(lua_State *L)
{
	luaL_openlibs(L);
	return smtptest_preload(L);
}

lua_State *
smtptest_newstate(void)
{
	lua_State *L = luaL_newstate();

	if (L == NULL)
		return NULL;
	lua_pushcfunction(L, open_libraries);
	if (lua_pcall(L, 0, 0, 0) != LUA_OK) {
		lua_close(L);
		return NULL;
	}
	return L;
}

/* Pushes require "smtptest.task"'s function of that name. */
static void
task_function(lua_State *L, const char *name)
{
	lua_getglobal(L, "require");
	lua_pushliteral(L, "smtptest.task");
	lua_call(L, 1, 1);
	lua_getfield(L, -1, name);
}

static int
step(lua_State *L)
{
	lua_Number seconds = *(double *)lua_touserdata(L, 1);

	task_function(L, "step");
	lua_pushnumber(L, seconds < 0 ? HUGE_VAL : seconds);
	lua_call(L, 1, 1);
	return 1;
}

static int
descriptor(lua_State *L)
{
	task_function(L, "fd");
	lua_call(L, 0, 1);
	return 1;
}

/* Calls a function with one light userdata, for a number. Returns 0 with the
 * error on the stack when it failed. */
static int
call_for_number(lua_State *L, lua_CFunction function, void *argument,
    int *number)
{
	lua_pushcfunction(L, function);
	lua_pushlightuserdata(L, argument);
	if (lua_pcall(L, 1, 1, 0) != LUA_OK)
		return 0;
	if (!lua_isnil(L, -1))
		*number = (int)lua_tointeger(L, -1);
	lua_pop(L, 1);
	return 1;
}

int
smtptest_step(lua_State *L, double seconds)
{
	int alive = -1;

	call_for_number(L, step, &seconds, &alive);
	return alive;
}

int
smtptest_fd(lua_State *L)
{
	int fd = -1;

	if (!call_for_number(L, descriptor, NULL, &fd))
		lua_pop(L, 1);
	return fd;
}

/* conceal(index[, first=1]): overwrites argv[index] from its byte `first` on,
 * so that ps does not show the secret there. Takes effect on argv alone: Lua's
 * strings are copies. */
static int
conceal(lua_State *L)
{
	struct command *command = lua_touserdata(L, lua_upvalueindex(1));
	lua_Integer index = luaL_checkinteger(L, 1);
	lua_Integer first = luaL_optinteger(L, 2, 1);
	size_t length;

	luaL_argcheck(L, index > 0 && index < command->argc, 1,
	    "no such argument");
	length = strlen(command->argv[index]);
	luaL_argcheck(L, first > 0 && (lua_Unsigned)first <= length + 1, 2,
	    "beyond the end of the argument");
	memset(command->argv[index] + first - 1, 0, length + 1 - (size_t)first);
	return 0;
}

/* The message handler: the message with a traceback. */
static int
explain(lua_State *L)
{
	luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
	return 1;
}

/* Calls cli.main(arg, conceal) with argv as Lua's own `arg`: arg[0] is the
 * program. */
static int
run(lua_State *L)
{
	struct command *command = lua_touserdata(L, 1);
	int i, is_integer;
	lua_Integer status;

	lua_getglobal(L, "require");
	lua_pushliteral(L, "smtptest.cli");
	lua_call(L, 1, 1);
	lua_getfield(L, -1, "main");
	lua_createtable(L, command->argc, 1);
	for (i = 0; i < command->argc; i++) {
		lua_pushstring(L, command->argv[i]);
		lua_rawseti(L, -2, i);
	}
	lua_pushlightuserdata(L, command);
	lua_pushcclosure(L, conceal, 1);
	lua_call(L, 2, 1);
	status = lua_tointegerx(L, -1, &is_integer);
	if (!is_integer || status < 0 || status > 255)
		return luaL_error(L, "exit status '%s' is not 0 to 255",
		    luaL_tolstring(L, -1, NULL));
	command->status = (int)status;
	return 0;
}

/* Whether a script's own print or io.write failed unseen; a reader that had
 * enough is no failure. */
static int
unwritten(void)
{
	struct pollfd out = { STDOUT_FILENO, POLLOUT, 0 };

	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	return poll(&out, 1, 0) < 0 || !(out.revents & POLLERR);
}

int
smtptest_main(int argc, char **argv)
{
	struct command command = { argc, argv, EXIT_INTERNAL };
	lua_State *L = smtptest_newstate();

	if (L == NULL) {
		fputs("smtptest: not enough memory\n", stderr);
		return EXIT_INTERNAL;
	}
	lua_pushcfunction(L, explain);
	lua_pushcfunction(L, run);
	lua_pushlightuserdata(L, &command);
	if (lua_pcall(L, 1, 0, 1) != LUA_OK) {
		const char *message = lua_tostring(L, -1);

		fprintf(stderr, "smtptest: %s\n",
		    message != NULL ? message : "error without a message");
		command.status = EXIT_INTERNAL;
	}
	lua_close(L);
	if (command.status == 0 && unwritten()) {
		fputs("failure: standard output: write error\n", stderr);
		return EXIT_FAILURE;
	}
	return command.status;
}
