--- auth: the AUTH command (RFC 4954): a method of Session.

local argument = require "smtptest.argument"
local base64 = require "smtptest.base64"
local file = require "smtptest.core.file"
local plans = require "smtptest.plan"
local sasl = require "smtptest.sasl"
local smtp = require "smtptest.smtp"
local tls = require "smtptest.tls"

local auth = { methods = {} }
local methods = auth.methods

-- RFC 5321 section 4.5.3.1.4: a command line has at most 512 octets, CR LF included.
local LONGEST = 512

local OPTIONS = { on_challenge = "function" }
for name in ([[mechanism authname username password realm challenge minssf maxssf sasl_options channel_binding reauth
	initial_response]]):gmatch("%S+") do
	OPTIONS[name] = plans.fields[name]
end

-- Whose login name is authname's default: asked only when a mechanism needs it.
local function login_name()
	local uid = file.getuid()
	local name = file.username(uid)
	if name then return name end
	return nil, ("no user name for uid %d: use -a"):format(uid), "INTERACT"
end

local function binding_of(self, wanted)
	if not self.tls or wanted == false then return nil end
	local named = type(wanted) == "string" and wanted or nil
	local bytes, kind, code = self.tls:channel_binding(named)
	if not bytes and named then self:fail("AUTH", kind, code) end
	return bytes and { type = kind, data = bytes }
end

local function request_of(self, options)
	local plan = self.plan
	local function field(name)
		if options[name] ~= nil then return options[name] end
		return plan[name]
	end
	local initial = field("initial_response")
	local mechanism = field("mechanism")
	local names = {}
	if mechanism then
		for name in mechanism:gmatch("[%w_-]+") do names[#names + 1] = name:upper() end
	else
		names = self.capabilities.AUTH or names
	end
	local authname, username = field("authname"), field("username")
	local only_plus = #names > 0
	for _, name in ipairs(names) do only_plus = only_plus and name:find("%-PLUS$") ~= nil end
	local binding = binding_of(self, field("channel_binding"))
	if binding then binding.critical = only_plus end
	return {
		mechanisms = names,
		named = mechanism ~= nil,
		service = plan.protocol == "lmtp" and "lmtp" or "smtp",
		host = self.host,
		port = self.port,
		authname = authname or login_name,
		username = username,
		password = field("password"),
		realm = field("realm"),
		challenge = field("challenge"),
		minssf = field("minssf"),
		maxssf = field("maxssf"),
		external_ssf = self.tls and self.tls.bits or 0,
		external_name = self.tls and tls.identity(self.tls.plan),
		options = field("sasl_options"),
		proxying = username ~= nil and username ~= "" and username ~= (authname or login_name()),
		binding = binding,
		initial = initial ~= false,
		given = type(initial) == "string" and initial or nil,
		reauth = field("reauth"),
		skipped = function(name, reason)
			self.transport:note("auth", { mechanism = name, skipped = reason })
		end,
	}
end

local function encoded(response)
	return response == "" and "=" or base64.encode(response)
end

local function send_line(self, line)
	smtp.write(self, line .. "\r\n", "AUTH")
end

-- Takes an open exchange back; what the server says to that is part of the error.
local function cancel(self, message, code, fields)
	send_line(self, "*")
	fields = fields or {}
	local ok, answer = pcall(self.reply, self, nil, "AUTH", "*")
	-- A server that hangs up now is not the reason.
	if not ok and answer.code ~= "EOF" and answer.code ~= "ECONNRESET" then error(answer, 0) end
	fields.reply = ok and answer or nil
	self:fail("AUTH", message, code, fields)
end

local function decoded(self, answer)
	local text = answer.text
	if answer.raw:find("^334[^ %-\r\n]") then text = answer.raw:sub(4):gsub("%s+$", "") end   -- no blank after the code
	local challenge, message, code = base64.decode((text:gsub("%s+$", "")))
	if not challenge then cancel(self, "the server's challenge is " .. message, code) end
	return challenge
end

-- The mechanism's answer to a challenge, or what on_challenge makes of it; nil: the script takes the exchange back.
local function response_to(self, exchange, challenge, options, step)
	local held = exchange.held_back
	local ok, response, code, prompts
	if held then
		exchange.held_back = nil
		ok, response = true, held
	elseif exchange.over then
		ok = true           -- on_challenge has taken it out of the mechanism's hands
	else
		ok, response, code, prompts = exchange:step(challenge)
	end
	if options.on_challenge then
		if ok and not exchange.over then response = response or "" else response = nil end
		local given = options.on_challenge(challenge, response, step)
		if given ~= nil and type(given) ~= "string" then
			error("bad result of on_challenge (string or nil expected, got " .. type(given) .. ")", 0)
		end
		if given ~= response then exchange.over = true end
		exchange.scripted = given ~= nil
		return given
	end
	if not ok then cancel(self, response, code, { prompts = prompts }) end
	return response or ""
end

local function judge(self, exchange, answer)
	local finished = exchange.done and not exchange.held_back
	if (finished or exchange.scripted) and not exchange.canceled then return end
	local name = exchange.mechanism
	local proves = name:find("^SCRAM") or name == "DIGEST-MD5" or name:find("^GS")
	self:fail("AUTH", proves and "server did not prove its identity"
		or ("%s ended early"):format(name), "SASL", { reply = answer })
end

local function put_layer_on(self, exchange)
	local ssf = exchange:ssf()
	if ssf == 0 then return exchange:close() end      -- one of an earlier exchange stays (RFC 4422 section 3.8)
	self.transport:secure(exchange:layer())
	self.ssf = ssf
	self.capabilities = {}
end

--- Authenticates.
-- @param options  mechanism (names between blanks or commas; default: those in the capabilities, strongest first),
--   authname username realm password challenge minssf maxssf sasl_options channel_binding reauth (default: the plan's);
--   initial_response: nil as the mechanism does, false never, a string exactly these bytes;
--   on_challenge: function(challenge, response, step) -> bytes to send, or nil to cancel with "*"; `response` is what
--   the mechanism would send, nil where it has nothing to say
-- @return the final reply, `challenge` in it the last decoded 334. Sets `authenticated mechanism ssf`; puts the
--   security layer on. Raises NOMECH, INTERACT (`err.prompts`), SASL and BASE64 (after sending "*"
--   where an exchange was open: `err.reply`)
function methods:auth(options)
	options = argument.options(options, OPTIONS, 2)
	local request = request_of(self, options)
	local exchange, message, code, prompts = sasl.start(request)
	if not exchange then
		self:fail("AUTH", message, code, { prompts = type(prompts) == "table" and prompts or nil })
	end
	self.mechanism = exchange.mechanism
	local response = exchange.response
	if request.given then response, exchange.held_back = request.given, nil end
	local line = "AUTH " .. exchange.mechanism
	if response then
		local whole = line .. " " .. encoded(response)
		if #whole + 2 > LONGEST and not request.given then
			exchange.held_back = response
		else
			line = whole
		end
	end
	send_line(self, line)
	local answer = self:reply(nil, "AUTH", "AUTH " .. exchange.mechanism)
	local step, challenge = 0, nil
	while answer.code == 334 and not exchange.canceled do
		step = step + 1
		challenge = decoded(self, answer)
		response = response_to(self, exchange, challenge, options, step)
		exchange.canceled = response == nil
		send_line(self, response and base64.encode(response) or "*")
		answer = self:reply(nil, "AUTH", "AUTH " .. exchange.mechanism)
	end
	answer.challenge = challenge
	for _, text in ipairs(exchange:ignored()) do
		self.transport:note("auth", { mechanism = exchange.mechanism, text = text })
	end
	if answer.code == 235 then
		judge(self, exchange, answer)
		self.authenticated = true
		put_layer_on(self, exchange)
		self.transport:note("auth", { mechanism = exchange.mechanism, ssf = self.ssf, reply = answer })
	else
		exchange:close()
	end
	return answer
end

return auth
