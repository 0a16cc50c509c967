-- What `make bench` prints of the fuzzer: cases a second beside the sessions a
-- second of Postfix's smtp-source, both of the same five commands against
-- smtp-sink, in turn.
--	lua5.4 t/bench/fuzz.lua BUILD POSTFIX

package.path = "t/bench/?.lua;" .. package.path
local common = require "common"

local build, postfix = arg[1], arg[2]
local rounds = tonumber(os.getenv "ROUNDS") or 20
local sessions = tonumber(os.getenv "MESSAGES") or 20000
local tool = common.postfix(build, postfix)

local SCRIPT = [[
	local smtptest = require "smtptest"
	local lines = { "HELO fuzz.test", "MAIL FROM:<a@fuzz.test>", "RCPT TO:<b@fuzz.test>", "DATA", "Subject: a\r\n\r\nb\r\n." }
	local result = smtptest.fuzz.run { target = { host = "127.0.0.1", port = %s }, runs = %d, workers = 20,
		case = function() return lines end }
	assert(not result.findings[1] and not result.unstable[1], "a finding")
	print(result.summary.seconds)]]

-- Seconds that the fuzzer takes; its start and its calibration are not counted.
local function ours(port)
	local pipe <close> = assert(io.popen(("%s/smtptest -e '%s'"):format(build, SCRIPT:format(port, sessions))))
	local seconds = assert(pipe:read "n", "the fuzzer failed")
	return seconds
end

local port, sink = common.sink(build, tool)
local _ <close> = sink
local walls = { ours = {}, source = {} }
for _ = 1, rounds do
	table.insert(walls.ours, ours(port))
	table.insert(walls.source, common.source(build, tool, ("-s 20 -m %d 127.0.0.1:%s"):format(sessions, port)))
end
local a, b = common.median(walls.ours), common.median(walls.source)
common.head(("The fuzzer: %d runs each, %d sessions of five commands, medians"):format(rounds, sessions), "smtp-source")
common.row("cases, -s 20", ("%.0f/s"):format(sessions / a), ("%.0f/s"):format(sessions / b), b / a, ">=", 0.6)
os.exit(common.missed == 0, true)
