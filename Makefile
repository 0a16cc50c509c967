# smtptest: GNU make. `make` builds into build/, `make check` tests, `make demo`
# shows a session, `make install` installs.
PREFIX ?= /usr/local
DESTDIR ?=
CC ?= cc
AR ?= ar
OBJCOPY ?= objcopy
INSTALL ?= install
PKG_CONFIG ?= pkg-config
LUA ?= lua5.4
LUA_PC ?= lua5.4
LUA_CMOD ?= lib/lua/5.4
BASH_DIR ?= share/bash-completion/completions
ZSH_DIR ?= share/zsh/site-functions
CFLAGS ?= -O2 -g
# Sanitizers, with gcc: make check SAN=address,undefined
SAN ?=
# What `make check` runs
SPECS ?= t

# Debian packages: compilers, libraries and clients, never a daemon.
BUILD_PACKAGES := gcc libc6-dev make binutils pkg-config lua5.4 liblua5.4-dev \
	libsasl2-dev libssl-dev
CHECK_PACKAGES := lua-busted openssl libsasl2-modules libsasl2-modules-otp \
	libsasl2-modules-gssapi-mit swaks libnet-ssleay-perl libauthen-sasl-perl \
	libdigest-hmac-perl curl gsasl msmtp procps netbase lua-check cppcheck clang \
	valgrind mandoc strace dpkg-dev

# The library: one noun a file.
LIB_SRC := fail.c object.c address.c socket.c socketoption.c thread.c resolve.c \
	poll.c alarm.c descriptor.c file.c folder.c spawn.c group.c orphan.c \
	process.c tty.c signal.c line.c reply.c digest.c tls.c tlsstart.c tlsevent.c \
	tlsinfo.c tlsidentity.c tlscontext.c cert.c sasl.c saslstart.c saslconn.c \
	saslserver.c sasllayer.c auxprop.c embed.c smtptest.c
LUA_SRC := $(sort $(wildcard lua/*.lua lua/smtptest/*.lua lua/smtptest/*/*.lua))
MAN := $(wildcard man/*.[1-9])
EXAMPLES := $(wildcard examples/*)

VERSION := $(shell sed -n 's/^\#define SMTPTEST_VERSION "\(.*\)"/\1/p' src/smtptest.h)
comma := ,
BUILD := build$(if $(SAN),/$(subst $(comma),-,$(SAN)))

# A warning stops us, not somebody whose compiler knows new ones.
WARN := -Wall -Wextra -Wpedantic $(if $(filter true,$(CI)),-Werror)
SAN_FLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
# Asked late: `make deps` must work where pkg-config is not installed yet.
DEP_CFLAGS = $(shell $(PKG_CONFIG) --cflags $(LUA_PC) libsasl2 libssl libcrypto)
DEP_LIBS = $(shell $(PKG_CONFIG) --libs libssl libcrypto libsasl2) -lpthread
LUA_LIBS = $(shell $(PKG_CONFIG) --libs $(LUA_PC))
OWN_FLAGS = -std=c99 -D_GNU_SOURCE -fPIC -fvisibility=hidden $(WARN) \
	-iquote src -iquote $(BUILD) $(DEP_CFLAGS)
C_FLAGS = $(OWN_FLAGS) $(SAN_FLAGS) $(CPPFLAGS) $(CFLAGS)
LD_FLAGS = $(SAN_FLAGS) $(CFLAGS) $(LDFLAGS)

LIB_OBJ := $(LIB_SRC:%.c=$(BUILD)/%.o) $(BUILD)/sources.o
PRODUCTS := smtptest lmtptest smtptest.so libsmtptest.a smtptest.pc \
	completion/bash completion/zsh

all: $(PRODUCTS:%=$(BUILD)/%)

$(BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -MMD -MP -c -o $@ $<

# Settings that stand in a file, so that a change of theirs rebuilds what
# depends on them.
$(BUILD)/prefix.h: FORCE
	@mkdir -p $(@D)
	@printf '#define SMTPTEST_PREFIX "%s"\n/* Lua: %s */\n' '$(PREFIX)' '$(LUA_PC)' >$@.tmp
	@cmp -s $@.tmp $@ && rm $@.tmp || mv $@.tmp $@
$(BUILD)/sources.list: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(LUA_SRC) >$@.tmp
	@cmp -s $@.tmp $@ && rm $@.tmp || mv $@.tmp $@

$(BUILD)/embed.o: $(BUILD)/prefix.h

$(BUILD)/sources.c: $(LUA_SRC) src/embed.lua $(BUILD)/sources.list
	$(LUA) src/embed.lua $@ lua $(LUA_SRC)
$(BUILD)/sources.o: $(BUILD)/sources.c
	$(CC) $(C_FLAGS) -MMD -MP -c -o $@ $<

# Lua itself is the host's. The SASL library keeps pointers to our plug-in for
# ever, so this must never be unloaded.
$(BUILD)/smtptest.so: $(LIB_OBJ)
	$(CC) -shared -Wl,-z,nodelete -o $@ $^ $(LD_FLAGS) $(DEP_LIBS)

# One object, in which only the public names are global.
$(BUILD)/libsmtptest.a: $(LIB_OBJ)
	$(CC) -r -nostdlib -o $(@:.a=.o) $^
	$(OBJCOPY) --localize-hidden $(@:.a=.o)
	rm -f $@
	$(AR) rcs $@ $(@:.a=.o)

# The shared liblua, so that scripts can load other modules written in C; where
# there is only a static one, they find it in here.
$(BUILD)/smtptest: $(BUILD)/main.o $(LIB_OBJ) | $(BUILD)/prefix.h
	$(CC) -Wl,-E -o $@ $^ $(LD_FLAGS) $(LUA_LIBS) $(DEP_LIBS)

# Hosts of the library, for t/alloc_spec.lua and t/host_spec.lua.
HOSTS := $(BUILD)/alloc $(BUILD)/host
$(HOSTS): $(BUILD)/%: t/%.c $(BUILD)/libsmtptest.a
	$(CC) $(C_FLAGS) -MMD -MP -o $@ $< $(BUILD)/libsmtptest.a $(LDFLAGS) \
		$(LUA_LIBS) $(DEP_LIBS)

# A server with bugs, for the fuzzer to find; never with sanitizers, whose memory
# grows and which die in other ways.
PLANTED := $(BUILD)/planted
$(PLANTED): $(wildcard t/planted*.c) t/planted.h
	@mkdir -p $(@D)
	$(CC) $(OWN_FLAGS) $(CPPFLAGS) $(CFLAGS) -o $@ $(filter %.c,$^) $(LDFLAGS) -lssl -lcrypto

$(BUILD)/lmtptest: | $(BUILD)/smtptest
	ln -sf smtptest $@

$(BUILD)/smtptest.pc: src/smtptest.pc src/smtptest.h $(BUILD)/prefix.h
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@VERSION@|$(VERSION)|' \
		-e 's|@LUA@|$(LUA_PC)|' $< >$@

deps:
	@.ci/deps $(BUILD_PACKAGES) $(CHECK_PACKAGES)

# Programs that somebody else wrote: unpacked, never installed.
PEERS := build/peers
$(PEERS)/bin/smtptest: .ci/peers
	.ci/peers $(PEERS) smtptest /usr/lib/cyrus/bin/smtptest cyrus-clients cyrus-common
$(PEERS)/bin/postfix: .ci/peers
	.ci/peers $(PEERS) postfix '' postfix sasl2-bin
$(PEERS)/bin/sendmail: .ci/peers
	.ci/peers $(PEERS) sendmail '' sendmail-bin sendmail-cf m4 sasl2-bin
$(PEERS)/bin/krb5: .ci/peers
	.ci/peers $(PEERS) krb5 '' krb5-kdc krb5-admin-server krb5-user
$(PEERS)/bin/dovecot: .ci/peers
	.ci/peers $(PEERS) dovecot '' dovecot-core dovecot-submissiond dovecot-lmtpd
SERVERS := $(addprefix $(PEERS)/bin/,postfix sendmail krb5 dovecot)

# The specs find what they test through BUILD. The sanitizers' start-up comes
# before that of the interpreter, which was built without them: to find its
# leaks would take a walk through the whole stack at every malloc. They are
# looked for in hosts of ours (t/leaks.*) and by valgrind.
SUITE = BUILD=$(BUILD) PWD='$(CURDIR)' SAN=$(SAN) $(LUA) t/suite.lua --cpath='$(BUILD)/?.so'
ifneq ($(SAN),)
ASAN := $(if $(findstring address,$(SAN)),$(shell $(CC) -print-file-name=libasan.so))
SUITE := env $(if $(ASAN),LD_PRELOAD=$(ASAN)) \
	ASAN_OPTIONS=detect_leaks=0:include_if_exists=$(CURDIR)/t/leaks.%b \
	LSAN_OPTIONS=suppressions=$(CURDIR)/t/suppressions:print_suppressions=0 \
	UBSAN_OPTIONS=print_stacktrace=1 $(SUITE)
endif

check: deps
	@$(MAKE) --no-print-directory all $(HOSTS) $(PLANTED)
	@$(MAKE) --no-print-directory -k $(PEERS)/bin/smtptest $(SERVERS) || \
		echo 'without some of the peers: their specs are skipped'
	$(SUITE) $(SPECS)

# Two minutes of the fuzzer against all planted bugs, with a key that is new, and
# of random commands beside it.
fuzz: all $(PLANTED)
	FUZZ=1 $(SUITE) t/fuzz_planted_spec.lua

# The primitives in C; process_spec.lua is of the module in Lua above one.
CORE_SPECS := $(filter-out t/process_spec.lua,$(wildcard \
	$(LIB_SRC:%.c=t/%_spec.lua) $(LIB_SRC:%.c=t/%_core_spec.lua)))
valgrind: all
	BUILD=$(BUILD) valgrind -q --num-callers=40 --leak-check=full --error-exitcode=9 \
		--child-silent-after-fork=yes --suppressions=t/valgrind.supp \
		$(LUA) t/suite.lua --cpath='$(BUILD)/?.so' $(CORE_SPECS)

# Two states of Lua in two threads; nothing is suppressed.
tsan:
	@$(MAKE) --no-print-directory SAN=thread build/thread/host
	build/thread/host threads 100

LINT_C := $(wildcard src/*.c t/*.c t/bench/*.c examples/*.c)
lint: $(BUILD)/prefix.h
	set -e; for cc in gcc clang; do for file in $(LINT_C); do \
		$$cc -O2 -Werror -c -o /dev/null $(OWN_FLAGS) $(CPPFLAGS) $$file; done; done
	luacheck -q lua src t $(wildcard examples)
	cppcheck -q --std=c99 --error-exitcode=1 --inline-suppr \
		--enable=warning,performance,portability --suppress=readdirCalled \
		--library=posix,gnu,openssl,lua -Isrc -I$(BUILD) $(LINT_C)
	$(if $(MAN),mandoc -Tlint -Wwarning $(MAN))

# Ratios against the classic program and Postfix; not part of the suite.
bench: all $(PEERS)/bin/smtptest $(PEERS)/bin/postfix $(BUILD)/bench/sink $(BUILD)/bench/meter
	$(LUA) t/bench/run.lua $(BUILD) $(PEERS)/bin/smtptest; status=$$?; \
		$(LUA) t/bench/server.lua $(BUILD) $(PEERS)/bin/postfix || status=1; \
		$(LUA) t/bench/fuzz.lua $(BUILD) $(PEERS)/bin/postfix && exit $$status
$(BUILD)/bench/%: t/bench/%.c
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -MMD -MP -o $@ $< $(LDFLAGS) -lssl -lcrypto

demo:
	@.ci/deps $(BUILD_PACKAGES) libsasl2-modules
	@$(MAKE) --no-print-directory all
	@.ci/demo $(BUILD)

# Completion, from the table of options.
$(BUILD)/completion/%: src/complete.lua lua/smtptest/options.lua $(BUILD)/smtptest $(BUILD)/prefix.h
	@mkdir -p $(@D)
	$(BUILD)/smtptest -S src/complete.lua -- $* $@ $(PREFIX)/share/smtptest/examples

# What is installed, below PREFIX: MODE:FILE:PLACE, and TEXT:LINK.
MAN_DIR = share/man/man$(subst .,,$(suffix $(1)))
INSTALLED = 755:$(BUILD)/smtptest:bin/smtptest \
	755:$(BUILD)/smtptest.so:$(LUA_CMOD)/smtptest.so \
	644:$(BUILD)/libsmtptest.a:lib/libsmtptest.a \
	644:$(BUILD)/smtptest.pc:lib/pkgconfig/smtptest.pc \
	644:src/smtptest.h:include/smtptest.h \
	644:$(BUILD)/completion/bash:$(BASH_DIR)/smtptest \
	644:$(BUILD)/completion/zsh:$(ZSH_DIR)/_smtptest \
	$(foreach file,$(MAN),644:$(file):$(call MAN_DIR,$(file))/$(notdir $(file))) \
	$(foreach file,$(EXAMPLES),$(if $(filter %.lua,$(file)),755,644):$(file):share/smtptest/$(file))
LINKED := smtptest:bin/lmtptest smtptest:$(BASH_DIR)/lmtptest \
	smtptest.1:share/man/man1/lmtptest.1
# Folders that uninstall takes away when nobody else has something there.
OURS := $(BASH_DIR) $(dir $(BASH_DIR)) $(ZSH_DIR) $(dir $(ZSH_DIR)) lib/pkgconfig \
	$(LUA_CMOD) $(dir $(LUA_CMOD))

AT = $(DESTDIR)$(PREFIX)
install: all
	@set -e; for item in $(INSTALLED); do \
		mode=$${item%%:*}; item=$${item#*:}; place="$(AT)/$${item#*:}"; \
		$(INSTALL) -d "$${place%/*}"; \
		$(INSTALL) -m $$mode "$${item%%:*}" "$$place"; \
	done; for item in $(LINKED); do \
		ln -sf "$${item%%:*}" "$(AT)/$${item#*:}"; \
	done
	@echo 'installed below $(AT)'
	@case '$(PREFIX)' in /usr|/usr/local) ;; *) \
		echo "Lua, pkg-config and man find it with LUA_CPATH='$(PREFIX)/$(LUA_CMOD)/?.so;;'" \
			'PKG_CONFIG_PATH=$(PREFIX)/lib/pkgconfig MANPATH=$(PREFIX)/share/man:' ;; esac

uninstall:
	@set -e; for item in $(INSTALLED) $(LINKED); do \
		rm -f "$(AT)/$${item##*:}"; \
	done; rm -rf "$(AT)/share/smtptest"; for folder in $(OURS); do \
		rmdir "$(AT)/$$folder" 2>/dev/null || :; \
	done

# A Debian package, build/smtptest_VERSION_ARCH.deb, for this very machine.
DEB := build/deb
deb:
	rm -rf $(DEB)/root
	@$(MAKE) --no-print-directory BUILD=$(DEB)/obj DESTDIR=$(DEB)/root PREFIX=/usr \
		LUA_CMOD=lib/lua/5.4 ZSH_DIR=share/zsh/vendor-completions install
	@.ci/deb $(DEB)/root $(VERSION) \
		build/smtptest_$(VERSION)_$$(dpkg --print-architecture).deb

clean:
	rm -rf build

FORCE:
-include $(wildcard $(BUILD)/*.d $(BUILD)/bench/*.d)
.PHONY: all bench check clean deb demo deps fuzz install lint tsan uninstall valgrind FORCE
