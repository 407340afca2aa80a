package mirror

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"lanyard/sshd/token"
)

const rsaKey = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a","x5c":["MIIB"],"d":"secret"}`

// FuzzProvider is what an identity provider answers, or whoever sits at its address: its document and its keys.
func FuzzProvider(f *testing.F) {
	f.Add("https://id.example", `{"keys":[`+rsaKey+`]}`)
	f.Add("", `{"keys":[{"kty":"oct","k":"AAAA"},`+rsaKey+`,`+rsaKey+`]}`)
	f.Add("file:///etc/passwd", `{"keys":{}}`)
	f.Add("//", `[`)
	var doc, keys string
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(doc)) })
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte(keys)) })
	srv := httptest.NewServer(mux)
	f.Cleanup(srv.Close)
	m := &Mirror{http: newClient(time.Minute)}
	f.Fuzz(func(t *testing.T, at, set string) {
		if at == "" || CheckURL(at) != nil {
			at = srv.URL + "/keys" // else the input says where: it is not asked
		} else if !strings.HasPrefix(at, srv.URL) {
			return
		}
		b, _ := json.Marshal(map[string]string{"issuer": srv.URL, "jwks_uri": at})
		doc, keys = string(b), set
		got, err := m.fetch(t.Context(), srv.URL)
		if err != nil {
			return
		}
		if len(got) == 0 || len(got) > maxKeys {
			t.Errorf("%d keys", len(got))
		}
		for _, k := range got {
			if _, _, err := token.KeyID(k); err != nil {
				t.Errorf("%s: %v", k, err)
			}
			for _, left := range []string{`"x5c"`, `"d"`, `"p"`, `"jku"`} {
				if strings.Contains(string(k), left+":") {
					t.Errorf("%s carries %s", k, left)
				}
			}
		}
	})
}
