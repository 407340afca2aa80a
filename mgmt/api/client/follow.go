package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"lanyard/mgmt/api"
)

// Stream is the one long-lived connection of a peer to its management server (api.RouteFollow).
type Stream struct {
	ws *websocket.Conn
	c  *Client
}

// Limits of the stream.
const (
	maxDown   = 64 << 20         // one message: a map of thousands of peers is a few MB
	sendLimit = 20 * time.Second // per message; a server that takes none is gone
)

// Follow opens the stream. have tells what is on disk.
func (c *Client) Follow(ctx context.Context, m Machine, have api.Have) (*Stream, error) {
	h, err := c.machineHeader(m, http.MethodGet, api.RouteFollow, nil)
	if err != nil {
		return nil, err
	}
	h.Set(api.HeaderVersion, strconv.Itoa(api.Version))
	dial, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	//nolint:bodyclose // websocket.Dial says that the body never needs closing
	ws, res, err := websocket.Dial(dial, "ws"+strings.TrimPrefix(c.URL(api.RouteFollow), "http"), &websocket.DialOptions{
		HTTPClient: c.http, HTTPHeader: h,
	})
	if err != nil {
		if res != nil && res.StatusCode != http.StatusSwitchingProtocols {
			return nil, c.refusal(res, readBody(res))
		}
		return nil, c.unreachable(err)
	}
	ws.SetReadLimit(maxDown)
	s := &Stream{ws: ws, c: c}
	if err := s.Send(ctx, api.Up{Have: &have}); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Send hands one message over. It may be called while Recv runs, by one goroutine at a time.
func (s *Stream) Send(ctx context.Context, u api.Up) error {
	b, err := json.Marshal(u)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sendLimit)
	defer cancel()
	if err := s.ws.Write(ctx, websocket.MessageText, b); err != nil {
		return s.c.unreachable(err)
	}
	return nil
}

// Recv waits for the next message.
func (s *Stream) Recv(ctx context.Context) (*api.Down, error) {
	_, b, err := s.ws.Read(ctx)
	if err != nil {
		return nil, s.c.unreachable(err)
	}
	d := new(api.Down)
	if err := json.Unmarshal(b, d); err != nil {
		return nil, fmt.Errorf("a message of the management server cannot be read: %w", err)
	}
	d.Gone = sentence(d.Gone)
	return d, nil
}

// Ping asks the server for a sign of life. Recv must be running: it takes the answer.
func (s *Stream) Ping(ctx context.Context) error { return s.ws.Ping(ctx) }

// Close ends the stream.
func (s *Stream) Close() error { return s.ws.CloseNow() }
