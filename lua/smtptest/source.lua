--- source: a descriptor that the loop watches: what is known about it, who waits for it and until when. Nothing waits
-- here.
--
-- A source is a table: fd, mode, readable, writable (what is known), reader, writer (who waits, or false), rdeadline,
-- wdeadline (times of task.now()), hup, always (poll refuses it: it is always ready), listening, background, rearm
-- (interest lasts for one event), born (how often the loop had polled).

local poll = require "smtptest.core.poll"
local schedule = require "smtptest.schedule"

local source = {}

local huge = math.huge
local soon = schedule.soon

--- Descriptor → source.
source.all = {}

--- The earliest deadline of any source, or a time before it.
source.earliest = huge

--- How often the loop has polled: what was reported before a source was made is not about it.
source.polls = 0

local all = source.all
local poller

--- The one poller; raises where there can be none.
function source.poller()
	if not poller then
		local message
		poller, message = poll.new()
		if not poller then error(message, 0) end
	end
	return poller
end

--- Makes a descriptor known to the loop.
-- @param fd    integer
-- @param mode  "edge" for a non-blocking descriptor of ours, "level" for one that is read only after poll says so
-- @return source: `readable` and `writable` are what is known; whoever finds them wrong (EAGAIN) sets them false
function source.new(fd, mode)
	local self = {
		fd = fd, mode = mode, readable = false, writable = mode == "edge", reader = false, writer = false,
		rdeadline = huge, wdeadline = huge, hup = false, born = source.polls,
	}
	local ok, message, code = source.poller():add(fd, mode)
	if not ok then
		if code ~= "EPERM" then return nil, message, code end
		self.always, self.readable, self.writable = true, true, true
	end
	-- Level-triggered interest lasts for one event, and poll(2) knows no other.
	self.rearm = not self.always and (mode == "level" or not poller:fd())
	all[fd] = self
	return self
end

local function cancel(self, message)
	local reader, writer = self.reader, self.writer
	self.reader, self.writer = false, false
	if reader then soon(reader, reader.turn, nil, message, "CANCELED") end
	if writer then soon(writer, writer.turn, nil, message, "CANCELED") end
end

--- Forgets a descriptor; to be called before it is closed. Whoever waits on it gets CANCELED.
function source.forget(self)
	if all[self.fd] ~= self then return end
	all[self.fd] = nil
	if not self.always then source.poller():remove(self.fd) end
	cancel(self, "closed while waiting")
end

--- Tells the poller again what is waited for, where interest lasts for one event.
function source.want(self)
	poller:want(self.fd, (self.reader and "r" or "") .. (self.writer and "w" or ""))
end

--- Lets those go on with TIMEOUT whose deadline has passed, and finds the earliest of the others.
function source.expire(time)
	local earliest = huge
	for _, self in pairs(all) do
		local late_reader, late_writer
		if self.reader then
			if self.rdeadline <= time then
				late_reader, self.reader = self.reader, false
			elseif self.rdeadline < earliest then
				earliest = self.rdeadline
			end
		end
		if self.writer then
			if self.wdeadline <= time then
				late_writer, self.writer = self.writer, false
			elseif self.wdeadline < earliest then
				earliest = self.wdeadline
			end
		end
		if late_reader then soon(late_reader, late_reader.turn, nil, "timed out", "TIMEOUT") end
		if late_writer then soon(late_writer, late_writer.turn, nil, "timed out", "TIMEOUT") end
	end
	source.earliest = earliest
end

-- A listening descriptor is a hope only for who waits in accept, or for the end of the task that does: not for the
-- others, whom no client would wake.
local function hopeful(self, awaited)
	local reader = self.reader
	if not self.listening then return reader or self.writer end
	return reader and (self.rdeadline < huge or not reader.thread or awaited(reader))
end

--- Whether an event of any descriptor could let somebody go on.
-- @param awaited  function(task): whether somebody waits for its end
function source.hope(awaited)
	for _, self in pairs(all) do
		if not self.background and hopeful(self, awaited) then return true end
	end
	return false
end

--- Lets all who wait go on with CANCELED.
function source.cancel(message)
	for _, self in pairs(all) do
		if not self.background then cancel(self, message) end
	end
end

return source
