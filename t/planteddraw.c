/* What triggers each of the planted bugs: drawn from the key, so that nobody who
 * reads this knows it. */
#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
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
	unsigned v, n = 0, of[VERBS] = { V_UNKNOWN };

	for (v = 0; v < VERBS; v++)
		if (k->verbs[turn] & 1u << v)
			of[n++] = v;
	return (enum verb)of[n == 0 ? 0 : draw(k->name, turn) % n];
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
