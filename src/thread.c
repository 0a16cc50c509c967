#include "thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

int
thread_start(void *(*run)(void *), void *argument)
{
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all, before;
	int err;

	if ((err = pthread_attr_init(&attributes)) != 0)
		return err;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &before);
	err = pthread_create(&thread, &attributes, run, argument);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return err;
}

void
thread_signal(int fd)
{
	/* A byte, and not only the end of the pipe: a process forked meanwhile
	 * may hold a copy of this end. Where nobody reads any more, SIGPIPE is
	 * blocked and ends with the thread. */
	while (write(fd, "", 1) < 0 && errno == EINTR)
		;
	close(fd);
}
