/* The harm that the planted bugs do. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "planted.h"

static int
is_for(enum bug_id id, enum verb verb)
{
	return bug_trigger(id)->verbs[0] == verb;
}

/* Whether the commands up to this one are those of the trigger. */
static int
is_sequence(enum bug_id id, const struct client *c, enum verb verb, int n)
{
	int i;

	for (i = 0; i < n - 1; i++)
		if (c->session.before[i] != bug_trigger(id)->verbs[n - 2 - i])
			return 0;
	return bug_trigger(id)->verbs[n - 1] == verb;
}

/* Whether a byte makes a bug fire. */
static int
byte_fires(enum bug_id id, enum verb verb, const char *argument, size_t length)
{
	return is_for(id, verb) &&
	    memchr(argument, bug_trigger(id)->byte, length) != NULL &&
	    bug_fires(id);
}

static int
length_fires(enum bug_id id, enum verb verb, size_t length)
{
	return is_for(id, verb) && bug_in_range(id, length) && bug_fires(id);
}

/* Whether one of the words behind the first is as long. */
static int
parameter_fires(enum bug_id id, enum verb verb, const char *argument)
{
	size_t length;

	for (argument += strcspn(argument, " "); *argument != '\0';
	    argument += length) {
		argument++;
		length = strcspn(argument, " ");
		if (length_fires(id, verb, length))
			return 1;
	}
	return 0;
}

/* As AddressSanitizer reports what it goes on after. */
static void
report(void)
{
	fprintf(stderr, "==%d==ERROR: AddressSanitizer: heap-buffer-overflow on "
	    "address 0x602000000091 at pc 0x55d0c0de bp 0x7ffd0bad sp 0x7ffd\n"
	    "READ of size 1 at 0x602000000091 thread T0\n"
	    "    #0 0x55d0c0de in parse_argument planted.c:1\n"
	    "SUMMARY: AddressSanitizer: heap-buffer-overflow planted.c:1 in "
	    "parse_argument\n", (int)getpid());
}

/* Memory that is never given back, and is really taken. */
static void
hoard(void)
{
	struct block {
		struct block *next;
		char bytes[65536];
	};
	static struct block *blocks;
	struct block *b = malloc(sizeof *b);

	if (b == NULL)
		return;
	memset(b->bytes, 0x5a, sizeof b->bytes);
	b->next = blocks;
	blocks = b;
}

static void
die(enum verb verb, const struct client *c, const char *argument, size_t length)
{
	if (is_sequence(B_CRASH_SEQUENCE, c, verb, 4) &&
	    bug_fires(B_CRASH_SEQUENCE))
		abort();
	if (length_fires(B_CRASH_LENGTH, verb, length))
		raise(SIGSEGV);
	if (byte_fires(B_EXIT_BYTE, verb, argument, length))
		exit(3);
	if (c->session.auth_failed && c->session.before[1] == V_AUTH &&
	    is_sequence(B_HANG_SERVER, c, verb, 2) && bug_fires(B_HANG_SERVER))
		for (;;)
			pause();
}

static enum twist
reply_twist(const struct client *c, enum verb verb, size_t length)
{
	if (length_fires(B_SYNTAX, verb, length))
		return T_MALFORMED;
	if (length_fires(B_CLASS, verb, length))
		return T_CLASS;
	if (is_for(B_DOUBLE_REPLY, verb) &&
	    c->session.times % bug_trigger(B_DOUBLE_REPLY)->low == 0 &&
	    bug_fires(B_DOUBLE_REPLY))
		return T_TWICE;
	if (c->split > 0 && c->split <= bug_trigger(B_SPLIT_LOST)->low &&
	    is_for(B_SPLIT_LOST, verb) && bug_fires(B_SPLIT_LOST))
		return T_LOST;
	if (c->seen == 1 && bug_trigger(B_SPLIT_CODE)->variant == 1 &&
	    is_for(B_SPLIT_CODE, verb) && bug_fires(B_SPLIT_CODE))
		return T_OTHER;
	return T_NONE;
}

/* Before a command is obeyed. */
int
bugs_command(struct client *c, enum verb verb, const char *argument,
    size_t length)
{
	struct session *s = &c->session;

	s->times = verb == s->before[0] ? s->times + 1 : 1;
	if (verb == V_UNKNOWN)
		return 0;
	die(verb, c, argument, length);
	if (byte_fires(B_SANITIZER, verb, argument, length))
		report();
	if (length_fires(B_MEMORY, verb, length))
		hoard();
	if (byte_fires(B_HANG_SESSION, verb, argument, length)) {
		c->mute = 1;
		return 1;
	}
	if (parameter_fires(B_DROP, verb, argument)) {
		c->ending = 1;
		return 1;
	}
	if (c->commands == 1 && c->split == 0 && is_for(B_PIPELINE_LOST, verb) &&
	    bug_fires(B_PIPELINE_LOST))
		return 1;
	c->twist = reply_twist(c, verb, length);
	return 0;
}

void
bugs_bdat(uint64_t size)
{
	if (size > UINT64_C(1) << bug_trigger(B_LIVENESS)->low &&
	    bug_fires(B_LIVENESS))
		stop_listening();
}

/* -------------------------------------------------------------------------- */

/* Changes a reply → its size. */
size_t
bugs_twisted(enum twist twist, char *text, size_t room)
{
	static const char *const malformed[] = {
		"%.3s-One\r\n251 Two\r\n",
		"%.3s-One\r\n%.3s_Two\r\n%.3s Three\r\n",
		"%.3s-One\r\nTwo\r\n%.3s Three\r\n"
	};
	static const char *const classes[] = {
		"250 5.1.0 Done\r\n", "550 2.1.0 Not done\r\n"
	};
	char old[512];

	snprintf(old, sizeof old, "%s", text);
	switch (twist) {
	case T_NONE:
		break;
	case T_LOST:
		return 0;
	case T_TWICE:
		snprintf(text, room, "%s%s", old, old);
		break;
	case T_OTHER:
		snprintf(text, room, "451 4.3.0 Not this time\r\n");
		break;
	case T_MALFORMED:
		snprintf(text, room, malformed[bug_trigger(B_SYNTAX)->variant],
		    old, old, old);
		break;
	case T_CLASS:
		snprintf(text, room, "%s", classes[bug_trigger(B_CLASS)->variant]);
		break;
	}
	return strlen(text);
}

/* What the latest client left, and the latest of the others. */
struct note {
	unsigned long client;
	char text[128];
};

static struct note notes[BUGS][2];

void
bugs_note(const struct client *c, enum bug_id id, const char *bytes,
    size_t length)
{
	struct note *n = notes[id];
	size_t i;

	if (length == 0)
		return;
	if (n->client != c->id)
		n[1] = n[0];
	n->client = c->id;
	for (i = 0; i < length && i < sizeof n->text - 1; i++)
		n->text[i] = bytes[i] < ' ' || bytes[i] > '~' ? '.' : bytes[i];
	n->text[i] = '\0';
}

/* What another client left, or NULL. */
const char *
bugs_noted(const struct client *c, enum bug_id id)
{
	const struct note *n = notes[id];

	if (n->client == c->id)
		n++;
	return n->client == 0 ? NULL : n->text;
}
