--- unit: what is taken out of a case together: a send with the reply behind it, and the same bytes of its twin.
--
-- Connections that send the same bytes are twins (c1 plainly, c2 in other segments); they stay twins only where both
-- lose the same bytes. A unit is {steps = {[index] = true}, cuts = list of {connection, first, last}}: whole steps, and
-- ranges of what a connection sends (bytes from 1 on).

local unit = {}

-- The bytes that a connection sends, by connection; false where a part of them is known late.
local function streams(case)
	local lists = {}
	for _, step in ipairs(case) do
		if step.step == "send" then
			local list = lists[step.connection] or {}
			lists[step.connection] = list
			list[#list + 1] = step.bytes or ("\0%s\0"):format(tostring(step.parts))
			list.late = list.late or not step.bytes
		end
	end
	local result = {}
	for connection, list in pairs(lists) do result[connection] = not list.late and table.concat(list) end
	return result
end

--- The connections that send the same bytes as another one.
-- @return map from connection to the list of its twins (in order of the case), itself left out
function unit.twins(case)
	local sent, seen, order = streams(case), {}, {}
	for _, step in ipairs(case) do
		local connection = step.connection
		if connection and not seen[connection] then
			seen[connection] = true
			order[#order + 1] = connection
		end
	end
	local twins = {}
	for _, one in ipairs(order) do
		for _, other in ipairs(order) do
			if one ~= other and sent[one] and sent[one] == sent[other] and sent[one] ~= "" then
				twins[one] = twins[one] or {}
				table.insert(twins[one], other)
			end
		end
	end
	return twins
end

-- Steps of one connection, as indexes: all, its replies; and where its sends begin in its bytes
local function index(case)
	local links = {}
	local function link_of(connection)
		local link = links[connection]
		if not link then
			link = { replies = {}, starts = {}, size = 0, steps = {} }
			links[connection] = link
			links[#links + 1] = connection
		end
		return link
	end
	for i, step in ipairs(case) do
		if step.connection then
			local link = link_of(step.connection)
			link.steps[#link.steps + 1] = i
			if step.step == "reply" then
				link.replies[#link.replies + 1] = i
				link.replies[i] = #link.replies
			elseif step.step == "send" then
				link.starts[i] = link.size + 1
				link.size = link.size + #(step.bytes or "")
			end
		end
	end
	return links
end

-- The send with the replies behind it, and the same of its twins.
local function of_send(case, links, twins, at)
	local step = case[at]
	local link = links[step.connection]
	local made = { steps = { [at] = true }, cuts = {} }
	local first = link.starts[at]
	local last = first + #(step.bytes or "") - 1
	local position = 0
	for i, number in ipairs(link.steps) do
		if number == at then position = i end
	end
	local replies = {}
	for i = position + 1, #link.steps do
		local behind = case[link.steps[i]].step
		if behind ~= "reply" and behind ~= "var" then break end
		made.steps[link.steps[i]] = true
		if behind == "reply" then replies[#replies + 1] = link.replies[link.steps[i]] end
	end
	for _, other in ipairs(twins[step.connection] or {}) do
		made.cuts[#made.cuts + 1] = { connection = other, first = first, last = last }
		for _, number in ipairs(replies) do
			local reply = links[other].replies[number]
			if reply then made.steps[reply] = true end
		end
	end
	return made
end

--- The units of a case: each connection where there are several, then its steps in order, sends with the replies
-- behind them.
function unit.list(case)
	local links, twins = index(case), unit.twins(case)
	local list, taken = {}, {}
	for i = #links > 1 and 1 or 2, #links do
		local made = { steps = {}, cuts = {} }
		for _, number in ipairs(links[links[i]].steps) do made.steps[number] = true end
		list[#list + 1] = made
	end
	-- Of twins the one in more sends leads: its commands are the units of all.
	local leads = {}
	for _, connection in ipairs(links) do
		local sends = 0
		for _ in pairs(links[connection].starts) do sends = sends + 1 end
		links[connection].sends = sends
	end
	for _, connection in ipairs(links) do
		local led = false
		for _, other in ipairs(twins[connection] or {}) do led = led or leads[other] end
		if not led then
			local best = connection
			for _, other in ipairs(twins[connection] or {}) do
				if links[other].sends > links[best].sends then best = other end
			end
			leads[best] = true
		end
	end
	for i, step in ipairs(case) do
		if step.step == "send" and (not twins[step.connection] or leads[step.connection]) then
			local made = of_send(case, links, twins, i)
			list[#list + 1] = made
			for number in pairs(made.steps) do taken[number] = true end
		elseif not taken[i] and step.step ~= "connect" and step.step ~= "send" then
			list[#list + 1] = { steps = { [i] = true }, cuts = {} }
		end
	end
	return list
end

--- Each step by itself, but the first `connect` of a connection that does more.
function unit.single(case)
	local list, seen, links = {}, {}, index(case)
	for i, step in ipairs(case) do
		if step.step ~= "connect" or seen[step.connection] or #links[step.connection].steps == 1 then
			list[#list + 1] = { steps = { [i] = true }, cuts = {} }
		end
		if step.connection then seen[step.connection] = true end
	end
	return list
end

--- A step with other bytes; its segments as far as they fit.
function unit.with_bytes(step, bytes)
	local copy = {}
	for key, value in pairs(step) do copy[key] = value end
	copy.bytes, copy.parts = bytes, nil
	if step.split and #bytes < 2 then copy.split, copy.gap = nil, nil end
	return copy
end

-- What is left of a send whose bytes begin at `start` of its connection's, after the cuts.
local function cut(step, start, cuts)
	local left, at = {}, 1
	for _, one in ipairs(cuts) do
		local first, last = one.first - start + 1, one.last - start + 1
		if first <= #step.bytes and last >= at then
			left[#left + 1] = step.bytes:sub(at, first - 1)
			at = math.max(at, last + 1)
		end
	end
	left[#left + 1] = step.bytes:sub(at)
	return table.concat(left)
end

--- A case without some units; the case itself is left as it is.
-- @param units  list of them
function unit.remove(case, units)
	local gone, cuts = {}, {}
	for _, made in ipairs(units) do
		for number in pairs(made.steps) do gone[number] = true end
		for _, one in ipairs(made.cuts) do
			cuts[one.connection] = cuts[one.connection] or {}
			table.insert(cuts[one.connection], one)
		end
	end
	for _, list in pairs(cuts) do
		table.sort(list, function(a, b) return a.first < b.first end)
	end
	local links, result = index(case), { name = case.name }
	for i, step in ipairs(case) do
		local keep = not gone[i] and step
		if keep and step.step == "send" and step.bytes and cuts[step.connection] then
			local bytes = cut(step, links[step.connection].starts[i], cuts[step.connection])
			if bytes ~= step.bytes then keep = bytes ~= "" and unit.with_bytes(step, bytes) end
		end
		if keep then result[#result + 1] = keep end
	end
	return result
end

--- A case in which a send has other bytes, and its twins the same in the same place.
-- @param at     index of the send
-- @param bytes  what it sends now
function unit.replace(case, at, bytes)
	local step = case[at]
	local old = step.bytes
	local prefix = 0
	while prefix < #old and prefix < #bytes and old:byte(prefix + 1) == bytes:byte(prefix + 1) do prefix = prefix + 1 end
	local suffix = 0
	while suffix < #old - prefix and suffix < #bytes - prefix and old:byte(-suffix - 1) == bytes:byte(-suffix - 1) do
		suffix = suffix + 1
	end
	local links = index(case)
	local first = links[step.connection].starts[at] + prefix
	local last = first + #old - prefix - suffix - 1
	local text = bytes:sub(prefix + 1, #bytes - suffix)
	local result = table.move(case, 1, #case, 1, { name = case.name })
	result[at] = unit.with_bytes(step, bytes)
	for _, other in ipairs(unit.twins(case)[step.connection] or {}) do
		local rest = text
		for i, one in ipairs(case) do
			local start = one.step == "send" and one.connection == other and links[other].starts[i]
			local stop = start and start + #one.bytes - 1
			if start and stop >= first - 1 and start <= math.max(last, first) and (rest or start <= last) then
				result[i] = unit.with_bytes(one, one.bytes:sub(1, math.max(0, first - start)) .. (rest or "")
					.. one.bytes:sub(math.max(1, last - start + 2)))
				rest = nil
			end
		end
	end
	return result
end

return unit
