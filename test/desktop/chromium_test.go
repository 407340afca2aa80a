//go:build linux

package desktop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// hand is the environment variable that makes this program the hand in Chromium: it runs on the person's machine,
// where the browser listens, and does what a person would in the page that is open. Its value is the email address and
// the password, with a line end between.
const hand = "DESKTOP_TEST_HAND"

// step is what the hand does to a page, and what it reports. It presses what there is to press and fills in what asks.
const step = `(() => {
	const text = document.body ? document.body.innerText : '';
	if (location.hostname === '127.0.0.1') return 'END ' + text;
	if (document.readyState !== 'complete' || window.lanyardPressed) return 'WAIT';
	const password = document.querySelector('input[type=password]');
	const button = document.querySelector('form button[type=submit], form button:not([type]), form input[type=submit]');
	if (password) {
		const name = document.querySelector('input[type=text], input[type=email], input[name=login]');
		if (name) name.value = %s;
		password.value = %s;
	}
	if (!button) return 'NOTHING ' + location.href + ' ' + text;
	window.lanyardPressed = true;
	setTimeout(() => button.click(), 50);
	return 'PRESSED ' + text;
})()`

// handMain signs in, and prints what it saw of each page.
func handMain(who string) error {
	email, password, _ := strings.Cut(who, "\n")
	e, _ := json.Marshal(email)
	p, _ := json.Marshal(password)
	script := fmt.Sprintf(step, e, p)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	last := ""
	for ctx.Err() == nil {
		seen, err := evaluate(ctx, script)
		if err != nil {
			seen = "WAIT"
		}
		if seen != last && !strings.HasPrefix(seen, "WAIT") {
			fmt.Println(seen)
			last = seen
		}
		if strings.HasPrefix(seen, "END") {
			return nil
		}
		time.Sleep(200 * time.Millisecond)
	}
	return errors.New("the sign-in came to no end; the last page said: " + last)
}

// evaluate runs script in the first tab, by the Chrome DevTools Protocol.
func evaluate(ctx context.Context, script string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:9222/json/list", nil)
	if err != nil {
		return "", err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var tabs []struct {
		Type string `json:"type"`
		URL  string `json:"url"`
		WS   string `json:"webSocketDebuggerUrl"`
	}
	if err := json.NewDecoder(res.Body).Decode(&tabs); err != nil {
		return "", err
	}
	for _, t := range tabs {
		if t.Type != "page" || !strings.HasPrefix(t.URL, "http") {
			continue
		}
		c, _, err := websocket.Dial(ctx, t.WS, nil)
		if err != nil {
			return "", err
		}
		defer c.CloseNow()
		c.SetReadLimit(1 << 20)
		if err := wsjson.Write(ctx, c, map[string]any{
			"id": 1, "method": "Runtime.evaluate", "params": map[string]any{"expression": script, "returnByValue": true},
		}); err != nil {
			return "", err
		}
		var answer struct {
			Result struct {
				Result struct {
					Value string `json:"value"`
				} `json:"result"`
			} `json:"result"`
		}
		if err := wsjson.Read(ctx, c, &answer); err != nil {
			return "", err
		}
		return answer.Result.Result.Value, nil
	}
	return "", os.ErrNotExist
}
