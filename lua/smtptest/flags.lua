--- flags: every option of the command line: its names, its argument, what it sets, and its line of the usage text. The
-- parser's, the completions' and (held to it by a spec) the manual's.

local secret = require "smtptest.secret"

-- ---------------------------------------------------------------- effects

-- What an option does when it is more than to set one field: function(state, value, flag) → nil | message of a failure

local function password_by(source)
	return function(state, value, flag)
		local other = state.password_flag
		if other and other.source ~= source then
			return ("%s and %s cannot be combined"):format(other.flag, flag)
		end
		state.password_flag = { source = source, flag = flag }
		state.plan.password = source and secret[source](value, flag) or value
	end
end

local function output_socket(daemon)
	return function(state, value)
		local plan = state.plan
		if plan.output_socket and (plan.daemon or false) ~= daemon then
			return "cannot specify both -X and -x"
		end
		plan.output_socket, plan.daemon = value, daemon or nil
	end
end

--- Names of TLS 1.3 suites are a list of their own for OpenSSL.
local function split_ciphers(state, value)
	local older, suites = {}, {}
	for name in value:gmatch "[^:]+" do
		local list = name:match "^TLS_" and suites or older
		list[#list + 1] = name
	end
	state.plan.ciphers = older[1] and table.concat(older, ":")
	state.plan.ciphersuites = suites[1] and table.concat(suites, ":")
end

local function sasl_option(state, value)
	local name, text = value:match "^([^=]*)=(.*)$"
	local list = state.plan.sasl_options or {}
	state.plan.sasl_options = list
	list[name or value] = text or "1"
end

local function recipient(state, value)
	local list = state.plan.to or {}
	state.plan.to = list
	list[#list + 1] = value
end

local function script(name)
	return function(state, value)
		local mode = state.mode
		mode.script, mode.execute = nil, nil
		mode[name] = value
	end
end

local function chosen(name)
	return function(state, value) state.mode[name] = value end
end

local function test_output(state, value, flag)
	if state.mode.test_output then return flag .. ": there is one report, and it was given twice" end
	state.mode.test_output = value
end

local function remember(name)
	return function(state, value) state[name] = value end
end

local function action(name)
	return function(state) state.mode.action = name end
end

-- ---------------------------------------------------------------- the table

-- short, long: the names, without hyphens; `also` another letter; `classic`: the long name is the classic program's
-- arg: what the argument is called (nil: none); `optional`: only with --name=value
-- kind: of the argument, a name in value.lua (default "text")
-- field: of the plan that is set, to `value` (default true) when there is no argument; or `effect`
-- ends: nothing after it is looked at;  secret: the argument is one
-- group, help (a line, or several) for the usage text; without help it is not in there
local flags = {
	{ short = "p", long = "port", classic = true, arg = "port", kind = "port", field = "port", group = "classic",
		help = "port to use (default=standard port for protocol)" },
	{ short = "k", long = "minssf", classic = true, arg = "#", kind = "natural", field = "minssf", group = "classic",
		help = "minimum protection layer required" },
	{ short = "l", long = "maxssf", classic = true, arg = "#", kind = "natural", field = "maxssf", group = "classic",
		help = "max protection layer (0=none; 1=integrity; etc)" },
	{ short = "u", long = "username", classic = true, arg = "user", field = "username", group = "classic",
		help = "authorization name to use" },
	{ short = "a", long = "authname", classic = true, arg = "user", field = "authname", group = "classic",
		help = "authentication name to use" },
	{ short = "w", long = "password", classic = true, arg = "pass", effect = password_by(nil), secret = true,
		group = "classic", help = "password to use (if not supplied, we will prompt)" },
	{ short = "v", long = "verbose", classic = true, field = "verbose", group = "classic", help = "verbose" },
	{ short = "m", long = "mechanism", classic = true, arg = "mech", field = "mechanism", group = "classic",
		help = "SASL mechanism to use" },
	{ short = "f", long = "input-filename", classic = true, arg = "file", field = "input", group = "classic",
		help = "pipe file into connection after authentication" },
	{ short = "r", long = "realm", classic = true, arg = "realm", field = "realm", group = "classic", help = "realm" },
	{ short = "s", long = "require-tls", classic = true, effect = remember "implicit", group = "classic",
		help = "Enable smtp over SSL (smtps)" },
	{ short = "t", long = "keyfile", classic = true, arg = "file", effect = remember "both", group = "classic",
		help = { "Enable TLS. file has the TLS public and private keys",
			'(specify "" to not use TLS for authentication)' } },
	{ short = "c", long = "do-challenge", classic = true, field = "challenge", group = "classic",
		help = { "enable challenge prompt callbacks", "(enter one-time password instead of secret pass-phrase)" } },
	{ short = "n", long = "reauth-attempts", classic = true, arg = "#", kind = "rounds", field = "rounds",
		group = "classic", help = "number of auth attempts (default=1)" },
	{ short = "I", long = "pidfile", classic = true, arg = "file", field = "pidfile", group = "classic",
		help = "output my PID to (file) (useful with -X)" },
	{ short = "x", long = "output-socket", classic = true, arg = "file", effect = output_socket(false),
		group = "classic", help = "open the named socket for the interactive portion" },
	{ short = "X", arg = "file", effect = output_socket(true), group = "classic",
		help = "same as -x, but as a daemon once authenticated" },
	{ short = "i", long = "no-initial-response", classic = true, field = "initial_response", value = false,
		group = "classic", help = "do not send an initial response with AUTH" },
	{ short = "o", long = "sasl-option", classic = true, arg = "opt", effect = sasl_option, group = "classic",
		help = "set a SASL library option: name=value" },
	{ short = "H", long = "haproxy-clientip", classic = true, arg = "ip", kind = "proxy", field = "proxy",
		group = "classic", help = "send a PROXY header first: ip, unknown or local" },
	{ short = "P", long = "protocol", classic = true, arg = "proto", kind = "protocol", field = "protocol",
		group = "classic", help = "protocol: smtp, lmtp" },
	{ short = "q", long = "require-compression", classic = true, effect = function() end, group = "classic",
		help = "ignored: SMTP has no compression" },
	{ short = "z", long = "run-stress-test", classic = true, group = "classic",
		effect = function() return "stress test can only be run for IMAP\n" end },
	{ short = "h", also = "?", long = "help", classic = true, effect = action "help", ends = true, group = "classic",
		help = "show this text" },

	{ short = "S", long = "script", arg = "file", effect = script "script", group = "Scripts",
		help = "run this Lua file instead of the default script" },
	{ short = "e", long = "execute", arg = "chunk", effect = script "execute", group = "Scripts",
		help = "run this Lua text instead" },
	{ long = "print-script", effect = action "print-script", ends = true, group = "Scripts",
		help = "print the default script" },
	{ long = "version", effect = action "version", ends = true, group = "Scripts",
		help = "print our version and those of the libraries" },

	{ long = "test", effect = chosen "test", group = "Tests",
		help = "operands are busted specs, and the host" },
	{ long = "test-output", arg = "kind", effect = test_output, group = "Tests",
		help = "their report: TAP, junit, json, ...[:file]" },

	{ long = "record", arg = "file", field = "record", group = "Record and replay",
		help = "write the session down as a case" },
	{ long = "replay", arg = "file", effect = chosen "replay", group = "Record and replay",
		help = "play a case, say where replies differ" },
	{ long = "match", arg = "how", kind = "match", effect = chosen "match", group = "Record and replay",
		help = "compare by code (default), exact, none" },
	{ long = "log", arg = "file", field = "log", group = "Record and replay",
		help = "write what happens as lines of JSON" },
	{ long = "show-secrets", field = "show_secrets", group = "Record and replay",
		help = "do not mask passwords in these files" },

	{ long = "serve", effect = chosen "serve", group = "Server",
		help = "be a server, on -p (0: any), and accept mail" },
	{ long = "save", arg = "dir", effect = chosen "save", group = "Server",
		help = "with --serve: write one .eml a message" },

	{ long = "tls-report", effect = chosen "tls_report", group = "TLS report",
		help = { "say what the server's TLS is like, on all ports", "of -p: 25,587,465s (TLS at once),24l (LMTP)" } },
	{ long = "min-days", arg = "days", kind = "natural", effect = chosen "min_days", group = "TLS report",
		help = "exit status 1 when a certificate ends before" },
	{ long = "json", effect = chosen "json", group = "TLS report", help = "print it as JSON" },

	{ long = "fuzz", effect = chosen "fuzz", group = "Fuzzing",
		help = { "try what no client would send, judge, and make", "small what is found; with --replay: judge a case" } },
	{ long = "seed", arg = "number", kind = "integer", effect = chosen "seed", group = "Fuzzing",
		help = "what the cases are made from (default 1)" },
	{ long = "first", arg = "number", kind = "count", effect = chosen "first", group = "Fuzzing",
		help = "number of the first case (default 1)" },
	{ long = "last", arg = "number", kind = "count", effect = chosen "last", group = "Fuzzing",
		help = "and of the last one" },
	{ long = "runs", arg = "number", kind = "count", effect = chosen "runs", group = "Fuzzing",
		help = "how many cases, instead of --last" },
	{ long = "seconds", arg = "time", kind = "duration", effect = chosen "seconds", group = "Fuzzing",
		help = "for how long (default 60 s without --last)" },
	{ long = "workers", arg = "number", kind = "count", effect = chosen "workers", group = "Fuzzing",
		help = "connections at once (default 8)" },
	{ long = "out", arg = "dir", effect = chosen "out", group = "Fuzzing",
		help = "where findings and summary.json go" },
	{ long = "oracles", arg = "names", effect = chosen "oracles", group = "Fuzzing",
		help = "which judge: drop,count; -memory: all but it" },
	{ long = "corpus", arg = "dir", effect = chosen "corpus", group = "Fuzzing", help = "cases to begin with" },
	{ long = "state-graph", arg = "file", effect = chosen "state_graph", group = "Fuzzing",
		help = "write the learnt state machine (Graphviz DOT)" },
	{ long = "spawn", arg = "command", effect = chosen "spawn", group = "Fuzzing",
		help = { "start this server, watch it, start it again;", "{port} in it is that of -p (0: a free one)" } },
	{ long = "watch-log", arg = "file", effect = chosen "watch_log", group = "Fuzzing",
		help = "look for reports of crashes in it" },
	{ long = "merge", arg = "dir", effect = chosen "merge", group = "Fuzzing",
		help = "join the --out folders that are operands" },
	{ long = "yes", effect = chosen "yes", group = "Fuzzing", help = "also a server that is not on a private address" },

	{ short = "4", field = "family", value = "inet", group = "Connection", help = "IPv4 only" },
	{ short = "6", field = "family", value = "inet6", group = "Connection", help = "IPv6 only" },
	{ long = "source", arg = "address", kind = "source", field = "source", group = "Connection",
		help = "connect from this address[:port]" },
	{ long = "unix", arg = "path", field = "socket", group = "Connection", help = "connect to this UNIX socket" },
	{ long = "helo", arg = "name", field = "helo", group = "Connection", help = "name for EHLO, HELO and LHLO" },
	{ long = "timeout", arg = "time", kind = "duration", field = "timeout", group = "Connection",
		help = "time-out of every phase: 10, 250ms, 5m, inf" },
	{ long = "no-auth", field = "auth", value = false, group = "Connection", help = "do not authenticate" },

	{ long = "verify", arg = "name", optional = true, field = "verify", group = "TLS",
		help = "fatal: a bad certificate, or not this name" },
	{ long = "cafile", arg = "file", field = "cafile", group = "TLS", help = "certificates to trust (PEM)" },
	{ long = "capath", arg = "dir", field = "capath", group = "TLS", help = "the same, as a hashed folder" },
	{ long = "cert", arg = "file", effect = remember "cert", group = "TLS", help = "client certificate (PEM)" },
	{ long = "key", arg = "file", effect = remember "key", group = "TLS",
		help = "its private key (default: in the same file)" },
	{ long = "sni", arg = "name", field = "sni", group = "TLS", help = "server name to ask for" },
	{ long = "tls-min", arg = "version", kind = "tls_version", field = "min_version", group = "TLS",
		help = "lowest version: 1.0, 1.1, 1.2, 1.3" },
	{ long = "tls-max", arg = "version", kind = "tls_version", field = "max_version", group = "TLS",
		help = "highest version" },
	{ long = "ciphers", arg = "list", effect = split_ciphers, group = "TLS",
		help = "cipher suites, OpenSSL's names, colons between" },
	{ long = "groups", arg = "list", field = "groups", group = "TLS", help = "key exchange groups" },
	{ long = "keylog", arg = "file", field = "keylog", group = "TLS", help = "append the session keys, for Wireshark" },

	{ long = "password-file", arg = "file", effect = password_by "file", group = "Secrets",
		help = "the password is its first line (-: stdin)" },
	{ long = "password-env", arg = "name", effect = password_by "env", group = "Secrets",
		help = "it is in this environment variable" },
	{ long = "password-fd", arg = "fd", kind = "natural", effect = password_by "fd", group = "Secrets",
		help = "it is the next line of this descriptor" },
	{ long = "password-command", arg = "command", effect = password_by "command", group = "Secrets",
		help = "it is the first line that this command prints" },
	{ long = "key-password-file", arg = "file", group = "Secrets",
		effect = function(state, value, flag) state.plan.keypass = secret.file(value, flag) end,
		help = "the private key's password" },

	{ long = "from", arg = "address", kind = "mailbox", field = "from", group = "Message and input",
		help = "send one message from this sender, and QUIT" },
	{ long = "to", arg = "address", kind = "mailbox", effect = recipient, group = "Message and input",
		help = "to this recipient (repeatable)" },
	{ long = "data", arg = "text", kind = "data", field = "data", group = "Message and input",
		help = "the message, @file or - (stdin)" },
	{ long = "crlf", field = "crlf", group = "Message and input", help = "with -f, --data: turn LF into CR LF" },
	{ long = "lockstep", field = "lockstep", group = "Message and input",
		help = "wait for each reply before the next line" },

	{ long = "strict", field = "strict", group = "Output", help = "the exit status tells what failed" },
	{ long = "hide-secrets", field = "hide_secrets", group = "Output", help = "mask passwords on stdout too" },
	{ long = "explain", field = "explain", group = "Output", help = "say what codes and base64 mean" },
	{ long = "times", field = "times", group = "Output", help = "show how long each reply took" },
	{ long = "trace", field = "trace", group = "Output", help = "write a transcript to stderr" },
}

return flags
