package idp

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"

	"github.com/dexidp/dex/storage"
	"github.com/go-jose/go-jose/v4"

	"lanyard/mgmt/api"
)

// NewKey makes a new signing key when the one called kid, which an administrator distrusts, is in use, and stops
// publishing it.
func (p *Provider) NewKey(ctx context.Context, kid string) error {
	return p.db.UpdateKeys(ctx, func(old storage.Keys) (storage.Keys, error) {
		kept := old.VerificationKeys[:0:0]
		for _, k := range old.VerificationKeys {
			if k.PublicKey == nil || k.PublicKey.KeyID != kid {
				kept = append(kept, k)
			}
		}
		old.VerificationKeys = kept
		if old.SigningKeyPub == nil || old.SigningKeyPub.KeyID != kid {
			return old, nil
		}
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return old, fmt.Errorf("make a signing key: %w", err)
		}
		id := api.NewID("")
		old.SigningKey = &jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(jose.ES256), Use: "sig"}
		old.SigningKeyPub = &jose.JSONWebKey{Key: key.Public(), KeyID: id, Algorithm: string(jose.ES256), Use: "sig"}
		old.NextRotation = p.Now().Add(keyLife)
		return old, nil
	})
}
