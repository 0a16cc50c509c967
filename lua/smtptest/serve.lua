--- serve: the command --serve: the built-in server as the flags say, and what it tells the person.

local core = require "smtptest.core.line"
local failure = require "smtptest.failure"
local file = require "smtptest.core.file"
local folders = require "smtptest.core.folder"
local output = require "smtptest.output"
local server = require "smtptest.server"
local task = require "smtptest.task"

local serve = {}

local function refuse(op, message)
	error(failure.new { op = op, message = message, code = "EINVAL" }, 0)
end

-- A secret may be a function that reads it.
local function secret_of(value)
	if value == nil or type(value) == "string" then return value end
	local text, message, code = value()
	if not text then error(failure.new { op = "password", message = message, code = code }, 0) end
	return text
end

local function accounts(plan)
	if not plan.authname and not plan.password and not plan.mechanism then return nil end
	local users = {}
	if plan.authname then
		if not plan.password then refuse("--serve", "-a without a password (-w or --password-file)") end
		users[plan.authname] = secret_of(plan.password)
	elseif plan.password then
		refuse("--serve", "a password without a name (-a)")
	end
	return { users = users, mechanisms = plan.mechanism, realm = plan.realm, options = plan.sasl_options,
		minssf = plan.minssf, maxssf = plan.maxssf }
end

-- Fields that mean the same for a server.
local SAME = { "host", "port", "socket", "family", "protocol", "timeout", "tls", "certfile", "keyfile", "cafile",
	"capath", "min_version", "max_version", "ciphers", "ciphersuites", "groups", "keylog" }

--- What the flags say, as smtptest.listen takes it.
-- @param plan  of the command line
function serve.plan(plan)
	local listen = { name = plan.helo, keypass = secret_of(plan.keypass), verify = plan.verify and true or nil,
		sasl = accounts(plan) }
	for _, name in ipairs(SAME) do listen[name] = plan[name] end
	return listen
end

-- ---------------------------------------------------------------- --save

local function write(path, bytes)
	local handle, message = io.open(path, "wb")
	if not handle then return message end
	local ok
	ok, message = handle:write(bytes)
	local closed, why = handle:close()
	if ok and closed then return nil end
	os.remove(path)
	return message or why
end

-- Writes each message as it was sent, dots taken away, under a name that sorts by time; it is whole when it has it.
local function saver(folder)
	local ok, message, code = folders.make(folder)
	if not ok and code ~= "EEXIST" then refuse("--save", message) end
	local probe = ("%s/.smtptest-%d"):format(folder, file.getpid())
	message = write(probe, "")
	if message then refuse("--save", message) end
	os.remove(probe)
	local count = 0
	return function(mail)
		count = count + 1
		local name = ("%s-%d-%06d.eml"):format(os.date "!%Y%m%dT%H%M%SZ", file.getpid(), count)
		local path = folder .. "/" .. name
		local why = write(path .. ".part", mail.data)
		if not why then
			local renamed
			renamed, why = os.rename(path .. ".part", path)
			if renamed then
				mail.file, why = path, nil
			end
		end
		return why
	end
end

-- ---------------------------------------------------------------- what it tells

local function name_of(address)
	if address.path then return address.path end
	if not address.host then return "a local client" end
	return (address.host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(address.host, address.port)
end

local function recipients(message)
	if #message.to == 1 then return "<" .. message.to[1].address .. ">" end
	local list = {}
	for i, to in ipairs(message.to) do
		if i > 10 then
			list[i] = ("… %d in all"):format(#message.to)
			break
		end
		list[i] = "<" .. to.address .. ">"
	end
	return table.concat(list, ", ")
end

local TELL = {
	message = function(event)
		local message = event.message
		return "message from <" .. message.from.address .. "> to " .. recipients(message) .. ": " .. message.size
			.. " bytes, " .. message.with .. (message.auth and " as " .. message.auth or "")
			.. (message.file and ", " .. message.file or "")
	end,
	auth = function(event)
		return event.text or event.refused and ("AUTH %s refused: %s"):format(event.mechanism, event.refused)
	end,
	lost = function(event)
		return event.code ~= "EOF" and event.code ~= "CANCELED" and event.message
	end,
	error = function(event)
		return "the script failed: " .. event.message
	end,
}

-- Client → how it is called.
local names = setmetatable({}, { __mode = "k" })

-- Lines that have not been written: of messages, which come by the thousand, many are written at once.
local DELAY = 0.01      -- seconds
local lines = {}

local function flush()
	if not lines[1] then return end
	local text = table.concat(lines)
	lines = {}
	io.stdout:write(text)
end

local function flush_later()
	task.sleep(DELAY)
	flush()
end

local function tell(event, client)
	local words = TELL[event.event] and TELL[event.event](event)
	if not words then return end
	local name = names[client]
	if not name then
		name = name_of(client.peer)
		names[client] = name
	end
	lines[#lines + 1] = name .. ": " .. core.escape(words) .. "\n"
	if event.event ~= "message" then
		flush()
	elseif not lines[2] then
		task.spawn(flush_later)
	end
end

--- Binds, says where, lets a script see the server, and serves until an interrupt or the script's stop().
-- @param plan     of the command line
-- @param options  save (folder), script (function(server, words…), or nil), args (its words)
-- @return what the script returned
function serve.run(plan, options)
	local listen = serve.plan(plan)
	listen.keep = options.script ~= nil
	local store = options.save and saver(options.save)
	local self <close> = server.listen(listen)
	local _ <close> = setmetatable({}, { __close = flush })
	self.store = store
	self:on_event(tell)
	if plan.trace then output.trace_server(self) end
	if plan.record then require "smtptest.record".server(self, plan) end
	if plan.log then require "smtptest.log".server(self, plan) end
	io.stdout:write("listening on " .. name_of(self.port and self or { path = self.host }) .. "\n")
	local result
	if options.script then result = options.script(self, table.unpack(options.args)) end
	-- A script that has started it, or stopped it, knows when it is done.
	if not self.acceptor and not self.stopped then self:serve() end
	return result
end

return serve
