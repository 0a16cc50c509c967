/* The Lua sources inside the library. */
#ifndef SMTPTEST_EMBED_H
#define SMTPTEST_EMBED_H

#include <stddef.h>

#include <lua.h>

struct embed {
	const char *name;	/* "smtptest.reply"; of a text its file name */
	const char *file;	/* "smtptest/reply.lua", below lua/ */
	const char *text;
	size_t size;
	const char *code;	/* text, compiled; "" for a text */
	size_t code_size;
	lua_CFunction open;	/* loads the module; NULL for a text */
};

/* Sorted by file; ends with a NULL name. Written by src/embed.lua. */
extern const struct embed embed_sources[];

/* Registers every module, those in C too, in package.preload; entries that are
 * there already stay. */
void embed_preload(lua_State *L);

/* Runs a module: the lua_CFunction in `open` comes here. Pushes what the module
 * returns; returns 1. */
int embed_open(lua_State *L, const struct embed *source);

#endif
