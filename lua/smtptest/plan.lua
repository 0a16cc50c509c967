--- plan: what a session is to do, as data. Every flag of the command line is one field.
--
-- A plan is a plain table. `plan.fields` names all fields and what each may hold; a name that is not there is refused
-- with the nearest one that is.

local nearest = require "smtptest.nearest"
local proxy = require "smtptest.proxy"

local plan = {}

-- ---------------------------------------------------------------- what a field may hold

-- A kind is {words for the message, test}; a test that fails may say why.

local function one_of(...)
	local names, known = { ... }, {}
	for i, name in ipairs(names) do
		known[name] = true
		names[i] = ("%q"):format(name)
	end
	return { "one of " .. table.concat(names, " "), function(value) return known[value] end }
end

local function either(a, b)
	return { a[1] .. " or " .. b[1], function(value) return a[2](value) or b[2](value) end }
end

local function is(kind, words)
	return { words, function(value) return type(value) == kind end }
end

local function is_list_of_strings(value)
	if type(value) ~= "table" then return false end
	local count = 0
	for key, item in pairs(value) do
		if math.type(key) ~= "integer" or type(item) ~= "string" then return false end
		count = count + 1
	end
	return count == #value
end

local function is_map_of_strings(value)
	if type(value) ~= "table" then return false end
	for key, item in pairs(value) do
		if type(key) ~= "string" or type(item) ~= "string" then return false end
	end
	return true
end

--- A table with these fields and no other. kinds: name → kind.
local function record_of(words, kinds)
	return { words, function(value)
		if type(value) ~= "table" then return false end
		for name, item in pairs(value) do
			if not (kinds[name] and kinds[name][2](item)) then return false end
		end
		return true
	end }
end

local function integer_from(first, last, words)
	return { words, function(value)
		local integer = math.tointeger(value)
		return integer and type(value) == "number" and integer >= first and integer <= last
	end }
end

local text = is("string", "a string")
local switch = is("boolean", "a boolean")
local callable = { "a function", function(value)
	local meta = getmetatable(value)
	return type(value) == "function" or type(meta) == "table" and meta.__call ~= nil
end }
local asked = either(text, callable)
local stream = either(is("table", "a table"), is("userdata", "a file"))
local strength = integer_from(0, math.maxinteger, "an integer from 0 on")
local count = integer_from(1, math.maxinteger, "an integer from 1 on")
local port_number = integer_from(0, 65535, "an integer from 0 to 65535")
local seconds = { "a number of seconds above 0", function(value)
	return type(value) == "number" and value > 0
end }
local tls_version = one_of("1.0", "1.1", "1.2", "1.3")
local list = { "a list of strings", is_list_of_strings }

--- name → kind, for every field of a plan.
plan.fields = {
	-- where to, and as whom
	host = text,
	port = either(port_number, text),       -- a number or the name of a service
	socket = text,                          -- path of a UNIX socket, instead of host and port
	family = one_of("inet", "inet6"),
	source = record_of("a table of host and port", { host = text, port = port_number }),
	protocol = one_of("smtp", "lmtp"),
	helo = text,
	timeout = seconds,                      -- for every phase; math.huge waits for ever
	greeting = switch,                      -- false: connect does not read it
	proxy = { "a table of version, command, source, target, unknown and tlvs", proxy.valid },

	-- TLS
	tls = one_of("none", "starttls", "implicit"),
	certfile = text, keyfile = text,        -- PEM; both in one file: name it twice
	keypass = asked,
	cafile = text, capath = text,
	verify = either(switch, text),          -- true or the name to check: a bad certificate is an error
	sni = text,
	min_version = tls_version, max_version = tls_version,
	ciphers = text,                         -- up to TLS 1.2, in OpenSSL's words
	ciphersuites = text,                    -- TLS 1.3
	groups = text,
	alpn = list,
	session = either(text, is("table", "a session of Session.tls")),   -- to be resumed
	keylog = text,

	-- authentication
	auth = switch,                          -- nil: when a mechanism, a name or a password is given
	mechanism = text,                       -- one, or several between blanks
	authname = text, username = text,
	realm = asked, password = asked,
	minssf = strength, maxssf = strength,   -- bits, TLS counts
	initial_response = either(switch, text),
	challenge = either(switch, asked),
	channel_binding = either(switch, text),
	sasl_options = { "a table of strings", is_map_of_strings },
	reauth = switch,                        -- DIGEST-MD5 may reauthenticate fast

	-- what is sent
	from = text,                            -- "" is the null sender
	to = list,
	data = either(asked, stream),           -- {file = path}, "-" for stdin, is a stream too
	rounds = count,
	input = either(asked, stream),
	crlf = switch, lockstep = switch,

	-- what comes of it
	strict = switch, verbose = switch,
	pidfile = text,
	output_socket = text, daemon = switch,
	record = text, log = text,              -- paths of files
	show_secrets = switch,                  -- in these files
	maxline = count,                        -- bytes
	hide_secrets = switch, times = switch, explain = switch, trace = switch,
}

local names = {}
for name in pairs(plan.fields) do names[#names + 1] = name end
table.sort(names)

-- ---------------------------------------------------------------- checking

-- Fields whose values are never shown, whatever they are.
local SECRET = { password = true, keypass = true, challenge = true, initial_response = true, session = true }

--- How a wrong value looks in a message.
local function shown(name, value)
	local kind = type(value)
	if kind == "boolean" or kind == "number" and not SECRET[name] then return tostring(value) end
	if kind == "string" and not SECRET[name] then return ("%q"):format(value) end
	return "a " .. kind
end

--- Checks that every field of a plan is known and holds what it may.
-- @param t      the plan
-- @param level  whom the error blames, as in error(): 1 (default) the line that called check, 2 its caller…
-- @return t; raises for an unknown field or a wrong value
function plan.check(t, level)
	level = (level or 1) + 1
	if type(t) ~= "table" then
		error(("a plan is a table, got %s"):format(type(t)), level)
	end
	for name, value in pairs(t) do
		local kind = plan.fields[name]
		if not kind then
			local known = type(name) == "string" and nearest(name, names)
			error(("unknown plan field '%s'%s"):format(tostring(name),
				known and (" (did you mean '%s'?)"):format(known) or ""), level)
		end
		local ok, why = kind[2](value)
		if not ok then
			error(("plan field '%s': expected %s, got %s%s"):format(name, kind[1], shown(name, value),
				why and ": " .. why or ""), level)
		end
	end
	return t
end

-- ---------------------------------------------------------------- making

--- A plan owns its lists; a handle or an object with a metatable is shared.
local function copy(value)
	if type(value) ~= "table" or getmetatable(value) then return value end
	local twin = {}
	for key, item in pairs(value) do twin[key] = item end
	return twin
end

local function lay(over, t)
	for name, value in pairs(t) do over[name] = copy(value) end
	return over
end

--- Makes a plan from another one.
-- @param changes  table of fields
-- @param base     plan that they are laid over (default: an empty one); it is not changed
-- @param level    whom an error blames, as in plan.check
-- @return a new plan; raises as plan.check
function plan.new(changes, base, level)
	level = (level or 1) + 1
	plan.check(changes, level)
	if base ~= nil then plan.check(base, level) end
	return lay(lay({}, base or {}), changes)
end

--- Services and their numbers, for machines that have no /etc/services.
plan.services = { smtp = 25, smtps = 465, lmtp = 24 }

local function default_service(protocol, tls)
	if protocol == "lmtp" then return "lmtp" end
	return tls == "implicit" and "smtps" or "smtp"
end

--- Fills in what a plan leaves open. What stays nil: `timeout` (each phase has its own), `auth` (see plan.fields), and
-- what the peer or the SASL library decides.
-- @param p  plan
-- @return a new plan
function plan.defaults(p)
	local protocol = p.protocol or "smtp"
	local tls = p.tls or "none"
	return lay({
		host = "localhost",
		port = default_service(protocol, tls),
		protocol = protocol,
		helo = protocol == "lmtp" and "lmtptest" or "smtptest",
		greeting = true,
		tls = tls,
		verify = false,
		minssf = 0,
		maxssf = 128,
		challenge = false,
		reauth = false,
		rounds = 1,
		crlf = false, lockstep = false,
		strict = false, verbose = false,
		daemon = false,
		maxline = 1024 * 1024,
		hide_secrets = false, times = false, explain = false, trace = false,
	}, p)
end

return plan
