--- report: what a server's TLS is like: versions and ciphers, certificates, resumption. What `--tls-report` prints.
--
-- Everything is found out from outside, one session after the other: for each version the server is offered all ciphers
-- but those that it has chosen before, until it refuses.

local argument = require "smtptest.argument"
local failure = require "smtptest.failure"
local json = require "smtptest.json"
local line = require "smtptest.core.line"
local output = require "smtptest.output"
local plans = require "smtptest.plan"
local poll = require "smtptest.core.poll"
local session = require "smtptest.session"

local report = {}

local VERSIONS = { "1.3", "1.2", "1.1", "1.0" }
local SUITES = { "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256",
	"TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256" }
local ALPN = { "smtp" }
local MOST_CIPHERS = 200        -- of a version: a server that chooses what was not offered ends there
local DAY = 86400

-- What a server says that will not have our offer; other errors end the report on a port.
local REFUSALS = { TLS = true, TRUNCATED = true, CERTIFICATE = true }

-- ---------------------------------------------------------------- which ports

local KNOWN = { smtps = "implicit", submissions = "implicit" }

--- Reads a list of ports: numbers or names of services, between commas; s behind a number is TLS from the first byte, l
-- is LMTP, ls both.
-- @param text  "25,587,465s,24l"
-- @param plan  protocol and tls are what the others have
-- @return list of {port, protocol, tls}, or nil, message
function report.ports(text, plan)
	local list = {}
	for word in (tostring(text) .. ","):gmatch("([^,]*),") do
		local port, marks = word:match "^(%d+)(l?s?)$"
		if not port then port, marks = word:match "^(%a[%w-]*)$", "" end
		if not port or tonumber(port) and tonumber(port) > 65535 then
			return nil, ("not a port: %q (25, 465s for TLS from the start, 24l for LMTP)"):format(word)
		end
		local implicit = marks:find "s" or KNOWN[port] or plan.tls == "implicit"
		list[#list + 1] = {
			port = tonumber(port) or port,
			protocol = (marks:find "l" or port == "lmtp") and "lmtp" or plan.protocol or "smtp",
			tls = implicit and "implicit" or "starttls",
		}
	end
	return list
end

-- ---------------------------------------------------------------- one session

-- Goes as far as EHLO under TLS: tickets of TLS 1.3 come with its answer. Gives what was agreed on; raises.
local function probe(base, changes)
	local ok, s = pcall(session.open, plans.new(changes, base))
	if not ok then
		if failure.is(s) and s.session then s.session:close() end
		error(s, 0)
	end
	local _ <close> = s
	local info = s.tls
	local found = { protocol = info.protocol, cipher = info.cipher, group = info.group, alpn = info.alpn,
		resumed = info.resumed, verified = info.verified, problems = info.problems, peer = info.peer,
		session = info.session }
	pcall(s.quit, s)
	return found
end

-- The same; nil, error where the server refuses what it is offered.
local function offer(base, changes)
	local ok, found = pcall(probe, base, changes)
	if ok then return found end
	if failure.is(found) and REFUSALS[found.code] then return nil, found end
	error(found, 0)
end

-- ---------------------------------------------------------------- one version

-- A folder that holds no certificate. Who only counts ciphers trusts nobody: the system's certificates, read again for
-- each offer, would take most of the time.
local NOBODY = "/"

-- All that OpenSSL has but these.
local function without(version, known)
	local changes = { min_version = version, max_version = version, capath = NOBODY }
	if version == "1.3" then
		local rest = {}
		for _, suite in ipairs(SUITES) do
			if not known[suite] then rest[#rest + 1] = suite end
		end
		changes.ciphersuites = table.concat(rest, ":")
		return rest[1] and changes
	end
	local words = { "ALL" }
	for _, cipher in ipairs(known) do words[#words + 1] = "!" .. cipher end
	changes.ciphers = table.concat(words, ":") .. ":@SECLEVEL=0"
	return changes
end

-- Gives nil when the server does not speak it.
local function version_of(base, version)
	local ciphers, first, first_changes = {}, nil, nil
	repeat
		local changes = without(version, ciphers)
		local found = changes and offer(base, changes)
		if found and ciphers[found.cipher] then found = nil end
		if found then
			ciphers[#ciphers + 1] = found.cipher
			ciphers[found.cipher] = true
			if not first then first, first_changes = found, changes end
		end
	until not found or #ciphers >= MOST_CIPHERS
	if not first then return nil end
	local again = first.session and offer(base, plans.new({ session = first.session }, first_changes))
	return { version = first.protocol, ciphers = table.move(ciphers, 1, #ciphers, 1, {}), group = first.group,
		resumption = again ~= nil and again ~= false and again.resumed }
end

-- ---------------------------------------------------------------- one port

local function certificate(parsed, time)
	return { subject = parsed.subject, issuer = parsed.issuer, names = parsed.names, key = parsed.key,
		signature = parsed.signature, serial = parsed.serial, fingerprint = parsed.fingerprint,
		not_before = parsed.not_before, not_after = parsed.not_after,
		days = (parsed.not_after - time) // DAY, early = parsed.not_before > time or nil }
end

local function reasons(problems)
	local list = {}
	for _, problem in ipairs(problems) do
		list[#list + 1] = problem.depth > 0 and ("%s (%s)"):format(problem.text, problem.subject) or problem.text
	end
	return list
end

-- With --verify=NAME another name is judged, which a session does only by insisting on it.
local function judge(self, base, plan, usual)
	self.name = plan.host or "localhost"
	self.verified, self.problems = usual.verified, reasons(usual.problems)
	if type(plan.verify) ~= "string" then return end
	self.name = plan.verify
	local found, err = offer(base, { verify = plan.verify })
	self.verified, self.problems = found ~= nil, found and {} or { err.message }
end

local function examine(self, plan)
	local base = plans.new({ port = self.port, protocol = self.protocol, tls = self.tls, auth = false, verify = false,
		trace = false }, plan)
	local usual = probe(base, {})
	self.protocol_version, self.cipher, self.group = usual.protocol, usual.cipher, usual.group
	local time = poll.walltime() // 1 | 0
	self.chain = {}
	for i, parsed in ipairs(usual.peer) do
		self.chain[i] = certificate(parsed, time)
		self.days = math.min(self.days or math.maxinteger, self.chain[i].days)
	end
	judge(self, base, plan, usual)
	-- Who says --verify insists on it, as a session does.
	if plan.verify and not self.verified then self.code, self.status = "CERTIFICATE", 4 end
	self.versions, self.refused = {}, {}
	for _, version in ipairs(VERSIONS) do
		local found = version_of(base, version)
		if found then
			self.versions[#self.versions + 1] = found
		else
			self.refused[#self.refused + 1] = version == "1.0" and "TLSv1" or "TLSv" .. version
		end
	end
	local answer = offer(base, { alpn = plan.alpn or ALPN })
	self.alpn = not answer and "refused" or answer.alpn or "ignored"
end

local OPTIONS = { ports = "string|integer", each = "function" }

--- Finds out what the TLS of a host is like.
-- @param plan     plan fields: host, port (one, or several as `ports`), protocol, tls ("implicit" for all), timeout,
--   cafile capath, verify (a bad certificate is a failure; a name: to judge instead of the host), certfile keyfile,
--   helo source family
-- @param options  ports ("25,587,465s,24l", default the plan's port), each (called with every port's table when it is
--   complete)
-- @return {host, days, ports = list of {port, protocol, tls, and: error, code, status; or protocol_version cipher group
--   (what is agreed on without further words), versions = list of {version, ciphers, group, resumption}, refused = list
--   of versions, alpn ("smtp", "ignored", "refused"), name, verified, problems = list of reasons, chain = list of
--   {subject issuer names key signature serial fingerprint not_before not_after days}, days = the fewest, and, with
--   verify, code "CERTIFICATE" and status 4 where it is not verified}}; raises for ports that are none
function report.tls(plan, options)
	options = argument.options(options, OPTIONS, 2)
	local base = plans.new({}, plan or session.options())
	local whole = plans.defaults(base)
	local list, message = report.ports(options.ports or whole.port, whole)
	if not list then error(failure.new { op = "report", code = "EINVAL", message = message, status = 1 }, 0) end
	local result = { host = whole.host, ports = list }
	for _, self in ipairs(list) do
		local ok, err = pcall(examine, self, base)
		if not ok then
			if not failure.is(err) or err.code == "CANCELED" then error(err, 0) end
			self.error, self.code, self.status = tostring(err), err.code, err.status
		end
		if self.days then result.days = math.min(result.days or math.maxinteger, self.days) end
		if options.each then options.each(self) end
	end
	return result
end

-- ---------------------------------------------------------------- in words

local HOW = { starttls = "STARTTLS", implicit = "TLS from the first byte" }

local function day(time)
	return os.date("!%Y-%m-%d", time)
end

-- Days of a certificate, in words that a person looks for.
local function left(one)
	if one.early then return "not valid yet" end
	if one.days < 0 then return ("EXPIRED %d day%s ago"):format(-one.days, one.days == -1 and "" or "s") end
	return ("%d day%s left"):format(one.days, one.days == 1 and "" or "s")
end

local function add(lines, format, ...)
	lines[#lines + 1] = line.escape(format:format(...))
end

local function add_chain(lines, chain)
	for i, one in ipairs(chain) do
		add(lines, "  certificate %d: %s", i, one.subject)
		if one.names[1] then add(lines, "    names: %s", table.concat(one.names, " ")) end
		add(lines, "    key: %s", one.key)
		add(lines, "    issuer: %s (%s)", one.issuer, one.signature)
		add(lines, "    valid: %s to %s, %s", day(one.not_before), day(one.not_after), left(one))
	end
end

--- One port's table in words.
-- @return string of several lines
function report.text(self)
	local lines = {}
	add(lines, "port %s (%s%s)", self.port, self.protocol == "lmtp" and "LMTP, " or "", HOW[self.tls])
	if self.error then
		add(lines, "  failure: %s", self.error)
		return table.concat(lines, "\n") .. "\n"
	end
	for _, one in ipairs(self.versions) do
		add(lines, "  %s: %s; %s", one.version, table.concat(one.ciphers, " "),
			one.resumption and "sessions are resumed" or "no session is resumed")
	end
	for _, version in ipairs(self.refused) do add(lines, "  %s: refused", version) end
	add(lines, "  agreed on: %s with %s%s", self.protocol_version, self.cipher, self.group and ", " .. self.group or "")
	add(lines, "  ALPN: %s", self.alpn)
	if self.verified then
		add(lines, "  verified for %s", self.name)
	else
		add(lines, "  NOT verified for %s: %s", self.name,
			self.problems[1] and table.concat(self.problems, "; ") or "no certificate was shown")
	end
	add_chain(lines, self.chain)
	return table.concat(lines, "\n") .. "\n"
end

--- What the command does.
-- @param plan     the command line's
-- @param options  json (true: one line of JSON instead of words), min_days
-- @return exit status: what went wrong on the first port where something did, else 1 when a certificate is valid for
--   less than min_days, else 0
function report.run(plan, options)
	local result = report.tls(plan, { each = not options.json and function(self)
		output.write(report.text(self))
	end or nil })
	local status = 0
	for _, self in ipairs(result.ports) do
		if self.status and status == 0 then status = self.status end
	end
	local least = options.min_days
	local short = least and result.days and result.days < least
	if options.json then
		result.ok = status == 0 and not short
		output.write(json.encode(result) .. "\n")
	elseif short then
		output.write(("a certificate is valid for less than %d days\n"):format(least))
	end
	return status ~= 0 and status or short and 1 or 0
end

return report
