package usage

import (
	"testing"

	"github.com/spf13/cobra"
)

func TestWrongCallsAreToldHowToCall(t *testing.T) {
	nothing := func(*cobra.Command, []string) error { return nil }
	for _, c := range []struct {
		args []string
		want string // empty: it is called rightly
	}{
		{[]string{"door", "open", "blue"}, ""},
		{[]string{"door"}, ""}, // its help
		{[]string{"door", "open"}, "it is called as 'house door open COLOUR'; 'house door open --help' tells more"},
		{[]string{"door", "open", "blue", "red"}, `it is called as 'house door open COLOUR', not with "blue red"; 'house door open --help' tells more`},
		{[]string{"door", "opne"}, `unknown command "opne" for "house door" (did you mean "open"?); 'house door --help' lists the commands`},
		{[]string{"dor"}, `unknown command "dor" for "house" (did you mean "door"?); 'house --help' lists the commands`},
		{[]string{"window"}, `unknown command "window" for "house"; 'house --help' lists the commands`},
		{[]string{"door", "open", "blue", "--wide"}, "unknown flag: --wide; 'house door open --help' lists the flags"},
	} {
		house, door := &cobra.Command{Use: "house", SilenceErrors: true, SilenceUsage: true}, &cobra.Command{Use: "door"}
		open := &cobra.Command{Use: "open COLOUR", Args: cobra.ExactArgs(1), RunE: nothing}
		open.Flags().Bool("far", false, "")
		door.AddCommand(open)
		house.AddCommand(door)
		Explain(house)
		house.SetArgs(c.args)
		house.SetOut(t.Output())
		got := ""
		if err := house.Execute(); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%v: %q, want %q", c.args, got, c.want)
		}
	}
}
