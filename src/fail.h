/* How every primitive reports that the world, not the caller, has failed. */
#ifndef SMTPTEST_FAIL_H
#define SMTPTEST_FAIL_H

#include <lua.h>

/* Marks a luaopen_ function: the only symbols Lua needs to find. */
#define SMTPTEST_OPEN __attribute__((visibility("default")))

/* Pushes nil, "what: reason", "ENAME" for errno value err; returns 3. */
int fail(lua_State *L, const char *what, int err);

/* Pushes nil, the formatted message (lua_pushfstring's formats), code; returns 3. */
int fail_code(lua_State *L, const char *code, const char *format, ...)
#if defined(__GNUC__)
	__attribute__((nonnull(2, 3)))
#endif
	;

/* Pushes nil, message, "EAGAIN": "not now" is said often and must not cost
 * the making of a text. */
int fail_again(lua_State *L, const char *message);

/* Pushes nil, "closed", "EBADF": a method of an object that was closed. */
int fail_closed(lua_State *L);

/* The symbol of an errno value, "ECONNREFUSED"; "E<number>" for unknown ones,
 * pushed on the stack, which owns it. */
const char *fail_name(lua_State *L, int err);

#endif
