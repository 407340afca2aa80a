package peercred

import (
	"os"
	"os/user"
	"testing"

	"github.com/Microsoft/go-winio"
)

func TestPipeNamesItsCaller(t *testing.T) {
	const name = `\\.\pipe\lanyard-peercred-test`
	l, err := winio.ListenPipe(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := winio.DialPipe(name, nil)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = c.Read(make([]byte, 1)) // until the other side closes
		c.Close()
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if cred, err := Of(c); err != nil || cred.PID != os.Getpid() || cred.SID != me.Uid {
		t.Errorf("%+v, %v; it is process %d of %s", cred, err, os.Getpid(), me.Uid)
	}
}
