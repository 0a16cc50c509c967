/* Where lines and messages end: segments into commands. Only CR LF ends a line,
 * only CR LF . CR LF a message. */
#include <stdlib.h>
#include <string.h>

#include "planted.h"

static void
remember(struct session *s, enum verb verb)
{
	memmove(s->before + 1, s->before,
	    sizeof s->before - sizeof s->before[0]);
	s->before[0] = verb;
}

/* What stands in no verb's way: an unknown one. */
static void
refuse_command(struct client *c, size_t length)
{
	const char *noted = bugs_noted(c, B_LEAK_UNINITIALISED);

	if (noted != NULL && bug_in_range(B_LEAK_UNINITIALISED, length) &&
	    bug_fires(B_LEAK_UNINITIALISED))
		smtp_reply(c, "500 5.5.1 There is no such command: %s", noted);
	else
		smtp_reply(c, "500 5.5.1 There is no such command");
}

/* A line without its end, a NUL behind it. */
static void
command(struct client *c, char *line, size_t length)
{
	size_t word = 0, size;
	enum verb verb;
	char *argument;

	if (memchr(line, '\n', length) != NULL ||
	    memchr(line, '\r', length) != NULL || strlen(line) != length) {
		remember(&c->session, V_UNKNOWN);
		smtp_reply(c, "501 5.5.2 No NUL, CR or LF is allowed there");
		return;
	}
	word = strcspn(line, " ");
	verb = verb_of(line, word);
	argument = line + word + (line[word] == ' ');
	size = length - (size_t)(argument - line);
	if (bugs_command(c, verb, argument, size))
		return;
	while (size > 0 && (argument[size - 1] == ' ' ||
	    argument[size - 1] == '\t'))
		argument[--size] = '\0';
	if (verb == V_UNKNOWN)
		refuse_command(c, word);
	else if (verb == V_AUTH) {
		/* Its reply may come after further lines. */
		remember(&c->session, verb);
		smtp_command(c, verb, size > 0 ? argument : NULL);
		return;
	} else
		smtp_command(c, verb, size > 0 ? argument : NULL);
	remember(&c->session, verb);
}

static void
end_line(struct client *c)
{
	size_t length = c->length;

	c->line[length] = '\0';
	c->length = 0;
	if (c->overlong) {
		c->overlong = 0;
		c->mode = M_COMMAND;
		remember(&c->session, V_UNKNOWN);
		smtp_reply(c, "500 5.5.2 The line is too long");
	} else if (c->mode == M_COMMAND)
		command(c, c->line, length);
	else if (strcmp(c->line, "*") == 0)
		auth_cancel(c);
	else if (strlen(c->line) == length)
		auth_respond(c, c->line);
	else {
		c->mode = M_COMMAND;
		smtp_reply(c, "501 5.5.2 Not base64");
	}
	c->commands++;
	c->split = 0;
}

static int
is_of(const struct client *c, enum verb verb)
{
	const char *end = memchr(c->line, ' ', c->length);

	return c->mode == M_COMMAND && verb_of(c->line, end != NULL ?
	    (size_t)(end - c->line) : c->length) == verb;
}

/* The next byte of a line. */
static void
take_text(struct client *c, char byte)
{
	size_t most = c->mode == M_COMMAND ? COMMAND_MAX : RESPONSE_MAX;
	int after_cr = c->length > 0 && c->line[c->length - 1] == '\r';

	if (after_cr && byte == '\n') {
		c->length--;
		end_line(c);
		return;
	}
	if (after_cr && !c->overlong) {
		c->length--;
		if (is_of(c, bug_trigger(B_CR_DESYNC)->verbs[0]) &&
		    bug_fires(B_CR_DESYNC))
			end_line(c);
		else
			c->length++;
	}
	/* Of what is too long, only a CR matters. */
	if (c->length + 1 == most)
		c->overlong = 1, c->length--;
	c->line[c->length++] = byte;
}

#define END UINT64_C(0x0d0a2e0d0a)	/* of a message: CR LF . CR LF */

static int
ends_message(const struct client *c)
{
	/* LF . CR LF, CR LF . LF, CR . CR */
	static const uint64_t ends[] = { 0x0a2e0d0a, 0x0d0a2e0a, 0x0d2e0d };
	static const uint64_t masks[] = { 0xffffffff, 0xffffffff, 0xffffff };
	unsigned variant = bug_trigger(B_DOT_DESYNC)->variant;

	if ((c->tail & UINT64_C(0xffffffffff)) == END)
		return 1;
	return (c->tail & masks[variant]) == ends[variant] &&
	    bug_fires(B_DOT_DESYNC);
}

static void
take(struct client *c, char byte)
{
	switch (c->mode) {
	case M_COMMAND:
	case M_RESPONSE:
		take_text(c, byte);
		break;
	case M_MESSAGE:
		c->tail = c->tail << 8 | (unsigned char)byte;
		c->session.size++;
		if (!ends_message(c))
			break;
		c->mode = M_COMMAND;
		if (c->seen <= 5 && bug_trigger(B_SPLIT_CODE)->variant == 0 &&
		    bug_fires(B_SPLIT_CODE))
			c->twist = T_OTHER;
		smtp_finish_message(c);
		break;
	case M_CHUNK:
		if (--c->chunk == 0)
			smtp_finish_chunk(c);
		break;
	}
}

/* A segment. */
void
smtp_input(struct client *c, const char *bytes, size_t size)
{
	c->commands = 0;
	if (c->split == 0)
		c->split = c->length;
	/* The beginning of a message, not its final dot. */
	if (((c->mode == M_MESSAGE && c->session.size == 0) ||
	    c->mode == M_CHUNK) &&
	    bug_trigger(B_LEAK_UNINITIALISED)->variant == 1)
		bugs_note(c, B_LEAK_UNINITIALISED, bytes, size);
	for (c->seen = 1; c->seen <= size && !c->ending && !c->starttls &&
	    !c->mute; c->seen++)
		take(c, bytes[c->seen - 1]);
	if (c->starttls && c->seen <= size && bug_fires(B_INJECTION)) {
		c->smuggled_size = size - c->seen + 1;
		c->smuggled = malloc(c->smuggled_size);
		if (c->smuggled != NULL)
			memcpy(c->smuggled, bytes + c->seen - 1,
			    c->smuggled_size);
	}
}

/* TLS has begun: what was said before counts no more. RFC 3207, 4.2. */
void
smtp_secured(struct client *c)
{
	memset(&c->session, 0, sizeof c->session);
	if (c->smuggled != NULL)
		smtp_input(c, c->smuggled, c->smuggled_size);
	free(c->smuggled);
	c->smuggled = NULL;
}
