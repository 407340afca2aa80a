package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
	"lanyard/mgmt/store"
)

// refuse makes an error with a sentence for the person who sees it.
func refuse(status int, format string, args ...any) error {
	return &api.Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// refuseCode makes an error with a reason code and its sentence.
func refuseCode(status int, c reason.Code) error {
	return &api.Error{Status: status, Code: string(c), Message: c.Sentence()}
}

// problem turns any error into what the caller may see of it. Only errors that were made to be seen show their
// text; the others are a fault of ours, which log has.
func problem(err error) (shown *api.Error, fault bool) {
	var e *api.Error
	var r *reason.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &e):
		return e, false
	case errors.As(err, &r):
		return &api.Error{Status: http.StatusUnauthorized, Code: string(r.Code), Message: r.Code.Sentence()}, r.Code == reason.Internal
	case errors.As(err, &tooLarge):
		return &api.Error{Status: http.StatusRequestEntityTooLarge, Message: "The request is too large."}, false
	case store.IsFull(err):
		return &api.Error{
			Status: http.StatusInsufficientStorage, Code: string(reason.Internal),
			Message: "The disk of the management server is full, so nothing was changed; make room there and try again.",
		}, true
	case errors.Is(err, store.ErrNotFound):
		return &api.Error{Status: http.StatusNotFound, Message: "There is no such object; check the name."}, false
	case errors.Is(err, store.ErrExists):
		return &api.Error{Status: http.StatusConflict, Message: "It exists already; choose another name."}, false
	}
	return &api.Error{Status: http.StatusInternalServerError, Code: string(reason.Internal), Message: "Something went wrong on the management server; its log has more."}, true
}

// handler is an HTTP handler that may fail.
type handler func(w http.ResponseWriter, r *http.Request) error

func (s *Server) handle(h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.fail(w, r, err)
		}
	})
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	e, fault := problem(err)
	if fault {
		s.log.Error("a request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	} else {
		s.log.Info("a request was refused", "method", r.Method, "path", r.URL.Path, "from", r.RemoteAddr, "err", err)
	}
	writeJSON(w, e.Status, e)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"status":500,"message":"Something went wrong on the management server; its log has more."}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(b)
}
