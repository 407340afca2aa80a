package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
)

const sumsName = "SHA256SUMS"

// sums lists every file of the packages' folder, in the form of sha256sum(1).
func (j *job) sums() error {
	entries, err := os.ReadDir(j.out) // sorted by name
	if err != nil {
		return err
	}
	var b bytes.Buffer
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(j.out, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(data), e.Name())
	}
	return j.write(sumsName, b.Bytes())
}
