package doctor

import (
	"context"
	"fmt"
	"strings"

	"lanyard/platform/pam"
)

// sessions is about what sessions here lack of what the machine's PAM configuration asks for.
func sessions(_ context.Context, v *visit) []Finding {
	if v.status == nil || !v.status.SSH.Allowed {
		return nil
	}
	return passedOver("")
}

// passedOver reads the PAM configuration below root, "" but in tests.
func passedOver(root string) []Finding {
	const name = "sessions"
	s, service := pam.Read(root)
	var out []Finding
	if len(s.Others) > 0 {
		out = append(out, Finding{
			Name:    name,
			Finding: fmt.Sprintf("Sessions begin without these modules of /etc/pam.d/%s, which Lanyard does not know: %s.", service, strings.Join(s.Others, ", ")),
			Next:    "where sessions need one of them, do its work in /etc/ssh/sshrc or /etc/profile.d",
			Warning: true,
		})
	}
	if len(s.Unsure) > 0 {
		out = append(out, Finding{
			Name: name,
			Finding: fmt.Sprintf("In /etc/pam.d/%s it depends on these modules which others count, and Lanyard takes all of those: %s.",
				service, strings.Join(s.Unsure, ", ")),
			Next:    "write what Lanyard's sessions are to have into /etc/pam.d/lanyard",
			Warning: true,
		})
	}
	return out
}
