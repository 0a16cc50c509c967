/* A case of smtptest's that triggers a bug. The replies in it are those of a
 * server without the bug. */
#include <stdio.h>
#include <string.h>

#include "planted.h"

#define MESSAGE "Subject: planted\r\n\r\nOf mine\r\n"
/* A NUL alice NUL wrong */
#define WRONG "AGFsaWNlAHdyb25n"
#define FIRST 1		/* connections */
#define OTHER 2

/* What makes a verb a right command, at its time. */
static const char *const arguments[VERBS] = {
	[V_EHLO] = "fuzz.test", [V_HELO] = "fuzz.test",
	[V_MAIL] = "FROM:<a@fuzz.test>", [V_RCPT] = "TO:<b@fuzz.test>",
	[V_VRFY] = "postmaster", [V_EXPN] = "postmaster",
	[V_AUTH] = "PLAIN", [V_ETRN] = "fuzz.test"
};

static void
quote(const char *bytes, size_t length)
{
	for (; length > 0; bytes++, length--)
		if (*bytes == '\r')
			fputs("\\r", stdout);
		else if (*bytes == '\n')
			fputs("\\n", stdout);
		else if (*bytes < ' ' || *bytes > '~' || *bytes == '"' ||
		    *bytes == '\\' || *bytes == '$')
			printf("\\x%02x", (unsigned)(unsigned char)*bytes);
		else
			putchar(*bytes);
}

/* A step of these bytes, in two segments where split is not 0. */
static void
send_split(int link, const char *bytes, size_t length, size_t split)
{
	printf("c%d send \"", link);
	quote(bytes, length);
	putchar('"');
	if (split > 0)
		printf(" split %zu gap 0.05", split);
	putchar('\n');
}

static void
send_text(int link, const char *text)
{
	send_split(link, text, strlen(text), 0);
}

/* What is expected: codes, a quoted string, or "". */
static void
expect(int link, const char *words)
{
	printf("c%d reply%s%s\n", link, *words == '\0' ? "" : " ", words);
}

static void
exchange(int link, const char *text, const char *words)
{
	send_text(link, text);
	expect(link, words);
}

static void
open_connection(int link, int greet)
{
	printf("c%d connect\n", link);
	expect(link, "220");
	if (greet)
		exchange(link, "EHLO fuzz.test\r\n", "250");
}

static size_t
line_of(char *line, size_t room, enum verb verb)
{
	const char *argument = arguments[verb];

	return (size_t)snprintf(line, room, "%s%s%s\r\n", verb_name(verb),
	    argument == NULL ? "" : " ", argument == NULL ? "" : argument);
}

static void
send_verb(enum verb verb)
{
	char line[128];

	send_split(FIRST, line, line_of(line, sizeof line, verb), 0);
}

static void
exchange_verb(enum verb verb, const char *words)
{
	send_verb(verb);
	expect(FIRST, words);
}

/* A verb with an argument of that many letters. */
static void
send_long(const char *verb, size_t length)
{
	char line[COMMAND_MAX];
	size_t used = (size_t)snprintf(line, sizeof line, "%s ", verb);

	memset(line + used, 'a', length);
	memcpy(line + used + length, "\r\n", 2);
	send_split(FIRST, line, used + length + 2, 0);
}

static void
send_byte(const struct trigger *t)
{
	char line[64];

	snprintf(line, sizeof line, "%s a%ca\r\n", verb_name(t->verbs[0]),
	    t->byte);
	send_text(FIRST, line);
}

/* A right reply to a verb of the quiet ones. */
static const char *
right_reply(enum verb verb)
{
	return verb == V_VRFY || verb == V_EXPN ? "252" :
	    verb == V_HELP ? "214" : "250";
}

/* The reply to a verb with letters for an argument, at the start of a session:
 * to the byte. */
static const char *const wordy_replies[VERBS] = {
	[V_EHLO] = "\"250-planted.test\\r\\n250-PIPELINING\\r\\n"
	    "250-SIZE 10485760\\r\\n250-8BITMIME\\r\\n"
	    "250-ENHANCEDSTATUSCODES\\r\\n250-CHUNKING\\r\\n250-STARTTLS\\r\\n"
	    "250-AUTH PLAIN LOGIN\\r\\n250-ETRN\\r\\n250 HELP\\r\\n\"",
	[V_HELO] = "\"250 planted.test\\r\\n\"",
	[V_MAIL] = "\"503 5.5.1 EHLO is expected\\r\\n\"",
	[V_RCPT] = "\"503 5.5.1 MAIL is expected\\r\\n\"",
	[V_NOOP] = "\"250 2.0.0 Done\\r\\n\"",
	[V_VRFY] = "\"252 2.5.0 Send it, and we shall see\\r\\n\"",
	[V_EXPN] = "\"252 2.5.0 Send it, and we shall see\\r\\n\"",
	[V_HELP] = "\"214 2.0.0 No help on that\\r\\n\"",
	[V_AUTH] = "\"503 5.5.1 Not now\\r\\n\"",
	[V_ETRN] = "\"503 5.5.1 EHLO is expected\\r\\n\""
};

static void
begin_message(int link)
{
	open_connection(link, 1);
	exchange(link, "MAIL FROM:<a@fuzz.test>\r\n", "250");
	exchange(link, "RCPT TO:<b@fuzz.test>\r\n", "250");
	exchange(link, "DATA\r\n", "354");
}

static void
send_bytes(const struct trigger *t)
{
	open_connection(FIRST, 0);
	send_byte(t);
	expect(FIRST, "");
	exchange(FIRST, "NOOP\r\n", "250");
}

/* -------------------------------------------------------------------------- */

static void
write_death(enum bug_id id, const struct trigger *t)
{
	int i;

	if (id == B_CRASH_LENGTH) {
		open_connection(FIRST, 0);
		send_long(verb_name(t->verbs[0]), t->low);
		expect(FIRST, "");
		exchange(FIRST, "NOOP\r\n", "250");
	} else if (id == B_CRASH_SEQUENCE) {
		open_connection(FIRST, 0);
		for (i = 0; i < MOST_VERBS; i++)
			exchange_verb(t->verbs[i], "");
	} else
		send_bytes(t);
}

static void
write_hang(const struct trigger *t)
{
	open_connection(FIRST, 1);
	exchange(FIRST, "AUTH PLAIN " WRONG "\r\n", "535");
	exchange_verb(t->verbs[0], "");
	exchange_verb(t->verbs[1], "");
}

static void
write_liveness(const struct trigger *t)
{
	char line[64];

	open_connection(FIRST, 0);
	snprintf(line, sizeof line, "BDAT %llu LAST\r\n",
	    (1ULL << t->low) + 1);
	send_text(FIRST, line);
	puts("c1 pause 0.2");
	open_connection(OTHER, 0);
}

static void
write_drop(const struct trigger *t)
{
	char line[1024];
	size_t used;

	open_connection(FIRST, 1);
	used = line_of(line, sizeof line, t->verbs[0]) - 2;
	line[used++] = ' ';
	memset(line + used, 'x', t->low);
	memcpy(line + used + t->low, "\r\n", 2);
	send_split(FIRST, line, used + t->low + 2, 0);
	expect(FIRST, "");
}

static void
write_twisted(const struct trigger *t)
{
	open_connection(FIRST, 0);
	send_long(verb_name(t->verbs[0]), t->low);
	expect(FIRST, wordy_replies[t->verbs[0]]);
}

/* A lost or another reply is seen by the code of the next one. */
static void
write_quit(void)
{
	exchange(FIRST, "QUIT\r\n", "221");
}

static void
write_cr(const struct trigger *t)
{
	char line[64];

	open_connection(FIRST, 0);
	snprintf(line, sizeof line, "%s a\rNOOP\r\n", verb_name(t->verbs[0]));
	exchange(FIRST, line, "501");
	write_quit();
}

static void
write_double(const struct trigger *t)
{
	unsigned i;

	open_connection(FIRST, 0);
	for (i = 0; i < t->low; i++)
		exchange_verb(t->verbs[0], "");
	write_quit();
}

static void
write_dot(const struct trigger *t)
{
	static const char *const ends[] = {
		"a\n.\r\nNOOP\r\n.\r\n", "a\r\n.\nNOOP\r\n.\r\n",
		"a\r.\rNOOP\r\n.\r\n"
	};

	begin_message(FIRST);
	exchange(FIRST, ends[t->variant], "250");
	write_quit();
}

static void
write_split(const struct trigger *t)
{
	char line[128];

	open_connection(FIRST, 0);
	send_split(FIRST, line, line_of(line, sizeof line, t->verbs[0]),
	    t->low);
	send_text(FIRST, "QUIT\r\n");
	expect(FIRST, "");
	expect(FIRST, "221");
}

static void
write_split_code(const struct trigger *t)
{
	const char text[] = MESSAGE ".\r\n";
	char line[128];
	size_t length;

	if (t->variant == 0) {
		begin_message(FIRST);
		send_split(FIRST, text, sizeof text - 1, sizeof text - 1 - 3);
		expect(FIRST, "250");
		return;
	}
	open_connection(FIRST, 0);
	length = line_of(line, sizeof line, t->verbs[0]);
	send_split(FIRST, line, length, length - 1);
	expect(FIRST, right_reply(t->verbs[0]));
}

static void
write_pipeline(const struct trigger *t)
{
	char line[128] = "NOOP\r\n";

	open_connection(FIRST, 0);
	line_of(line + 6, sizeof line - 6, t->verbs[0]);
	send_text(FIRST, line);
	puts("c1 pause 0.05");
	send_text(FIRST, "QUIT\r\n");
	expect(FIRST, "250");
	expect(FIRST, "");
	expect(FIRST, "221");
}

static void
write_state(enum bug_id id, const struct trigger *t)
{
	char line[32];

	open_connection(FIRST, 1);
	switch (id) {
	case B_STATE_RCPT:
		snprintf(line, sizeof line, "%s\r\n", verb_name(t->verbs[0]));
		exchange(FIRST, line, "5xx");
		exchange(FIRST, "RSET\r\n", "250");
		exchange(FIRST, "RCPT TO:<b@fuzz.test>\r\n", "503");
		break;
	case B_STATE_DATA:
		exchange_verb(t->verbs[0], "2xx");
		exchange(FIRST, "DATA\r\n", "503");
		break;
	default:
		exchange(FIRST, "HELO fuzz.test\r\n", "250");
		exchange(FIRST, "MAIL FROM:<a@fuzz.test>\r\n", "250");
		exchange_verb(t->verbs[0], "2xx");
		exchange(FIRST, "MAIL FROM:<c@fuzz.test>\r\n", "503");
	}
}

static void
write_cancel(const struct trigger *t)
{
	open_connection(FIRST, 1);
	exchange_verb(t->verbs[0], "2xx");
	exchange(FIRST, t->variant == 0 ? "AUTH PLAIN\r\n" : "AUTH LOGIN\r\n",
	    "334");
	exchange(FIRST, "*\r\n", "501");
}

static void
write_null(const struct trigger *t)
{
	unsigned char bytes[256], text[512];
	char line[640];
	/* A multiple of three needs no "=". */
	size_t size = (t->low + 2 + 2) / 3 * 3;

	memset(bytes, 'a', size);
	bytes[0] = bytes[size - 1] = '\0';
	EVP_EncodeBlock(text, bytes, (int)size);
	snprintf(line, sizeof line, "AUTH PLAIN %s\r\n", (char *)text);
	open_connection(FIRST, 1);
	exchange(FIRST, line, "535");
}

static void
write_injection(void)
{
	open_connection(FIRST, 1);
	exchange(FIRST, "STARTTLS\r\nNOOP\r\n", "220");
	puts("c1 handshake");
	puts("c1 silent 0.3");
	exchange(FIRST, "EHLO fuzz.test\r\n", "250");
}

static void
write_leak(enum bug_id id, const struct trigger *t)
{
	char word[128];

	if (id == B_LEAK || t->variant == 1) {
		begin_message(OTHER);
		exchange(OTHER, MESSAGE ".\r\n", "250");
	} else {
		open_connection(OTHER, 1);
		exchange(OTHER, "AUTH PLAIN\r\n", "334");
		exchange(OTHER, WRONG "\r\n", "535");
	}
	open_connection(FIRST, 0);
	if (id == B_LEAK) {
		send_long("HELP", t->low);
		expect(FIRST, wordy_replies[V_HELP]);
		return;
	}
	memset(word, 'X', t->low);
	word[t->low] = '\0';
	send_long(word, 1);
	expect(FIRST, "\"500 5.5.1 There is no such command\\r\\n\"");
}

static void
write_memory(const struct trigger *t)
{
	int i;

	open_connection(FIRST, 1);
	for (i = 0; i < 200; i++)
		send_long(verb_name(t->verbs[0]), t->low);
	for (i = 0; i < 200; i++)
		expect(FIRST, "2xx");
}

void
case_write(enum bug_id id)
{
	const struct trigger *t = bug_trigger(id);

	puts("smtptest case 1");
	switch (id) {
	case B_CRASH_SEQUENCE:
	case B_CRASH_LENGTH:
	case B_EXIT_BYTE:
	case B_SANITIZER:
	case B_HANG_SESSION:
		write_death(id, t);
		break;
	case B_HANG_SERVER:
		write_hang(t);
		break;
	case B_LIVENESS:
		write_liveness(t);
		break;
	case B_DROP:
		write_drop(t);
		break;
	case B_SYNTAX:
	case B_CLASS:
		write_twisted(t);
		break;
	case B_CR_DESYNC:
		write_cr(t);
		break;
	case B_DOUBLE_REPLY:
		write_double(t);
		break;
	case B_DOT_DESYNC:
		write_dot(t);
		break;
	case B_SPLIT_LOST:
		write_split(t);
		break;
	case B_SPLIT_CODE:
		write_split_code(t);
		break;
	case B_PIPELINE_LOST:
		write_pipeline(t);
		break;
	case B_STATE_RCPT:
	case B_STATE_DATA:
	case B_STATE_NESTED:
		write_state(id, t);
		break;
	case B_AUTH_CANCEL:
		write_cancel(t);
		break;
	case B_AUTH_NULL:
		write_null(t);
		break;
	case B_INJECTION:
		write_injection();
		break;
	case B_LEAK:
	case B_LEAK_UNINITIALISED:
		write_leak(id, t);
		break;
	case B_MEMORY:
		write_memory(t);
		break;
	case BUGS:
		break;
	}
}
