package mirror

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"lanyard/sshd/token"
)

const (
	timeout   = 3 * time.Second // for one question
	maxAnswer = 1 << 20         // bytes
)

func newClient(patience time.Duration) *http.Client {
	if patience == 0 {
		patience = timeout
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.MaxIdleConnsPerHost = 1
	return &http.Client{
		Transport: t, Timeout: patience,
		// The document names addresses itself; a redirect would be somebody else's word.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// fetch asks a provider for its keys (OpenID Connect Discovery 1.0 §4, RFC 7517 §5). Keys that verify nothing are left
// out; the order is that of their thumbprints.
func (m *Mirror) fetch(ctx context.Context, issuer string) ([]json.RawMessage, error) {
	if err := CheckURL(issuer); err != nil {
		return nil, err
	}
	var doc struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := m.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &doc); err != nil {
		return nil, err
	}
	if doc.Issuer != issuer {
		return nil, fmt.Errorf("%s calls itself %.200q; add it by that address, byte for byte", issuer, doc.Issuer)
	}
	if err := CheckURL(doc.JWKSURI); err != nil {
		return nil, err
	}
	if strings.HasPrefix(issuer, "https://") && !strings.HasPrefix(doc.JWKSURI, "https://") { // a provider on the web names nothing on this machine
		return nil, fmt.Errorf("%s names %.200q for its keys, which is not https; nothing is asked there", issuer, doc.JWKSURI)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := m.get(ctx, doc.JWKSURI, &set); err != nil {
		return nil, err
	}
	type named struct {
		id  string
		jwk json.RawMessage
	}
	var good []named
	for _, k := range set.Keys {
		id, _, err := token.KeyID(k)
		if err != nil {
			continue
		}
		if k, err = plain(k); err != nil {
			continue
		}
		good = append(good, named{id, k})
	}
	slices.SortFunc(good, func(a, b named) int { return strings.Compare(a.id, b.id) })
	good = slices.CompactFunc(good, func(a, b named) bool { return a.id == b.id })
	switch {
	case len(good) == 0:
		return nil, errNoKeys
	case len(good) > maxKeys:
		return nil, fmt.Errorf("%s publishes %d keys; at most %d are taken", issuer, len(good), maxKeys)
	}
	keys := make([]json.RawMessage, len(good))
	for i, k := range good {
		keys[i] = k.jwk
	}
	return keys, nil
}

// plain leaves out what verifies nothing, such as certificates, which every map would carry.
func plain(jwk json.RawMessage) (json.RawMessage, error) {
	var all map[string]json.RawMessage
	if err := json.Unmarshal(jwk, &all); err != nil {
		return nil, err
	}
	maps.DeleteFunc(all, func(name string, _ json.RawMessage) bool {
		return !slices.Contains([]string{"kty", "use", "key_ops", "alg", "kid", "crv", "x", "y", "n", "e"}, name)
	})
	return json.Marshal(all)
}

func (m *Mirror) get(ctx context.Context, at string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	res, err := m.http.Do(req)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) {
			err = u.Err
		}
		return fmt.Errorf("ask %s: %w", at, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", at, res.Status)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", at, err)
	}
	if len(b) > maxAnswer {
		return fmt.Errorf("the answer of %s is longer than %d bytes", at, maxAnswer)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("the answer of %s cannot be read: %w", at, err)
	}
	return nil
}

// CheckURL refuses an address of a provider that others could answer for: anything but https, or http on loopback.
func CheckURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return fmt.Errorf("%.200q is not the address of an identity provider; it looks like https://id.example.com", raw)
	}
	ip := net.ParseIP(u.Hostname())
	if u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()) {
		return nil
	}
	return fmt.Errorf("the address %.200q of the identity provider must begin with https://", raw)
}
