-- Writes a C file that holds the text of Lua files, at build time:
--	lua5.4 src/embed.lua OUTPUT FOLDER FILE…
-- FILEs are below FOLDER. Those in FOLDER/smtptest become modules, with the
-- luaopen_ function that Lua's all-in-one loader looks for; others are texts.
-- Modules are there compiled too, by the Lua that runs this: they load in a
-- seventh of the time.

local output, folder, files = arg[1], arg[2] .. "/", { table.unpack(arg, 3) }

local escapes = {
	["\\"] = "\\\\", ['"'] = '\\"', ["\t"] = "\\t", ["\n"] = "\\n",
	["?"] = "\\?", -- C99 knows trigraphs
}

local function escape(char)
	return escapes[char] or ("\\%03o"):format(char:byte())
end

-- One literal a line of source, which compiles fast and reads well.
local function literal(text)
	local lines = { '""' }
	for line in text:gmatch "[^\n]*\n?" do
		if line ~= "" then
			lines[#lines + 1] = '"' .. line:gsub('[%c\128-\255"\\?]', escape) .. '"'
		end
	end
	return table.concat(lines, "\n")
end

-- "smtptest/init.lua" → "smtptest", "smtptest/reply.lua" → "smtptest.reply",
-- "default.lua" → nil.
local function module_name(file)
	local path = file:match "^(smtptest/.+)%.lua$"
	return path and path:gsub("/init$", ""):gsub("/", ".")
end

local function read(path)
	local file <close> = assert(io.open(path, "rb"))
	return assert(file:read "a")
end

local function array(name, text)
	return ("static const char %s[] =\n%s;\n"):format(name, literal(text))
end

local arrays, rows, openers = {}, {}, {}
table.sort(files)
for i, path in ipairs(files) do
	local file = path:sub(#folder + 1)
	local name = module_name(file)
	local text = read(path)
	local code = name and string.dump(assert(load(text, "@" .. file, "t"))) or ""
	local open = name and "luaopen_" .. name:gsub("%.", "_") or "NULL"
	arrays[i] = array("text_" .. i, text) .. array("code_" .. i, code)
	rows[i] = ('\t{ "%s", "%s", text_%d, sizeof text_%d - 1, code_%d, sizeof code_%d - 1, %s },\n')
		:format(name or file, file, i, i, i, i, open)
	if name then
		openers[#openers + 1] = ([[
SMTPTEST_OPEN int
%s(lua_State *L)
{
	return embed_open(L, &embed_sources[%d]);
}
]]):format(open, i - 1)
	end
end

local temporary = output .. ".tmp"
local out = assert(io.open(temporary, "wb"))
assert(out:write(
	"/* Written by src/embed.lua: edit the files below lua/ instead. */\n",
	'#include "embed.h"\n#include "fail.h"\n#include "smtptest.h"\n\n',
	'#pragma GCC diagnostic ignored "-Woverlength-strings"\n',
	table.concat(arrays, "\n"), "\n", table.concat(openers, "\n"),
	"\nconst struct embed embed_sources[] = {\n", table.concat(rows),
	"\t{ NULL, NULL, NULL, 0, NULL, 0, NULL }\n};\n"))
assert(out:close())
assert(os.rename(temporary, output))
