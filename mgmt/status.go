package main

import (
	"fmt"
	"io"
	"net/http"
	"runtime"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"

	"lanyard/platform/paths"
	"lanyard/platform/supervisor"
)

// standing is how the server stands that the system runs.
type standing struct {
	Installed bool   `json:"installed"`
	Running   bool   `json:"running"`
	Answers   *bool  `json:"answers,omitempty"` // at its admin socket; not known to ordinary users
	Release   string `json:"release,omitempty"` // of the server that answers
	Problem   string `json:"problem,omitempty"`

	hidden bool // whether it runs is not known to ordinary users either
}

// Exit statuses as systemctl's, for a service that does not run and for one of which nothing is known.
const notRunning, notTold exitCode = 3, 4

// standingBy says what the supervisor of system answered.
func standingBy(system string, privileged bool, st service.Status, err error) standing {
	is := supervisor.StandingBy(system, privileged, st, err)
	now := standing{Installed: is != supervisor.Absent, Running: is == supervisor.Running}
	switch is {
	case supervisor.Failed:
		now.Problem = fmt.Sprintf("The server is installed and has stopped after a failure; its log (%s) tells why.", seeLog)
	case supervisor.Hidden:
		now.hidden, now.Problem = true, "The server is installed; whether it runs is told to administrators."
	case supervisor.Untold:
		now.Problem = "The system cannot tell whether it runs the server."
		if err != nil {
			now.Problem = fmt.Sprintf("The system cannot tell whether it runs the server: %v.", err)
		}
	}
	return now
}

func (a *app) statusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Tell whether the server is installed and runs", Args: cobra.NoArgs,
		Long: "Tell whether the system runs the server and, to an administrator, whether it answers. Ends with 3 where it does not,\n" +
			"and with 4 where an ordinary user is not told.",
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := a.supervised(nil)
			if err != nil {
				return err
			}
			st, err := s.Status()
			now := standingBy(runtime.GOOS, paths.Privileged(), st, err)
			if paths.Privileged() {
				a.state = serverState()
				var about struct{ Info struct{ Version string } }
				err := a.call(c.Context(), http.MethodGet, "/api/openapi.json", nil, &about)
				now.Answers, now.Release = new(err == nil), about.Info.Version
				if err != nil && now.Running {
					now.Problem = fmt.Sprintf("It does not answer: %v; its log (%s) tells why.", err, seeLog)
				}
			}
			if err := a.print(c, now, now.write); err != nil {
				return err
			}
			if now.hidden {
				return notTold
			}
			if now.Answers != nil && !*now.Answers || now.Answers == nil && !now.Running {
				return notRunning
			}
			return nil
		},
	}
}

func (s standing) write(w io.Writer) {
	switch {
	case !s.Installed:
		fmt.Fprintln(w, "The system does not run the server: it is not installed ('lanyard-mgmt service install').")
	case s.Running:
		fmt.Fprintln(w, "The system runs the server.")
	case s.Problem == "":
		fmt.Fprintln(w, "The server is installed and stopped ('lanyard-mgmt service start').")
	}
	if s.Problem != "" {
		fmt.Fprintln(w, s.Problem)
	}
	switch {
	case s.Answers == nil:
		fmt.Fprintln(w, "Whether it answers is told to administrators; run this with sudo (or as administrator).")
	case *s.Answers:
		fmt.Fprintf(w, "It answers (version %s).\n", s.Release)
	}
}
