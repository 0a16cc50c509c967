/* Runs a Lua script again and again, each time in a new state in which another
 * allocation of Lua's fails:
 *
 *	alloc SCRIPT [SECONDS [FIRST]]
 *
 * Each time the script must end in an error, and lua_close must leave nothing
 * behind: no descriptor, no block of OpenSSL's; other memory is for a
 * sanitizer to judge. Without SECONDS every allocation fails once; with it as
 * many as fit into that time, spread evenly; with 0 only the FIRST. The last
 * line counts them; what went wrong stands before it, and the exit status is
 * 1. */
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lualib.h>
#include <openssl/crypto.h>

#include "smtptest.h"

#define HANGS 60	/* seconds after which an attempt will never end */

/* What Lua asks for: as lua_Alloc's arguments. */
struct request {
	void *block;
	size_t old, new;
};

struct memory {
	long asked;		/* how often Lua asked for more */
	long fails;		/* the number of the failing one, from 1; or 0 */
	struct request refused;
	int again;		/* the next may be the refused one once more */
};

struct attempt {
	long asked;
	struct request refused;
	int failed;		/* the script ended in an error, */
	char message[512];	/* this one; */
	int warnings;		/* or finalizers had errors */
	int descriptors;	/* more than before */
	long blocks;		/* of OpenSSL, in all */
};

struct tally {
	long tried, needless, wrong;
};

/* Lua collects garbage and asks again before it gives up: both are the same
 * allocation. Only that one fails, because a Lua that has no memory to call a
 * finalizer drops it, and what the finalizer would have freed. */
static void *
allocate(void *context, void *block, size_t old, size_t new)
{
	struct memory *m = context;
	int again = m->again;

	if (new == 0) {
		free(block);
		return NULL;
	}
	if (block && new <= old)
		return realloc(block, new);
	m->again = 0;
	if (again && m->refused.block == block && m->refused.old == old &&
	    m->refused.new == new)
		return NULL;
	if (++m->asked == m->fails) {
		m->refused = (struct request){ block, old, new };
		m->again = 1;
		return NULL;
	}
	return realloc(block, new);
}

static long blocks;	/* of OpenSSL, not freed */

static void *
openssl_malloc(size_t size, const char *file, int line)
{
	void *block = size ? malloc(size) : NULL;

	(void)file, (void)line;
	blocks += block != NULL;
	return block;
}

static void
openssl_free(void *block, const char *file, int line)
{
	(void)file, (void)line;
	blocks -= block != NULL;
	free(block);
}

static void *
openssl_realloc(void *block, size_t size, const char *file, int line)
{
	if (block == NULL)
		return openssl_malloc(size, file, line);
	if (size == 0) {
		openssl_free(block, file, line);
		return NULL;
	}
	return realloc(block, size);
}

static int
descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (dir != NULL && readdir(dir) != NULL)
		n++;
	if (dir != NULL)
		closedir(dir);
	return n;
}

static int
run(lua_State *L)
{
	const char *script = lua_touserdata(L, 1);

	luaL_openlibs(L);
	smtptest_preload(L);
	if (luaL_loadfile(L, script) != LUA_OK)
		return lua_error(L);
	lua_call(L, 0, 0);
	return 0;
}

static int
in_words(lua_State *L)
{
	luaL_tolstring(L, 1, NULL);
	return 1;
}

static void
warn(void *context, const char *message, int more)
{
	int *warnings = context;

	(void)message;
	*warnings += !more;
}

static struct attempt
attempt(const char *script, long fails)
{
	struct attempt a = { .failed = 1, .message = "not enough memory" };
	struct memory memory = { .fails = fails };
	int before = descriptors();
	lua_State *L = lua_newstate(allocate, &memory);

	if (L != NULL) {
		lua_setwarnf(L, warn, &a.warnings);
		lua_pushcfunction(L, in_words);
		lua_pushcfunction(L, run);
		lua_pushlightuserdata(L, (void *)script);
		a.failed = lua_pcall(L, 1, 0, 0) != LUA_OK;
		a.asked = memory.asked;
		memory.fails = 0;
		if (a.failed && lua_pcall(L, 1, 1, 0) == LUA_OK)
			snprintf(a.message, sizeof a.message, "%s",
			    lua_tostring(L, -1));
		lua_close(L);
	} else
		a.asked = memory.asked;
	a.refused = memory.refused;
	OPENSSL_thread_stop();	/* what it keeps about old errors */
	a.descriptors = descriptors() - before;
	a.blocks = blocks;
	return a;
}

/* Two allocations are a mere wish of Lua's: of a larger table of strings and of
 * a smaller stack. Neither makes an object. */
static int
is_wish(const struct request *r)
{
	return r->block != NULL || r->old == 0;
}

/* Whether an error tells of the allocation, or of what one end of a connection
 * sees when that error ended the other. */
static int
is_expected(const char *message)
{
	static const char *const words[] = {
		"not enough memory", "closed", "without close_notify",
		"Broken pipe", "reset by peer", "nothing can happen any more",
		NULL
	};
	int i;

	for (i = 0; words[i] != NULL; i++)
		if (strstr(message, words[i]) != NULL)
			return 1;
	return 0;
}

static void
complain(struct tally *tally, long n, const char *format, ...)
{
	va_list arguments;

	tally->wrong++;
	printf("allocation %ld: ", n);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

static void
judge(struct tally *tally, const struct attempt *a, long n, long before)
{
	/* How often Lua asks varies a little with what the sockets bring. */
	if (a->asked < n)
		return;
	tally->tried++;
	if (!a->failed && !a->warnings) {
		if (is_wish(&a->refused))
			tally->needless++;
		else
			complain(tally, n, "no error");
	}
	if (a->failed && !is_expected(a->message))
		complain(tally, n, "%s", a->message);
	if (a->descriptors != 0)
		complain(tally, n, "%d descriptors left", a->descriptors);
	if (a->blocks != before)
		complain(tally, n, "%ld blocks left", a->blocks - before);
}

static long
gcd(long a, long b)
{
	return b == 0 ? a : gcd(b, a % b);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* All attempts; *current is the one that goes on, 0 after the last. */
static int
attempts(const char *script, double seconds, long first, volatile long *current)
{
	struct tally tally = { 0, 0, 0 };
	struct attempt whole;
	double end = now() + seconds;
	long i, n, count, step;

	CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free);
	/* The first one also starts the libraries. */
	for (i = 0; i < 2; i++) {
		whole = attempt(script, 0);
		if (whole.failed) {
			printf("it fails anyway: %s\n", whole.message);
			return 1;
		}
	}
	count = whole.asked;
	/* The golden section: any number of such steps lies evenly. */
	step = (long)((double)count * 0.618);
	while (gcd(step, count) != 1)
		step++;
	first = (first > 0 ? first - 1 : (long)getpid() * 7919) % count;
	n = first;
	for (i = 0; i < count; i++) {
		struct attempt a;

		*current = n + 1;
		alarm(HANGS);
		a = attempt(script, n + 1);
		judge(&tally, &a, n + 1, whole.blocks);
		whole.blocks = a.blocks;
		if (now() >= end)
			break;
		n = (n + step) % count;
	}
	if (tally.needless > 1 + tally.tried / 20)
		complain(&tally, n + 1, "one of too many without an error");
	*current = 0;
	printf("%ld of %ld allocations failed, %ld of them needless, "
	    "the first was %ld: %ld complaints\n", tally.tried, count,
	    tally.needless, first + 1, tally.wrong);
	return tally.wrong > 0;
}

/* A process of their own, so that somebody is left to say which one crashed. */
int
main(int argc, char **argv)
{
	double seconds = argc > 2 ? atof(argv[2]) : 1e9;
	long first = argc > 3 ? atol(argv[3]) : 0;
	volatile long *current = mmap(NULL, sizeof *current,
	    PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t child;

	if (argc < 2 || current == MAP_FAILED || (child = fork()) == -1) {
		fputs("usage: alloc SCRIPT [SECONDS [FIRST]]\n", stderr);
		return 2;
	}
	if (child == 0) {
		setvbuf(stdout, NULL, _IOLBF, 0);
		return attempts(argv[1], seconds, first, current);
	}
	if (waitpid(child, &status, 0) != child)
		return 2;
	if (*current != 0)
		printf("allocation %ld: the process ended, signal %d\n",
		    *current, WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
