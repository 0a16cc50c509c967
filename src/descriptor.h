/* The bodies of methods that files and terminals have alike. A descriptor of -1
 * is a closed one; the arguments begin at index 2. */
#ifndef SMTPTEST_DESCRIPTOR_H
#define SMTPTEST_DESCRIPTOR_H

#include <lua.h>

/* :read(max) → 1 to max bytes, as one read(2) gives them. Codes: EOF … */
int descriptor_read(lua_State *L, int fd);

/* :write(bytes[, first=1[, last=#bytes]]) → the length of
 * bytes:sub(first, last), all of which is written. Codes: EPIPE (without the
 * signal) … */
int descriptor_write(lua_State *L, int fd);

/* :ready([seconds=0]) → whether a read would not wait. */
int descriptor_ready(lua_State *L, int fd);

#endif
