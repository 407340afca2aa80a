package managed

import (
	"errors"
	"fmt"
	"math"
)

// Words are the settings as the system's own management calls them: values of a registry key, keys of a property list.
// wix/lanyard.admx offers the same to administrators of Windows.
const (
	wordURL       = "ManagementURL"
	wordAllowSSH  = "AllowSSH"
	wordUserspace = "Userspace"
	wordOperator  = "Operator"
	wordShell     = "DefaultShell"
)

// fromPolicy takes the settings that get finds: nil where there is none. What it does not know it leaves alone, as a newer
// version may know it.
func fromPolicy(get func(word string) (any, error)) (*Settings, error) {
	var s Settings
	var errs []error
	text := func(word string) string {
		v, err := get(word)
		if err != nil || v == nil {
			errs = append(errs, err)
			return ""
		}
		t, ok := v.(string)
		if !ok || t == "" || len(t) > maxFile {
			errs = append(errs, fmt.Errorf("%s must be a text", word))
		}
		return t
	}
	yes := func(word string) *bool {
		v, err := get(word)
		if err != nil || v == nil {
			errs = append(errs, err)
			return nil
		}
		b, ok := truth(v)
		if !ok {
			errs = append(errs, fmt.Errorf("%s must be 0 or 1", word))
		}
		return &b
	}
	s.ManagementURL, s.AllowSSH, s.Userspace, s.DefaultShell = text(wordURL), yes(wordAllowSSH), yes(wordUserspace), text(wordShell)
	if name := text(wordOperator); name != "" {
		s.Operator = &name
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s.comesFrom(policySource)
	return &s, nil
}

// truth reads what stands for yes and no: a property list has booleans, the registry numbers.
func truth(v any) (yes, ok bool) {
	switch v := v.(type) {
	case bool:
		return v, true
	case uint64:
		return v == 1, v <= 1
	case int64:
		return v == 1, v >= 0 && v <= 1
	case float64:
		return v == 1, v == 0 || v == 1 && !math.IsNaN(v)
	}
	return false, false
}
