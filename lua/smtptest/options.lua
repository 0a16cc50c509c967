--- options: the command line as data. One table, `options.list`, is the parser's, the usage text's and (held to it by a
-- spec) the manual's.

local modes = require "smtptest.mode"
local nearest = require "smtptest.nearest"
local secret = require "smtptest.secret"
local value_of = require "smtptest.value"

local options = {}

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
options.list = {
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
	{ long = "test-output", arg = "kind", effect = chosen "test_output", group = "Tests",
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

local by_short, by_long, long_names = {}, {}, {}
for _, option in ipairs(options.list) do
	if option.short then by_short[option.short] = option end
	if option.also then by_short[option.also] = option end
	if option.long then
		by_long[option.long] = option
		long_names[#long_names + 1] = option.long
	end
end

-- ---------------------------------------------------------------- finding an option

--- Finds a long option by its name or an unambiguous beginning of it; the classic names win.
-- @return option | nil, message in getopt's words
local function find_long(name)
	if by_long[name] then return by_long[name] end
	local classic, ours = {}, {}
	for _, long in ipairs(long_names) do
		if name ~= "" and long:sub(1, #name) == name then
			local list = by_long[long].classic and classic or ours
			list[#list + 1] = long
		end
	end
	local found = classic[1] and classic or ours
	if #found == 1 then return by_long[found[1]] end
	if #found > 1 then
		return nil, ("option '--%s' is ambiguous; possibilities: '--%s'"):format(name, table.concat(found, "' '--"))
	end
	local near = nearest(name, long_names)
	return nil, ("unrecognized option '--%s'%s"):format(name, near and (" (did you mean '--%s'?)"):format(near) or "")
end

local function find_short(letter)
	local option = by_short[letter]
	if option then return option end
	local other = letter:lower() == letter and letter:upper() or letter:lower()
	local near = by_short[other] and by_short[other].help
	return nil, ("invalid option -- '%s'%s"):format(letter, near and (" (did you mean '-%s'?)"):format(other) or "")
end

-- ---------------------------------------------------------------- parsing

--- Takes one option into account.
-- @param text  its argument, or nil
-- @param flag  as the user wrote it, for messages
-- @return nil | message of a failure
local function apply(state, option, text, flag)
	local value = option.value
	if text then
		local why, words
		value, why, words = value_of[option.kind or "text"](text)
		if value == nil then
			return words or ("%s: %s: %s"):format(flag, why, text)
		end
	elseif value == nil then
		value = true
	end
	if option.effect then return option.effect(state, value, flag) end
	state.plan[option.field] = value
end

--- What only the whole command line can tell.
-- @return nil | message of a failure
local function finish(state)
	local plan, mode = state.plan, state.mode
	local words, message = modes.finish(mode, state.words)
	if not words then return message end
	state.words = words
	plan.host = words[1]
	if state.implicit then
		plan.tls = "implicit"
	elseif state.both then
		plan.tls = "starttls"
	end
	local both = state.both ~= "" and state.both or nil
	plan.certfile = state.cert or both
	plan.keyfile = state.key or plan.certfile
	if plan.keyfile and not plan.certfile then
		return "--key: no certificate given (--cert or -t)"
	end
	if plan.output_socket and plan.input then
		return "cannot pipe a file when using unix domain socket output"
	end
	if plan.rounds and plan.rounds > 1 then
		plan.reauth = true
	end
	if not modes.takes_words(mode) then mode.args = {} end
end

-- Reads argv[i], a long option. Returns the index of the last word used | nil, message, "USAGE" or "FAILURE".
local function take_long(state, argv, i)
	local name, text = argv[i]:match "^%-%-([^=]*)=?(.*)$"
	local has_text = argv[i]:find("=", 1, true) ~= nil
	local option, message = find_long(name)
	if not option then return nil, message, "USAGE" end
	local flag, last, first = "--" .. option.long, i, #name + 4
	if has_text and not option.arg then
		return nil, ("option '%s' doesn't allow an argument"):format(flag), "USAGE"
	elseif not has_text then
		text = nil
		if option.arg and not option.optional then
			text, last, first = argv[i + 1], i + 1, 1
			if not text then return nil, ("option '%s' requires an argument"):format(flag), "USAGE" end
		end
	end
	if option.secret then state.secrets[#state.secrets + 1] = { last, first } end
	message = apply(state, option, text, flag)
	if message then return nil, message, "FAILURE" end
	return last, option.ends
end

-- Reads argv[i], short options in one word; results as take_long.
local function take_short(state, argv, i)
	local word = argv[i]
	for at = 2, #word do
		local letter = word:sub(at, at)
		local option, message = find_short(letter)
		if not option then return nil, message, "USAGE" end
		local text, last, first = nil, i, at + 1
		if option.arg then
			text = word:sub(first)
			if text == "" then text, last, first = argv[i + 1], i + 1, 1 end
			if not text then return nil, ("option requires an argument -- '%s'"):format(letter), "USAGE" end
			if option.secret then state.secrets[#state.secrets + 1] = { last, first } end
		end
		message = apply(state, option, text, "-" .. letter)
		if message then return nil, message, "FAILURE" end
		if option.arg or option.ends then return last, option.ends end
	end
	return i
end

local function basename(path)
	return path:match "([^/]+)/*$" or path
end

--- Reads a command line, as getopt_long does: options and operands in any order, `--` ends the options.
-- @param argv     list of words; argv[0], if there, is the program
-- @param program  its name (default: argv[0], or smtptest); as lmtptest it speaks LMTP
-- @return plan (without defaults), operands, mode; mode is {action = "session" "help" "version" "print-script",
--   script = FILE, execute = CHUNK, serve = true, save = DIR, args = words after "--" for a script or busted,
--   test = true, test_output = KIND, specs = list of paths, replay = FILE, match = HOW, tls_report = true, json = true,
--   min_days = N, secrets = list of {index, first}: where in argv a secret stands, from which byte on}
-- @return or nil, message, "USAGE" (the message names the program, the usage text belongs to it) or "FAILURE"
function options.parse(argv, program)
	program = basename(program or argv[0] or "smtptest")
	local state = { plan = {}, words = {}, secrets = {}, mode = { action = "session", args = {} } }
	state.mode.secrets = state.secrets
	if program == "lmtptest" then state.plan.protocol = "lmtp" end

	local words, args = state.words, state.mode.args
	local i = 1
	while argv[i] do
		local word = argv[i]
		if word == "--" then
			table.move(argv, i + 1, #argv, 1, args)
			break
		end
		local take = word:sub(1, 2) == "--" and take_long or word:match "^%-." and take_short
		if take then
			local last, message, code = take(state, argv, i)
			if not last then
				return nil, code == "USAGE" and program .. ": " .. message or message, code
			end
			if message then return state.plan, words, state.mode end
			i = last
		else
			words[#words + 1] = word
		end
		i = i + 1
	end
	if not modes.takes_words(state.mode) then table.move(args, 1, #args, #words + 1, words) end
	local message = finish(state)
	if message then return nil, message, "FAILURE" end
	return state.plan, state.words, state.mode
end

-- ---------------------------------------------------------------- usage

local function names_of(option)
	local names = {}
	local short, long, arg = option.short, option.long, option.arg
	if short then names[1] = "-" .. short .. (arg and " " .. arg or "") end
	if option.also then names[#names + 1] = "-" .. option.also end
	-- The classic program shows letters only; its long names stand in the manual.
	if long and not option.classic then
		names[#names + 1] = "--" .. long .. (arg and (option.optional and "[=%s]" or "=%s"):format(arg) or "")
	end
	return table.concat(names, ", ")
end

local function add(lines, option, width)
	local help = option.help
	if type(help) == "string" then help = { help } end
	local first = ("  %-" .. width .. "s : "):format(names_of(option))
	for i, text in ipairs(help or {}) do
		lines[#lines + 1] = (i == 1 and first or (" "):rep(width + 5)) .. text
	end
end

--- The usage text: first what the classic program has, in its order and words.
-- @param program  name of the program (default smtptest)
-- @return text, ends in a line feed
function options.usage(program)
	local lines = { ("Usage: %s [options] hostname"):format(basename(program or "smtptest")) }
	local group = "classic"
	for _, option in ipairs(options.list) do
		if option.group ~= group then
			group = option.group
			lines[#lines + 1] = group .. ":"
		end
		add(lines, option, group == "classic" and 8 or 26)
	end
	lines[#lines + 1] = "smtptest(1) tells more; there each letter has its long name."
	return table.concat(lines, "\n") .. "\n"
end

return options
