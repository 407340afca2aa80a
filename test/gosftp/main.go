// Gosftp is a client as Go programs have one, restic and rclone among them: golang.org/x/crypto/ssh and
// github.com/pkg/sftp. It signs in with a key file and its certificate, and tries what such programs do.
//
//	gosftp USER@ADDRESS:PORT KEY CERTIFICATE|"" FOLDER FILE
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

func main() {
	if len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "usage: gosftp USER@ADDRESS:PORT KEY CERTIFICATE FOLDER FILE")
		os.Exit(2)
	}
	if err := try(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5]); err != nil {
		fmt.Fprintln(os.Stderr, "gosftp:", err)
		os.Exit(1)
	}
}

func try(target, keyFile, certFile, folder, file string) error {
	user, addr, _ := strings.Cut(target, "@")
	signer, err := signIn(keyFile, certFile)
	if err != nil {
		return err
	}
	conn, err := ssh.Dial("tcp", addr, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, Timeout: 10 * time.Second,
		HostKeyCallback: ssh.InsecureIgnoreHostKey(), // a test's client, on a pretended network
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	c, err := sftp.NewClient(conn, sftp.UseConcurrentWrites(true))
	if err != nil {
		return err
	}
	defer c.Close()
	return transfer(c, folder, file)
}

func signIn(keyFile, certFile string) (ssh.Signer, error) {
	b, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(b)
	if err != nil || certFile == "" {
		return signer, err
	}
	if b, err = os.ReadFile(certFile); err != nil {
		return nil, err
	}
	pub, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return nil, err
	}
	cert, ok := pub.(*ssh.Certificate)
	if !ok {
		return nil, fmt.Errorf("%s is no certificate", certFile)
	}
	return ssh.NewCertSigner(cert, signer)
}

// transfer writes file into folder by concurrent writes, moves it over another one, and reads it back.
func transfer(c *sftp.Client, folder, file string) error {
	want, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	dir := path.Join(folder, "a", "b")
	if err := c.MkdirAll(dir); err != nil {
		return fmt.Errorf("mkdir: %w", err)
	}
	part, whole := path.Join(dir, "part"), path.Join(dir, "whole")
	for _, name := range []string{whole, part} {
		f, err := c.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY)
		if err != nil {
			return fmt.Errorf("create: %w", err)
		}
		_, err = f.ReadFrom(bytes.NewReader(want))
		if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	if err := c.PosixRename(part, whole); err != nil {
		return fmt.Errorf("rename over a file: %w", err)
	}
	f, err := c.Open(whole)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer f.Close()
	var got bytes.Buffer
	if _, err := f.WriteTo(&got); err != nil || !bytes.Equal(got.Bytes(), want) {
		return fmt.Errorf("%d bytes of %d came back: %w", got.Len(), len(want), err)
	}
	tail := make([]byte, 7)
	if n, err := f.ReadAt(tail, int64(len(want))-7); n != 7 || err != nil && err != io.EOF || !bytes.Equal(tail, want[len(want)-7:]) {
		return fmt.Errorf("the end of the file: %d bytes: %w", n, err)
	}
	if fi, err := c.Stat(whole); err != nil || fi.Size() != int64(len(want)) {
		return fmt.Errorf("stat: %v: %w", fi, err)
	}
	if _, err := c.Stat(part); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("what was moved is still there: %w", err)
	}
	if st, err := c.StatVFS(folder); err != nil || st.Blocks == 0 {
		return fmt.Errorf("the file system's size: %+v: %w", st, err)
	}
	seen := 0
	for w := c.Walk(folder); w.Step(); seen++ {
		if err := w.Err(); err != nil {
			return fmt.Errorf("walk: %w", err)
		}
	}
	if seen < 4 {
		return fmt.Errorf("a walk met %d names", seen)
	}
	return c.RemoveAll(path.Join(folder, "a"))
}
