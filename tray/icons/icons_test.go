package icons

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"testing"

	"lanyard/tray/menu"
)

// Panels, light and dark, and the size of an icon on a small one.
var (
	light = color.NRGBA{0xf2, 0xf2, 0xf2, 0xff}
	dark  = color.NRGBA{0x22, 0x22, 0x22, 0xff}
)

const small = 16

// grey is what somebody who sees no colours sees of img on a panel: luminance (Rec. 709), 0 to 1.
func grey(img *image.NRGBA, panel color.NRGBA) []float64 {
	var out []float64
	lum := func(c color.NRGBA) float64 {
		return (0.2126*float64(c.R) + 0.7152*float64(c.G) + 0.0722*float64(c.B)) / 255
	}
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			c := img.NRGBAAt(x, y)
			a := float64(c.A) / 255
			out = append(out, lum(c)*a+lum(panel)*(1-a))
		}
	}
	return out
}

// differ counts the pixels that differ clearly.
func differ(a, b []float64) (n int) {
	for i := range a {
		if math.Abs(a[i]-b[i]) > 0.25 {
			n++
		}
	}
	return n
}

func TestIconsDifferWithoutColourOnEveryPanel(t *testing.T) {
	for name, panel := range map[string]color.NRGBA{"light": light, "dark": dark} {
		for i, a := range menu.Icons() {
			bare := grey(image.NewNRGBA(image.Rect(0, 0, small, small)), panel)
			if n := differ(grey(Draw(a, small), panel), bare); n < 30 {
				t.Errorf("%s on a %s panel: only %d of %d pixels stand out", a, name, n, small*small)
			}
			for _, b := range menu.Icons()[i+1:] {
				if n := differ(grey(Draw(a, small), panel), grey(Draw(b, small), panel)); n < 6 {
					t.Errorf("%s and %s on a %s panel: only %d pixels differ", a, b, name, n)
				}
			}
		}
	}
}

func TestTemplateShowsItsStateByAlphaAlone(t *testing.T) {
	for i, a := range menu.Icons() {
		for _, b := range menu.Icons()[i+1:] {
			if n := differ(grey(Template(a, small), light), grey(Template(b, small), light)); n < 6 {
				t.Errorf("%s and %s: only %d pixels differ", a, b, n)
			}
		}
	}
}

// TestIconFileIsWellFormed reads the icon file as Windows does: each entry leads to a bitmap of its size.
func TestIconFileIsWellFormed(t *testing.T) {
	raw := ICO(menu.Connected)
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(raw[at:])) }
	u32 := func(at int) int { return int(binary.LittleEndian.Uint32(raw[at:])) }
	if u16(0) != 0 || u16(2) != 1 || u16(4) == 0 {
		t.Fatalf("header % x", raw[:6])
	}
	end := 6 + 16*u16(4)
	for i := range u16(4) {
		at := 6 + 16*i
		n, size, offset := int(raw[at]), u32(at+8), u32(at+12)
		if offset != end || u32(offset) != 40 || u32(offset+4) != n || u32(offset+8) != 2*n || u16(offset+14) != 32 {
			t.Fatalf("entry %d of %d pixels: offset %d, want %d; % x", i, n, offset, end, raw[offset:offset+16])
		}
		// The picture's upper left corner stands at the start of its last row: transparent.
		if c := raw[offset+40+4*n*(n-1):]; c[3] != 0 {
			t.Errorf("the corner of the %d pixel picture is not transparent: % x", n, c[:4])
		}
		end += size
	}
	if end != len(raw) {
		t.Errorf("%d bytes, the entries cover %d", len(raw), end)
	}
}

// TestSheet writes all icons side by side on both panels, for people to look at: LANYARD_ICON_SHEET names the file.
func TestSheet(t *testing.T) {
	sheet := image.NewNRGBA(image.Rect(0, 0, len(menu.Icons())*80, 2*120))
	for row, panel := range []color.NRGBA{light, dark} {
		for i, icon := range menu.Icons() {
			for y := row * 120; y < row*120+120; y++ {
				for x := i * 80; x < i*80+80; x++ {
					sheet.SetNRGBA(x, y, panel)
				}
			}
			at := image.Pt(i*80+8, row*120+8)
			for _, n := range []int{64, 22, 16} {
				img := Draw(icon, n)
				for y := range n {
					for x := range n {
						c := img.NRGBAAt(x, y)
						a := float64(c.A) / 255
						mix := func(o, u uint8) uint8 { return uint8(float64(o)*a + float64(u)*(1-a)) }
						sheet.SetNRGBA(at.X+x, at.Y+y, color.NRGBA{mix(c.R, panel.R), mix(c.G, panel.G), mix(c.B, panel.B), 255})
					}
				}
				if n == 64 {
					at.Y += 72
				} else {
					at.X += 30
				}
			}
		}
	}
	raw := PNG(sheet)
	if !bytes.HasPrefix(raw, []byte("\x89PNG")) {
		t.Fatal("not a picture")
	}
	if name := os.Getenv("LANYARD_ICON_SHEET"); name != "" {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, raw, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
