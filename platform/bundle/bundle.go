// Package bundle packs what helps somebody else to find out what is wrong with a program (logs, findings, settings) into
// one zip file that may be sent around: what is a secret, or looks like one, is taken out of everything that goes in.
//
// Two nets hold secrets back. The program names those that it knows, and they are found however they are written
// (base64, hexadecimal); and whatever has the look of one (keys, tokens, passwords, long strings of no sense) goes too,
// known or not. Nothing goes in that does not pass both.
package bundle

import (
	"archive/zip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// maxPart bounds each part, in bytes: of a log the newest.
	maxPart = 1 << 20
	// commandLimit bounds each program that is asked.
	commandLimit = 20 * time.Second
)

// Bundle is a file that is being packed. The first error is told by Close.
type Bundle struct {
	zip   *zip.Writer
	file  *os.File
	name  string
	time  time.Time
	scrub scrubber
	err   error
}

// Create begins a bundle at name, readable by this user only. An existing file is not replaced.
func Create(name string, now time.Time) (*Bundle, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s exists; name a new file, or remove it first", name)
	}
	if err != nil {
		return nil, fmt.Errorf("write the bundle: %w", err)
	}
	return &Bundle{zip: zip.NewWriter(f), file: f, name: name, time: now}, nil
}

// Secret names texts that must not go in, before anything does. Those of less than 8 bytes are no secrets.
func (b *Bundle) Secret(texts ...string) {
	for _, t := range texts {
		b.scrub.know(t)
	}
}

// Text packs a text.
func (b *Bundle) Text(name, text string) {
	if len(text) > maxPart {
		text = newest(text[len(text)-maxPart:])
	}
	w, err := b.zip.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate, Modified: b.time})
	if err == nil {
		_, err = io.WriteString(w, b.scrub.clean(text))
	}
	if b.err == nil && err != nil {
		b.err = fmt.Errorf("write the bundle: %w", err)
	}
}

// newest drops a line that has lost its beginning: of a secret that was cut in two, nothing knows the rest.
func newest(text string) string {
	_, rest, _ := strings.Cut(text, "\n")
	return rest
}

// JSON packs a value.
func (b *Bundle) JSON(name string, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		b.Text(name, err.Error())
		return
	}
	b.Text(name, string(text)+"\n")
}

// File packs a text file's end, or why it cannot be read. What is not there is left out.
func (b *Bundle) File(name, path string) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		b.Text(name, err.Error()+"\n")
		return
	}
	defer f.Close()
	cut := false
	if fi, err := f.Stat(); err == nil && fi.Size() > maxPart {
		cut = true
		if _, err := f.Seek(-maxPart, io.SeekEnd); err != nil {
			b.Text(name, err.Error()+"\n")
			return
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPart))
	text := string(data)
	if cut {
		text = newest(text)
	}
	if err != nil {
		text += err.Error()
	}
	b.Text(name, text)
}

// Command packs what a program prints. A program that is not there is left out.
func (b *Bundle) Command(ctx context.Context, name, program string, args ...string) {
	ctx, cancel := context.WithTimeout(ctx, commandLimit)
	defer cancel()
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		out = append(out, err.Error()...)
	}
	b.Text(name, string(out))
}

// Logs packs what the service unit has written, wherever this system keeps it.
func (b *Bundle) Logs(ctx context.Context, unit string) {
	logs(ctx, b, unit)
}

// Close completes the file; a bundle that could not be written whole is removed.
func (b *Bundle) Close() error {
	err := errors.Join(b.err, b.zip.Close(), b.file.Close())
	if err != nil {
		return errors.Join(err, os.Remove(b.name))
	}
	return nil
}

// Abs is the bundle's whole path, to tell it.
func (b *Bundle) Abs() string {
	if abs, err := filepath.Abs(b.name); err == nil {
		return abs
	}
	return b.name
}
