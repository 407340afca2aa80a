// Proxy is a company's web proxy for the tests: it opens tunnels for CONNECT (RFC 9110 §9.3.6) to whoever knows its
// password, and tells each.
//
//	proxy LISTEN USER:PASSWORD
package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "proxy LISTEN USER:PASSWORD")
		os.Exit(2)
	}
	want := "Basic " + base64.StdEncoding.EncodeToString([]byte(os.Args[2]))
	s := &http.Server{Addr: os.Args[1], ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Proxy-Authorization") != want:
			w.Header().Set("Proxy-Authenticate", `Basic realm="proxy"`)
			http.Error(w, "who are you?", http.StatusProxyAuthRequired)
		case r.Method != http.MethodConnect:
			http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
		default:
			connect(w, r.Host)
		}
	})}
	l, err := net.Listen("tcp", s.Addr)
	if err == nil {
		fmt.Println("proxy: ready")
		err = s.Serve(l)
	}
	fmt.Fprintln(os.Stderr, "proxy:", err)
	os.Exit(1)
}

func connect(w http.ResponseWriter, to string) {
	fmt.Println("CONNECT", to)
	out, err := net.DialTimeout("tcp", to, 10*time.Second)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer out.Close()
	in, rest, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer in.Close()
	if _, err := io.WriteString(in, "HTTP/1.1 200 OK\r\n\r\n"); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(out, rest) // until either side ends
		_ = out.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(in, out)
	in.Close()
	<-done
}
