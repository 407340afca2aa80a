package tunnel

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"lanyard/test/calm"
)

// A child is this test binary again, in a network namespace, holding one tunnel. It obeys one line of JSON at a time.
type order struct {
	Do      string
	Machine machine
	Peers   []Peer
	SSH     bool
	Admit   []string
	Addr    netip.AddrPort
	N       int
	Path    string
	Resume  bool
	Timeout time.Duration
}

type reply struct {
	Err       string
	Status    Status
	Endpoints []netip.AddrPort
	Took      time.Duration
	Unserved  int
}

func TestMain(m *testing.M) {
	if os.Getenv("LANYARD_TUNNEL_CHILD") != "" {
		childMain()
		return
	}
	os.Exit(m.Run())
}

func childMain() {
	c := &childState{}
	in, out := json.NewDecoder(bufio.NewReader(os.Stdin)), json.NewEncoder(os.Stdout)
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			if c.tn != nil {
				_ = c.tn.Close()
			}
			return
		}
		var r reply
		if err := c.obey(o, &r); err != nil {
			r.Err = err.Error()
		}
		_ = out.Encode(r)
	}
}

type childState struct {
	tn   *Tunnel
	conn net.Conn
}

func (c *childState) obey(o order, r *reply) (err error) {
	ctx := context.Background()
	start, clock := time.Now(), calm.Start()
	defer func() { r.Took = clock.Stop() }()
	switch o.Do {
	case "open":
		cfg := o.Machine.config()
		if o.Resume {
			l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: o.Path, Net: "unixpacket"})
			if err != nil {
				return err
			}
			defer l.Close()
			_ = l.SetDeadline(start.Add(2 * time.Minute)) // the other process may have failed
			u, err := l.AcceptUnix()
			if err != nil {
				return err
			}
			defer u.Close()
			if cfg.Resume, err = ReceiveHandover(u); err != nil {
				return err
			}
		}
		c.tn, err = Open(ctx, cfg)
		return err
	case "peers":
		return c.tn.SetPeers(o.Peers)
	case "admit":
		c.tn.SetAdmit(o.SSH, o.Admit)
	case "serve":
		l := c.tn.Listener()
		go echo(l)
	case "handover":
		// The new process's socket has its name a moment before it listens.
		u, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: o.Path, Net: "unixpacket"})
		for errors.Is(err, syscall.ECONNREFUSED) && time.Since(start) < time.Minute {
			u, err = net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: o.Path, Net: "unixpacket"})
		}
		if err != nil {
			return err
		}
		defer u.Close()
		h, err := c.tn.Handover()
		if err != nil {
			return err
		}
		return h.Send(u)
	case "status":
		r.Status, r.Endpoints = c.tn.Status(), c.tn.Endpoints()
	case "source": // of the connection whose remote end is Addr
		if id, ok := c.tn.Source(o.Addr); !ok {
			return errors.New("no source")
		} else if len(o.Admit) > 0 && id != o.Admit[0] {
			return fmt.Errorf("source is %s", id)
		}
	case "connect": // and keep
		d := net.Dialer{Timeout: o.Timeout}
		c.conn, err = d.Dial("tcp", o.Addr.String())
		return err
	case "talk":
		return talk(c.conn, o.N)
	case "served": // connect, and say whether anything comes back
		d := net.Dialer{Timeout: o.Timeout}
		x, err := d.Dial("tcp", o.Addr.String())
		if err != nil {
			return err
		}
		defer x.Close()
		return talk(x, max(o.N, 1))
	case "banner":
		d := net.Dialer{Timeout: o.Timeout}
		x, err := d.Dial("tcp", o.Addr.String())
		if err != nil {
			return err
		}
		defer x.Close()
		_ = x.SetDeadline(time.Now().Add(time.Minute))
		b := make([]byte, 4)
		if _, err := io.ReadFull(x, b); err != nil {
			return err
		}
		if string(b) != "SSH-" {
			return fmt.Errorf("banner %q", b)
		}
	default:
		return fmt.Errorf("unknown order %s", o.Do)
	}
	return nil
}

type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  *json.Encoder
	out *json.Decoder
	end func()
}

// startChild runs the test binary in a namespace.
func startChild(t *testing.T, ns string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ip", "netns", "exec", ns, self, "-test.run=^$")
	cmd.Env = append(os.Environ(), "LANYARD_TUNNEL_CHILD=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: cmd, in: json.NewEncoder(in), out: json.NewDecoder(out)}
	ended := false
	c.end = func() {
		if !ended {
			ended = true
			in.Close() // the child closes its tunnel and ends
			_ = cmd.Wait()
		}
	}
	t.Cleanup(c.end)
	return c
}

func (c *child) try(o order) (reply, error) {
	if o.Timeout == 0 {
		o.Timeout = 30 * time.Second
	}
	if err := c.in.Encode(o); err != nil {
		return reply{}, err
	}
	var r reply
	if err := c.out.Decode(&r); err != nil {
		return r, err
	}
	if r.Err != "" {
		return r, errors.New(r.Err)
	}
	return r, nil
}

func (c *child) do(o order) reply {
	c.t.Helper()
	r, err := c.try(o)
	if err != nil {
		c.t.Fatalf("%s: %v", o.Do, err)
	}
	return r
}
