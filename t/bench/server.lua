-- What `make bench` prints of the built-in server: messages a second beside
-- Postfix's smtp-sink, from its smtp-source, the two in turn; and memory with
-- idle clients.
--	lua5.4 t/bench/server.lua BUILD POSTFIX

package.path = "t/bench/?.lua;" .. package.path
local common = require "common"

local build, postfix = arg[1], arg[2]
local rounds = tonumber(os.getenv "ROUNDS") or 20
local messages = tonumber(os.getenv "MESSAGES") or 10000
local IDLE = 1000

local read, start, ending, eventually = common.read, common.start, common.ending, common.eventually
local median, row = common.median, common.row
local tool = common.postfix(build, postfix)

local function start_ours()
	local log = build .. "/bench/serve.log"
	os.remove(log)
	local pid = start(("exec %s/smtptest --serve -p 0 </dev/null >%s 2>&1"):format(build, log))
	local port = eventually("the server", function()
		local file <close> = io.open(log)
		return file and file:read "a":match "listening on 127.0.0.1:(%d+)"
	end)
	return pid, port
end

-- Seconds that smtp-source takes.
local function source(port)
	return common.source(build, tool, ("-d -s 20 -l 1024 -m %d 127.0.0.1:%s"):format(messages, port))
end

local function throughput()
	local ours, our_port = start_ours()
	local _ <close> = ending(ours)
	local sink_port, sink = common.sink(build, tool)
	local _ <close> = sink
	local walls = { ours = {}, sink = {} }
	for _ = 1, rounds do
		table.insert(walls.ours, source(our_port))
		table.insert(walls.sink, source(sink_port))
	end
	local a, b = median(walls.ours), median(walls.sink)
	local function rate(seconds) return ("%.0f/s"):format(messages / seconds) end
	row("messages, smtp-source -d -s 20", rate(a), rate(b), b / a, ">=", 0.7)
end

local function idle()
	local pid, port = start_ours()
	local _ <close> = ending(pid)
	local client <close> = assert(io.popen(("%s/smtptest -e '%s' -p %s 127.0.0.1"):format(build, ([[
		local smtptest = require "smtptest"
		local all = {}
		for i = 1, %d do
			all[i] = smtptest.connect(smtptest.options)
			all[i]:ehlo()
		end
		print "there" io.stdout:flush()
		smtptest.task.sleep(3)]]):format(IDLE), port)))
	assert(client:read "l" == "there", "the clients did not come")
	local kilobytes = tonumber(read(("/proc/%d/status"):format(pid)):match "VmRSS:%s+(%d+)")
	row(("memory, %d idle clients, MB"):format(IDLE), ("%.1f MB"):format(kilobytes / 1024), "", kilobytes / 1024, "<=", 60)
end

common.head(("The built-in server: %d runs each, %d messages of 1 kB, medians"):format(rounds, messages), "smtp-sink")
throughput()
idle()
os.exit(common.missed == 0, true)
