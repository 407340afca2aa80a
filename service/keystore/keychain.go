package keystore

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/zalando/go-keyring"
)

// keychainService is the name under which the key is listed in the system's keychain.
const keychainService = "Lanyard"

// helperLimit is how long one call may take. A locked keychain waits for a person; ssh does not.
const helperLimit = 3 * time.Second

// Exit codes of the helper.
const (
	exitOK    = 0
	exitFault = 1
	exitNone  = 3
)

// keychain is the system's keychain, reached through the helper process.
type keychain struct {
	helper  []string
	account string
	limit   time.Duration // of one call
}

var (
	errNoKeychain = errors.New("there is no keychain here")
	errNoAnswer   = errors.New("the keychain did not answer in time; it may be locked")
)

func (k keychain) get() ([]byte, error) {
	out, err := k.run("get", nil)
	if err != nil {
		return nil, err
	}
	return hex.DecodeString(strings.TrimSpace(string(out)))
}

func (k keychain) set(key []byte) error {
	_, err := k.run("set", []byte(hex.EncodeToString(key)))
	return err
}

func (k keychain) delete() { _, _ = k.run("delete", nil) }

func (k keychain) run(verb string, in []byte) ([]byte, error) {
	if len(k.helper) == 0 || !reachable() {
		return nil, errNoKeychain
	}
	ctx, cancel := context.WithTimeout(context.Background(), k.limit)
	defer cancel()
	argv := append(k.helper[1:len(k.helper):len(k.helper)], verb, k.account)
	cmd := exec.CommandContext(ctx, k.helper[0], argv...)
	cmd.Stdin = bytes.NewReader(in)
	var out bytes.Buffer
	cmd.Stdout = &out
	cmd.WaitDelay = time.Second
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return out.Bytes(), nil
	case ctx.Err() != nil:
		return nil, errNoAnswer
	case errors.As(err, &exit) && exit.ExitCode() == exitNone:
		return nil, ErrNone
	}
	return nil, fmt.Errorf("ask the keychain: %w", err)
}

// Main is the helper process: args are "get|set|delete ACCOUNT", the secret travels over in and out. It returns the
// exit code.
func Main(args []string, in io.Reader, out io.Writer) int {
	if len(args) != 2 {
		return exitFault
	}
	var err error
	switch verb, account := args[0], args[1]; verb {
	case "get":
		var secret string
		if secret, err = keyring.Get(keychainService, account); err == nil {
			_, err = io.WriteString(out, secret)
		}
	case "set":
		var secret []byte
		if secret, err = io.ReadAll(io.LimitReader(in, 1<<10)); err == nil {
			err = keyring.Set(keychainService, account, string(secret))
		}
	case "delete":
		err = keyring.Delete(keychainService, account)
	default:
		return exitFault
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, keyring.ErrNotFound):
		return exitNone
	}
	return exitFault
}
