// Hostile is a machine that was taken over, for the tests: it has everything that root on that machine has (its keys, its
// map, its tunnel) and does what the product never does.
//
//	hostile serve                       an SSH server in the tunnel that lets everyone in and prints what they sent
//	hostile replay TARGET USER CERT     signs in at TARGET (ADDRESS:PORT in the tunnel) with what was captured
//	hostile login TARGET CERT NAME...   signs in with KEY as each NAME (quoted as in Go), and runs id
//	hostile stay TARGET USER CERT CMD   signs in with KEY, runs CMD and never reports the sign-in to anybody
//	hostile forge CERT FILE             writes the best forgery of CERT as FILE and FILE-cert.pub, for a real ssh
//	hostile ask SOCKET METHOD PATH BODY the service's local API, without the product's client
//	hostile refresh FILE DIR HELPER...  changes the refresh token in the key store DIR for a newer one, kept in FILE
//	hostile call URL CERT               calls the management server's API with what was captured
//
// CERT is a file with a certificate as serve printed it, or as ssh reads it. With KEY=FILE in the environment, replay and
// call use that private key and the certificate as it is: what its owner does, to see that this program can do it.
package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/platform/paths"
	"lanyard/service/machine"
	"lanyard/service/netmap"
	"lanyard/service/tunnel"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "hostile:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serve(ctx)
	case len(args) == 4 && args[0] == "replay":
		return replay(ctx, args[1], args[2], args[3])
	case len(args) > 3 && args[0] == "login":
		return login(ctx, args[1], args[2], args[3:])
	case len(args) == 5 && args[0] == "ask":
		return askLocally(ctx, args[1], args[2], args[3], args[4])
	case len(args) == 5 && args[0] == "stay":
		return stay(ctx, args[1], args[2], args[3], args[4])
	case len(args) == 3 && args[0] == "forge":
		return forge(args[1], args[2])
	case len(args) == 3 && args[0] == "call":
		return call(ctx, args[1], args[2])
	case len(args) > 3 && args[0] == "refresh":
		return refresh(ctx, args[1], args[2], args[3:])
	}
	return errors.New("call it with serve, replay, login, stay, forge, ask, refresh or call")
}

// taken is the machine that this program took over from its stopped service.
type taken struct {
	machine *machine.Machine
	tunnel  *tunnel.Tunnel
	m       *api.Map
}

func takeOver(ctx context.Context) (_ *taken, err error) {
	p := paths.For(paths.DefaultProfile)
	t := &taken{}
	if t.machine, err = machine.Open(p.StateFile); err != nil {
		return nil, err
	}
	st := t.machine.State()
	store, notice, err := netmap.Open(p.MapFile, netmap.Pin{Key: st.MapKey, Network: st.Network, Peer: st.PeerID}, netmap.Place{}, nil)
	if err != nil {
		return nil, err
	}
	if t.m = store.Current(); t.m == nil {
		return nil, fmt.Errorf("this machine has no map: %s", notice)
	}
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	t.tunnel, err = tunnel.Open(ctx, tunnel.Config{
		PrivateKey: t.machine.WGPrivate(), Addr4: t.m.Self.Addr4, Addr6: t.m.Self.Addr6,
		Overlay4: t.m.Overlay4, Overlay6: t.m.Overlay6, Userspace: true, Log: quiet,
	})
	if err != nil {
		return nil, err
	}
	var peers []tunnel.Peer
	for _, o := range t.m.Peers {
		peer := tunnel.Peer{ID: o.ID, PublicKey: [32]byte(o.WGKey), Endpoints: o.Endpoints}
		for _, a := range []netip.Addr{o.Addr4, o.Addr6} {
			if a.IsValid() {
				peer.Addrs = append(peer.Addrs, a)
			}
		}
		peers = append(peers, peer)
	}
	return t, t.tunnel.SetPeers(peers)
}

func (t *taken) close() {
	t.tunnel.Close()
	t.machine.Close()
}

// capture is what a client that was let in has sent.
type capture struct {
	User        string `json:"user"`
	Certificate string `json:"certificate"` // SSH wire form, base64
}

// serve lets everyone in.
func serve(ctx context.Context) error {
	t, err := takeOver(ctx)
	if err != nil {
		return err
	}
	defer t.close()
	cfg := &ssh.ServerConfig{
		PublicKeyCallback: func(_ ssh.ConnMetadata, k ssh.PublicKey) (*ssh.Permissions, error) {
			return &ssh.Permissions{ExtraData: map[any]any{"key": k}}, nil
		},
	}
	cfg.AddHostKey(t.machine.HostKey())
	t.tunnel.SetAdmit(true, t.m.Admit)
	l := t.tunnel.Listener()
	context.AfterFunc(ctx, func() { l.Close() })
	fmt.Println(`{"serving":true}`)
	for {
		nc, err := l.Accept()
		if err != nil {
			return nil // asked to end
		}
		go func() {
			defer nc.Close()
			c, chans, reqs, err := ssh.NewServerConn(nc, cfg)
			if err != nil {
				return
			}
			go ssh.DiscardRequests(reqs)
			b, _ := json.Marshal(capture{c.User(), base64.StdEncoding.EncodeToString(c.Permissions.ExtraData["key"].(ssh.PublicKey).Marshal())})
			fmt.Println(string(b))
			for nch := range chans {
				ch, in, err := nch.Accept()
				if err != nil {
					return
				}
				go func() {
					for r := range in {
						_ = r.Reply(r.Type == "exec" || r.Type == "shell", nil)
						if r.Type == "exec" || r.Type == "shell" {
							fmt.Fprintln(ch, "welcome")
							_, _ = ch.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
							ch.Close()
						}
					}
				}()
			}
		}()
	}
}

func readCertificate(file string) (*ssh.Certificate, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	k, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		wire, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
		if err != nil {
			return nil, err
		}
		if k, err = ssh.ParsePublicKey(wire); err != nil {
			return nil, err
		}
	}
	c, ok := k.(*ssh.Certificate)
	if !ok {
		return nil, fmt.Errorf("what was captured is %s, not a certificate", k.Type())
	}
	return c, nil
}

// ownersKey is the private key of KEY, nil without one.
func ownersKey() (ed25519.PrivateKey, error) {
	name := os.Getenv("KEY")
	if name == "" {
		return nil, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	k, err := ssh.ParseRawPrivateKey(b)
	if err != nil {
		return nil, err
	}
	return *k.(*ed25519.PrivateKey), nil
}

// attempt is one line of what replay and call print.
type attempt struct {
	What     string `json:"what"`
	Accepted bool   `json:"accepted"`
	Said     string `json:"said"` // banners, or the answer
}

func (a attempt) print() {
	b, _ := json.Marshal(a)
	fmt.Println(string(b))
}

const patience = 20 * time.Second
