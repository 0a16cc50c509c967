-- What `make bench` prints: our program against the classic one, the two in
-- turn, medians of 20 (or of ROUNDS).
--	lua5.4 t/bench/run.lua BUILD CLASSIC

package.path = "t/bench/?.lua;" .. package.path
local common = require "common"

local build, wrapper = arg[1], arg[2]
local rounds = tonumber(os.getenv "ROUNDS") or 20
local megabytes = tonumber(os.getenv "MEGABYTES") or 200

local read, median, row = common.read, common.median, common.row

-- The classic program without the shell around it, which would count.
local function classic_command()
	local text = read(wrapper)
	local libraries = text:match "LD_LIBRARY_PATH=(%S+)"
	return libraries and "LD_LIBRARY_PATH=" .. libraries .. " " or "",
		text:match "exec (%S+)"
end

local programs = { ours = { "", build .. "/smtptest" }, classic = { classic_command() } }

local function start_sink(options)
	local sink = assert(io.popen("exec " .. build .. "/bench/sink " .. options))
	local port, pid = sink:read("n", "n")
	return { port = math.tointeger(port), pid = math.tointeger(pid), handle = sink }
end

local function stop_sink(sink)
	os.execute("kill " .. sink.pid)
	sink.handle:close()
end

-- One run → wall seconds, our CPU seconds, peak kilobytes, exit status.
local function meter(program, flags)
	local environment, path = table.unpack(programs[program])
	local pipe = assert(io.popen(("%s%s/bench/meter %s %s")
		:format(environment, build, path, flags)))
	local wall, cpu, peak, status = pipe:read("n", "n", "n", "n")
	pipe:close()
	return { wall = wall, cpu = cpu, peak = peak, status = status }
end

-- The programs in turn → name → field → median, with the statuses checked.
local function compare(names, flags, want_status)
	local samples = {}
	for _ = 1, rounds do
		for _, name in ipairs(names) do
			local sample = meter(name, flags)
			if sample.status ~= want_status then
				error(("%s %s: exit status %d"):format(name, flags, sample.status))
			end
			for field, value in pairs(sample) do
				local key = name .. "." .. field
				samples[key] = samples[key] or {}
				table.insert(samples[key], value)
			end
		end
	end
	return function(name, field)
		return median(samples[name .. "." .. field])
	end
end

local function milliseconds(seconds)
	return ("%.2f ms"):format(seconds * 1000)
end

local function session(what, port, flags, target)
	local result = compare({ "ours", "classic" },
		("%s -p %d 127.0.0.1"):format(flags, port), 0)
	local ours, classic = result("ours", "wall"), result("classic", "wall")
	row(what, milliseconds(ours), milliseconds(classic), ours / classic, "<=", target)
end

local function make_message(path)
	local file <close> = assert(io.open(path, "wb"))
	local block = (("x"):rep(76) .. "\r\n"):rep(1000)
	file:write("MAIL FROM:<a@sink.test>\r\nRCPT TO:<b@sink.test>\r\nDATA\r\n\r\n")
	for _ = 1, megabytes * 1000000 // #block do
		file:write(block)
	end
	file:write ".\r\n"
end

local function throughput(what, port, flags, target)
	local message = build .. "/bench/message"
	make_message(message)
	local result = compare({ "ours", "classic" },
		("%s -f %s -p %d 127.0.0.1"):format(flags, message, port), 0)
	os.remove(message)
	local ours, classic = result("ours", "wall"), result("classic", "wall")
	local function rate(seconds)
		return ("%.0f MB/s"):format(megabytes / seconds)
	end
	row(what, rate(ours), rate(classic), classic / ours, ">=", target)
	row("  its peak memory, MB", "", "", result("ours", "peak") / 1024, "<=", 16)
end

local function failure(what, flags)
	local result = compare({ "ours" }, flags, 1)
	row(what .. ", own ms", milliseconds(result("ours", "wall")), "",
		result("ours", "cpu") * 1000, "<=", 50)
end

print(("%d runs each, %d MB messages, medians\n"):format(rounds, megabytes))
print(("%-34s %12s %12s %9s  %s"):format("", "smtptest", "classic", "ratio", "target"))
local plain, auth = start_sink "", start_sink "-a"

-- A case that does not work is a target missed, and the next one is run.
local function try(case, what, ...)
	local ok, message = pcall(case, what, ...)
	if not ok then
		common.missed = common.missed + 1
		print(("%-34s %s"):format(what, message))
	end
end

try(session, "EHLO, QUIT", plain.port, "", 0.5)
try(session, "EHLO, AUTH PLAIN, QUIT", auth.port, "-m PLAIN -a alice -w secret", 0.8)
try(failure, "connection refused", "-p 1 127.0.0.1")
try(failure, "unknown host", "nosuch.invalid")
try(failure, "bad flag", "--nosuch")
try(throughput, "-f in clear", plain.port, "", 1.5)
try(throughput, "-f under STARTTLS", plain.port, "-t ''", 1.0)
stop_sink(plain)
stop_sink(auth)
os.exit(common.missed == 0, true)
