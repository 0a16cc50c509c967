-- variant(name, flags, sources): module smtptest.core.NAME as another system
-- would have it: its sources built anew with other flags, because on this one
-- nothing else needs it.
return function(name, flags, sources)
	local folder = os.tmpname()
	os.remove(folder)
	assert(os.execute("mkdir " .. folder))
	-- What a sanitizer preloads is not for the compiler.
	local built = os.execute((
		"unset LD_PRELOAD; ${CC:-cc} -std=c99 -D_GNU_SOURCE %s -Isrc -fPIC -shared " ..
		"-Wl,-z,nodelete $(${PKG_CONFIG:-pkg-config} --cflags ${LUA_PC:-lua5.4}) " ..
		"-o %s/variant.so %s src/fail.c src/object.c -lpthread"):format(flags, folder, sources))
	local open = built and
		package.loadlib(folder .. "/variant.so", "luaopen_smtptest_core_" .. name)
	os.execute("rm -r " .. folder)
	return assert(open, name .. " does not build with " .. flags)()
end
