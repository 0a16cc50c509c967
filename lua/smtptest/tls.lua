--- tls: what a plan says about TLS, made into the primitive's contexts and machines; and what a handshake came to.

local core = require "smtptest.core.tls"
local cert = require "smtptest.core.cert"
local file = require "smtptest.core.file"

local tls = {}

-- What makes one context differ from another. A context costs milliseconds: each is made once, as long as its files
-- stay the same.
local SETTINGS = { "certfile", "keyfile", "cafile", "capath", "min_version", "max_version", "ciphers",
	"ciphersuites", "groups", "alpn", "keylog" }
local FILES = { "certfile", "keyfile", "cafile", "capath" }
local contexts = {}     -- settings as text -> {context, stamp}

local function settings_of(plan)
	local settings, key = {}, {}
	for i, name in ipairs(SETTINGS) do
		local value = plan[name]
		settings[name] = value
		key[i] = value == nil and "" or "=" .. (type(value) == "table" and table.concat(value, "\1") or value)
	end
	-- Who has the key does not have its password.
	if type(plan.keypass) == "string" then key[#key + 1] = plan.keypass end
	return settings, table.concat(key, "\0")
end

-- What changes when a file does; one that can't be looked at is told by who reads it.
local function stamp_of(plan)
	local stamps = {}
	for i, name in ipairs(FILES) do stamps[i] = plan[name] and file.stamp(plan[name]) or "" end
	return table.concat(stamps, " ")
end

--- The client context of a plan.
-- @param plan  certfile keyfile keypass cafile capath min_version max_version ciphers ciphersuites groups alpn keylog;
--   keypass a string, or a function called only when the key is encrypted
-- @return context | nil, message, TLS
function tls.context(plan)
	local settings, key = settings_of(plan)
	local stamp = stamp_of(plan)
	local known = contexts[key]
	if known and known.stamp == stamp then return known.context end
	if settings.keyfile and not settings.certfile then settings.certfile = settings.keyfile end
	if type(plan.keypass) == "string" then settings.keypass = plan.keypass end
	local context, message, code, missing = core.context(settings)
	if not context and missing == "keypass" and type(plan.keypass) == "function" then
		local password, why, symbol = plan.keypass()
		if not password then return nil, why, symbol end
		settings.keypass = password
		context, message, code = core.context(settings)
	end
	if not context then return nil, message, code end
	contexts[key] = { context = context, stamp = stamp }
	return context
end

--- Whether a host is a numeric address (then no SNI is sent: RFC 6066 section 3).
function tls.is_address(host)
	return host:find("^%d+%.%d+%.%d+%.%d+$") ~= nil or host:find(":", 1, true) ~= nil
end

--- A client machine for a plan.
-- @param plan  as tls.context, and host sni verify session verbose
-- @return machine | nil, message, code
function tls.client(plan)
	local context, message, code = tls.context(plan)
	if not context then return nil, message, code end
	local host = plan.host:match("^%[(.*)%]$") or plan.host
	local name = type(plan.verify) == "string" and plan.verify or host
	local sni = plan.sni or host
	local session = plan.session
	return context:client {
		sni = sni ~= "" and not tls.is_address(sni) and sni or nil,
		name = not tls.is_address(name) and name or nil,
		ip = tls.is_address(name) and name:match("^[^%%]*") or nil,
		verify = plan.verify and true or false,
		session = type(session) == "table" and session.bytes or session,
		trace = plan.verbose or nil,
	}
end

-- ---------------------------------------------------------------- what it came to

-- The verify callback's calls, with those that repeat an error counted.
local function gather(calls)
	local problems = {}
	for _, call in ipairs(calls) do
		local last = problems[#problems]
		if not call.again then
			call.times = 1
			problems[#problems + 1] = call
		elseif last and last.code == call.code then
			last.times = last.times + 1
		end
	end
	return problems
end

local Info = { __name = "smtptest.tls" }
local lazy, methods = {}, {}

function Info:__index(key)
	if methods[key] then return methods[key] end
	local make = lazy[key]
	local value = make and make(self)
	if value ~= nil and key ~= "session" then rawset(self, key, value) end
	return value
end

-- Certificates of the peer, leaf first. A resumed handshake brings only the leaf.
function lazy:peer()
	local chain = {}
	for i, der in ipairs(self.machine:peer()) do chain[i] = cert.parse(der) end
	return chain
end

-- What resumes this session (plan field `session`): the newest ticket. TLS 1.3 tickets come after the handshake.
function lazy:session()
	local arrived = self.machine:sessions()
	local bytes = arrived[#arrived] or rawget(self, "ticket")
	rawset(self, "ticket", bytes)
	return bytes and { bytes = bytes, problems = self.problems, verified = self.verified }
end

local KINDS = { ["tls-exporter"] = true, ["tls-unique"] = true, ["tls-server-end-point"] = true }

local function binding(self, kind)
	if kind and not KINDS[kind] then error(("unknown kind of channel binding '%s'"):format(tostring(kind)), 3) end
	kind = kind or (self.protocol == "TLSv1.3" and "tls-exporter" or "tls-unique")
	local bytes, message, code = self.machine:channel_binding(kind)
	if not bytes then return nil, message, code end
	return bytes, kind
end

--- Channel binding data (RFC 5929, RFC 9266): channel_binding(kind), as a method or as the field that it is.
-- @param kind  "tls-exporter", "tls-unique" or "tls-server-end-point"; default what the protocol version is bound with
-- @return bytes, kind | nil, message, TLS
function lazy:channel_binding()
	return function(first, second)
		local kind = first
		if first == self then kind = second end
		local bytes, named, code = binding(self, kind)
		return bytes, named, code
	end
end

--- Handshake states since the last call, when the plan is verbose.
-- @return list of strings
function methods:trace()
	return self.machine:trace()
end

--- What a finished handshake came to, as Session.tls.
-- @param machine   the primitive
-- @param plan      the plan it was made for
-- @param leftover  bytes that were received in clear before it
function tls.info(machine, plan, leftover)
	local info = machine:info()
	info.machine, info.plan = machine, plan
	info.leftover = leftover
	local stored = type(plan.session) == "table" and plan.session
	if info.resumed and stored then
		-- No certificate was shown this time: the judgement is the first handshake's.
		info.problems, info.verified = stored.problems, stored.verified
		-- Under TLS 1.2 a server that resumes need not send another ticket: the old one goes on to serve.
		info.ticket = stored.bytes
	else
		info.problems = gather(machine:problems())
		info.verified = info.verified and #info.problems == 0
	end
	return setmetatable(info, Info)
end

--- The identity that our own certificate of a plan proves: its subject's CN, or its whole subject; nil without one.
function tls.identity(plan)
	if not plan.certfile then return nil end
	local chain = cert.load(plan.certfile)
	local leaf = chain and chain[1]
	return leaf and (leaf.subject_cn or leaf.subject)
end

tls.version = core.version

return tls
