/* What OpenSSL tells a TLS layer while it runs: problems of certificates,
 * sessions, handshake states. Its callbacks may not touch Lua, so they leave
 * notes in the layer, which tlsinfo.c reads. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tls.h"

static struct note *
note_new(struct notes *notes, const void *bytes, size_t size)
{
	struct note *note = OPENSSL_zalloc(sizeof *note + size + 1);

	if (note == NULL)
		return NULL;
	if (bytes != NULL)
		memcpy(note->bytes, bytes, size);
	note->size = size;
	*notes->last = note;
	notes->last = &note->next;
	return note;
}

void
tls_forget(struct notes *notes)
{
	struct note *note = notes->first;

	if (note == NULL)
		return;
	notes->first = note->next;
	if (notes->first == NULL)
		notes->last = &notes->first;
	OPENSSL_free(note->issuer);
	/* A session is a secret. */
	OPENSSL_clear_free(note, sizeof *note + note->size + 1);
}

void
tls_forgetall(struct notes *notes)
{
	while (notes->first != NULL)
		tls_forget(notes);
}

/* What OpenSSL calls. None of these may touch Lua. */

static struct layer *
layer_of(X509_STORE_CTX *store)
{
	int index = SSL_get_ex_data_X509_STORE_CTX_idx();

	return SSL_get_app_data((SSL *)X509_STORE_CTX_get_ex_data(store, index));
}

static void
layer_problem(struct layer *l, X509_STORE_CTX *store, int again)
{
	X509 *cert = X509_STORE_CTX_get_current_cert(store);
	char *subject = NULL;
	struct note *note;

	if (cert != NULL)
		subject = X509_NAME_oneline(X509_get_subject_name(cert), NULL, 0);
	note = note_new(&l->problems, subject,
	    subject != NULL ? strlen(subject) : 0);
	OPENSSL_free(subject);
	if (note == NULL)
		return;
	note->code = X509_STORE_CTX_get_error(store);
	note->depth = X509_STORE_CTX_get_error_depth(store);
	note->again = again;
	if (cert != NULL)
		note->issuer = X509_NAME_oneline(X509_get_issuer_name(cert),
		    NULL, 0);
}

/* Goes on after every problem, so that all of them are heard of. */
int
tls_onverify(int ok, X509_STORE_CTX *store)
{
	if (X509_STORE_CTX_get_error(store) != X509_V_OK)
		layer_problem(layer_of(store), store, ok);
	return 1;
}

/* Judges the whole chain and only then says no, if a no is wanted. */
static int
on_judge(X509_STORE_CTX *store, void *unused)
{
	struct layer *l = layer_of(store);
	int ok = X509_verify_cert(store);

	(void)unused;
	if (ok <= 0 && X509_STORE_CTX_get_error(store) == X509_V_OK)
		X509_STORE_CTX_set_error(store, X509_V_ERR_UNSPECIFIED);
	if (l->problems.first != NULL)
		X509_STORE_CTX_set_error(store, l->problems.first->code);
	else if (ok <= 0)
		layer_problem(l, store, 0);
	/* The result and not the list: that may have failed to grow. */
	return !l->verify || X509_STORE_CTX_get_error(store) == X509_V_OK;
}

/* Serialised at once: SSL_free marks the live session as not resumable when
 * no close_notify was sent. */
static int
on_session(SSL *ssl, SSL_SESSION *session)
{
	struct layer *l = SSL_get_app_data(ssl);
	int size = i2d_SSL_SESSION(session, NULL);
	struct note *note;
	unsigned char *end;

	if (size <= 0)
		return 0;
	note = note_new(&l->sessions, NULL, size);
	if (note == NULL)
		return 0;
	end = (unsigned char *)note->bytes;
	i2d_SSL_SESSION(session, &end);
	return 0;
}

static void
layer_state(struct layer *l, const char *format, ...)
{
	char state[TLS_REASON];
	va_list args;

	va_start(args, format);
	vsnprintf(state, sizeof state, format, args);
	va_end(args);
	note_new(&l->states, state, strlen(state));
}

/* Handshake states and alerts, in the words of openssl s_client -state. */
void
tls_onstate(const SSL *ssl, int where, int value)
{
	struct layer *l = SSL_get_app_data(ssl);
	const char *side = where & SSL_ST_CONNECT ? "SSL_connect" :
	    where & SSL_ST_ACCEPT ? "SSL_accept" : "undefined";

	if (where & SSL_CB_LOOP)
		layer_state(l, "%s:%s", side, SSL_state_string_long(ssl));
	else if (where & SSL_CB_ALERT)
		layer_state(l, "SSL3 alert %s:%s:%s",
		    where & SSL_CB_READ ? "read" : "write",
		    SSL_alert_type_string_long(value),
		    SSL_alert_desc_string_long(value));
	else if (where & SSL_CB_EXIT && value == 0)
		layer_state(l, "%s:failed in %s", side,
		    SSL_state_string_long(ssl));
	else if (where & SSL_CB_EXIT && value < 0 && SSL_want_nothing(ssl))
		layer_state(l, "%s:error in %s", side,
		    SSL_state_string_long(ssl));
}

void
tls_hooks(SSL_CTX *ctx, int server)
{
	SSL_CTX_set_cert_verify_callback(ctx, on_judge, NULL);
	if (server)
		return;
	SSL_CTX_set_session_cache_mode(ctx,
	    SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, on_session);
}
