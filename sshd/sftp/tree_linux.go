package sftp

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// searchFlags open a folder that may be searched but perhaps not read, and start no device.
const searchFlags = unix.O_PATH

func accessTime(st *syscall.Stat_t) uint32 { return uint32(st.Atim.Sec) }

func renameNew(fromDir int, from string, toDir int, to string) error {
	err := unix.Renameat2(fromDir, from, toDir, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) { // some file systems
		return renameIfFree(fromDir, from, toDir, to)
	}
	return err
}

func fsStatOf(st *unix.Statfs_t) fsStat {
	return fsStat{
		bsize: uint64(st.Bsize), frsize: uint64(st.Frsize), blocks: st.Blocks, bfree: st.Bfree, bavail: st.Bavail,
		files: st.Files, ffree: st.Ffree, favail: st.Ffree, fsid: uint64(uint32(st.Fsid.Val[0]))<<32 | uint64(uint32(st.Fsid.Val[1])),
		flag: uint64(st.Flags) & 3, namemax: uint64(st.Namelen),
	}
}
