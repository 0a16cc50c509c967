/* The server's end of a SASL exchange (RFC 4422). */
#include "saslconn.h"

#include <limits.h>
#include <string.h>
#include <strings.h>

#include "fail.h"

/* What a table of users can serve. Without a list libsasl leads with
 * Kerberos and offers NTLM. */
static const char mechanisms[] =
	"SCRAM-SHA-512 SCRAM-SHA-256 SCRAM-SHA-1 DIGEST-MD5 CRAM-MD5 "
	"PLAIN LOGIN EXTERNAL";

/* SASL_CB_PROXY_POLICY: anybody may act for anybody here; who acts for whom
 * is judged in Lua, which knows both names. */
static int
allow(sasl_conn_t *conn, void *context, const char *user, unsigned ulen,
	const char *auth, unsigned alen, const char *realm, unsigned rlen,
	struct propctx *properties)
{
	(void)conn, (void)context, (void)user, (void)ulen, (void)auth;
	(void)alen, (void)realm, (void)rlen, (void)properties;
	return SASL_OK;
}

/* Adds an option unless the script gave it: so nothing in the host's
 * configuration reaches our servers, and sasldb is not consulted. */
static void
option(lua_State *L, struct conn *c, const char *name, const char *value)
{
	if (item_find(c->options, name))
		return;
	if (!item_add(&c->options, name, value, strlen(value)))
		luaL_error(L, "not enough memory");
	c->options->asked = 1;		/* ours is nobody's mistake */
}

/* sasl.server{…} -> server | nil, message, "SASL"
 * service ("smtp"), host ("localhost"), realm (nil: names have none),
 * mechanisms (names separated by blanks; default: all that a table of users
 * can serve, and EXTERNAL with an external_name), users {name=password},
 * options minssf maxssf external_ssf external_name maxbufsize binding iplocal
 * ipremote as in sasl.client. GSSAPI needs a keytab (KRB5_KTNAME, or the
 * option keytab of the first server). One server is one exchange. */
int
saslserver_new(lua_State *L)
{
	struct conn *c;
	const char *service, *host, *realm, *list, *local, *remote;
	int status;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	c = saslconn_push(L, SASL_SERVER);
	lua_getfield(L, 1, "users");
	item_read(L, &c->users, "users");
	service = field_text(L, "service");
	host = field_text(L, "host");
	realm = field_text(L, "realm");
	list = field_text(L, "mechanisms");
	local = field_text(L, "iplocal");
	remote = field_text(L, "ipremote");
	option(L, c, "mech_list", list ? list : mechanisms);
	option(L, c, "auxprop_plugin", "smtptest");
	option(L, c, "pwcheck_method", "auxprop");
	auxprop_attach(c);
	saslconn_callback(c, SASL_CB_PROXY_POLICY, SASL_PROC(allow), NULL);
	status = saslstart(c->options, 1);
	if (status == SASL_OK)
		status = sasl_server_new(service ? service : "smtp",
			host ? host : "localhost", realm, local, remote,
			c->callbacks, 0, &c->sasl);
	if (status == SASL_OK)
		status = saslconn_secure(L, c);
	if (status != SASL_OK)
		return saslconn_fail(L, c, status);
	lua_settop(L, 2);
	return 1;
}

/* Whether a mechanism has a -PLUS form (RFC 5801 section 4, RFC 5802). */
static int
binds(const char *name)
{
	return strncmp(name, "SCRAM-", 6) == 0 || strncmp(name, "GS2-", 4) == 0;
}

/* server:mechanisms() -> list of the names to offer, strongest first; with a
 * binding also those with -PLUS; empty when the limits leave none */
static int
server_mechanisms(lua_State *L)
{
	struct conn *c = luaL_checkudata(L, 1, SASL_SERVER);
	const char *list = "";
	lua_Integer n = 1;
	int status;

	if (!c->sasl)
		return fail_closed(L);
	lua_newtable(L);
	/* Where all names have a -PLUS form, libsasl 2.1.28 writes one byte
	 * behind its list: it must not know of the binding here. */
	if (c->bound)
		sasl_setprop(c->sasl, SASL_CHANNEL_BINDING, NULL);
	status = sasl_listmech(c->sasl, NULL, "", " ", "", &list, NULL, NULL);
	if (c->bound)
		sasl_setprop(c->sasl, SASL_CHANNEL_BINDING, &c->binding);
	while (status == SASL_OK && *list) {
		size_t size = strcspn(list, " ");

		lua_pushlstring(L, list, size);
		if (c->bound && binds(list)) {
			lua_pushfstring(L, "%s-PLUS", lua_tostring(L, -1));
			lua_rawseti(L, -3, n++);
		}
		if (c->binding.critical)
			lua_pop(L, 1);
		else
			lua_rawseti(L, -2, n++);
		list += size + (list[size] == ' ');
	}
	return 1;
}

/* Pushes what libsasl said to a message of the client. */
static int
answer(lua_State *L, struct conn *c, const char *out, unsigned size)
{
	if (c->status != SASL_OK && c->status != SASL_CONTINUE) {
		c->stage = FAILED;
		saslconn_fail(L, c, c->status);
		lua_pushinteger(L, c->status);
		return 4;
	}
	c->stage = c->status == SASL_OK ? DONE : STARTED;
	lua_pushboolean(L, 1);
	if (out && size)
		lua_pushlstring(L, out, size);
	else if (c->stage == STARTED)
		lua_pushliteral(L, "");
	else
		lua_pushnil(L);
	lua_pushboolean(L, c->stage == DONE);
	return 3;
}

/* The first message of OTP names the user whose secret is made now. */
static void
prepare(struct conn *c, const char *message, size_t size)
{
	if (c->otp && message) {
		c->otp = 0;
		auxprop_otp(c, message, size);
	}
}

/* server:start(mechanism[, initial]) -> true, challenge, done
 * | nil, message, "NOMECH"|"SASL", number of sasl.h
 * initial: nil for none, which "" is not. challenge: nil only when done.
 * After NOMECH another mechanism may be started. */
static int
server_start(lua_State *L)
{
	struct conn *c = luaL_checkudata(L, 1, SASL_SERVER);
	size_t before, length = 0;
	const char *name = luaL_checklstring(L, 2, &before);
	const char *initial = luaL_optlstring(L, 3, NULL, &length);
	const char *out = NULL;
	unsigned size = 0;

	if (!c->sasl)
		return fail_closed(L);
	if (c->stage != FRESH || length > INT_MAX) {
		fail_code(L, "SASL", "%s", length > INT_MAX ?
			"response too long" : "the exchange has begun");
		lua_pushinteger(L, SASL_BADPARAM);
		return 4;
	}
	if (strlen(name) != before) {
		saslconn_fail(L, c, SASL_NOMECH);
		lua_pushinteger(L, SASL_NOMECH);
		return 4;
	}
	c->otp = strcasecmp(name, "OTP") == 0;
	prepare(c, initial, length);
	c->status = sasl_server_start(c->sasl, name, initial,
		(unsigned)length, &out, &size);
	answer(L, c, out, size);
	if (c->status == SASL_NOMECH)
		c->stage = FRESH;
	return c->stage == STARTED || c->stage == DONE ? 3 : 4;
}

/* server:step(response) -> as start */
static int
server_step(lua_State *L)
{
	struct conn *c = luaL_checkudata(L, 1, SASL_SERVER);
	size_t length;
	const char *response = luaL_checklstring(L, 2, &length);
	const char *out = NULL;
	unsigned size = 0;

	if (!c->sasl)
		return fail_closed(L);
	if (c->stage != STARTED || length > INT_MAX) {
		fail_code(L, "SASL", "%s", length > INT_MAX ?
			"response too long" : "no exchange is open");
		lua_pushinteger(L, SASL_BADPARAM);
		return 4;
	}
	prepare(c, response, length);
	c->status = sasl_server_step(c->sasl, response, (unsigned)length,
		&out, &size);
	return answer(L, c, out, size);
}

static const luaL_Reg methods[] = {
	{ "mechanisms", server_mechanisms },
	{ "start", server_start },
	{ "step", server_step },
	{ NULL, NULL }
};

void
saslserver_open(lua_State *L)
{
	saslconn_open(L, SASL_SERVER, methods);
}
