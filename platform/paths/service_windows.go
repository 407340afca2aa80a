package paths

import (
	"crypto/sha1" //nolint:gosec // Windows makes the SID so
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
)

// ServiceDir is MachineDir for a service with an account of its own (NT SERVICE\name), which may change what is in it;
// other users may not even read the names.
func ServiceDir(dir, service string) error {
	return machineDir(dir, "(A;OICI;FA;;;"+ServiceSID(service)+")", true)
}

// ServiceSID is the SID of a service's account, before there is one (MS-DTYP §2.4.2.4): SHA-1 of its name in capitals.
func ServiceSID(name string) string {
	var b []byte
	for _, u := range utf16.Encode([]rune(strings.ToUpper(name))) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	sum := sha1.Sum(b) //nolint:gosec // as above
	sid := "S-1-5-80"
	for i := 0; i < len(sum); i += 4 {
		sid += fmt.Sprintf("-%d", binary.LittleEndian.Uint32(sum[i:]))
	}
	return sid
}
