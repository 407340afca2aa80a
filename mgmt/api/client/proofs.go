package client

import (
	"fmt"
	"net/http"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/proof"
)

func (c *Client) machineHeader(m Machine, method, route string, body []byte) (http.Header, error) {
	p, err := proof.Sign(m.Key, proof.Params{
		Method: method, URL: c.URL(route), Body: body, Subject: m.Subject, Now: c.now(),
	})
	if err != nil {
		return nil, fmt.Errorf("sign the request with the machine key: %w", err)
	}
	h := http.Header{}
	h.Set(api.HeaderMachine, p)
	return h, nil
}

// LoginProof makes the headers that prove l for one request: method, route (path and query) and body.
func (c *Client) LoginProof(l Login, method, route string, body []byte) (*LoginHeaders, error) {
	p, err := proof.Sign(l.Key, proof.Params{
		Method: method, URL: c.URL(route), Body: body,
		AccessToken: l.Bound, Salt: l.Salt, Fresh: l.Fresh, Now: c.now(),
	})
	if err != nil {
		return nil, fmt.Errorf("sign the request with the login's key: %w", err)
	}
	return &LoginHeaders{Authorization: "DPoP " + l.Bound, Proof: p}, nil
}
