package ipc

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"lanyard/mgmt/api"
)

// ErrNotRunning is returned when no daemon listens for the profile.
var ErrNotRunning = errors.New("the Lanyard service is not running")

// Client talks to the daemon of one profile.
type Client struct {
	http *http.Client
	dial func(context.Context) (net.Conn, error)
}

// DialPath is Dial for a socket path or pipe name.
func DialPath(path string) (*Client, error) {
	dial := func(ctx context.Context) (net.Conn, error) { return dialLocal(ctx, path) }
	conn, err := dial(context.Background())
	if err != nil {
		return nil, fmt.Errorf("%w (%s)", err, path)
	}
	conn.Close()
	return &Client{dial: dial, http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
	}}}, nil
}

// Close drops idle connections.
func (c *Client) Close() error { c.http.CloseIdleConnections(); return nil }

// Status asks how things are.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	return call[Status](ctx, c, http.MethodGet, RouteStatus, nil)
}

// Machine asks for the facts that a login or an enrolment needs.
func (c *Client) Machine(ctx context.Context) (*Machine, error) {
	return call[Machine](ctx, c, http.MethodGet, RouteMachine, nil)
}

// Login pushes an authorization request signed by the machine key. The daemon fills in the caller's account.
func (c *Client) Login(ctx context.Context, start api.LoginStart) (*api.LoginStarted, error) {
	return call[api.LoginStarted](ctx, c, http.MethodPost, RouteLogin, start)
}

// Certificate asks for a machine certificate for the caller's account and key (SSH wire form).
func (c *Client) Certificate(ctx context.Context, key []byte) (*MachineCertificate, error) {
	return call[MachineCertificate](ctx, c, http.MethodPost, RouteCertificate, MachineCertificateRequest{Key: key})
}

// Explain asks what this machine's rules say.
func (c *Client) Explain(ctx context.Context, r api.ExplainRequest) (*api.ExplainReply, error) {
	return call[api.ExplainReply](ctx, c, http.MethodPost, RouteExplain, r)
}

// Enroll makes this machine a peer in the name of a person who signed in.
func (c *Client) Enroll(ctx context.Context, r EnrollByPerson) (*api.EnrollReply, error) {
	return call[api.EnrollReply](ctx, c, http.MethodPost, RouteEnroll, r)
}

// Down switches the tunnel off and keeps the machine's identity.
func (c *Client) Down(ctx context.Context) (*Status, error) {
	return call[Status](ctx, c, http.MethodPost, RouteDown, struct{}{})
}

// End ends a session on this machine.
func (c *Client) End(ctx context.Context, session string) error {
	_, err := call[struct{}](ctx, c, http.MethodPost, "/v1/sessions/"+url.PathEscape(session)+"/end", struct{}{})
	return err
}

// Up joins or switches on, and hands every line of progress to show (which may be nil). needLogin: a person has to
// sign in first; see Progress.
func (c *Client) Up(ctx context.Context, r UpRequest, show func(string)) (needLogin bool, err error) {
	err = c.stream(ctx, http.MethodPost, RouteUp, r, func(raw json.RawMessage) error {
		var p Progress
		if err := json.Unmarshal(raw, &p); err != nil {
			return fmt.Errorf("read the service's answer: %w", err)
		}
		if p.Line != "" && show != nil {
			show(p.Line)
		}
		switch {
		case p.Err != nil:
			return p.Err
		case p.NeedLogin:
			needLogin = true
			return errStop
		case p.Done:
			return errStop
		}
		return nil
	})
	if err == nil {
		err = errors.New("the Lanyard service stopped before it was done; 'lanyard status' shows how things are")
	}
	if errors.Is(err, errStop) {
		err = nil
	}
	return needLogin, err
}

// Events calls f with the Status now and after each change, until ctx ends, the daemon stops or f returns an error.
func (c *Client) Events(ctx context.Context, f func(*Status) error) error {
	return c.stream(ctx, http.MethodGet, RouteEvents, nil, func(raw json.RawMessage) error {
		var s Status
		if err := json.Unmarshal(raw, &s); err != nil {
			return fmt.Errorf("read the service's status: %w", err)
		}
		return f(&s)
	})
}

// Ask has the caller's tray ask them to sign in, and returns nil once they have.
func (c *Client) Ask(ctx context.Context, r AskRequest) error {
	_, err := call[struct{}](ctx, c, http.MethodPost, RouteAsk, r)
	return err
}

// Asks calls f with what the caller's programs wait for, until ctx ends, the daemon stops or f returns an error.
func (c *Client) Asks(ctx context.Context, f func(Ask) error) error {
	return c.stream(ctx, http.MethodGet, RouteAsks, nil, func(raw json.RawMessage) error {
		var a Ask
		if err := json.Unmarshal(raw, &a); err != nil {
			return fmt.Errorf("read what the service asks: %w", err)
		}
		return f(a)
	})
}

// Answer says how an Ask went.
func (c *Client) Answer(ctx context.Context, a Answer) error {
	_, err := call[struct{}](ctx, c, http.MethodPost, RouteAnswer, a)
	return err
}

// Connect opens a connection to port of the peer called host (its name, id or overlay address) through the daemon's tunnel: raw bytes.
func (c *Client) Connect(ctx context.Context, host string, port uint16) (net.Conn, error) {
	conn, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	q := url.Values{"host": {host}, "port": {strconv.Itoa(int(port))}}
	req, err := http.NewRequest(http.MethodPost, "http://lanyard"+RouteConnect+"?"+q.Encode(), nil)
	if err != nil {
		conn.Close()
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "bytes")
	if err := req.Write(conn); err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask the Lanyard service for a connection: %w", err)
	}
	br := bufio.NewReader(conn)
	res, err := http.ReadResponse(br, req) //nolint:bodyclose // the body is conn, which is closed or handed over
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("read the Lanyard service's answer: %w", err)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		err := readError(res)
		conn.Close()
		return nil, err
	}
	return &bufferedConn{Conn: conn, r: br}, nil
}

// bufferedConn gives back the bytes that were read along with the response header.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (b *bufferedConn) Read(p []byte) (int, error) { return b.r.Read(p) }

// CloseWrite passes an end of input on, where the socket can.
func (b *bufferedConn) CloseWrite() error {
	if w, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

var errStop = errors.New("the stream's last line was read")

func (c *Client) stream(ctx context.Context, method, route string, body any, each func(json.RawMessage) error) error {
	res, err := c.do(ctx, method, route, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	dec := json.NewDecoder(res.Body)
	for {
		var raw json.RawMessage
		if err := dec.Decode(&raw); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("the connection to the Lanyard service broke: %w", err)
		}
		if err := each(raw); err != nil {
			return err
		}
	}
}

func call[T any](ctx context.Context, c *Client, method, route string, body any) (*T, error) {
	res, err := c.do(ctx, method, route, body)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	out := new(T)
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(out); err != nil {
		return nil, fmt.Errorf("read the Lanyard service's answer: %w", err)
	}
	return out, nil
}

// maxAnswer bounds what is read of one answer: a status with thousands of peers is a few MB.
const maxAnswer = 32 << 20

func (c *Client) do(ctx context.Context, method, route string, body any) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://lanyard"+route, r)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err // the URL is made up; showing it would puzzle
		}
		return nil, err
	}
	if res.StatusCode/100 != 2 {
		defer res.Body.Close()
		return nil, readError(res)
	}
	return res, nil
}

func readError(res *http.Response) error {
	b, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	e := &api.Error{}
	if json.Unmarshal(b, e) != nil || e.Message == "" {
		e.Message = fmt.Sprintf("the Lanyard service answered %s", res.Status)
	}
	e.Status = res.StatusCode
	return e
}
