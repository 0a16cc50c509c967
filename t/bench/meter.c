/* Runs a command, drops its output, and prints what it took:
 *	meter COMMAND ARGUMENT…	→ "wall user+system (seconds) peak-kilobytes status"
 * The status is that of a shell: 128 more than the signal for a killed one. */
#include <err.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double
seconds(struct timeval t)
{
	return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

int
main(int argc, char **argv)
{
	posix_spawn_file_actions_t actions;
	struct timespec from, to;
	struct rusage use;
	int status;
	pid_t pid;

	if (argc < 2)
		errx(2, "usage: meter command [argument ...]");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, 1, 2);
	clock_gettime(CLOCK_MONOTONIC, &from);
	if (posix_spawn(&pid, argv[1], &actions, NULL, argv + 1, environ) != 0)
		err(1, "%s", argv[1]);
	if (wait4(pid, &status, 0, &use) == -1)
		err(1, "wait4");
	clock_gettime(CLOCK_MONOTONIC, &to);
	printf("%.6f %.6f %ld %d\n",
	    (double)(to.tv_sec - from.tv_sec) +
	    (double)(to.tv_nsec - from.tv_nsec) / 1e9,
	    seconds(use.ru_utime) + seconds(use.ru_stime), use.ru_maxrss,
	    WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
	return 0;
}
