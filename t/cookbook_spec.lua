-- smtptest-examples(7) is written by hand; this runs each recipe as it stands there, and compares what it shows.

local mdoc = require "support.mdoc"
local run = require "support.run"
local shell = require "support.shell"

local PAGE = "man/smtptest-examples.7"

-- ---------------------------------------------------------------- what stands there

-- The lines of a display as commands: what follows a prompt up to the next one.
local function commands_of(lines)
	local list = {}
	for _, line in ipairs(lines) do
		local command = line:match "^%$ (.*)"
		if command then
			list[#list + 1] = command
		else
			list[#list] = list[#list] .. "\n" .. line
		end
	end
	return list
end

--- The recipes: title → {commands, files (name → text), shows (list of lines)}.
local function recipes()
	local list, titles = {}, {}
	for _, display in ipairs(mdoc.read(PAGE).displays) do
		local one = list[display.title]
		if not one then
			one = { commands = {}, files = {}, shows = {} }
			list[display.title] = one
			titles[#titles + 1] = display.title
		end
		if display.lines[1]:find "^%$ " then
			local commands = commands_of(display.lines)
			table.move(commands, 1, #commands, #one.commands + 1, one.commands)
		elseif display.file then
			one.files[display.file] = table.concat(display.lines, "\n") .. "\n"
		else
			table.move(display.lines, 1, #display.lines, #one.shows + 1, one.shows)
		end
	end
	return list, titles
end

-- ---------------------------------------------------------------- running them

-- The ports of the documents may be taken.
local function with_free_ports(text)
	local ports = {}
	return (text:gsub("%f[%d]252%d%f[%D]", function(port)
		ports[port] = ports[port] or tostring(run.free_port())
		return ports[port]
	end))
end

local function script_of(commands)
	local lines = { 'pids=; trap \'[ -z "$pids" ] || kill $pids\' EXIT' }
	for i, command in ipairs(commands) do
		-- What runs beside the rest ends with the recipe.
		lines[i + 1] = command .. (command:find " &$" and "\npids=\"$pids $!\"" or "")
	end
	return "{ " .. with_free_ports(table.concat(lines, "\n")) .. "\n}"
end

-- ---------------------------------------------------------------- what they are run with

local SECRET = { ["secret.txt"] = "secret\n" }
local USERS = { users = { alice = "secret" } }

local function oauth(c)
	c:welcome "STARTTLS"
	c:reply "220 go"
	c:tls(run.server_context(shell.certificate()))
	c:capabilities "AUTH OAUTHBEARER"
	c:line()
	c:send("334 " .. require "smtptest.base64".encode '{"status":"invalid_token"}' .. "\r\n")
	c:reply "535 5.7.8 expired"
	c:gone()
end

-- title → options of shell.run; err: what stands on stderr, a pattern (default: nothing)
local RUNS = {
	["Is the TLS of a relay good?"] = { tls = true, listen = { sasl = USERS }, files = SECRET },
	["Which logins work?"] = { tls = true, listen = { sasl = USERS }, files = SECRET },
	["Test a mail server in CI"] = { tls = true, listen = {} },
	["Can a message be smuggled in?"] = { tls = true, listen = {} },
	["Does the new server say what the old one said?"] = {},
	["What does a client do when the server fails?"] = { err = "^failure: end of DATA: read: Connection reset by peer\n$" },
	["Deliver by LMTP"] = { listen = { protocol = "lmtp", on = { rcpt = function(_, address)
		if address:find "^nobody@" then return 550, "5.1.1 no mailbox here" end
	end } } },
	["Load from one process"] = { tls = true, listen = {} },
	["A server behind a load balancer"] = {},
	["Log in with a token"] = { env = { TOKEN = "ya29.token" }, server = oauth },
	["Fuzz a server with several jobs"] = { listen = { on = { rcpt = function() return 250, "5.1.5 ok" end } } },
	["Believe a server of your own"] = {},
	["Write a program of your own"] = {},
}

local function options_of(title, recipe)
	local given = assert(RUNS[title], "no test")
	local options = { files = {}, env = given.env, stdin = "", listen = given.listen, server = given.server }
	if given.tls then
		options.listen = { tls = "starttls", cert = shell.certificate().cert, key = shell.certificate().key }
		for name, value in pairs(given.listen) do options.listen[name] = value end
	end
	if not options.listen and not options.server then options.listen = {} end
	-- As if they were installed.
	local pipe <close> = assert(io.popen "ls examples/*.lua")
	for path in pipe:lines() do options.files[path:match "[^/]+$"] = run.read(path) end
	for _, files in ipairs { given.files or {}, recipe.files } do
		for name, text in pairs(files) do options.files[name] = text end
	end
	return options, given.err
end

describe("the cookbook", function()
	mdoc.spec(PAGE)

	local list, titles = recipes()

	it("has ten recipes or more, each of which is run", function()
		assert.is_true(#titles >= 10)
		for title in pairs(RUNS) do assert.is_table(list[title], title) end
	end)

	for _, title in ipairs(titles) do
		it(title, function()
			local recipe = list[title]
			local options, err = options_of(title, recipe)
			local result = shell.run(script_of(recipe.commands), options)
			local told = ("status %s\n%s\n--stderr\n%s"):format(result.status, result.out, result.err)
			if err then assert.matches(err, result.err) else assert.equal("", result.err, told) end
			local lines, at = mdoc.output_lines(result.out), 0
			for _, claim in ipairs(recipe.shows) do
				local from = at
				repeat
					at = at + 1
					assert.is_true(at <= #lines, ("no line %q behind line %d of:\n%s"):format(claim, from, told))
				until mdoc.matches(claim, lines[at])
			end
		end)
	end
end)
