# smtptest: GNU make. `make` builds, `make check` tests, `make install` installs.
PREFIX ?= /usr/local
DESTDIR ?=
CC ?= cc
PKG_CONFIG ?= pkg-config
LUA ?= lua5.4
LUA_PC ?= lua5.4
CFLAGS ?= -O2 -g
SAN ?=

BUILD := build$(if $(SAN),/san)
SAN_FLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer)
WARN := -Wall -Wextra -Wpedantic -Werror
LUA_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(LUA_PC))
LUA_LIBS := $(shell $(PKG_CONFIG) --libs $(LUA_PC))
DEP_CFLAGS := $(shell $(PKG_CONFIG) --cflags libsasl2 libssl libcrypto)
DEP_LIBS := $(shell $(PKG_CONFIG) --libs libssl libcrypto libsasl2) -lpthread
C_FLAGS = -std=c99 -D_GNU_SOURCE -fPIC -fvisibility=hidden $(WARN) $(SAN_FLAGS) \
	$(LUA_CFLAGS) $(DEP_CFLAGS) $(CPPFLAGS) $(CFLAGS)

# The library: one noun a file.
LIB_SRC := fail.c socket.c resolve.c poll.c file.c process.c tty.c signal.c line.c \
	tls.c tlscontext.c cert.c sasl.c saslserver.c sasllayer.c auxprop.c smtptest.c
LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o) $(BUILD)/embed.o

all: $(BUILD)/smtptest $(BUILD)/smtptest.so

$(BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -MMD -MP -c -o $@ $<

# A module alone, while its neighbours are being written: make one M="cert.c"
one:
	@mkdir -p build/one-$(basename $(firstword $(M)))
	$(CC) $(C_FLAGS) -shared -o build/one-$(basename $(firstword $(M)))/smtptest.so \
		src/fail.c $(M:%=src/%) $(LDFLAGS) $(DEP_LIBS)

-include $(wildcard $(BUILD)/*.d)
.PHONY: all one
