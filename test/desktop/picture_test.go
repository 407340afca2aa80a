//go:build linux

package desktop

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lanyard/test/lab"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within bounds a step.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// screen is an X server's, with a mouse and a folder of pictures.
type screen struct {
	t     *testing.T
	kind  string          // begins the pictures' names
	tray  image.Rectangle // where the icons are
	desk  image.Rectangle // where menus, notifications and windows are
	shots string          // folder of the screenshots, on this side
	n     int
	tool  func(argv ...string) *exec.Cmd // prepares a program that shows on it
}

func openScreen(t *testing.T, kind string, tray, desk image.Rectangle, run func(...string) *exec.Cmd) screen {
	t.Helper()
	s := screen{t: t, kind: kind, tray: tray, desk: desk, shots: filepath.Join("..", "..", ".build", "desktop"), tool: run}
	must(t, os.MkdirAll(s.shots, 0o755))
	return s
}

func (s *screen) output(argv ...string) (string, error) {
	out, err := s.tool(argv...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, out)
	}
	return string(out), nil
}

func (s *screen) until(limit time.Duration, what string, cond func() error) {
	s.t.Helper()
	if err := lab.Until(within(s.t, limit), what, cond); err != nil {
		s.shot("failed")
		s.t.Fatal(err)
	}
}

// shot keeps a picture of the screen and returns it.
func (s *screen) shot(name string) image.Image {
	s.t.Helper()
	img, err := s.look()
	if err != nil {
		s.t.Error(err)
		return image.NewNRGBA(image.Rect(0, 0, screenW, screenH))
	}
	s.n++
	f, err := os.Create(filepath.Join(s.shots, fmt.Sprintf("%s%02d-%s.png", s.kind, s.n, name)))
	must(s.t, err)
	defer f.Close()
	must(s.t, png.Encode(f, img))
	return img
}

func (s *screen) look() (image.Image, error) {
	c := s.tool("import", "-window", "root", "png:-")
	var errs bytes.Buffer
	c.Stderr = &errs
	raw, err := c.Output()
	if err != nil {
		return nil, fmt.Errorf("import: %w: %s", err, errs.String())
	}
	return png.Decode(bytes.NewReader(raw))
}

// iconColours are those of the badge's window in each state (tray/icons).
var iconColours = map[string]color.NRGBA{
	"connected": {0x15, 0x80, 0x3d, 0xff},
	"attention": {0xf5, 0xa5, 0x24, 0xff},
	"error":     {0xc6, 0x28, 0x28, 0xff},
	"dark":      {0x1c, 0x1c, 0x1c, 0xff}, // signed out and connecting
}

// icon finds the badge among the icons: the middle of the pixels of a state's colour.
func (s *screen) icon(img image.Image, state string) (image.Point, bool) {
	want := iconColours[state]
	var sum image.Point
	n := 0
	for y := s.tray.Min.Y; y < s.tray.Max.Y; y++ {
		for x := s.tray.Min.X; x < s.tray.Max.X; x++ {
			c := color.NRGBAModel.Convert(img.At(x, y)).(color.NRGBA)
			if near(c.R, want.R) && near(c.G, want.G) && near(c.B, want.B) {
				sum = sum.Add(image.Pt(x, y))
				n++
			}
		}
	}
	if n < 12 {
		return image.Point{}, false
	}
	return sum.Div(n), true
}

func near(a, b uint8) bool { return max(a, b)-min(a, b) <= 10 }

// seesIcon waits until the panel shows the badge in a state, and returns where.
func (s *screen) seesIcon(state string, limit time.Duration) image.Point {
	s.t.Helper()
	var at image.Point
	s.until(limit, "the icon to show "+state, func() error {
		img, err := s.look()
		if err != nil {
			return err
		}
		var ok bool
		if at, ok = s.icon(img, state); !ok {
			return fmt.Errorf("no badge with the colour of %q in the panel", state)
		}
		return nil
	})
	return at
}

// click presses the mouse's left button somewhere on the screen.
func (s *screen) click(at image.Point) {
	s.t.Helper()
	_, err := s.output("xdotool", "mousemove", fmt.Sprint(at.X), fmt.Sprint(at.Y), "sleep", "0.2", "click", "1")
	must(s.t, err)
}
