package client

import (
	"errors"
	"net/http"
)

func (c *Client) machineHeader(m Machine, method, route string, body []byte) (http.Header, error) {
	return nil, errors.New("proofs are not linked yet")
}

// LoginProof makes the headers that prove l for one request: method, route (path and query) and body.
func (c *Client) LoginProof(l Login, method, route string, body []byte) (*LoginHeaders, error) {
	return nil, errors.New("proofs are not linked yet")
}
