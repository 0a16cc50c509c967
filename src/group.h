/* Process groups. */
#ifndef SMTPTEST_GROUP_H
#define SMTPTEST_GROUP_H

#include <sys/types.h>

/* Whether anybody in the group still runs. One that ended and that nobody has
 * reaped yet, which may take its init a while, does not. */
int group_runs(pid_t group);

#endif
