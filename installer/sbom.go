package main

import (
	"cmp"
	"context"
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// bill is a CycloneDX 1.5 document: https://cyclonedx.org/docs/1.5/json/.
type bill struct {
	Format     string      `json:"bomFormat"`
	Spec       string      `json:"specVersion"`
	Version    int         `json:"version"`
	Metadata   metadata    `json:"metadata"`
	Components []component `json:"components"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref,omitempty"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	PURL       string     `json:"purl,omitempty"`
	Licenses   []licenses `json:"licenses,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type licenses struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// bills writes what each program is made of, as the compiler recorded it in the program itself.
func (j *job) bills(ctx context.Context) error {
	for _, system := range []string{"linux", "freebsd", "darwin", "windows"} {
		for _, arch := range j.archs {
			for _, p := range j.theirPrograms(system) {
				file, err := j.compile(ctx, p, system, arch)
				if errors.Is(err, errNoTray) {
					continue
				}
				if err != nil {
					return err
				}
				info, err := buildinfo.ReadFile(file)
				if err != nil {
					return fmt.Errorf("read what %s is made of: %w", file, err)
				}
				b, err := json.MarshalIndent(j.bill(p, system, arch, info), "", "  ")
				if err != nil {
					return err
				}
				if err := j.write(fmt.Sprintf("%s-%s-%s-%s.cdx.json", p.Name, j.version, system, arch), append(b, '\n')); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (j *job) bill(p program, system, arch string, info *debug.BuildInfo) bill {
	own := component{Type: "application", Name: p.Name, Version: j.version.String(), Ref: "pkg:generic/" + p.Name + "@" + j.version.String()}
	own.Licenses = make([]licenses, 1)
	own.Licenses[0].License.ID = license
	own.Properties = []property{{"lanyard:system", system}, {"lanyard:processor", arch}, {"lanyard:go", info.GoVersion}}
	b := bill{Format: "CycloneDX", Spec: "1.5", Version: 1, Metadata: metadata{j.version.Time.Format(time.RFC3339), own}}
	b.Components = append(b.Components, component{
		Type: "library", Name: "std", Version: info.GoVersion, PURL: "pkg:golang/std@" + info.GoVersion, Ref: "pkg:golang/std@" + info.GoVersion,
	})
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		purl := "pkg:golang/" + m.Path + "@" + strings.ReplaceAll(m.Version, "+", "%2B") // as package URLs are written
		c := component{Type: "library", Name: m.Path, Version: m.Version, PURL: purl, Ref: purl}
		if m.Sum != "" {
			c.Properties = []property{{"lanyard:go.sum", m.Sum}}
		}
		b.Components = append(b.Components, c)
	}
	slices.SortFunc(b.Components[1:], func(x, y component) int { return cmp.Compare(x.Ref, y.Ref) })
	return b
}
