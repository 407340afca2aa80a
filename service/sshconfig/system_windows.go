package sshconfig

import (
	"os"
	"path/filepath"
)

var systemConfig = filepath.Join(os.Getenv("ProgramData"), `ssh\ssh_config`)
