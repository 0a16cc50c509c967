local nearest = require "smtptest.nearest"

describe("nearest", function()
	local names = { "password", "port", "protocol", "verify", "version", "verbose", "password-file", "to", "min_version" }

	local close = {
		{ "pasword", "password", "a missing letter" },
		{ "passsword", "password", "a doubled letter" },
		{ "passwurd", "password", "a wrong letter" },
		{ "verfiy", "verify", "two letters swapped" },
		{ "Verify", "verify", "upper case" },
		{ "PORT", "port", "all upper case" },
		{ "password_file", "password-file", "an underscore for a hyphen" },
		{ "min-version", "min_version", "a hyphen for an underscore" },
		{ "prt", "port", "one edit in a short word" },
		{ "ot", "to", "a swap in a word of two letters" },
		{ "port", "port", "the name itself" },
	}
	for _, case in ipairs(close) do
		it("finds " .. case[2] .. " for " .. case[3], function()
			assert.equal(case[2], nearest(case[1], names))
		end)
	end

	local far = { "", "z", "xy", "frobnicate", "prtcl", ("x"):rep(300), "pq", "\0\255" }
	for _, word in ipairs(far) do
		it(("finds nothing for %q"):format(word:sub(1, 20)), function()
			assert.is_nil(nearest(word, names))
		end)
	end

	it("takes the nearer of two, wherever it stands", function()
		assert.equal("verify", nearest("verifi", { "verily", "verify" }))
		assert.equal("cert", nearest("certs", { "certfile", "cert" }))
	end)

	it("takes the first of two equally near", function()
		assert.equal("bat", nearest("cat", { "bat", "hat" }))
		assert.equal("hat", nearest("cat", { "hat", "bat" }))
	end)

	it("counts a swap as one edit, not two", function()
		assert.equal("abc", nearest("acb", { "abc" }))
		assert.is_nil(nearest("cba", { "abc" }))
	end)

	it("finds nothing in an empty list", function()
		assert.is_nil(nearest("port", {}))
	end)
end)
