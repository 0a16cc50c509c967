/* The planted bugs: what triggers each is drawn from the key, so that nobody
 * who reads this knows it. */
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "planted.h"

/* Sets of verbs. */
#define S(verb) (1u << V_##verb)
/* The same answer at any time. */
#define QUIET (S(NOOP) | S(RSET) | S(VRFY) | S(EXPN) | S(HELP))
#define HARMLESS (QUIET | S(EHLO) | S(HELO) | S(MAIL) | S(RCPT) | S(ETRN))
#define WORDY ((HARMLESS & ~S(RSET)) | S(AUTH))

/* A bug, and what its trigger is drawn from. */
struct kind {
	const char *name, *oracle;
	unsigned verbs[MOST_VERBS];	/* sets */
	const char *counts;		/* what low and high are of */
	unsigned low[2], width[2];	/* from, to; no width: no upper end */
	int bytes[2];
	unsigned variants;
};

/* In the order of enum bug_id. */
static const struct kind kinds[BUGS] = {
	/* Four commands one after the other */
	{ .name = "crash-sequence", .oracle = "death",
	    .verbs = { HARMLESS, HARMLESS, HARMLESS, HARMLESS } },
	/* An argument that is too long */
	{ .name = "crash-length", .oracle = "death", .verbs = { WORDY },
	    .counts = "length", .low = { 301, 1501 } },
	/* A byte in the argument, here and below */
	{ .name = "exit-byte", .oracle = "death", .verbs = { WORDY },
	    .bytes = { 0x80, 0xff } },
	{ .name = "sanitizer", .oracle = "death", .verbs = { WORDY },
	    .bytes = { 0x21, 0x7e } },
	{ .name = "hang-session", .oracle = "hang", .verbs = { WORDY },
	    .bytes = { 0x01, 0x1f } },
	/* Two commands after an AUTH that failed */
	{ .name = "hang-server", .oracle = "hang", .verbs = { QUIET, QUIET } },
	/* BDAT with a size of more than 2 to that power */
	{ .name = "liveness", .oracle = "liveness", .counts = "power",
	    .low = { 31, 62 } },
	/* The length of a parameter behind the path */
	{ .name = "drop", .oracle = "drop", .verbs = { S(MAIL) | S(RCPT) },
	    .counts = "parameter", .low = { 20, 400 }, .width = { 8, 32 } },
	/* The length of the argument; the reply: bugs_twisted() */
	{ .name = "syntax", .oracle = "syntax", .verbs = { WORDY },
	    .counts = "length", .low = { 10, 900 }, .width = { 8, 40 },
	    .variants = 3 },
	/* CR ends the line */
	{ .name = "cr-desync", .oracle = "count", .verbs = { HARMLESS } },
	/* So many times in a row */
	{ .name = "double-reply", .oracle = "count", .verbs = { HARMLESS },
	    .counts = "times", .low = { 2, 4 } },
	/* LF . CR LF, CR LF . LF or CR . CR ends the message */
	{ .name = "dot-desync", .oracle = "count", .variants = 3 },
	/* A segment ends behind so many bytes of the line */
	{ .name = "split-lost", .oracle = "split", .verbs = { HARMLESS },
	    .counts = "split", .low = { 1, 4 } },
	/* 0: the end of a message comes alone; 1: CR and LF do not come
	 * together */
	{ .name = "split-code", .oracle = "split", .verbs = { QUIET },
	    .variants = 2 },
	/* The second command of a segment */
	{ .name = "pipeline-lost", .oracle = "split", .verbs = { HARMLESS } },
	/* The length of the argument; the reply: bugs_twisted() */
	{ .name = "class", .oracle = "class",
	    .verbs = { WORDY & ~(S(AUTH) | S(EHLO) | S(HELO)) },
	    .counts = "length", .low = { 8, 200 }, .width = { 8, 40 },
	    .variants = 2 },
	/* The command refused, then RSET, then RCPT */
	{ .name = "state-rcpt", .oracle = "state",
	    .verbs = { S(MAIL) | S(RCPT) | S(DATA) | S(VRFY) | S(ETRN) } },
	/* The command, then DATA */
	{ .name = "state-data", .oracle = "state",
	    .verbs = { QUIET | S(ETRN) } },
	/* HELO, MAIL, the command, MAIL */
	{ .name = "state-nested", .oracle = "state",
	    .verbs = { (QUIET & ~S(RSET)) | S(RCPT) } },
	/* The command, AUTH, and "*"; 0: PLAIN, 1: LOGIN */
	{ .name = "auth-cancel", .oracle = "auth", .verbs = { QUIET },
	    .variants = 2 },
	/* A name so long without a password */
	{ .name = "auth-null", .oracle = "auth", .counts = "length",
	    .low = { 20, 120 } },
	/* Commands behind STARTTLS */
	{ .name = "injection", .oracle = "injection" },
	/* HELP with an argument so long, after another client's MAIL */
	{ .name = "leak", .oracle = "leak", .counts = "length",
	    .low = { 1, 200 }, .width = { 8, 24 } },
	/* An unknown verb so long, after another client's 0: response of AUTH;
	 * 1: message */
	{ .name = "leak-uninitialised", .oracle = "leak", .counts = "length",
	    .low = { 12, 60 }, .variants = 2 },
	/* An argument so long, each time */
	{ .name = "memory", .oracle = "memory",
	    .verbs = { S(VRFY) | S(EXPN) | S(ETRN) }, .counts = "length",
	    .low = { 1, 64 } },
};

static struct trigger triggers[BUGS];
static int chosen[BUGS];
static int flake;		/* percent */
static uint64_t seed;

/* -------------------------------------------------------------------------- */

static uint64_t
hash(uint64_t h, const char *text)
{
	for (; *text != '\0'; text++)
		h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return h;
}

/* splitmix64 of the key and a name: the number at one of its turns. */
uint64_t
draw(const char *what, unsigned turn)
{
	uint64_t z = hash(seed, what) +
	    (turn + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static unsigned
draw_between(const struct kind *k, unsigned turn, const unsigned *ends)
{
	return ends[0] + (unsigned)(draw(k->name, turn) %
	    (ends[1] - ends[0] + 1));
}

static enum verb
draw_verb(const struct kind *k, unsigned turn)
{
	unsigned v, n = 0, of[VERBS];

	for (v = 0; v < VERBS; v++)
		if (k->verbs[turn] & 1u << v)
			of[n++] = v;
	return n == 0 ? V_UNKNOWN : (enum verb)of[draw(k->name, turn) % n];
}

/* Not one of those that are in any command. */
static int
draw_byte(const struct kind *k, unsigned turn)
{
	int byte = 0;

	while (byte == 0 || isalnum(byte) ||
	    strchr("\t\r\n<>@:=.-+/[]_", byte) != NULL)
		byte = k->bytes[0] + (int)(draw(k->name, turn++) %
		    (unsigned)(k->bytes[1] - k->bytes[0] + 1));
	return byte;
}

void
bugs_draw(const char *key)
{
	unsigned i, turn;

	seed = hash(UINT64_C(0xcbf29ce484222325), key);
	for (i = 0; i < BUGS; i++) {
		const struct kind *k = &kinds[i];
		struct trigger *t = &triggers[i];

		for (turn = 0; turn < MOST_VERBS; turn++)
			t->verbs[turn] = draw_verb(k, turn);
		t->low = draw_between(k, 4, k->low);
		t->high = k->width[1] == 0 ? UINT_MAX :
		    t->low + draw_between(k, 5, k->width);
		t->variant = k->variants == 0 ? 0 :
		    (unsigned)(draw(k->name, 6) % k->variants);
		t->byte = k->bytes[1] == 0 ? 0 : draw_byte(k, 7);
	}
}

int
bug_find(const char *name)
{
	int i;

	for (i = 0; i < BUGS; i++)
		if (strcmp(kinds[i].name, name) == 0)
			return i;
	return -1;
}

/* NAME,NAME... or all or none. */
int
bugs_choose(const char *names)
{
	char name[64];
	size_t length;
	int i;

	for (i = 0; i < BUGS; i++)
		chosen[i] = strcmp(names, "all") == 0;
	if (chosen[0] || strcmp(names, "none") == 0)
		return 0;
	for (;; names += length + 1) {
		length = strcspn(names, ",");
		snprintf(name, sizeof name, "%.*s", (int)length, names);
		i = bug_find(name);
		if (i == -1)
			return -1;
		chosen[i] = 1;
		if (names[length] == '\0')
			return 0;
	}
}

void
bugs_set_flake(int percent)
{
	flake = percent;
	srandom((unsigned)time(NULL) ^ (unsigned)getpid());
}

void
bugs_list(void)
{
	int i;

	for (i = 0; i < BUGS; i++)
		printf("%s\t%s\n", kinds[i].name, kinds[i].oracle);
}

/* NAME and what there is of: verbs, a length, a byte, a variant; tabs between.
 * And the account. */
void
bugs_explain(void)
{
	int i, n;

	for (i = 0; i < BUGS; i++) {
		const struct kind *k = &kinds[i];
		const struct trigger *t = &triggers[i];

		printf("%s", k->name);
		for (n = 0; n < MOST_VERBS && k->verbs[n] != 0; n++)
			printf("%s%s", n == 0 ? "\tverbs=" : ",",
			    verb_name(t->verbs[n]));
		if (k->counts != NULL)
			printf("\t%s=%u", k->counts, t->low);
		if (k->width[1] != 0)
			printf("-%u", t->high);
		if (t->byte != 0)
			printf("\tbyte=0x%02x", (unsigned)t->byte);
		if (k->variants != 0)
			printf("\tvariant=%u", t->variant);
		putchar('\n');
	}
	printf("alice\tpassword=%s\n", auth_password());
}

/* -------------------------------------------------------------------------- */

const struct trigger *
bug_trigger(enum bug_id id)
{
	return &triggers[id];
}

int
bug_in_range(enum bug_id id, size_t length)
{
	return length >= triggers[id].low && length <= triggers[id].high;
}

int
bug_fires(enum bug_id id)
{
	return chosen[id] && random() % 100 < flake;
}

static int
is_for(enum bug_id id, enum verb verb)
{
	return triggers[id].verbs[0] == verb;
}

/* Whether the commands up to this one are those of the trigger. */
static int
is_sequence(enum bug_id id, const struct client *c, enum verb verb, int n)
{
	int i;

	for (i = 0; i < n - 1; i++)
		if (c->session.before[i] != triggers[id].verbs[n - 2 - i])
			return 0;
	return triggers[id].verbs[n - 1] == verb;
}

/* Whether a byte makes a bug fire. */
static int
byte_fires(enum bug_id id, enum verb verb, const char *argument, size_t length)
{
	return is_for(id, verb) &&
	    memchr(argument, triggers[id].byte, length) != NULL &&
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
	    c->session.times % triggers[B_DOUBLE_REPLY].low == 0 &&
	    bug_fires(B_DOUBLE_REPLY))
		return T_TWICE;
	if (c->split > 0 && c->split <= triggers[B_SPLIT_LOST].low &&
	    is_for(B_SPLIT_LOST, verb) && bug_fires(B_SPLIT_LOST))
		return T_LOST;
	if (c->seen == 1 && triggers[B_SPLIT_CODE].variant == 1 &&
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
	if (size > UINT64_C(1) << triggers[B_LIVENESS].low &&
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
		snprintf(text, room, malformed[triggers[B_SYNTAX].variant],
		    old, old, old);
		break;
	case T_CLASS:
		snprintf(text, room, "%s", classes[triggers[B_CLASS].variant]);
		break;
	}
	return strlen(text);
}

/* What the latest client had that left something, and the latest of others. */
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

	for (i = 0; i < length && i < sizeof n->text - 1; i++)
		if (bytes[i] < ' ' || bytes[i] > '~')
			break;
	if (i == 0)
		return;
	if (n->client != c->id)
		n[1] = n[0];
	n->client = c->id;
	memcpy(n->text, bytes, i);
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
