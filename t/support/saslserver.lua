--- saslserver: the AUTH command of a scripted server, answered by the SASL library.

local base64 = require "smtptest.base64"
local sasl = require "smtptest.core.sasl"

local saslserver = {}

--- Takes part in an exchange, and puts the layer on.
-- @param client   of support.run
-- @param options  of smtptest.core.sasl.server, over one user: alice, whose password is "secret"
-- @return the server
function saslserver.auth(client, options)
	local settings = { users = { alice = "secret" } }
	for name, value in pairs(options or {}) do settings[name] = value end
	local server = assert(sasl.server(settings))
	local mechanism, rest = client:line():match "^AUTH (%S+) ?(.*)$"
	local initial = rest == "=" and "" or rest ~= "" and assert(base64.decode(rest)) or nil
	local ok, challenge, done = server:start(mechanism, initial)
	while ok and not done do
		client:send("334 " .. base64.encode(challenge or "") .. "\r\n")
		ok, challenge, done = server:step(assert(base64.decode(client:line())))
	end
	client:send(ok and "235 welcome\r\n" or "535 no\r\n")
	if ok and server:ssf() > 0 then client.transport:push(server:layer()) end
	return server
end

--- A server's script: greets, lists the mechanism, authenticates, lists again inside a layer, is polite.
function saslserver.script(mechanism, options)
	return function(client)
		client:welcome("AUTH " .. mechanism)
		if saslserver.auth(client, options):ssf() > 0 then client:capabilities("AUTH " .. mechanism) end
		client:serve()
	end
end

return saslserver
