-- Writes the completion of a shell from the table of options, at build time:
--	smtptest -S src/complete.lua -- bash|zsh OUTPUT EXAMPLES
-- EXAMPLES is the folder where the example scripts are installed.

local options = require "smtptest.options"

local shell, output, examples = ...

-- What an argument is, by the kind that its option names, else by what it is called.
local KINDS = {
	protocol = { words = "smtp lmtp" },
	tls_version = { words = "1.0 1.1 1.2 1.3" },
	proxy = { words = "unknown local" },
}
local CALLED = {
	file = { files = true }, path = { files = true }, dir = { folders = true },
}

local function argument(option)
	if not option.arg then return nil end
	if option.long == "script" then return { files = true, examples = true } end
	return option.kind and KINDS[option.kind] or CALLED[option.arg:lower()] or {}
end

local function names(option)
	local list = {}
	if option.short then list[1] = "-" .. option.short end
	if option.also then list[#list + 1] = "-" .. option.also end
	if option.long then list[#list + 1] = "--" .. option.long end
	return list
end

local function quoted(text)
	return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- ---------------------------------------------------------------- bash

local function bash_action(what)
	local lines = {}
	if what.files then lines[1] = '_smtptest_reply -f -- "$cur"' end
	if what.folders then lines[1] = '_smtptest_reply -d -- "$cur"' end
	if what.words then lines[1] = ('_smtptest_reply -W %s -- "$cur"'):format(quoted(what.words)) end
	if what.examples then
		lines[#lines + 1] = ('_smtptest_reply -W "$(cd %s 2>/dev/null && ls -- *.lua 2>/dev/null)" -- "$cur"')
			:format(quoted(examples))
	end
	return table.concat(lines, "; ")
end

-- The patterns of a case: an option's names where a word follows it, so that all with one action stand together.
local function bash_cases(long_only)
	local order, by_action = {}, {}
	for _, option in ipairs(options.list) do
		local what = argument(option)
		if what and (long_only or not option.optional) then
			local action = bash_action(what)
			if not by_action[action] then
				by_action[action] = {}
				order[#order + 1] = action
			end
			for _, name in ipairs(names(option)) do
				if not long_only or name:find "^%-%-" then
					table.insert(by_action[action], quoted(name))
				end
			end
		end
	end
	local lines = {}
	for _, action in ipairs(order) do
		if by_action[action][1] then
			lines[#lines + 1] = ("\t%s)\n\t\t%sreturn;;"):format(table.concat(by_action[action], " | "),
				action ~= "" and action .. "\n\t\t" or "")
		end
	end
	return table.concat(lines, "\n")
end

local function bash()
	local words = {}
	for _, option in ipairs(options.list) do
		for _, name in ipairs(names(option)) do
			local long = name:find "^%-%-" and option.arg
			words[#words + 1] = name .. (long and "=" or "")
			if long and option.optional then words[#words + 1] = name end
		end
	end
	return ([==[
# bash completion of smtptest and lmtptest; written by src/complete.lua

_smtptest_reply() {
	local word
	while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen "$@")
}

_smtptest() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} assigned=
	COMPREPLY=()
	# bash takes --option=value for three words.
	if [[ $cur == = ]]; then
		cur= assigned=$prev
	elif [[ $prev == = ]]; then
		assigned=${COMP_WORDS[COMP_CWORD-2]}
	fi
	[[ -z $assigned ]] || case $assigned in
{ASSIGNED}
	*)
		return;;
	esac
	case $prev in
{FOLLOWED}
	esac
	if [[ $cur == -* ]]; then
		_smtptest_reply -W {WORDS} -- "$cur"
		[[ ${COMPREPLY[0]} != *= ]] || compopt -o nospace 2>/dev/null
	else
		_smtptest_reply -A hostname -- "$cur"
		_smtptest_reply -f -X '!*.lua' -- "$cur"
	fi
}

complete -o filenames -F _smtptest smtptest lmtptest
]==]):gsub("{(%u+)}", { ASSIGNED = bash_cases(true), FOLLOWED = bash_cases(false),
		WORDS = quoted(table.concat(words, " ")) })
end

-- ---------------------------------------------------------------- zsh

local function zsh_action(what)
	if what.folders then return "_files -/" end
	if what.words then return "(" .. what.words .. ")" end
	if what.examples then
		return ("{ _files; _path_files -W %s -g '*.lua' }"):format(quoted(examples))
	end
	return what.files and "_files" or ""
end

local function zsh_text(text)
	return (text:gsub("[%[%]:\\]", "\\%0"))
end

local function zsh_help(option)
	local help = option.help or ""
	return zsh_text(type(help) == "table" and table.concat(help, " ") or help)
end

local function zsh()
	local specs = {}
	for _, option in ipairs(options.list) do
		local what, help = argument(option), zsh_help(option)
		for _, name in ipairs(names(option)) do
			local spec = "*" .. name:gsub("%?", "\\?")
			if what then
				spec = spec .. (not name:find "^%-%-" and "+" or option.optional and "=-" or "=")
			end
			spec = spec .. "[" .. help .. "]"
			if what then
				spec = ("%s%s%s:%s"):format(spec, option.optional and "::" or ":", zsh_text(option.arg), zsh_action(what))
			end
			specs[#specs + 1] = "\t" .. quoted(spec)
		end
	end
	return ("#compdef smtptest lmtptest\n# zsh completion of smtptest and lmtptest; written by src/complete.lua\n\n" ..
		"_arguments -s -S \\\n%s \\\n\t'*:host or script:{ _hosts; _files -g \"*.lua\" }'\n")
		:format(table.concat(specs, " \\\n"))
end

local writers = { bash = bash, zsh = zsh }
local temporary = output .. ".tmp"
local file = assert(io.open(temporary, "wb"))
assert(file:write((writers[shell]())))
assert(file:close())
assert(os.rename(temporary, output))
