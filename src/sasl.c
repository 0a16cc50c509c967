/* SASL (RFC 4422) by libsasl as data: no prompt, no file, no system log. */
#include "saslconn.h"

#include <limits.h>
#include <string.h>
#include <strings.h>

#include <sasl/saslplug.h>

#include "fail.h"

/* Names of prompts, in Lua and in sasl.h. */
static const struct {
	unsigned long id;
	const char *name;
} prompts[] = {
	{ SASL_CB_AUTHNAME, "authname" },
	{ SASL_CB_USER, "username" },
	{ SASL_CB_PASS, "password" },
	{ SASL_CB_GETREALM, "realm" },
	{ SASL_CB_ECHOPROMPT, "echo" },
	{ SASL_CB_NOECHOPROMPT, "noecho" },
	{ 0, NULL }
};

/* Whether libsasl, which names SCRAM-SHA-256 also when it means -PLUS, binds
 * to the channel: the first message says so (RFC 5802 section 7), and before
 * there is one, what the server offers. */
static int
binds(struct conn *c, const char *list, const char *out, unsigned size)
{
	const char *at;

	if (!c->bound || strncmp(c->mechanism, "SCRAM-", 6) != 0)
		return 0;
	if (out)
		return size > 1 && out[0] == 'p' && out[1] == '=';
	for (at = list; (at = strcasestr(at, c->mechanism)); ) {
		at += strlen(c->mechanism);
		if (strncasecmp(at, "-PLUS", 5) == 0)
			return 1;
	}
	return 0;
}

static void
push_response(lua_State *L, const char *out, unsigned size)
{
	if (out)
		lua_pushlstring(L, out, size);
	else
		lua_pushnil(L);
}

/* sasl.client{…} -> client | nil, message, "SASL"|"NOMECH"
 * service ("smtp"), host (the server's canonical name, "localhost"), iplocal
 * and ipremote ("1.2.3.4;25"); minssf, maxssf (0, 128; bits, external_ssf
 * counts), external_ssf, external_name, maxbufsize (65536 bytes); options
 * (what sasl_options names), challenge (one-time passwords are asked for),
 * proxying (only mechanisms that can act for another), binding {type=, data=,
 * critical=} (RFC 5056). One client is one exchange. */
static int
client_new(lua_State *L)
{
	struct conn *c;
	const char *service, *host, *local, *remote;
	int asks, proxying, i, status;

	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	c = saslconn_push(L, SASL_CLIENT);
	service = field_text(L, "service");
	host = field_text(L, "host");
	local = field_text(L, "iplocal");
	remote = field_text(L, "ipremote");
	lua_getfield(L, 1, "challenge");
	asks = lua_toboolean(L, -1);
	lua_getfield(L, 1, "proxying");
	proxying = lua_toboolean(L, -1);
	for (i = 0; prompts[i].name; i++)
		if (asks || (prompts[i].id != SASL_CB_ECHOPROMPT &&
		    prompts[i].id != SASL_CB_NOECHOPROMPT))
			saslconn_callback(c, prompts[i].id, NULL, NULL);
	status = saslstart(c->options, 0);
	if (status == SASL_OK)
		status = sasl_client_new(service ? service : "smtp",
			host ? host : "localhost", local, remote,
			c->callbacks, proxying ? SASL_NEED_PROXY : 0,
			&c->sasl);
	if (status == SASL_OK)
		status = saslconn_secure(L, c);
	if (status != SASL_OK)
		return saslconn_fail(L, c, status);
	lua_settop(L, 2);
	return 1;
}

/* What stands in the way of the next step, pushed as a failure; or 0. */
static int
refuse(lua_State *L, struct conn *c, enum stage wanted)
{
	static const char *const words[] = {
		"the exchange has not begun", "the exchange has begun",
		"the exchange is done", "the exchange has failed"
	};

	if (!c->sasl)
		return fail_closed(L);
	if (c->stage != wanted)
		return fail_code(L, "SASL", "%s", words[c->stage]);
	return 0;
}

/* client:start(mechanisms[, initial=true]) -> true, response, mechanism, done
 * | nil, message, "INTERACT"|"NOMECH"|"SASL", mechanism
 * mechanisms: names separated by blanks, the strongest is taken. initial:
 * false for no initial response. response: nil for none, which "" is not.
 * done: libsasl is satisfied already. INTERACT: look at prompts(), answer(),
 * and call again with the same arguments. The mechanism of a failure (or nil)
 * is the one that failed: a new client may go on with the others. */
static int
client_start(lua_State *L)
{
	struct conn *c = luaL_checkudata(L, 1, SASL_CLIENT);
	size_t length;
	const char *list = luaL_checklstring(L, 2, &length);
	int initial = lua_isnoneornil(L, 3) || lua_toboolean(L, 3);
	const char *out = NULL, *mechanism = NULL;
	unsigned size = 0;
	int bad = refuse(L, c, FRESH);

	if (bad)
		return bad;
	if (strlen(list) != length)
		return fail_code(L, "SASL", "zero byte in the mechanisms");
	c->status = sasl_client_start(c->sasl, list, &c->prompts,
		initial ? &out : NULL, initial ? &size : NULL, &mechanism);
	/* Called again with answers, libsasl does not say it again. */
	if (mechanism)
		c->mechanism = mechanism;
	if (c->status == SASL_INTERACT && c->prompts)
		return fail_code(L, "INTERACT", "the mechanism has questions");
	if (c->status != SASL_OK && c->status != SASL_CONTINUE) {
		c->stage = FAILED;
		saslconn_fail(L, c, c->status);
		lua_pushstring(L, c->mechanism);
		return 4;
	}
	c->stage = c->status == SASL_OK ? DONE : STARTED;
	lua_pushboolean(L, 1);
	push_response(L, out, size);
	lua_pushfstring(L, "%s%s", c->mechanism,
		binds(c, list, out, size) ? "-PLUS" : "");
	lua_pushboolean(L, c->stage == DONE);
	return 4;
}

/* client:step([challenge]) -> true, response, done
 * | nil, message, "INTERACT"|"SASL"
 * As start. A challenge of nil is no data. After any other failure than
 * INTERACT the exchange is over. */
static int
client_step(lua_State *L)
{
	struct conn *c = luaL_checkudata(L, 1, SASL_CLIENT);
	size_t length = 0;
	const char *challenge = luaL_optlstring(L, 2, NULL, &length);
	const char *out = NULL;
	unsigned size = 0;
	int bad = refuse(L, c, STARTED);

	if (bad)
		return bad;
	if (length > INT_MAX)
		return fail_code(L, "SASL", "challenge too long");
	c->status = sasl_client_step(c->sasl, challenge, (unsigned)length,
		&c->prompts, &out, &size);
	if (c->status == SASL_INTERACT && c->prompts)
		return fail_code(L, "INTERACT", "the mechanism has questions");
	if (c->status != SASL_OK && c->status != SASL_CONTINUE) {
		c->stage = FAILED;
		return saslconn_fail(L, c, c->status);
	}
	if (c->status == SASL_OK)
		c->stage = DONE;
	lua_pushboolean(L, 1);
	push_response(L, out, size);
	lua_pushboolean(L, c->stage == DONE);
	return 3;
}

/* Pushes the name of a prompt; numbers for those we do not know. */
static void
push_id(lua_State *L, unsigned long id)
{
	int i = 0;

	while (prompts[i].name && prompts[i].id != id)
		i++;
	if (prompts[i].name)
		lua_pushstring(L, prompts[i].name);
	else
		lua_pushfstring(L, "%d", (int)id);
}

/* client:prompts() -> list of {id="authname"|"username"|"password"|"realm"|
 * "echo"|"noecho", challenge=, prompt=, default=}: what INTERACT asks for, in
 * the mechanism's order; empty when nothing is asked */
static int
client_prompts(lua_State *L)
{
	struct conn *c = luaL_checkudata(L, 1, SASL_CLIENT);
	const sasl_interact_t *p = c->prompts;
	lua_Integer n;

	if (!c->sasl)
		return fail_closed(L);
	lua_newtable(L);
	for (n = 1; p && p->id != SASL_CB_LIST_END; p++, n++) {
		lua_createtable(L, 0, 4);
		push_id(L, p->id);
		lua_setfield(L, -2, "id");
		lua_pushstring(L, p->challenge);
		lua_setfield(L, -2, "challenge");
		lua_pushstring(L, p->prompt);
		lua_setfield(L, -2, "prompt");
		lua_pushstring(L, p->defresult);
		lua_setfield(L, -2, "default");
		lua_rawseti(L, -2, n);
	}
	return 1;
}

/* client:answer{id=string, …} -> true | nil, message, "EBADF"
 * Answers the prompts of the last INTERACT; what is missing gets its default,
 * and without one the next call fails. Only a password may contain zero
 * bytes. The copies are wiped by close. */
static int
client_answer(lua_State *L)
{
	struct conn *c = luaL_checkudata(L, 1, SASL_CLIENT);
	sasl_interact_t *p = c->prompts;

	luaL_checktype(L, 2, LUA_TTABLE);
	if (!c->sasl)
		return fail_closed(L);
	for (; p && p->id != SASL_CB_LIST_END; p++) {
		const char *text = p->defresult;
		size_t size = text ? strlen(text) : 0;
		struct item *item;

		push_id(L, p->id);
		lua_pushvalue(L, -1);
		if (lua_gettable(L, 2) != LUA_TNIL) {
			text = lua_tolstring(L, -1, &size);
			luaL_argcheck(L, text && size < INT_MAX &&
				(p->id == SASL_CB_PASS ||
				strlen(text) == size), 2,
				lua_pushfstring(L, "%s: string without zero "
					"bytes expected", lua_tostring(L, -2)));
		}
		if (text) {
			item = item_add(&c->answers, lua_tostring(L, -2),
				text, size);
			if (!item)
				return luaL_error(L, "not enough memory");
			p->result = item->value;
			p->len = (unsigned)item->size;
		}
		lua_pop(L, 2);
	}
	lua_pushboolean(L, 1);
	return 1;
}

/* Names of plug-ins, which are strings of libsasl's for its life. */
struct names {
	const char **name;	/* NULL: only counted */
	size_t count, room;
};

static void
collect(client_sasl_mechanism_t *mechanism, sasl_info_callback_stage_t stage,
	void *context)
{
	struct names *names = context;

	if (stage != SASL_INFO_LIST_MECH)
		return;
	if (names->name && names->count < names->room)
		names->name[names->count] = mechanism->plug->mech_name;
	names->count++;
}

/* sasl.mechanisms([options]) -> list of the client's mechanisms, upper case;
 * nil, message, "SASL". The first use of libsasl's client in a process starts
 * it; what it asks then, these options answer. */
static int
sasl_mechanisms(lua_State *L)
{
	struct names names = { NULL, 0, 0 };
	struct conn *c;
	size_t i;
	int status;

	lua_settop(L, 1);
	lua_createtable(L, 0, 1);
	lua_insert(L, 1);
	lua_setfield(L, 1, "options");
	c = saslconn_push(L, SASL_CLIENT);
	status = saslstart(c->options, 0);
	if (status != SASL_OK)
		return saslconn_fail(L, c, status);
	sasl_client_plugin_info(NULL, collect, &names);
	names.room = names.count;
	names.name = lua_newuserdatauv(L, (names.room + 1) *
		sizeof *names.name, 0);
	names.count = 0;
	sasl_client_plugin_info(NULL, collect, &names);
	lua_createtable(L, (int)names.room, 0);
	for (i = 0; i < names.room && i < names.count; i++) {
		lua_pushstring(L, names.name[i]);
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

/* sasl.version() -> "2.1.28" */
static int
sasl_version_string(lua_State *L)
{
	int major = 0, minor = 0, step = 0;

	sasl_version_info(NULL, NULL, &major, &minor, &step, NULL);
	lua_pushfstring(L, "%d.%d.%d", major, minor, step);
	return 1;
}

static const luaL_Reg client_methods[] = {
	{ "start", client_start },
	{ "step", client_step },
	{ "prompts", client_prompts },
	{ "answer", client_answer },
	{ NULL, NULL }
};

static const luaL_Reg functions[] = {
	{ "client", client_new },
	{ "server", saslserver_new },
	{ "mechanisms", sasl_mechanisms },
	{ "version", sasl_version_string },
	{ NULL, NULL }
};

SMTPTEST_OPEN LUAMOD_API int luaopen_smtptest_core_sasl(lua_State *L);

int
luaopen_smtptest_core_sasl(lua_State *L)
{
	saslconn_open(L, SASL_CLIENT, client_methods);
	saslserver_open(L);
	sasllayer_open(L);
	luaL_newlib(L, functions);
	return 1;
}
