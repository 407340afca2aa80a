package server

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/coder/websocket"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/control"
	"lanyard/mgmt/store"
)

const (
	maxUp        = 4 << 20          // one message of a peer: a batch of audit lines
	sendLimit    = 20 * time.Second // a peer that takes nothing for so long is gone
	pingEvery    = 15 * time.Second
	firstMessage = 10 * time.Second
)

// follow serves the one long-lived connection of a peer: maps go down, acknowledgements, facts and audit lines up.
func (s *Server) follow(w http.ResponseWriter, r *http.Request) error {
	peer, err := s.peerProof(r, nil)
	if err != nil {
		return err
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return nil // Accept has answered
	}
	defer ws.CloseNow()
	ws.SetReadLimit(maxUp)
	ctx, cancel := context.WithCancel(s.life)
	defer cancel()
	f := &follower{s: s, ws: ws, peer: peer, log: s.log.With("peer", peer.ID, "name", peer.Name)}
	s.following.Add(1)
	defer s.following.Done()
	if err := f.run(ctx, cancel, clientAddr(r)); err != nil && ctx.Err() == nil {
		f.log.Info("a peer stopped following", "err", err)
	}
	return nil
}

type follower struct {
	s    *Server
	ws   *websocket.Conn
	peer store.Peer
	conn *control.Conn
	log  interface{ Info(string, ...any) }
}

func (f *follower) run(ctx context.Context, cancel context.CancelFunc, from netip.Addr) error {
	first, stop := context.WithTimeout(ctx, firstMessage)
	defer stop()
	up, err := f.read(first)
	if err != nil {
		return err
	}
	if up.Have == nil {
		return errors.New("the first message does not say which map the peer has")
	}
	if f.conn, err = f.s.control.Attach(ctx, f.peer.ID, *up.Have, from); err != nil {
		return err
	}
	defer f.s.control.Detach(f.conn)
	if err := f.s.store.SawPeer(ctx, f.peer.ID); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		done <- f.write(ctx)
		cancel()
	}()
	err = f.readAll(ctx)
	cancel()
	return errors.Join(err, <-done)
}

// write sends maps as they come, and pings so that both sides notice a dead path.
func (f *follower) write(ctx context.Context) error {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-ctx.Done():
			return f.ws.CloseNow()
		case <-f.conn.Ready():
			if m := f.conn.Take(); m != nil {
				if err := f.send(ctx, api.Down{Map: m}); err != nil {
					return err
				}
			}
		case <-f.conn.Moved():
			if p := f.conn.TakePresence(); p != nil {
				if err := f.send(ctx, api.Down{Presence: p}); err != nil {
					return err
				}
			}
		case sentence := <-f.conn.Gone():
			if sentence != "" {
				if err := f.send(ctx, api.Down{Gone: sentence}); err != nil {
					return err
				}
			}
			f.ws.Close(websocket.StatusNormalClosure, "")
			return nil
		case <-ping.C:
			limited, stop := context.WithTimeout(ctx, sendLimit)
			err := f.ws.Ping(limited)
			stop()
			if err != nil {
				return err
			}
			if err := f.s.store.SawPeer(ctx, f.peer.ID); err != nil {
				return err
			}
		}
	}
}

func (f *follower) send(ctx context.Context, d api.Down) error {
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, sendLimit)
	defer stop()
	return f.ws.Write(ctx, websocket.MessageText, b)
}

func (f *follower) read(ctx context.Context) (api.Up, error) {
	var up api.Up
	_, b, err := f.ws.Read(ctx)
	if err != nil {
		return up, err
	}
	return up, json.Unmarshal(b, &up)
}

func (f *follower) readAll(ctx context.Context) error {
	for {
		up, err := f.read(ctx)
		if err != nil {
			return err
		}
		switch {
		case up.Ack != nil:
			f.conn.Ack(*up.Ack)
		case up.Self != nil:
			err = f.update(ctx, *up.Self)
		case up.Audit != nil:
			err = f.audit(ctx, up.Audit)
		case up.Unknown != nil:
			f.unknownKey(*up.Unknown)
		}
		if err != nil {
			return err
		}
	}
}

// label is what a machine says of its system or release: it goes into everybody's map and onto screens.
func label(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), 64)]
}

// update takes over what a peer may say of itself.
func (f *follower) update(ctx context.Context, u api.SelfUpdate) error {
	u.Endpoints = slices.DeleteFunc(u.Endpoints, func(a netip.AddrPort) bool {
		return !a.IsValid() || a.Addr().Zone() != "" // a zone is a text of any length that means nothing elsewhere
	})
	u.Endpoints = u.Endpoints[:min(len(u.Endpoints), maxEndpoints)]
	if err := checkHostKeys(u.HostKeys, f.peer.MachineKey); err != nil {
		return err
	}
	u.OS, u.Release = label(u.OS), label(u.Release)
	err := f.s.store.Tx(ctx, func(q *store.Queries) error {
		p, err := q.Peer(ctx, f.peer.ID)
		if err != nil {
			return err
		}
		p.Endpoints, p.HostKeys, p.ServesSSH, p.Release, p.OS = u.Endpoints, u.HostKeys, u.ServesSSH, u.Release, u.OS
		return q.UpdatePeer(ctx, p)
	})
	if err == nil {
		f.s.control.Touch()
	}
	return err
}

// fromPeers are the events that a peer may record; the others are the management server's own.
var fromPeers = map[audit.Type]bool{
	audit.SessionStart: true, audit.SessionEnd: true, audit.ChannelStart: true, audit.ChannelEnd: true,
	audit.Refused: true, audit.FileOp: true,
}

// lineCost is what storing an event takes beside its line, in bytes.
const lineCost = 256

// audit stores the lines of a peer's spool and acknowledges them. A line that cannot be an event is dropped, or it
// would block the spool for ever.
//
// A peer that tells more than may be has its acknowledgement later: until then an honest one keeps what else it has, and
// goes on acknowledging maps. To one that does not wait nothing is listened to, on whatever connection.
func (f *follower) audit(ctx context.Context, lines []json.RawMessage) error {
	if err := sleep(ctx, f.s.audits.spend(f.peer.ID, 0, f.s.now())); err != nil {
		return err
	}
	size := 0
	for _, line := range lines {
		size += lineCost + len(line)
	}
	later := f.s.audits.spend(f.peer.ID, size, f.s.now())
	var ids []string
	unreported := false
	err := f.s.store.Tx(ctx, func(q *store.Queries) error {
		for _, line := range lines {
			var ev audit.Event
			if err := json.Unmarshal(line, &ev); err != nil || ev.ID == "" || len(ev.ID) > 64 {
				f.log.Info("an audit line cannot be read and is dropped", "err", err)
				continue
			}
			ids = append(ids, ev.ID)
			if !fromPeers[ev.Type] {
				f.log.Info("an audit event that is not a peer's to record is dropped", "type", ev.Type)
				continue
			}
			ev.Peer = f.peer.ID // a peer speaks for itself only
			if err := q.AddAudit(ctx, &ev); err != nil {
				return err
			}
			if ev.Type == audit.SessionStart && isThumbprint(ev.Key) {
				// Who never reports is unknown here but for this.
				unreported = true
				if err := q.Unreported(ctx, f.peer.ID, ev.Key, f.s.plausible(ev.Time)); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil || len(ids) == 0 {
		return err
	}
	if unreported {
		f.s.control.Touch()
	}
	f.s.audited()
	if later == 0 {
		return f.send(ctx, api.Down{AuditAck: ids})
	}
	f.s.following.Go(func() {
		if sleep(ctx, later) != nil {
			return
		}
		if err := f.send(ctx, api.Down{AuditAck: ids}); err != nil {
			f.log.Info("audit events cannot be acknowledged", "err", err)
		}
	})
	return nil
}

// sleep waits for d, or until ctx ends, which is an error.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// isThumbprint reports whether s can be that of a login's key: a SHA-256 in base64url.
func isThumbprint(s string) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return err == nil && len(b) == sha256.Size && !strings.ContainsAny(s, "\r\n")
}

// plausible is a time that a machine tells, as far as it can be: spools hold hours, and clocks differ.
func (s *Server) plausible(t time.Time) time.Time {
	now := s.now()
	if t.After(now) {
		return now
	}
	if earliest := now.Add(-s.settings.LoginLifetime); t.Before(earliest) {
		return earliest
	}
	return t
}

// unknownKey looks at what a provider publishes, since a machine met a key of it that the map does not have.
func (f *follower) unknownKey(u api.UnknownKey) {
	if f.s.asked.wait(f.peer.ID, f.s.now()) > 0 {
		return
	}
	f.s.following.Go(func() {
		changed, err := f.s.mirror.Look(f.s.life, u.Issuer)
		f.log.Info("a machine met a key that it does not know", "issuer", u.Issuer, "kid", u.KID, "changed", changed, "err", err)
	})
}

// clientAddr is where a request came from.
func clientAddr(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
