package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"lanyard/mgmt/api"
	"lanyard/mgmt/server"
	"lanyard/platform/paths"
)

// call asks the running server through its admin socket. in and out may be nil.
func (a *app) call(ctx context.Context, method, path string, in, out any) error {
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return server.DialAdmin(ctx, a.state)
		},
	}}
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://lanyard-mgmt"+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		if errors.Is(err, os.ErrPermission) {
			return fmt.Errorf("the state folder %s is another user's; run this as the user that runs 'lanyard-mgmt serve'", a.state)
		}
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			return noServer(a.state, serverState(), paths.Privileged())
		}
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return err
	}
	if res.StatusCode/100 != 2 {
		var e api.Error
		if json.Unmarshal(b, &e) != nil || e.Message == "" {
			return fmt.Errorf("the management server answered %s", res.Status)
		}
		return errors.New(lines(e.Message))
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	return json.Unmarshal(b, out)
}

// noServer says what to do where none runs on state. Whoever is no administrator and speaks of a state folder of their own
// where the system has one may have forgotten sudo.
func noServer(state, system string, administrator bool) error {
	if _, err := os.Stat(system); err == nil && !administrator && state != system {
		return fmt.Errorf("no management server of yours is running on %s; for the one that keeps its state in %s, run this with sudo (or as administrator)", state, system)
	}
	return fmt.Errorf("no management server is running on %s; start 'lanyard-mgmt serve' or name its folder with --state", state)
}

// esc makes a path segment.
func esc(s string) string { return url.PathEscape(s) }

// print writes v as JSON with --json, else by text.
func (a *app) print(cmd *cobra.Command, v any, text func(io.Writer)) error {
	if a.json {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetIndent("", "  ")
		return e.Encode(v)
	}
	text(cmd.OutOrStdout())
	return nil
}

// table prints rows of columns.
func table(w io.Writer, head []string, rows [][]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for _, r := range rows {
		for i := range r {
			r[i] = clean(r[i])
			if r[i] == "" {
				r[i] = "-"
			}
		}
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	t.Flush()
}

// lines shows a text of several lines; what else would move a terminal's cursor goes: a provider's own words may be in it.
func lines(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// clean escapes what would move a terminal's cursor: names come from other machines.
func clean(s string) string {
	q := strconv.Quote(s)
	if q = q[1 : len(q)-1]; strings.ReplaceAll(q, `\"`, `"`) == s {
		return s
	}
	return q
}

// printEffect tells what a change did.
func (a *app) printEffect(cmd *cobra.Command, what string, e api.Effect) error {
	return a.print(cmd, e, func(w io.Writer) {
		fmt.Fprintln(w, what)
		for _, s := range e.Ended {
			fmt.Fprintf(w, "  ended session %s on %s\n", clean(s.Session), s.Peer)
		}
		if len(e.Reached) > 0 {
			fmt.Fprintf(w, "  in force on %s\n", strings.Join(e.Reached, ", "))
		}
		if len(e.Unreached) > 0 {
			fmt.Fprintf(w, "  NOT in force yet on %s: not connected, or no answer within a second; they take it over when they connect\n", strings.Join(e.Unreached, ", "))
		}
	})
}

func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
