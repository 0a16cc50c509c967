--- serve: the built program as a server, beside a function of the test.

local run = require "support.run"
local task = require "smtptest.task"

local LIMIT = 20

--- Runs `smtptest --serve …` and body(port, child, output) beside it; then interrupts it. Raises what body raises.
-- @param options  signal (default INT), env, on_exit (true: it ends by itself)
-- @return result of run.command
return function(argv, body, options)
	options = options or {}
	local ready = task.promise()
	local text = ""
	local function output() return text end
	local ok, failure
	local result = run.command({ "--serve", table.unpack(argv) }, {
		env = options.env,
		on_output = function(all)
			text = all
			local where = all:match("listening on (%C+)\n")
			if where then ready:set(where) end
		end,
		-- A task of its own, whose errors nobody would see.
		stdin = { function(child)
			ok, failure = pcall(function()
				local where = assert(ready:wait(LIMIT), "it does not listen")
				body(tonumber(where:match(":(%d+)$")) or where, child, output)
			end)
			if not ok or not options.on_exit then child:kill(options.signal or "INT") end
		end },
	})
	if not ok then error(failure or "it has ended too early: " .. result.out .. result.err, 0) end
	return result
end
