--- generate: fuzz.g: every generator under one name.

local generate = {}

for _, name in ipairs { "generator", "mailbox", "parameter", "exchange", "message", "conversation" } do
	for key, value in pairs(require("smtptest.fuzz." .. name)) do generate[key] = value end
end

return generate
