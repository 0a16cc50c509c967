--- mdoc: what stands in a manual page: its items and its displays, without roff's escapes.

local assert = require "luassert"
local busted = require "busted"

local mdoc = {}

local ESCAPES = { ["\\-"] = "-", ["\\&"] = "", ["\\e"] = "\\", ["\\(aq"] = "'", ["\\(dq"] = '"', ["\\(ga"] = "`",
	["\\(ha"] = "^", ["\\(ti"] = "~" }

--- Text as it is shown.
function mdoc.plain(text)
	return (text:gsub("\\[(]..", ESCAPES):gsub("\\[-&e]", ESCAPES))
end

--- Reads a page.
-- @return {items = list of {section, macro, words}, one for each .It; displays = list of {section, title (of the
--   subsection), lines, file (the one that the line before it names)}; lines = as they stand in the file}
function mdoc.read(path)
	local page = { items = {}, displays = {}, lines = {} }
	local section, title, display
	for line in io.lines(path) do
		local before = page.lines[#page.lines]
		page.lines[#page.lines + 1] = line
		local macro, rest = line:match "^%.It (%u%l) (.+)$"
		section, title = line:match "^%.Sh (.+)" or section, line:match "^%.Ss (.+)" or title
		if line:match "^%.Bd %-literal" then
			display = { section = section, title = title, lines = {}, file = before:match "^%.Pa (%S+) :$" }
			page.displays[#page.displays + 1] = display
		elseif line == ".Ed" then
			display = nil
		elseif display then
			display.lines[#display.lines + 1] = mdoc.plain(line)
		end
		if macro then page.items[#page.items + 1] = { section = section, macro = macro, words = mdoc.plain(rest) } end
	end
	return page
end

--- The text of all displays of a page that was read.
function mdoc.code(page)
	local lines = {}
	for _, display in ipairs(page.displays) do table.move(display.lines, 1, #display.lines, #lines + 1, lines) end
	return table.concat(lines, "\n")
end

--- Whether a line is what another one claims, in which "..." stands for anything.
function mdoc.matches(claim, line)
	local pattern = claim:gsub("%p", "%%%0"):gsub("%%%.%%%.%%%.", ".*")
	return line:find("^" .. pattern .. "$") ~= nil
end

--- Lines of a program's output, tabs made blanks, without blanks at their ends.
function mdoc.output_lines(text)
	local lines = {}
	for line in text:gsub("\r\n", "\n"):gsub("\t", " "):gmatch "([^\n]*)\n" do lines[#lines + 1] = line:gsub("%s+$", "") end
	return lines
end

-- Lines of a display that would be copied wrong, as they stand in the file: a bare hyphen or quote becomes another
-- character in some outputs.
local function uncopyable(path)
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

-- What the linter says; nil where there is none.
local function lint(path)
	if not os.execute "command -v mandoc >/dev/null" then return nil end
	local pipe <close> = assert(io.popen(("mandoc -Tlint -Wwarning '%s' 2>&1"):format(path)))
	return pipe:read "a"
end

--- The spec that each page has.
function mdoc.spec(path)
	busted.it("is clean mdoc, and its examples can be copied", function()
		assert.are.same({}, uncopyable(path))
		local told = lint(path)
		if not told then return busted.pending "mandoc is not installed" end
		assert.are.equal("", told)
	end)
end

return mdoc
