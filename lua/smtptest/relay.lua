--- relay: one session, lent to the clients of a listening socket, one after the other (the flags -x and -X).

local core = require "smtptest.core.line"
local follow = require "smtptest.follow"
local smtp = require "smtptest.smtp"
local task = require "smtptest.task"
local transport = require "smtptest.transport"

local relay = {}

local CHUNK = 65536
local ACCEPT = 600          -- seconds without a client after which the program ends
local PROGRESS = { progress = true }

-- The server's text to the client, as a task; "closed" once the server is gone.
local function listen(session, state)
	while true do
		local bytes, _, code = session.transport:read(CHUNK, math.huge)
		if not bytes then
			state.closed = code
			return state.outcome:set("closed")
		end
		state.client:write(bytes, session:seconds("session"), PROGRESS)
		state.replies:feed(bytes)
	end
end

-- The client has nothing more to say; what the server still owes it comes first.
local function leave(session, state)
	if state.commands.answers < state.commands.count then
		state.caught_up = task.promise()
		state.caught_up:wait(session:seconds("reply"))
	end
	state.outcome:set("eof")
end

-- The client's lines to the server, as a task. QUIT is the client's goodbye to us, not to the server.
local function pump(session, state)
	local commands = state.commands
	while true do
		local text, _, code = state.client:line(math.huge)
		if not text and code == "TOOLONG" then
			text = state.client:read(CHUNK)
		elseif not text then
			text = state.client:pending()
			if text ~= "" then session.transport:write(text, session:seconds("session"), PROGRESS) end
			if commands.data then return state.outcome:set("data") end
			return leave(session, state)
		end
		if not commands.data and not commands:unfinished() and text:upper():find("^QUIT%s*$") then
			return leave(session, state)
		end
		text, state.last_cr = core.crlf(text, state.last_cr)
		commands:feed(text)
		local ok = session.transport:write(text, session:seconds("session"), PROGRESS)
		if not ok then return state.outcome:set("closed") end
	end
end

-- Serves one client to its end: "eof", "data" (it left inside message data) or "closed" (the server did).
local function serve_client(session, client)
	local state = { client = client, outcome = task.promise(), commands = follow.commands(), last_cr = false }
	state.replies = follow.replies(function(answer)
		smtp.answered(session, answer)
		state.commands:answered(answer.code)
		session.transport:note("reply", { reply = answer, bytes = answer.raw })
		if state.caught_up and state.commands.answers >= state.commands.count then state.caught_up:set(true) end
	end)
	local function guarded(fn)
		return task.spawn(function()
			if not pcall(fn, session, state) then state.outcome:set("eof") end
		end)
	end
	local tasks = { guarded(pump), guarded(listen) }
	local release = task.on_interrupt(function() state.outcome:set("interrupt") end)
	local outcome = state.outcome:wait() or "interrupt"
	release()
	for _, one in ipairs(tasks) do one:cancel() end
	return outcome
end

--- Lends a session to one client after the other.
-- @param listener  as smtptest.wire.listen makes it
-- @return "closed" by the server, "eof" (a client left inside message data, or none came in time), "interrupt"
function relay.serve(session, listener)
	while true do
		local interrupted = false
		local release = task.on_interrupt(function()
			interrupted = true
			listener:close()
		end)
		local client_wire, _, code = listener:accept(task.now() + ACCEPT)
		release()
		local outcome
		if client_wire then
			local client <close> = transport.wrap(client_wire)
			outcome = serve_client(session, client)
		else
			outcome = interrupted and "interrupt" or code == "TIMEOUT" and "eof" or "closed"
		end
		if outcome ~= "eof" or not client_wire then
			if outcome ~= "closed" then
				session.transport:note("quit", { typed = false })
				session.transport:write("QUIT\r\n", session:seconds("QUIT"))
			end
			return outcome == "data" and "eof" or outcome
		end
		session:rset()
	end
end

return relay
