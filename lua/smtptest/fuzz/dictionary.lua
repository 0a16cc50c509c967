--- dictionary: the words of SMTP, right and wrong ones, that generators and mutators pick from.

local dictionary = {}

local function words(text)
	local list = {}
	for word in text:gmatch "%S+" do list[#list + 1] = word end
	return list
end

--- Verbs of RFC 5321, its extensions and its ancestors (RFC 821, 1047, 1985, 2645, 3030, 3207, 4954), and of servers.
dictionary.verbs = words [[
	EHLO HELO LHLO MAIL RCPT DATA BDAT RSET NOOP QUIT HELP VRFY EXPN AUTH STARTTLS ETRN ATRN TURN SEND SOML SAML
	XCLIENT XFORWARD VERB ONEX XUSR XADR XSTA XCIR XGEN XEXCH50 X-EXPS XADRLST XGETDATA BURL SIZE DSN PIPELINING CHUNKING
	GET POST CONNECT USER PASS STAT CAPA LOGIN HLEO EHL EHLOO MAILFROM RCPTTO DAT DATAA QUI RSE NOO STARTTL AUT]]

--- Those behind which a session goes on as before, whatever the server answers: none waits for a message or for TLS.
dictionary.commands = {}
for _, verb in ipairs(dictionary.verbs) do
	if not verb:find "^DATA?$" and not ("BDAT STARTTLS QUIT TURN ATRN BURL XEXCH50 CONNECT"):find(verb, 1, true) then
		table.insert(dictionary.commands, verb)
	end
end

--- Those that cost nothing, and that any server answers.
dictionary.cheap = words "NOOP RSET VRFY EXPN HELP EHLO HELO MAIL RCPT"

--- Keywords of EHLO (IANA's "SMTP Service Extensions"), and private ones.
dictionary.keywords = words [[
	SIZE 8BITMIME PIPELINING ENHANCEDSTATUSCODES STARTTLS AUTH DSN CHUNKING BINARYMIME SMTPUTF8 DELIVERBY CHECKPOINT
	MT-PRIORITY FUTURERELEASE BURL REQUIRETLS LIMITS NO-SOLICITING ETRN ATRN VRFY EXPN HELP SEND SOML SAML TURN MTRK
	SUBMITTER CONPERM CONNEG UTF8SMTP XCLIENT XFORWARD VERP XVERP ONEX VERB XUSR PRDR]]

--- Mechanisms of SASL (IANA's list and what is in use beside it), and wrong names.
dictionary.mechanisms = words [[
	PLAIN LOGIN CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-256-PLUS SCRAM-SHA-512
	EXTERNAL ANONYMOUS GSSAPI GS2-KRB5 GSS-SPNEGO NTLM XOAUTH2 OAUTHBEARER KERBEROS_V4 OTP SKEY SRP SECURID 9798-M-DSA-SHA1
	plain Plain PLAINX PLAI PLAIN_ - * = == AAAAAAAAAAAAAAAAAAAAA]]

--- Parameters of MAIL (RFC 1870, 6152, 6531, 3461, 4954, 6710, 2852, 4865, 8689), right and wrong.
dictionary.mail_parameters = {
	"SIZE=0", "SIZE=1", "SIZE=1000", "SIZE=-1", "SIZE=", "SIZE", "SIZE=2147483647", "SIZE=2147483648",
	"SIZE=4294967296",
	"SIZE=9223372036854775807", "SIZE=18446744073709551616", "SIZE=99999999999999999999", "SIZE=00000000000000000001",
	"SIZE=0x10", "SIZE=1e3", "SIZE= 5", "SIZE=5 SIZE=6", "BODY=7BIT", "BODY=8BITMIME", "BODY=BINARYMIME",
	"BODY=", "BODY",
	"BODY=9BIT", "body=8bitmime", "SMTPUTF8", "SMTPUTF8=1", "SMTPUTF8 SMTPUTF8", "RET=FULL", "RET=HDRS",
	"RET=", "RET=X",
	"RET", "ENVID=abc", "ENVID=a+20b", "ENVID=+", "ENVID=+G0", "ENVID=", "ENVID==", "AUTH=<>", "AUTH=", "AUTH",
	"AUTH=a@b.test", "AUTH=+3C+3E", "AUTH=+", "MT-PRIORITY=3", "MT-PRIORITY=-9", "MT-PRIORITY=10", "MT-PRIORITY=",
	"BY=120;R", "BY=-1;N", "BY=0;RT", "BY=999999999999;R", "BY=;", "HOLDFOR=60", "HOLDFOR=-1", "HOLDFOR=99999999999",
	"HOLDUNTIL=2099-01-01T00:00:00Z", "HOLDUNTIL=x", "REQUIRETLS", "TRANSID=<a@b>", "MTRK=a:1", "SUBMITTER=a@b.test",
	"CONPERM", "XVERP", "XVERP=-=", "SOLICIT=a.b", "NOTIFY=NEVER", "ORCPT=rfc822;a@b.test", "X", "X=", "=",
	"=X", "X=Y=Z",
	"X=\1", "X=\255", "X-", "-X=1", "X==", "1=1", "%s%n", "SIZE:1", "SIZE = 1", "\"SIZE\"=1",
}

--- Parameters of RCPT (RFC 3461, 8494), right and wrong.
dictionary.rcpt_parameters = {
	"NOTIFY=NEVER", "NOTIFY=SUCCESS", "NOTIFY=SUCCESS,FAILURE,DELAY", "NOTIFY=NEVER,SUCCESS", "NOTIFY=", "NOTIFY",
	"NOTIFY=,", "NOTIFY=SUCCESS,", "NOTIFY=SUCCESS,SUCCESS,SUCCESS,SUCCESS", "NOTIFY=X", "notify=failure",
	"ORCPT=rfc822;a@b.test", "ORCPT=rfc822;a+40b.test", "ORCPT=utf-8;a\\x{e9}@b.test", "ORCPT=;", "ORCPT=rfc822;",
	"ORCPT=", "ORCPT", "ORCPT=x", "ORCPT=rfc822;+", "ORCPT=rfc822;+ZZ", "RRVS=2014-04-03T23:01:00Z", "RRVS=x;R",
	"CONPERM", "SIZE=1", "X", "X=", "=", "BODY=8BITMIME", "SMTPUTF8", "AUTH=<>", "NOTIFY=NEVER ORCPT=rfc822;a@b.test",
}

--- Sizes, as words.
dictionary.numbers = words [[
	0 1 -1 -0 +1 00 01 1.0 1e9 0x10 0b1 127 128 255 256 32767 32768 65535 65536 99999 2147483646 2147483647 2147483648
	2147483649 -2147483648 4294967295 4294967296 4294967297 9223372036854775807 9223372036854775808
	-9223372036854775808 18446744073709551615 18446744073709551616 18446744073709551617 99999999999999999999999999
	NaN inf -inf 1,000 ½ ٣ 0000000000000000000000000000000000000001]]

--- Bytes that a parser looks at.
dictionary.bytes = { "\0", "\1", "\8", "\t", "\n", "\v", "\f", "\r", "\26", "\27", " ", '"', "#", "$", "%",
	"&", "'", "(", ")",
	"*", "+", ",", "-", ".", "/", "0", ":", ";", "<", "=", ">", "?", "@", "[", "\\", "]", "^", "_", "`", "{",
	"|", "}", "~",
	"\127", "\128", "\133", "\160", "\192", "\255" }

--- Strings that programs stumble over.
dictionary.strings = {
	"%s%s%s%s%n", "%x%x%x%x", "%99999d", "%n", "../../../etc/passwd", "|/bin/true", ";id", "`id`", "$(id)",
	"${IFS}", "$HOME",
	"' OR '1'='1", "'--", "\\", "\\\\", "\\\"", "\"\"", "\"", "<<>>", "<>", "<", ">", "()", "((((((((", "[]",
	"[", "]", "@",
	"@@", "a@", "@a", ".", "..", "...", "-", "--", "=", "==", "=?UTF-8?Q?a?=", "=?", "\0", "\0\0\0\0",
	"\255\255\255\255",
	"\192\128", "\237\160\128", "\244\144\128\128", "\226\128\174", "\239\187\191", "\u{130}", "\u{df}",
	"xn--", "xn--a",
	"NULL", "nil", "undefined", "true", "null", "root", "postmaster", "\27[31m", "\8\8\8", "{}", "{0}", "{{7*7}}",
	"AAAAAAAAAAAAAAAA", "\r", "\r\r", "\t", "  ", "a,b", "a;b", "a:b", "a\tb", "+", "++",
}

--- Whole lines that people and programs get wrong.
dictionary.mistakes = {
	"", " ", "\t", ".", "..", "*", "=", ":", "-", "MAIL", "MAIL FROM", "MAIL FROM:", "MAIL FROM: ", "MAIL FROM: <>",
	"MAIL FROM <a@b.test>", "MAIL FROM:a@b.test", "MAIL FROM:<a@b.test", "MAIL FROM:a@b.test>",
	"MAIL FROM:<<a@b.test>>",
	"MAIL FROM:<a@b.test>>", "MAIL FROM:<a@b.test>X=1", "MAIL FROM:<a@b.test>  SIZE=1", "MAIL FROM:<a@b.test> ",
	"MAIL  FROM:<a@b.test>", "MAIL FROM :<a@b.test>", "MAIL TO:<a@b.test>", "MAILFROM:<a@b.test>",
	"mail from:<a@b.test>",
	"MAIL FROM:<@>", "MAIL FROM:<@a.test>", "MAIL FROM:<a@>", "MAIL FROM:<\"\"@b.test>", "MAIL FROM:<\">",
	"MAIL FROM:<a@[>", "MAIL FROM:<a@[]>", "MAIL FROM:<a b@c.test>", "MAIL FROM:<a>, <b>", "MAIL FROM:Name <a@b.test>",
	"MAIL FROM:<(c)a@b.test>", "RCPT", "RCPT TO", "RCPT TO:", "RCPT TO:<>", "RCPT TO: <a@b.test>",
	"RCPT FROM:<a@b.test>",
	"RCPT TO:<a@b.test", "RCPT TO:<a@b.test>,<c@d.test>", "RCPT TO:<@x.test,@y.test:a@b.test>",
	"RCPT TO:<@x.test>", "RCPT TO:<@x.test:>", "RCPT TO:<:a@b.test>", "RCPT TO:<a%b@c.test>",
	"DATA x", "RSET x", "RSET ", "QUITX", "NOOPX", "NOOP\0",
	"HELO", "EHLO", "HELO ", "EHLO ", "EHLO  x", "EHLO [", "EHLO [127.0.0.1", "EHLO [127.0.0.1]", "EHLO [IPv6:::1]",
	"EHLO -", "EHLO .", "EHLO a_b", "EHLO a b", "VRFY", "VRFY ", "VRFY <>", "EXPN", "EXPN ", "HELP ",
	"HELP HELP", "HELP %n",
	"AUTH", "AUTH ", "AUTH  PLAIN", "AUTH PLAIN  =", "AUTH=PLAIN", "AUTH PLAIN a b", "AUTH PLAIN *", "BDAT", "BDAT ",
	"BDAT x", "BDAT -1", "BDAT 0 0", "BDAT 0 LASTX", "BDAT  0", "BDAT LAST", "BDAT 0 LAST LAST", "STARTTLS x",
	"STARTTLS ",
	"ETRN", "ETRN @", "ETRN #", "ETRN a b", "TURN", "ATRN", "SEND FROM:<a@b.test>", "SOML FROM:<>", "SAML FROM:<>",
	"XCLIENT", "XCLIENT NAME=", "XCLIENT ADDR=127.0.0.1", "XCLIENT ADDR=IPv6:::1 NAME=x", "XCLIENT NAME=+", "XFORWARD",
	"XFORWARD ADDR=1.2.3.4", "GET / HTTP/1.0", "POST / HTTP/1.1", "Subject: x", "250 OK", "354 go", "\22\3\1\0\5",
	"\128\46\1\3\1", "\0\0\0\0", "SSH-2.0-x", "PROXY TCP4 127.0.0.1 127.0.0.1 1 2", "PROXY UNKNOWN",
}

--- Lengths at which programs change their mind.
dictionary.lengths = { 0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 62, 63, 64, 65, 66, 127, 128, 129, 200, 253,
	254, 255, 256, 257, 500,
	504, 508, 510, 511, 512, 513, 514, 998, 999, 1000, 1001, 1002, 1022, 1023, 1024, 1025, 1026, 1500, 2000, 2046, 2047,
	2048, 2049, 4094, 4095, 4096, 4097, 8190, 8191, 8192, 8193, 12288, 16383, 16384, 16385, 32768, 65535, 65536, 65537 }

--- Ends of lines, the right one first.
dictionary.line_ends = { "\r\n", "\n", "\r", "\n\r", "\r\r\n", "\0\r\n", "\r\0\n", "\r\n\0", " \r\n", "\t\r\n", "\n\n",
	"\r\n\r\n", "\v\r\n", "\f\r\n", "\26\r\n", "\133\r\n", "\226\128\168\r\n", "\r \n", "\r\n ", "\0", "\n\0\r\n" }

--- What some program took for the end of DATA, the right one first (RFC 5321 section 4.1.1.4, "SMTP smuggling").
dictionary.data_ends = { "\r\n.\r\n", "\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r\n.\r", "\r.\r\n", "\n.\r", "\r.\n",
	"\r\n.\r\r\n", "\r\r\n.\r\r\n", "\r\r\n.\r\n", "\r\n.\0\r\n", "\r\n\0.\r\n", "\r\n.\r\0\n", "\r\n. \r\n",
	"\r\n.\t\r\n",
	"\r\n..\r\n", "\n\n.\n", "\r\n.\n\r\n", "\r\n.", "\r\n.\r\n.\r\n", "\n\r.\n\r", "\r\n.\133\r\n", "\r\n \8.\r\n" }

--- Names that no mail can reach (RFC 2606, RFC 6761).
dictionary.domains = { "a.test", "b.test", "mail.c.test", "x.invalid", "y.invalid" }

return dictionary
