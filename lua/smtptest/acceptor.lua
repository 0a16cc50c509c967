--- acceptor: the server's side of AUTH (RFC 4954), by the Cyrus library.

local base64 = require "smtptest.base64"
local core = require "smtptest.core.sasl"
local sasl = require "smtptest.sasl"

local acceptor = {}

-- RFC 4954 section 4 asks for 12288; passwords may be longer here.
local LONGEST = 1 << 20

-- The binding that a SCRAM client's first message names, or the one that fits the version of TLS. GSSAPI has none (RFC
-- 4752 section 3.2): the Cyrus library would bind to it all the same, and refuse who binds to another.
local function binding_of(client, mechanism, initial)
	if not client.tls or mechanism and mechanism:find "^GSS" then return nil end
	local kind = initial and initial:match("^p=([%w-]+),")
	local known = kind == "tls-unique" or kind == "tls-exporter" or kind == "tls-server-end-point"
	local bytes, name = client.tls:channel_binding(known and kind or nil)
	if not bytes then bytes, name = client.tls:channel_binding() end
	return bytes and { type = name, data = bytes }
end

-- Who a certificate of the client says it is.
local function external_name(client)
	local leaf = client.tls and client.tls.peer[1]
	return leaf and (leaf.subject_cn or leaf.subject) or nil
end

local function conn_of(client, mechanism, initial)
	local plan = client.server.plan.sasl
	local mechanisms = plan.mechanisms
	if type(mechanisms) == "table" then mechanisms = table.concat(mechanisms, " ") end
	return core.server {
		service = client.protocol == "lmtp" and "lmtp" or "smtp",
		host = client.server.name,
		realm = plan.realm,
		mechanisms = mechanisms,
		users = plan.users,
		options = plan.options,
		minssf = plan.minssf or 0,
		maxssf = plan.maxssf or 256,
		external_ssf = client.tls and client.tls.bits or 0,
		external_name = external_name(client),
		binding = binding_of(client, mechanism, initial),
	}
end

--- The mechanisms to offer to this client now, strongest first.
-- @return list of names; empty without users and mechanisms
function acceptor.mechanisms(client)
	if not client.server.plan.sasl then return {} end
	local key = client.tls and "tls" or "clear"
	local cache = client.server.offered
	local external = external_name(client)
	if cache[key] and not external then return cache[key] end
	local conn = conn_of(client)
	if not conn then return {} end
	local names = conn:mechanisms()
	conn:close()
	local list = {}
	for _, name in ipairs(names) do
		if name ~= "EXTERNAL" or external then list[#list + 1] = name end
	end
	if not external then cache[key] = list end
	return list
end

--- Looks for what the library has not among the mechanisms that a plan's `sasl` names.
-- @return the first such name, or nil
function acceptor.unknown(plan)
	local names = plan.mechanisms or ""
	if type(names) == "table" then names = table.concat(names, " ") end
	for name in names:gmatch "%S+" do
		local conn = core.server { service = "smtp", host = "localhost", mechanisms = name, users = {}, maxssf = 256,
			options = plan.options, external_name = "anybody", external_ssf = 256 }
		local known = conn and conn:mechanisms()[1]
		if conn then conn:close() end
		if not known then return name end
	end
end

local function refuse(client, code, text, message, symbol)
	client:answer(code, text)
	return nil, message or text, symbol or "SASL"
end

-- A line of the client's that answers a 334.
local function response_of(client)
	local limit = client.transport.maxline
	client.transport.maxline = LONGEST
	local line, message, code = client:line()
	client.transport.maxline = limit
	if not line then
		if code == "TOOLONG" then
			return refuse(client, 500, "5.5.6 the line of the authentication exchange is too long", message, code)
		end
		return nil, message, code
	end
	if line == "*" then return refuse(client, 501, "5.7.0 authentication canceled", nil, "CANCELED") end
	local bytes
	bytes, message, code = base64.decode(line)
	if not bytes then return refuse(client, 501, "5.5.2 " .. message, message, code) end
	return bytes
end

-- Those of the Cyrus library that begin with a challenge whatever was said (RFC 4954 section 4).
local SERVER_FIRST = { ["CRAM-MD5"] = true }

-- Refused by the library, whatever its reason: which of name and password was wrong is nobody's business.
local function reject(client, message)
	client.server:note(client, "auth", { mechanism = client.trying, refused = message })
	return refuse(client, 535, "5.7.8 authentication failed", message)
end

local function names_of(conn, mechanism)
	local username, authname = conn:username(), conn:authid()
	if authname == nil or authname == "" then authname = username end
	return { mechanism = mechanism, authname = authname, username = username }
end

-- Tells which of the server's options the library has not looked at.
local function note_ignored(client, conn)
	if not client.server.plan.sasl.options then return end
	for _, text in ipairs(sasl.ignored(conn)) do client.server:note(client, "auth", { text = text }) end
end

-- The mechanism is satisfied: whoever it is must be let in, by a handler or because it acts for itself.
local function admit(client, conn, mechanism)
	local names = names_of(conn, mechanism)
	local code, text = client.server:ask(client, "auth", names)
	if code == false then return nil, "closed by the handler", "EOF" end
	if code == true then return nil, "answered by the handler", "SASL" end
	if not code and names.username ~= names.authname then
		code, text = 535, "5.7.8 not authorized to act for another"
	end
	code, text = code or 235, text or "2.7.0 authentication successful"
	client:answer(code, text)
	if code ~= 235 then
		client.server:note(client, "auth", { mechanism = mechanism, refused = text })
		conn:close()
		return nil, text, "SASL"
	end
	client.authname, client.username, client.mechanism = names.authname, names.username, mechanism
	client.ssf = conn:ssf()
	if client.ssf > 0 then client.layer = conn:layer() else conn:close() end
	client.server:note(client, "auth", { mechanism = mechanism, ssf = client.ssf })
	return true
end

--- Takes part in an exchange: 334s are sent at once, the final reply waits for others; a layer is left in
-- `client.layer`, to be put on after it.
-- @param argument  what follows AUTH: a mechanism, and maybe an initial response
-- @return true | nil, message, CODE
function acceptor.accept(client, argument)
	local name, rest = argument:match("^(%S+)%s*(.-)%s*$")
	if not name then return refuse(client, 501, "5.5.4 AUTH wants one blank and a mechanism (RFC 4954 section 4)") end
	name = name:upper()
	local offered = false
	for _, mechanism in ipairs(acceptor.mechanisms(client)) do offered = offered or mechanism == name end
	if not offered then return refuse(client, 504, "5.5.4 mechanism not offered", nil, "NOMECH") end
	local initial, message, code
	if rest == "=" then
		initial = ""
	elseif rest ~= "" then
		initial, message, code = base64.decode(rest)
		if not initial then return refuse(client, 501, "5.5.2 " .. message, message, code) end
	end
	if initial and SERVER_FIRST[name] then
		return refuse(client, 501, ("5.5.4 %s has no initial response (RFC 4954 section 4)"):format(name))
	end
	client.trying = name
	local conn
	conn, message, code = conn_of(client, name, initial)
	if not conn then return refuse(client, 454, "4.7.0 authentication is not available now", message, code) end
	local ok, challenge, done = conn:start(name, initial)
	while ok and not done do
		local response
		ok, message, code = client:reply(334, base64.encode(challenge or ""))
		if ok then response, message, code = response_of(client) end
		if not response then
			conn:close()
			return nil, message, code
		end
		ok, challenge, done = conn:step(response)
	end
	note_ignored(client, conn)
	if not ok then
		conn:close()
		return reject(client, challenge)
	end
	return admit(client, conn, name)
end

return acceptor
