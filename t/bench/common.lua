-- What the benchmarks have in common: programs in the background, medians, the rows of a table. For those that are
-- started from the project's folder.

local common = { missed = 0 }

--- A file's text.
function common.read(path)
	local file <close> = assert(io.open(path, "rb"))
	return file:read "a"
end

--- Starts a command in the background → its process number.
function common.start(command)
	local pipe <close> = assert(io.popen(("%s & echo $!"):format(command)))
	return pipe:read "n"
end

--- Ends a process at the end of a scope, also when something fails in it.
function common.ending(pid)
	return setmetatable({}, { __close = function() os.execute("kill " .. pid) end })
end

--- Calls fn until it gives something, for five seconds.
function common.eventually(what, fn)
	for _ = 1, 100 do
		local value = fn()
		if value then return value end
		os.execute "sleep 0.05"
	end
	error(what .. " does not come")
end

function common.median(values)
	table.sort(values)
	local middle = #values // 2
	return #values % 2 == 1 and values[middle + 1] or (values[middle] + values[middle + 1]) / 2
end

--- The heading of a table.
-- @param other  what stands beside us
function common.head(title, other)
	print(("\n%s\n\n%-34s %12s %12s %9s  %s"):format(title, "", "smtptest", other, "ratio", "target"))
end

--- A row; one that misses its target is counted.
function common.row(what, ours, theirs, figure, relation, target)
	local met = relation == ">=" and figure >= target or relation == "<=" and figure <= target
	common.missed = common.missed + (met and 0 or 1)
	print(("%-34s %12s %12s %9.2f  %s %-5g %s"):format(what, ours, theirs, figure, relation, target,
		met and "met" or "MISSED"))
end

--- How Postfix's programs are called: they refuse to run without a configuration.
-- @return beginning of a command line, to which the program's name is added
function common.postfix(build, postfix)
	os.execute(("mkdir -p %s/bench/postfix && : >%s/bench/postfix/main.cf"):format(build, build))
	return ("MAIL_CONFIG=%s/bench/postfix %s /usr/sbin/"):format(build, postfix)
end

--- Starts Postfix's smtp-sink.
-- @return its port, something that ends it at the end of a scope
function common.sink(build, tool)
	-- A port that is free now.
	local probe <close> = assert(io.popen(build .. [[/smtptest -e 'print(require "smtptest".listen {}.port)']]))
	local port = probe:read "l"
	local user = common.read "/proc/self/status":match "Uid:%s+0%s" and "-u nobody " or ""
	local pid = common.start(("exec env %ssmtp-sink %s127.0.0.1:%s 1000 </dev/null >/dev/null 2>&1"):format(tool, user,
		port))
	os.execute "sleep 0.3"
	return port, common.ending(pid)
end

--- Seconds that smtp-source takes.
-- @param flags  of it, and the address
function common.source(build, tool, flags)
	local pipe <close> = assert(io.popen(("%s/bench/meter /usr/bin/env %ssmtp-source %s"):format(build, tool, flags)))
	local wall, _, _, status = pipe:read("n", "n", "n", "n")
	assert(status == 0, "smtp-source failed")
	return wall
end

return common
