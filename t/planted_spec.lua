-- The server that the fuzzer is tested on: without its bugs it is a good one, and each bug alone does what it shall, for
-- keys that nobody knows beforehand.

local case = require "smtptest.case"
local process = require "smtptest.process"
local task = require "smtptest.task"

local PROGRAM = (os.getenv "BUILD" or "build") .. "/planted"

-- Runs it to its end → output, exit status
local function run(...)
	local child <close> = process.spawn { argv = { PROGRAM, ... } }
	local _, status = child:wait(30)
	return child:output(), status
end

-- A server → process, port
local function start(key, bugs, ...)
	local child = process.spawn { argv = { PROGRAM, "--key=" .. key, "--bugs=" .. bugs, ... }, ready = "listening on" }
	return child, tonumber(child:output():match "^listening on 127%.0%.0%.1:(%d+)\n")
end

-- Plays a case → what differs from a good server's replies, or the error, as a list of strings
local function play(text, port, timeout, plan)
	local all = { host = "127.0.0.1", port = port, timeout = timeout }
	for name, value in pairs(plan or {}) do all[name] = value end
	local ok, result = pcall(case.play, assert(case.parse(text)), all, { match = "exact" })
	if not ok then return { tostring(result) } end
	local list = {}
	for i, one in ipairs(result.differences) do
		list[i] = ("%d: %s instead of %s"):format(one.line, one.got, one.expected)
	end
	return list
end

-- Bytes that are in memory.
local function resident(pid)
	local handle <close> = assert(io.open(("/proc/%d/status"):format(pid)))
	return tonumber(handle:read "a":match "VmRSS:%s*(%d+) kB") * 1024
end

local function list()
	local bugs = {}
	for name, oracle in run "--list":gmatch "([%w-]+)\t(%l+)\n" do bugs[#bugs + 1] = { name = name, oracle = oracle } end
	return bugs
end

local GOOD = {}

GOOD["what each command is for, and bad sequences"] = [[
c1 connect
c1 reply 220
c1 send "MAIL FROM:<>\r\n"
c1 reply "503 5.5.1 EHLO is expected\r\n"
c1 send "EHLO [127.0.0.1]\r\n"
c1 reply 250
c1 send "RCPT TO:<b@b.test>\r\n"
c1 reply 503
c1 send "DATA\r\n"
c1 reply 503
c1 send "MAIL FROM:<a@a.test> SIZE=1000 BODY=8BITMIME\r\n"
c1 reply 250
c1 send "MAIL FROM:<a@a.test>\r\n"
c1 reply 503
c1 send "DATA\r\n"
c1 reply 554
c1 send "RCPT TO:<nobody>\r\n"
c1 reply "501 5.1.3 Not an address\r\n"
c1 send "rcpt to:<Postmaster>\r\n"
c1 reply 250
c1 send "ETRN a.test\r\n"
c1 reply 503
c1 send "DATA\r\n"
c1 reply 354
c1 send "a\n.\r\n..\r\n.\r.\r\n.\nQUIT\r\n.\r\n"
c1 reply 250
c1 send "RCPT TO:<b@b.test>\r\n"
c1 reply 503
c1 send "MAIL FROM:<a@a.test> SIZE=99999999\r\n"
c1 reply "552 5.3.4 The message is too large\r\n"
c1 send "MAIL FROM:<a@a.test> X=1\r\n"
c1 reply 555
c1 send "ETRN a.test\r\n"
c1 reply 250
c1 send "VRFY\r\n"
c1 reply 501
c1 send "EXPN list\r\n"
c1 reply 252
c1 send "HELP\r\n"
c1 reply 214
c1 send "FOO\r\n"
c1 reply 500
c1 send "\r\n"
c1 reply 500
c1 send "QUIT now\r\n"
c1 reply 501
c1 send "QUIT\r\nNOOP\r\n"
c1 reply 221
]]

GOOD["lines, however they come"] = ([[
c1 connect
c1 reply 220
c1 send "NOOP a\rNOOP\r\n"
c1 reply 501
c1 send "NOOP a\nNOOP\r\n"
c1 reply 501
c1 send "NOOP a\x00\r\n"
c1 reply 501
c1 send "NOOP\r\r\n"
c1 reply 501
c1 send "NOOP\r\n" split 1,1,1,1,1 gap 0.01
c1 reply 250
c1 send "NOOP LONG\r\nNOOP LONG\n\r\n"
c1 reply 500
c1 reply 500
c1 send "NOOP FITS\r\n"
c1 reply 250
c1 send "EHLO a\r\nMAIL FROM:<>\r\nRCPT TO:<b@b.test>\r\nRSET\r\nMAIL FROM:<>\r\nQUIT\r\n"
c1 reply 250
c1 reply 250
c1 reply 250
c1 reply 250
c1 reply 250
c1 reply 221
]]):gsub("LONG", ("x"):rep(2042)):gsub("FITS", ("x"):rep(2041))

GOOD["chunks, refused ones as well"] = [[
c1 connect
c1 reply 220
c1 send "EHLO a\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n"
c1 reply 250
c1 reply 503
c1 reply 250
c1 send "BDAT x\r\nBDAT 1 FIRST\r\nBDAT 123456789012345678901\r\n"
c1 reply 501
c1 reply 501
c1 reply 501
c1 send "MAIL FROM:<>\r\nRCPT TO:<b@b.test>\r\nBDAT 3\r\n\r\n.BDAT 0\r\nDATA\r\nRCPT TO:<b@b.test>\r\n"
c1 reply 250
c1 reply 250
c1 reply 250
c1 reply 250
c1 reply 503
c1 reply 503
c1 send "BDAT 5 LAST\r\n.\r\n\r\nNOOP\r\n" split 14,2 gap 0.01
c1 reply 250
c1 reply 250
]]

GOOD["AUTH, refused and cancelled"] = [[
c1 connect
c1 reply 220
c1 send "AUTH PLAIN\r\n"
c1 reply 503
c1 send "EHLO a\r\nAUTH\r\nAUTH SECRET\r\nAUTH PLAIN AGFsaWNlAHdyb25n\r\nAUTH PLAIN AGFsaWNl\r\nAUTH PLAIN ?\r\n"
c1 reply 250
c1 reply 501
c1 reply 504
c1 reply "535 5.7.8 Wrong name or password\r\n"
c1 reply 501
c1 reply 501
c1 send "AUTH LOGIN\r\nYWxpY2U=\r\n*\r\nAUTH LOGIN YWxpY2U=\r\nd3Jvbmc=\r\n"
c1 reply 334
c1 reply 334
c1 reply 501
c1 reply 334
c1 reply 535
c1 send "AUTH PLAIN\r\n*\r\nNOOP\r\n"
c1 reply 334
c1 reply 501
c1 reply 250
c1 auth PLAIN
c1 reply 235
c1 send "AUTH PLAIN\r\n"
c1 reply 503
]]

GOOD["STARTTLS, which forgets"] = [[
c1 connect
c1 reply 220
c1 send "EHLO a\r\nMAIL FROM:<>\r\n"
c1 reply 250
c1 reply 250
c1 send "STARTTLS\r\nNOOP\r\nQUIT\r\n"
c1 reply 220
c1 handshake
c1 silent 0.1
c1 send "MAIL FROM:<>\r\n"
c1 reply 503
c1 send "EHLO a\r\nSTARTTLS\r\nMAIL FROM:<>\r\nRCPT TO:<b@b.test>\r\nDATA\r\n"
c1 reply 250
c1 reply 503
c1 reply 250
c1 reply 250
c1 reply 354
c1 send ".\r\nQUIT\r\n"
c1 reply 250
c1 reply 221
]]

GOOD["so many errors, and no more"] = "c1 connect\nc1 reply 220\n" .. ('c1 send "FOO\\r\\n"\nc1 reply 500\n'):rep(200) ..
	'c1 send "FOO\\r\\nNOOP\\r\\n"\nc1 reply "421 4.7.0 Too many errors\\r\\n"\n'

-- What else than a reply tells: bug → function(child, before)
local SIGNS = {}

function SIGNS.sanitizer(child)
	return child:output():find "==%d+==ERROR: AddressSanitizer: heap%-buffer%-overflow"
end

function SIGNS.memory(child, before)
	return resident(child.pid) - before > 150 * 65536
end

-- A sanitizer makes an exit status of a SEGV.
local ENDS = { ["crash-sequence"] = "ABRT", ["crash-length"] = (os.getenv "SAN" or "") == "" and "SEGV" or 1, ["exit-byte"] = 3 }

math.randomseed(os.time())

for _ = 1, 3 do
	local key = ("%x"):format(math.random(0))
	describe("planted --key=" .. key, function()
		local good, port, password
		setup(function()
			good, port = start(key, "none")
			password = run("--key=" .. key, "--explain"):match "\nalice\tpassword=(%x+)\n"
		end)
		teardown(function() good:close() end)

		for name, text in pairs(GOOD) do
			it("knows " .. name, function()
				assert.same({}, play(case.head .. text, port, 30, { authname = "alice", password = password }))
			end)
		end

		for _, bug in ipairs(list()) do
			it(("plants %s (%s)"):format(bug.name, bug.oracle), function()
				local text, status = run("--key=" .. key, "--trigger=" .. bug.name)
				assert.equal(0, status)
				local before = resident(good.pid)
				assert.same({}, play(text, port, 30))
				assert.is_true(good:alive())
				assert.is_true(resident(good.pid) - before < 4 * 2 ^ 20)
				assert.equal(("listening on 127.0.0.1:%d\n"):format(port), good:output())

				local child <close>, bad = start(key, bug.name)
				before = resident(child.pid)
				local differences = play(text, bad, bug.oracle == "hang" and 1 or 30)
				if SIGNS[bug.name] then
					assert.same({}, differences)
					assert.truthy(SIGNS[bug.name](child, before))
				else
					assert.is_true(#differences > 0, text)
				end
				if ENDS[bug.name] then
					assert.equal(ENDS[bug.name], select(2, child:wait(30)))
				else
					assert.is_true(child:alive())
				end
			end)
		end
	end)
end

describe("planted", function()
	it("has a bug for every oracle", function()
		local missing = {}
		for name in ("death liveness hang drop syntax count split class state auth injection leak memory"):gmatch "%l+" do
			missing[name] = true
		end
		for _, bug in ipairs(list()) do missing[bug.oracle] = nil end
		assert.same({}, missing)
	end)

	it("draws the same for the same key, and else for another", function()
		assert.equal(run("--key=a", "--explain"), (run("--key=a", "--explain")))
		assert.not_equal(run("--key=a", "--explain"), (run("--key=b", "--explain")))
	end)

	it("refuses what it does not know", function()
		for _, words in ipairs { {}, { "--key=1", "--bugs=x" }, { "--key=1", "--bugs=leak," }, { "--key=1", "--port=x" },
			{ "--key=1", "--flake=101" }, { "--key=1", "--trigger=x" }, { "--no" } } do
			local output, status = run(table.unpack(words))
			assert.equal(2, status)
			assert.is_true(#output > 0)
		end
	end)

	it("with --flake=0 never misbehaves", function()
		local child <close>, port = start("1", "all", "--flake=0")
		assert.same({}, play(run("--key=1", "--trigger=double-reply"), port, 30))
		assert.is_true(child:alive())
	end)

	it("speaks TLS from the first byte", function()
		local child <close>, port = start("1", "none", "--tls")
		local text = 'c1 connect\nc1 reply 220\nc1 send "EHLO a\\r\\nSTARTTLS\\r\\n"\nc1 reply 250\nc1 reply 503\n'
		assert.same({}, play(case.head .. text, port, 30, { tls = "implicit" }))
		assert.is_true(child:alive())
	end)

	it("serves many at once", function()
		local child <close>, port = start("1", "none")
		local tasks = {}
		for i = 1, 100 do
			tasks[i] = task.spawn(function()
				return play(case.head .. GOOD["lines, however they come"], port, 60)
			end)
		end
		for _, one in ipairs(tasks) do assert.same({}, one:join()) end
		assert.is_true(child:alive())
	end)
end)
