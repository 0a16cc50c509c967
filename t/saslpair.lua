-- A client and a server of smtptest.core.sasl that talk to each other in one
-- process.
local sasl = require "smtptest.core.sasl"

local pair = {}

pair.users = {alice = "secret"}
pair.credentials = {authname = "alice", username = "", password = "secret", realm = "localhost"}

function pair.with(base, changes)
	local all = {}
	for name, value in pairs(base or {}) do all[name] = value end
	for name, value in pairs(changes or {}) do all[name] = value end
	return all
end

-- Calls a method until nothing is asked any more; the ids asked go to `asked`.
function pair.ask(client, credentials, asked, method, ...)
	while true do
		local results = table.pack(client[method](client, ...))
		if results[1] or results[3] ~= "INTERACT" then return table.unpack(results, 1, results.n) end
		for _, prompt in ipairs(client:prompts()) do asked[#asked + 1] = prompt.id end
		assert(client:answer(credentials))
	end
end

-- One exchange between two ends in this process. Options: client, server (their options), credentials, initial.
-- -> result {client= server= mechanism= asked= first= done=} and, where it failed, at= ("client", "server"), message=,
-- code=, number=.
function pair.authenticate(list, options)
	options = options or {}
	local result = {asked = {}}
	result.client = assert(sasl.client(options.client or {}))
	local settings = pair.with({users = pair.users, mechanisms = list}, options.server)
	result.server = assert(sasl.server(settings))
	local credentials = options.credentials or pair.credentials
	local function failed(at, message, code, number)
		result.at, result.message, result.code, result.number = at, message, code, number
		return result
	end
	local ok, response, mechanism, done =
		pair.ask(result.client, credentials, result.asked, "start", list, options.initial)
	if not ok then return failed("client", response, mechanism, done) end
	result.mechanism, result.first, result.done = mechanism, response, done
	local sok, challenge, finished, number = result.server:start(mechanism, response)
	while sok and not finished do
		ok, response, done = pair.ask(result.client, credentials, result.asked, "step", challenge)
		if not ok then return failed("client", response, done) end
		result.done = done
		sok, challenge, finished, number = result.server:step(response or "")
	end
	if not sok then return failed("server", challenge, finished, number) end
	return result
end

return pair
