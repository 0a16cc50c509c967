--- finding: what was found, as a folder: case, min, transcript, server.log, meta.json.

local case = require "smtptest.case"
local embed = require "smtptest.core.embed"
local failure = require "smtptest.failure"
local folder = require "smtptest.core.folder"
local json = require "smtptest.json"

local finding = {}

local function refuse(message, code)
	error(failure.new { op = "fuzz", message = message, code = code or "EIO", status = 1 }, 0)
end

--- Makes a folder, and those above it; one that is there is as good.
function finding.folder(path)
	local at = path:sub(1, 1) == "/" and "/" or ""
	for word in path:gmatch "[^/]+" do
		at = at .. word
		local ok, message, code = folder.make(at)
		if not ok and code ~= "EEXIST" then refuse(message, code) end
		at = at .. "/"
	end
	if not folder.list(path) then refuse(path .. ": not a folder that can be read", "ENOTDIR") end
end

--- Finds out early that a file can be written; what is in it stays.
function finding.writable(path)
	local handle, message, number = io.open(path, "ab")
	if not handle then refuse(message, number == 2 and "ENOENT" or "EIO") end
	handle:close()
end

--- Writes a file, whole or not at all.
function finding.write(path, text)
	local handle, message = io.open(path .. ".part", "wb")
	if not handle then refuse(message) end
	local ok, why = handle:write(text)
	local closed, reason = handle:close()
	if not ok or not closed then refuse(path .. ": " .. (why or reason)) end
	ok, message = os.rename(path .. ".part", path)
	if not ok then refuse(message) end
end

--- The name of a finding's folder.
function finding.id(signature)
	return (signature:gsub("[^%w]+", "-"):gsub("^%-", ""):gsub("%-$", ""))
end

local function plural(n, word)
	return ("%d %s%s"):format(n, word, n == 1 and "" or "s")
end

--- One paragraph: what happened, how sure it is, how to play it again.
-- @param record   as smtptest.fuzz.confirm makes it
-- @param replay   command line
function finding.paragraph(record, replay)
	local text = record.finding.text
	return ("%s. Seen in %d of %s; case %s with %s became %s. Play it again: %s"):format(
		text:sub(1, 1):upper() .. text:sub(2), record.hits, plural(record.total, "play"), record.index,
		plural(#record.steps, "step"), #record.min == #record.steps and "no smaller" or plural(#record.min, "step"),
		replay)
end

-- A case with lines of comment on top.
local function with_comments(steps, lines)
	local list = {}
	for _, text in ipairs(lines) do list[#list + 1] = { step = "comment", text = text } end
	return case.format(table.move(steps, 1, #steps, #list + 1, list))
end

-- Text in lines of at most 100 characters, cut at blanks.
local function wrapped(text)
	local lines, at = {}, ""
	for word in text:gmatch "%S+" do
		if at ~= "" and #at + #word >= 100 then
			lines[#lines + 1], at = at, ""
		end
		at = at == "" and word or at .. " " .. word
	end
	lines[#lines + 1] = at
	return lines
end

local FILES = { "case", "min", "transcript", "server.log", "meta.json" }

-- A finding that is stable now has no folder among those that come and go.
local function settled(path, out)
	for _, name in ipairs(FILES) do os.remove(("%s/%s"):format(path, name)) end
	os.remove(path)
	os.remove(out .. "/unstable")
end

--- Writes a finding.
-- @param record  as smtptest.fuzz.confirm makes it
-- @param run     out (folder), seed, corpus (digest), target (name), arguments (how to reach it, for a command line)
-- @return path of its folder
function finding.save(record, run)
	local id = finding.id(record.signature)
	local path = ("%s%s/%s"):format(run.out, record.stable and "" or "/unstable", id)
	finding.folder(path)
	if record.stable then settled(("%s/unstable/%s"):format(run.out, id), run.out) end
	local replay = ("smtptest --fuzz --replay=%s/min %s"):format(path, run.arguments)
	record.paragraph = finding.paragraph(record, replay)
	local comments = { record.signature, table.unpack(wrapped(record.paragraph)) }
	finding.write(path .. "/case", with_comments(record.steps, { ("%s: case %s of seed %s"):format(record.signature,
		record.index, run.seed) }))
	finding.write(path .. "/min", with_comments(record.min, comments))
	finding.write(path .. "/transcript", record.transcript)
	finding.write(path .. "/server.log", record.log)
	finding.write(path .. "/meta.json", json.encode {
		signature = record.signature, oracle = record.finding.oracle, detail = record.finding.detail,
		verb = record.finding.verb, text = record.finding.text, paragraph = record.paragraph, replay = replay,
		stable = record.stable, hits = record.hits, total = record.total, plays = record.plays, index = record.index,
		parent = record.parent, seed = run.seed, corpus = run.corpus, target = run.target, elapsed = record.elapsed,
		steps = #record.steps, min_steps = #record.min, version = embed.version,
	} .. "\n")
	return path
end

return finding
