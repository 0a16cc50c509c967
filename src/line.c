/* Byte work that is too slow in Lua: lines, dots, and bytes to show. */
#include "fail.h"

#include <lauxlib.h>
#include <stdint.h>
#include <string.h>

static int
lower(unsigned char c)
{
	return c >= 'A' && c <= 'Z' ? c + 32 : c;
}

/* ASCII only, whatever the locale: verbs are ASCII (RFC 5321 section 2.4). */
static int
equal(const char *a, const char *b, size_t length)
{
	while (length > 0 &&
	    lower((unsigned char)*a) == lower((unsigned char)*b)) {
		a++;
		b++;
		length--;
	}
	return length == 0;
}

static const char *
after_lf(const char *at, const char *end)
{
	const char *lf = memchr(at, '\n', (size_t)(end - at));

	return lf == NULL ? NULL : lf + 1;
}

/* line.find(bytes, word[, init=1[, atstart=true]]) → the first position from
 * init on where a line begins with word (ASCII letters in either case), or
 * nil. A line begins after LF, and at init when atstart. */
static int
line_find(lua_State *L)
{
	size_t length, size;
	const char *bytes = luaL_checklstring(L, 1, &length);
	const char *word = luaL_checklstring(L, 2, &size);
	lua_Integer init = luaL_optinteger(L, 3, 1);
	int atstart = lua_isnoneornil(L, 4) || lua_toboolean(L, 4);
	const char *at, *end = bytes + length;

	luaL_argcheck(L, init >= 1, 3, "must be positive");
	at = (lua_Unsigned)init > length ? NULL : bytes + init - 1;
	if (at != NULL && !atstart)
		at = after_lf(at, end);
	while (at != NULL && (size_t)(end - at) >= size) {
		if (equal(at, word, size)) {
			lua_pushinteger(L, at - bytes + 1);
			return 1;
		}
		at = after_lf(at, end);
	}
	lua_pushnil(L);
	return 1;
}

static int
is_letter(int c)
{
	return lower((unsigned char)c) >= 'a' && lower((unsigned char)c) <= 'z';
}

static int
is_alphanumeric(int c)
{
	return is_letter(c) || (c >= '0' && c <= '9');
}

static int
is_blank(int c)
{
	return c == ' ' || c == '\t';
}

/* line.command(bytes) → verb, argument of a command line with its end (RFC
 * 5321 section 4.1.1): the verb in upper case, the blanks at the end taken
 * away; verb is nil when the line does not begin with letters and a blank.
 * nil, nil, "end" for a line that does not end in CR LF, nil, nil, "control"
 * for one with a NUL or another CR or LF. */
static int
line_command(lua_State *L)
{
	size_t length, verb = 0;
	const char *bytes = luaL_checklstring(L, 1, &length), *at;
	char *upper;
	luaL_Buffer b;

	if (length < 2 || memcmp(bytes + length - 2, "\r\n", 2) != 0) {
		lua_pushnil(L);
		lua_pushnil(L);
		lua_pushliteral(L, "end");
		return 3;
	}
	length -= 2;
	for (at = bytes; at < bytes + length; at++)
		if (*at == '\0' || *at == '\r' || *at == '\n') {
			lua_pushnil(L);
			lua_pushnil(L);
			lua_pushliteral(L, "control");
			return 3;
		}
	while (length > 0 && is_blank(bytes[length - 1]))
		length--;
	while (verb < length && is_letter(bytes[verb]))
		verb++;
	if (verb == 0 || (verb < length && bytes[verb] != ' ')) {
		lua_pushnil(L);
		lua_pushlstring(L, bytes, length);
		return 2;
	}
	upper = luaL_buffinitsize(L, &b, verb);
	for (at = bytes; at < bytes + verb; at++)
		*upper++ = (char)(*at >= 'a' ? *at - 32 : *at);
	luaL_pushresultsize(&b, verb);
	verb += verb < length;
	lua_pushlstring(L, bytes + verb, length - verb);
	return 2;
}

/* Length of a run of letters and digits with single dots, or hyphens where
 * they are allowed, between; 0 when it does not end in front of `stop`. */
static size_t
run_length(const char *at, const char *end, int hyphens, int stop)
{
	const char *from = at;

	for (; at < end && *at != stop; at++)
		if (!is_alphanumeric(*at) && (at == from ||
		    !is_alphanumeric(at[-1]) ||
		    (*at != '.' && !(hyphens && *at == '-'))))
			return 0;
	return at < end && at > from && is_alphanumeric(at[-1]) ?
	    (size_t)(at - from) : 0;
}

/* line.mailbox(argument, word) → the address of an argument of MAIL or RCPT as
 * nearly all are: word, ":<", letters and digits on both sides of the @, ">",
 * nothing else. nil for any other, good or bad. */
static int
line_mailbox(lua_State *L)
{
	size_t length, size, name, domain;
	const char *bytes = luaL_checklstring(L, 1, &length);
	const char *word = luaL_checklstring(L, 2, &size);
	const char *at = bytes + size + 2, *end = bytes + length;

	/* 63: no label can be too long. */
	if (length < size + 2 || length > size + 63 ||
	    !equal(bytes, word, size) || memcmp(bytes + size, ":<", 2) != 0)
		return 0;
	name = run_length(at, end, 0, '@');
	if (name == 0)
		return 0;
	domain = run_length(at + name + 1, end, 1, '>');
	if (domain == 0 || at + name + 1 + domain + 1 != end)
		return 0;
	lua_pushlstring(L, at, name + 1 + domain);
	return 1;
}

/* line.crlf(bytes, lastcr) → bytes, lastcr: an LF without a CR before it
 * becomes CR LF. lastcr carries from chunk to chunk whether the last byte was
 * a CR. */
static int
line_crlf(lua_State *L)
{
	size_t length;
	const char *bytes = luaL_checklstring(L, 1, &length);
	int lastcr = lua_toboolean(L, 2);
	const char *from = bytes, *end = bytes + length, *lf = bytes;
	luaL_Buffer b;

	luaL_buffinit(L, &b);
	while ((lf = memchr(lf, '\n', (size_t)(end - lf))) != NULL) {
		if (lf > bytes ? lf[-1] != '\r' : !lastcr) {
			luaL_addlstring(&b, from, (size_t)(lf - from));
			luaL_addchar(&b, '\r');
			from = lf;
		}
		lf++;
	}
	luaL_addlstring(&b, from, (size_t)(end - from));
	luaL_pushresult(&b);
	lua_pushboolean(L, length > 0 ? end[-1] == '\r' : lastcr);
	return 2;
}

/* line.stuff(bytes[, state="start"]) → bytes, state: doubles a dot at the
 * start of a line (RFC 5321 section 4.5.2); only CR LF ends one. The state
 * carries from chunk to chunk: "start" of a line, after a "cr", or in the "mid"
 * of a line. */
static int
line_stuff(lua_State *L)
{
	enum { START, CR, MID };
	static const char *const names[] = {"start", "cr", "mid", NULL};
	size_t length;
	const char *bytes = luaL_checklstring(L, 1, &length);
	int state = luaL_checkoption(L, 2, "start", names);
	const char *from = bytes, *end = bytes + length, *dot = bytes;
	luaL_Buffer b;

	luaL_buffinit(L, &b);
	while ((dot = memchr(dot, '.', (size_t)(end - dot))) != NULL) {
		if (dot == bytes ? state == START : dot[-1] == '\n' &&
		    (dot - bytes == 1 ? state == CR : dot[-2] == '\r')) {
			luaL_addlstring(&b, from, (size_t)(dot - from));
			luaL_addchar(&b, '.');
			from = dot;
		}
		dot++;
	}
	luaL_addlstring(&b, from, (size_t)(end - from));
	luaL_pushresult(&b);
	if (length > 0) {
		int aftercr = length == 1 ? state == CR : end[-2] == '\r';

		state = end[-1] == '\r' ? CR :
		    end[-1] == '\n' && aftercr ? START : MID;
	}
	lua_pushstring(L, names[state]);
	return 2;
}

/* line.unstuff(bytes) → bytes without the dot that begins a line (RFC 5321
 * section 4.5.2); only CR LF ends one. */
static int
line_unstuff(lua_State *L)
{
	size_t length;
	const char *bytes = luaL_checklstring(L, 1, &length);
	const char *from = bytes, *end = bytes + length, *dot = bytes;
	luaL_Buffer b;

	luaL_buffinit(L, &b);
	while ((dot = memchr(dot, '.', (size_t)(end - dot))) != NULL) {
		if (dot == bytes || (dot - bytes > 1 && dot[-1] == '\n' &&
		    dot[-2] == '\r')) {
			luaL_addlstring(&b, from, (size_t)(dot - from));
			from = dot + 1;
		}
		dot++;
	}
	luaL_addlstring(&b, from, (size_t)(end - from));
	luaL_pushresult(&b);
	return 1;
}

/* line.eod(bytes[, seen=2]) → last, seen: the position of the last byte of the
 * end of a message, CR LF "." CR LF and nothing else (RFC 5321 section
 * 4.1.1.4), or nil. `seen` carries from chunk to chunk how much of it ends the
 * bytes; a message may be nothing but its end: 2 begins it. */
static int
line_eod(lua_State *L)
{
	static const char eod[] = "\r\n.\r\n";
	size_t length;
	const char *bytes = luaL_checklstring(L, 1, &length);
	lua_Integer seen = luaL_optinteger(L, 2, 2);
	const char *at = bytes, *end = bytes + length;

	luaL_argcheck(L, seen >= 0 && seen < 5, 2, "out of range");
	while (at < end && seen < 5) {
		if (seen == 0 &&
		    (at = memchr(at, '\r', (size_t)(end - at))) == NULL)
			break;
		seen = *at == eod[seen] ? seen + 1 : *at == '\r';
		at++;
	}
	if (seen == 5)
		lua_pushinteger(L, at - bytes);
	else
		lua_pushnil(L);
	lua_pushinteger(L, seen % 5);
	return 2;
}

/* The length of the UTF-8 sequence at s (RFC 3629) and its character, or 0
 * where there is none: stray, overlong, surrogate, cut off. */
static size_t
decode(const unsigned char *s, size_t length, uint32_t *character)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = s[0];
	size_t size, i;

	if (c < 0x80) {
		*character = c;
		return 1;
	}
	size = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
	if (c < 0xc2 || c > 0xf4 || length < size)
		return 0;
	c &= 0xff >> (size + 1);
	for (i = 1; i < size; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[size] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return 0;
	*character = c;
	return size;
}

static int
is_control(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f);
}

/* Characters that break the line or turn its direction: what is shown would
 * not be what was sent. */
static int
is_deceptive(uint32_t c)
{
	return c == 0x061c || c == 0x200e || c == 0x200f ||
	    (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

static void
add_hex(luaL_Buffer *b, const unsigned char *s, size_t size)
{
	static const char digits[] = "0123456789abcdef";

	for (; size > 0; s++, size--) {
		luaL_addlstring(b, "\\x", 2);
		luaL_addchar(b, digits[*s >> 4]);
		luaL_addchar(b, digits[*s & 15]);
	}
}

/* Adds the short escape of s[0], if it has one. */
static int
add_short(luaL_Buffer *b, const unsigned char *s, size_t length)
{
	char letter;

	switch (*s) {
	case '\r': letter = 'r'; break;
	case '\n': letter = 'n'; break;
	case '\t': letter = 't'; break;
	case '\\': letter = '\\'; break;
	case '\0':
		/* Before a digit it would read as another number. */
		if (length > 1 && s[1] >= '0' && s[1] <= '9')
			return 0;
		letter = '0';
		break;
	default:
		return 0;
	}
	luaL_addchar(b, '\\');
	luaL_addchar(b, letter);
	return 1;
}

/* Length of the run of printable ASCII without a backslash at s. */
static size_t
plain(const unsigned char *s, size_t length)
{
	size_t size = 0;

	while (size < length && s[size] >= 0x20 && s[size] < 0x7f &&
	    s[size] != '\\')
		size++;
	return size;
}

/* line.escape(bytes) → a printable form on one line, which Lua reads as the
 * same bytes: \r \n \t \0 \\ \xHH; valid UTF-8 stays, unless it is a control,
 * a line separator or turns the direction of text. */
static int
line_escape(lua_State *L)
{
	size_t length, size;
	const unsigned char *s =
	    (const unsigned char *)luaL_checklstring(L, 1, &length);
	uint32_t c;
	luaL_Buffer b;

	luaL_buffinitsize(L, &b, length);
	for (; length > 0; s += size, length -= size) {
		/* Mostly there is nothing to escape. */
		size = plain(s, length);
		luaL_addlstring(&b, (const char *)s, size);
		s += size;
		length -= size;
		if (length == 0)
			break;
		size = decode(s, length, &c);
		if (size == 0)
			add_hex(&b, s, size = 1);
		else if (c < 0x80 && add_short(&b, s, length))
			continue;
		else if (is_control(c) || is_deceptive(c))
			add_hex(&b, s, size);
		else
			luaL_addlstring(&b, (const char *)s, size);
	}
	luaL_pushresult(&b);
	return 1;
}

/* line.visible(bytes) → bytes that a terminal may be given: control bytes but
 * CR, LF and TAB become \xHH (ESC, NUL, DEL; C1 as UTF-8 or as stray bytes),
 * every other byte stays. A UTF-8 sequence cut by the end of a chunk may come
 * out as \xHH, never as a control. */
static int
line_visible(lua_State *L)
{
	size_t length, size;
	const unsigned char *s =
	    (const unsigned char *)luaL_checklstring(L, 1, &length);
	uint32_t c;
	luaL_Buffer b;

	luaL_buffinitsize(L, &b, length);
	for (; length > 0; s += size, length -= size) {
		size = decode(s, length, &c);
		if (size == 0) {
			c = *s;
			size = 1;
		}
		if (is_control(c) && c != '\r' && c != '\n' && c != '\t')
			add_hex(&b, s, size);
		else
			luaL_addlstring(&b, (const char *)s, size);
	}
	luaL_pushresult(&b);
	return 1;
}

static const luaL_Reg functions[] = {
	{"find", line_find},
	{"command", line_command},
	{"mailbox", line_mailbox},
	{"crlf", line_crlf},
	{"stuff", line_stuff},
	{"unstuff", line_unstuff},
	{"eod", line_eod},
	{"escape", line_escape},
	{"visible", line_visible},
	{NULL, NULL},
};

SMTPTEST_OPEN LUAMOD_API int
luaopen_smtptest_core_line(lua_State *L)
{
	luaL_newlib(L, functions);
	return 1;
}
