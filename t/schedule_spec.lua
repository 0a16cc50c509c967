-- A schedule of its own: that of the running loop has entries.
local function fresh()
	return assert(loadfile(package.searchpath("smtptest.schedule", package.path)))()
end

describe("a schedule", function()
	it("keeps those who are ready in the order in which they became so", function()
		local schedule = fresh()
		local a, b = { turn = 3 }, { turn = 0 }
		schedule.soon(a, 3, nil, "why", "CODE")
		schedule.soon_all { { b, 0, true }, { a, 2, true } }
		local ready = schedule.ready
		assert.same({ 1, 3 }, { ready.first, ready.last })
		assert.same({ a, 3, nil, "why", "CODE" }, ready[1])
		assert.same({ b, 0, true }, ready[2])
		assert.same({ a, 2, true }, ready[3])
	end)

	it("gives the waiters whose timers have passed, the earliest first, and no other", function()
		local schedule = fresh()
		local a, b, c = { turn = 0 }, { turn = 0 }, { turn = 0 }
		schedule.after(a, 2)
		schedule.after(b, 1)
		schedule.after(c, 3)
		schedule.after({ turn = 0 }, math.huge)
		assert.equal(1, schedule.earliest())
		assert.equal(b, schedule.due(2))
		assert.equal(a, schedule.due(2))
		assert.is_nil(schedule.due(2))
		assert.equal(3, schedule.earliest())
		assert.equal(c, schedule.due(3))
		assert.equal(math.huge, schedule.earliest())
	end)

	it("forgets the timer of a waiter that went on", function()
		local schedule = fresh()
		local gone, here = { turn = 0 }, { turn = 0 }
		schedule.after(gone, 1)
		schedule.after(here, 2)
		gone.turn = 1
		assert.equal(2, schedule.earliest())
		assert.equal(here, schedule.due(9))
		assert.is_nil(schedule.due(9))
	end)

	it("lets all who have a timer go on when everything is to end", function()
		local schedule = fresh()
		local waiter = { turn = 7 }
		schedule.after(waiter, 1)
		schedule.cancel "interrupted"
		assert.same({ waiter, 7, nil, "interrupted", "CANCELED" }, schedule.ready[1])
		assert.equal(1, schedule.ready.last)
	end)
end)
