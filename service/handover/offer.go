package handover

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"time"

	"lanyard/service/tunnel"
)

// An Offer stands while a process waits for its successor.
type Offer struct {
	release string
	l       *net.UnixListener
	conn    *net.UnixConn
}

// NewOffer opens the socket; Wait waits.
func NewOffer(run, profile, release string) (*Offer, error) {
	l, err := listen("unixpacket", Socket(run, profile))
	if err != nil {
		return nil, fmt.Errorf("offer to be replaced: %w", err)
	}
	return &Offer{release: release, l: l}, nil
}

// Wait waits for a successor. An *IncompatibleError means that there is one, which has been told that it must wait for
// this process to end.
func (o *Offer) Wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = o.l.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		c, err := o.l.AcceptUnix()
		if err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return err
		}
		var h hello
		if err := errors.Join(ours(c), receive(c, &h)); err != nil {
			c.Close()
			continue
		}
		if h.Protocol != Protocol {
			why := fmt.Sprintf("release %s (handover %d) cannot go on beside %s (handover %d)", o.release, Protocol, h.Release, h.Protocol)
			err := errors.Join(send(c, answer{Refused: why, Release: o.release}), c.Close())
			return errors.Join(&IncompatibleError{why}, err)
		}
		o.conn = c
		return nil
	}
}

// Give hands over the tunnel, or says with nil that there is none.
func (o *Offer) Give(h *tunnel.Handover) error {
	if err := send(o.conn, answer{Release: o.release, Tunnel: h != nil}); err != nil {
		return fmt.Errorf("hand over to the new process: %w", err)
	}
	if h == nil {
		return nil
	}
	return h.Send(o.conn)
}

// Close ends the offer.
func (o *Offer) Close() error {
	if o.conn != nil {
		o.conn.Close()
	}
	return o.l.Close() // removes the socket
}

// Take replaces the process that is leaving, if one is: ErrNobody otherwise. The tunnel is nil when the old process had
// none to give. protocol is Protocol.
func Take(run, profile, release string, protocol int) (*tunnel.Handover, error) {
	d := net.Dialer{Timeout: askTime}
	conn, err := d.Dial("unixpacket", Socket(run, profile))
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), err != nil && !supported:
		return nil, ErrNobody
	case err != nil:
		return nil, fmt.Errorf("take over from the old process: %w", err)
	}
	c := conn.(*net.UnixConn)
	defer c.Close()
	if err := ours(c); err != nil {
		return nil, fmt.Errorf("take over from the old process: %w", err)
	}
	_ = c.SetDeadline(time.Now().Add(askTime))
	var a answer
	if err := errors.Join(send(c, hello{protocol, release}), receive(c, &a)); err != nil {
		return nil, fmt.Errorf("take over from the old process: %w", err)
	}
	if a.Refused != "" {
		return nil, &IncompatibleError{a.Refused}
	}
	if !a.Tunnel {
		return nil, nil
	}
	return tunnel.ReceiveHandover(c)
}

func send(c *net.UnixConn, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_ = c.SetWriteDeadline(time.Now().Add(askTime))
	_, err = c.Write(b)
	return err
}

// receive reads one message of a packet socket.
func receive(c *net.UnixConn, v any) error {
	b := make([]byte, 64<<10)
	_ = c.SetReadDeadline(time.Now().Add(askTime))
	n, err := c.Read(b)
	if err != nil {
		return err
	}
	return json.Unmarshal(b[:n], v)
}
