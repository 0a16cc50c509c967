/* smtptest inside a C program.
 *
 *	lua_State *L = smtptest_newstate();
 *	if (luaL_dostring(L, "return require 'smtptest'.connect{host = 'mx.test'}"))
 *		…
 *
 * Link what `pkg-config --cflags --libs smtptest` names; or, from Lua, require
 * "smtptest" with smtptest.so in package.cpath. The library keeps one thread a
 * state (states in several threads do work), prints nothing, changes no signal
 * and never ends the process. */
#ifndef SMTPTEST_H
#define SMTPTEST_H

#include <lua.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SMTPTEST_VERSION "0.1.0"

#if defined(__GNUC__)
#define SMTPTEST_API __attribute__((visibility("default")))
#else
#define SMTPTEST_API
#endif

/* The version of the library that is linked, as SMTPTEST_VERSION. */
SMTPTEST_API const char *smtptest_version(void);

/* Makes require "smtptest" and the modules below it work in the host's own
 * state, whatever package.path says; what package.preload holds already stays.
 * The package library must be open. Raises only what lua_* raise when memory
 * ends. Returns 0, so that it serves as a lua_CFunction too. */
SMTPTEST_API int smtptest_preload(lua_State *L);

/* A new state with Lua's standard libraries and smtptest_preload, for the
 * caller to lua_close; NULL when there is no memory for it. */
SMTPTEST_API lua_State *smtptest_newstate(void);

/* For a host with a loop of its own: lets the tasks of this state go on that
 * can, and waits at most that many seconds for one that can (0: not at all;
 * negative: until something happens). Returns how many tasks have not ended;
 * or -1 with an error pushed: the loop itself failed, or seconds is negative
 * and nothing can ever happen. An error of a task is for who joins it;
 * smtptest.task.failed() gives one that nobody joined. Call it also after a
 * call into the state that may have started something, so that the descriptor
 * below knows. Takes two free slots of the stack, as the next one does. */
SMTPTEST_API int smtptest_step(lua_State *L, double seconds);

/* One descriptor, the same for the life of the state, that is readable when
 * smtptest_step has something to do, be it that a time has come: for the
 * host's poll, never to be read or closed. -1 where the system has none (the
 * host then calls smtptest_step every so often), or memory has ended. */
SMTPTEST_API int smtptest_fd(lua_State *L);

/* What the command `smtptest` does, in a state of its own: argv as main() gets
 * it (argv[0] chooses SMTP or LMTP; secrets in argv are wiped). Returns the
 * exit status, 70 when it could not work at all. Unlike the rest it
 * reads and writes the standard streams and catches signals: it is the
 * command. */
SMTPTEST_API int smtptest_main(int argc, char **argv);

/* For Lua's own loader. */
SMTPTEST_API int luaopen_smtptest(lua_State *L);

#ifdef __cplusplus
}
#endif

#endif
