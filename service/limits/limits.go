// Package limits reads limits.yaml: what a machine's own administrator lets the network do with it. No map widens it.
//
//	issuers:                      # who may vouch for people; others' sign-ins are refused
//	  - url: https://id.example.com
//	    client_id: lanyard        # optional: this one only
//	    keys:                     # optional: thumbprints (RFC 7638); others are refused
//	      - NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs
//	    login_lifetime: 24h       # optional: the longest; 24h when left out
//	accounts: [deploy, ann]       # local accounts that may be offered
//	machine_identity: false       # no account of another machine comes in
//
// What is left out is not limited. A file that cannot be read lets nobody in: whoever wrote it meant to forbid
// something.
package limits

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v3"

	"lanyard/mgmt/policy"
	"lanyard/platform/paths"
	"lanyard/sshd/token"
)

// Bounds of the file.
const (
	maxFile    = 64 << 10 // bytes
	maxEntries = 1000     // of one list
	maxDepth   = 8        // of nested values
	maxText    = 1024     // bytes of one text
)

// Limits are the file's content in the forms that it is enforced in. nil pointers: not limited.
type Limits struct {
	Trust  *token.Limits
	Policy *policy.Limits
}

// Broken is what stands for a file that cannot be read: nobody comes in.
func Broken() *Limits {
	return &Limits{Trust: &token.Limits{}, Policy: &policy.Limits{Broken: true}}
}

type file struct {
	Issuers  *[]issuer `yaml:"issuers"`
	Accounts *[]string `yaml:"accounts"`
	Machines *bool     `yaml:"machine_identity"`
}

type issuer struct {
	URL           string   `yaml:"url"`
	ClientID      string   `yaml:"client_id"`
	Keys          []string `yaml:"keys"`
	LoginLifetime string   `yaml:"login_lifetime"`
}

// Load reads the file at path. Without one, nothing is limited.
func Load(path string) (*Limits, error) {
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return &Limits{}, nil
	}
	b, err := paths.ReadFile(path)
	if err == nil {
		err = NotForAll(path)
	}
	var l *Limits
	if err == nil {
		l, err = Parse(b)
	}
	if err != nil {
		return nil, fmt.Errorf("this machine admits nobody: its limits in %s cannot be used (%w); correct the file or move it away", path, err)
	}
	return l, nil
}

// NotForAll refuses a file that others may write: what it says would be theirs.
func NotForAll(path string) error {
	fi, err := os.Stat(path)
	if err == nil && writableByOthers(fi) {
		err = errors.New("other users may write it")
	}
	return err
}

// Parse reads the file's content strictly: a word that it does not know may be one that forbids.
func Parse(b []byte) (*Limits, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("it is longer than %d bytes", maxFile)
	}
	var doc yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(b))
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("it is empty")
	case err != nil:
		return nil, plain(err)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("it holds more than one document")
	}
	if err := check(&doc, 0); err != nil {
		return nil, err
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode || len(doc.Content[0].Content) == 0 {
		return nil, errors.New("it is not a list of settings, as in 'accounts: [deploy]'")
	}
	var f file
	strict := yaml.NewDecoder(bytes.NewReader(b))
	strict.KnownFields(true)
	if err := strict.Decode(&f); err != nil {
		return nil, plain(err)
	}
	return f.limits(&doc)
}

// check refuses what yaml could hide something in: aliases, merges, tags, deep nests, null for a list.
func check(n *yaml.Node, depth int) error {
	switch {
	case depth > maxDepth || len(n.Content) > 2*maxEntries:
		return fmt.Errorf("line %d: it is nested too deep or too long", n.Line)
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return fmt.Errorf("line %d: anchors and aliases are not taken here", n.Line)
	case n.Style&yaml.TaggedStyle != 0:
		return fmt.Errorf("line %d: tags are not taken here", n.Line)
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		return fmt.Errorf("line %d: a value is missing", n.Line)
	case n.Kind == yaml.ScalarNode && (len(n.Value) > maxText || strings.ContainsFunc(n.Value, unicode.IsControl)):
		return fmt.Errorf("line %d: a text is too long or has control characters", n.Line)
	}
	for _, c := range n.Content {
		if err := check(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (f *file) limits(doc *yaml.Node) (*Limits, error) {
	l := &Limits{}
	if f.Issuers != nil {
		l.Trust = &token.Limits{Issuers: []token.IssuerLimit{}}
		for _, is := range *f.Issuers {
			x, err := is.limit()
			if err != nil {
				return nil, err
			}
			l.Trust.Issuers = append(l.Trust.Issuers, x)
		}
	}
	if f.Accounts != nil || f.Machines != nil {
		l.Policy = &policy.Limits{NoMachines: f.Machines != nil && !*f.Machines}
	}
	if f.Accounts != nil {
		l.Policy.Accounts = []string{}
		if err := texts(doc.Content[0], "accounts"); err != nil {
			return nil, err
		}
		for _, a := range *f.Accounts {
			if a == "" || a != strings.TrimSpace(a) || strings.ContainsAny(a, "*?{}") {
				return nil, fmt.Errorf("%q is no name of an account; write each as the system does", a)
			}
			l.Policy.Accounts = append(l.Policy.Accounts, a)
		}
	}
	return l, nil
}

// texts wants the list called name to hold texts only: yaml would make the account "no" of a false.
func texts(m *yaml.Node, name string) error {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value != name {
			continue
		}
		for _, v := range m.Content[i+1].Content {
			if v.ShortTag() != "!!str" {
				return fmt.Errorf("line %d: %q is not a text; put it in quotes if you mean it", v.Line, v.Value)
			}
		}
	}
	return nil
}

func (is issuer) limit() (token.IssuerLimit, error) {
	x := token.IssuerLimit{URL: is.URL, ClientID: is.ClientID, Keys: is.Keys}
	if !strings.HasPrefix(is.URL, "https://") && !strings.HasPrefix(is.URL, "http://") {
		return x, fmt.Errorf("%q is no address of an issuer; write it as its tokens do, as in https://id.example.com", is.URL)
	}
	if is.Keys != nil && len(is.Keys) == 0 {
		return x, fmt.Errorf("the issuer %s has an empty list of keys; leave it out or name the keys", is.URL)
	}
	for _, k := range is.Keys {
		if b, err := base64.RawURLEncoding.Strict().DecodeString(k); err != nil || len(b) != 32 {
			return x, fmt.Errorf("%q is no thumbprint of a key (43 characters, as 'lanyard-mgmt issuer list' shows them)", k)
		}
	}
	if is.LoginLifetime != "" {
		d, err := time.ParseDuration(is.LoginLifetime)
		if err != nil || d <= 0 {
			return x, fmt.Errorf("%q is no length of time like 12h", is.LoginLifetime)
		}
		x.LoginLifetime = d
	}
	return x, nil
}

// plain takes the library's name out of its sentence.
func plain(err error) error {
	return errors.New(strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "yaml: ")), " "))
}
