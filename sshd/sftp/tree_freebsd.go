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
		bsize: st.Bsize, frsize: st.Bsize, blocks: st.Blocks, bfree: st.Bfree, bavail: uint64(max(st.Bavail, 0)),
		files: st.Files, ffree: uint64(max(st.Ffree, 0)), favail: uint64(max(st.Ffree, 0)),
		fsid: uint64(uint32(st.Fsid.Val[0]))<<32 | uint64(uint32(st.Fsid.Val[1])),
		flag: readOnlyOrNoSUID(st.Flags, unix.MNT_RDONLY, unix.MNT_NOSUID), namemax: uint64(st.Namemax),
	}
}
