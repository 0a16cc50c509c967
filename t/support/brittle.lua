--- brittle: a server in a process of its own, with a defect that a chunk of Lua adds.

local run = require "support.run"

local brittle = {}

local TEXT = [[
local task = require "smtptest.task"
local wire = require "smtptest.wire"
local port = tonumber(arg[1])
local function defect(line, client) %s end
local listener = assert(wire.listen { family = "inet", host = "127.0.0.1", port = port })
print(("listening on 127.0.0.1:%%d"):format(listener:address().port))
local REPLIES = { EHLO = "250-x\r\n250 AUTH PLAIN LOGIN", QUIT = "221 bye", DATA = "503 no", XZQZ = "500 what" }
local function serve(client)
	local buffer = ""
	defect("", client)
	client:write("220 x\r\n", task.now() + 9)
	while true do
		local bytes = client:read(65536, task.now() + 60)
		if not bytes then return client:close() end
		buffer = buffer .. bytes
		for line in buffer:gmatch "([^\n]*)\n" do
			local verb = line:match "^%%a*":upper()
			local reply = defect(line, client)
			client:write((reply or REPLIES[verb] or "250 ok") .. "\r\n", task.now() + 9)
			if verb == "QUIT" then return client:close() end
		end
		buffer = buffer:match "[^\n]*$"
	end
end
while true do task.spawn(serve, (listener:accept())) end
]]

local made = 0

--- The words of its command, for spawn.
-- @param defect  body of a function(line, client) → reply instead of the usual one; for the greeting the line is empty
-- @param port    number, "{port}" or nil: any
function brittle.words(defect, port)
	made = made + 1
	local path = run.file(("brittle-%d.lua"):format(made), TEXT:format(defect))
	return { run.absolute, "-S", path, "--", tostring(port or 0) }
end

return brittle
