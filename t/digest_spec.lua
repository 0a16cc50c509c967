local digest = require "smtptest.core.digest"

-- FIPS 180-4's examples.
local EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
local ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
local MILLION = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"

describe("digest", function()
	it("is SHA-256 of what was added, in however many pieces", function()
		assert.equal(EMPTY, digest.sha256():hex())
		assert.equal(EMPTY, digest.sha256():add "":hex())
		assert.equal(ABC, digest.sha256():add "abc":hex())
		assert.equal(ABC, digest.sha256():add "a":add "":add "bc":hex())
		local one = digest.sha256()
		for _ = 1, 1000 do one:add(("a"):rep(1000)) end
		assert.equal(MILLION, one:hex())
	end)

	it("may be asked, and goes on", function()
		local one = digest.sha256():add "ab"
		assert.not_equal(ABC, one:hex())
		assert.equal(one:hex(), one:hex())
		assert.equal(ABC, one:add "c":hex())
	end)

	it("takes NUL for a byte like others", function()
		assert.not_equal(digest.sha256():add "a\0b":hex(), digest.sha256():add "a":hex())
	end)

	it("is of no use when it is closed", function()
		local one <close> = digest.sha256()
		one:close()
		one:close()
		assert.error_matches(function() one:add "x" end, "closed")
		assert.error_matches(function() one:hex() end, "closed")
	end)

	it("refuses another self, and what is no text", function()
		local one = digest.sha256()
		assert.has_error(function() one.add({}, "x") end)
		assert.has_error(function() one.add(io.stdout, "x") end)
		assert.has_error(function() one:add() end)
		assert.has_error(function() one:add {} end)
	end)
end)
