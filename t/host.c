/* Programs that have smtptest in them:
 *
 *	host poll		one session in a loop of the host's
 *	host sasl		in a process that has started libsasl itself
 *	host threads N		N times: two states in two threads
 *	host mistakes		what the functions say when they fail
 *	host quiet		nothing but the session: ends with 3
 *
 * Each session is that of t/host_session.lua. Prints what came of it; the exit
 * status is 0 when all went well. */
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lualib.h>
#include <sasl/sasl.h>

#include "smtptest.h"

#define SESSION "t/host_session.lua"

static const char *const mechanisms[] = {
	"SCRAM-SHA-256", "DIGEST-MD5", "CRAM-MD5", "PLAIN"
};

static void
stop(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
	fflush(stdout);
	_Exit(1);
}

/* Runs the session in a loop of poll(2), and leaves its table on the stack. */
static void
converse(lua_State *L, const char *mechanism)
{
	struct pollfd fds[1];
	int alive, rounds = 0;

	if (luaL_loadfile(L, SESSION) != LUA_OK)
		stop("%s", lua_tostring(L, -1));
	lua_pushstring(L, mechanism);
	if (lua_pcall(L, 1, 1, 0) != LUA_OK)
		stop("%s", lua_tostring(L, -1));
	fds[0].fd = smtptest_fd(L);
	fds[0].events = POLLIN;
	while ((alive = smtptest_step(L, 0)) > 0) {
		if (poll(fds, 1, 60000) != 1)
			stop("nothing happens any more");
		/* One that is always readable would be a busy loop. */
		if (++rounds > 2000)
			stop("the descriptor is readable for nothing");
	}
	if (alive < 0)
		stop("step: %s", lua_tostring(L, -1));
	lua_getfield(L, -1, "join");
	lua_insert(L, -2);
	if (lua_pcall(L, 1, 1, 0) != LUA_OK)
		stop("%s", luaL_tolstring(L, -1, NULL));
}

/* Leaves the field of the table at the top of the stack there, above it. */
static const char *
text(lua_State *L, const char *name)
{
	lua_getfield(L, -1, name);
	return luaL_tolstring(L, -1, NULL);
}

static lua_State *
new_state(void)
{
	lua_State *L = smtptest_newstate();

	if (L == NULL)
		stop("no state");
	return L;
}

static void
session(const char *mechanism, int quiet)
{
	lua_State *L = new_state();
	const char *got;

	converse(L, mechanism);
	got = text(L, "mechanism");
	if (strcmp(got, mechanism) != 0)
		stop("%s instead of %s", got, mechanism);
	lua_pop(L, 2);
	got = text(L, "user");
	if (strcmp(got, "alice") != 0)
		stop("%s instead of alice", got);
	lua_pop(L, 2);
	if (!quiet) {
		printf("%s ", mechanism);
		printf("%s ", text(L, "protocol"));
		lua_pop(L, 2);
		printf("%s\n", text(L, "bytes"));
	}
	lua_close(L);
}

/* -------------------------------------------------------------------------- */

static void *
work(void *mechanism)
{
	session(mechanism, 1);
	return NULL;
}

static void
threads(int times)
{
	pthread_t thread[2];
	int i, k;

	for (i = 0; i < times; i++) {
		for (k = 0; k < 2; k++)
			if (pthread_create(&thread[k], NULL, work,
			    (void *)mechanisms[(i + k) % 4]) != 0)
				stop("no thread");
		for (k = 0; k < 2; k++)
			pthread_join(thread[k], NULL);
	}
	printf("%d times two\n", times);
}

/* -------------------------------------------------------------------------- */

static int asked;	/* how often the host's own callbacks were */

/* The host's wishes are not ours: with this one alone nothing would work. */
static int
host_getopt(void *context, const char *plugin, const char *option,
    const char **result, unsigned *length)
{
	(void)context, (void)plugin;
	if (strcmp(option, "mech_list") != 0)
		return SASL_FAIL;
	asked++;
	*result = "ANONYMOUS";
	if (length != NULL)
		*length = (unsigned)strlen(*result);
	return SASL_OK;
}

static int
host_name(void *context, int id, const char **result, unsigned *length)
{
	(void)id;
	*result = context;
	if (length != NULL)
		*length = (unsigned)strlen(context);
	return SASL_OK;
}

#define PROC(function) ((int (*)(void))(void (*)(void))(function))

static char host_user[] = "host";
static const sasl_callback_t server_callbacks[] = {
	{ SASL_CB_GETOPT, PROC(host_getopt), NULL },
	{ SASL_CB_LIST_END, NULL, NULL }
};
static const sasl_callback_t client_callbacks[] = {
	{ SASL_CB_USER, PROC(host_name), host_user },
	{ SASL_CB_AUTHNAME, PROC(host_name), host_user },
	{ SASL_CB_LIST_END, NULL, NULL }
};

/* An exchange between two connections of the host's own. */
static void
host_exchange(void)
{
	sasl_conn_t *client = NULL, *server = NULL;
	const char *out, *name, *list;
	const void *user;
	unsigned size;

	if (sasl_client_new("smtp", "localhost", NULL, NULL, NULL, 0,
	    &client) != SASL_OK || sasl_server_new("smtp", "localhost", NULL,
	    NULL, NULL, NULL, 0, &server) != SASL_OK)
		stop("the host has no connection");
	if (sasl_listmech(server, NULL, "", " ", "", &list, NULL, NULL) !=
	    SASL_OK || strcmp(list, "ANONYMOUS") != 0)
		stop("the host's mechanisms: %s", list);
	if (sasl_client_start(client, "ANONYMOUS", NULL, &out, &size, &name) !=
	    SASL_OK)
		stop("the host's client: %s", sasl_errdetail(client));
	if (sasl_server_start(server, name, out, size, &out, &size) != SASL_OK)
		stop("the host's server: %s", sasl_errdetail(server));
	if (sasl_getprop(server, SASL_USERNAME, &user) != SASL_OK ||
	    strcmp(user, "anonymous") != 0)
		stop("the host's user: %s", (const char *)user);
	sasl_dispose(&client);
	sasl_dispose(&server);
}

static void
beside_libsasl(void)
{
	int i;

	if (sasl_client_init(client_callbacks) != SASL_OK ||
	    sasl_server_init(server_callbacks, "host") != SASL_OK)
		stop("libsasl does not start");
	host_exchange();
	for (i = 0; i < 4; i++)
		session(mechanisms[i], 0);
	host_exchange();
	if (asked == 0)
		stop("the host was not asked");
	sasl_client_done();
	sasl_server_done();
	/* What the host gives back, we still hold. */
	for (i = 0; i < 4; i++)
		session(mechanisms[i], 0);
}

/* -------------------------------------------------------------------------- */

/* What a call gave, and how much it left on the stack. */
static void
say(lua_State *L, const char *what, int result)
{
	const char *error = lua_isnone(L, 1) ? "" : luaL_tolstring(L, -1, NULL);

	if (*error != '\0')
		lua_pop(L, 1);
	printf("%s: %d, %d left%s%s\n", what, result, lua_gettop(L),
	    *error ? ": " : "", error);
	lua_settop(L, 0);
}

static void
start(lua_State *L, const char *task)
{
	if (luaL_loadstring(L, task) != LUA_OK ||
	    lua_pcall(L, 0, 0, 0) != LUA_OK)
		stop("%s", lua_tostring(L, -1));
}

static void
mistakes(void)
{
	lua_State *L = new_state();

	say(L, "no task", smtptest_step(L, 0));
	say(L, "no task, for ever", smtptest_step(L, -1));
	start(L, "local task = require 'smtptest.task'\n"
	    "task.spawn(function() task.barrier(2):wait() end)");
	say(L, "one that waits for ever", smtptest_step(L, 0));
	say(L, "and we with it", smtptest_step(L, -1));
	start(L, "local task = require 'smtptest.task'\n"
	    "task.spawn(function() task.sleep(0.02) error 'unseen' end)");
	while (smtptest_step(L, 30) > 1)
		;
	start(L, "local task = require 'smtptest.task'\n"
	    "print(task.failed():match 'unseen')\n");
	lua_close(L);

	L = luaL_newstate();	/* without the modules */
	say(L, "no modules, fd", smtptest_fd(L));
	say(L, "no modules, step", smtptest_step(L, 0));
	lua_close(L);
}

/* The handlers of all signals. */
static void
handlers(struct sigaction *all)
{
	int i;

	memset(all, 0, 65 * sizeof *all);
	for (i = 1; i < 65; i++)
		(void)sigaction(i, NULL, &all[i]);
}

/* A session during which nothing but the library could write: the caller sees
 * that nothing does. */
static void
quiet(void)
{
	struct sigaction before[65], after[65];
	int i;

	handlers(before);
	for (i = 0; i < 4; i++)
		session(mechanisms[i], 1);
	handlers(after);
	for (i = 1; i < 65; i++)
		if (before[i].sa_handler != after[i].sa_handler ||
		    before[i].sa_flags != after[i].sa_flags)
			_Exit(100 + i);
	_Exit(3);
}

int
main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int i;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(what, "poll") == 0)
		for (i = 0; i < 4; i++)
			session(mechanisms[i], 0);
	else if (strcmp(what, "threads") == 0)
		threads(argc > 2 ? atoi(argv[2]) : 1);
	else if (strcmp(what, "sasl") == 0)
		beside_libsasl();
	else if (strcmp(what, "mistakes") == 0)
		mistakes();
	else if (strcmp(what, "quiet") == 0)
		quiet();
	else
		return 2;
	return 0;
}
