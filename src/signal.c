/* Signals that become bytes in a pipe. Only a program that owns its process
 * uses this module: it changes dispositions. */
#include "fail.h"
#include "signals.h"
#include "tty.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define MOST_SIGNALS 256 /* a signal number is one byte in the pipe */

static const struct symbol {
	const char *name;
	int number;
} symbols[] = {
	{"HUP", SIGHUP}, {"INT", SIGINT}, {"QUIT", SIGQUIT}, {"ILL", SIGILL},
	{"TRAP", SIGTRAP}, {"ABRT", SIGABRT}, {"BUS", SIGBUS},
	{"FPE", SIGFPE}, {"KILL", SIGKILL}, {"USR1", SIGUSR1},
	{"SEGV", SIGSEGV}, {"USR2", SIGUSR2}, {"PIPE", SIGPIPE},
	{"ALRM", SIGALRM}, {"TERM", SIGTERM}, {"CHLD", SIGCHLD},
	{"CONT", SIGCONT}, {"STOP", SIGSTOP}, {"TSTP", SIGTSTP},
	{"TTIN", SIGTTIN}, {"TTOU", SIGTTOU}, {"URG", SIGURG},
	{"XCPU", SIGXCPU}, {"XFSZ", SIGXFSZ}, {"VTALRM", SIGVTALRM},
	{"PROF", SIGPROF}, {"WINCH", SIGWINCH}, {"SYS", SIGSYS},
};

#define SYMBOLS (sizeof symbols / sizeof symbols[0])

/* A handler has no argument of ours, so this belongs to the process. */
static int reader = -1, writer = -1;
static volatile sig_atomic_t unread[MOST_SIGNALS];

int
signals_check(lua_State *L, int index)
{
	int is_number;
	lua_Integer number = lua_tointegerx(L, index, &is_number);
	const char *name;
	size_t i;

	if (is_number) {
		luaL_argcheck(L, number >= 1 && number < NSIG, index,
		    "no signal");
		return (int)number;
	}
	name = luaL_checkstring(L, index);
	if (strncmp(name, "SIG", 3) == 0)
		name += 3;
	for (i = 0; i < SYMBOLS; i++)
		if (strcmp(symbols[i].name, name) == 0)
			return symbols[i].number;
	return luaL_argerror(L, index,
	    lua_pushfstring(L, "no signal %s", name));
}

void
signals_push(lua_State *L, int number)
{
	size_t i;

	for (i = 0; i < SYMBOLS; i++)
		if (symbols[i].number == number) {
			lua_pushstring(L, symbols[i].name);
			return;
		}
	lua_pushfstring(L, "%d", number);
}

static int
dispose(int number, void (*handler)(int))
{
	struct sigaction action;

	memset(&action, 0, sizeof action);
	action.sa_handler = handler;
	action.sa_flags = SA_RESTART;
	sigemptyset(&action.sa_mask);
	return sigaction(number, &action, NULL);
}

/* The second one that nobody looked at in between: whoever should read them
 * is stuck, and the user wants out. It is blocked while we are here and kills
 * when we return. */
static void
die(int number)
{
	tty_restore();
	dispose(number, SIG_DFL);
	raise(number);
}

static void
handle(int number)
{
	unsigned char byte = (unsigned char)number;
	int err = errno;

	if (unread[byte])
		die(number);
	else {
		unread[byte] = 1;
		/* Never full: it holds at most one byte of each number. */
		while (write(writer, &byte, 1) < 0 && errno == EINTR)
			;
	}
	errno = err;
}

static int
make_pipe(void)
{
	int fds[2];

	if (reader >= 0)
		return 0;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return -1;
	reader = fds[0];
	writer = fds[1];
	return 0;
}

/* signal.catch{"INT", "TERM", …} → descriptor that is readable when one came;
 * always the same one, of the process. A signal that was ignored when we
 * started (nohup, a shell's background job) stays ignored. One that comes
 * twice before signal.read gave the first puts the terminal back and kills. */
static int
signal_catch(lua_State *L)
{
	struct sigaction now;
	lua_Integer i, count;
	int number;

	luaL_checktype(L, 1, LUA_TTABLE);
	if (make_pipe() < 0)
		return fail(L, "pipe", errno);
	count = luaL_len(L, 1);
	for (i = 1; i <= count; i++) {
		lua_geti(L, 1, i);
		number = signals_check(L, -1);
		lua_pop(L, 1);
		if (sigaction(number, NULL, &now) < 0)
			return fail(L, "sigaction", errno);
		if (now.sa_handler != SIG_IGN && dispose(number, handle) < 0)
			return fail(L, "sigaction", errno);
	}
	lua_pushinteger(L, reader);
	return 1;
}

/* signal.read() → the name of the next signal that came ("INT"); EAGAIN when
 * none did, EBADF when nothing was caught yet */
static int
signal_read(lua_State *L)
{
	unsigned char byte;
	ssize_t count;

	if (reader < 0)
		return fail(L, "signal", EBADF);
	do
		count = read(reader, &byte, 1);
	while (count < 0 && errno == EINTR);
	if (count < 0)
		return fail(L, "signal", errno);
	unread[byte] = 0;
	signals_push(L, byte);
	return 1;
}

/* signal.ignore(name) → true. Codes: EINVAL for KILL and STOP. */
static int
signal_ignore(lua_State *L)
{
	if (dispose(signals_check(L, 1), SIG_IGN) < 0)
		return fail(L, "sigaction", errno);
	lua_pushboolean(L, 1);
	return 1;
}

/* signal.default(name) → true: what the system does with it */
static int
signal_default(lua_State *L)
{
	if (dispose(signals_check(L, 1), SIG_DFL) < 0)
		return fail(L, "sigaction", errno);
	lua_pushboolean(L, 1);
	return 1;
}

/* signal.raise(name) → true, for a signal that does not end us: puts the
 * terminal back and does to ourselves what the system does with it, so that
 * whoever waits for us sees the signal as our end. */
static int
signal_raise(lua_State *L)
{
	int number = signals_check(L, 1);
	sigset_t set;

	tty_restore();
	dispose(number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, number);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	raise(number);
	lua_pushboolean(L, 1);
	return 1;
}

static const luaL_Reg functions[] = {
	{"catch", signal_catch},
	{"read", signal_read},
	{"ignore", signal_ignore},
	{"default", signal_default},
	{"raise", signal_raise},
	{NULL, NULL},
};

SMTPTEST_OPEN LUAMOD_API int
luaopen_smtptest_core_signal(lua_State *L)
{
	luaL_newlib(L, functions);
	return 1;
}
