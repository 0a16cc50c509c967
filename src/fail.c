#include "fail.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

struct symbol {
	int value;
	const char *name;
};

#define SYMBOL(e) { e, #e }

/* What sockets, files, processes and terminals can say. EWOULDBLOCK is EAGAIN
 * wherever we run. */
static const struct symbol symbols[] = {
	SYMBOL(EACCES), SYMBOL(EADDRINUSE), SYMBOL(EADDRNOTAVAIL),
	SYMBOL(EAFNOSUPPORT), SYMBOL(EAGAIN), SYMBOL(EALREADY), SYMBOL(EBADF),
	SYMBOL(EBUSY), SYMBOL(ECHILD), SYMBOL(ECONNABORTED),
	SYMBOL(ECONNREFUSED), SYMBOL(ECONNRESET), SYMBOL(EDESTADDRREQ),
	SYMBOL(EEXIST), SYMBOL(EFAULT), SYMBOL(EFBIG), SYMBOL(EHOSTUNREACH),
	SYMBOL(EINPROGRESS), SYMBOL(EINTR), SYMBOL(EINVAL), SYMBOL(EIO),
	SYMBOL(EISCONN), SYMBOL(EISDIR), SYMBOL(ELOOP), SYMBOL(EMFILE),
	SYMBOL(EMSGSIZE), SYMBOL(ENAMETOOLONG), SYMBOL(ENETDOWN),
	SYMBOL(ENETRESET), SYMBOL(ENETUNREACH), SYMBOL(ENFILE),
	SYMBOL(ENOBUFS), SYMBOL(ENODEV), SYMBOL(ENOENT), SYMBOL(ENOEXEC),
	SYMBOL(ENOMEM), SYMBOL(ENOPROTOOPT), SYMBOL(ENOSPC), SYMBOL(ENOSYS),
	SYMBOL(ENOTCONN), SYMBOL(ENOTDIR), SYMBOL(ENOTSOCK), SYMBOL(ENOTSUP),
	SYMBOL(ENOTTY), SYMBOL(ENXIO), SYMBOL(EOVERFLOW), SYMBOL(EPERM),
	SYMBOL(EPIPE), SYMBOL(EPROTO), SYMBOL(EPROTONOSUPPORT),
	SYMBOL(EPROTOTYPE), SYMBOL(ERANGE), SYMBOL(EROFS), SYMBOL(ESPIPE),
	SYMBOL(ESRCH), SYMBOL(ETIMEDOUT), SYMBOL(ETXTBSY), SYMBOL(E2BIG),
};

const char *
fail_name(lua_State *L, int err)
{
	size_t i;

	for (i = 0; i < sizeof symbols / sizeof symbols[0]; i++)
		if (symbols[i].value == err)
			return lua_pushstring(L, symbols[i].name);
	return lua_pushfstring(L, "E%d", err);
}

int
fail(lua_State *L, const char *what, int err)
{
	lua_pushnil(L);
	lua_pushfstring(L, "%s: %s", what, strerror(err));
	fail_name(L, err);
	return 3;
}

int
fail_again(lua_State *L, const char *message)
{
	lua_pushnil(L);
	lua_pushstring(L, message);
	lua_pushliteral(L, "EAGAIN");
	return 3;
}

int
fail_code(lua_State *L, const char *code, const char *format, ...)
{
	va_list args;

	lua_pushnil(L);
	va_start(args, format);
	lua_pushvfstring(L, format, args);
	va_end(args);
	lua_pushstring(L, code);
	return 3;
}

int
fail_closed(lua_State *L)
{
	return fail_code(L, "EBADF", "closed");
}
