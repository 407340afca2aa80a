package managed

import (
	"errors"
	"fmt"

	"howett.net/plist"
)

// ParsePlist reads managed preferences: a property list, XML or binary, with the settings as keys.
func ParsePlist(b []byte) (*Settings, error) {
	if len(b) > maxFile {
		return nil, fmt.Errorf("it is longer than %d bytes", maxFile)
	}
	var all map[string]any
	format, err := plist.Unmarshal(b, &all)
	if err != nil {
		return nil, fmt.Errorf("it is not a property list: %w", err)
	}
	if all == nil || format != plist.XMLFormat && format != plist.BinaryFormat {
		return nil, errors.New("it is not a dictionary in XML or binary form")
	}
	return fromPolicy(func(word string) (any, error) { return all[word], nil })
}
