// Package icons draws the tray's icons: a badge on its cord, with a sign on it that tells the state by its shape.
//
// There are no picture files. Every size is drawn from the same shapes, whose edges are known as distances, so that
// they are smooth at 16 pixels too. A dark edge around a white one keeps the badge visible on light and dark panels.
package icons

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/png"
	"math"

	"lanyard/tray/menu"
)

// Colours. A state's own one only repeats what its shape says.
var (
	edge  = color.NRGBA{0x1c, 0x1c, 0x1c, 0xff}
	paper = color.NRGBA{0xff, 0xff, 0xff, 0xff}
	green = color.NRGBA{0x15, 0x80, 0x3d, 0xff}
	amber = color.NRGBA{0xf5, 0xa5, 0x24, 0xff}
	red   = color.NRGBA{0xc6, 0x28, 0x28, 0xff}
)

// shape is the signed distance of a point from an edge, inside negative, in parts of the icon's width.
type shape func(x, y float64) float64

// Draw draws icon in a square of size pixels.
func Draw(icon menu.Icon, size int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	paint(img, grow(badge, 0.045), edge)
	paint(img, badge, paper)
	paint(img, slot, edge)
	face, ink, sign := look(icon)
	paint(img, window, face)
	if sign != nil {
		paint(img, sign, ink)
	}
	return img
}

// Template is icon for macOS, which takes the shape and chooses the colour itself.
func Template(icon menu.Icon, size int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	paint(img, minus(minus(badge, window), slot), color.NRGBA{A: 0xff})
	if _, _, sign := look(icon); sign != nil {
		paint(img, sign, color.NRGBA{A: 0xff})
	}
	return img
}

// look is what makes a state's icon: the badge's face, and the sign on it.
func look(icon menu.Icon) (face, ink color.NRGBA, sign shape) {
	const mid = 0.665 // the window's middle
	switch icon {
	case menu.Connecting:
		return edge, paper, union(disc(0.33, mid, 0.06), disc(0.5, mid, 0.06), disc(0.67, mid, 0.06))
	case menu.Connected:
		return green, paper, union(line(0.32, mid, 0.45, mid+0.14, 0.055), line(0.45, mid+0.14, 0.68, mid-0.14, 0.055))
	case menu.Attention:
		return amber, edge, union(line(0.5, mid-0.18, 0.5, mid+0.03, 0.06), disc(0.5, mid+0.18, 0.065))
	case menu.Error:
		return red, paper, union(line(0.36, mid-0.14, 0.64, mid+0.14, 0.055), line(0.64, mid-0.14, 0.36, mid+0.14, 0.055))
	default: // signed out: an empty badge
		return edge, paper, nil
	}
}

// The badge: a card on a cord that leaves the icon at its top, a slot for the cord's clip, and a window for the sign.
func badge(x, y float64) float64 {
	return union(box(0.15, 0.27, 0.85, 0.95, 0.1), line(0.34, -0.1, 0.5, 0.27, 0.05), line(0.66, -0.1, 0.5, 0.27, 0.05))(x, y)
}

func slot(x, y float64) float64   { return line(0.43, 0.35, 0.57, 0.35, 0.025)(x, y) }
func window(x, y float64) float64 { return box(0.22, 0.43, 0.78, 0.89, 0.05)(x, y) }

// box has corners of the radius round.
func box(left, top, right, bottom, round float64) shape {
	cx, cy := (left+right)/2, (top+bottom)/2
	hx, hy := (right-left)/2-round, (bottom-top)/2-round
	return func(x, y float64) float64 {
		dx, dy := math.Abs(x-cx)-hx, math.Abs(y-cy)-hy
		return math.Hypot(max(dx, 0), max(dy, 0)) + min(max(dx, dy), 0) - round
	}
}

func disc(cx, cy, r float64) shape {
	return func(x, y float64) float64 { return math.Hypot(x-cx, y-cy) - r }
}

// line is a stroke of half width r with round ends.
func line(x1, y1, x2, y2, r float64) shape {
	dx, dy := x2-x1, y2-y1
	return func(x, y float64) float64 {
		t := min(max(((x-x1)*dx+(y-y1)*dy)/(dx*dx+dy*dy), 0), 1)
		return math.Hypot(x-x1-t*dx, y-y1-t*dy) - r
	}
}

func union(all ...shape) shape {
	return func(x, y float64) float64 {
		d := math.Inf(1)
		for _, s := range all {
			d = min(d, s(x, y))
		}
		return d
	}
}

func minus(a, b shape) shape {
	return func(x, y float64) float64 { return max(a(x, y), -b(x, y)) }
}

func grow(s shape, by float64) shape {
	return func(x, y float64) float64 { return s(x, y) - by }
}

// paint lays c over img inside s, with edges one pixel wide.
func paint(img *image.NRGBA, s shape, c color.NRGBA) {
	n := float64(img.Rect.Dx())
	for py := range img.Rect.Dy() {
		for px := range img.Rect.Dx() {
			cover := min(max(0.5-s((float64(px)+0.5)/n, (float64(py)+0.5)/n)*n, 0), 1)
			if cover == 0 {
				continue
			}
			under := img.NRGBAAt(px, py)
			a := cover + float64(under.A)/255*(1-cover)
			mix := func(over, below uint8) uint8 {
				return uint8((float64(over)*cover + float64(below)*float64(under.A)/255*(1-cover)) / a)
			}
			img.SetNRGBA(px, py, color.NRGBA{mix(c.R, under.R), mix(c.G, under.G), mix(c.B, under.B), uint8(a*255 + 0.5)})
		}
	}
}

// PNG is img as a file.
func PNG(img image.Image) []byte {
	var b bytes.Buffer
	_ = png.Encode(&b, img) // a buffer takes everything
	return b.Bytes()
}

// ICO is icon as a Windows icon file, with the sizes that its panels use.
func ICO(icon menu.Icon) []byte {
	sizes := []int{16, 20, 24, 32, 48}
	var head, body bytes.Buffer
	put := func(b *bytes.Buffer, v ...any) {
		for _, x := range v {
			_ = binary.Write(b, binary.LittleEndian, x)
		}
	}
	put(&head, uint16(0), uint16(1), uint16(len(sizes)))
	at := 6 + 16*len(sizes)
	for _, n := range sizes {
		mask := (n + 31) / 32 * 4 * n
		put(&head, uint8(n), uint8(n), uint8(0), uint8(0), uint16(1), uint16(32), uint32(40+4*n*n+mask), uint32(at+body.Len()))
		// BITMAPINFOHEADER; the height counts the picture and its mask. Rows go bottom up, as BGRA.
		put(&body, uint32(40), int32(n), int32(2*n), uint16(1), uint16(32), uint32(0), uint32(4*n*n+mask), int32(0), int32(0), uint32(0), uint32(0))
		img := Draw(icon, n)
		for y := n - 1; y >= 0; y-- {
			for x := range n {
				c := img.NRGBAAt(x, y)
				put(&body, c.B, c.G, c.R, c.A)
			}
		}
		body.Write(make([]byte, mask)) // alpha counts, not the mask
	}
	return append(head.Bytes(), body.Bytes()...)
}
