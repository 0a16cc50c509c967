/* Socket addresses, as C has them and as the table that Lua has:
 * {family="inet"|"inet6", host=numeric, port=[, scope=]}, where scope is the
 * zone of a link-local address, or {family="unix", path=}, where a leading NUL
 * means an abstract name (Linux). */
#ifndef SMTPTEST_ADDRESS_H
#define SMTPTEST_ADDRESS_H

#include <lua.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

struct address {
	socklen_t length; /* of what is used of the union */
	union {
		struct sockaddr any;
		struct sockaddr_in inet;
		struct sockaddr_in6 inet6;
		struct sockaddr_un local;
		struct sockaddr_storage room;
	} as;
};

/* Reads the table at index into a. Returns 0, or how many failure results it
 * pushed (EINVAL, ENAMETOOLONG); raises for a table that is no address. */
int address_read(lua_State *L, int index, struct address *a);

/* Reads host (absent: any), port (absent: any) and scope of the table at index
 * into a, as an address of this family, AF_INET or AF_INET6. False when the
 * host is none of that family. */
int address_readhost(lua_State *L, int index, int family, struct address *a);

/* Pushes the table for an address; {family="unknown"} for other families. */
void address_push(lua_State *L, const struct sockaddr *from, socklen_t length);

/* True when a is the name of a socket file that is left over: nobody accepts
 * connections there any more. */
int address_isstale(const struct address *a);

#endif
