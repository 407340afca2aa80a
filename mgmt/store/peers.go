package store

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"lanyard/mgmt/api"
)

// nameRest is how long the name and address of a removed peer stay unused by another machine: longer than any map
// or known_hosts file that still names it is believed.
const nameRest = 30 * 24 * time.Hour

// Peer is a machine. Its api.Peer's Owner is filled from OwnerID.
type Peer struct {
	api.Peer
	OwnerID  string    `json:"owner_id,omitempty"`
	Release  string    `json:"release,omitempty"`
	Created  time.Time `json:"created"`
	LastSeen time.Time `json:"last_seen,omitzero"`
}

const peerSelect = `SELECT p.id, p.name, p.short_name, p.addr4, p.addr6, p.wg_key, p.machine_key, p.host_keys, p.endpoints,
	COALESCE(p.owner, ''), COALESCE(u.issuer, ''), COALESCE(u.subject, ''), p.tags, p.serves_ssh, p.os, p.release, p.created, p.last_seen
	FROM peers p LEFT JOIN users u ON u.id = p.owner `

func scanPeer(r interface{ Scan(...any) error }) (Peer, error) {
	var p Peer
	var addr4, addr6 string
	var hostKeys, endpoints, tags []byte
	var created, lastSeen int64
	err := r.Scan(&p.ID, &p.Name, &p.ShortName, &addr4, &addr6, &p.WGKey, &p.MachineKey, &hostKeys, &endpoints,
		&p.OwnerID, &p.Owner.Issuer, &p.Owner.Subject, &tags, &p.ServesSSH, &p.OS, &p.Release, &created, &lastSeen)
	if err != nil {
		return p, notFound(err)
	}
	p.Created, p.LastSeen = fromMS(created), fromMS(lastSeen)
	if p.Addr4, err = netip.ParseAddr(addr4); err != nil {
		return p, err
	}
	if p.Addr6, err = netip.ParseAddr(addr6); err != nil {
		return p, err
	}
	for _, f := range []struct {
		from []byte
		to   any
	}{{hostKeys, &p.HostKeys}, {endpoints, &p.Endpoints}, {tags, &p.Tags}} {
		if err := json.Unmarshal(f.from, f.to); err != nil {
			return p, fmt.Errorf("read the peer %s: %w", p.ID, err)
		}
	}
	return p, nil
}

// Peers lists all machines that are not removed, by name.
func (s *Queries) Peers(ctx context.Context) ([]Peer, error) {
	rows, err := s.q.QueryContext(ctx, peerSelect+`WHERE p.removed = 0 ORDER BY p.name`)
	return collect(rows, err, scanPeer)
}

// Peer finds a machine by id or name.
func (s *Queries) Peer(ctx context.Context, idOrName string) (Peer, error) {
	return scanPeer(s.q.QueryRowContext(ctx, peerSelect+`WHERE p.removed = 0 AND (p.id = ? OR p.name = ?) ORDER BY p.id = ? DESC LIMIT 1`,
		idOrName, idOrName, idOrName))
}

// PeerByMachineKey finds a machine by its ed25519 public key.
func (s *Queries) PeerByMachineKey(ctx context.Context, key []byte) (Peer, error) {
	return scanPeer(s.q.QueryRowContext(ctx, peerSelect+`WHERE p.removed = 0 AND p.machine_key = ?`, key))
}

const wasPeer = `SELECT COUNT(*) FROM peers WHERE removed > 0 AND machine_key = ?`

// WasPeer reports whether a machine with this key was a peer and was removed.
func (s *Queries) WasPeer(ctx context.Context, key []byte) (bool, error) {
	var n int
	err := s.q.QueryRowContext(ctx, wasPeer, key).Scan(&n)
	return n > 0, err
}

// OwnedPeers counts the machines of a person.
func (s *Queries) OwnedPeers(ctx context.Context, owner string) (int, error) {
	var n int
	err := s.q.QueryRowContext(ctx, `SELECT COUNT(*) FROM peers WHERE owner = ? AND removed = 0`, owner).Scan(&n)
	return n, err
}

// AddPeer stores a new machine.
func (s *Queries) AddPeer(ctx context.Context, p Peer) error {
	var owner any
	if p.OwnerID != "" {
		owner = p.OwnerID
	}
	_, err := s.q.ExecContext(ctx, `INSERT INTO peers(id, name, short_name, addr4, addr6, wg_key, machine_key, host_keys, endpoints,
		owner, tags, serves_ssh, os, release, created) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		p.ID, p.Name, p.ShortName, p.Addr4.String(), p.Addr6.String(), p.WGKey, p.MachineKey, text(p.HostKeys), text(p.Endpoints),
		owner, text(p.Tags), p.ServesSSH, p.OS, p.Release, ms(s.now()))
	if err != nil {
		return fmt.Errorf("store the peer %s: %w", p.Name, err)
	}
	return nil
}

// UpdatePeer writes all that may change of p; its machine key and addresses may not.
func (s *Queries) UpdatePeer(ctx context.Context, p Peer) error {
	var owner any
	if p.OwnerID != "" {
		owner = p.OwnerID
	}
	return one(s.q.ExecContext(ctx, `UPDATE peers SET name = ?, short_name = ?, wg_key = ?, host_keys = ?, endpoints = ?, owner = ?,
		tags = ?, serves_ssh = ?, os = ?, release = ? WHERE id = ? AND removed = 0`,
		p.Name, p.ShortName, p.WGKey, text(p.HostKeys), text(p.Endpoints), owner, text(p.Tags), p.ServesSSH, p.OS, p.Release, p.ID))
}

// SawPeer notes that the machine was heard of now.
func (s *Queries) SawPeer(ctx context.Context, id string) error {
	_, err := s.q.ExecContext(ctx, `UPDATE peers SET last_seen = ? WHERE id = ?`, ms(s.now()), id)
	return err
}

// RemovePeer removes a machine; its row stays so that its name and addresses rest.
func (s *Queries) RemovePeer(ctx context.Context, id string) error {
	if err := one(s.q.ExecContext(ctx, `UPDATE peers SET removed = ? WHERE id = ? AND removed = 0`, ms(s.now()), id)); err != nil {
		return err
	}
	_, err := s.q.ExecContext(ctx, `DELETE FROM maps WHERE peer_id = ?`, id)
	return err
}

// NameTaken reports whether another machine has the name, or had it not long ago.
func (s *Queries) NameTaken(ctx context.Context, name string, machineKey []byte) (bool, error) {
	var n int
	err := s.q.QueryRowContext(ctx, `SELECT COUNT(*) FROM peers WHERE name = ? AND machine_key <> ? AND (removed = 0 OR removed > ?)`,
		name, machineKey, ms(s.now().Add(-nameRest))).Scan(&n)
	return n > 0, err
}

// AddressTaken reports whether a machine has the overlay address, or had it not long ago.
func (s *Queries) AddressTaken(ctx context.Context, a netip.Addr) (bool, error) {
	var n int
	err := s.q.QueryRowContext(ctx, `SELECT COUNT(*) FROM peers WHERE addr4 = ? AND (removed = 0 OR removed > ?)`,
		a.String(), ms(s.now().Add(-nameRest))).Scan(&n)
	return n > 0, err
}

// WGKeyTaken reports whether another peer than the one with this id has the WireGuard key.
func (s *Queries) WGKeyTaken(ctx context.Context, key []byte, id string) (bool, error) {
	var n int
	err := s.q.QueryRowContext(ctx, `SELECT COUNT(*) FROM peers WHERE wg_key = ? AND removed = 0 AND id <> ?`, key, id).Scan(&n)
	return n > 0, err
}

// StoredMap is the newest map of a peer as it was signed. Content is a hash of all but version and issue time.
type StoredMap struct {
	Epoch, Version uint64
	Content        []byte
	Issued         time.Time
	Signed         api.SignedMap
}

// Map returns the newest map that was signed for a peer.
func (s *Queries) Map(ctx context.Context, peerID string) (StoredMap, error) {
	var m StoredMap
	var issued int64
	err := s.q.QueryRowContext(ctx, `SELECT epoch, version, content, issued, body, sig FROM maps WHERE peer_id = ?`, peerID).
		Scan(&m.Epoch, &m.Version, &m.Content, &issued, &m.Signed.Map, &m.Signed.Sig)
	m.Issued = fromMS(issued)
	return m, notFound(err)
}

// PutMap stores the newest map of a peer.
func (s *Queries) PutMap(ctx context.Context, peerID string, m StoredMap) error {
	_, err := s.q.ExecContext(ctx, `INSERT INTO maps(peer_id, epoch, version, content, issued, body, sig) VALUES(?,?,?,?,?,?,?)
		ON CONFLICT(peer_id) DO UPDATE SET epoch = excluded.epoch, version = excluded.version, content = excluded.content,
		issued = excluded.issued, body = excluded.body, sig = excluded.sig`,
		peerID, m.Epoch, m.Version, m.Content, ms(m.Issued), m.Signed.Map, m.Signed.Sig)
	return err
}

// ForgetMap forgets the newest map of a peer, so that another is made.
func (s *Queries) ForgetMap(ctx context.Context, peerID string) error {
	_, err := s.q.ExecContext(ctx, `DELETE FROM maps WHERE peer_id = ?`, peerID)
	return err
}
