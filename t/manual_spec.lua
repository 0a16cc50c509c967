-- The manual is written by hand; this holds it to the table of options.

local options = require "smtptest.options"

local function manual_lines()
	local lines = {}
	for line in io.lines "man/smtptest.1" do lines[#lines + 1] = line end
	return lines
end

--- The lines of one section.
local function section(name)
	local found, inside = {}, false
	for _, line in ipairs(manual_lines()) do
		local title = line:match "^%.Sh (.+)"
		if title then
			inside = title == name
		elseif inside then
			found[#found + 1] = line
		end
	end
	return found
end

local function flag_name(word)
	return "-" .. word:gsub("^\\&", "")
end

--- What an item of the list of options tells: "Fl p Ar port , Fl -port Ns = Ns Ar port" is {["-p"] = " port",
-- ["--port"] = "=port"}.
local function item_flags(text)
	local flags = {}
	for part in (text .. " , "):gmatch "(.-) , " do
		local name, rest = part:match "^Fl (%S+)%s*(.*)$"
		assert(name, "not a list of flags: " .. text)
		flags[flag_name(name)] = rest:gsub("^Ns Op = Ns Ar (%S+)$", "[=%1]")
			:gsub("^Ns = Ns Ar (%S+)$", "=%1"):gsub("^Ar (%S+)$", " %1")
	end
	return flags
end

--- The same, from the table.
local function option_flags(option)
	local flags, arg = {}, option.arg
	if option.short then flags["-" .. option.short] = arg and " " .. arg or "" end
	if option.also then flags["-" .. option.also] = "" end
	if option.long then
		flags["--" .. option.long] = arg and (option.optional and "[=%s]" or "=%s"):format(arg) or ""
	end
	return flags
end

local function first_flag(option)
	return option.short and "-" .. option.short or "--" .. option.long
end

--- The shell commands of the examples, roff's escapes taken away, continued lines joined.
local function examples()
	local commands, literal, continued = {}, false, false
	for _, line in ipairs(section "EXAMPLES") do
		if line:match "^%.Bd %-literal" then
			literal = true
		elseif line:match "^%.Ed" then
			literal, continued = false, false
		elseif literal then
			line = line:gsub("\\%-", "-"):gsub("\\%(aq", "'"):gsub("\\e", "\\")
			local command = line:match "^%$ (.*)"
			if command then
				commands[#commands + 1] = command
			else
				assert(continued, "neither a command nor the rest of one: " .. line)
				commands[#commands] = commands[#commands] .. "\n" .. line
			end
			continued = true
		end
	end
	return commands
end

describe("the manual", function()
	it("is clean mdoc", function()
		if not os.execute "command -v mandoc >/dev/null" then return pending "mandoc is not installed" end
		local pipe <close> = assert(io.popen "mandoc -Tlint -Wwarning man/smtptest.1 2>&1")
		assert.equal("", pipe:read "a")
	end)

	it("describes every option, with all its names and its argument, and no other", function()
		local described = {}
		for _, line in ipairs(section "OPTIONS") do
			local text = line:match "^%.It (Fl .+)$"
			for name, argument in pairs(text and item_flags(text) or {}) do
				assert.is_nil(described[name], name .. " is described twice")
				described[name] = argument
			end
		end
		local expected = {}
		for _, option in ipairs(options.list) do
			for name, argument in pairs(option_flags(option)) do expected[name] = argument end
		end
		assert.same(expected, described)
	end)

	it("describes all names of an option in one place", function()
		local items = {}
		for _, line in ipairs(section "OPTIONS") do
			local text = line:match "^%.It (Fl .+)$"
			if text then items[#items + 1] = item_flags(text) end
		end
		assert.equal(#options.list, #items)
		for _, option in ipairs(options.list) do
			local expected, found = option_flags(option), nil
			for _, item in ipairs(items) do
				if item[first_flag(option)] then found = item end
			end
			assert.same(expected, found)
		end
	end)

	it("names no flag that is not there", function()
		local known = { ["--"] = true }
		for _, option in ipairs(options.list) do
			for name in pairs(option_flags(option)) do known[name] = true end
		end
		for number, line in ipairs(manual_lines()) do
			for name in (line:match "^%.(.*)" or ""):gmatch "Fl ([^%s|]+)" do
				-- Letters in one word are flags each.
				for one in name:gmatch(name:match "^%a+$" and "." or ".+") do
					assert.is_true(known[flag_name(one)] == true, ("line %d: %s"):format(number, one))
				end
			end
		end
	end)

	it("has the sections that a user looks for", function()
		for _, name in ipairs { "NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "ENVIRONMENT", "EXIT STATUS", "EXAMPLES",
			"DIAGNOSTICS", "SEE ALSO", "STANDARDS", "CAVEATS" } do
			assert.is_true(#section(name) > 0, name)
		end
	end)

	it("writes examples that can be copied", function()
		for _, line in ipairs(section "EXAMPLES") do
			-- A bare hyphen or quote becomes another character in some outputs.
			if line:match "^[$ ]" then assert.is_nil(line:match "^[-']" or line:match "[^\\][-']", line) end
		end
	end)

	it("has ten examples or more, all of which the option parser takes", function()
		local commands = examples()
		assert.is_true(#commands >= 10)
		for _, command in ipairs(commands) do
			-- The shell itself says what the words are.
			local shell = ([[
				words() { printf '%%s\0' "$@" >&3; }
				smtptest() { words smtptest "$@"; }
				lmtptest() { words lmtptest "$@"; }
				dir=$(mktemp -d) && cd "$dir" && { %s
				} 3>words >/dev/null
				cat "$dir/words"; rm -r "$dir"]]):format(command)
			local pipe <close> = assert(io.popen(shell))
			local argv, n = {}, -1
			for word in pipe:read "a":gmatch "([^\0]*)\0" do
				n = n + 1
				argv[n] = word
			end
			assert.is_true(n >= 1, command)
			local plan, message = options.parse(argv)
			assert.is_table(plan, ("%s: %s"):format(command, message))
			if argv[1] ~= "--print-script" then assert.equal("mail.example", plan.host, command) end
			for _, word in ipairs(argv) do
				local long = word:match "^%-%-([%w-]+)"
				local whole = not long
				for _, option in ipairs(options.list) do whole = whole or option.long == long end
				assert.is_true(whole, command .. " shortens " .. word)
			end
		end
	end)
end)
