package ipc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/reason"
)

// Calls are what the daemon does for callers. Each is given only what its class allows to arrive.
type Calls struct {
	Access func() Access
	Status func(Who) *Status
	// Changed returns a channel that is closed at the next change of Status.
	Changed func() <-chan struct{}
	Machine func() *Machine
	Login   func(context.Context, api.LoginStart) (*api.LoginStarted, error) // Account is filled in
	// Certificate makes a machine certificate for the caller.
	Certificate func(Who, MachineCertificateRequest) (*MachineCertificate, error)
	Explain     func(context.Context, Who, api.ExplainRequest) (*api.ExplainReply, error)
	Connect     func(ctx context.Context, host string, port uint16) (net.Conn, error)
	Up          func(ctx context.Context, r UpRequest, say func(string)) (needLogin bool, err error)
	Down        func(context.Context) error
	Enroll      func(context.Context, EnrollByPerson) (*api.EnrollReply, error)
	// End ends a session; the caller may change things, or is the account that the session runs as.
	End func(Who, string) error
	// Ask waits until the caller has signed in; Asks hands each thing to ask to send until ctx ends.
	Ask    func(context.Context, Who, AskRequest) error
	Asks   func(ctx context.Context, w Who, send func(Ask) error) error
	Answer func(Who, Answer) error
}

// Server answers callers on one socket.
type Server struct {
	calls    Calls
	log      *slog.Logger
	bodyTime time.Duration
	http     *http.Server
	ctx      context.Context
	stop     context.CancelFunc
	wg       sync.WaitGroup
}

// What a caller may send, and within what time. Who may change nothing asks small questions: each of their maxPerCaller
// connections may hold as much memory.
const (
	maxBody  = 1 << 20
	maxAsked = 64 << 10
	maxTime  = 10 * time.Second
)

// Serve answers callers on l (see Listen) until Close.
func Serve(l net.Listener, calls Calls, log *slog.Logger) *Server {
	return serveWithin(maxTime, l, calls, log)
}

func serveWithin(bodyTime time.Duration, l net.Listener, calls Calls, log *slog.Logger) *Server {
	s := &Server{calls: calls, log: log, bodyTime: bodyTime}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.http = &http.Server{
		Handler:           s.routes(),
		ConnContext:       withCred,
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	s.wg.Go(func() {
		if err := s.http.Serve(&credListener{Listener: l, open: map[string]int{}}); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the service takes no more calls; restart it", "err", err)
		}
	})
	return s
}

// Close ends every call and waits for them.
func (s *Server) Close() error {
	s.stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx) // lets short answers finish; it does not know hijacked ones
	if err != nil {
		err = s.http.Close()
	}
	s.wg.Wait()
	return err
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+RouteStatus, s.allow(ClassStatus, func(w http.ResponseWriter, r *http.Request, c Who) error {
		return answer(w, s.status(c))
	}))
	mux.HandleFunc("GET "+RouteEvents, s.allow(ClassStatus, s.events))
	mux.HandleFunc("GET "+RouteMachine, s.allow(ClassStatus, func(w http.ResponseWriter, _ *http.Request, _ Who) error {
		return answer(w, s.calls.Machine())
	}))
	mux.HandleFunc("POST "+RouteLogin, s.allow(ClassStatus, func(w http.ResponseWriter, r *http.Request, c Who) error {
		in, err := parse[api.LoginStart](r.Body)
		if err != nil {
			return err
		}
		in.Account = c.Name
		return reply(w)(s.calls.Login(r.Context(), *in))
	}))
	mux.HandleFunc("POST "+RouteCertificate, s.allow(ClassStatus, func(w http.ResponseWriter, r *http.Request, c Who) error {
		in, err := parse[MachineCertificateRequest](r.Body)
		if err != nil {
			return err
		}
		return reply(w)(s.calls.Certificate(c, *in))
	}))
	mux.HandleFunc("POST "+RouteExplain, s.allow(ClassStatus, func(w http.ResponseWriter, r *http.Request, c Who) error {
		in, err := parse[api.ExplainRequest](r.Body)
		if err != nil {
			return err
		}
		return reply(w)(s.calls.Explain(r.Context(), c, *in))
	}))
	mux.HandleFunc("POST "+RouteConnect, s.allow(ClassConnect, s.connect))
	mux.HandleFunc("POST "+RouteUp, s.allow(ClassChange, s.up))
	mux.HandleFunc("POST "+RouteDown, s.allow(ClassChange, func(w http.ResponseWriter, r *http.Request, c Who) error {
		if err := s.calls.Down(r.Context()); err != nil {
			return err
		}
		return answer(w, s.status(c))
	}))
	mux.HandleFunc("POST "+RouteEnroll, s.allow(ClassChange, func(w http.ResponseWriter, r *http.Request, _ Who) error {
		in, err := parse[EnrollByPerson](r.Body)
		if err != nil {
			return err
		}
		return reply(w)(s.calls.Enroll(r.Context(), *in))
	}))
	mux.HandleFunc("POST "+RouteEnd, s.allow(ClassStatus, func(w http.ResponseWriter, r *http.Request, c Who) error {
		if err := s.calls.End(c, r.PathValue("id")); err != nil {
			return err
		}
		return answer(w, struct{}{})
	}))
	mux.HandleFunc("POST "+RouteAsk, s.allow(ClassStatus, func(w http.ResponseWriter, r *http.Request, c Who) error {
		in, err := parse[AskRequest](r.Body)
		if err != nil {
			return err
		}
		if err := s.calls.Ask(r.Context(), c, *in); err != nil {
			return err
		}
		return answer(w, struct{}{})
	}))
	mux.HandleFunc("GET "+RouteAsks, s.allow(ClassStatus, s.asks))
	mux.HandleFunc("POST "+RouteAnswer, s.allow(ClassStatus, func(w http.ResponseWriter, r *http.Request, c Who) error {
		in, err := parse[Answer](r.Body)
		if err != nil {
			return err
		}
		if err := s.calls.Answer(c, *in); err != nil {
			return err
		}
		return answer(w, struct{}{})
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, &api.Error{
			Status:  http.StatusNotFound,
			Message: "The Lanyard service does not know this request; it is older or newer than the program that asks: run 'lanyard service restart' after an upgrade.",
		})
	})
	return mux
}

// allow lets callers of class at least through.
func (s *Server) allow(class Class, h func(http.ResponseWriter, *http.Request, Who) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, ok := who(r, s.calls.Access())
		if !ok {
			refuse(w, &api.Error{Status: http.StatusForbidden, Message: "The caller is unknown."})
			return
		}
		if c.Class.rank() < class.rank() {
			refuse(w, &api.Error{Status: http.StatusForbidden, Message: denied(class, c.Name)})
			return
		}
		limit := int64(maxBody)
		if c.Class != ClassChange {
			limit = maxAsked
		}
		if r.Body != http.NoBody {
			s.hurry(w)
			defer s.hurry(w) // the server reads what is left of it before it goes on to the next request
		}
		r.Body = http.MaxBytesReader(w, r.Body, limit)
		if err := h(w, r, c); err != nil {
			refuse(w, err)
		}
	}
}

// hurry bounds the time that the body may take. With its last byte the bound goes: the call itself may take longer.
func (s *Server) hurry(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.bodyTime)) // every caller's connection can
}

func denied(class Class, name string) string {
	if class == ClassConnect {
		return fmt.Sprintf("The account %q may not open connections here; an administrator can run 'lanyard up --connect %s'.", name, name)
	}
	return fmt.Sprintf("The account %q may look but not change things; run it with sudo (or as administrator), or have an administrator run 'lanyard up --operator %s'.", name, name)
}

func (s *Server) status(c Who) *Status {
	st := s.calls.Status(c)
	st.Caller = Caller{Account: c.Name, Class: c.Class}
	return st
}

func (s *Server) events(w http.ResponseWriter, r *http.Request, c Who) error {
	rc := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	for {
		changed := s.calls.Changed() // before Status, so that no change falls between
		rc.SetWriteDeadline(time.Now().Add(30 * time.Second))
		if enc.Encode(s.status(c)) != nil || rc.Flush() != nil {
			return nil //nolint:nilerr // the caller went away
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return nil
		}
		// Changes come in bursts: one more look a moment later costs less than a status each.
		select {
		case <-time.After(20 * time.Millisecond):
		case <-r.Context().Done():
			return nil
		}
	}
}

// asks streams to a tray. Its being there is what makes programs ask at all.
func (s *Server) asks(w http.ResponseWriter, r *http.Request, c Who) error {
	rc, enc := http.NewResponseController(w), json.NewEncoder(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.WriteHeader(http.StatusOK)
	_ = rc.Flush()                                       // so that the tray knows that it is heard
	_ = s.calls.Asks(r.Context(), c, func(a Ask) error { // its end is the caller's going
		rc.SetWriteDeadline(time.Now().Add(30 * time.Second))
		if err := enc.Encode(a); err != nil {
			return err
		}
		return rc.Flush()
	})
	return nil
}

func (s *Server) up(w http.ResponseWriter, r *http.Request, _ Who) error {
	in, err := parse[UpRequest](r.Body)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	rc, enc := http.NewResponseController(w), json.NewEncoder(w)
	send := func(p Progress) {
		if enc.Encode(p) == nil {
			rc.Flush()
		}
	}
	needLogin, err := s.calls.Up(r.Context(), *in, func(line string) { send(Progress{Line: line}) })
	switch {
	case err != nil:
		send(Progress{Err: asError(err)})
	case needLogin:
		send(Progress{NeedLogin: true})
	default:
		send(Progress{Done: true})
	}
	return nil
}

func (s *Server) connect(w http.ResponseWriter, r *http.Request, _ Who) error {
	q := r.URL.Query()
	port, err := strconv.ParseUint(q.Get("port"), 10, 16)
	if err != nil || port == 0 {
		return &api.Error{Status: http.StatusBadRequest, Message: "The port must be a number from 1 to 65535."}
	}
	out, err := s.calls.Connect(r.Context(), q.Get("host"), uint16(port))
	if err != nil {
		return err
	}
	defer out.Close()
	s.wg.Add(1) // before Hijack: from there on Shutdown does not wait for this call
	defer s.wg.Done()
	in, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return fmt.Errorf("take over the connection: %w", err)
	}
	defer in.Close()
	in.SetDeadline(time.Time{})
	// The server's Close ends both ends, which ends the copying.
	defer context.AfterFunc(s.ctx, func() { in.Close(); out.Close() })()
	if _, err := io.WriteString(in, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: bytes\r\n\r\n"); err != nil {
		return nil
	}
	pipe(in, rw.Reader, out)
	return nil
}

// pipe copies both ways until both are at their end. Each end of input is passed on, as ssh may still wait for the other direction.
func pipe(in net.Conn, inReader io.Reader, out net.Conn) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(out, inReader)
		closeWrite(out)
	}()
	io.Copy(in, out)
	closeWrite(in)
	// The peer has nothing more to say: ssh's own end follows, or nobody reads any more.
	select {
	case <-done:
	case <-time.After(5 * time.Second):
	}
	in.Close()
	out.Close()
	<-done
}

func closeWrite(c net.Conn) {
	if w, ok := c.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite() // a side that is gone has its end
		return
	}
	c.Close()
}

// parse reads one JSON body.
func parse[T any](r io.Reader) (*T, error) {
	v := new(T)
	if err := json.NewDecoder(r).Decode(v); err != nil {
		return nil, &api.Error{Status: http.StatusBadRequest, Message: fmt.Sprintf("The request cannot be read: %v.", err)}
	}
	return v, nil
}

func answer(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) // a caller that went away needs no answer
	return nil
}

func reply(w http.ResponseWriter) func(v any, err error) error {
	return func(v any, err error) error {
		if err != nil {
			return err
		}
		return answer(w, v)
	}
}

// asError makes what travels of any error.
func asError(err error) *api.Error {
	var e *api.Error
	if errors.As(err, &e) && e.Error() == err.Error() {
		return e
	}
	out := &api.Error{Status: http.StatusInternalServerError, Message: err.Error()}
	var why *reason.Error
	if errors.As(err, &why) {
		out.Status, out.Code, out.Message = http.StatusForbidden, string(why.Code), why.Code.Sentence()
	}
	if e != nil {
		out.Status, out.Code = e.Status, e.Code
	}
	return out
}

func refuse(w http.ResponseWriter, err error) {
	e := asError(err)
	status := e.Status
	if status < 400 || status > 599 {
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(e)
}
