#include "object.h"

#include <string.h>

void
object_type(lua_State *L, const char *type, const luaL_Reg *functions)
{
	int meta, methods;

	luaL_newmetatable(L, type);
	meta = lua_gettop(L);
	luaL_getsubtable(L, meta, "__index");
	methods = meta + 1;
	for (; functions->name != NULL; functions++) {
		lua_pushcfunction(L, functions->func);
		if (strcmp(functions->name, "close") == 0) {
			lua_pushvalue(L, -1);
			lua_setfield(L, meta, "__gc");
			lua_pushvalue(L, -1);
			lua_setfield(L, meta, "__close");
		}
		lua_setfield(L, strncmp(functions->name, "__", 2) == 0 ?
		    meta : methods, functions->name);
	}
	lua_pop(L, 2);
}

int
object_fd(lua_State *L, int fd)
{
	if (fd >= 0)
		lua_pushinteger(L, fd);
	else
		lua_pushnil(L);
	return 1;
}
