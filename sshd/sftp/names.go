package sftp

import (
	"os"
	"os/user"
)

// userName and groupName know what the system's files know; an account of a directory (LDAP) shows as its number.
func userName(uid string) (string, error) {
	u, err := user.LookupId(uid)
	if err != nil {
		return "", err
	}
	return u.Username, nil
}

func groupName(gid string) (string, error) {
	g, err := user.LookupGroupId(gid)
	if err != nil {
		return "", err
	}
	return g.Name, nil
}

func userHome(name string) (string, error) {
	u, err := user.Lookup(name)
	if err != nil {
		return "", os.ErrNotExist
	}
	return remote(u.HomeDir), nil
}
