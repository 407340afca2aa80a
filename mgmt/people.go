package main

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"lanyard/mgmt/api"
	"lanyard/mgmt/store"
)

func (a *app) userCommand() *cobra.Command {
	c := &cobra.Command{Use: "user", Short: "People"}
	c.AddCommand(a.userAdd(), a.userPassword(), a.userList(),
		a.userEffect("block", "Block a person and end their sessions", "%s is blocked."),
		a.userEffect("unblock", "Let a blocked person sign in again", "%s may sign in again."),
		a.userEffect("logout", "End all logins and sessions of a person", "%s is signed out everywhere."))
	return c
}

func (a *app) userAdd() *cobra.Command {
	var in struct {
		Email    string `json:"email"`
		Name     string `json:"name,omitempty"`
		Password string `json:"password,omitempty"`
		Admin    bool   `json:"admin,omitempty"`
	}
	var file string
	c := &cobra.Command{
		Use: "add EMAIL", Short: "Make a person with a password", Args: cobra.ExactArgs(1),
		Long: "Make a person with a password. Without --password-file one is made and printed once.",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			in.Email = args[0]
			if in.Password, err = readPassword(cmd.InOrStdin(), file); err != nil {
				return err
			}
			var out struct {
				User     store.User `json:"user"`
				Password string     `json:"password,omitempty"`
			}
			if err := a.call(cmd.Context(), http.MethodPost, "/api/admin/users", in, &out); err != nil {
				return err
			}
			return a.print(cmd, out, func(w io.Writer) {
				fmt.Fprintf(w, "%s may sign in.\n", out.User.Email)
				if out.Password != "" {
					fmt.Fprintf(w, "Password, shown this once: %s\n", out.Password)
				}
			})
		},
	}
	c.Flags().StringVar(&in.Name, "name", "", "the person's `name`")
	c.Flags().BoolVar(&in.Admin, "admin", false, "make them an administrator")
	c.Flags().StringVar(&file, "password-file", "", "`file` with the password, - for standard input")
	return c
}

func (a *app) userPassword() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use: "password EMAIL", Short: "Give a person another password and end their logins", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			pw, err := readPassword(cmd.InOrStdin(), file)
			if err != nil {
				return err
			}
			var out struct {
				Password string `json:"password,omitempty"`
			}
			err = a.call(cmd.Context(), http.MethodPost, "/api/admin/users/"+esc(args[0])+"/password", map[string]string{"password": pw}, &out)
			if err != nil {
				return err
			}
			return a.print(cmd, out, func(w io.Writer) {
				fmt.Fprintf(w, "%s has a new password.\n", args[0])
				if out.Password != "" {
					fmt.Fprintf(w, "Password, shown this once: %s\n", out.Password)
				}
			})
		},
	}
	c.Flags().StringVar(&file, "password-file", "", "`file` with the password, - for standard input")
	return c
}

// readPassword reads the first line of a file; secrets are never arguments.
func readPassword(stdin io.Reader, file string) (string, error) {
	var r io.Reader
	switch file {
	case "":
		return "", nil
	case "-":
		r = stdin
	default:
		f, err := os.Open(file)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, 4096))
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimSuffix(line, "\r"); line == "" {
		return "", fmt.Errorf("the first line of %s, where the password should be, is empty", file)
	}
	return line, nil
}

func (a *app) userList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List people", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var users []store.User
			if err := a.call(cmd.Context(), http.MethodGet, "/api/admin/users", nil, &users); err != nil {
				return err
			}
			return a.print(cmd, users, func(w io.Writer) {
				var rows [][]string
				for _, u := range users {
					rows = append(rows, userRow(u))
				}
				table(w, []string{"EMAIL", "NAME", "STATE", "LAST SIGN-IN", "ID"}, rows)
			})
		},
	}
}

func userRow(u store.User) []string {
	state, last := "may sign in", "never"
	if u.Admin {
		state = "administrator"
	}
	if u.Blocked {
		state = "BLOCKED"
		if !u.BlockedSince.IsZero() {
			state += " since " + when(u.BlockedSince)
		}
		if u.Admin {
			state = "administrator, " + state
		}
	}
	if !u.SignedIn.IsZero() {
		last = when(u.SignedIn)
	}
	return []string{cmp.Or(u.Email, "(no address)"), cmp.Or(u.Name, "(no name)"), state, last, u.ID}
}

func (a *app) userEffect(verb, short, done string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " EMAIL", Short: short, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var e api.Effect
			if err := a.call(cmd.Context(), http.MethodPost, "/api/admin/users/"+esc(args[0])+"/"+verb, nil, &e); err != nil {
				return err
			}
			return a.printEffect(cmd, fmt.Sprintf(done, args[0]), e)
		},
	}
}

func (a *app) groupCommand() *cobra.Command {
	c := &cobra.Command{Use: "group", Short: "Groups made by hand"}
	c.AddCommand(&cobra.Command{
		Use: "add NAME EMAIL...", Short: "Put people into a group, which is made when it is new", Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var e api.Effect
			in := map[string][]string{"users": args[1:]}
			if err := a.call(cmd.Context(), http.MethodPost, "/api/admin/groups/"+esc(args[0])+"/members", in, &e); err != nil {
				return err
			}
			return a.printEffect(cmd, "The group "+args[0]+" has changed.", e)
		},
	}, &cobra.Command{
		Use: "remove NAME EMAIL", Short: "Take a person out of a group", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var e api.Effect
			if err := a.call(cmd.Context(), http.MethodDelete, "/api/admin/groups/"+esc(args[0])+"/members/"+esc(args[1]), nil, &e); err != nil {
				return err
			}
			return a.printEffect(cmd, args[1]+" is not in "+args[0]+" any more.", e)
		},
	}, &cobra.Command{
		Use: "delete NAME", Short: "Remove a group", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var e api.Effect
			if err := a.call(cmd.Context(), http.MethodDelete, "/api/admin/groups/"+esc(args[0]), nil, &e); err != nil {
				return err
			}
			return a.printEffect(cmd, "The group "+args[0]+" is gone.", e)
		},
	}, &cobra.Command{
		Use: "list", Short: "List groups", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var groups []struct {
				Name    string   `json:"name"`
				Members []string `json:"members"`
			}
			if err := a.call(cmd.Context(), http.MethodGet, "/api/admin/groups", nil, &groups); err != nil {
				return err
			}
			return a.print(cmd, groups, func(w io.Writer) {
				var rows [][]string
				for _, g := range groups {
					rows = append(rows, []string{g.Name, strings.Join(g.Members, " ")})
				}
				table(w, []string{"GROUP", "MEMBERS"}, rows)
			})
		},
	})
	return c
}
