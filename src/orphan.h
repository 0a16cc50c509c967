/* Children whose process object is gone. */
#ifndef SMTPTEST_ORPHAN_H
#define SMTPTEST_ORPHAN_H

#include <sys/types.h>

/* A child that is not reaped yet: its pid, which is its group's number too,
 * stays ours until somebody waits for it. It may outlive its process object. */
struct child {
	pid_t pid;
	struct child *next;
};

/* Takes c, which malloc(3) gave, over. */
void orphan_add(struct child *c);

/* Reaps those that ended; never waits. */
void orphan_sweep(void);

#endif
