-- The suite as `make check` runs it: busted in this very interpreter, which may
-- run under valgrind or with a sanitizer.
table.insert(arg, 1, "--ignore-lua")
require "busted.runner" { standalone = false, output = "t/closing.lua" }
