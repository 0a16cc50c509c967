/* A program that runs an SMTP scenario in its own Lua state and its own loop.
 *
 *	cc -o host host.c $(pkg-config --cflags --libs smtptest)
 *	./host mail.example 25
 *
 * The scenario is a task: it waits for the server, this program does not. */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include <lauxlib.h>

#include "smtptest.h"

static const char scenario[] =
	"local smtptest, host, port = require 'smtptest', ...\n"
	"return smtptest.task.spawn(function()\n"
	"	local s <close> = smtptest.connect { host = host, port = port, timeout = 10 }\n"
	"	local results = { greeting = s.greeting.code }\n"
	"	for _, line in ipairs { 'EHLO host.example', 'NOOP', 'QUIT' } do\n"
	"		results[#results + 1] = { line = line, code = s:command(line).code }\n"
	"	end\n"
	"	return results\n"
	"end)\n";

static void
stop(lua_State *L)
{
	fprintf(stderr, "host: %s\n", luaL_tolstring(L, -1, NULL));
	exit(EXIT_FAILURE);
}

int
main(int argc, char **argv)
{
	lua_State *L = smtptest_newstate();
	struct pollfd fds[1];	/* those of the host itself go beside it */
	int alive, i;

	if (L == NULL || argc != 3) {
		fputs("usage: host HOST PORT\n", stderr);
		return EXIT_FAILURE;
	}
	luaL_loadstring(L, scenario);
	lua_pushstring(L, argv[1]);
	lua_pushinteger(L, atoi(argv[2]));
	if (lua_pcall(L, 2, 1, 0) != LUA_OK)
		stop(L);
	fds[0].fd = smtptest_fd(L);
	fds[0].events = POLLIN;
	while ((alive = smtptest_step(L, 0)) > 0)
		poll(fds, 1, fds[0].fd < 0 ? 10 : -1);
	if (alive < 0)
		stop(L);

	lua_getfield(L, -1, "join");	/* its results, or its error */
	lua_insert(L, -2);
	if (lua_pcall(L, 1, 1, 0) != LUA_OK)
		stop(L);
	lua_getfield(L, -1, "greeting");
	printf("greeting: %d\n", (int)lua_tointeger(L, -1));
	lua_pop(L, 1);
	for (i = 1; lua_geti(L, -1, i) == LUA_TTABLE; i++) {
		lua_getfield(L, -1, "line");
		lua_getfield(L, -2, "code");
		printf("%s: %d\n", lua_tostring(L, -2), (int)lua_tointeger(L, -1));
		lua_pop(L, 3);
	}
	lua_close(L);
	return EXIT_SUCCESS;
}
