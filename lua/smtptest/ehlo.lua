--- ehlo: the capabilities in an EHLO or LHLO reply (RFC 5321 section 4.1.1.1).

local ehlo = {}

--- Parses.
-- @param reply  the reply; anything but 2xx has no capabilities
-- @return table: upper-case keyword -> list of its words (empty list for none); [1..n] the keywords in order.
--   Words of keywords that stand twice are joined; `AUTH=` is AUTH, as some old servers say it.
function ehlo.parse(reply)
	local capabilities = {}
	if reply.code < 200 or reply.code > 299 then return capabilities end
	for i = 2, #reply.lines do
		local keyword, rest = reply.lines[i]:match("^%s*([^%s=]+)[%s=]*(.*)$")
		if keyword then
			keyword = keyword:upper()
			local words = capabilities[keyword]
			if not words then
				words = {}
				capabilities[keyword] = words
				capabilities[#capabilities + 1] = keyword
			end
			local seen = {}
			for _, word in ipairs(words) do seen[word:upper()] = true end
			for word in rest:gmatch("%S+") do
				if not seen[word:upper()] then
					seen[word:upper()] = true
					words[#words + 1] = word
				end
			end
		end
	end
	return capabilities
end

return ehlo
