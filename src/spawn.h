/* fork and exec: what a child process is to be, and how it comes to be. */
#ifndef SMTPTEST_SPAWN_H
#define SMTPTEST_SPAWN_H

#include <lua.h>
#include <sys/types.h>

/* All of it is made before the fork: the child of a process with threads may
 * not allocate. */
struct spawn {
	char **argv;
	char **environment; /* NULL: ours */
	char **programs;    /* the paths to try, in this order */
	const char *cwd;    /* NULL: ours */
	int from[3];        /* what becomes 0, 1, 2; -1: ours stays */
	int joined;         /* 2 becomes what 1 is */
};

/* Reads argv, env and cwd of the table at index 1; raises for what they must
 * not be. The memory belongs to values that this leaves on the stack. */
void spawn_read(lua_State *L, struct spawn *s);

/* The child's pid; or -1, errno, and the step that failed ("fork", "chdir",
 * "execve"). The child leads its own process group, its signals are as the
 * system made them, and of our descriptors it has those that are not
 * close-on-exec. Waits until exec has succeeded or failed. */
pid_t spawn_start(const struct spawn *s, const char **step);

#endif
