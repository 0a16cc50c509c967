--- layer: a byte machine (TLS, a SASL security layer, one of a script's) as a transport's stack holds it.

local layer = {}

local Layer = {}
Layer.__index = Layer

for _, name in ipairs { "feed", "read", "write", "drain", "finish", "eof" } do
	Layer[name] = function(self, ...)
		local machine = self.machine
		return machine[name](machine, ...)
	end
end

--- Makes a layer; `ended` becomes true when what is below it has ended.
-- @param machine  feed(bytes) read(max) write(bytes, first, last) drain() finish() eof(), and handshake() for TLS
-- @return table: machine, name ("tls" or "sasl"), and the machine's methods
function layer.new(machine)
	return setmetatable({ machine = machine, name = machine.handshake and "tls" or "sasl" }, Layer)
end

return layer
