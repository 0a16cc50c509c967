#include "saslconn.h"

#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sasl/saslutil.h>

#include "fail.h"
#include "object.h"

/* The layer is the one user value of a connection, and back. */
#define LAYER 1

struct item *
item_add(struct item **list, const char *name, const char *value, size_t size)
{
	size_t before = strlen(name) + 1;
	struct item *item = malloc(sizeof *item + before + size + 1);

	if (!item)
		return NULL;
	memcpy(item->name, name, before);
	item->value = item->name + before;
	if (size)
		memcpy(item->value, value, size);
	item->value[size] = '\0';
	item->asked = 0;
	item->size = size;
	item->next = *list;
	*list = item;
	return item;
}

struct item *
item_find(struct item *list, const char *name)
{
	while (list && strcasecmp(list->name, name) != 0)
		list = list->next;
	return list;
}

void
item_free(struct item **list)
{
	while (*list) {
		struct item *item = *list;

		*list = item->next;
		sasl_erasebuffer(item->value, (unsigned)item->size);
		free(item);
	}
}

void
item_read(lua_State *L, struct item **list, const char *what)
{
	if (lua_isnil(L, -1)) {
		lua_pop(L, 1);
		return;
	}
	luaL_argcheck(L, lua_istable(L, -1), 1,
		lua_pushfstring(L, "%s: table expected", what));
	for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
		const char *name, *value;
		size_t before, size;

		luaL_argcheck(L, lua_type(L, -2) == LUA_TSTRING &&
			lua_isstring(L, -1), 1,
			lua_pushfstring(L, "%s: names and strings expected",
				what));
		name = lua_tolstring(L, -2, &before);
		value = lua_tolstring(L, -1, &size);
		luaL_argcheck(L, strlen(name) == before && size < INT_MAX, 1,
			lua_pushfstring(L, "%s: zero byte in a name", what));
		if (!item_add(list, name, value, size))
			luaL_error(L, "not enough memory");
	}
	lua_pop(L, 1);
}

const char *
field_text(lua_State *L, const char *name)
{
	const char *text;
	size_t size;

	lua_getfield(L, 1, name);
	if (!lua_toboolean(L, -1))
		return NULL;
	text = lua_tolstring(L, -1, &size);
	if (!text || strlen(text) != size)
		luaL_argerror(L, 1, lua_pushfstring(L,
			"%s: string without zero bytes expected", name));
	return text;
}

unsigned
field_number(lua_State *L, const char *name, unsigned fallback)
{
	lua_Integer value;
	int whole;

	if (lua_getfield(L, 1, name) == LUA_TNIL) {
		lua_pop(L, 1);
		return fallback;
	}
	value = lua_tointegerx(L, -1, &whole);
	if (!whole || value < 0 || (lua_Unsigned)value > UINT_MAX)
		luaL_argerror(L, 1, lua_pushfstring(L,
			"%s: whole number from 0 expected", name));
	lua_pop(L, 1);
	return (unsigned)value;
}

int
item_getopt(struct item *list, const char *plugin, const char *option,
	const char **result, unsigned *size)
{
	struct item *item;

	for (item = plugin ? list : NULL; item; item = item->next) {
		size_t n = strlen(plugin);

		if (strncasecmp(item->name, plugin, n) == 0 &&
		    item->name[n] == '_' &&
		    strcasecmp(item->name + n + 1, option) == 0)
			break;
	}
	if (!item)
		item = item_find(list, option);
	if (!item)
		return SASL_FAIL;
	item->asked = 1;
	*result = item->value;
	if (size)
		*size = (unsigned)item->size;
	return SASL_OK;
}

static int
conn_getopt(void *context, const char *plugin, const char *option,
	const char **result, unsigned *size)
{
	struct conn *c = context;

	return item_getopt(c->options, plugin, option, result, size);
}

/* SASL_CB_LOG: without it libsasl writes to the system's log. Levels above
 * warnings are noise, and may show passwords. */
static int
conn_log(void *context, int level, const char *message)
{
	struct conn *c = context;
	char *copy;

	if (level <= SASL_LOG_WARN && message && (copy = strdup(message))) {
		free(c->log);
		c->log = copy;
	}
	return SASL_OK;
}

void
saslconn_callback(struct conn *c, unsigned long id, int (*proc)(void),
	void *context)
{
	sasl_callback_t *last = c->callbacks;

	while (last->id != SASL_CB_LIST_END)
		last++;
	last->id = id;
	last->proc = proc;
	last->context = context;
}

struct conn *
saslconn_push(lua_State *L, const char *type)
{
	struct conn *c = lua_newuserdatauv(L, sizeof *c, 1);

	memset(c, 0, sizeof *c);
	luaL_setmetatable(L, type);
	saslconn_callback(c, SASL_CB_GETOPT, SASL_PROC(conn_getopt), c);
	saslconn_callback(c, SASL_CB_LOG, SASL_PROC(conn_log), c);
	lua_getfield(L, 1, "options");
	item_read(L, &c->options, "options");
	lua_getfield(L, 1, "binding");
	if (lua_toboolean(L, -1)) {
		const char *kind, *data;
		size_t size;

		luaL_argcheck(L, lua_istable(L, -1), 1,
			"binding: table expected");
		lua_getfield(L, -1, "type");
		lua_getfield(L, -2, "data");
		lua_getfield(L, -3, "critical");
		kind = lua_tostring(L, -3);
		data = lua_tolstring(L, -2, &size);
		luaL_argcheck(L, kind && data, 1,
			"binding: type and data expected");
		c->binding.critical = lua_toboolean(L, -1);
		if (!item_add(&c->bound, kind, data, size))
			luaL_error(L, "not enough memory");
		c->binding.name = c->bound->name;
		c->binding.len = size;
		c->binding.data = (unsigned char *)c->bound->value;
		lua_pop(L, 3);
	}
	lua_pop(L, 1);
	return c;
}

int
saslconn_secure(lua_State *L, struct conn *c)
{
	sasl_security_properties_t limits = { 0, 0, 0, 0, NULL, NULL };
	const char *name = field_text(L, "external_name");
	sasl_ssf_t external = field_number(L, "external_ssf", 0);
	int status;

	limits.min_ssf = field_number(L, "minssf", 0);
	limits.max_ssf = field_number(L, "maxssf", 128);
	limits.maxbufsize = field_number(L, "maxbufsize", 65536);
	status = sasl_setprop(c->sasl, SASL_SEC_PROPS, &limits);
	if (status == SASL_OK)
		status = sasl_setprop(c->sasl, SASL_SSF_EXTERNAL, &external);
	if (status == SASL_OK && name)
		status = sasl_setprop(c->sasl, SASL_AUTH_EXTERNAL, name);
	if (status == SASL_OK && c->bound)
		status = sasl_setprop(c->sasl, SASL_CHANNEL_BINDING,
			&c->binding);
	lua_pop(L, 1);
	return status;
}

/* Steps over the words if the text begins with them and says more. */
static const char *
skip(const char *text, const char *words)
{
	size_t n = strlen(words);

	if (strncmp(text, words, n) == 0 && text[n] == ':' &&
	    text[n + 1] == ' ' && text[n + 2])
		return text + n + 2;
	return text;
}

const char *
saslconn_reason(struct conn *c)
{
	const char *plain = sasl_errstring(c->status, NULL, NULL);
	const char *text = c->sasl ? sasl_errdetail(c->sasl) : NULL;
	const char *rest;

	/* These two say it better than the detail, and are known words. */
	if (!text || c->status == SASL_NOMECH || c->status == SASL_TOOWEAK)
		return plain;
	if (strncmp(text, "SASL(", 5) == 0 && (rest = strstr(text, "): "))) {
		int number = atoi(text + 5);

		text = skip(rest + 3, sasl_errstring(number, NULL, NULL));
		text = skip(text, plain);
	}
	/* Left over from a question of libsasl's, not the reason. */
	if (strncmp(text, "Unable to find a callback", 25) == 0)
		return plain;
	return *text ? text : plain;
}

int
saslconn_fail(lua_State *L, struct conn *c, int status)
{
	c->status = status;
	return fail_code(L, status == SASL_NOMECH ? "NOMECH" : "SASL", "%s",
		saslconn_reason(c));
}

static struct conn *
conn_check(lua_State *L)
{
	struct conn *c = luaL_testudata(L, 1, SASL_SERVER);

	return c ? c : luaL_checkudata(L, 1, SASL_CLIENT);
}

/* end:detail() -> why the last call failed, libsasl's number for it (sasl.h;
 * 0 when it did not fail), libsasl's last log line or nil */
static int
conn_detail(lua_State *L)
{
	struct conn *c = conn_check(L);

	if (!c->sasl)
		return fail_closed(L);
	lua_pushstring(L, saslconn_reason(c));
	lua_pushinteger(L, c->status);
	lua_pushstring(L, c->log);
	return 3;
}

/* end:ssf() -> strength of the security layer in bits: 0 none (also before
 * the exchange is done), 1 integrity only; without the external strength */
static int
conn_ssf(lua_State *L)
{
	struct conn *c = conn_check(L);
	const void *ssf;

	if (!c->sasl)
		return fail_closed(L);
	if (c->stage == DONE &&
	    sasl_getprop(c->sasl, SASL_SSF, &ssf) == SASL_OK)
		lua_pushinteger(L, *(const sasl_ssf_t *)ssf);
	else
		lua_pushinteger(L, 0);
	return 1;
}

/* end:layer() -> the security layer, always the same one, or nil when none
 * was agreed (RFC 4422 section 3.7) */
static int
conn_layer(lua_State *L)
{
	struct conn *c = conn_check(L);
	const void *ssf;

	if (!c->sasl)
		return fail_closed(L);
	if (c->stage != DONE ||
	    sasl_getprop(c->sasl, SASL_SSF, &ssf) != SASL_OK ||
	    *(const sasl_ssf_t *)ssf == 0) {
		lua_pushnil(L);
		return 1;
	}
	if (lua_getiuservalue(L, 1, LAYER) != LUA_TNIL)
		return 1;
	sasllayer_push(L, c);
	lua_pushvalue(L, -1);
	lua_setiuservalue(L, 1, LAYER);
	return 1;
}

static int
push_name(lua_State *L, int property)
{
	struct conn *c = conn_check(L);
	const void *name = NULL;

	if (!c->sasl)
		return fail_closed(L);
	if (sasl_getprop(c->sasl, property, &name) != SASL_OK)
		name = NULL;
	lua_pushstring(L, name);
	return 1;
}

/* end:username() -> whom to act as (the authorization identity), or nil while
 * that is not known */
static int
conn_username(lua_State *L)
{
	return push_name(L, SASL_USERNAME);
}

/* end:authid() -> whose credentials were used, or nil while that is not known */
static int
conn_authid(lua_State *L)
{
	return push_name(L, SASL_AUTHUSER);
}

/* end:ignored() -> list of the options without effect so far, {name=, once=,
 * value=} each: libsasl did not ask for it; or, once: it asks only when it
 * starts in a process, and then it got something else, value (nil: nothing) */
static int
conn_ignored(lua_State *L)
{
	struct conn *c = conn_check(L);
	int server = luaL_testudata(L, 1, SASL_SERVER) != NULL;
	struct item *item;
	lua_Integer n = 0;

	if (!c->sasl)
		return fail_closed(L);
	lua_newtable(L);
	for (item = c->options; item; item = item->next) {
		const char *value;
		int once = saslstart_asked(server, item->name, &value);

		if (item->asked || (value && strcmp(value, item->value) == 0))
			continue;
		lua_createtable(L, 0, 3);
		lua_pushstring(L, item->name);
		lua_setfield(L, -2, "name");
		lua_pushboolean(L, once);
		lua_setfield(L, -2, "once");
		lua_pushstring(L, value);
		lua_setfield(L, -2, "value");
		lua_rawseti(L, -2, ++n);
	}
	return 1;
}

/* end:close() -> true. Wipes what was answered; its layer is closed too. */
static int
conn_close(lua_State *L)
{
	struct conn *c = conn_check(L);

	if (c->sasl)
		sasl_dispose(&c->sasl);
	/* Left behind when nobody answered; its strings belong to libsasl. */
	free(c->prompts);
	c->prompts = NULL;
	item_free(&c->answers);
	item_free(&c->options);
	item_free(&c->users);
	item_free(&c->stored);
	item_free(&c->bound);
	free(c->log);
	c->log = NULL;
	lua_pushboolean(L, 1);
	return 1;
}

static const luaL_Reg shared[] = {
	{ "detail", conn_detail },
	{ "ssf", conn_ssf },
	{ "layer", conn_layer },
	{ "username", conn_username },
	{ "authid", conn_authid },
	{ "ignored", conn_ignored },
	{ "close", conn_close },
	{ NULL, NULL }
};

void
saslconn_open(lua_State *L, const char *type, const luaL_Reg *methods)
{
	object_type(L, type, shared);
	object_type(L, type, methods);
}
