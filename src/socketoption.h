/* The options of a socket, by name. */
#ifndef SMTPTEST_SOCKETOPTION_H
#define SMTPTEST_SOCKETOPTION_H

#include <lua.h>

/* The body of socket:option for descriptor fd: the name is argument 2, the new
 * value, if any, argument 3. Pushes the value, or true, or the failure, and
 * returns how many results that are; raises for an unknown name. */
int socketoption(lua_State *L, int fd);

#endif
