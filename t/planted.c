/* An SMTP server with planted bugs, for a fuzzer to find:
 *
 *	planted --key=K [--bugs=all|none|NAME,NAME...] [--port=P] [--tls]
 *	    [--flake=PERCENT]
 *	planted --list			bugs, and the oracle that sees each
 *	planted --key=K --explain	what triggers them with this key
 *	planted --key=K --trigger=NAME	a case of smtptest's that does
 *
 * It listens on 127.0.0.1, and says on which port. With --flake a trigger works
 * only that often. The replies in a case are those of a server without the bug.
 * The exit status is 2 for bad options, 1 for what the system refuses. */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/x509.h>

#include "planted.h"

#define CLIENTS 512
#define IDLE 60			/* seconds */
#define LINGER 2		/* for the other side to close, too */
#define PENDING 65536		/* of output, after which we read no more */

static int listener = -1;
static SSL_CTX *context;
static int implicit_tls;
static struct client *clients[CLIENTS];
static size_t count;

/* A certificate for localhost that lives as long as we do. */
static SSL_CTX *
make_context(void)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_NAME *name = X509_get_subject_name(cert);

	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 86400);
	X509_set_pubkey(cert, key);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
	    (const unsigned char *)"localhost", -1, -1, 0);
	X509_set_issuer_name(cert, name);
	if (X509_sign(cert, key, EVP_sha256()) == 0 ||
	    SSL_CTX_use_certificate(ctx, cert) != 1 ||
	    SSL_CTX_use_PrivateKey(ctx, key) != 1)
		errx(1, "cannot make a certificate");
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE |
	    SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
	X509_free(cert);
	EVP_PKEY_free(key);
	return ctx;
}

static void
start_listening(int port)
{
	struct sockaddr_in address;
	socklen_t size = sizeof address;
	int one = 1;

	memset(&address, 0, sizeof address);
	address.sin_family = AF_INET;
	address.sin_port = htons((uint16_t)port);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
	    0);
	if (listener == -1 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR,
	    &one, sizeof one) == -1 ||
	    bind(listener, (struct sockaddr *)&address, size) == -1 ||
	    listen(listener, 128) == -1 ||
	    getsockname(listener, (struct sockaddr *)&address, &size) == -1)
		err(1, "cannot listen");
	printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
	fflush(stdout);
}

void
stop_listening(void)
{
	if (listener != -1)
		close(listener);
	listener = -1;
}

/* -------------------------------------------------------------------------- */

void
client_write(struct client *c, const char *bytes, size_t size)
{
	if (c->mute)
		return;
	if (c->used + size > c->room) {
		size_t room = c->room * 2 + size;
		char *out = realloc(c->out, room);

		if (out == NULL)
			err(1, "no memory");
		c->out = out;
		c->room = room;
	}
	memcpy(c->out + c->used, bytes, size);
	c->used += size;
}

static void
begin_tls(struct client *c)
{
	c->starttls = 0;
	c->shaking = 1;
	c->ssl = SSL_new(context);
	if (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1)
		errx(1, "cannot begin TLS");
	SSL_set_accept_state(c->ssl);
}

static void
accept_client(void)
{
	static unsigned long last;
	struct sockaddr_in address;
	socklen_t size = sizeof address;
	struct client *c;
	int fd, one = 1;

	fd = accept4(listener, (struct sockaddr *)&address, &size,
	    SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd == -1)
		return;
	c = calloc(1, sizeof *c);
	if (c == NULL)
		err(1, "no memory");
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	c->fd = fd;
	c->id = ++last;
	c->heard = time(NULL);
	clients[count++] = c;
	if (implicit_tls)
		begin_tls(c);
	smtp_greet(c);
}

static void
free_client(struct client *c)
{
	SSL_free(c->ssl);
	close(c->fd);
	free(c->smuggled);
	free(c->out);
	free(c);
}

/* The connection is of no more use. */
static void
give_up(struct client *c)
{
	c->ending = c->ended = 1;
	c->used = c->sent = 0;
	c->heard = 0;
}

/* After what OpenSSL refused: 0 when it only waits. */
static int
has_failed(struct client *c, int result)
{
	int error = SSL_get_error(c->ssl, result);

	ERR_clear_error();
	c->wants_write = error == SSL_ERROR_WANT_WRITE;
	return error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE;
}

static void
shake_hands(struct client *c)
{
	int result = SSL_accept(c->ssl);

	if (result == 1) {
		c->shaking = c->wants_write = 0;
		smtp_secured(c);
	} else if (has_failed(c, result))
		give_up(c);
}

/* How much went; 0 for none now, -1 for none any more. */
static ssize_t
put(struct client *c, const char *bytes, size_t size)
{
	ssize_t n;

	if (c->ssl != NULL) {
		n = SSL_write(c->ssl, bytes, (int)size);
		return n > 0 ? n : has_failed(c, (int)n) ? -1 : 0;
	}
	n = send(c->fd, bytes, size, MSG_NOSIGNAL);
	return n == -1 && errno == EAGAIN ? 0 : n;
}

static void
flush(struct client *c)
{
	ssize_t n = 1;

	while (c->sent < c->used && (n = put(c, c->out + c->sent,
	    c->used - c->sent)) > 0)
		c->sent += (size_t)n;
	if (n == -1) {
		give_up(c);
		return;
	}
	if (c->sent < c->used)
		return;
	c->sent = c->used = 0;
	if (c->starttls)
		begin_tls(c);
	if (c->ending && !c->ended) {
		c->ended = 1;
		if (c->ssl != NULL)
			(void)SSL_shutdown(c->ssl);
		ERR_clear_error();
		(void)shutdown(c->fd, SHUT_WR);
		c->heard = time(NULL);
	}
}

/* Reads a segment: what is there in clear, or a record of TLS; 0: nothing. */
static int
fill(struct client *c)
{
	static char bytes[65536];
	ssize_t n;

	if (c->ssl != NULL) {
		n = SSL_read(c->ssl, bytes, sizeof bytes);
		if (n <= 0 && !has_failed(c, (int)n))
			return 0;
	} else {
		n = recv(c->fd, bytes, sizeof bytes, 0);
		if (n == -1 && errno == EAGAIN)
			return 0;
	}
	if (n <= 0) {
		c->ending = 1;
		if (n < 0)
			give_up(c);
		return 0;
	}
	c->heard = time(NULL);
	if (!c->mute)
		smtp_input(c, bytes, (size_t)n);
	return 1;
}

/* Until the other side closes, lest what we sent is lost. */
static void
linger(struct client *c)
{
	char bytes[4096];
	ssize_t n = recv(c->fd, bytes, sizeof bytes, 0);

	if (n == 0 || (n == -1 && errno != EAGAIN))
		c->heard = 0;
}

static int
may_read(const struct client *c)
{
	return !c->shaking && !c->starttls && !c->ending &&
	    c->used - c->sent < PENDING;
}

static void
serve(struct client *c, short events)
{
	if (c->ended) {
		if (events != 0)
			linger(c);
		return;
	}
	if (c->shaking && events != 0)
		shake_hands(c);
	if (!c->shaking)
		flush(c);
	/* TLS may hold records that poll(2) does not know of. */
	while (events != 0 && may_read(c) && fill(c)) {
		flush(c);
		if (c->ssl == NULL)
			break;
	}
	if (!c->shaking)
		flush(c);
}

static int
is_over(struct client *c, time_t now)
{
	if (c->ended)
		return now - c->heard >= LINGER;
	if (now - c->heard > IDLE && !c->mute) {
		c->heard = now;
		if (c->shaking || c->ending)
			return 1;
		smtp_idle(c);
		flush(c);
	}
	return 0;
}

static short
wanted(const struct client *c)
{
	if (c->ended)
		return POLLIN;
	if (c->shaking)
		return c->wants_write ? POLLOUT : POLLIN;
	return (c->sent < c->used ? POLLOUT : 0) | (may_read(c) ? POLLIN : 0);
}

static void
run(void)
{
	struct pollfd fds[CLIENTS + 1];
	size_t i, kept, known;
	time_t now;

	for (;;) {
		known = count;
		for (i = 0; i < known; i++) {
			fds[i].fd = clients[i]->fd;
			fds[i].events = wanted(clients[i]);
		}
		fds[known].fd = known < CLIENTS ? listener : -1;
		fds[known].events = POLLIN;
		fds[known].revents = 0;
		if (poll(fds, known + 1, 1000) == -1 && errno != EINTR)
			err(1, "poll");
		if (fds[known].revents != 0)
			accept_client();
		for (i = 0; i < known; i++)
			serve(clients[i], fds[i].revents);
		for (; i < count; i++)
			serve(clients[i], 0);
		now = time(NULL);
		for (i = kept = 0; i < count; i++)
			if (is_over(clients[i], now))
				free_client(clients[i]);
			else
				clients[kept++] = clients[i];
		count = kept;
	}
}

/* -------------------------------------------------------------------------- */

static int
number(const char *text, const char *what, long most)
{
	char *end;
	long value = strtol(text, &end, 10);

	if (*text == '\0' || *end != '\0' || value < 0 || value > most)
		errx(2, "--%s: not a number up to %ld: %s", what, most, text);
	return (int)value;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "key", required_argument, NULL, 'k' },
		{ "bugs", required_argument, NULL, 'b' },
		{ "port", required_argument, NULL, 'p' },
		{ "flake", required_argument, NULL, 'f' },
		{ "trigger", required_argument, NULL, 't' },
		{ "list", no_argument, NULL, 'l' },
		{ "explain", no_argument, NULL, 'e' },
		{ "tls", no_argument, &implicit_tls, 1 },
		{ NULL, 0, NULL, 0 }
	};
	const char *key = NULL, *bugs = "all", *trigger = NULL;
	int option, port = 0, flake = 100, explain = 0, id;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 0:
			break;
		case 'k':
			key = optarg;
			break;
		case 'b':
			bugs = optarg;
			break;
		case 'p':
			port = number(optarg, "port", 65535);
			break;
		case 'f':
			flake = number(optarg, "flake", 100);
			break;
		case 't':
			trigger = optarg;
			break;
		case 'l':
			bugs_list();
			return 0;
		case 'e':
			explain = 1;
			break;
		default:
			return 2;
		}
	if (key == NULL || optind < argc)
		errx(2, "usage: planted --key=K [--bugs=all|none|NAME,...] "
		    "[--port=P] [--tls] [--flake=PERCENT]");
	bugs_draw(key);
	bugs_set_flake(flake);
	if (explain) {
		bugs_explain();
		return 0;
	}
	if (trigger != NULL) {
		id = bug_find(trigger);
		if (id == -1)
			errx(2, "--trigger: no such bug: %s", trigger);
		case_write((enum bug_id)id);
		return 0;
	}
	if (bugs_choose(bugs) == -1)
		errx(2, "--bugs: no such bug: %s", bugs);
	signal(SIGPIPE, SIG_IGN);
	context = make_context();
	start_listening(port);
	run();
}
