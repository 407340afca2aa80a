package paths

// The real name of /etc, so that the owner check of the folder does not meet a link.
const systemDropIn = "/private/etc/ssh/ssh_config.d/20-lanyard.conf"

func systemState() string { return "/Library/Application Support/Lanyard" }
func systemRun() string   { return "/var/run/lanyard" }

const systemConfig = "/private/etc/lanyard"
