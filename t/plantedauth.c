/* AUTH, PLAIN and LOGIN: RFC 4954, 4616. There is one user, alice, whose
 * password the key gives. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/evp.h>

#include "planted.h"

#define BASE64 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

/* Into `bytes`, which has room for the text, with a NUL behind; -1 where it is
 * no base64. */
static int
decode(const char *text, char *bytes)
{
	size_t length = strlen(text), plain = strspn(text, BASE64);
	size_t pads = strspn(text + plain, "=");
	int size;

	if (length % 4 != 0 || plain + pads != length || pads > 2)
		return -1;
	size = EVP_DecodeBlock((unsigned char *)bytes,
	    (const unsigned char *)text, (int)length);
	if (size < 0)
		return -1;
	size -= (int)pads;
	bytes[size] = '\0';
	return size;
}

/* The password of alice, the only user. */
const char *
auth_password(void)
{
	static char password[32];

	if (*password == '\0')
		snprintf(password, sizeof password, "%016" PRIx64,
		    draw("password", 0));
	return password;
}

static void
judge(struct client *c, int is_right)
{
	if (is_right) {
		c->session.authenticated = 1;
		smtp_reply(c, "235 2.7.0 Welcome");
	} else {
		c->session.auth_failed = 1;
		smtp_reply(c, "535 5.7.8 Wrong name or password");
	}
}

/* An identity to act as, a name and a password, NUL between: RFC 4616. */
static void
plain(struct client *c, const char *bytes, int size)
{
	const char *end = bytes + size, *user, *password;
	size_t length;

	user = memchr(bytes, '\0', (size_t)size);
	password = user == NULL ? NULL :
	    memchr(user + 1, '\0', (size_t)(end - user - 1));
	if (password == NULL || strlen(password + 1) !=
	    (size_t)(end - password - 1)) {
		smtp_reply(c, "501 5.5.2 Not what PLAIN sends");
		return;
	}
	user++, password++;
	length = strlen(user);
	judge(c, ((*bytes == '\0' || strcmp(bytes, user) == 0) &&
	    strcmp(user, "alice") == 0 &&
	    strcmp(password, auth_password()) == 0) ||
	    (*password == '\0' && bug_in_range(B_AUTH_NULL, length) &&
	    bug_fires(B_AUTH_NULL)));
}

/* A response, still in base64. */
void
auth_respond(struct client *c, const char *text)
{
	static char bytes[RESPONSE_MAX];
	int size = decode(strcmp(text, "=") == 0 ? "" : text, bytes);

	if (bug_trigger(B_LEAK_UNINITIALISED)->variant == 0)
		bugs_note(c, B_LEAK_UNINITIALISED, text, strlen(text));
	c->mode = M_COMMAND;
	if (size == -1) {
		smtp_reply(c, "501 5.5.2 Not base64");
		return;
	}
	switch (c->session.exchange) {
	case X_PLAIN:
		plain(c, bytes, size);
		break;
	case X_LOGIN_USER:
		c->session.known = strcmp(bytes, "alice") == 0;
		c->session.exchange = X_LOGIN_PASSWORD;
		c->mode = M_RESPONSE;
		smtp_reply(c, "334 UGFzc3dvcmQ6");
		break;
	case X_LOGIN_PASSWORD:
		judge(c, c->session.known &&
		    strcmp(bytes, auth_password()) == 0);
		break;
	}
}

void
auth_cancel(struct client *c)
{
	const struct trigger *t = bug_trigger(B_AUTH_CANCEL);

	c->mode = M_COMMAND;
	/* The latest command is the AUTH itself. */
	if (c->session.before[1] == t->verbs[0] && t->variant ==
	    (c->session.exchange != X_PLAIN) && bug_fires(B_AUTH_CANCEL))
		judge(c, 1);
	else
		smtp_reply(c, "501 5.7.0 Cancelled");
}

void
auth_begin(struct client *c, char *argument)
{
	struct session *s = &c->session;
	char *initial = argument == NULL ? NULL : strchr(argument, ' ');

	if (s->greeted != V_EHLO || s->authenticated || s->mail) {
		smtp_reply(c, "503 5.5.1 Not now");
		return;
	}
	if (argument == NULL || (initial != NULL &&
	    !smtp_is_printable(initial + 1, 0))) {
		smtp_reply(c, "501 5.5.4 A mechanism is expected");
		return;
	}
	if (initial != NULL)
		*initial++ = '\0';
	s->auth_failed = 0;
	if (strcasecmp(argument, "PLAIN") == 0)
		s->exchange = X_PLAIN;
	else if (strcasecmp(argument, "LOGIN") == 0)
		s->exchange = X_LOGIN_USER;
	else {
		smtp_reply(c, "504 5.5.4 There is no such mechanism");
		return;
	}
	if (initial != NULL) {
		auth_respond(c, initial);
		return;
	}
	c->mode = M_RESPONSE;
	smtp_reply(c, "334 %s", s->exchange == X_PLAIN ? "" : "VXNlcm5hbWU6");
}
