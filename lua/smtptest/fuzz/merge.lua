--- merge: joins what several runs have found, by signature: the first folder that has one gives it.

local failure = require "smtptest.failure"
local findings = require "smtptest.fuzz.finding"
local folder = require "smtptest.core.folder"
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

local function take(from, into)
	findings.folder(into)
	for _, name in ipairs(FILES) do
		local text = read(("%s/%s"):format(from, name))
		if text then findings.write(("%s/%s"):format(into, name), text) end
	end
end

-- @return how many are new
local function join(from, into)
	local new = 0
	for _, id in ipairs(ids(from)) do
		local there = ("%s/%s"):format(into, id)
		if not read(there .. "/meta.json") then
			take(("%s/%s"):format(from, id), there)
			new = new + 1
		end
	end
	return new
end

--- Joins folders into one, which may hold some already.
-- @param into  folder, made where it is missing
-- @param list  folders of --out
-- @return number of findings that are in it now; raises for what is no such folder
function merge.run(into, list)
	for _, path in ipairs(list) do
		if not read(path .. "/summary.json") then refuse(path .. ": not a folder of --out (no summary.json)") end
	end
	findings.folder(into)
	for _, path in ipairs(list) do
		local new = join(path, into)
		local unstable = join(path .. "/unstable", into .. "/unstable")
		output.write(("%s: %d new findings, %d unstable\n"):format(path, new, unstable))
	end
	local all = ids(into)
	for _, id in ipairs(all) do output.write(id, "\n") end
	return #all
end

return merge
