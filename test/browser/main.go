// Browser is a browser without a screen, for the demo and the tests. $BROWSER names it, so a login starts it the way
// it starts any other: with an address as its only argument.
//
// It does what a person would do: follows redirects with cookies, presses the button of a page that asks for
// confirmation, fills in the login form, and lets the redirect to the loopback listener deliver the code. Where a page
// asks for a code it types one, and is done at the page that has nothing more to press. It knows no token endpoint and no
// grant.
//
//	DEMO_LOGIN_FILE   a 0600 file: the email address on the first line, the password on the second
//	DEMO_USER, DEMO_PASSWORD   the same, where the environment is private enough
//	DEMO_CODE         what to type where a page asks for a code
//	DEMO_CA           certificates to trust beside the system's (PEM)
//	DEMO_LOG          where to write down what was seen, page by page
package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"time"

	"golang.org/x/net/html"
)

func main() {
	log := io.Writer(os.Stderr)
	if name := os.Getenv("DEMO_LOG"); name != "" {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
		if err == nil {
			defer f.Close()
			log = f
		}
	}
	if err := browse(log, os.Args[1:]); err != nil {
		fmt.Fprintln(log, "browser:", err)
		os.Exit(1)
	}
}

// maxPages that one login may take.
const maxPages = 12

func browse(log io.Writer, args []string) error {
	if len(args) != 1 {
		return errors.New("call it with one address")
	}
	start, err := url.Parse(args[0])
	if err != nil {
		return err
	}
	user, password, err := credentials()
	if err != nil {
		return err
	}
	client, err := newClient()
	if err != nil {
		return err
	}
	req, err := http.NewRequest(http.MethodGet, start.String(), nil)
	if err != nil {
		return err
	}
	filled, typed := false, false
	for range maxPages {
		page, err := load(client, req)
		if err != nil {
			return err
		}
		fmt.Fprintf(log, "%s %s: %d\n%s\n", req.Method, page.at.Redacted(), page.status, page.text)
		if page.status >= 400 {
			return fmt.Errorf("%s answered %d", page.at.Path, page.status)
		}
		form := page.form()
		switch {
		case form == nil && page.at.Host != start.Host:
			return nil // the loopback listener has the code
		case form == nil && filled && typed:
			return nil
		case form == nil && page.link != "":
			next, err := page.at.Parse(page.link)
			if err != nil {
				return err
			}
			if req, err = http.NewRequest(http.MethodGet, next.String(), nil); err != nil {
				return err
			}
			continue
		case form == nil:
			return errors.New("the page has nothing to go on with")
		case form.password == "" && form.login == "code":
			code := os.Getenv("DEMO_CODE")
			if code == "" || typed {
				return errors.New("the page wants a code; set DEMO_CODE to one that is good")
			}
			form.values.Set(form.login, code)
			typed = true
		case form.password != "" && filled:
			return errors.New("the provider did not accept the password")
		case form.password != "":
			form.values.Set(form.password, password)
			if form.login != "" {
				form.values.Set(form.login, user)
			}
			filled = true
		}
		if req, err = form.submit(page.at); err != nil {
			return err
		}
	}
	return fmt.Errorf("the login took more than %d pages", maxPages)
}

func credentials() (user, password string, err error) {
	user, password = os.Getenv("DEMO_USER"), os.Getenv("DEMO_PASSWORD")
	if name := os.Getenv("DEMO_LOGIN_FILE"); name != "" {
		b, err := os.ReadFile(name)
		if err != nil {
			return "", "", err
		}
		user, password, _ = strings.Cut(strings.TrimRight(string(b), "\n"), "\n")
	}
	if user == "" || password == "" {
		return "", "", errors.New("who signs in? Set DEMO_LOGIN_FILE, or DEMO_USER and DEMO_PASSWORD")
	}
	return user, password, nil
}

func newClient() (*http.Client, error) {
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if name := os.Getenv("DEMO_CA"); name != "" {
		pem, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", name)
		}
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Jar: jar, Timeout: 20 * time.Second,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
	}, nil
}

// page is a loaded document.
type page struct {
	at     *url.URL // after redirects
	status int
	forms  []*form
	link   string // the first one within the site
	text   string
}

type form struct {
	action, method string
	values         url.Values
	login          string // name of the field for the account
	password       string
	buttons        int
}

func load(client *http.Client, req *http.Request) (*page, error) {
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	root, err := html.Parse(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	p := &page{at: res.Request.URL, status: res.StatusCode}
	var text strings.Builder
	p.walk(root, nil, &text)
	p.text = strings.Join(strings.Fields(text.String()), " ")
	return p, nil
}

func (p *page) walk(n *html.Node, in *form, text *strings.Builder) {
	switch {
	case n.Type == html.TextNode:
		text.WriteString(n.Data + " ")
	case n.Type != html.ElementNode:
	case n.Data == "script" || n.Data == "style":
		return
	case n.Data == "form":
		in = &form{action: attr(n, "action"), method: strings.ToUpper(attr(n, "method")), values: url.Values{}}
		p.forms = append(p.forms, in)
	case n.Data == "a" && p.link == "" && !strings.HasPrefix(attr(n, "href"), "#"):
		p.link = attr(n, "href")
	case n.Data == "input" && in != nil:
		in.input(n)
	case n.Data == "button" && in != nil:
		in.button(n)
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		p.walk(c, in, text)
	}
}

func (f *form) input(n *html.Node) {
	name, kind := attr(n, "name"), strings.ToLower(attr(n, "type"))
	switch kind {
	case "submit":
		f.button(n)
	case "password":
		f.password = name
	case "", "text", "email":
		f.login = name
		f.values.Set(name, attr(n, "value"))
	case "checkbox", "radio":
		if hasAttr(n, "checked") {
			f.values.Add(name, attr(n, "value"))
		}
	default:
		if name != "" {
			f.values.Add(name, attr(n, "value"))
		}
	}
}

// button presses a form's first submit button: its value goes along.
func (f *form) button(n *html.Node) {
	if kind := strings.ToLower(attr(n, "type")); kind == "button" || kind == "reset" {
		return
	}
	if name := attr(n, "name"); f.buttons == 0 && name != "" {
		f.values.Set(name, attr(n, "value"))
	}
	f.buttons++
}

// form is the one to send: the one with a password, else the first.
func (p *page) form() *form {
	for _, f := range p.forms {
		if f.password != "" {
			return f
		}
	}
	if len(p.forms) > 0 {
		return p.forms[0]
	}
	return nil
}

func (f *form) submit(at *url.URL) (*http.Request, error) {
	to, err := at.Parse(f.action)
	if err != nil {
		return nil, err
	}
	if f.method != http.MethodPost {
		to.RawQuery = f.values.Encode()
		return http.NewRequest(http.MethodGet, to.String(), nil)
	}
	req, err := http.NewRequest(http.MethodPost, to.String(), strings.NewReader(f.values.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", at.Scheme+"://"+at.Host)
	req.Header.Set("Referer", at.String())
	return req, nil
}

func attr(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func hasAttr(n *html.Node, name string) bool {
	for _, a := range n.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}
