--- mdoc: what stands in a manual page: its items and its displays, without roff's escapes.

local mdoc = {}

local ESCAPES = { ["\\-"] = "-", ["\\&"] = "", ["\\e"] = "\\", ["\\(aq"] = "'", ["\\(dq"] = '"', ["\\(ga"] = "`",
	["\\(ha"] = "^", ["\\(ti"] = "~" }

--- Text as it is shown.
function mdoc.plain(text)
	return (text:gsub("\\[(]..", ESCAPES):gsub("\\[-&e]", ESCAPES))
end

--- Reads a page.
-- @return {items = list of {section, macro, words}, one for each word list of an .It; displays = list of {section,
--   lines, words: what stands before it since the last one}; lines = as they stand in the file}
function mdoc.read(path)
	local page = { items = {}, displays = {}, lines = {} }
	local section, display, words = nil, nil, {}
	for line in io.lines(path) do
		page.lines[#page.lines + 1] = line
		local title = line:match "^%.Sh (.+)"
		local macro, rest = line:match "^%.It (%u%l) (.+)$"
		if title then section, words = title, {} end
		if line:match "^%.Bd %-literal" then
			display = { section = section, lines = {}, words = table.concat(words, " ") }
			page.displays[#page.displays + 1] = display
		elseif line == ".Ed" then
			display, words = nil, {}
		elseif display then
			display.lines[#display.lines + 1] = mdoc.plain(line)
		elseif not line:find "^%." then
			words[#words + 1] = line
		end
		if macro then page.items[#page.items + 1] = { section = section, macro = macro, words = mdoc.plain(rest) } end
	end
	return page
end

--- Lines of a display that would be copied wrong: a bare hyphen or quote becomes another character in some outputs.
-- @return list of lines as they stand in the file
function mdoc.uncopyable(path)
	local found, inside = {}, false
	for line in io.lines(path) do
		if line:match "^%.Bd %-literal" then
			inside = true
		elseif line == ".Ed" then
			inside = false
		elseif inside and (line:find "^[-'`^~]" or line:find "[^\\][-'`^~]") then
			found[#found + 1] = line
		end
	end
	return found
end

--- What the linter says; nil where there is none.
function mdoc.lint(path)
	if not os.execute "command -v mandoc >/dev/null" then return nil end
	local pipe <close> = assert(io.popen(("mandoc -Tlint -Wwarning '%s' 2>&1"):format(path)))
	return pipe:read "a"
end

return mdoc
