/* What all userdata have in common. */
#ifndef SMTPTEST_OBJECT_H
#define SMTPTEST_OBJECT_H

#include <lua.h>
#include <lauxlib.h>

/* Makes the type, or adds to it. Functions whose names begin with "__" become
 * metamethods, the others methods; `close` also ends an object that is
 * collected or whose <close> variable ends. */
void object_type(lua_State *L, const char *type, const luaL_Reg *functions);

/* Pushes a descriptor, nil for -1 (closed, or there is none); returns 1. */
int object_fd(lua_State *L, int fd);

#endif
