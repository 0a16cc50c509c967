--- merge: joins what several runs have found, by signature: the first folder that has one gives it.

local failure = require "smtptest.failure"
local findings = require "smtptest.fuzz.finding"
local folder = require "smtptest.core.folder"
local json = require "smtptest.json"
local output = require "smtptest.output"

local merge = {}

local FILES = { "case", "min", "transcript", "server.log", "meta.json" }

local function refuse(message)
	error(failure.new { message = "--merge: " .. message, code = "EINVAL", status = 2 }, 0)
end

local function read(path)
	local handle <close> = io.open(path, "rb")
	return handle and handle:read "a"
end

-- The folders below that hold a finding.
local function ids(path)
	local list = {}
	for _, name in ipairs(folder.list(path) or {}) do
		if read(("%s/%s/meta.json"):format(path, name)) then list[#list + 1] = name end
	end
	table.sort(list)
	return list
end

local function quoted(path)
	return path:find "^[%w_@%%+=:,./-]+$" and path or "'" .. path:gsub("'", "'\\''") .. "'"
end

-- Replaces all that is exactly this.
local function replace(text, old, new)
	local parts, position = {}, 1
	local from, to = text:find(old, 1, true)
	while from do
		parts[#parts + 1], position = text:sub(position, from - 1), to + 1
		from, to = text:find(old, position, true)
	end
	parts[#parts + 1] = text:sub(position)
	return table.concat(parts, new)
end

-- What json.encode has made of a text, without its quotes, and back; blanks, quotes and backslashes is all that a path
-- has of what it escapes.
local function escape(text) return json.encode(text):sub(2, -2) end

local function unescape(text) return (text:gsub('\\(["\\])', "%1")) end

-- The command line that plays it again is about where it is now.
local function moved(texts, into)
	local old = texts["meta.json"]:match '"replay":"smtptest %-%-fuzz (%-%-replay=.-/min\'?) '
	if not old then return end
	local new = "--replay=" .. quoted(into .. "/min")
	texts["meta.json"] = replace(texts["meta.json"], old, escape(new))
	texts.min = texts.min and replace(texts.min, unescape(old), new)
end

local function take(from, into)
	findings.folder(into)
	local texts = {}
	for _, name in ipairs(FILES) do texts[name] = read(("%s/%s"):format(from, name)) end
	moved(texts, into)
	for name, text in pairs(texts) do findings.write(("%s/%s"):format(into, name), text) end
end

-- @param settled  folder: what is in there is not taken
-- @return how many are new
local function join(from, into, settled)
	local new = 0
	for _, id in ipairs(ids(from)) do
		local there = ("%s/%s"):format(into, id)
		if not read(there .. "/meta.json") and not (settled and read(("%s/%s/meta.json"):format(settled, id))) then
			take(("%s/%s"):format(from, id), there)
			new = new + 1
		end
	end
	return new
end

-- What is stable in one folder does not come and go.
local function settle(into)
	local unstable = into .. "/unstable"
	for _, id in ipairs(ids(into)) do
		local path = ("%s/%s"):format(unstable, id)
		for _, name in ipairs(FILES) do os.remove(("%s/%s"):format(path, name)) end
		os.remove(path)
	end
	os.remove(unstable)
end

-- How many cases a folder of --out has seen; nil where it is none.
local function cases_of(path)
	local text = read(path .. "/summary.json")
	return text and tonumber(text:match '"cases":(%d+)' or 0)
end

-- Of what a folder is joined already: path → cases
local function parts_of(path)
	local text = read(path .. "/summary.json")
	if not text then return {} end
	local list = text:match '"folders":(%b{})'
	if not list then return { [path] = cases_of(path) } end
	local parts = {}
	for name, count in list:gmatch '"(.-)":(%d+)' do parts[unescape(name)] = tonumber(count) end
	return parts
end

local function signatures(path)
	local list = {}
	for _, id in ipairs(ids(path)) do
		local text = read(("%s/%s/meta.json"):format(path, id)):match '"signature":"(.-)"[,}]'
		list[#list + 1] = text and unescape(text) or id
	end
	table.sort(list)
	return list
end

-- With it the folder can be merged again. One that is merged twice counts once.
local function summarize(into, parts)
	local cases = 0
	for _, count in pairs(parts) do cases = cases + count end
	findings.write(into .. "/summary.json", json.encode { cases = cases, folders = parts, findings = signatures(into),
		unstable = signatures(into .. "/unstable") } .. "\n")
end

--- Joins folders into one, which may hold some already.
-- @param into  folder, made where it is missing; its summary.json has cases (how many all have played), findings and
--   unstable (lists of signatures), folders (cases by folder)
-- @param list  folders of --out, or such a one
-- @return number of findings that are in it now; raises for what is no such folder
function merge.run(into, list)
	for _, path in ipairs(list) do
		if not cases_of(path) then refuse(path .. ": not a folder of --out (no summary.json)") end
	end
	findings.folder(into)
	local parts = parts_of(into)
	for _, path in ipairs(list) do
		parts[path] = cases_of(path)
		local new = join(path, into)
		local unstable = join(path .. "/unstable", into .. "/unstable", into)
		output.write(("%s: %d new findings, %d unstable\n"):format(path, new, unstable))
	end
	settle(into)
	summarize(into, parts)
	local all = ids(into)
	for _, id in ipairs(all) do output.write(id, "\n") end
	return #all
end

return merge
