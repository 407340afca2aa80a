package server

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"golang.org/x/crypto/ssh"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/audit"
	"lanyard/mgmt/api/proof"
	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/store"
)

const (
	maxHostKeys  = 8
	maxEndpoints = 32
	maxHostKey   = 2 << 10 // bytes; an RSA key of 8192 bits has 1,047
	maxOwned     = 100     // machines that one person enrols as their own
)

// enroll makes the machine whose key signed the request a peer: by a setup key, or for a person who signed in.
func (s *Server) enroll(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	p, err := s.machineProof(r, body)
	if err != nil {
		return err
	}
	var req api.EnrollRequest
	if err := decode(body, &req); err != nil {
		return err
	}
	if !bytes.Equal(req.MachineKey, p.Key) {
		return refuse(http.StatusForbidden, "The request names another machine key than the one that signed it; run 'lanyard up' again.")
	}
	req.OS, req.Release = label(req.OS), label(req.Release)
	if len(req.WGKey) != 32 {
		return refuse(http.StatusBadRequest, "The WireGuard key must have 32 bytes.")
	}
	if err := checkHostKeys(req.HostKeys, p.Key); err != nil {
		return err
	}
	if o := req.Overlay4; o.IsValid() && o.Masked() != s.settings.Overlay4 {
		return refuse(http.StatusConflict,
			"This network uses %s and cannot give one machine an address of %s; free the range on this machine, or start the network anew with 'lanyard-mgmt serve --overlay4'.",
			s.settings.Overlay4, o)
	}
	var who *person
	if r.Header.Get(api.HeaderProof) != "" {
		if who, err = s.personProof(r, body); err != nil {
			return err
		}
	}
	peer, err := s.store.PeerByMachineKey(ctx, req.MachineKey)
	switch {
	case err == nil:
		err = s.enrollAgain(ctx, &peer, req, who, p)
	case errors.Is(err, store.ErrNotFound) && who != nil:
		peer, err = s.enrollNew(ctx, req, who, "", p)
	case errors.Is(err, store.ErrNotFound) && req.SetupKey != "":
		peer, err = s.enrollNew(ctx, req, nil, req.SetupKey, p)
	case errors.Is(err, store.ErrNotFound):
		err = refuse(http.StatusUnauthorized, "This machine is new here; give a setup key, or sign in to enrol it as yours.")
	}
	if err != nil {
		return err
	}
	s.control.Touch()
	writeJSON(w, http.StatusOK, api.EnrollReply{
		PeerID: peer.ID, Name: peer.Name, Network: s.settings.Network,
		MapKey: s.settings.Key().Public().(ed25519.PublicKey),
	})
	return nil
}

// enrollAgain takes over the facts of a machine that is known: its id, name and address stay.
func (s *Server) enrollAgain(ctx context.Context, peer *store.Peer, req api.EnrollRequest, who *person, p *proof.Proof) error {
	peer.WGKey, peer.HostKeys, peer.OS, peer.Release, peer.ServesSSH = req.WGKey, req.HostKeys, req.OS, req.Release, req.ServesSSH
	ev := &audit.Event{Type: audit.Enrolled, Peer: peer.ID, Target: peer.Name, Detail: "again"}
	becomes := who != nil && peer.OwnerID == "" && len(peer.Tags) == 0 // the person's own
	if who != nil {
		ev.Issuer, ev.Subject, ev.User = who.Issuer, who.Subject, who.Email
		peer.ShortName = peer.ShortName || who.Admin
	}
	return s.store.Change(ctx, ev, func(q *store.Queries) error {
		if becomes {
			if err := mayOwnMore(ctx, q, who); err != nil {
				return err
			}
			peer.OwnerID = who.ID
		}
		if err := useOnce(ctx, q, p); err != nil {
			return err
		}
		if err := ownWGKey(ctx, q, peer); err != nil {
			return err
		}
		if err := who.isAt(ctx, q, peer.ID); err != nil {
			return err
		}
		return q.UpdatePeer(ctx, *peer)
	})
}

// ownWGKey refuses the tunnel key of another peer: who has that key owns the other's traffic, or breaks it.
func ownWGKey(ctx context.Context, q *store.Queries, peer *store.Peer) error {
	taken, err := q.WGKeyTaken(ctx, peer.WGKey, peer.ID)
	if err == nil && taken {
		err = refuse(http.StatusConflict, "Another machine has this WireGuard key; was this one cloned? Remove its state folder and run 'lanyard up' again.")
	}
	return err
}

func (s *Server) enrollNew(ctx context.Context, req api.EnrollRequest, who *person, setupKey string, p *proof.Proof) (store.Peer, error) {
	peer := store.Peer{Release: req.Release, Peer: api.Peer{
		ID: api.NewID("p"), WGKey: req.WGKey, MachineKey: req.MachineKey, HostKeys: req.HostKeys, ServesSSH: req.ServesSSH, OS: req.OS,
	}}
	ev := &audit.Event{Type: audit.Enrolled, Peer: peer.ID}
	err := s.store.Change(ctx, ev, func(q *store.Queries) error {
		name := api.CleanName(req.Name)
		if who != nil {
			if err := mayOwnMore(ctx, q, who); err != nil {
				return err
			}
			peer.OwnerID, peer.ShortName = who.ID, who.Admin
			ev.Issuer, ev.Subject, ev.User = who.Issuer, who.Subject, who.Email
		} else {
			k, err := s.useSetupKey(ctx, q, setupKey)
			if err != nil {
				return err
			}
			peer.Tags = k.Tags
			ev.Detail = "setup key " + k.ID
		}
		err := useOnce(ctx, q, p)
		if err != nil {
			return err
		}
		if peer.Name, err = freeName(ctx, q, name, req.MachineKey); err != nil {
			return err
		}
		if peer.Addr4, peer.Addr6, err = freeAddress(ctx, q, s.settings, req.MachineKey); err != nil {
			return err
		}
		ev.Target = peer.Name
		if err := ownWGKey(ctx, q, &peer); err != nil {
			return err
		}
		if err := who.isAt(ctx, q, peer.ID); err != nil {
			return err
		}
		return q.AddPeer(ctx, peer)
	})
	return peer, err
}

// mayOwnMore keeps one person from using up the network's addresses, and everybody's map.
func mayOwnMore(ctx context.Context, q *store.Queries, who *person) error {
	n, err := q.OwnedPeers(ctx, who.ID)
	if err == nil && n >= maxOwned {
		err = &api.Error{Status: http.StatusConflict, Code: string(reason.TooMany), Message: fmt.Sprintf(
			"You have %d machines in this network, and a person can enrol no more; ask your administrator to remove one ('lanyard-mgmt peer remove') or for a setup key.", n)}
	}
	return err
}

// useSetupKey says the same sentence whatever is wrong, so that guessing teaches nothing.
func (s *Server) useSetupKey(ctx context.Context, q *store.Queries, key string) (store.SetupKey, error) {
	refused := refuse(http.StatusForbidden, "The setup key is wrong, used up or expired; ask your administrator for a new one ('lanyard-mgmt setup-key new').")
	secret, _, _ := strings.Cut(strings.TrimSpace(key), ".") // what follows is the pin of the map key, for the machine
	k, err := q.SetupKey(ctx, secret)
	if errors.Is(err, store.ErrNotFound) || err == nil && (k.Revoked || !s.now().Before(k.Expires)) {
		return k, refused
	}
	if err != nil {
		return k, err
	}
	if err := q.UseSetupKey(ctx, k.ID); errors.Is(err, store.ErrNotFound) {
		return k, refused
	} else if err != nil {
		return k, err
	}
	return k, nil
}

// freeName returns name, or name with a number that nobody has.
func freeName(ctx context.Context, q *store.Queries, name string, machineKey []byte) (string, error) {
	try := name
	for i := 2; i < 10000; i++ {
		taken, err := q.NameTaken(ctx, try, machineKey)
		if err != nil {
			return "", err
		}
		if !taken {
			return try, api.CheckName(try)
		}
		suffix := fmt.Sprintf("-%d", i)
		try = strings.TrimRight(name[:min(len(name), 63-len(suffix))], "-") + suffix
	}
	return "", refuse(http.StatusConflict, "Too many machines are called %s; choose another name.", name)
}

// freeAddress draws overlay addresses from the machine key, so that a machine that comes back tends to get its old
// ones.
func freeAddress(ctx context.Context, q *store.Queries, st store.Settings, machineKey []byte) (netip.Addr, netip.Addr, error) {
	base := st.Overlay4.Masked().Addr().As4()
	size := uint32(1) << (32 - st.Overlay4.Bits())
	h := sha256.Sum256(machineKey)
	n := binary.BigEndian.Uint32(h[:4])
	for i := range size {
		host := (n + i) % size
		if host%256 == 0 || host%256 == 255 { // look like network and broadcast addresses to some programs
			continue
		}
		a4 := [4]byte{}
		binary.BigEndian.PutUint32(a4[:], binary.BigEndian.Uint32(base[:])+host)
		addr4 := netip.AddrFrom4(a4)
		taken, err := q.AddressTaken(ctx, addr4)
		if err != nil {
			return netip.Addr{}, netip.Addr{}, err
		}
		if !taken {
			a6 := st.Overlay6.Addr().As16()
			binary.BigEndian.PutUint32(a6[12:], host)
			return addr4, netip.AddrFrom16(a6), nil
		}
	}
	return netip.Addr{}, netip.Addr{}, refuse(http.StatusInsufficientStorage, "The overlay range %s is used up.", st.Overlay4)
}

// checkHostKeys wants every host key signed by the machine key.
func checkHostKeys(keys []api.SignedKey, machineKey ed25519.PublicKey) error {
	if len(keys) > maxHostKeys {
		return refuse(http.StatusBadRequest, "A machine may have at most %d host keys.", maxHostKeys)
	}
	for _, k := range keys {
		if len(k.Key) > maxHostKey {
			return refuse(http.StatusBadRequest, "A host key has %d bytes, more than %d.", len(k.Key), maxHostKey)
		}
		if key, err := ssh.ParsePublicKey(k.Key); err != nil {
			return refuse(http.StatusBadRequest, "A host key cannot be read: %v.", err)
		} else if _, isCert := key.(*ssh.Certificate); isCert {
			return refuse(http.StatusBadRequest, "A host key must be a plain key, not a certificate.")
		}
		if !ed25519.Verify(machineKey, api.HostKeyMessage(k.Key), k.Sig) {
			return refuse(http.StatusForbidden, "A host key is not signed by the machine key; run 'lanyard up' again.")
		}
	}
	return nil
}
