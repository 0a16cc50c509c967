#include "embed.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>

#include "fail.h"
#include "prefix.h"
#include "smtptest.h"

/* The primitives in C: each is smtptest.core.NAME. */
#define CORE(each) \
	each(alarm) each(cert) each(digest) each(embed) each(file) each(folder) \
	each(line) each(poll) each(process) each(reply) each(resolve) each(sasl) each(signal) \
	each(socket) each(tls) each(tty)

#define DECLARE(name) SMTPTEST_OPEN int luaopen_smtptest_core_##name(lua_State *);
CORE(DECLARE)

#define ENTRY(name) { "smtptest.core." #name, luaopen_smtptest_core_##name },
static const luaL_Reg core[] = {
	CORE(ENTRY)
	{ NULL, NULL }
};

static const struct embed *
find(const char *name)
{
	const struct embed *source;

	for (source = embed_sources; source->name != NULL; source++)
		if (strcmp(source->name, name) == 0)
			return source;
	return NULL;
}

/* Where a developer keeps the sources, or NULL: the files below it are read
 * instead of the embedded text. */
static const char *
folder(void)
{
	const char *path = getenv("SMTPTEST_LUA");

	return path != NULL && *path != '\0' ? path : NULL;
}

static void
preload(lua_State *L, const char *name, lua_CFunction open)
{
	if (lua_getfield(L, -1, name) == LUA_TNIL) {
		lua_pushcfunction(L, open);
		lua_setfield(L, -3, name);
	}
	lua_pop(L, 1);
}

void
embed_preload(lua_State *L)
{
	const struct embed *source;
	const luaL_Reg *module;

	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
	for (module = core; module->name != NULL; module++)
		preload(L, module->name, module->func);
	for (source = embed_sources; source->name != NULL; source++)
		if (source->open != NULL)
			preload(L, source->name, source->open);
	lua_pop(L, 1);
}

static int
load_source(lua_State *L, const struct embed *source)
{
	const char *path = folder();
	int status;

	if (path != NULL) {
		path = lua_pushfstring(L, "%s/%s", path, source->file);
		return luaL_loadfilex(L, path, "t");
	}
	path = lua_pushfstring(L, "@%s", source->file);
	status = luaL_loadbufferx(L, source->code, source->code_size, path,
	    "b");
	/* A Lua that is not like the one we were built with refuses it. */
	if (status != LUA_ERRSYNTAX)
		return status;
	lua_pop(L, 1);
	return luaL_loadbufferx(L, source->text, source->size, path, "t");
}

int
embed_open(lua_State *L, const struct embed *source)
{
	/* Lua's loader found us in smtptest.so before anything was
	 * registered: what this module requires must not come from a stray
	 * file. */
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
	if (lua_getfield(L, -1, source->name) == LUA_TNIL)
		embed_preload(L);
	if (load_source(L, source) != LUA_OK)
		return lua_error(L);
	lua_pushstring(L, source->name);
	lua_pushstring(L, source->file);
	lua_call(L, 2, 1);
	return 1;
}

/* Pushes the text of a file, or fails as primitives do. The memory is taken
 * before the file is opened: running out of it leaks no descriptor. */
static int
read_file(lua_State *L, const char *path)
{
	struct stat st;
	size_t used = 0, size;
	ssize_t n;
	char *text;
	int fd;

	if (stat(path, &st) == -1)
		return fail(L, path, errno);
	size = (size_t)st.st_size;
	text = lua_newuserdatauv(L, size, 0);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1)
		return fail(L, path, errno);
	while (used < size && (n = read(fd, text + used, size - used)) > 0)
		used += (size_t)n;
	close(fd);
	lua_pushlstring(L, text, used);
	return 1;
}

/* source(name) → the Lua text of a module ("smtptest.reply") or of
 * "default.lua", nil when there is none of that name. With SMTPTEST_LUA set:
 * the file's text, or nil, message, errno's name. */
static int
embed_source(lua_State *L)
{
	const struct embed *source = find(luaL_checkstring(L, 1));

	if (source == NULL) {
		lua_pushnil(L);
		return 1;
	}
	if (folder() != NULL)
		return read_file(L, lua_pushfstring(L, "%s/%s", folder(),
		    source->file));
	lua_pushlstring(L, source->text, source->size);
	return 1;
}

/* names() → list of the names that source() knows. */
static int
embed_names(lua_State *L)
{
	const struct embed *source;
	lua_Integer n = 0;

	lua_newtable(L);
	for (source = embed_sources; source->name != NULL; source++) {
		lua_pushstring(L, source->name);
		lua_rawseti(L, -2, ++n);
	}
	return 1;
}

static const luaL_Reg functions[] = {
	{ "source", embed_source },
	{ "names", embed_names },
	{ NULL, NULL }
};

/* smtptest.core.embed: source, names; `version`, a string; `examples`, the
 * folder where the example scripts are installed. */
SMTPTEST_OPEN int
luaopen_smtptest_core_embed(lua_State *L)
{
	luaL_newlib(L, functions);
	lua_pushstring(L, SMTPTEST_VERSION);
	lua_setfield(L, -2, "version");
	lua_pushliteral(L, SMTPTEST_PREFIX "/share/smtptest/examples");
	lua_setfield(L, -2, "examples");
	return 1;
}
