package main

// userCodeMutants call code of the store's user while they hold its locks.
var userCodeMutants = []mutant{
	{"the logger is called under the lock", "mmapkv/notifier.go",
		"	n.enqueue(func() {\n		if ctx", "	func(now func()) { now() }(func() {\n		if ctx"},
	{"the logger's level is asked under the lock", "mmapkv/notifier.go",
		"	if n.logger == nil && callback == nil {", "	if (n.logger == nil || !n.logger.Enabled(context.Background(), level)) && callback == nil {"},
	{"the user's context is asked while compacting", "mmapkv/internal/pace/pace.go",
		"	ctx, cancel := context.WithCancel(users)\n	return ctx,", "	_, cancel := context.WithCancel(users)\n	return users,"},
}
