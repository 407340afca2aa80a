package sftp

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// Status codes (draft-ietf-secsh-filexfer-02 §7).
const (
	statusOK               = 0
	statusEOF              = 1
	statusNoSuchFile       = 2
	statusPermissionDenied = 3
	statusFailure          = 4
	statusBadMessage       = 5
	statusUnsupported      = 8
)

var (
	// errOutside: the rule grants other folders only, or reading only. It tells nothing about the file.
	errOutside     = errors.New("the rule does not grant this")
	errUnsupported = errors.New("not supported")
	errBadHandle   = errors.New("there is no such open file")
	badMessage     = syscall.EINVAL
)

// statusOf is OpenSSH's mapping of errors (errno_to_portable): clients act upon it.
func statusOf(err error) (code uint32, text string) {
	is := func(errnos ...syscall.Errno) bool {
		for _, e := range errnos {
			if errors.Is(err, e) {
				return true
			}
		}
		return false
	}
	switch {
	case err == nil:
		return statusOK, "Success"
	case errors.Is(err, io.EOF):
		return statusEOF, "End of file"
	case errors.Is(err, errUnsupported), is(syscall.ENOSYS):
		return statusUnsupported, "Operation unsupported"
	case errors.Is(err, errOutside), is(syscall.EPERM, syscall.EACCES, syscall.EFAULT), errors.Is(err, fs.ErrPermission), escapes(err):
		return statusPermissionDenied, "Permission denied"
	case is(syscall.ENOENT, syscall.ENOTDIR, syscall.EBADF, syscall.ELOOP), errors.Is(err, fs.ErrNotExist):
		return statusNoSuchFile, "No such file"
	case is(syscall.ENAMETOOLONG, syscall.EINVAL):
		return statusBadMessage, "Bad message"
	}
	return statusFailure, "Failure"
}

// escapes reports the refusal of os.Root to leave its folder: the package exports no error for it.
func escapes(err error) bool {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		err = p.Err
	}
	if l := (*os.LinkError)(nil); errors.As(err, &l) {
		err = l.Err
	}
	return err != nil && err.Error() == "path escapes from parent"
}

func (s *server) status(id uint32, err error) {
	code, text := statusOf(err)
	r := s.reply(fxpStatus, id)
	r.uint32(code)
	r.string(text)
	r.string("") // language
	r.end()
}
