package limits

import "io/fs"

// writableByOthers: the folder's access list decides there (paths.PrivateDir).
func writableByOthers(fs.FileInfo) bool { return false }
