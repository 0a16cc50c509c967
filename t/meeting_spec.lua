local task = require "smtptest.task"

describe("a barrier", function()
	it("opens when all are there", function()
		local barrier, log, tasks = task.barrier(4), {}, {}
		for i = 1, 3 do
			tasks[i] = task.spawn(function()
				task.sleep(i / 1000)
				log[#log + 1] = i
				assert.is_true(barrier:wait())
				log[#log + 1] = "through"
			end)
		end
		assert.is_true(barrier:wait())
		for _, t in ipairs(tasks) do t:join() end
		assert.same({ 1, 2, 3, "through", "through", "through" }, log)
		assert.is_true(barrier:wait())
	end)

	it("counts nobody who gave up", function()
		local barrier = task.barrier(2)
		assert.equal("TIMEOUT", select(3, barrier:wait(0.002)))
		assert.equal("TIMEOUT", select(3, barrier:wait(0.002)))
		local t = task.spawn(function() return barrier:wait() end)
		assert.is_true(barrier:wait(60))
		assert.is_true(t:join())
	end)
end)

describe("a promise", function()
	it("gives its first value to all, before and after", function()
		local promise = task.promise()
		local t = task.spawn(function() return promise:wait() end)
		assert.equal("TIMEOUT", select(3, promise:wait(0.002)))
		promise:set(1)
		promise:set(2)
		assert.equal(1, t:join())
		assert.equal(1, promise:wait())
	end)

	it("may be false", function()
		local promise = task.promise()
		promise:set(false)
		assert.is_false(promise:wait())
	end)
end)
