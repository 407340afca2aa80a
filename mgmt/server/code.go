package server

import (
	"net/http"
	"strings"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/proof"
	"lanyard/mgmt/api/reason"
)

// codePage leads from the short address that is typed to the provider's page, which asks for the code.
func (s *Server) codePage(w http.ResponseWriter, r *http.Request) error {
	http.Redirect(w, r, s.idp.CodePath(), http.StatusSeeOther) // whatever the query says: a code is typed, never in a link
	return nil
}

// loginCode answers the one who asked for a sign-in with a code: by the device code, and a proof by the key that asked
// over it. Either alone is worth nothing.
func (s *Server) loginCode(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	if err := checkVersion(r); err != nil {
		return err
	}
	code, ok := strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
	raw := r.Header.Get(api.HeaderProof)
	if !ok || raw == "" || len(code) > 256 {
		return refuse(http.StatusUnauthorized, "This needs the device code with a proof by the key that asked for it.")
	}
	p, err := proof.Verify(raw, proof.Want{Method: r.Method, URL: r.URL.RequestURI(), Body: body, AccessToken: code, Hosts: s.hosts}, s.now())
	if err != nil {
		return err
	}
	// Strangers who know no code fill no table of used proofs.
	if err := s.idp.MayTakeLogin(r.Context(), code, p.WireKey()); err != nil {
		return err
	}
	if s.polls.wait(code, s.now()) > 0 {
		return refuseCode(http.StatusTooManyRequests, reason.TooMany)
	}
	if err := useOnce(r.Context(), &s.store.Queries, p); err != nil {
		return err
	}
	t, err := s.idp.TakeLogin(r.Context(), code, p.WireKey())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, t)
	return nil
}

// session begins a sign-in for one SSH session on the machine that asks.
func (s *Server) session(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	peer, err := s.peerProof(r, body)
	if err != nil {
		return err
	}
	var req api.SessionStart
	if err := decode(body, &req); err != nil {
		return err
	}
	if s.sessions.wait(peer.ID, s.now()) > 0 {
		return refuseCode(http.StatusTooManyRequests, reason.TooMany)
	}
	started, err := s.idp.PushSession(r.Context(), req, peer)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, started)
	return nil
}

// sessionCode answers the machine that began it.
func (s *Server) sessionCode(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	peer, err := s.peerProof(r, body)
	if err != nil {
		return err
	}
	var req api.SessionPoll
	if err := decode(body, &req); err != nil {
		return err
	}
	if !req.Cancel && s.polls.wait(req.ID, s.now()) > 0 {
		return refuseCode(http.StatusTooManyRequests, reason.TooMany)
	}
	t, err := s.idp.TakeSession(r.Context(), req, peer)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, t)
	return nil
}
