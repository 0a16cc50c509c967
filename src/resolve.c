/* getaddrinfo that nobody waits for: it runs in a detached thread, which
 * shares nothing with Lua but a counted block and the write end of a pipe. */
#include "address.h"
#include "fail.h"
#include "object.h"
#include "thread.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUEST "smtptest.core.resolve"

/* A question and its answer; freed by whoever lets go last. */
struct lookup {
	pthread_mutex_t mutex; /* over holders and done */
	int holders;
	int done;              /* what follows does not change any more */
	char *host, *service;  /* NULL for none */
	struct addrinfo hints;
	struct addrinfo *found;
	int status;            /* getaddrinfo's, */
	int err;               /* and errno beside EAI_SYSTEM */
	int signal;            /* the thread's end of the pipe */
};

struct request {
	struct lookup *lookup; /* NULL when closed */
	int fd;                /* our end of the pipe; -1 without a thread */
};

static void
lookup_release(struct lookup *l)
{
	int holders;

	pthread_mutex_lock(&l->mutex);
	holders = --l->holders;
	pthread_mutex_unlock(&l->mutex);
	if (holders > 0)
		return;
	pthread_mutex_destroy(&l->mutex);
	if (l->found != NULL)
		freeaddrinfo(l->found);
	free(l->host);
	free(l->service);
	free(l);
}

/* NULL (errno ENOMEM), or a lookup with one holder. */
static struct lookup *
lookup_new(const char *host, const char *service)
{
	struct lookup *l = calloc(1, sizeof *l);

	if (l == NULL)
		return NULL;
	pthread_mutex_init(&l->mutex, NULL);
	l->holders = 1;
	l->signal = -1;
	if ((host != NULL && (l->host = strdup(host)) == NULL) ||
	    (service != NULL && (l->service = strdup(service)) == NULL)) {
		lookup_release(l);
		errno = ENOMEM;
		return NULL;
	}
	return l;
}

static void
lookup_run(struct lookup *l, int more_flags)
{
	struct addrinfo hints = l->hints;

	hints.ai_flags |= more_flags;
	l->status = getaddrinfo(l->host, l->service, &hints, &l->found);
	l->err = errno;
	if (l->status != 0)
		l->found = NULL;
}

static void *
lookup_thread(void *argument)
{
	struct lookup *l = argument;

	lookup_run(l, 0);
	pthread_mutex_lock(&l->mutex);
	l->done = 1;
	pthread_mutex_unlock(&l->mutex);
	thread_signal(l->signal);
	lookup_release(l);
	return NULL;
}

static struct request *
request_check(lua_State *L)
{
	return luaL_checkudata(L, 1, REQUEST);
}

static void
request_drop(struct request *r)
{
	if (r->fd >= 0)
		close(r->fd);
	if (r->lookup != NULL)
		lookup_release(r->lookup);
	r->fd = -1;
	r->lookup = NULL;
}

/* Leaves field name of the options on the stack: a string or nil, which is
 * NULL. A string with a NUL inside would be asked for as another one: bad. */
static const char *
read_string(lua_State *L, const char *name, int *bad)
{
	const char *value;

	if (lua_getfield(L, 1, name) == LUA_TNIL)
		return NULL;
	if (!lua_isstring(L, -1))
		luaL_error(L, "%s must be a string", name);
	value = lua_tostring(L, -1);
	if (strlen(value) != lua_rawlen(L, -1))
		*bad = 1;
	return value;
}

static int
read_flag(lua_State *L, const char *name, int flag)
{
	int set;

	lua_getfield(L, 1, name);
	set = lua_toboolean(L, -1);
	lua_pop(L, 1);
	return set ? flag : 0;
}

static int
read_family(lua_State *L)
{
	const char *name;
	int family = AF_UNSPEC;

	if (lua_getfield(L, 1, "family") != LUA_TNIL) {
		name = lua_tostring(L, -1);
		if (name != NULL && strcmp(name, "inet") == 0)
			family = AF_INET;
		else if (name != NULL && strcmp(name, "inet6") == 0)
			family = AF_INET6;
		else
			luaL_error(L, "family must be \"inet\" or \"inet6\"");
	}
	lua_pop(L, 1);
	return family;
}

/* A service as getaddrinfo should have read it: it takes "-1" for 65535 and
 * "65537" for 1. */
static int
is_service(const char *service)
{
	unsigned long port = 0;
	const char *s;

	for (s = service; *s >= '0' && *s <= '9'; s++) {
		port = port * 10 + (unsigned long)(*s - '0');
		if (port > 65535)
			return 0;
	}
	return *s == '\0' ? s > service :
	    (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');
}

/* "[::1]" → "::1" on the stack, where the brackets say that it is IPv6. */
static const char *
strip_brackets(lua_State *L, const char *host)
{
	size_t length = strlen(host);

	if (length < 2 || host[0] != '[' || host[length - 1] != ']')
		return NULL;
	return lua_pushlstring(L, host + 1, length - 2);
}

/* resolve.start{host=, service=, family="inet"|"inet6", passive=false,
 * canonname=false} → request. host is a name, a numeric address, IPv6 also in
 * brackets or with a zone (fe80::1%eth0); service a name or a number; one of
 * them may be nil. Only what is not numeric needs a thread. */
static int
resolve_start(lua_State *L)
{
	struct request *r;
	struct lookup *l;
	const char *host, *service, *inner;
	int bad_host = 0, bad_service = 0, family, flags, err;
	int fds[2];

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	family = read_family(L);
	flags = read_flag(L, "passive", AI_PASSIVE) |
	    read_flag(L, "canonname", AI_CANONNAME);
	host = read_string(L, "host", &bad_host);
	service = read_string(L, "service", &bad_service);
	if (host != NULL && (inner = strip_brackets(L, host)) != NULL) {
		host = inner;
		flags |= AI_NUMERICHOST;
		bad_host |= family == AF_INET;
		family = AF_INET6;
	}
	r = lua_newuserdatauv(L, sizeof *r, 0);
	r->lookup = NULL;
	r->fd = -1;
	luaL_setmetatable(L, REQUEST);
	l = r->lookup = lookup_new(host, service);
	if (l == NULL)
		return fail(L, "resolve", errno);
	l->hints.ai_family = family;
	l->hints.ai_flags = flags;
	l->hints.ai_socktype = SOCK_STREAM;
	l->hints.ai_protocol = IPPROTO_TCP;
	l->done = 1;
	if (service != NULL && !is_service(service))
		bad_service = 1;
	if (bad_host || bad_service) {
		l->status = bad_host ? EAI_NONAME : EAI_SERVICE;
		return 1;
	}
	lookup_run(l, AI_NUMERICHOST | AI_NUMERICSERV);
	if (l->status != EAI_NONAME && l->status != EAI_SERVICE)
		return 1;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return fail(L, "pipe", errno);
	r->fd = fds[0];
	l->signal = fds[1];
	l->done = 0;
	l->holders++;
	err = thread_start(lookup_thread, l);
	if (err != 0) {
		l->holders--;
		close(fds[1]);
		request_drop(r);
		return fail(L, "pthread_create", err);
	}
	return 1;
}

/* request:fd() → the descriptor that becomes readable with the result; nil
 * when the result is there already, or after close */
static int
request_fd(lua_State *L)
{
	return object_fd(L, request_check(L)->fd);
}

/* request:result() → list of addresses (as socket.connect takes them) in
 * getaddrinfo's order, canonical name or nil. Codes: EAGAIN while the thread
 * runs, RESOLVE, an errno symbol for what the system refused. */
static int
request_result(lua_State *L)
{
	struct request *r = request_check(L);
	struct lookup *l = r->lookup;
	struct addrinfo *a;
	lua_Integer n = 0;
	int done;

	if (l == NULL)
		return fail_closed(L);
	pthread_mutex_lock(&l->mutex);
	done = l->done;
	pthread_mutex_unlock(&l->mutex);
	if (!done)
		return fail(L, "resolve", EAGAIN);
	if (l->status == EAI_SYSTEM)
		return fail(L, "resolve", l->err);
	if (l->status != 0)
		return fail_code(L, "RESOLVE", "%s", gai_strerror(l->status));
	lua_newtable(L);
	for (a = l->found; a != NULL; a = a->ai_next) {
		if (a->ai_family != AF_INET && a->ai_family != AF_INET6)
			continue;
		address_push(L, a->ai_addr, a->ai_addrlen);
		lua_rawseti(L, -2, ++n);
	}
	lua_pushstring(L, l->found->ai_canonname);
	return 2;
}

/* request:close() → true, the first time and ever after: nobody wants the
 * result any more */
static int
request_close(lua_State *L)
{
	request_drop(request_check(L));
	lua_pushboolean(L, 1);
	return 1;
}

static const luaL_Reg methods[] = {
	{"fd", request_fd},
	{"result", request_result},
	{"close", request_close},
	{NULL, NULL},
};

static const luaL_Reg functions[] = {
	{"start", resolve_start},
	{NULL, NULL},
};

SMTPTEST_OPEN LUAMOD_API int
luaopen_smtptest_core_resolve(lua_State *L)
{
	object_type(L, REQUEST, methods);
	luaL_newlib(L, functions);
	return 1;
}
