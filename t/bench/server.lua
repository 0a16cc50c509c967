-- What `make bench` prints of the built-in server: messages a second beside
-- Postfix's smtp-sink, from its smtp-source, the two in turn; and memory with
-- idle clients.
--	lua5.4 t/bench/server.lua BUILD POSTFIX

local build, postfix = arg[1], arg[2]
local rounds = tonumber(os.getenv "ROUNDS") or 20
local messages = tonumber(os.getenv "MESSAGES") or 10000
local IDLE = 1000

local function read(path)
	local file <close> = assert(io.open(path, "rb"))
	return file:read "a"
end

-- Starts a command in the background → its process number.
local function start(command)
	local pipe <close> = assert(io.popen(("%s & echo $!"):format(command)))
	return pipe:read "n"
end

-- Ends a process at the end of a scope, also when something fails in it.
local function ending(pid)
	return setmetatable({}, { __close = function() os.execute("kill " .. pid) end })
end

local function eventually(what, fn)
	for _ = 1, 100 do
		local value = fn()
		if value then return value end
		os.execute "sleep 0.05"
	end
	error(what .. " does not come")
end

-- Programs of Postfix refuse to run without a configuration, and as root.
os.execute(("mkdir -p %s/bench/postfix && : >%s/bench/postfix/main.cf"):format(build, build))
local tool = ("MAIL_CONFIG=%s/bench/postfix %s /usr/sbin/"):format(build, postfix)

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

local function median(values)
	table.sort(values)
	local middle = #values // 2
	return #values % 2 == 1 and values[middle + 1] or
		(values[middle] + values[middle + 1]) / 2
end

local missed = 0

local function row(what, ours, theirs, figure, relation, target)
	local met = relation == ">=" and figure >= target or relation == "<=" and figure <= target
	missed = missed + (met and 0 or 1)
	print(("%-34s %12s %12s %9.2f  %s %-5g %s"):format(what, ours, theirs, figure, relation, target,
		met and "met" or "MISSED"))
end

-- Seconds that smtp-source takes.
local function source(port)
	local pipe <close> = assert(io.popen(("%s/bench/meter /usr/bin/env %ssmtp-source -d -s 20 -l 1024 -m %d 127.0.0.1:%s")
		:format(build, tool, messages, port)))
	local wall, _, _, status = pipe:read("n", "n", "n", "n")
	assert(status == 0, "smtp-source failed")
	return wall
end

local function throughput()
	local ours, our_port = start_ours()
	local _ <close> = ending(ours)
	-- A port that is free now.
	local probe <close> = assert(io.popen(build .. [[/smtptest -e 'print(require "smtptest".listen {}.port)']]))
	local sink_port = probe:read "l"
	local user = read "/proc/self/status":match "Uid:%s+0%s" and "-u nobody " or ""
	local sink = start(("exec env %ssmtp-sink %s127.0.0.1:%s 1000 </dev/null >/dev/null 2>&1"):format(tool, user, sink_port))
	local _ <close> = ending(sink)
	os.execute "sleep 0.3"
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

print(("\nThe built-in server: %d runs each, %d messages of 1 kB, medians\n"):format(rounds, messages))
print(("%-34s %12s %12s %9s  %s"):format("", "smtptest", "smtp-sink", "ratio", "target"))
throughput()
idle()
os.exit(missed == 0, true)
