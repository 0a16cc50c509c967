--- example: runs the scripts in examples/ beside servers, and looks at what they print.

local assert = require "luassert"
local run = require "support.run"

local example = {}

--- Runs one to its end.
-- @param name   without folder and ".lua"
-- @param words  flags, host, words of its own
-- @return out, err, status; fails for what looks like a fault of the script's own, and for a password in its output
function example.run(name, words)
	local result = run.command { "-S", "examples/" .. name .. ".lua", table.unpack(words) }
	local told = result.out .. result.err
	assert.is_true(result.status ~= nil and result.status ~= 70, told)
	assert.is_nil(told:find("secret", 1, true), told)
	return result.out, result.err, result.status
end

-- One that says nothing on stderr and ends with this status.
local function ending(expected)
	return function(name, words)
		local out, err, status = example.run(name, words)
		assert.are.equal("", err)
		assert.are.equal(expected, status, out)
		return out
	end
end

--- Runs one that is content with what it finds: example.content(name, words) → what it prints.
example.content = ending(0)

--- Runs one that finds something wrong: example.complains(name, words) → what it prints.
example.complains = ending(1)

--- The lines of a text that begin with a word, without it.
function example.lines(out, word)
	local list = {}
	for line in out:gmatch "[^\n]+" do
		list[#list + 1] = line:sub(1, #word + 1) == word .. " " and line:sub(#word + 2):match "^%s*(.*)$" or nil
	end
	return list
end

return example
