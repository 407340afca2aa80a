package sftp

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const searchFlags = unix.O_RDONLY

func accessTime(st *syscall.Stat_t) uint32 { return uint32(st.Atimespec.Sec) }

func renameNew(fromDir int, from string, toDir int, to string) error {
	return renameIfFree(fromDir, from, toDir, to)
}

func fsStatOf(st *unix.Statfs_t) fsStat {
	return fsStat{
		bsize: uint64(st.Bsize), frsize: uint64(st.Bsize), blocks: st.Blocks, bfree: st.Bfree, bavail: st.Bavail,
		files: st.Files, ffree: st.Ffree, favail: st.Ffree, fsid: uint64(uint32(st.Fsid.Val[0]))<<32 | uint64(uint32(st.Fsid.Val[1])),
		flag: readOnlyOrNoSUID(uint64(st.Flags), unix.MNT_RDONLY, unix.MNT_NOSUID), namemax: unix.NAME_MAX,
	}
}
