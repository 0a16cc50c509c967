--- login: AUTH against a server that answers with given lines.

local base64 = require "smtptest.base64"
local peer = require "support.peer"

local login = {}

--- Options of session:auth for alice.
login.ALICE = { authname = "alice", password = "secret" }

--- The same with changes.
function login.as(changes) return peer.laid(login.ALICE, changes) end

--- Base64 of bytes with NULs written as "|".
function login.b64(text) return base64.encode((text:gsub("|", "\0"))) end

--- Runs body(session) against a server that answers with these lines in turn.
-- @return what the client sent, and whatever body gives
function login.scripted(answers, body, plan)
	local result
	local client = peer.with(function(c)
		c:reply(table.unpack(answers))
		c:rest()
	end, function(s) result = body(s) end, plan)
	return client.seen, result
end

--- auth(options) against such a server.
-- @return what the client sent, and the final reply
function login.exchange(answers, options, plan)
	return login.scripted(answers, function(s) return s:auth(options) end, plan)
end

--- The same where it raises.
-- @return what the client sent, and the error
function login.failing(code, answers, options, plan)
	return login.scripted(answers, function(s) return peer.failure(code, s.auth, s, options) end, plan)
end

return login
