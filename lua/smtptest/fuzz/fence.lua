--- fence: what a known way to kill or stop the target looks like, so that most cases leave it out: a process that is
-- started again and again has no time for anything else.

local fence = {}

local MOST = 6          -- commands of a sequence that is worth recognizing

local function verb_of(bytes)
	return bytes:match "^%a*":upper()
end

local function specials(bytes)
	local set = {}
	for byte in bytes:gsub("\r?\n$", ""):gmatch "[^%w%p ]" do set[#set + 1] = byte end
	return set
end

--- The fence of a smallest case.
-- @return fence | nil where there is nothing to recognize
function fence.of(min)
	local verbs, last = {}, nil
	for _, step in ipairs(min) do
		if step.step == "send" then
			if not step.bytes then return nil end
			verbs[#verbs + 1], last = verb_of(step.bytes), step.bytes
		end
	end
	if not last or #verbs > MOST or verbs[#verbs] == "" then return nil end
	return { verbs = verbs, size = #last, specials = specials(last) }
end

--- The fence of one command alone.
-- @param steps  of a case
-- @param at     ordinal of a step: the command is the last one sent up to there
function fence.before(steps, at)
	for i = math.min(at, #steps), 1, -1 do
		local step = steps[i]
		if step.step == "send" then return fence.of { step } end
	end
end

local function matches(self, said, bytes)
	local verbs = self.verbs
	local verb = verb_of(bytes)
	if verb ~= verbs[#verbs] then return false end
	for i = 1, #verbs - 1 do
		if said[#said - #verbs + 1 + i] ~= verbs[i] then return false end
	end
	if #verbs == 1 and #bytes < self.size then return false end
	for _, byte in ipairs(self.specials) do
		if not bytes:find(byte, 1, true) then return false end
	end
	return true
end

--- Whether bytes are to be left out.
-- @param fences  list
-- @param said    list of the verbs that the connection has sent
function fence.stops(fences, said, bytes)
	for _, each in ipairs(fences) do
		if matches(each, said, bytes) then return true end
	end
	return false
end

fence.verb = verb_of

return fence
