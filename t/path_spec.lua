local path = require "smtptest.path"

local function refusal(kind, argument, utf8ok)
	local named, code, text = path.parse(kind, argument, utf8ok)
	assert.is_nil(named, argument)
	return code, text
end

describe("path.parse", function()
	local good = {
		{ "mail", "FROM:<a@b.example>", "a@b.example" },
		{ "mail", "from:<a@b.example>", "a@b.example" },
		{ "mail", "FROM:<>", "" },
		{ "rcpt", "TO:<a.b+c@b.example>", "a.b+c@b.example" },
		{ "rcpt", "TO:<Postmaster>", "Postmaster" },
		{ "rcpt", "TO:<postmaster@b.example>", "postmaster@b.example" },
		{ "rcpt", "TO:<!#$%&'*+/=?^_`{|}~-@b.example>", "!#$%&'*+/=?^_`{|}~-@b.example" },
		{ "rcpt", 'TO:<"a b"@b.example>', '"a b"@b.example' },
		{ "rcpt", 'TO:<"a>b"@b.example>', '"a>b"@b.example' },
		{ "rcpt", 'TO:<"a\\"b\\\\"@b.example>', '"a\\"b\\\\"@b.example' },
		{ "rcpt", 'TO:<"a@c"@b.example>', '"a@c"@b.example' },
		{ "rcpt", "TO:<a@[192.0.2.1]>", "a@[192.0.2.1]" },
		{ "rcpt", "TO:<a@[IPv6:2001:db8::1]>", "a@[IPv6:2001:db8::1]" },
		{ "rcpt", "TO:<a@[x-tag:some.thing]>", "a@[x-tag:some.thing]" },
		{ "rcpt", "TO:<a@xn--mnchen-3ya.example>", "a@xn--mnchen-3ya.example" },
		{ "rcpt", "TO:<a@b>", "a@b" },
		{ "rcpt", "TO:<@x.example,@y.example:a@b.example>", "a@b.example" },
		{ "mail", "FROM:<m\u{fc}ller@m\u{fc}nchen.example> SMTPUTF8", "m\u{fc}ller@m\u{fc}nchen.example" },
	}
	for _, case in ipairs(good) do
		it("takes " .. case[2], function()
			local named = assert(path.parse(case[1], case[2]))
			assert.equal(case[3], named.address)
			assert.equal(case[3], tostring(named))
		end)
	end

	local bad = {
		{ "mail", "", 501 }, { "mail", "FROM", 501 }, { "mail", "FROM:", 501 }, { "mail", "FROM:a@b.example", 501 },
		{ "mail", "FROM: <a@b.example>", 501 }, { "mail", "FROM :<a@b.example>", 501 }, { "mail", "TO:<a@b.example>", 501 },
		{ "mail", "FROM:<a@b.example", 501 }, { "mail", "FROM:<a@b.example>SIZE=1", 501 }, { "mail", "FROM:<a>", 501 },
		{ "mail", "FROM:<@b.example>", 501 }, { "mail", "FROM:<a@>", 501 }, { "mail", "FROM:<a b@c.example>", 501 },
		{ "mail", "FROM:<a..b@c.example>", 501 }, { "mail", "FROM:<.a@c.example>", 501 },
		{ "mail", "FROM:<a.@c.example>", 501 }, { "mail", "FROM:<a@c..example>", 501 },
		{ "mail", "FROM:<a@-c.example>", 501 }, { "mail", "FROM:<a@c-.example>", 501 }, { "mail", "FROM:<a@c.>", 501 },
		{ "mail", "FROM:<a@c_d.example>", 501 }, { "mail", 'FROM:<"a@b.example>', 501 }, { "mail", 'FROM:<"a"b"@c>', 501 },
		{ "mail", "FROM:<a@[256.0.0.1]>", 501 }, { "mail", "FROM:<a@[IPv6:1234]>", 501 },
		{ "mail", "FROM:<a@[]>", 501 }, { "mail", "FROM:<a@[1.2.3.4>", 501 },
		{ "mail", "FROM:<a@" .. ("x"):rep(64) .. ".example>", 501 },
		{ "mail", "FROM:<a@" .. ("x."):rep(128) .. "example>", 501 },
		{ "mail", "FROM:<a@b.example> SIZE=", 501 }, { "mail", "FROM:<a@b.example> =1", 501 },
		{ "mail", "FROM:<a@b.example> SIZE=1 size=2", 501 }, { "mail", "FROM:<a@b.example> X=a=b", 501 },
		{ "mail", "FROM:<m\u{fc}ller@b.example>", 553 }, { "mail", "FROM:<m\xfcller@b.example> SMTPUTF8", 501 },
		{ "rcpt", "TO:<>", 501 }, { "rcpt", "TO:<root>", 501 }, { "rcpt", "TO:<@x.example>", 501 },
		{ "rcpt", "TO:<x.example:a@b.example>", 501 }, { "rcpt", "TO:<a\1@b.example>", 501 },
		{ "rcpt", "TO:<m\u{fc}ller@b.example>", 553, false },
	}
	for _, case in ipairs(bad) do
		it(("refuses %q"):format(case[2]:sub(1, 60)), function()
			local code, text = refusal(case[1], case[2], case[4])
			assert.equal(case[3], code)
			assert.matches("^5%.%d%.%d .", text)
		end)
	end

	it("gives parameters by upper-case name", function()
		local named = path.parse("mail", "FROM:<a@b.example> size=100 Body=8BITMIME SMTPUTF8")
		assert.same({ SIZE = "100", BODY = "8BITMIME", SMTPUTF8 = true }, named.params)
	end)

	it("takes an 8-bit recipient where the sender asked for SMTPUTF8", function()
		assert.is_table(path.parse("rcpt", "TO:<m\u{fc}ller@b.example>", true))
	end)
end)

describe("path.is_domain", function()
	it("tells a domain and a literal from what is none", function()
		for _, text in ipairs { "a", "a.b-c.d1", "[127.0.0.1]", "[IPv6:::1]" } do assert.is_true(path.is_domain(text), text) end
		for _, text in ipairs { "", ".", "a.", "-a", "a b", "[127.0.0.1", "127.0.0.1]", "a\0b" } do
			assert.is_false(path.is_domain(text), text)
		end
	end)
end)
