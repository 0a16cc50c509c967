/* Descriptors that we did not make (standard input and output), plain files
 * and pipes: never switched to non-blocking, read and written blocking. */
#include "file.h"
#include "descriptor.h"
#include "fail.h"
#include "object.h"

#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_TYPE "smtptest.core.file"

static struct file *
file_check(lua_State *L)
{
	return luaL_checkudata(L, 1, FILE_TYPE);
}

struct file *
file_new(lua_State *L)
{
	struct file *f = lua_newuserdatauv(L, sizeof *f, 0);

	f->fd = -1;
	f->owned = 1;
	luaL_setmetatable(L, FILE_TYPE);
	return f;
}

void
file_drop(struct file *f)
{
	if (f->fd >= 0 && f->owned)
		close(f->fd);
	f->fd = -1;
}

/* The path at index; NULL when a NUL inside would make it another one. */
static const char *
check_path(lua_State *L, int index)
{
	size_t length;
	const char *path = luaL_checklstring(L, index, &length);

	return strlen(path) == length ? path : NULL;
}

/* file.open(path, "r"|"w"|"a") → file. w empties or creates, a appends or
 * creates (mode 0666 less the umask). Codes: open(2)'s. */
static int
file_open(lua_State *L)
{
	static const char *const names[] = {"r", "w", "a", NULL};
	static const int flags[] = {O_RDONLY, O_WRONLY | O_CREAT | O_TRUNC,
	    O_WRONLY | O_CREAT | O_APPEND};
	const char *path = check_path(L, 1);
	int flag = flags[luaL_checkoption(L, 2, "r", names)], err = EINVAL;
	struct file *f = file_new(L);

	if (path != NULL) {
		do
			f->fd = open(path, flag | O_CLOEXEC | O_NOCTTY, 0666);
		while (f->fd < 0 && errno == EINTR);
		err = errno;
	}
	if (f->fd >= 0)
		return 1;
	return fail(L, lua_pushfstring(L, "open %s", lua_tostring(L, 1)), err);
}

/* file.fromfd(fd) → file that uses the descriptor but does not own it: close
 * only lets go. EBADF when it is not open. */
static int
file_fromfd(lua_State *L)
{
	lua_Integer fd = luaL_checkinteger(L, 1);
	struct file *f = file_new(L);

	if (fd < 0 || fd > INT_MAX)
		return fail(L, "fromfd", EBADF);
	if (fcntl((int)fd, F_GETFD) < 0)
		return fail(L, "fromfd", errno);
	f->owned = 0;
	f->fd = (int)fd;
	return 1;
}

/* file.of(handle) → file: on the descriptor of one of Lua's own files, which
 * close() only lets go. What Lua has read ahead of a pipe is not seen. */
static int
file_of(lua_State *L)
{
	luaL_Stream *stream = luaL_checkudata(L, 1, LUA_FILEHANDLE);
	struct file *f = file_new(L);

	if (!stream->closef)
		return fail_closed(L);
	fflush(stream->f);	/* what can seek stands where Lua reads */
	f->owned = 0;
	f->fd = fileno(stream->f);
	if (f->fd < 0)
		return fail(L, "fileno", errno);
	return 1;
}

/* file.pipe() → reader, writer */
static int
file_pipe(lua_State *L)
{
	struct file *reader = file_new(L), *writer = file_new(L);
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		return fail(L, "pipe", errno);
	reader->fd = fds[0];
	writer->fd = fds[1];
	return 2;
}

/* file:read(max) → 1 to max bytes, as one read(2) gives them. Codes: EOF,
 * EISDIR … */
static int
file_read(lua_State *L)
{
	return descriptor_read(L, file_check(L)->fd);
}

/* file:write(bytes[, first=1[, last=#bytes]]) → the length of
 * bytes:sub(first, last), all of which is written. Codes: EPIPE (without the
 * signal), ENOSPC … */
static int
file_write(lua_State *L)
{
	return descriptor_write(L, file_check(L)->fd);
}

/* file:ready([seconds=0]) → true when a read would not wait: for data, for the
 * end or for an error. Negative seconds: waits for ever. A signal ends the
 * wait with false. */
static int
file_ready(lua_State *L)
{
	return descriptor_ready(L, file_check(L)->fd);
}

/* file:fd() → the descriptor; nil after close */
static int
file_fd(lua_State *L)
{
	return object_fd(L, file_check(L)->fd);
}

/* file:size() → bytes of a regular file; nil for anything else */
static int
file_size(lua_State *L)
{
	struct file *f = file_check(L);
	struct stat st;

	if (f->fd < 0)
		return fail_closed(L);
	if (fstat(f->fd, &st) < 0)
		return fail(L, "fstat", errno);
	if (S_ISREG(st.st_mode))
		lua_pushinteger(L, st.st_size);
	else
		lua_pushnil(L);
	return 1;
}

/* file:isatty() → boolean */
static int
file_isatty(lua_State *L)
{
	struct file *f = file_check(L);

	if (f->fd < 0)
		return fail_closed(L);
	lua_pushboolean(L, isatty(f->fd));
	return 1;
}

/* file:close() → true, the first time and ever after */
static int
file_close(lua_State *L)
{
	file_drop(file_check(L));
	lua_pushboolean(L, 1);
	return 1;
}

/* What a call on the path at index 1 came to: true, or why not. */
static int
file_done(lua_State *L, const char *what, int err)
{
	if (err != 0)
		return fail(L, lua_pushfstring(L, "%s %s", what,
		    lua_tostring(L, 1)), err);
	lua_pushboolean(L, 1);
	return 1;
}

/* file.unlink(path) → true. Codes: unlink(2)'s. */
static int
file_unlink(lua_State *L)
{
	const char *path = check_path(L, 1);
	int err = EINVAL;

	if (path != NULL)
		err = unlink(path) < 0 ? errno : 0;
	return file_done(L, "unlink", err);
}

/* file.stamp(path) → text that changes when the file, or a folder's list of
 * names, does. Codes: stat(2)'s. */
static int
file_stamp(lua_State *L)
{
	const char *path = check_path(L, 1);
	struct stat st;
	char text[128];

	if (path == NULL)
		return fail(L, "stat", EINVAL);
	if (stat(path, &st) < 0)
		return fail(L, "stat", errno);
	snprintf(text, sizeof text, "%llx.%llx.%llx.%llx.%lx.%llx.%lx",
		(unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
		(unsigned long long)st.st_size,
		(unsigned long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
		(unsigned long long)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
	lua_pushstring(L, text);
	return 1;
}

/* file.getuid() → the real user's number */
static int
file_getuid(lua_State *L)
{
	lua_pushinteger(L, getuid());
	return 1;
}

/* file.username(uid) → the user's name; ENOENT when the system knows none */
static int
file_username(lua_State *L)
{
	lua_Integer uid = luaL_checkinteger(L, 1);
	struct passwd entry, *found = NULL;
	size_t size = 1024;
	int err;

	do {
		size *= 2;
		lua_settop(L, 1);
		err = getpwuid_r((uid_t)uid, &entry,
		    lua_newuserdatauv(L, size, 0), size, &found);
	} while (err == EINTR || (err == ERANGE && size < INT_MAX / 2));
	if (err != 0)
		return fail(L, "getpwuid", err);
	if (found == NULL || (lua_Integer)(uid_t)uid != uid)
		return fail_code(L, "ENOENT", "no user name for uid %I",
		    (LUAI_UACINT)uid);
	lua_pushstring(L, entry.pw_name);
	return 1;
}

/* file.getpid() → our process */
static int
file_getpid(lua_State *L)
{
	lua_pushinteger(L, getpid());
	return 1;
}

/* file.daemon([file]) → true in a child without a terminal, with /dev/null for
 * 0, 1 and 2; the parent writes the child's number to the file, so that it is
 * there when the parent has ended, and ends with status 0. The working folder
 * stays. Threads, a running resolve for one, do not follow. Codes: open(2)'s
 * and fork(2)'s. */
static int
file_daemon(lua_State *L)
{
	struct file *number = lua_isnoneornil(L, 1) ? NULL : file_check(L);
	int null, fd, err;
	pid_t pid;

	if (number && number->fd < 0)
		return fail_closed(L);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return fail(L, "open /dev/null", errno);
	fflush(NULL); /* or both processes would write what is buffered */
	pid = fork();
	if (pid < 0) {
		err = errno;
		close(null);
		return fail(L, "fork", err);
	}
	if (pid > 0) {
		if (number)
			dprintf(number->fd, "%ld", (long)pid);
		_exit(0);
	}
	setsid();
	for (fd = 0; fd <= 2; fd++)
		if (fd == null)
			fcntl(fd, F_SETFD, 0);
		else
			dup2(null, fd);
	if (null > 2)
		close(null);
	lua_pushboolean(L, 1);
	return 1;
}

static const luaL_Reg methods[] = {
	{"read", file_read},
	{"write", file_write},
	{"ready", file_ready},
	{"fd", file_fd},
	{"size", file_size},
	{"isatty", file_isatty},
	{"close", file_close},
	{NULL, NULL},
};

static const luaL_Reg functions[] = {
	{"open", file_open},
	{"fromfd", file_fromfd},
	{"of", file_of},
	{"pipe", file_pipe},
	{"unlink", file_unlink},
	{"stamp", file_stamp},
	{"getuid", file_getuid},
	{"username", file_username},
	{"getpid", file_getpid},
	{"daemon", file_daemon},
	{NULL, NULL},
};

SMTPTEST_OPEN LUAMOD_API int
luaopen_smtptest_core_file(lua_State *L)
{
	object_type(L, FILE_TYPE, methods);
	luaL_newlib(L, functions);
	return 1;
}
