/* Children whose process object is gone, until they end. */
#include "orphan.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>

/* The process's, because so are they. */
static struct child *orphans;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

void
orphan_add(struct child *c)
{
	pthread_mutex_lock(&mutex);
	c->next = orphans;
	orphans = c;
	pthread_mutex_unlock(&mutex);
}

void
orphan_sweep(void)
{
	struct child **link, *c;

	pthread_mutex_lock(&mutex);
	for (link = &orphans; (c = *link) != NULL;)
		if (waitpid(c->pid, NULL, WNOHANG) == 0)
			link = &c->next;
		else {
			*link = c->next;
			free(c);
		}
	pthread_mutex_unlock(&mutex);
}
