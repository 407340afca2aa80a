package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"

	"lanyard/installer/units"
	"lanyard/mgmt/api"
	"lanyard/platform/paths"
	"lanyard/service/ipc"
	"lanyard/service/managed"
	"lanyard/service/names"
	"lanyard/service/sshconfig"
)

// stopLimit is how long a service that was told to stop may go on answering.
const stopLimit = 20 * time.Second

// askLimit is how long a service that answers may take to tell its process.
const askLimit = 20 * time.Second

func uninstallCommand() *cobra.Command {
	var all bool
	c := controlCommand("uninstall", "Stop the service and take it off the system; the machine's identity stays",
		func(c *cobra.Command, s service.Service) error { return uninstall(c, s, all) })
	c.Long = `Stop the service and take it off the system. The machine's identity and settings stay, unless --purge removes them, too:
what Lanyard keeps for the machine, its part of the hosts file and ssh's configuration. People's own sign-ins in ~/.ssh stay.
Where a package brought the service, run this with --purge and then remove the package.`
	c.Flags().BoolVar(&all, "purge", false, "remove this machine's identity and settings, too")
	return c
}

func uninstall(c *cobra.Command, s service.Service, all bool) error {
	packaged := units.Packaged(units.Name)
	if packaged != "" && !all {
		return fmt.Errorf("a package has installed the service (%s); remove the package. What it would leave, 'lanyard service uninstall --purge' removes before", packaged)
	}
	if all {
		if err := mayPurge(c.Context()); err != nil {
			return err
		}
	}
	if _, err := s.Status(); !errors.Is(err, service.ErrNotInstalled) {
		if err := s.Stop(); err != nil {
			fmt.Fprintf(c.ErrOrStderr(), "The service could not be stopped first (%v).\n", err)
		}
		if packaged == "" {
			if err := s.Uninstall(); err != nil {
				return fmt.Errorf("take the service off the system: %w", err)
			}
		}
	}
	w := c.OutOrStdout()
	if !all {
		if err := leaveSystem(names.Hosts()); err != nil {
			fmt.Fprintf(c.ErrOrStderr(), "The system still names Lanyard's machines (%v).\n", err)
		}
		p := paths.System(profileOf(c))
		if err := managed.ForgetKey(p); err != nil { // one that no service came to use
			fmt.Fprintf(c.ErrOrStderr(), "A setup key is left on this machine (%v).\n", err)
		}
		for _, dir := range []string{p.Run, filepath.Dir(p.Limits)} {
			_ = os.Remove(dir) // unless another profile's service has its socket there, or an administrator settled something
		}
		fmt.Fprintf(w, "The service is gone. This machine's identity stays in %s; --purge removes it.\n", p.State)
		return nil
	}
	if err := purge(c.Context()); err != nil {
		return fmt.Errorf("the service is stopped, but not all that belongs to it is gone: %w", err)
	}
	fmt.Fprintln(w, "The service is gone, with this machine's identity and settings. Its network lists it until 'lanyard-mgmt peer remove NAME'.")
	if packaged != "" {
		fmt.Fprintln(w, "Next, remove the package.")
	}
	return nil
}

// purgeCommand is for packages whose own removal is a purge.
func purgeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "purge", Short: "Remove this machine's identity, its settings and its ssh configuration", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if !paths.Privileged() {
				return errors.New("only an administrator may remove this machine's identity")
			}
			return purge(c.Context())
		},
	}
}

// mayPurgeCommand is for what removes Lanyard by a script of its own.
func mayPurgeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "may-purge", Short: "Tell whether a purge may begin", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return mayPurge(c.Context()) },
	}
}

// purge removes what the service keeps, of every profile that the machine runs, and what it has put into the system's files.
// The service has stopped, or is just about to end.
func purge(ctx context.Context) error {
	if err := mayPurge(ctx); err != nil {
		return err
	}
	if err := silent(ctx); err != nil {
		return err
	}
	p := paths.System(paths.DefaultProfile)
	return errors.Join(leaveSystem(names.Hosts()), leaveTheRest(ctx), removeFolder(filepath.Dir(p.State)), removeFolder(filepath.Dir(p.Limits)), removeRun(p.Run))
}

// mayPurge says why a purge may not begin.
func mayPurge(ctx context.Context) error {
	if err := othersSilent(ctx); err != nil {
		return err
	}
	return ownPlaces()
}

// ownPlaces refuses a purge of folders that somebody chose by the environment: others' files may lie in them.
func ownPlaces() error {
	for _, name := range []string{"LANYARD_STATE_DIR", "LANYARD_RUN_DIR"} {
		if os.Getenv(name) != "" {
			return fmt.Errorf("%s is set, and only the system's own places are purged; remove that folder yourself, or leave the variable out", name)
		}
	}
	return nil
}

// othersSilent refuses a purge while the service of another profile runs: what it keeps would go from under it. The system
// does not run it, so nothing here stops it.
func othersSilent(ctx context.Context) error {
	for _, profile := range systemProfiles() {
		if profile == paths.DefaultProfile {
			continue
		}
		d, err := ipc.DialPath(paths.System(profile).Socket)
		if err != nil {
			continue
		}
		asking, cancel := context.WithTimeout(ctx, askLimit)
		how := "Ctrl-C where it runs"
		if s, err := d.Status(asking); err == nil && s.PID != 0 { // an older service tells none
			how = "'" + howToEnd(s.PID) + "'"
		}
		cancel()
		d.Close()
		return fmt.Errorf("the service of the profile %q still runs ('%s'); end it first (%s), or whatever starts it", profile, howToStart(profile), how)
	}
	return nil
}

// answering reports whether the machine's service of a profile answers.
func answering(profile string) bool {
	d, err := ipc.DialPath(paths.System(profile).Socket)
	if err != nil {
		return false
	}
	d.Close()
	return true
}

// silent waits until the service that the system runs does not answer.
func silent(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	for {
		if !answering(paths.DefaultProfile) {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return errors.New("the service still runs; stop it first ('lanyard service stop')")
		}
	}
}

// leaveSystem takes out of the system's own files, hosts among them, what Lanyard has put there for any profile: ssh would
// run a program that is gone, and names would lead to addresses that nobody has. A service that was killed could not do it
// itself. What is of another profile whose service still answers stays.
func leaveSystem(hosts string) error {
	var errs []error
	for _, profile := range systemProfiles() {
		if profile != paths.DefaultProfile && answering(profile) {
			continue
		}
		errs = append(errs, sshconfig.RemoveInclude(paths.System(profile)), names.Remove(hosts, profile))
	}
	return errors.Join(errs...)
}

// systemProfiles are the profiles that the machine has state of, and the default one.
func systemProfiles() []string {
	profiles := []string{paths.DefaultProfile}
	entries, _ := os.ReadDir(filepath.Dir(paths.System(paths.DefaultProfile).State)) // none when it is not there
	for _, e := range entries {
		if e.IsDir() && e.Name() != paths.DefaultProfile && api.CheckName(e.Name()) == nil {
			profiles = append(profiles, e.Name())
		}
	}
	return profiles
}

// removeFolder removes a folder with all that is in it. One that leads elsewhere is not followed.
func removeFolder(dir string) error {
	fi, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !fi.IsDir() {
		return fmt.Errorf("%s is not a folder; it is left alone", dir)
	}
	return os.RemoveAll(dir)
}
