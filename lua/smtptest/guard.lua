--- guard: a helper process that ends the groups which this process leaves behind, however it ends: by os.exit, by a
-- crash, by KILL. It is started with the first group, and ends when we do.
--
-- It is told by lines: "+ group" (look after it), "- group" (it is gone), "! group" (TERM was sent: KILL 5 s later).

local process = require "smtptest.core.process"

local guard = {}

-- An empty group, or one that is not ours any more, has no use for a signal.
local SCRIPT = [[
trap '' HUP INT QUIT TERM
cd /
finish() {
	tries=50
	while kill -s 0 -- "-$1"; do
		if [ $tries -eq 0 ]; then
			kill -s KILL -- "-$1"
			return
		fi
		tries=$((tries - 1))
		sleep 0.1 || sleep 1
	done
}
forget() {
	rest=
	for group in $groups; do
		[ "$group" = "$1" ] || rest="$rest $group"
	done
	groups=$rest
}
groups=
echo ready
exec >/dev/null
while read -r what number; do
	case $what in
	+) groups="$groups $number" ;;
	-) forget "$number" ;;
	!) forget "$number"; finish "$number" <&- & ;;
	esac
done
for group in $groups; do
	kill -s TERM -- "-$group" && finish "$group" &
done
wait
]]

local helper            -- its process, once there was a group
local groups = {}       -- group → true: what a new helper must know

local function start()
	-- Nothing of our environment may keep it from starting.
	local started = process.spawn { argv = { "/bin/sh", "-c", SCRIPT }, env = { PATH = "/usr/bin:/bin" }, stdin = "pipe",
		stdout = "pipe", stderr = "null" }
	-- It must not meet a signal before it ignores it.
	if not started or not started:stdout():read(16) then return false end
	helper = started
	for group in pairs(groups) do helper:stdin():write("+ " .. group .. "\n") end
	return true
end

local function tell(what, group)
	return helper and helper:stdin():write(("%s %d\n"):format(what, group)) ~= nil
end

--- Looks after a group.
-- @param group  its number
-- @return true | false when there can be no helper
function guard.watch(group)
	if tell("+", group) then
		groups[group] = true
		return true
	end
	groups[group] = true
	return start()
end

--- Forgets a group: it is gone.
function guard.forget(group)
	groups[group] = nil
	tell("-", group)
end

--- Sends KILL to a group 5 s from now, unless it is gone by then; never waits.
function guard.finish(group)
	groups[group] = nil
	tell("!", group)
end

return guard
