package paths

const systemDropIn = "/etc/ssh/ssh_config.d/20-lanyard.conf"

func systemState() string { return "/var/db/lanyard" }
func systemRun() string   { return "/var/run/lanyard" }

const systemConfig = "/usr/local/etc/lanyard"
