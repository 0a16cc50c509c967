--- junit: busted's report in the form that CI services read: a testsuite for each spec file, every failure with its
-- file and line.

local core = require "smtptest.core.line"

local write, flush = io.write, io.flush

local ENTITIES = {
	["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["\n"] = "&#10;", ["\t"] = "&#9;",
}

-- XML can't hold control characters at all, and its text is UTF-8.
local function printable(text)
	text = text:gsub("\r", "\\r")
	text = core.visible(text)
	if not utf8.len(text) then text = text:gsub("[\128-\255]", function(c) return ("\\x%02x"):format(c:byte()) end) end
	return text
end

local function attribute(value)
	return (printable(tostring(value)):gsub('[&<>"\n\t]', ENTITIES))
end

local function text_of(value)
	return (printable(tostring(value)):gsub("[&<>]", ENTITIES))
end

-- One testcase: what, "error" "failure" "skipped" or nil.
local function case_lines(case)
	local head = ('\t\t<testcase classname="%s" name="%s" time="%.3f"'):format(attribute(case.class), attribute(case.name),
		case.time)
	if not case.what then return head .. "/>\n" end
	local message = attribute((case.message or ""):match "^[^\n]*")
	if case.what == "skipped" then
		return ('%s>\n\t\t\t<skipped message="%s"/>\n\t\t</testcase>\n'):format(head, message)
	end
	return ('%s>\n\t\t\t<%s message="%s" type="%s">%s</%s>\n\t\t</testcase>\n'):format(head, case.what, message, case.what,
		text_of(case.message or ""), case.what)
end

local function suite_lines(suite)
	local count = { error = 0, failure = 0, skipped = 0 }
	local time, cases = 0, {}
	for i, case in ipairs(suite) do
		if case.what then count[case.what] = count[case.what] + 1 end
		time, cases[i] = time + case.time, case_lines(case)
	end
	return ('\t<testsuite name="%s" tests="%d" failures="%d" errors="%d" skipped="%d" time="%.3f" timestamp="%s">\n%s'
		.. "\t</testsuite>\n"):format(attribute(suite.name), #suite, count.failure, count.error, count.skipped, time,
		suite.started, table.concat(cases)), #suite, count.failure, count.error, time
end

--- Makes the handler, as busted wants it.
return function()
	local busted = require "busted"
	local handler = require "busted.outputHandlers.base"()
	local suites, by_file = {}, {}
	local current

	local function add(element, case)
		local parent = element
		while parent and parent.descriptor ~= "file" do parent = busted.parent(parent) end
		local name = parent and parent.name or "smtptest"
		local suite = by_file[name]
		if not suite then
			suite = { name = name, started = os.date "!%Y-%m-%dT%H:%M:%S" }
			by_file[name] = suite
			suites[#suites + 1] = suite
		end
		local trace = element.trace
		case.class = trace and ("%s:%d"):format(trace.short_src, trace.currentline) or name
		case.name, case.time = handler.getFullName(element), case.time or 0
		suite[#suite + 1] = case
	end

	local function failed(what)
		return function(element, _, message)
			message = tostring(message)
			if element.descriptor == "it" then
				current = { what = what, message = message }
			else
				add(element, { what = "error", message = message })
			end
			return nil, true
		end
	end

	busted.subscribe({ "error" }, failed "error")
	busted.subscribe({ "failure" }, failed "failure")
	busted.subscribe({ "test", "start" }, function()
		current = nil
		return nil, true
	end, { predicate = handler.cancelOnPending })
	busted.subscribe({ "test", "end" }, function(element, _, status)
		local case = current or {}
		if status == "pending" then
			local pendings = handler.pendings
			case.what, case.message = "skipped", tostring(pendings[#pendings] and pendings[#pendings].message or "")
		end
		case.time = element.duration or 0
		add(element, case)
		return nil, true
	end, { predicate = handler.cancelOnPending })
	busted.subscribe({ "exit" }, function()
		local parts, tests, failures, errors, time = {}, 0, 0, 0, 0
		for i, suite in ipairs(suites) do
			local text, n, failing, wrong, seconds = suite_lines(suite)
			parts[i] = text
			tests, failures, errors, time = tests + n, failures + failing, errors + wrong, time + seconds
		end
		write(('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites tests="%d" failures="%d" errors="%d" time="%.3f">\n')
			:format(tests, failures, errors, time), table.concat(parts), "</testsuites>\n")
		flush()
		return nil, true
	end)
	return handler
end
