package paths

const (
	systemDropIn = "/etc/ssh/ssh_config.d/20-lanyard.conf"
	systemConfig = "/etc/lanyard"
)

func systemState() string { return "/var/lib/lanyard" }
func systemRun() string   { return "/run/lanyard" }
