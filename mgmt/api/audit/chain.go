package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Hash is what the event after e in its spool says in Prev: the hex SHA-256 of e's line.
func (e *Event) Hash() (string, error) {
	line, err := json.Marshal(e)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(line)
	return hex.EncodeToString(sum[:]), nil
}

// CheckChain checks that each event of a peer follows another one that is there unchanged, and no two the same. Events
// without Prev begin a chain: the first of a spool, and what the management server itself recorded. The order of events
// does not count. It returns one sentence per break.
func CheckChain(events []Event) (broken []string, err error) {
	there, followed := make(map[string]bool, len(events)), make(map[string]string, len(events))
	for i := range events {
		h, err := events[i].Hash()
		if err != nil {
			return nil, err
		}
		there[h] = true
	}
	for _, e := range events {
		if e.Prev == "" {
			continue
		}
		if other := followed[e.Prev]; other != "" {
			broken = append(broken, fmt.Sprintf("The events %s and %s of %s both follow the same one.", other, e.ID, e.Peer))
		}
		followed[e.Prev] = e.ID
		if !there[e.Prev] {
			broken = append(broken, fmt.Sprintf("The event before %s of %s was changed or is missing.", e.ID, e.Peer))
		}
	}
	return broken, nil
}
