--- sasl: one exchange of a SASL mechanism (RFC 4422), done by the Cyrus library or by a mechanism in Lua.

local core = require "smtptest.core.sasl"

local sasl = {}

-- ---------------------------------------------------------------- mechanisms in Lua

local shipped = {}

--- Mechanisms in Lua, by upper-case name: function(credentials) -> function(challenge) -> response, done.
-- The first call gets nil and may give nil (no initial response). A raised string cancels and is the reason.
-- `credentials`: authname username password realm host port service channel_binding. A script's own entry wins over the
-- Cyrus library; the shipped ones are used only where that has none.
sasl.mechanisms = setmetatable({}, { __index = shipped })

-- draft-murchison-sasl-login: two prompts, whatever they say.
function shipped.LOGIN(credentials)
	local step = 0
	return function(challenge)
		if not challenge then return nil end
		step = step + 1
		if step == 1 then return credentials.authname end
		if step == 2 then
			if challenge == "" then error("bad protocol / cancel", 0) end
			return credentials.password, true
		end
		error("the server asks for more than a name and a password", 0)
	end
end

-- The server's JSON error comes in a 334 and is answered, so that the final reply follows.
local function oauth(answer, message)
	local step = 0
	return function(challenge)
		step = step + 1
		if step == 1 then return message, true end
		if step == 2 then return challenge == "" and "" or answer, true end
		error("the server asks for more than a token", 0)
	end
end

--- Google's XOAUTH2; the password is the token.
function shipped.XOAUTH2(credentials)
	return oauth("", ("user=%s\1auth=Bearer %s\1\1"):format(
		credentials.username ~= "" and credentials.username or credentials.authname, credentials.password))
end

--- RFC 7628 section 3.1; the password is the token.
function shipped.OAUTHBEARER(credentials)
	local name = credentials.username ~= "" and credentials.username or credentials.authname
	name = name:gsub("[=,]", { ["="] = "=3D", [","] = "=2C" })
	return oauth("\1", ("n,a=%s,\1host=%s\1port=%d\1auth=Bearer %s\1\1"):format(
		name, credentials.host, credentials.port, credentials.password))
end

-- ---------------------------------------------------------------- answers

-- What libsasl asks, in the order in which people are asked.
local ORDER = { "authname", "username", "password", "realm", "echo", "noecho" }

local function answer(request, prompt)
	local value = request[prompt.id]
	if prompt.id == "echo" or prompt.id == "noecho" then
		value = request.challenge
		if type(value) == "boolean" then return nil end
		if type(value) ~= "string" and value then
			return value(prompt.challenge, prompt.prompt, prompt.id == "echo")
		end
		return value
	end
	if value ~= nil and type(value) ~= "string" then
		if prompt.id == "realm" then
			local list = {}
			for realm in (prompt.challenge or ""):gmatch("{(.-)}") do list[#list + 1] = realm end
			return value(list, prompt.default)
		end
		return value()
	end
	if value == nil and prompt.id == "username" then return "" end
	return value
end

local function answers(request, prompts)
	local given, asked = {}, {}
	for _, prompt in ipairs(prompts) do asked[prompt.id] = prompt end
	for _, id in ipairs(ORDER) do
		local prompt = asked[id]
		if prompt then
			local value, message, code = answer(request, prompt)
			if value == nil then
				if id == "realm" and not message and prompt.default then
					value = prompt.default
				else
					return nil, message or ("no %s given"):format(id), code or "INTERACT", prompts
				end
			end
			given[id] = value
		end
	end
	return given
end

-- ---------------------------------------------------------------- an exchange with the Cyrus library

local Cyrus = {}
Cyrus.__index = Cyrus

-- Calls a method of the client until it has no more questions.
local function ask(self, method, ...)
	local client = self.client
	while true do
		local ok, response, third, fourth = client[method](client, ...)
		if ok then return true, response, third, fourth end
		if third ~= "INTERACT" then return nil, response, third, fourth end
		local given, message, code, prompts = answers(self.request, client:prompts())
		if not given then return nil, message, code, prompts end
		client:answer(given)
	end
end

function Cyrus:step(challenge)
	-- libsasl's mechanisms tell no challenge from an empty one, as the classic program does.
	local ok, response, done, prompts = ask(self, "step", challenge ~= "" and challenge or nil)
	if not ok then return nil, response, done, prompts end
	self.done = done
	return true, response
end

function Cyrus:ssf()
	return self.done and self.client:ssf() or 0
end

function Cyrus:layer()
	return self.client:layer()
end

function Cyrus:close()
	self.client:close()
end

--- What to tell the user about options that had no effect.
-- @param connection  client or server of smtptest.core.sasl, not closed
-- @return list of strings, one an option, in the order of their names; what the options were is not in them
function sasl.ignored(connection)
	local list = connection:ignored()
	table.sort(list, function(a, b) return a.name < b.name end)
	for i, option in ipairs(list) do
		local why = "the SASL library did not ask for it"
		if option.once then
			why = "the SASL library asks for it once in a process, and has got "
				.. (option.value and '"' .. option.value .. '"' or "no answer")
		end
		list[i] = ("the option %s has no effect: %s"):format(option.name, why)
	end
	return list
end

function Cyrus:ignored()
	return sasl.ignored(self.client)
end

local function cyrus_start(request, names)
	local client, message, code = core.client {
		service = request.service,
		host = request.host,
		minssf = request.minssf,
		maxssf = request.maxssf,
		external_ssf = request.external_ssf,
		external_name = request.external_name,
		options = request.options,
		challenge = request.challenge and true or false,
		proxying = request.proxying,
		binding = request.binding,
	}
	if not client then return nil, message, code end
	local self = setmetatable({ client = client, request = request }, Cyrus)
	-- The library may remember a former server's nonce: a stale first message, and then a layer that does not work.
	local initial = request.initial ~= false
	if names == "DIGEST-MD5" and not request.reauth then initial = false end
	local ok, response, mechanism, done = ask(self, "start", names, initial)
	if not ok then
		client:close()
		return nil, response, mechanism, done       -- message, code, the mechanism it chose or the prompts
	end
	if mechanism == "DIGEST-MD5" and initial and response and not request.reauth then
		client:close()
		return cyrus_start(request, "DIGEST-MD5")
	end
	self.response, self.mechanism, self.done = response, mechanism, done
	return self
end

-- ---------------------------------------------------------------- an exchange with a mechanism in Lua

local Scripted = {}
Scripted.__index = Scripted

local function call(self, challenge)
	local ok, response, done = pcall(self.fn, challenge)
	if not ok then
		if type(response) == "string" then return nil, response, "SASL" end
		if type(response) == "table" and response.prompts then
			return nil, response.message, response.code, response.prompts
		end
		error(response, 0)
	end
	if response ~= nil and type(response) ~= "string" then
		error(("mechanism %s: string or nil expected, got %s"):format(self.mechanism, type(response)), 0)
	end
	self.done = self.done or done or false
	return true, response
end

function Scripted:step(challenge)
	return call(self, challenge)
end

function Scripted.ssf()
	return 0
end

function Scripted.close() end

-- It asks for none, and gets none.
function Scripted.ignored()
	return {}
end

-- What is asked for only when the mechanism reads it: LOGIN's password comes after the challenge.
local ASKED = { authname = true, username = true, password = true, realm = true }

local function credentials_of(request)
	return setmetatable({
		service = request.service, host = request.host, port = request.port, channel_binding = request.binding,
	}, { __index = function(self, key)
		if not ASKED[key] or key == "realm" and request.realm == nil then return nil end
		local given, message, code, prompts = answers(request, { { id = key } })
		if not given then error({ message = message, code = code, prompts = prompts }, 0) end
		self[key] = given[key]
		return given[key]
	end })
end

local function scripted_start(request, name)
	local self = setmetatable({ mechanism = name, done = false }, Scripted)
	self.fn = function()
		local fn = sasl.mechanisms[name](credentials_of(request))
		if type(fn) ~= "function" then error(("mechanism %s is no function that gives one"):format(name), 0) end
		self.fn = fn
		return fn(nil)
	end
	local ok, response, code, prompts = call(self, nil)
	if not ok then return nil, response, code, prompts or name end
	if request.initial == false and response then
		self.held_back, response = response, nil
	end
	self.response = response
	return self
end

-- ---------------------------------------------------------------- choosing

local TOKEN = { XOAUTH2 = true, OAUTHBEARER = true }

-- Where a mechanism in Lua may be used: LOGIN knows one name only, and none of them brings strength.
local function allows(request, name)
	if (request.minssf or 0) > (request.external_ssf or 0) then return false end
	if name == "LOGIN" and request.proxying then return false end
	return not TOKEN[name] or request.named
end

-- Whether a name that promises a channel binding can keep that: libsasl takes any such name for its bare form where
-- several are given (RFC 5801 section 4, RFC 5802).
local function can_bind(request, name)
	return request.binding ~= nil and (name:find("^SCRAM%-") or name:find("^GS2%-")) ~= nil
end

local function split(request)
	local own, cyrus, fallback = {}, {}, {}
	local installed = {}
	for _, name in ipairs(core.mechanisms(request.options)) do installed[name] = true end
	for _, name in ipairs(request.mechanisms) do
		name = name:upper()
		if rawget(sasl.mechanisms, name) then
			own[#own + 1] = name
		elseif name:find("%-PLUS$") then
			if installed[name:gsub("%-PLUS$", "")] and can_bind(request, name) then cyrus[#cyrus + 1] = name end
		elseif installed[name] then
			cyrus[#cyrus + 1] = name
		elseif shipped[name] and allows(request, name) then
			fallback[#fallback + 1] = name
		end
	end
	return own, cyrus, fallback
end

local function without(names, gone)
	local rest = {}
	for _, name in ipairs(names) do
		if name ~= gone then rest[#rest + 1] = name end
	end
	return rest
end

--- Starts an exchange with the strongest mechanism that works here.
-- @param request  table: mechanisms (list of names), named (true: the user named them), service, host, port,
--   authname username password realm challenge (strings or functions), minssf maxssf external_ssf external_name,
--   options, proxying, binding {type=, data=, critical=}, initial (false: no initial response), reauth,
--   skipped (function(mechanism, reason), called for each that failed before anything was sent)
-- @return exchange: mechanism, response (nil: no initial response), done, step(challenge) -> true, response, ssf(),
--   layer(), ignored() (as sasl.ignored), close(); or nil, message, NOMECH SASL INTERACT, prompts
function sasl.start(request)
	-- The library costs milliseconds to start: not for nothing.
	if #request.mechanisms == 0 then return nil, "no mechanism available", "NOMECH" end
	local own, cyrus, fallback = split(request)
	local message, code, detail = "no mechanism available", "NOMECH", nil
	local first_message, first_code
	local function try(start, names, label)
		local exchange, why, symbol, more = start(request, names)
		if exchange then return exchange end
		message, code, detail = why, symbol, more
		if symbol ~= "NOMECH" and not first_code then first_message, first_code = why, symbol end
		if symbol == "SASL" and request.skipped and #request.mechanisms > 1 then request.skipped(label or more, why) end
	end
	for _, name in ipairs(own) do
		local exchange = try(scripted_start, name, name)
		if exchange then return exchange end
		if code == "INTERACT" then return nil, message, code, detail end
	end
	while #cyrus > 0 do
		local exchange = try(cyrus_start, table.concat(cyrus, " "))
		if exchange then return exchange end
		if code == "INTERACT" then return nil, message, code, detail end
		if code ~= "SASL" or not detail then break end
		local rest = without(cyrus, detail)
		if #rest == #cyrus then break end
		cyrus = rest
	end
	for _, name in ipairs(fallback) do
		local exchange = try(scripted_start, name, name)
		if exchange then return exchange end
		if code == "INTERACT" then return nil, message, code, detail end
	end
	return nil, first_message or message, first_code or code
end

sasl.version = core.version

return sasl
