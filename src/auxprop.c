/* The users of a server, which libsasl asks for through a plug-in of the kind
 * "auxiliary properties". One plug-in serves the process; each connection
 * brings its own users, found by a private callback. */
#include "saslconn.h"

#include <string.h>
#include <strings.h>

#include <sasl/saslplug.h>

/* A callback number that libsasl does not use. */
#define CB_USERS 0x9001

/* Never called: it marks the callback as ours. */
static int
marker(void)
{
	return SASL_OK;
}

static struct conn *
owner(sasl_server_params_t *params)
{
	const sasl_callback_t *cb = params->callbacks;

	for (; cb && cb->id != SASL_CB_LIST_END; cb++)
		if (cb->id == CB_USERS && cb->proc == marker)
			return cb->context;
	return NULL;
}

/* The user of that name. OTP's store, and a server with a realm, add
 * "@realm", which is not part of our names. */
static struct item *
user_find(struct item *users, const sasl_server_params_t *params,
	const char *name, size_t size)
{
	const char *at = memchr(name, '@', size);
	size_t rest;

	for (; users; users = users->next) {
		size_t n = strlen(users->name);

		if (n == size && memcmp(users->name, name, size) == 0)
			return users;
		if (!at || n >= size || memcmp(users->name, name, n) != 0 ||
		    name[n] != '@')
			continue;
		rest = size - n - 1;
		if ((params->user_realm && rest == params->urlen &&
		    strncasecmp(name + n + 1, params->user_realm, rest) == 0) ||
		    (params->serverFQDN && rest == params->slen &&
		    strncasecmp(name + n + 1, params->serverFQDN, rest) == 0))
			return users;
	}
	return NULL;
}

/* What a mechanism stored of a user; its key is the property and the name. */
static struct item *
stored_find(struct item *stored, const char *property, const char *user)
{
	size_t n = strlen(property);

	for (; stored; stored = stored->next)
		if (strncmp(stored->name, property, n) == 0 &&
		    stored->name[n] == ' ' &&
		    strcmp(stored->name + n + 1, user) == 0)
			return stored;
	return NULL;
}

/* An unknown user is SASL_OK without a property: SASL_NOUSER would break
 * ANONYMOUS, EXTERNAL, Kerberos names and acting for another. */
static int
auxprop_lookup(void *unused, sasl_server_params_t *params, unsigned flags,
	const char *name, unsigned size)
{
	struct conn *c = owner(params);
	const struct propval *p;
	struct item *user;

	(void)unused;
	if (!c)
		return SASL_NOUSER;
	user = user_find(c->users, params, name, size);
	if (!user)
		return SASL_OK;
	p = params->utils->prop_get(params->propctx);
	for (; p && p->name; p++) {
		/* Names that begin with "*" are the authid's. */
		int starred = p->name[0] == '*';
		const char *property = p->name + starred;
		struct item *item;

		if (starred == ((flags & SASL_AUXPROP_AUTHZID) != 0))
			continue;
		if (p->values && !(flags & SASL_AUXPROP_OVERRIDE))
			continue;
		item = strcasecmp(property, SASL_AUX_PASSWORD_PROP) == 0 ?
			user : stored_find(c->stored, property, user->name);
		if (!item)
			continue;
		if (p->values)
			params->utils->prop_erase(params->propctx, p->name);
		params->utils->prop_set(params->propctx, p->name,
			item->value, (int)item->size);
	}
	return SASL_OK;
}

/* Keeps what OTP stores for the connection's life; the password stays the one
 * we were given. A connection of the host's is not hindered. */
static int
auxprop_store(void *unused, sasl_server_params_t *params,
	struct propctx *context, const char *name, unsigned size)
{
	const struct propval *p;
	struct item *user;
	struct conn *c;

	(void)unused;
	/* Without a context, and then without params, the question is
	 * whether we store at all. */
	if (!context || !params || !(c = owner(params)))
		return SASL_OK;
	user = user_find(c->users, params, name, size);
	if (!user)
		return SASL_NOUSER;
	p = params->utils->prop_get(context);
	for (; p && p->name; p++) {
		struct item *old, **at;
		char *key;
		size_t n = strlen(p->name) + strlen(user->name) + 2;

		if (strcasecmp(p->name, SASL_AUX_PASSWORD_PROP) == 0)
			continue;
		old = stored_find(c->stored, p->name, user->name);
		for (at = &c->stored; old && *at != old; at = &(*at)->next)
			;
		if (old) {
			*at = old->next;
			old->next = NULL;
			item_free(&old);
		}
		if (!p->values || !p->values[0])
			continue;
		key = params->utils->malloc(n);
		if (!key)
			return SASL_NOMEM;
		strcpy(key, p->name);
		strcat(key, " ");
		strcat(key, user->name);
		old = item_add(&c->stored, key, p->values[0],
			strlen(p->values[0]));
		params->utils->free(key);
		if (!old)
			return SASL_NOMEM;
	}
	return SASL_OK;
}

static char plugin_name[] = "smtptest";

static sasl_auxprop_plug_t plugin = {
	.auxprop_lookup = auxprop_lookup,
	.auxprop_store = auxprop_store,
	.name = plugin_name,
};

static int
plugin_init(const sasl_utils_t *utils, int newest, int *version,
	sasl_auxprop_plug_t **plug, const char *name)
{
	(void)utils;
	(void)name;
	if (newest < SASL_AUXPROP_PLUG_VERSION)
		return SASL_BADVERS;
	*version = SASL_AUXPROP_PLUG_VERSION;
	*plug = &plugin;
	return SASL_OK;
}

int
auxprop_add(void)
{
	return sasl_auxprop_add_plugin(plugin_name, plugin_init);
}

void
auxprop_attach(struct conn *c)
{
	saslconn_callback(c, CB_USERS, marker, c);
}

int
auxprop_otp(struct conn *c, const char *message, size_t size)
{
	/* RFC 2444 section 3: authorization identity, NUL, name. */
	const char *name = size ? memchr(message, '\0', size) : NULL;
	struct item *user;

	if (!name)
		return SASL_OK;
	name++;
	size -= (size_t)(name - message);
	for (user = c->users; user; user = user->next)
		if (strlen(user->name) == size &&
		    memcmp(user->name, name, size) == 0)
			return sasl_setpass(c->sasl, user->name, user->value,
				(unsigned)user->size, NULL, 0,
				SASL_SET_CREATE);
	return SASL_OK;
}
