/* Descriptors that are read and written blocking: ours to share with
 * process.c. */
#ifndef SMTPTEST_FILE_H
#define SMTPTEST_FILE_H

#include <lua.h>

struct file {
	int fd;    /* -1 when closed */
	int owned; /* close(2) it */
};

/* Pushes a file without a descriptor, to be put in as soon as it exists.
 * luaopen_smtptest_core_file must have run in this Lua state. */
struct file *file_new(lua_State *L);

/* Lets go of the descriptor; the second time does nothing. */
void file_drop(struct file *f);

LUAMOD_API int luaopen_smtptest_core_file(lua_State *L);

#endif
