/* What the files of smtptest.core.sasl share: sasl.c (the client),
 * saslserver.c, saslconn.c (what both ends have), sasllayer.c (the security
 * layer), saslstart.c (libsasl's start), auxprop.c (the users of a server). */
#ifndef SMTPTEST_SASLCONN_H
#define SMTPTEST_SASLCONN_H

#include <stddef.h>

#include <lua.h>
#include <lauxlib.h>
#include <sasl/sasl.h>

#define SASL_CLIENT "smtptest.core.sasl.client"
#define SASL_SERVER "smtptest.core.sasl.server"
#define SASL_LAYER "smtptest.core.sasl.layer"

/* libsasl keeps all callbacks as one type; compilers warn about the step. */
#define SASL_PROC(function) ((int (*)(void))(void (*)(void))(function))

/* A name and a value, both own copies with a NUL added; the value is wiped
 * when the list goes. Names may occur once only. */
struct item {
	struct item *next;
	int asked;		/* an option: libsasl has read it */
	size_t size;		/* of the value, in bytes */
	char *value;		/* behind the name */
	char name[];
};

enum stage { FRESH, STARTED, DONE, FAILED };

/* One end of one exchange. libsasl keeps pointers to most of this, so nothing
 * but `answers`, `stored` and `log` changes between new and close. */
struct conn {
	sasl_conn_t *sasl;	/* NULL when closed */
	enum stage stage;
	int status;		/* what libsasl said last */
	const char *mechanism;	/* client: chosen, libsasl's; or NULL */
	int otp;		/* server: OTP's first message is to come */
	struct item *options;	/* what GETOPT answers */
	struct item *users;	/* server: name and password */
	struct item *stored;	/* server: "property user", see auxprop.c */
	struct item *answers;	/* client: what prompts point to */
	struct item *bound;	/* type and bytes of the channel binding */
	char *log;		/* last warning libsasl logged, or NULL */
	sasl_interact_t *prompts;	/* client: unanswered, libsasl's */
	sasl_channel_binding_t binding;
	sasl_callback_t callbacks[10];
};

/* saslconn.c */

/* Adds a copy to the front of the list; NULL without memory. */
struct item *item_add(struct item **list, const char *name,
	const char *value, size_t size);
struct item *item_find(struct item *list, const char *name);
void item_free(struct item **list);

/* SASL_CB_GETOPT on a list: "plugin_option" wins over "option", as in
 * libsasl's own configuration files. SASL_FAIL: let others answer. */
int item_getopt(struct item *list, const char *plugin, const char *option,
	const char **result, unsigned *size);

/* Copies the table of strings at the top of the stack into the list; `what`
 * names it in the error that anything but strings raises. Pops it. */
void item_read(lua_State *L, struct item **list, const char *what);

/* Fields of the table at index 1. Text (no zero byte, NULL when nil or false)
 * lives as long as what was pushed: one value. */
const char *field_text(lua_State *L, const char *name);
unsigned field_number(lua_State *L, const char *name, unsigned fallback);

/* Pushes a new connection of that type, without its sasl_conn_t, and reads
 * what both ends take from the table at index 1: options, binding. */
struct conn *saslconn_push(lua_State *L, const char *type);

/* Adds a callback behind those that are there. */
void saslconn_callback(struct conn *c, unsigned long id, int (*proc)(void),
	void *context);

/* Sets strengths, external identity and channel binding of c->sasl from the
 * table at index 1; a result of libsasl. */
int saslconn_secure(lua_State *L, struct conn *c);

/* Why the last call failed, without libsasl's "SASL(-1): generic failure: ";
 * lives until the next call for this connection. */
const char *saslconn_reason(struct conn *c);

/* Remembers the result, pushes nil, message, "NOMECH" or "SASL". */
int saslconn_fail(lua_State *L, struct conn *c, int status);

/* The methods that both ends have, `close` and the metamethods among them. */
void saslconn_open(lua_State *L, const char *type, const luaL_Reg *methods);

/* saslstart.c */

/* Starts libsasl's half for this connection unless that was done in this
 * process; a result of libsasl. The options are asked only by the first. */
int saslstart(struct item *options, int server);

/* Whether that half asked for an option of this name when it started, and
 * what it got: NULL for no answer. */
int saslstart_asked(int server, const char *name, const char **answer);

/* saslserver.c */
int saslserver_new(lua_State *L);
void saslserver_open(lua_State *L);

/* sasllayer.c */

/* Pushes the layer of the connection at index 1, one for its life. */
void sasllayer_push(lua_State *L, struct conn *c);
void sasllayer_open(lua_State *L);

/* auxprop.c */

/* Makes our plug-in known to libsasl, after sasl_server_init. */
int auxprop_add(void);

/* Lets our plug-in find the users of this connection. */
void auxprop_attach(struct conn *c);

/* Makes OTP's secret for the user that its first message names. */
int auxprop_otp(struct conn *c, const char *message, size_t size);

#endif
