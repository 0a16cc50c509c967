/* The form of a reply (RFC 5321 section 4.2, RFC 2034 section 4): where it
 * ends, its code, and what is wrong with it. */
#include "fail.h"

#include <lauxlib.h>
#include <string.h>

enum {
	BAD_CODE, MIXED_CODES, ENHANCED_MISMATCH, LONG_LINE, BARE_LF, BARE_CR,
	NUL, EIGHT_BIT, CONTROL
};

static const char *const names[] = {
	"bad-code", "mixed-codes", "enhanced-mismatch", "long-line", "bare-lf",
	"bare-cr", "nul", "8bit", "control", NULL
};

#define FLAW(name) (1 << (name))
#define LINE_LIMIT 510 /* octets without CR LF, RFC 5321 section 4.5.3.1.5 */

static int
digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The length of one to three digits; 0 for none or more. */
static size_t
digits(const char *at, const char *end)
{
	size_t n = 0;

	while (at + n < end && digit(at[n]))
		n++;
	return n <= 3 ? n : 0;
}

/* The length of an enhanced status code at the beginning of a text, or 0.
 * "4.4.8.8" is none. */
static size_t
enhanced(const char *at, const char *end)
{
	const char *p = at;
	size_t n;
	int i;

	if (p == end || (*p != '2' && *p != '4' && *p != '5'))
		return 0;
	p++;
	for (i = 0; i < 2; i++) {
		if (p == end || *p != '.')
			return 0;
		n = digits(p + 1, end);
		if (n == 0)
			return 0;
		p += 1 + n;
	}
	return end - p >= 2 && p[0] == '.' && digit(p[1]) ? 0 : (size_t)(p - at);
}

static int
bytes_of(const char *at, const char *end)
{
	int flaws = 0;

	for (; at < end; at++) {
		unsigned char c = (unsigned char)*at;

		if (c >= 0x80)
			flaws |= FLAW(EIGHT_BIT);
		else if (c == '\r')
			flaws |= FLAW(BARE_CR);
		else if (c == '\0')
			flaws |= FLAW(NUL);
		else if ((c < ' ' && c != '\t') || c == 0x7f)
			flaws |= FLAW(CONTROL);
	}
	return flaws;
}

struct first {
	const char *code;     /* three digits, or NULL */
	const char *enhanced; /* of the first line that has one */
	size_t size;
};

static int
line_of(const char *at, const char *end, struct first *first, int ordinal)
{
	size_t length = (size_t)(end - at), size;
	int good = length >= 3 && digit(at[0]) && digit(at[1]) && digit(at[2]);
	int flaws = bytes_of(at, end);

	if (!good || at[0] < '2' || at[0] > '5' || at[1] > '5' ||
	    (length > 3 && at[3] != ' ' && at[3] != '-'))
		flaws |= FLAW(BAD_CODE);
	if (ordinal == 0)
		first->code = good ? at : NULL;
	else if (good != (first->code != NULL) ||
	    (good && memcmp(first->code, at, 3) != 0))
		flaws |= FLAW(MIXED_CODES);
	size = length > 4 ? enhanced(at + 4, end) : 0;
	if (size > 0) {
		if (at[4] != at[0] || (first->enhanced != NULL &&
		    (first->size != size ||
		     memcmp(first->enhanced, at + 4, size) != 0)))
			flaws |= FLAW(ENHANCED_MISMATCH);
		if (first->enhanced == NULL) {
			first->enhanced = at + 4;
			first->size = size;
		}
	}
	return length > LINE_LIMIT ? flaws | FLAW(LONG_LINE) : flaws;
}

/* The line at *at: its end without CR LF; *at goes behind it, and is NULL when
 * it has no LF. Its flaws are added. */
static const char *
next_line(const char **at, const char *end, int *flaws)
{
	const char *begin = *at;
	const char *lf = memchr(begin, '\n', (size_t)(end - begin));

	*at = lf == NULL ? NULL : lf + 1;
	if (lf == NULL)
		return end;
	if (lf > begin && lf[-1] == '\r')
		return lf - 1;
	*flaws |= FLAW(BARE_LF);
	return lf;
}

/* reply.scan(bytes[, init=1]) → position after the reply that begins at init,
 * code of its last line (0 where that has none), flaws (integer, a bit for each
 * of reply.flaws, the first is 1); nil where the reply does not end in bytes.
 * A line whose fourth byte is not "-" ends it. */
static int
reply_scan(lua_State *L)
{
	size_t length;
	const char *bytes = luaL_checklstring(L, 1, &length);
	lua_Integer init = luaL_optinteger(L, 2, 1);
	const char *line, *at, *stop, *end = bytes + length;
	struct first first = {NULL, NULL, 0};
	int flaws = 0, ordinal = 0;

	luaL_argcheck(L, init >= 1, 2, "must be positive");
	at = (lua_Unsigned)init > length ? NULL : bytes + init - 1;
	do {
		line = at;
		stop = at == NULL ? NULL : next_line(&at, end, &flaws);
		if (at == NULL) {
			lua_pushnil(L);
			return 1;
		}
		flaws |= line_of(line, stop, &first, ordinal++);
	} while (stop - line >= 4 && line[3] == '-');
	lua_pushinteger(L, at - bytes + 1);
	lua_pushinteger(L, stop - line >= 3 && digit(line[0]) &&
	    digit(line[1]) && digit(line[2]) ?
	    (line[0] - '0') * 100 + (line[1] - '0') * 10 + line[2] - '0' : 0);
	lua_pushinteger(L, flaws);
	return 3;
}

/* reply.lint(bytes) → flaws of all the lines as those of one reply; the last
 * need not end. */
static int
reply_lint(lua_State *L)
{
	size_t length;
	const char *bytes = luaL_checklstring(L, 1, &length);
	const char *line, *stop, *at = bytes, *end = bytes + length;
	struct first first = {NULL, NULL, 0};
	int flaws = 0, ordinal = 0;

	do {
		line = at;
		stop = next_line(&at, end, &flaws);
		flaws |= line_of(line, stop, &first, ordinal++);
	} while (at != NULL && at < end);
	lua_pushinteger(L, flaws);
	return 1;
}

static const luaL_Reg functions[] = {
	{"scan", reply_scan},
	{"lint", reply_lint},
	{NULL, NULL},
};

SMTPTEST_OPEN LUAMOD_API int
luaopen_smtptest_core_reply(lua_State *L)
{
	int i;

	luaL_newlib(L, functions);
	lua_newtable(L);
	for (i = 0; names[i] != NULL; i++) {
		lua_pushstring(L, names[i]);
		lua_rawseti(L, -2, i + 1);
	}
	lua_setfield(L, -2, "flaws");
	return 1;
}
