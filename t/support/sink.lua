--- sink: Postfix's smtp-sink(1), which takes mail from anybody and keeps it: the end of a relay.

local daemon = require "support.daemon"
local run = require "support.run"

local sink = {}

local Sink = {}

--- Waits for a message, and takes it away.
-- @return its text below lines X-… about its envelope, with the line ends of a file
function Sink:message()
	return (self:take ".":gsub("\n$", ""))        -- an empty line of smtp-sink's own
end

--- Starts it.
-- @return daemon with port, message()
function sink.start()
	local self = daemon.new "postfix"
	self.message = Sink.message
	self.port = run.free_port()
	self:shell "mkdir new; chown nobody new"
	self:start({ "/usr/sbin/smtp-sink", "-u", "nobody", "-D", self:path "new/m.", "127.0.0.1:" .. self.port, "100" }, self.port)
	return self
end

return sink
