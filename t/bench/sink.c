/* A receiver to measure clients against: enough SMTP for one client after the
 * other, reading and dropping what they send.
 *	sink [-a]	-a: offer AUTH PLAIN, which takes any password
 * Prints its port on 127.0.0.1 and its process number, then serves until it is
 * killed. */
#include <err.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>
#include <openssl/x509.h>

struct client {
	int fd;
	SSL *ssl;		/* NULL in clear */
	size_t start, end;	/* unread bytes of buffer */
	char buffer[256 * 1024];
};

static int offer_auth;

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
	X509_free(cert);
	EVP_PKEY_free(key);
	return ctx;
}

/* Appends to the buffer; 0 when the client has gone. */
static int
fill(struct client *c)
{
	size_t room = sizeof c->buffer - c->end;
	ssize_t n;

	if (c->ssl != NULL)
		n = SSL_read(c->ssl, c->buffer + c->end, (int)room);
	else
		n = read(c->fd, c->buffer + c->end, room);
	if (n <= 0)
		return 0;
	c->end += (size_t)n;
	return 1;
}

static void
forget(struct client *c, size_t keep)
{
	memmove(c->buffer, c->buffer + c->end - keep, keep);
	c->start = 0;
	c->end = keep;
}

static int
say(struct client *c, const char *text)
{
	int size = (int)strlen(text);

	if (c->ssl != NULL)
		return SSL_write(c->ssl, text, size) == size;
	return write(c->fd, text, (size_t)size) == size;
}

/* The next line, ended by NUL instead of LF; NULL when the client has gone or
 * the line is longer than any command. */
static char *
next_line(struct client *c)
{
	char *line, *lf;

	while ((lf = memchr(c->buffer + c->start, '\n',
	    c->end - c->start)) == NULL) {
		forget(c, c->end - c->start);
		if (c->end == sizeof c->buffer || !fill(c))
			return NULL;
	}
	line = c->buffer + c->start;
	*lf = '\0';
	c->start = (size_t)(lf + 1 - c->buffer);
	return line;
}

static int
ends_data(const struct client *c, const char *dot)
{
	size_t at = (size_t)(dot - c->buffer);

	return at >= 2 && at + 2 < c->end &&
	    memcmp(dot - 2, "\r\n.\r\n", 5) == 0;
}

/* Drops everything up to CR LF . CR LF; 0 when the client has gone. */
static int
drop_data(struct client *c)
{
	static const char line_end[] = "\r\n";	/* of the DATA command */
	size_t left = c->end - c->start;
	char *dot, *from;

	if (left + 2 > sizeof c->buffer)
		return 0;
	memmove(c->buffer + 2, c->buffer + c->start, left);
	memcpy(c->buffer, line_end, 2);
	c->end = left + 2;
	from = c->buffer + 2;
	for (;;) {
		while ((dot = memchr(from, '.',
		    (size_t)(c->buffer + c->end - from))) != NULL) {
			if (ends_data(c, dot)) {
				c->start = (size_t)(dot + 3 - c->buffer);
				return 1;
			}
			from = dot + 1;
		}
		/* The end may be cut anywhere. */
		if (c->end > 4)
			forget(c, 4);
		from = c->buffer + (c->end < 2 ? c->end : 2);
		if (!fill(c))
			return 0;
	}
}

static int
is(const char *line, const char *verb)
{
	return strncasecmp(line, verb, strlen(verb)) == 0;
}

/* Answers one command; 0 ends the session. */
static int
answer(struct client *c, SSL_CTX *ctx, const char *line)
{
	if (is(line, "EHLO")) {
		return say(c, "250-sink.test\r\n") &&
		    (c->ssl != NULL || say(c, "250-STARTTLS\r\n")) &&
		    (!offer_auth || say(c, "250-AUTH PLAIN\r\n")) &&
		    say(c, "250 8BITMIME\r\n");
	} else if (is(line, "STARTTLS")) {
		if (!say(c, "220 2.0.0 go ahead\r\n"))
			return 0;
		c->start = c->end = 0;
		c->ssl = SSL_new(ctx);
		SSL_set_fd(c->ssl, c->fd);
		return SSL_accept(c->ssl) == 1;
	} else if (is(line, "AUTH PLAIN\r")) {
		return say(c, "334 \r\n") && next_line(c) != NULL &&
		    say(c, "235 2.7.0 ok\r\n");
	} else if (is(line, "AUTH PLAIN")) {
		return say(c, "235 2.7.0 ok\r\n");
	} else if (is(line, "DATA")) {
		return say(c, "354 go ahead\r\n") && drop_data(c) &&
		    say(c, "250 2.0.0 dropped\r\n");
	} else if (is(line, "QUIT")) {
		(void)say(c, "221 2.0.0 bye\r\n");
		return 0;
	}
	return say(c, "250 2.0.0 ok\r\n");
}

static void
serve(struct client *c, SSL_CTX *ctx)
{
	const char *line;

	if (say(c, "220 sink.test ESMTP\r\n"))
		while ((line = next_line(c)) != NULL && answer(c, ctx, line))
			continue;
	if (c->ssl != NULL) {
		SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
	}
	close(c->fd);
}

int
main(int argc, char **argv)
{
	static struct client client;
	struct sockaddr_in address = { .sin_family = AF_INET };
	socklen_t size = sizeof address;
	SSL_CTX *ctx = make_context();
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	offer_auth = argc > 1 && strcmp(argv[1], "-a") == 0;
	signal(SIGPIPE, SIG_IGN);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd == -1 ||
	    bind(fd, (struct sockaddr *)&address, sizeof address) == -1 ||
	    listen(fd, 16) == -1 ||
	    getsockname(fd, (struct sockaddr *)&address, &size) == -1)
		err(1, "listen");
	printf("%d %ld\n", ntohs(address.sin_port), (long)getpid());
	fflush(stdout);
	for (;;) {
		memset(&client, 0, offsetof(struct client, buffer));
		client.fd = accept(fd, NULL, NULL);
		if (client.fd == -1)
			continue;
		setsockopt(client.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		serve(&client, ctx);
	}
}
