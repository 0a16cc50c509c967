/* The command: makes the process fit for it, then runs the library. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "smtptest.h"
#include "tty.h"

#define EXIT_INTERNAL 70	/* EX_SOFTWARE */

/* A connection must not become descriptor 0, 1 or 2, where somebody's printf
 * would reach the server. */
static void
open_missing(void)
{
	int fd, got;

	for (fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) != -1 || errno != EBADF)
			continue;
		got = open("/dev/null",
		    fd == STDIN_FILENO ? O_RDONLY : O_WRONLY);
		if (got != fd) {
			perror("smtptest: /dev/null");
			exit(EXIT_INTERNAL);
		}
	}
}

static void
raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

int
main(int argc, char **argv)
{
	open_missing();
	signal(SIGPIPE, SIG_IGN);
	raise_descriptor_limit();
	/* Also when a script calls os.exit at a prompt. */
	atexit(tty_restore);
	return smtptest_main(argc, argv);
}
