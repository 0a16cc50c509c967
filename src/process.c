/* Child processes, each the leader of its own group. */
#include "fail.h"
#include "object.h"
#include "file.h"
#include "group.h"
#include "orphan.h"
#include "signals.h"
#include "spawn.h"
#include "thread.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* Without pidfd_open(2) a thread waits for the child. */
#ifndef SMTPTEST_PIDFD
#ifdef SYS_pidfd_open
#define SMTPTEST_PIDFD 1
#else
#define SMTPTEST_PIDFD 0
#endif
#endif

/* The two may meet in one process, where a spec compares them. */
#if SMTPTEST_PIDFD
#define PROCESS "smtptest.core.process"
#else
#define PROCESS "smtptest.core.process by thread"
#endif

struct process {
	pid_t pid;           /* 0 when there never was one */
	struct child *child; /* NULL once it is reaped or given up */
	int fd;              /* readable when it ended; -1 when closed */
	int closed;
	int ended;           /* signaled and status are known */
	int signaled;        /* status is a signal's number */
	int status;
	int gone;            /* nobody of its group runs */
};

/* User values of a process: its ends of the pipes. */
enum { STDIN = 1, STDOUT, STDERR };

static struct process *
process_check(lua_State *L)
{
	return luaL_checkudata(L, 1, PROCESS);
}

/* Asks whether it ended, without reaping it. 1: yes, and its status is
 * remembered; 0: no; -1: errno says why nobody knows (ECHILD: somebody else
 * reaped it). */
static int
process_look(struct process *p)
{
	siginfo_t info;

	if (p->ended)
		return 1;
	if (p->child == NULL) {
		errno = ECHILD;
		return -1;
	}
	info.si_pid = 0;
	if (waitid(P_PID, (id_t)p->pid, &info, WEXITED | WNOHANG | WNOWAIT) <
	    0) {
		free(p->child);
		p->child = NULL;
		return -1;
	}
	if (info.si_pid == 0)
		return 0;
	p->ended = 1;
	p->signaled = info.si_code != CLD_EXITED;
	p->status = info.si_status;
	return 1;
}

/* Whether nobody of its group runs, or nobody knows who has its number now.
 * Reaps it once it ended. */
static int
process_over(struct process *p)
{
	if (p->gone)
		return 1;
	switch (process_look(p)) {
	case 0:
		return 0;
	case 1:
		if (p->child != NULL) {
			waitpid(p->pid, NULL, WNOHANG);
			free(p->child);
			p->child = NULL;
		}
		p->gone = !group_runs(p->pid);
		return p->gone;
	default:
		p->gone = 1;
		return 1;
	}
}

/* Lets go of everything of process number index on the stack. */
static void
process_drop(lua_State *L, int index, struct process *p)
{
	struct file *f;
	int i;

	for (i = STDIN; i <= STDERR; i++) {
		lua_getiuservalue(L, index, i);
		f = lua_touserdata(L, -1);
		lua_pop(L, 1);
		if (f != NULL)
			file_drop(f);
	}
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	p->closed = 1;
	if (p->pid == 0)
		free(p->child);
	else if (!process_over(p)) {
		kill(-p->pid, SIGTERM);
		if (p->child != NULL)
			orphan_add(p->child);
	}
	p->child = NULL;
}

/* A child to watch, and the pipe that tells. */
struct watch {
	pid_t pid;
	int fd;
};

static void *
watch_thread(void *argument)
{
	struct watch *w = argument;
	siginfo_t info;

	/* WNOWAIT: whoever asks for the status reaps. */
	while (waitid(P_PID, (id_t)w->pid, &info, WEXITED | WNOWAIT) < 0 &&
	    errno == EINTR)
		;
	thread_signal(w->fd);
	free(w);
	return NULL;
}

/* A descriptor that becomes readable when process pid ends, where the system
 * has none; or -1 and errno. */
static int
watch_start(pid_t pid)
{
	struct watch *w = malloc(sizeof *w);
	int fds[2], err;

	if (w == NULL || pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		free(w);
		return -1;
	}
	w->pid = pid;
	w->fd = fds[1];
	err = thread_start(watch_thread, w);
	if (err == 0)
		return fds[0];
	close(fds[0]);
	close(fds[1]);
	free(w);
	errno = err;
	return -1;
}

static int
end_descriptor(pid_t pid)
{
#if SMTPTEST_PIDFD
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);

	if (fd >= 0)
		return fd;
#endif
	return watch_start(pid);
}

enum stream { PIPE, NOTHING, INHERIT, STDOUT_TOO };

/* The stream in field of the options, one of the first count names. */
static enum stream
read_stream(lua_State *L, const char *field, int count)
{
	static const char *const names[] = {"pipe", "null", "inherit",
	    "stdout"};
	const char *name = "pipe";
	int i;

	if (lua_getfield(L, 1, field) != LUA_TNIL)
		name = lua_tostring(L, -1);
	for (i = 0; i < count; i++)
		if (name != NULL && strcmp(names[i], name) == 0)
			break;
	if (i == count)
		luaL_error(L, "%s must be \"pipe\", \"null\"%s", field,
		    count == 3 ? " or \"inherit\"" :
		    ", \"inherit\" or \"stdout\"");
	lua_pop(L, 1);
	return (enum stream)i;
}

/* Opens what the child gets as i: 0 or errno. */
static int
open_stream(struct spawn *s, int i, enum stream stream, struct file *ours)
{
	int fds[2];

	if (stream == NOTHING) {
		s->from[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
		return s->from[i] < 0 ? errno : 0;
	}
	if (stream != PIPE)
		return 0;
	if (pipe2(fds, O_CLOEXEC) < 0)
		return errno;
	s->from[i] = fds[i == 0 ? 0 : 1];
	ours->fd = fds[i == 0 ? 1 : 0];
	return 0;
}

/* Starts p as s says; 0, or errno and the step that failed. No Lua in here:
 * nothing is lost between two lines. */
static int
process_start(struct process *p, struct spawn *s, const enum stream streams[],
    struct file *const ours[], const char **step)
{
	int i, err = 0;
	pid_t pid = -1;

	*step = "pipe";
	p->child = malloc(sizeof *p->child);
	if (p->child == NULL)
		return ENOMEM;
	for (i = 0; i < 3 && err == 0; i++)
		err = open_stream(s, i, streams[i], ours[i]);
	if (err == 0) {
		pid = spawn_start(s, step);
		err = pid < 0 ? errno : 0;
	}
	for (i = 0; i < 3; i++)
		if (s->from[i] >= 0)
			close(s->from[i]);
	if (err != 0)
		return err;
	p->pid = p->child->pid = pid;
	p->fd = end_descriptor(pid);
	if (p->fd < 0) {
		*step = "pidfd";
		return errno;
	}
	return 0;
}

/* process.spawn{argv={program, argument…}, env=, cwd=, stdin=, stdout=,
 * stderr=} → process. The program is searched in our PATH unless it has a
 * slash. env ({NAME=value}) replaces ours altogether. A stream is "pipe" (as
 * it is when absent), "null", "inherit", and stderr may be "stdout". The child
 * leads its own process group. Codes: execve(2)'s, chdir(2)'s, fork(2)'s. */
static int
process_spawn(lua_State *L)
{
	static const char *const fields[] = {"stdin", "stdout", "stderr"};
	struct process *p;
	struct spawn s;
	enum stream streams[3];
	struct file *ours[3] = {NULL, NULL, NULL};
	const char *step;
	int i, err, self;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	for (i = 0; i < 3; i++)
		streams[i] = read_stream(L, fields[i], i == 2 ? 4 : 3);
	spawn_read(L, &s);
	s.joined = streams[2] == STDOUT_TOO;
	p = lua_newuserdatauv(L, sizeof *p, 3);
	memset(p, 0, sizeof *p);
	p->fd = -1;
	luaL_setmetatable(L, PROCESS);
	self = lua_gettop(L);
	for (i = 0; i < 3; i++)
		if (streams[i] == PIPE) {
			ours[i] = file_new(L);
			lua_setiuservalue(L, self, STDIN + i);
		}
	orphan_sweep();
	err = process_start(p, &s, streams, ours, &step);
	if (err == 0)
		return 1;
	process_drop(L, self, p);
	if (strcmp(step, "execve") == 0)
		step = lua_pushfstring(L, "execve %s", s.argv[0]);
	else if (strcmp(step, "chdir") == 0)
		step = lua_pushfstring(L, "chdir %s", s.cwd);
	return fail(L, step, err);
}

/* process:pid() → integer */
static int
process_pid(lua_State *L)
{
	lua_pushinteger(L, process_check(L)->pid);
	return 1;
}

/* process:stdin() → the file (smtptest.core.file) that writes to its standard
 * input; nil unless that is a pipe */
static int
process_stdin(lua_State *L)
{
	process_check(L);
	lua_getiuservalue(L, 1, STDIN);
	return 1;
}

/* process:stdout() → the file that reads its standard output, or nil */
static int
process_stdout(lua_State *L)
{
	process_check(L);
	lua_getiuservalue(L, 1, STDOUT);
	return 1;
}

/* process:stderr() → the file that reads its standard error, or nil */
static int
process_stderr(lua_State *L)
{
	process_check(L);
	lua_getiuservalue(L, 1, STDERR);
	return 1;
}

/* process:fd() → a descriptor that becomes readable when it ended; nil after
 * close */
static int
process_fd(lua_State *L)
{
	return object_fd(L, process_check(L)->fd);
}

/* process:wait() → "exit", status or "signal", number, now and ever after;
 * never waits. Codes: EAGAIN while it runs; ECHILD when somebody else, who
 * waits for any child, took the status. */
static int
process_wait(lua_State *L)
{
	struct process *p = process_check(L);
	int ended;

	if (p->closed && !p->ended)
		return fail_closed(L);
	orphan_sweep();
	ended = process_look(p);
	if (ended <= 0)
		return fail(L, "wait", ended == 0 ? EAGAIN : errno);
	lua_pushstring(L, p->signaled ? "signal" : "exit");
	lua_pushinteger(L, p->status);
	return 2;
}

/* process:alive() → boolean */
static int
process_alive(lua_State *L)
{
	struct process *p = process_check(L);

	if (p->closed && !p->ended)
		return fail_closed(L);
	lua_pushboolean(L, process_look(p) == 0);
	return 1;
}

/* process:gone() → true when nobody of its group runs. A process that ended
 * keeps its number, and so that of the group, until this or close reaps it. */
static int
process_gone(lua_State *L)
{
	struct process *p = process_check(L);

	if (p->closed && !p->gone)
		return fail_closed(L);
	lua_pushboolean(L, process_over(p));
	return 1;
}

/* process:kill([signal="TERM"[, group=false]]) → true: sends a signal, by name
 * or number, to it, or to its whole group. ESRCH once it has ended, or the last
 * of the group has. */
static int
process_kill(lua_State *L)
{
	struct process *p = process_check(L);
	int number = lua_isnoneornil(L, 2) ? SIGTERM : signals_check(L, 2);
	int group = lua_toboolean(L, 3);

	if (p->closed)
		return fail_closed(L);
	if (group ? process_over(p) : process_look(p) != 0)
		return fail(L, "kill", ESRCH);
	if (kill(group ? -p->pid : p->pid, number) < 0)
		return fail(L, "kill", errno);
	lua_pushboolean(L, 1);
	return 1;
}

/* process:close() → true, the first time and ever after: closes our ends of
 * its pipes and, when anybody of it still runs, sends TERM to its group. It is
 * reaped by a later spawn or wait. */
static int
process_close(lua_State *L)
{
	struct process *p = process_check(L);

	if (!p->closed)
		process_drop(L, 1, p);
	lua_pushboolean(L, 1);
	return 1;
}

/* process.signal(number) → its name without SIG; "17" for one without */
static int
process_signal(lua_State *L)
{
	signals_push(L, (int)luaL_checkinteger(L, 1));
	return 1;
}

static const luaL_Reg methods[] = {
	{"pid", process_pid},
	{"stdin", process_stdin},
	{"stdout", process_stdout},
	{"stderr", process_stderr},
	{"fd", process_fd},
	{"wait", process_wait},
	{"alive", process_alive},
	{"gone", process_gone},
	{"kill", process_kill},
	{"close", process_close},
	{NULL, NULL},
};

static const luaL_Reg functions[] = {
	{"spawn", process_spawn},
	{"signal", process_signal},
	{NULL, NULL},
};

SMTPTEST_OPEN LUAMOD_API int
luaopen_smtptest_core_process(lua_State *L)
{
	/* Pipes are files: their type must exist. */
	luaL_requiref(L, "smtptest.core.file", luaopen_smtptest_core_file, 0);
	object_type(L, PROCESS, methods);
	luaL_newlib(L, functions);
	return 1;
}
