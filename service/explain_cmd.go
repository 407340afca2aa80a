package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"lanyard/mgmt/api"
	"lanyard/mgmt/api/client"
	"lanyard/mgmt/api/reason"
	"lanyard/platform/paths"
	"lanyard/service/login"
)

func explainCommand() *cobra.Command {
	var r api.ExplainRequest
	c := &cobra.Command{
		Use:   "explain [ACCOUNT@]MACHINE",
		Short: "Tell whether a policy lets you in, and why",
		Long: "Asks the engine that decides at every login. The management server answers for yourself, and for others when you\n" +
			"are an administrator of the network; while it is down, an administrator of this machine can ask it for itself.",
		Example: "  lanyard explain deploy@web-1\n  lanyard explain deploy@web-1 --user bo@example.com --from bos-laptop",
		Args:    cobra.ExactArgs(1),
	}
	c.Flags().StringVar(&r.User, "user", "", "somebody else's email address (administrators)")
	c.Flags().StringVar(&r.Source, "from", "", "the machine that they come from (default: this one)")
	c.RunE = func(c *cobra.Command, args []string) error {
		account, machine, ok := strings.Cut(args[0], "@")
		if !ok {
			account, machine = "", args[0]
		}
		d, err := dial(c)
		if err != nil {
			return err
		}
		defer d.Close()
		m, err := d.Machine(c.Context())
		if err != nil {
			return err
		}
		if !m.Enrolled {
			return errors.New("this machine is not part of a network yet; run 'lanyard up URL'")
		}
		if account == "" {
			if account, err = onlyAccount(c, machine); err != nil {
				return err
			}
		}
		r.Target, r.Account = machineName(profileOf(c), machine), account
		if r.Source == "" {
			r.Source = m.PeerID
		}
		reply, err := askServer(c, m.Server, m.PeerID, r)
		// This machine can answer for a named person only: it does not know who its callers are to the provider.
		if r.User != "" && (errors.Is(err, client.ErrUnreachable) || errors.Is(err, login.ErrNotSignedIn)) {
			local, lerr := d.Explain(c.Context(), r)
			if lerr != nil {
				return fmt.Errorf("%w; and here: %w", err, lerr)
			}
			fmt.Fprintln(c.OutOrStdout(), "(The answer is this machine's own, by the newest network map that it has.)")
			reply, err = local, nil
		}
		if err != nil {
			return err
		}
		return showDecision(c, reply)
	}
	return c
}

// machineName is what the network calls the machine that ssh here calls host.
func machineName(profile, host string) string {
	name := strings.TrimSuffix(host, "."+api.Zone)
	if profile != paths.DefaultProfile {
		name = strings.TrimSuffix(name, "."+profile)
	}
	return name
}

// onlyAccount is the account that ssh would take when none is typed.
func onlyAccount(c *cobra.Command, machine string) (string, error) {
	d, err := dial(c)
	if err != nil {
		return "", err
	}
	defer d.Close()
	st, err := d.Status(c.Context())
	if err != nil {
		return "", err
	}
	for _, p := range st.Peers {
		if (p.Name == machine || p.ID == machine || p.Name == machineName(profileOf(c), machine)) && p.LoginAs != "" {
			return p.LoginAs, nil
		}
	}
	return "", fmt.Errorf("say which account: lanyard explain ACCOUNT@%s", machine)
}

func askServer(c *cobra.Command, server, peer string, r api.ExplainRequest) (*api.ExplainReply, error) {
	l, err := login.Load(paths.Find(profileOf(c)), peer)
	if err != nil {
		return nil, err
	}
	s, err := client.New(server)
	if err != nil {
		return nil, err
	}
	return s.Explain(c.Context(), l.Login, r)
}

func showDecision(c *cobra.Command, r *api.ExplainReply) error {
	w := c.OutOrStdout()
	answer := "no"
	if r.Allowed {
		answer = "yes"
	}
	fmt.Fprintf(w, "%s: %s [%s]\n", answer, safe(r.Message), safe(r.Code))
	if r.Rule != "" {
		fmt.Fprintf(w, "Policy: %s\n", safe(r.Rule))
	}
	if len(r.Can) > 0 {
		fmt.Fprintf(w, "May: %s\n", safe(strings.Join(r.Can, ", ")))
	}
	for _, s := range r.Steps {
		fmt.Fprintf(w, "  - %s\n", safe(s))
	}
	if r.Code != string(reason.OK) && !r.Allowed {
		return exitCode(2)
	}
	return nil
}
