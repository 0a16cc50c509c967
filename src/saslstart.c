/* The start of libsasl, once in a process. */
#include "saslconn.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* libsasl without locks of ours has none: its plug-ins share caches. */
static void *
mutex_new(void)
{
	pthread_mutex_t *mutex = malloc(sizeof *mutex);

	if (mutex && pthread_mutex_init(mutex, NULL) != 0) {
		free(mutex);
		mutex = NULL;
	}
	return mutex;
}

static int
mutex_lock(void *mutex)
{
	return pthread_mutex_lock(mutex) == 0 ? 0 : -1;
}

static int
mutex_unlock(void *mutex)
{
	return pthread_mutex_unlock(mutex) == 0 ? 0 : -1;
}

static void
mutex_free(void *mutex)
{
	if (mutex) {
		pthread_mutex_destroy(mutex);
		free(mutex);
	}
}

/* A question that libsasl asked while a half started. */
struct question {
	struct question *next;
	char *name;	/* "plugin_option", or "option" where no plug-in asks */
	size_t plugin;	/* length of "plugin_" */
	char *answer;	/* or NULL: there was none */
};

/* libsasl's client and its server: each is started once and never stopped,
 * because the host may use them too. `options` are asked only while it starts
 * (the server asks for plugin_list, GSSAPI's keytab, DIGEST-MD5's
 * reauth_timeout); afterwards every connection answers for itself, so that it
 * inherits nothing from the first. */
static struct half {
	int started, starting;
	struct item *options;		/* of the connection that starts it */
	struct question *questions;	/* the last one first; kept for ever */
} halves[2];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void
remember(struct half *half, const char *plugin, const char *option,
	const char *answer)
{
	size_t before = plugin ? strlen(plugin) + 1 : 0;
	struct question *q = calloc(1, sizeof *q);
	char *name = malloc(before + strlen(option) + 1);

	if (!q || !name) {
		free(q);
		free(name);
		return;
	}
	if (plugin) {
		memcpy(name, plugin, before - 1);
		name[before - 1] = '_';
	}
	strcpy(name + before, option);
	q->name = name;
	q->plugin = before;
	q->answer = answer ? strdup(answer) : NULL;
	q->next = half->questions;
	half->questions = q;
}

static int
start_getopt(void *context, const char *plugin, const char *option,
	const char **result, unsigned *size)
{
	struct half *half = context;
	int status;

	/* Later it is asked what a connection has no answer to. */
	if (!half->starting)
		return SASL_FAIL;
	status = item_getopt(half->options, plugin, option, result, size);
	remember(half, plugin, option, status == SASL_OK ? *result : NULL);
	return status;
}

static int
start_log(void *context, int level, const char *message)
{
	(void)context;
	(void)level;
	(void)message;
	return SASL_OK;
}

/* Where libsasl looks for smtptest.conf: nowhere. It frees the string. */
static int
start_confpath(void *context, char **path)
{
	(void)context;
	*path = strdup("/dev/null");
	return *path ? SASL_OK : SASL_NOMEM;
}

#define CALLBACKS(half) { \
	{ SASL_CB_GETOPT, SASL_PROC(start_getopt), half }, \
	{ SASL_CB_LOG, SASL_PROC(start_log), NULL }, \
	{ SASL_CB_GETCONFPATH, SASL_PROC(start_confpath), NULL }, \
	{ SASL_CB_LIST_END, NULL, NULL } \
}

static const sasl_callback_t callbacks[2][4] = {
	CALLBACKS(&halves[0]), CALLBACKS(&halves[1])
};

int
saslstart(struct item *options, int server)
{
	struct half *half = &halves[server];
	int status = SASL_OK;

	pthread_mutex_lock(&lock);
	if (!half->started) {
		half->options = options;
		half->starting = 1;
		/* Without effect when the host has started libsasl before. */
		sasl_set_mutex(mutex_new, mutex_lock, mutex_unlock,
			mutex_free);
		if (server) {
			status = sasl_server_init(callbacks[1], "smtptest");
			if (status == SASL_OK)
				status = auxprop_add();
		} else
			status = sasl_client_init(callbacks[0]);
		half->starting = 0;
		half->options = NULL;
		half->started = status == SASL_OK;
	}
	pthread_mutex_unlock(&lock);
	return status;
}

int
saslstart_asked(int server, const char *name, const char **answer)
{
	const struct question *q = halves[server].questions;

	while (q && strcasecmp(q->name, name) != 0 &&
	    strcasecmp(q->name + q->plugin, name) != 0)
		q = q->next;
	*answer = q ? q->answer : NULL;
	return q != NULL;
}
