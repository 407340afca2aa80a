package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"lanyard/mgmt/api/client"
	"lanyard/service/keystore"
	signin "lanyard/service/login"
)

// refresh changes a stolen refresh token for a newer one, which it keeps in a file and uses the next time. The first one
// comes from the key store of the account that this runs as, in dir, whose keychain helper opens.
func refresh(ctx context.Context, kept, dir string, helper []string) error {
	raw, err := os.ReadFile(kept)
	if errors.Is(err, os.ErrNotExist) {
		raw, err = stolen(dir, helper)
	}
	if err != nil {
		return err
	}
	var r signin.Record
	if err := json.Unmarshal(raw, &r); err != nil {
		return err
	}
	server, err := client.New(r.Server)
	if err != nil {
		return err
	}
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {r.ClientID}, "refresh_token": {r.RefreshToken}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := server.HTTP().Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		fmt.Printf("refused: %s: %s\n", res.Status, body)
		return nil
	}
	var got struct {
		Refresh string `json:"refresh_token"`
		ID      string `json:"id_token"`
	}
	if err := json.Unmarshal(body, &got); err != nil || got.Refresh == "" || got.ID == "" {
		return fmt.Errorf("no tokens (%w) in %q", err, body)
	}
	r.RefreshToken = got.Refresh
	if raw, err = json.Marshal(r); err != nil {
		return err
	}
	fmt.Println("refreshed")
	return os.WriteFile(kept, raw, 0o600)
}

func stolen(dir string, helper []string) ([]byte, error) {
	found, err := filepath.Glob(filepath.Join(dir, "secret-p*"))
	if err != nil || len(found) != 1 {
		return nil, fmt.Errorf("secrets in %s: %q (%w)", dir, found, err)
	}
	return keystore.Open(dir, helper, nil).Get(strings.TrimPrefix(filepath.Base(found[0]), "secret-"))
}
