package setup

// plain is nothing here: Windows keeps the environment of its accounts.
func plain() *Plan { return &Plan{Umask: defaultUmask} }
