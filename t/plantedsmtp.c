/* The commands of SMTP, as a good server answers them: RFC 5321, 1985, 2034,
 * 2920, 3030 and 3207. Where a planted bug makes it speak otherwise, the bug is asked for. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "planted.h"

static const char *const names[] = {
	"?", "EHLO", "HELO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP",
	"VRFY", "EXPN", "HELP", "AUTH", "STARTTLS", "ETRN", "QUIT"
};

const char *
verb_name(enum verb verb)
{
	return names[verb];
}

enum verb
verb_of(const char *line, size_t length)
{
	int i;

	for (i = V_UNKNOWN + 1; i < VERBS; i++)
		if (strlen(names[i]) == length &&
		    strncasecmp(line, names[i], length) == 0)
			return (enum verb)i;
	return V_UNKNOWN;
}

/* -------------------------------------------------------------------------- */

/* Lines, the last one without its end; one reply to each command. */
void
smtp_reply(struct client *c, const char *format, ...)
{
	char text[1024];
	va_list arguments;
	enum twist twist = c->twist;
	size_t size;

	c->twist = T_NONE;
	va_start(arguments, format);
	vsnprintf(text, sizeof text - 2, format, arguments);
	va_end(arguments);
	c->session.code = atoi(text);
	if (c->session.code >= 500 && ++c->errors > ERRORS_MAX) {
		strcpy(text, "421 4.7.0 Too many errors");
		c->ending = 1;
	}
	strcat(text, "\r\n");
	size = bugs_twisted(twist, text, sizeof text);
	client_write(c, text, size);
}

void
smtp_greet(struct client *c)
{
	smtp_reply(c, "220 planted.test ESMTP ready");
}

void
smtp_idle(struct client *c)
{
	smtp_reply(c, "421 4.4.2 Nothing came for too long");
	c->ending = 1;
}

static void
end_transaction(struct client *c)
{
	c->session.mail = c->session.recipients = c->session.chunked = 0;
	c->session.size = 0;
	c->session.rcpt_is_open = 0;
}

/* -------------------------------------------------------------------------- */

/* Printable ASCII, one word if no blanks are allowed. */
int
smtp_is_printable(const char *text, int blanks)
{
	for (; *text != '\0'; text++)
		if (*text > '~' || *text < (blanks ? ' ' : '!'))
			return 0;
	return 1;
}

static void
hello(struct client *c, enum verb verb, const char *argument)
{
	if (argument == NULL || !smtp_is_printable(argument, 0)) {
		smtp_reply(c, "501 5.5.4 A domain is expected");
		return;
	}
	end_transaction(c);
	c->session.greeted = verb;
	if (verb == V_HELO) {
		smtp_reply(c, "250 planted.test");
		return;
	}
	smtp_reply(c, "250-planted.test\r\n250-PIPELINING\r\n250-SIZE %d\r\n"
	    "250-8BITMIME\r\n250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n%s"
	    "250-AUTH PLAIN LOGIN\r\n250-ETRN\r\n250 HELP", SIZE_MAXIMUM,
	    c->ssl == NULL ? "250-STARTTLS\r\n" : "");
}

static void
ehlo(struct client *c, char *argument)
{
	hello(c, V_EHLO, argument);
}

static void
helo(struct client *c, char *argument)
{
	hello(c, V_HELO, argument);
}

/* Cuts the path out of WORD:<path> parameters → the first parameter, NULL for
 * bad syntax. */
static char *
cut_path(char *argument, const char *word, char **path)
{
	size_t length = strlen(word);
	int quoted = 0;
	char *p;

	if (argument == NULL || strncasecmp(argument, word, length) != 0 ||
	    argument[length] != '<' || !smtp_is_printable(argument, 1))
		return NULL;
	*path = argument + length + 1;
	for (p = *path; *p != '\0' && (quoted || *p != '>'); p++) {
		if (quoted && *p == '\\' && p[1] != '\0')
			p++;
		else if (*p == '"')
			quoted = !quoted;
		else if (!quoted && (*p == ' ' || *p == '<'))
			return NULL;
	}
	if (*p != '>' || (p[1] != ' ' && p[1] != '\0'))
		return NULL;
	*p++ = '\0';
	return p + strspn(p, " ");
}

static int
is_address(const char *path)
{
	const char *at;

	if (*path == '@')	/* a source route: RFC 5321, appendix C */
		path = strchr(path, ':') != NULL ? strchr(path, ':') + 1 : "";
	at = strrchr(path, '@');
	return strlen(path) <= 254 && at != NULL && at > path && at[1] != '\0';
}

/* One parameter of MAIL: NULL, or what it is refused with. */
static const char *
mail_parameter(const char *word)
{
	if (strncasecmp(word, "SIZE=", 5) == 0) {
		size_t digits = strspn(word + 5, "0123456789");

		if (digits == 0 || digits > 20 || word[5 + digits] != '\0')
			return "501 5.5.4 A number is expected";
		if (strtoull(word + 5, NULL, 10) > SIZE_MAXIMUM)
			return "552 5.3.4 The message is too large";
		return NULL;
	}
	if (strncasecmp(word, "BODY=", 5) == 0) {
		if (strcasecmp(word + 5, "7BIT") != 0 &&
		    strcasecmp(word + 5, "8BITMIME") != 0)
			return "501 5.5.4 There is no such body";
		return NULL;
	}
	if (strncasecmp(word, "AUTH=", 5) == 0 && word[5] != '\0')
		return NULL;
	return "555 5.5.4 There is no such parameter";
}

static void
mail(struct client *c, char *argument)
{
	struct session *s = &c->session;
	char *path, *rest, *word;
	const char *refusal = NULL;

	if (s->greeted == V_UNKNOWN) {
		smtp_reply(c, "503 5.5.1 EHLO is expected");
		return;
	}
	if (s->mail && !(s->greeted == V_HELO &&
	    s->before[0] == bug_trigger(B_STATE_NESTED)->verbs[0] &&
	    bug_fires(B_STATE_NESTED))) {
		smtp_reply(c, "503 5.5.1 There is a sender already");
		return;
	}
	rest = cut_path(argument, "FROM:", &path);
	if (rest == NULL) {
		smtp_reply(c, "501 5.5.4 FROM:<address> is expected");
		return;
	}
	if (*path != '\0' && !is_address(path)) {
		smtp_reply(c, "501 5.1.7 Not an address");
		return;
	}
	while (refusal == NULL && (word = strtok_r(rest, " ", &rest)) != NULL)
		refusal = mail_parameter(word);
	if (refusal != NULL) {
		smtp_reply(c, "%s", refusal);
		return;
	}
	end_transaction(c);
	s->mail = 1;
	bugs_note(c, B_LEAK, path, strlen(path));
	smtp_reply(c, "250 2.1.0 Sender accepted");
}

static void
rcpt(struct client *c, char *argument)
{
	struct session *s = &c->session;
	char *path, *word;

	if ((!s->mail && !(s->rcpt_is_open && bug_fires(B_STATE_RCPT))) ||
	    s->chunked) {
		smtp_reply(c, "503 5.5.1 MAIL is expected");
		return;
	}
	word = cut_path(argument, "TO:", &path);
	if (word == NULL)
		smtp_reply(c, "501 5.5.4 TO:<address> is expected");
	else if (!is_address(path) && strcasecmp(path, "postmaster") != 0)
		smtp_reply(c, "501 5.1.3 Not an address");
	else if (*word != '\0')
		smtp_reply(c, "555 5.5.4 There is no such parameter");
	else if (s->recipients >= 100)
		smtp_reply(c, "452 4.5.3 There are too many recipients");
	else {
		s->recipients++;
		smtp_reply(c, "250 2.1.5 Recipient accepted");
	}
}

static void
data(struct client *c, char *argument)
{
	struct session *s = &c->session;

	if (argument != NULL) {
		smtp_reply(c, "501 5.5.4 Nothing is expected behind it");
		return;
	}
	if ((s->recipients == 0 || s->chunked) && !(s->greeted != V_UNKNOWN &&
	    s->before[0] == bug_trigger(B_STATE_DATA)->verbs[0] &&
	    bug_fires(B_STATE_DATA))) {
		smtp_reply(c, s->mail && !s->chunked ?
		    "554 5.5.1 There is no recipient" :
		    "503 5.5.1 RCPT is expected");
		return;
	}
	c->mode = M_MESSAGE;
	c->tail = 0x0d0a;
	smtp_reply(c, "354 End it with a dot");
}

void
smtp_finish_message(struct client *c)
{
	if (c->session.size > SIZE_MAXIMUM)
		smtp_reply(c, "552 5.3.4 The message is too large");
	else
		smtp_reply(c, "250 2.6.0 Message accepted");
	end_transaction(c);
}

void
smtp_finish_chunk(struct client *c)
{
	c->mode = M_COMMAND;
	if (c->refusal != NULL)
		smtp_reply(c, "%s", c->refusal);
	else if (c->last || c->session.size > SIZE_MAXIMUM)
		smtp_finish_message(c);
	else
		smtp_reply(c, "250 2.0.0 Chunk accepted");
}

/* What is refused is read all the same, and then refused: RFC 3030, 2. */
static void
bdat(struct client *c, char *argument)
{
	struct session *s = &c->session;
	char *rest;

	if (argument == NULL || !isdigit((unsigned char)*argument) ||
	    strspn(argument, "0123456789") > 20) {
		smtp_reply(c, "501 5.5.4 A size is expected");
		return;
	}
	c->chunk = strtoull(argument, &rest, 10);
	c->last = strcasecmp(rest, " LAST") == 0;
	if (*rest != '\0' && !c->last) {
		smtp_reply(c, "501 5.5.4 Only LAST may stand behind the size");
		return;
	}
	bugs_bdat(c->chunk);
	c->refusal = s->recipients > 0 ? NULL : s->mail ?
	    "554 5.5.1 There is no recipient" : "503 5.5.1 RCPT is expected";
	if (c->refusal == NULL) {
		s->chunked = 1;
		/* Beyond the limit it does not matter how far. */
		s->size += c->chunk > SIZE_MAXIMUM ? SIZE_MAXIMUM + 1 :
		    c->chunk;
	}
	if (c->chunk > 0)
		c->mode = M_CHUNK;
	else
		smtp_finish_chunk(c);
}

static void
rset(struct client *c, char *argument)
{
	struct session *s = &c->session;

	if (argument != NULL) {
		smtp_reply(c, "501 5.5.4 Nothing is expected behind it");
		return;
	}
	end_transaction(c);
	s->rcpt_is_open = s->greeted != V_UNKNOWN && s->code >= 500 &&
	    s->before[0] == bug_trigger(B_STATE_RCPT)->verbs[0];
	smtp_reply(c, "250 2.0.0 Forgotten");
}

static void
noop(struct client *c, char *argument)
{
	(void)argument;
	smtp_reply(c, "250 2.0.0 Done");
}

static void
vrfy(struct client *c, char *argument)
{
	if (argument == NULL)
		smtp_reply(c, "501 5.5.4 A name is expected");
	else
		smtp_reply(c, "252 2.5.0 Send it, and we shall see");
}

static void
help(struct client *c, char *argument)
{
	const char *noted = bugs_noted(c, B_LEAK);

	if (argument == NULL)
		smtp_reply(c, "214-2.0.0 EHLO HELO MAIL RCPT DATA BDAT RSET "
		    "NOOP VRFY EXPN\r\n214 2.0.0 HELP AUTH STARTTLS ETRN QUIT");
	else if (noted != NULL && bug_in_range(B_LEAK, strlen(argument)) &&
	    bug_fires(B_LEAK))
		smtp_reply(c, "214 2.0.0 No help on %s", noted);
	else
		smtp_reply(c, "214 2.0.0 No help on that");
}

static void
etrn(struct client *c, char *argument)
{
	if (c->session.greeted == V_UNKNOWN)
		smtp_reply(c, "503 5.5.1 EHLO is expected");
	else if (c->session.mail)
		smtp_reply(c, "503 5.5.1 Not within a transaction");
	else if (argument == NULL || !smtp_is_printable(argument, 0))
		smtp_reply(c, "501 5.5.4 A domain is expected");
	else
		smtp_reply(c, "250 2.0.0 Queue started");
}

static void
starttls(struct client *c, char *argument)
{
	if (argument != NULL)
		smtp_reply(c, "501 5.5.4 Nothing is expected behind it");
	else if (c->ssl != NULL)
		smtp_reply(c, "503 5.5.1 TLS is there already");
	else {
		smtp_reply(c, "220 2.0.0 Begin");
		c->starttls = 1;
	}
}

static void
quit(struct client *c, char *argument)
{
	if (argument != NULL) {
		smtp_reply(c, "501 5.5.4 Nothing is expected behind it");
		return;
	}
	smtp_reply(c, "221 2.0.0 Bye");
	c->ending = 1;
}

/* -------------------------------------------------------------------------- */

static void (*const commands[])(struct client *, char *) = {
	NULL, ehlo, helo, mail, rcpt, data, bdat, rset, noop, vrfy, vrfy, help,
	auth_begin, starttls, etrn, quit
};

void
smtp_command(struct client *c, enum verb verb, char *argument)
{
	commands[verb](c, argument);
}
