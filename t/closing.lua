-- busted's plain report, closed by one line that a person and a script can
-- read. With CI=true a skipped test is a failure: what CI does not run, nobody
-- runs. A suite without tests has failed too.
return function(options)
	local busted = require "busted"
	local handler = require "busted.outputHandlers.plainTerminal"(options)

	busted.subscribe({ "exit" }, function()
		local passed, skipped = handler.successesCount, handler.pendingsCount
		local failed = handler.failuresCount + handler.errorsCount
		print(("%d passed, %d failed, %d skipped"):format(passed, failed, skipped))
		local complete = skipped == 0 or os.getenv "CI" ~= "true"
		if failed > 0 or passed == 0 or not complete then
			os.exit(1, true)
		end
		return nil, true
	end)
	return handler
end
