#include "spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* What the child says when there will be no exec. */
struct trouble {
	int err;
	int at_chdir;
};

/* Pushes a copy of the list at index, every item a string. */
static void
push_strings(lua_State *L, int index)
{
	lua_Integer i, count = luaL_len(L, index);
	size_t length;
	const char *s;

	lua_newtable(L);
	for (i = 1; i <= count; i++) {
		lua_geti(L, index, i);
		s = lua_tolstring(L, -1, &length);
		if (s == NULL || strlen(s) != length)
			luaL_error(L, "argv[%d] must be a string without NUL",
			    (int)i);
		lua_rawseti(L, -2, i);
	}
}

/* Pushes the list of "name=value" of the table at index. */
static void
push_environment(lua_State *L, int index)
{
	lua_Integer n = 0;
	const char *name, *value;

	lua_newtable(L);
	lua_pushnil(L);
	while (lua_next(L, index) != 0) {
		name = lua_type(L, -2) == LUA_TSTRING ?
		    lua_tostring(L, -2) : NULL;
		value = lua_tostring(L, -1);
		if (name == NULL || value == NULL || *name == '\0' ||
		    strchr(name, '=') != NULL ||
		    strlen(name) != lua_rawlen(L, -2) ||
		    strlen(value) != lua_rawlen(L, -1))
			luaL_error(L, "env must map names without = to "
			    "strings, both without NUL");
		lua_pushfstring(L, "%s=%s", name, value);
		lua_rawseti(L, -4, ++n);
		lua_pop(L, 1);
	}
}

/* Pushes the list of paths that name may mean: itself with a slash inside,
 * else one in every folder of our PATH (POSIX.1-2008, 8.3). */
static void
push_programs(lua_State *L, const char *name)
{
	const char *path = getenv("PATH"), *colon;
	lua_Integer n = 0;

	lua_newtable(L);
	if (strchr(name, '/') != NULL || *name == '\0') {
		lua_pushstring(L, name);
		lua_rawseti(L, -2, 1);
		return;
	}
	if (path == NULL)
		path = "/usr/bin:/bin";
	for (;; path = colon + 1) {
		colon = strchr(path, ':');
		if (colon == NULL)
			colon = path + strlen(path);
		lua_pushlstring(L, path, (size_t)(colon - path));
		lua_pushfstring(L, "%s%s%s", lua_tostring(L, -1),
		    colon == path ? "" : "/", name);
		lua_rawseti(L, -3, ++n);
		lua_pop(L, 1);
		if (*colon == '\0')
			return;
	}
}

/* Pushes the array that execve wants, of the strings of the list on the top of
 * the stack, which must stay there as long. */
static char **
push_vector(lua_State *L)
{
	int list = lua_gettop(L);
	lua_Unsigned i, count = lua_rawlen(L, list);
	char **vector = lua_newuserdatauv(L, (count + 1) * sizeof *vector, 0);

	for (i = 0; i < count; i++) {
		lua_rawgeti(L, list, (lua_Integer)i + 1);
		/* execve changes nothing: its type is older than const. */
		vector[i] = (char *)lua_tostring(L, -1);
		lua_pop(L, 1);
	}
	vector[count] = NULL;
	return vector;
}

void
spawn_read(lua_State *L, struct spawn *s)
{
	memset(s, 0, sizeof *s);
	s->from[0] = s->from[1] = s->from[2] = -1;
	luaL_checkstack(L, 20, NULL);
	if (lua_getfield(L, 1, "argv") != LUA_TTABLE)
		luaL_error(L, "argv must be a list of strings");
	push_strings(L, lua_gettop(L));
	s->argv = push_vector(L);
	if (s->argv[0] == NULL)
		luaL_error(L, "argv must not be empty");
	push_programs(L, s->argv[0]);
	s->programs = push_vector(L);
	if (lua_getfield(L, 1, "env") != LUA_TNIL) {
		if (!lua_istable(L, -1))
			luaL_error(L, "env must be a table");
		push_environment(L, lua_gettop(L));
		s->environment = push_vector(L);
	}
	if (lua_getfield(L, 1, "cwd") != LUA_TNIL) {
		s->cwd = lua_tostring(L, -1);
		if (s->cwd == NULL || strlen(s->cwd) != lua_rawlen(L, -1))
			luaL_error(L, "cwd must be a string without NUL");
	}
}

/* Tries one path after the other, as execvp(3) does. Returns errno. */
static int
execute(const struct spawn *s)
{
	extern char **environ;
	char **environment = s->environment ? s->environment : environ;
	char **program;
	int denied = 0;

	for (program = s->programs; *program != NULL; program++) {
		execve(*program, s->argv, environment);
		if (errno == EACCES)
			denied = 1;
		else if (errno != ENOENT && errno != ENOTDIR)
			return errno;
	}
	return denied ? EACCES : errno;
}

/* A copy of fd out of the way of 0, 1 and 2. */
static int
above_standard(int fd)
{
	return fd < 0 || fd > 2 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

/* The child, from fork to exec: async-signal-safe calls only. */
static void
become(const struct spawn *s, int report)
{
	struct sigaction action;
	struct trouble trouble = {0, 0};
	sigset_t none;
	int from[3], i;

	setpgid(0, 0);
	memset(&action, 0, sizeof action);
	action.sa_handler = SIG_DFL;
	for (i = 1; i < NSIG; i++)
		sigaction(i, &action, NULL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	report = above_standard(report);
	for (i = 0; i < 3; i++)
		from[i] = above_standard(s->from[i]);
	for (i = 0; i < 3; i++)
		if (from[i] >= 0)
			dup2(from[i], i);
	if (s->joined)
		dup2(1, 2);
	if (s->cwd != NULL && chdir(s->cwd) < 0) {
		trouble.err = errno;
		trouble.at_chdir = 1;
	} else
		trouble.err = execute(s);
	while (write(report, &trouble, sizeof trouble) < 0 && errno == EINTR)
		;
	_exit(127);
}

/* Waits for the exec: the pipe ends with it. Returns 0 or errno. */
static int
listen_to(int report, const char **step)
{
	struct trouble trouble;
	ssize_t count;

	do
		count = read(report, &trouble, sizeof trouble);
	while (count < 0 && errno == EINTR);
	if (count != sizeof trouble)
		return 0;
	*step = trouble.at_chdir ? "chdir" : "execve";
	return trouble.err;
}

pid_t
spawn_start(const struct spawn *s, const char **step)
{
	sigset_t all, before;
	int report[2], err;
	pid_t pid;

	*step = "fork";
	if (pipe2(report, O_CLOEXEC) < 0)
		return -1;
	/* Our handlers must not run in the child. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	pid = fork();
	err = errno;
	if (pid == 0)
		become(s, report[1]);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	close(report[1]);
	if (pid > 0) {
		/* Here as well: whoever is first. */
		setpgid(pid, pid);
		err = listen_to(report[0], step);
		if (err != 0)
			while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
				;
	}
	close(report[0]);
	errno = err;
	return pid > 0 && err == 0 ? pid : -1;
}
