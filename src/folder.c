/* Folders of the file system. */
#include "fail.h"
#include "object.h"

#include <lauxlib.h>

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#define TYPE "smtptest.folder"

/* Pushes "what path: reason" and its code for errno value err. */
static int
failed(lua_State *L, const char *what, int err)
{
	return fail(L, lua_pushfstring(L, "%s %s", what, lua_tostring(L, 1)),
	    err);
}

/* NULL for a path with a NUL, which no system call can tell from its end. */
static const char *
check_path(lua_State *L)
{
	size_t length;
	const char *path = luaL_checklstring(L, 1, &length);

	return strlen(path) == length ? path : NULL;
}

/* folder.make(path) → true. Codes: mkdir(2)'s. */
static int
folder_make(lua_State *L)
{
	const char *path = check_path(L);

	if (path == NULL || mkdir(path, 0777) < 0)
		return failed(L, "mkdir", path == NULL ? EINVAL : errno);
	lua_pushboolean(L, 1);
	return 1;
}

/* What is open while names are collected, which may run out of memory. */
static int
folder_close(lua_State *L)
{
	DIR **handle = luaL_checkudata(L, 1, TYPE);

	if (*handle != NULL)
		closedir(*handle);
	*handle = NULL;
	return 0;
}

/* folder.list(path) → list of the names in it, without "." and "..", in no
 * order. Codes: opendir(3)'s and readdir(3)'s. */
static int
folder_list(lua_State *L)
{
	const char *path = check_path(L);
	DIR **handle = lua_newuserdatauv(L, sizeof(DIR *), 0);
	struct dirent *entry;
	lua_Integer n = 0;
	int err;

	*handle = NULL;
	luaL_setmetatable(L, TYPE);
	lua_toclose(L, -1);
	*handle = path == NULL ? NULL : opendir(path);
	if (*handle == NULL)
		return failed(L, "opendir", path == NULL ? EINVAL : errno);
	lua_newtable(L);
	while ((void)(errno = 0), (entry = readdir(*handle)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0)
			continue;
		lua_pushstring(L, entry->d_name);
		lua_rawseti(L, -2, ++n);
	}
	err = errno;
	return err == 0 ? 1 : failed(L, "readdir", err);
}

static const luaL_Reg methods[] = {
	{"close", folder_close},
	{NULL, NULL},
};

static const luaL_Reg functions[] = {
	{"make", folder_make},
	{"list", folder_list},
	{NULL, NULL},
};

SMTPTEST_OPEN LUAMOD_API int
luaopen_smtptest_core_folder(lua_State *L)
{
	object_type(L, TYPE, methods);
	luaL_newlib(L, functions);
	return 1;
}
