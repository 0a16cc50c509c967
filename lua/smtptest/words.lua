--- words: text cut into words as a shell does (POSIX.1-2008, XCU 2.2 and 2.6.5): at blanks, but for what is quoted.

local ESCAPED = "[$`\"\\\n]"    -- what a backslash quotes between double quotes

--- Cuts text into words; nothing is expanded.
-- @return list of words | nil, message: a quote that does not end
local function words(text)
	local list, word, position = {}, nil, 1
	while position <= #text do
		local char = text:sub(position, position)
		local from, to, piece = position, position, nil
		if char == "'" then
			from, to, piece = text:find("^'([^']*)'", position)
		elseif char == '"' then
			to = position + 1
			while to <= #text and text:sub(to, to) ~= '"' do to = to + (text:sub(to, to) == "\\" and 2 or 1) end
			from = to <= #text and position or nil
			piece = text:sub(position + 1, to - 1):gsub("\\(" .. ESCAPED .. ")", "%1")
		elseif char == "\\" then
			to, piece = position + 1, text:sub(position + 1, position + 1)
		elseif char:find "%s" then
			if word then list[#list + 1] = word end
			word = nil
		else
			from, to, piece = text:find("^([^%s'\"\\]+)", position)
		end
		if not from then return nil, ("%s without its end"):format(char) end
		if piece then word = (word or "") .. piece end
		position = to + 1
	end
	if word then list[#list + 1] = word end
	return list
end

return words
