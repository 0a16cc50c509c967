/* An SMTP server with planted bugs, for a fuzzer to find: planted.c listens and
 * moves bytes; plantedline.c, plantedsmtp.c and plantedauth.c speak SMTP;
 * planteddraw.c draws what triggers the bugs, plantedbugs.c does their harm;
 * plantedcase.c writes a case that triggers one. */
#ifndef PLANTED_H
#define PLANTED_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <openssl/ssl.h>

enum verb {
	V_UNKNOWN, V_EHLO, V_HELO, V_MAIL, V_RCPT, V_DATA, V_BDAT, V_RSET,
	V_NOOP, V_VRFY, V_EXPN, V_HELP, V_AUTH, V_STARTTLS, V_ETRN, V_QUIT,
	VERBS
};

enum bug_id {
	B_CRASH_SEQUENCE, B_CRASH_LENGTH, B_EXIT_BYTE, B_SANITIZER,
	B_HANG_SESSION, B_HANG_SERVER, B_LIVENESS, B_DROP, B_SYNTAX,
	B_CR_DESYNC, B_DOUBLE_REPLY, B_DOT_DESYNC, B_SPLIT_LOST, B_SPLIT_CODE,
	B_PIPELINE_LOST, B_CLASS, B_STATE_RCPT, B_STATE_DATA, B_STATE_NESTED,
	B_AUTH_CANCEL, B_AUTH_NULL, B_INJECTION, B_LEAK, B_LEAK_UNINITIALISED,
	B_MEMORY, BUGS
};

/* What a bug does to the reply of the command at hand. */
enum twist { T_NONE, T_LOST, T_TWICE, T_OTHER, T_MALFORMED, T_CLASS };

#define MOST_VERBS 4

/* What triggers a bug: of these fields, those that its kind has. */
struct trigger {
	enum verb verbs[MOST_VERBS];
	unsigned low, high;	/* a length, or a number of times */
	int byte;
	unsigned variant;
};

enum mode { M_COMMAND, M_RESPONSE, M_MESSAGE, M_CHUNK };
enum exchange { X_PLAIN, X_LOGIN_USER, X_LOGIN_PASSWORD };

#define COMMAND_MAX 2048	/* bytes of a line, CR LF included */
#define RESPONSE_MAX 12288	/* RFC 4954, 4.3 */
#define SIZE_MAXIMUM 10485760	/* of a message */
#define ERRORS_MAX 200

/* What STARTTLS makes forget. */
struct session {
	enum verb greeted;	/* by EHLO or HELO; or V_UNKNOWN */
	int mail, recipients;
	int chunked;		/* BDAT has begun the message */
	int authenticated;
	uint64_t size;		/* of the message so far */
	enum exchange exchange;
	int known;		/* LOGIN was given the name of our user */
	enum verb before[MOST_VERBS];	/* the verbs so far, the latest first */
	unsigned times;		/* how often the latest came in a row */
	int auth_failed;	/* the latest AUTH did */
	int code;		/* of the latest reply */
	int rcpt_is_open;	/* as B_STATE_RCPT has it */
};

struct client {
	int fd;
	unsigned long id;
	SSL *ssl;		/* NULL in clear */
	int starttls;		/* once the output is sent, TLS begins */
	int shaking;		/* hands, for TLS */
	int wants_write;	/* TLS does, to go on */
	time_t heard;		/* when it last sent something */
	int mute;		/* nothing is answered any more */
	int ending;		/* nothing is read any more, */
	int ended;		/* and all is sent */
	int errors;

	enum mode mode;
	char line[RESPONSE_MAX];
	size_t length;		/* of the line so far, CR included */
	int overlong;		/* the rest of the line is dropped */
	uint64_t tail;		/* the latest bytes of a message */
	uint64_t chunk;		/* octets still to come */
	int last;		/* it is the last chunk, */
	const char *refusal;	/* and gets this; or NULL */

	size_t seen;		/* bytes of this segment, this one included */
	size_t split;		/* where the line was split first, or 0 */
	unsigned commands;	/* of this segment, so far */
	enum twist twist;
	char *smuggled;		/* clear text that came behind STARTTLS */
	size_t smuggled_size;

	char *out;
	size_t used, sent, room;
	struct session session;
};

/* plantedline.c */
void smtp_input(struct client *c, const char *bytes, size_t size);
void smtp_secured(struct client *c);

/* plantedsmtp.c */
enum verb verb_of(const char *line, size_t length);
const char *verb_name(enum verb verb);
void smtp_greet(struct client *c);
void smtp_idle(struct client *c);
void smtp_reply(struct client *c, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
int smtp_is_printable(const char *text, int blanks);
void smtp_command(struct client *c, enum verb verb, char *argument);
void smtp_finish_message(struct client *c);
void smtp_finish_chunk(struct client *c);

/* plantedauth.c: an argument is NULL where there is none. */
const char *auth_password(void);
void auth_begin(struct client *c, char *argument);
void auth_respond(struct client *c, const char *text);
void auth_cancel(struct client *c);

/* planted.c */
void client_write(struct client *c, const char *bytes, size_t size);
void stop_listening(void);

/* planteddraw.c */
uint64_t draw(const char *what, unsigned turn);
void bugs_draw(const char *key);
int bugs_choose(const char *names);	/* -1: there is no such bug */
void bugs_set_flake(int percent);
void bugs_list(void);
void bugs_explain(void);
int bug_find(const char *name);		/* -1: there is none */
const struct trigger *bug_trigger(enum bug_id id);
int bug_in_range(enum bug_id id, size_t length);
int bug_fires(enum bug_id id);		/* it is on, and not flaky now */

/* plantedbugs.c */
int bugs_command(struct client *c, enum verb verb, const char *argument,
    size_t length);			/* 1: there is nothing to answer */
void bugs_bdat(uint64_t size);
size_t bugs_twisted(enum twist twist, char *text, size_t room);
void bugs_note(const struct client *c, enum bug_id id, const char *bytes,
    size_t length);
const char *bugs_noted(const struct client *c, enum bug_id id);

/* plantedcase.c */
void case_write(enum bug_id id);

#endif
