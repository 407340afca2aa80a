//go:build unix

package sftp

import (
	"bytes"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestEventsTellWhatWasDone(t *testing.T) {
	dir := home(t)
	in := func(n string) string { return filepath.Join(dir, n) }
	put(t, in("a"), "12345")
	c := serveHome(t, dir)
	if _, s := c.get("a"); s != 0 {
		t.Fatal(s)
	}
	odd := "new\n\x1b[31m\xff\"{"
	h := c.must(c.open(odd, flagWrite|flagCreate))
	c.do(fxpWrite, h, uint64(0), "abc")
	c.do(fxpWrite, h, uint64(3), "def")
	c.do(fxpClose, h)
	c.do(fxpMkdir, "d", 0)
	c.do(fxpRename, "a", "d/a")
	c.do(fxpSetstat, "d/a", attrMode, 0o600)
	c.do(fxpRemove, "nothing") // what fails is not told
	c.do(fxpRemove, "d/a")
	c.do(fxpRmdir, "d")
	c.must(c.open(odd, flagRead)) // left open
	plainOdd := in("new\n\x1b[31m\\xff\"{")
	want := []Event{
		{Op: OpOpen, Path: in("a"), Read: true},
		{Op: OpClose, Path: in("a"), Read: true, Out: 5},
		{Op: OpOpen, Path: plainOdd, Write: true},
		{Op: OpClose, Path: plainOdd, Write: true, In: 6},
		{Op: OpMkdir, Path: in("d")},
		{Op: OpRename, Path: in("a"), To: in("d/a")},
		{Op: OpMode, Path: in("d/a")},
		{Op: OpRemove, Path: in("d/a")},
		{Op: OpRmdir, Path: in("d")},
		{Op: OpOpen, Path: plainOdd, Read: true},
		{Op: OpClose, Path: plainOdd, Read: true},
	}
	if got := c.ended(); !slices.Equal(got, want) {
		t.Errorf("told:\n%v\nwant:\n%v", got, want)
	}
	if c.text.Len() > 0 {
		t.Errorf("and said %q", c.text.String())
	}
}

// The answer that something was done never leaves before it was told: whoever has it may cut the connection.
func TestEventComesBeforeItsAnswer(t *testing.T) {
	var order []string
	s := newServer(logged{&order, "answer"}, logged{&order, "event"}, "/", []Grant{{Everything, true}})
	dir := home(t)
	if err := s.serve(bytes.NewReader(slices.Concat(packet(fxpInit, 3), packet(fxpMkdir, 1, dir+"/d", 0)))); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(order, []string{"event", "answer"}) {
		t.Errorf("%q", order)
	}
}

type logged struct {
	order *[]string
	name  string
}

func (l logged) Write(b []byte) (int, error) {
	*l.order = append(*l.order, l.name)
	return len(b), nil
}

func TestLinesThatAreNoEventsAreShown(t *testing.T) {
	long := strings.Repeat("x", 2*maxLine)
	in := "Lanyard: no files\n{\"op\":\"open\",\"path\":\"/a\"}\n{\"op\":\"format\",\"path\":\"/a\"}\n{\"op\":\"close\",\"in\":-1}\n" + long + "\n{\"op\":\"close\",\"path\":\"/a\"}\nhalf"
	var events []Event
	var text bytes.Buffer
	if err := ReadEvents(strings.NewReader(in), func(e Event) { events = append(events, e) }, &text); err != nil {
		t.Fatal(err)
	}
	if len(events) != 2 || events[0].Op != OpOpen || events[1].Op != OpClose {
		t.Errorf("%v", events)
	}
	if s := text.String(); !strings.HasPrefix(s, "Lanyard: no files\n{\"op\":\"format\"") || !strings.HasSuffix(s, "x\nhalf") {
		t.Errorf("%d bytes of text: %.100q", len(s), s)
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(`{"op":"open","path":"/a","read":true}` + "\n"))
	f.Add([]byte("text\n{\"op\":\"close\",\"in\":9223372036854775807}\n{"))
	f.Add([]byte("{\"op\":\"rename\",\"path\":\"\xff\",\"to\":\"\\ud800\"}\n\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		err := ReadEvents(bytes.NewReader(b), func(e Event) {
			if e.Op == "" || e.In < 0 || e.Out < 0 || len(e.Path) > 4*maxName+10 || plain(e.Path) != e.Path && len(e.Path) <= maxName {
				t.Errorf("%+v", e)
			}
		}, &bytes.Buffer{})
		if err != nil {
			t.Error(err)
		}
	})
}

// FuzzRequest sends packets to a server that may read one empty folder.
func FuzzRequest(f *testing.F) {
	for _, p := range [][]byte{
		packet(fxpOpen, 1, "f", flagRead|flagWrite, attrMode, 0o644), packet(fxpRead, 1, ids{}, uint64(0), 32768),
		packet(fxpWrite, 1, ids{}, uint64(1<<63), "data"), packet(fxpStat, 1, "."), packet(fxpLstat, 1, "x"), packet(fxpFstat, 1, ids{}),
		packet(fxpSetstat, 1, "f", attrSize|attrOwner|attrMode|attrTimes|uint32(attrExtended), uint64(1), 1, 1, 0o644, 1, 1, 1, "a", "b"),
		packet(fxpOpendir, 1, "."), packet(fxpReaddir, 1, ids{}), packet(fxpClose, 1, ids{}), packet(fxpRename, 1, "a", "b"),
		packet(fxpSymlink, 1, "a", "b"), packet(fxpReadlink, 1, "a"), packet(fxpRealpath, 1, "../../x"), packet(fxpMkdir, 1, "d", 0),
		packet(fxpExtended, 1, "copy-data", ids{}, uint64(0), uint64(0), ids{}, uint64(0)),
		packet(fxpExtended, 1, "expand-path@openssh.com", "~root/x"), packet(fxpExtended, 1, "statvfs@openssh.com", "."),
		packet(fxpExtended, 1, "users-groups-by-id@openssh.com", "\x00\x00\x00\x00", ""), packet(fxpExtended, 1, "limits@openssh.com"),
		packet(fxpExtended, 1, "lsetstat@openssh.com", "f", attrTimes, 1, 1), packet(fxpExtended, 1, "nothing@example.com", "x"),
		packet(fxpExtended, 1, "home-directory", ""), packet(fxpExtended, 1, "fsync@openssh.com", ids{}),
		packet(fxpExtended, 1, "hardlink@openssh.com", "a", "b"), packet(fxpExtended, 1, "fstatvfs@openssh.com", ids{}),
	} {
		f.Add(p)
		f.Add(slices.Concat(packet(fxpOpendir, 7, "."), p))
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		var out, told bytes.Buffer
		s := newServer(&out, &told, dir, []Grant{{dir, false}})
		defer s.close()
		_ = s.serve(bytes.NewReader(slices.Concat(packet(fxpInit, 3), b)))
		// Whatever came, what goes out are whole packets.
		for rest := out.Bytes(); len(rest) > 0; {
			p := &fields{b: rest}
			if p.bytes(); p.err != nil {
				t.Fatalf("the answer is no packet: %q", rest)
			}
			rest = p.b
		}
		if left, _ := filepath.Glob(dir + "/*"); len(left) > 0 {
			t.Fatal(fmt.Sprint("files were made: ", left))
		}
	})
}
