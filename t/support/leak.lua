--- leak: finds the tests' passwords in what a program has put out.

local base64 = require "smtptest.base64"

local leak = {}

-- What the specs authenticate with. "secret" alone is a word of our own texts, so a letter may not stand beside it.
leak.users = { "alice", "bob" }
leak.passwords = { "secret", "s3cret-Pass", "b0b!pass", "wonderland" }

-- Base64 of what begins with these bytes: its last digits may hold bits of what follows.
local function encoded(bytes)
	return base64.encode(bytes:sub(1, #bytes - #bytes % 3))
end

local function forms(password)
	local list = { encoded(password), encoded("\0alice\0" .. password) }
	for i, user in ipairs(leak.users) do list[i + 2] = base64.encode(("\0%s\0%s"):format(user, password)) end
	return list
end

--- Finds a password in text: in clear, in base64, in base64 of NUL user NUL password.
-- @param text       what was put out
-- @param passwords  default: those of the specs
-- @return the password and how it stood there, or nil
function leak.find(text, passwords)
	for _, password in ipairs(passwords or leak.passwords) do
		local word = password:gsub("%W", "%%%0")
		if text:find("%f[%w]" .. word .. "%f[^%w]") then return password, "in clear" end
		for _, form in ipairs(forms(password)) do
			if text:find(form, 1, true) then return password, "as " .. form end
		end
	end
	return nil
end

local function has(argv, flag)
	for _, word in ipairs(argv) do
		if word == flag then return true end
	end
	return false
end

--- Raises when a run of our program has put out a password where it must not: on standard error, and on standard output
-- unless that is the classic program's, which shows what is sent.
-- @param argv    its words
-- @param result  out, err
function leak.check(argv, result)
	local password, how = leak.find(result.err)
	local where = "stderr"
	if not password and (has(argv, "--hide-secrets") or has(argv, "--serve")) then
		-- The usage text has the classic program's words.
		password, how = leak.find((result.out:gsub("secret pass%-phrase", "")))
		where = "stdout"
	end
	if password then
		error(("%s shows the password %q %s: smtptest %s"):format(where, password, how, table.concat(argv, " ")), 0)
	end
end

return leak
