package bundle

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
)

// leastSecret is how long a known secret is at least, in bytes.
const leastSecret = 8

const gone = "[removed]"

// scrubber takes secrets out of texts.
type scrubber struct{ known []string }

// know notes a secret in every form in which it is written. It is looked for in what stands between blanks, too: a key in
// PEM has several lines.
func (s *scrubber) know(secret string) {
	for _, t := range append(strings.Fields(secret), strings.TrimSpace(secret)) {
		if len(t) < leastSecret || strings.HasPrefix(t, "-----") {
			continue
		}
		b := []byte(t)
		std, url := base64.StdEncoding.EncodeToString(b), base64.URLEncoding.EncodeToString(b)
		for _, form := range []string{
			t, std, url, strings.TrimRight(std, "="), strings.TrimRight(url, "="), hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)),
		} {
			if !slices.Contains(s.known, form) {
				s.known = append(s.known, form)
			}
		}
	}
	// The longest first: another may be a part of it.
	slices.SortStableFunc(s.known, func(a, b string) int { return len(b) - len(a) })
}

var (
	pem    = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)`)
	marked = regexp.MustCompile(`\b(lk|lat)_[A-Za-z0-9_.-]+`)                    // setup keys, API tokens
	jwt    = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{5,}(\.[A-Za-z0-9_-]*){1,2}`) // RFC 7519
	inURL  = regexp.MustCompile(`(://[^/\s:@"']*):[^/\s"']+@`)                   // of a proxy; the last @ ends it
	// named is a value after a word that says what it is: JSON, key=value, headers.
	named = regexp.MustCompile(`(?i)\b([a-z0-9_.-]*(?:password|passwd|secret|refresh_token|access_token|id_token|device_code|setup[_-]key|private_key|authorization|cookie)["']?\s*[:=]\s*(?:(?:bearer|dpop|basic)\s+)?)("(?:[^"\\]|\\.)*"|'[^']*'|[^\s,;}&"']+)`)
	// long is what may be a key in base64 or hexadecimal: no word is as long without a stop.
	long = regexp.MustCompile(`[A-Za-z0-9+/_-]{32,}={0,2}`)
)

// clean takes out what is a secret, and what looks like one.
func (s *scrubber) clean(text string) string {
	for _, k := range s.known {
		text = strings.ReplaceAll(text, k, gone)
	}
	text = pem.ReplaceAllString(text, gone)
	text = marked.ReplaceAllString(text, "${1}_"+gone)
	text = jwt.ReplaceAllString(text, gone)
	text = inURL.ReplaceAllString(text, "${1}:"+gone+"@")
	text = named.ReplaceAllString(text, "${1}"+gone)
	return long.ReplaceAllStringFunc(text, func(w string) string {
		if random(w) {
			return gone
		}
		return w
	})
}

// random reports whether a long word has the look of a key: hexadecimal throughout, or small and capital letters with
// digits between them. Paths and names of files are neither.
func random(w string) bool {
	var small, capital, digit, other, hexadecimal int
	for _, r := range w {
		switch {
		case r >= '0' && r <= '9':
			digit++
			hexadecimal++
		case r >= 'a' && r <= 'z':
			small++
			if r <= 'f' {
				hexadecimal++
			}
		case r >= 'A' && r <= 'Z':
			capital++
			if r <= 'F' {
				hexadecimal++
			}
		default:
			other++
		}
	}
	return hexadecimal == len(w) || small > 3 && capital > 3 && digit > 1 && other <= len(w)/6
}
