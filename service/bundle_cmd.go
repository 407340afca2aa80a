package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lanyard/mgmt/api"
	"lanyard/platform/bundle"
	"lanyard/platform/paths"
	"lanyard/platform/release"
	"lanyard/service/doctor"
	"lanyard/service/ipc"
	"lanyard/service/keystore"
	"lanyard/service/login"
	"lanyard/service/machine"
)

func bundleCommand() *cobra.Command {
	return &cobra.Command{
		Use: "bundle [FILE]", Short: "Pack logs, findings and settings into a zip file for whoever helps you, without secrets", Args: cobra.MaximumNArgs(1),
		Long: `Pack the service's log, what 'lanyard doctor' and 'lanyard status' say, versions, settings and a summary of the network map
into FILE (default lanyard-bundle-TIME.zip, mode 0600). Keys, tokens and passwords are taken out; names of people, machines
and accounts stay. As root or administrator it holds more.`,
		RunE: func(c *cobra.Command, args []string) error {
			now := time.Now()
			name := "lanyard-bundle-" + now.Format("20060102-150405") + ".zip"
			if len(args) > 0 {
				name = args[0]
			}
			b, err := bundle.Create(name, now)
			if err != nil {
				return err
			}
			pack(c, b, now)
			if err := b.Close(); err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s\nIt holds no keys, tokens and passwords, but names of people and machines. Have a look before you send it.\n", b.Abs())
			return nil
		},
	}
}

func pack(c *cobra.Command, b *bundle.Bundle, now time.Time) {
	ctx, p := c.Context(), paths.Find(profileOf(c))
	config := filepath.Dir(p.Limits)
	var st *ipc.Status
	d, err := dial(c)
	if err == nil {
		defer d.Close()
		st, err = d.Status(ctx)
	}
	state := readState(p)
	secrets(b, p, state, st)

	b.Text("about.txt", fmt.Sprintf("lanyard %s, %s/%s, %s\n%s\nprofile %s\n\n%s\n%s", release.Version(), runtime.GOOS, runtime.GOARCH, runtime.Version(),
		now.Format(time.RFC3339), p.Profile, environment(os.Environ()), places(p)))
	if err != nil {
		b.Text("status.txt", "lanyard: "+err.Error()+"\n")
	} else {
		b.JSON("status.json", st)
		var text bytes.Buffer
		if err := writeStatus(&text, st, whoIsSignedIn(ctx, st), now); err == nil {
			b.Text("status.txt", text.String())
		}
	}
	self, _ := os.Executable() // empty: ssh's configuration is not looked for under its name
	var found bytes.Buffer
	doctor.Write(&found, doctor.Run(ctx, doctor.Patient{Profile: p.Profile, Paths: p, Program: self, Start: howToStart(p.Profile)}))
	b.Text("doctor.txt", found.String())
	if state != nil {
		b.JSON("settings.json", struct {
			Server    string `json:"server"`
			PeerID    string `json:"peer_id"`
			Name      string `json:"name"`
			Removed   string `json:"removed,omitempty"`
			Down      bool   `json:"down"`
			AllowSSH  bool   `json:"allow_ssh"`
			Userspace bool   `json:"userspace"`
			Operator  string `json:"operator,omitempty"`
		}{state.Server, state.PeerID, state.Name, state.Removed, state.Down, state.AllowSSH, state.Userspace, state.Operator.Name})
	}
	if m := readMap(p); m != nil {
		b.JSON("map.json", m)
	}
	for _, f := range []string{"managed.yaml", "limits.yaml", "rollout.env"} {
		b.File(f, filepath.Join(config, f))
	}
	b.File("default.txt", "/etc/default/lanyard")
	b.File("sysconfig.txt", "/etc/sysconfig/lanyard")
	b.File("ssh_config.txt", p.DropIn)
	b.File("service-log.txt", filepath.Join(p.State, "service.log"))
	b.File("service-log-old.txt", filepath.Join(p.State, "service.log.old"))
	if p.System {
		b.Logs(ctx, "lanyard")
	}
}

// secrets names what must not leave the machine, as far as the caller can read it.
func secrets(b *bundle.Bundle, p paths.Paths, state *machine.State, st *ipc.Status) {
	for _, e := range os.Environ() {
		if name, value, _ := strings.Cut(e, "="); secretName(name) {
			b.Secret(value)
		}
	}
	files := []string{filepath.Join(filepath.Dir(p.Limits), "setup-key")}
	sealed, _ := filepath.Glob(filepath.Join(p.Login, "secret-*")) // the pattern is good
	files = append(files, sealed...)
	if state != nil {
		for _, key := range [][]byte{state.MachineKey, state.WGKey, state.HostKey} {
			b.Secret(string(key), base64.StdEncoding.EncodeToString(key), base64.RawURLEncoding.EncodeToString(key), hex.EncodeToString(key))
		}
	}
	id := ""
	switch {
	case st != nil && st.Self != nil:
		id = st.Self.ID
	case state != nil:
		id = state.PeerID
	}
	if id != "" {
		key, cert, _ := p.Identity(id)
		machineKey, _, _ := p.MachineIdentity(id)
		files = append(files, key, cert, machineKey)
		if l, err := login.Load(p, id); err == nil {
			b.Secret(l.Bound, l.Login.Fresh)
		}
		if r, err := login.LoadRecord(keystore.Open(p.Login, keyringHelper(), nil), id); err == nil {
			b.Secret(r.RefreshToken)
		}
	}
	for _, f := range files {
		if text, err := paths.ReadFile(f); err == nil {
			b.Secret(string(text))
		}
	}
}

// secretName reports whether a variable may hold a secret.
func secretName(name string) bool {
	name = strings.ToUpper(name)
	return slices.ContainsFunc([]string{"KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL"}, func(w string) bool { return strings.Contains(name, w) })
}

// environment lists the variables that change what Lanyard does.
func environment(all []string) string {
	var out []string
	for _, e := range all {
		name, _, _ := strings.Cut(e, "=")
		upper := strings.ToUpper(name)
		switch {
		case secretName(name):
			continue
		case strings.HasPrefix(upper, "LANYARD_"), strings.HasPrefix(upper, "SSL_CERT_"), strings.HasSuffix(upper, "_PROXY"), upper == "BROWSER", upper == "SHELL":
			out = append(out, e)
		}
	}
	slices.Sort(out)
	return strings.Join(out, "\n") + "\n"
}

// places says what lies where, without its content.
func places(p paths.Paths) string {
	var out strings.Builder
	for _, root := range []string{filepath.Dir(p.Limits), p.State, p.Login, p.DropIn} {
		_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				fmt.Fprintf(&out, "%s: %v\n", path, err)
				return nil
			}
			if fi, err := d.Info(); err == nil {
				fmt.Fprintf(&out, "%s %9d %s %s\n", fi.Mode(), fi.Size(), fi.ModTime().Format(time.RFC3339), path)
			}
			return nil
		})
	}
	return out.String()
}

func readState(p paths.Paths) *machine.State {
	text, err := paths.ReadFile(p.StateFile)
	if err != nil {
		return nil
	}
	var s machine.State
	if json.Unmarshal(text, &s) != nil {
		return nil
	}
	return &s
}

// mapSummary is what the map is about, without anybody's keys.
type mapSummary struct {
	Network   string    `json:"network"`
	Epoch     uint64    `json:"epoch"`
	Version   uint64    `json:"version"`
	IssuedAt  time.Time `json:"issued_at"`
	MaxMapAge float64   `json:"max_map_age_seconds"`
	Peers     []string  `json:"peers"`
	Admit     int       `json:"admit"`
	Issuers   []string  `json:"issuers"`
	Rules     []string  `json:"rules"`
	Users     int       `json:"users"`
	Revoked   int       `json:"revoked_keys"`
	Silent    int       `json:"silent"`
}

func readMap(p paths.Paths) *mapSummary {
	text, err := paths.ReadFile(p.MapFile)
	if err != nil {
		return nil
	}
	var signed api.SignedMap
	var m api.Map
	if json.Unmarshal(text, &signed) != nil || json.Unmarshal(signed.Map, &m) != nil {
		return nil
	}
	s := &mapSummary{
		Network: m.Network, Epoch: m.Epoch, Version: m.Version, IssuedAt: m.IssuedAt, MaxMapAge: m.MaxMapAge.Duration().Seconds(),
		Peers: []string{}, Admit: len(m.Admit), Issuers: []string{}, Rules: []string{}, Users: len(m.Users), Revoked: len(m.RevokedKeys), Silent: len(m.Silent),
	}
	for _, peer := range m.Peers {
		s.Peers = append(s.Peers, peer.Name)
	}
	for _, i := range m.Issuers {
		s.Issuers = append(s.Issuers, fmt.Sprintf("%s, keys: %d", i.URL, len(i.Keys)))
	}
	for _, r := range m.Rules {
		s.Rules = append(s.Rules, r.Name)
	}
	return s
}
