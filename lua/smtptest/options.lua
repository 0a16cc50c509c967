--- options: the command line as data.

local flags = require "smtptest.flags"
local modes = require "smtptest.mode"
local nearest = require "smtptest.nearest"
local value_of = require "smtptest.value"

local options = {}

--- Every option; as smtptest.flags.
options.list = flags

local by_short, by_long, long_names = {}, {}, {}
for _, option in ipairs(options.list) do
	if option.short then by_short[option.short] = option end
	if option.also then by_short[option.also] = option end
	if option.long then
		by_long[option.long] = option
		long_names[#long_names + 1] = option.long
	end
end

-- ---------------------------------------------------------------- finding an option

--- Finds a long option by its name or an unambiguous beginning of it; the classic names win.
-- @return option | nil, message in getopt's words
local function find_long(name)
	if by_long[name] then return by_long[name] end
	local classic, ours = {}, {}
	for _, long in ipairs(long_names) do
		if name ~= "" and long:sub(1, #name) == name then
			local list = by_long[long].classic and classic or ours
			list[#list + 1] = long
		end
	end
	local found = classic[1] and classic or ours
	if #found == 1 then return by_long[found[1]] end
	if #found > 1 then
		return nil, ("option '--%s' is ambiguous; possibilities: '--%s'"):format(name, table.concat(found, "' '--"))
	end
	local near = nearest(name, long_names)
	return nil, ("unrecognized option '--%s'%s"):format(name, near and (" (did you mean '--%s'?)"):format(near) or "")
end

local function find_short(letter)
	local option = by_short[letter]
	if option then return option end
	local other = letter:lower() == letter and letter:upper() or letter:lower()
	local near = by_short[other] and by_short[other].help
	return nil, ("invalid option -- '%s'%s"):format(letter, near and (" (did you mean '-%s'?)"):format(other) or "")
end

-- ---------------------------------------------------------------- parsing

-- The classic program ignores what follows the host; whoever uses an option of ours is told.
local function surplus(state)
	local word = state.words[2]
	if not (word and state.ours) then return nil end
	return ("unexpected operand '%s'%s"):format(word, word:find "^%d+$" and (" (a port is -p %s)"):format(word) or "")
end

--- Takes one option into account.
-- @param text  its argument, or nil
-- @param flag  as the user wrote it, for messages
-- @return nil | message of a failure
local function apply(state, option, text, flag)
	local value = option.value
	state.ours = state.ours or option.group ~= "classic"
	if text then
		local why, words
		value, why, words = value_of[option.kind or "text"](text)
		if value == nil then
			return words or ("%s: %s: %s"):format(flag, why, text)
		end
	elseif value == nil then
		value = true
	end
	if option.effect then return option.effect(state, value, flag) end
	state.plan[option.field] = value
end

--- What only the whole command line can tell.
-- @return nil | message of a failure
local function finish(state)
	local plan, mode = state.plan, state.mode
	local words, message = modes.finish(mode, state.words)
	if not words then return message end
	state.words = words
	message = surplus(state)
	if message then return message end
	plan.host = words[1]
	if state.implicit then
		plan.tls = "implicit"
	elseif state.both then
		plan.tls = "starttls"
	end
	local both = state.both ~= "" and state.both or nil
	plan.certfile = state.cert or both
	plan.keyfile = state.key or plan.certfile
	if plan.keyfile and not plan.certfile then
		return "--key: no certificate given (--cert or -t)"
	end
	if plan.output_socket and plan.input then
		return "cannot pipe a file when using unix domain socket output"
	end
	if plan.rounds and plan.rounds > 1 then
		plan.reauth = true
	end
	if not modes.takes_words(mode) then mode.args = {} end
end

-- Reads argv[i], a long option. Returns the index of the last word used | nil, message, "USAGE" or "FAILURE".
local function take_long(state, argv, i)
	local name, text = argv[i]:match "^%-%-([^=]*)=?(.*)$"
	local has_text = argv[i]:find("=", 1, true) ~= nil
	local option, message = find_long(name)
	if not option then
		if state.mode.test and not message:find "%)$" then message = message .. " (options of busted stand behind '--')" end
		return nil, message, "USAGE"
	end
	local flag, last, first = "--" .. option.long, i, #name + 4
	if has_text and not option.arg then
		return nil, ("option '%s' doesn't allow an argument"):format(flag), "USAGE"
	elseif not has_text then
		text = nil
		if option.arg and not option.optional then
			text, last, first = argv[i + 1], i + 1, 1
			if not text then return nil, ("option '%s' requires an argument"):format(flag), "USAGE" end
		end
	end
	if option.secret then state.secrets[#state.secrets + 1] = { last, first } end
	message = apply(state, option, text, flag)
	if message then return nil, message, "FAILURE" end
	return last, option.ends
end

-- Reads argv[i], short options in one word; results as take_long.
local function take_short(state, argv, i)
	local word = argv[i]
	for at = 2, #word do
		local letter = word:sub(at, at)
		local option, message = find_short(letter)
		if not option then return nil, message, "USAGE" end
		local text, last, first = nil, i, at + 1
		if option.arg then
			text = word:sub(first)
			if text == "" then text, last, first = argv[i + 1], i + 1, 1 end
			if not text then return nil, ("option requires an argument -- '%s'"):format(letter), "USAGE" end
			if option.secret then state.secrets[#state.secrets + 1] = { last, first } end
		end
		message = apply(state, option, text, "-" .. letter)
		if message then return nil, message, "FAILURE" end
		if option.arg or option.ends then return last, option.ends end
	end
	return i
end

local function basename(path)
	return path:match "([^/]+)/*$" or path
end

--- Reads a command line, as getopt_long does: options and operands in any order, `--` ends the options.
-- @param argv     list of words; argv[0], if there, is the program
-- @param program  its name (default: argv[0], or smtptest); as lmtptest it speaks LMTP
-- @return plan (without defaults), operands, mode; mode is {action = "session" "help" "version" "print-script",
--   script = FILE, execute = CHUNK, serve = true, save = DIR, args = words after "--" for a script or busted,
--   test = true, test_output = KIND, specs = list of paths, replay = FILE, match = HOW, tls_report = true, json = true,
--   min_days = N, secrets = list of {index, first}: where in argv a secret stands, from which byte on}
-- @return or nil, message, "USAGE" (the message names the program, the usage text belongs to it) or "FAILURE"
function options.parse(argv, program)
	program = basename(program or argv[0] or "smtptest")
	local state = { plan = {}, words = {}, secrets = {}, mode = { action = "session", args = {} } }
	state.mode.secrets = state.secrets
	if program == "lmtptest" then state.plan.protocol = "lmtp" end

	local words, args = state.words, state.mode.args
	local i = 1
	while argv[i] do
		local word = argv[i]
		if word == "--" then
			table.move(argv, i + 1, #argv, 1, args)
			break
		end
		local take = word:sub(1, 2) == "--" and take_long or word:match "^%-." and take_short
		if take then
			local last, message, code = take(state, argv, i)
			if not last then
				return nil, code == "USAGE" and program .. ": " .. message or message, code
			end
			if message then return state.plan, words, state.mode end
			i = last
		else
			words[#words + 1] = word
		end
		i = i + 1
	end
	if not modes.takes_words(state.mode) then table.move(args, 1, #args, #words + 1, words) end
	local message = finish(state)
	if message then return nil, message, "FAILURE" end
	return state.plan, state.words, state.mode
end

-- ---------------------------------------------------------------- usage

local function names_of(option)
	local names = {}
	local short, long, arg = option.short, option.long, option.arg
	if short then names[1] = "-" .. short .. (arg and " " .. arg or "") end
	if option.also then names[#names + 1] = "-" .. option.also end
	-- The classic program shows letters only; its long names stand in the manual.
	if long and not option.classic then
		names[#names + 1] = "--" .. long .. (arg and (option.optional and "[=%s]" or "=%s"):format(arg) or "")
	end
	return table.concat(names, ", ")
end

local function add(lines, option, width)
	local help = option.help
	if type(help) == "string" then help = { help } end
	local first = ("  %-" .. width .. "s : "):format(names_of(option))
	for i, text in ipairs(help or {}) do
		lines[#lines + 1] = (i == 1 and first or (" "):rep(width + 5)) .. text
	end
end

--- The usage text: first what the classic program has, in its order and words.
-- @param program  name of the program (default smtptest)
-- @return text, ends in a line feed
function options.usage(program)
	local lines = { ("Usage: %s [options] hostname"):format(basename(program or "smtptest")) }
	local group = "classic"
	for _, option in ipairs(options.list) do
		if option.group ~= group then
			group = option.group
			lines[#lines + 1] = group .. ":"
		end
		add(lines, option, group == "classic" and 8 or 26)
	end
	lines[#lines + 1] = "smtptest(1) tells more; there each letter has its long name."
	return table.concat(lines, "\n") .. "\n"
end

return options
