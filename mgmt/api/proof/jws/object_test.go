package jws

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

var known = []string{"iss", "sub", "aud", "kid"}

func TestObjectsWithAmbiguousNamesAreRefused(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"duplicate":                {`{"sub":"a","sub":"b"}`, "twice"},
		"duplicate, same value":    {`{"sub":"a","sub":"a"}`, "twice"},
		"duplicate by escape":      {`{"sub":"a","s\u0075b":"b"}`, "twice"},
		"case variant of another":  {`{"sub":"a","SUB":"b"}`, ""},
		"case variant alone":       {`{"Sub":"a"}`, `for "sub"`},
		"case variant by escape":   {`{"\u0053ub":"a"}`, `for "sub"`},
		"long s":                   {`{"ſub":"a"}`, `for "sub"`},
		"Kelvin sign":              {"{\"\u212aid\":\"a\"}", `for "kid"`},
		"unknown names, two cases": {`{"Role":"a","role":"b"}`, "upper and lower"},
		"duplicate inside":         {`{"a":{"b":1,"b":2}}`, "twice"},
		"duplicate in an array":    {`{"a":[{"b":1,"b":2}]}`, "twice"},
		"array":                    {`[]`, "object"},
		"two values":               {`{} {}`, "not JSON"},
		"trailing comma":           {`{"a":1,}`, "not JSON"},
		"not UTF-8":                {"{\"a\":\"\xff\"}", "UTF-8"},
		"empty":                    {``, "not JSON"},
		"infinite":                 {`{"a":1e700}`, "too large"},
		"infinite inside":          {`{"a":[{"b":-1e309}]}`, "too large"},
		"too deep":                 {`{"a":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`, "deep"},
	} {
		if _, err := ParseObject([]byte(c.in), known); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %s: error %v, want one with %q", name, c.in, err, c.want)
		}
	}
}

func TestObjectsAreReadByExactNames(t *testing.T) {
	o, err := ParseObject([]byte(` { "sub" : "a\u0062" , "aud":["x","y"],"n":{"sub":1},"iat":1700000000.5,"v":"true","w":false,"e":{}, "l":[] , "z":null} `), known)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := o.String("sub"); s != "ab" || err != nil {
		t.Errorf("sub = %q, %v", s, err)
	}
	if s, err := o.String("absent"); s != "" || err != nil {
		t.Errorf("absent = %q, %v", s, err)
	}
	if s, err := o.Strings("aud"); !reflect.DeepEqual(s, []string{"x", "y"}) || err != nil {
		t.Errorf("aud = %q, %v", s, err)
	}
	if s, err := o.Strings("sub"); !reflect.DeepEqual(s, []string{"ab"}) || err != nil {
		t.Errorf("sub as a list = %q, %v", s, err)
	}
	if v, err := o.Time("iat"); v.UnixMilli() != 1700000000500 || err != nil {
		t.Errorf("iat = %v, %v", v, err)
	}
	if v, err := o.Bool("v"); !v || err != nil {
		t.Errorf("v = %v, %v", v, err)
	}
	if _, err := o.String("z"); err == nil {
		t.Error("null was taken for a string")
	}
	if _, err := o.Strings("n"); err == nil {
		t.Error("an object was taken for a list")
	}
	if _, err := o.Time("sub"); err == nil {
		t.Error("a string was taken for a time")
	}
	if _, err := o.Bool("sub"); err == nil {
		t.Error("a string was taken for a boolean")
	}
	for _, bad := range []string{`{"iat":-1}`, `{"iat":1e300}`, `{"iat":"1"}`, `{"iat":null}`} {
		o, err := ParseObject([]byte(bad), nil)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := o.Time("iat"); err == nil {
			t.Errorf("%s was taken for the time %v", bad, v)
		}
	}
}

func TestPartsThatDecodeInTwoWaysAreRefused(t *testing.T) {
	const good = "e30.e30.AA"
	if _, err := Parse(good, 100, nil); err != nil {
		t.Fatalf("the positive twin: %v", err)
	}
	for _, bad := range []string{
		"", ".", "..", "e30.e30", "e30.e30.AA.AA", "e30.e30.AB", "e30.e30.AA==", "e3\n0.e30.AA", "e30.e30.AA\n", "e30.e30.A+", " e30.e30.AA", "W10.e30.AA",
	} {
		if _, err := Parse(bad, 100, nil); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	if _, err := Parse(good, len(good)-1, nil); err == nil {
		t.Error("a message over the limit was accepted")
	}
}

// FuzzStrictJSON: what is accepted has one meaning, the one that encoding/json sees by map and by struct.
func FuzzStrictJSON(f *testing.F) {
	for _, s := range []string{
		`{"sub":"a","iss":"b"}`, `{"SUB":"a"}`, `{"sub":"a","sub":"b"}`, `{"a":{"b":[1,2,{"c":null}]}}`, `{"s\u0075b":"x"}`, `{"\ud800":1,"\ud801":2}`, `{"a":1e5,"b":-0.1 ,"c":true}`, `{"":1e700}`, `{"a":1e-400,"b":[1E+308]}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o, err := ParseObject(data, known)
		if err != nil {
			return
		}
		var m map[string]any
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatalf("accepted, but encoding/json says %v", err)
		}
		if len(m) != len(o) {
			t.Fatalf("%d names, encoding/json sees %d", len(o), len(m))
		}
		for name, raw := range o {
			var v any
			if err := json.Unmarshal(raw, &v); err != nil || !reflect.DeepEqual(v, m[name]) {
				t.Fatalf("%q is %s, encoding/json sees %v (%v)", name, raw, m[name], err)
			}
		}
		var st struct {
			Sub any `json:"sub"`
			Iss any `json:"iss"`
		}
		if err := json.Unmarshal(data, &st); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(st.Sub, m["sub"]) || !reflect.DeepEqual(st.Iss, m["iss"]) {
			t.Fatalf("a struct sees another sub or iss than a map in %s", data)
		}
		if s, err := o.String("sub"); err == nil && o.Has("sub") && s != m["sub"] {
			t.Fatalf("sub is %q, encoding/json sees %v", s, m["sub"])
		}
	})
}
