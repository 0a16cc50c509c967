local message = require "smtptest.message"
local failure = require "smtptest.failure"

local function header(text, name)
	return text:match("\r\n" .. name:gsub("%-", "%%-") .. ": ([^\r]*)")
end

local function drained(body)
	if type(body) == "string" then return body end
	local parts = {}
	for chunk in body do parts[#parts + 1] = chunk end
	return table.concat(parts)
end

local function file_with(bytes)
	local path = os.tmpname()
	local handle <close> = assert(io.open(path, "wb"))
	handle:write(bytes)
	return path
end

describe("a made message", function()
	it("has Date and Message-ID and CR LF at every line's end", function()
		local text = message.new { from = "a@x.test", to = "b@x.test", subject = "hi", body = "one\ntwo\r\n" }
		assert.truthy(text:find "^Date: %u%l%l, %d%d %u%l%l %d%d%d%d %d%d:%d%d:%d%d %+0000\r\n")
		assert.truthy(text:find "\r\nMessage%-ID: <%x+%.%x+%.%x+@smtptest%.test>\r\n")
		assert.equal("<a@x.test>", header(text, "From"))
		assert.equal("<b@x.test>", header(text, "To"))
		assert.equal("hi", header(text, "Subject"))
		assert.truthy(text:find "\r\n\r\none\r\ntwo\r\n$")
		assert.is_nil(text:find "[^\r]\n")
	end)

	it("is another one each time", function()
		local seen = {}
		for _ = 1, 100 do
			local id = header(message.new {}, "Message-ID")
			assert.is_nil(seen[id])
			seen[id] = true
		end
	end)

	it("names all recipients, or none", function()
		assert.truthy(message.new({ to = { "b@x", "c@x" } }):find("\r\nTo: <b@x>,\r\n\t<c@x>\r\n", 1, true))
		assert.is_nil(message.new({ to = {} }):find("\nTo:", 1, true))
	end)

	it("has an address in From for the null sender, too: RFC 5322 wants one", function()
		for _, from in ipairs { "", false } do
			assert.equal("<MAILER-DAEMON@smtptest.test>", header(message.new { from = from or nil }, "From"))
		end
	end)

	it("takes more header lines as a list in order, or as a map by name", function()
		local text = message.new { header = { "X-B: 1", "X-A: 2", Zed = "z", ["X-C"] = "3" }, body = "" }
		assert.truthy(text:find("\r\nX-B: 1\r\nX-A: 2\r\nX-C: 3\r\nZed: z\r\n\r\n", 1, true))
	end)

	it("is padded to exactly the size", function()
		local fields = { from = "a", to = "b", body = "x\r\n" }
		local least = #message.new(fields)
		for _, body in ipairs { "x\r\n", "x", "" } do
			fields.body = body
			for size = least, least + 300 do
				fields.size = size
				-- The Message-ID's length varies.
				local text = message.new(fields)
				assert.truthy(#text == size or #text > size and size < least + 20, size)
				for text_line in text:gmatch "[^\n]*\n" do assert.truthy(#text_line <= 1000) end
			end
		end
		fields.size = 3000000
		assert.equal(3000000, #message.new(fields))
		fields.size = 1
		assert.truthy(#message.new(fields) > 1)
	end)
end)

describe("the message of a plan", function()
	it("is made from sender and recipients when there is no data", function()
		assert.equal("<b@x>", header(message.of_plan { from = "a@x", to = { "b@x" } }, "To"))
	end)

	it("is the text as it is, or with CR LF where the plan says so", function()
		assert.equal("a\nb", message.of_plan { data = "a\nb" })
		assert.equal("a\r\nb\r\n", message.of_plan { data = "a\nb\r\n", crlf = true })
		assert.equal("", message.of_plan { data = "" })
	end)

	it("is a file in chunks, LF made CR LF across their borders", function()
		local bytes = ("x"):rep(65535) .. "\r\n" .. ("y\n"):rep(50000) .. "end\r"
		local path = file_with(bytes)
		assert.is_true(drained(message.of_plan { data = { file = path } }) == bytes)
		local converted = drained(message.of_plan { data = { file = path }, crlf = true })
		assert.is_true(converted == bytes:gsub("\r?\n", "\r\n"))
		os.remove(path)
	end)

	local ALL = { SMTPUTF8 = {}, ["8BITMIME"] = {} }
	local function parameters(plan, capabilities)
		return message.parameters(plan, message.of_plan(plan), capabilities or ALL)
	end

	it("says BODY=8BITMIME where it has 8-bit bytes and can be read twice", function()
		assert.equal("8BITMIME", parameters({ data = "caf\xe9" }).BODY)
		assert.is_nil(parameters({ data = "coffee" }).BODY)
		assert.is_nil(parameters({ data = "caf\xe9" }, {}).BODY)
		for bytes, body in pairs { [("x"):rep(70000) .. "\xe9"] = "8BITMIME", ["\127"] = false } do
			local path = file_with(bytes)
			local plan = { data = { file = path } }
			assert.equal(body or nil, parameters(plan).BODY)
			local iterator = message.of_plan(plan)
			assert.is_true(drained(iterator) == bytes)
			os.remove(path)
		end
		assert.is_nil(parameters({ data = { file = "-" } }).BODY)
		assert.is_nil(parameters({ data = { file = "/dev/null" } }).BODY)
	end)

	it("says SMTPUTF8 where an address is not in ASCII", function()
		assert.is_true(parameters({ from = "a@x", to = { "b@x", "\u{f8}@x" } }).SMTPUTF8)
		assert.is_false(parameters({ from = "a@x", to = { "b@x" }, data = "caf\xe9" }).SMTPUTF8)
		assert.is_false(parameters({ from = "\u{f8}@x" }, {}).SMTPUTF8)
		assert.equal("8BITMIME", parameters({ from = "\u{f8}@x" }).BODY)         -- it stands in the header
	end)

	it("raises for a file that can't be read", function()
		local _, err = pcall(message.of_plan, { data = { file = "/nonexistent/mail" } })
		assert.is_true(failure.is(err))
		assert.equal("ENOENT", err.code)
		assert.equal("open: Unable to open file: /nonexistent/mail: No such file or directory", tostring(err))
		_, err = pcall(message.of_plan, { data = { file = "/" } })
		assert.equal("open: Unable to open file: /: Is a directory", tostring(err))
		assert.same({ "EISDIR", 1 }, { err.code, err.status })
	end)
end)
