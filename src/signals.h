/* Signals by name. */
#ifndef SMTPTEST_SIGNALS_H
#define SMTPTEST_SIGNALS_H

#include <lua.h>

/* The signal at index: a name, "TERM" or "SIGTERM", or a number; raises for
 * anything else. */
int signals_check(lua_State *L, int index);

/* Pushes the name of a signal without SIG; "17" for one without a name. */
void signals_push(lua_State *L, int number);

#endif
