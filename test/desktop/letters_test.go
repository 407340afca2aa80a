//go:build linux

package desktop

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// word is one that a person would read on the screen, and where.
type word struct {
	text string
	box  image.Rectangle
}

// reads waits until the screen says something, and returns all of it.
func (s *screen) reads(wanted string) (all string) {
	s.t.Helper()
	s.until(90*time.Second, "the screen to say "+wanted, func() error {
		lines, err := s.read(s.desk)
		if err != nil {
			return err
		}
		all = text(lines)
		if _, ok := where(lines, wanted); !ok {
			return fmt.Errorf("it says:\n%s", all)
		}
		return nil
	})
	return all
}

// points clicks what can be read on what has come to the screen since before, with a picture first where it has a name.
func (s *screen) points(before image.Image, picture, wanted string) (img image.Image) {
	s.t.Helper()
	at := s.appears(before, wanted)
	if picture != "" {
		img = s.shot(picture)
	}
	s.click(at)
	return img
}

// appears waits until something can be read on what has come to the screen since before, and returns where.
func (s *screen) appears(before image.Image, wanted string) (at image.Point) {
	s.t.Helper()
	s.until(90*time.Second, wanted+" to appear", func() error {
		now, err := s.look()
		if err != nil {
			return err
		}
		lines, err := s.read(differs(before, now, s.desk))
		if err != nil {
			return err
		}
		var ok bool
		if at, ok = where(lines, wanted); !ok {
			return fmt.Errorf("what is new says:\n%s", text(lines))
		}
		return nil
	})
	return at
}

// plain reports whether a part of a picture has one colour only.
func plain(img image.Image, part image.Rectangle) bool {
	for y := part.Min.Y; y < part.Max.Y; y++ {
		for x := part.Min.X; x < part.Max.X; x++ {
			if img.At(x, y) != img.At(part.Min.X, part.Min.Y) {
				return false
			}
		}
	}
	return true
}

// differs is where two pictures of the screen are not the same.
func differs(a, b image.Image, within image.Rectangle) (box image.Rectangle) {
	for y := within.Min.Y; y < within.Max.Y; y++ {
		for x := within.Min.X; x < within.Max.X; x++ {
			if a.At(x, y) != b.At(x, y) {
				box = box.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	return box
}

const (
	enlarge = 3  // how much letters are enlarged before they are read
	margin  = 10 // white pixels around what is read
)

// read reads a part of the screen: its lines, each with its words.
func (s *screen) read(part image.Rectangle) ([][]word, error) {
	img, err := s.look()
	if err != nil {
		return nil, err
	}
	paper, part := clean(img, part)
	if part.Empty() {
		return nil, nil
	}
	var file bytes.Buffer
	if err := png.Encode(&file, paper); err != nil {
		return nil, err
	}
	large := exec.Command("convert", "png:-", "-colorspace", "gray", "-resize", fmt.Sprintf("%d%%", 100*enlarge), "png:-")
	large.Stdin = &file
	raw, err := large.Output()
	if err != nil {
		return nil, fmt.Errorf("convert: %w", err)
	}
	ocr := exec.Command("tesseract", "-", "-", "--psm", "11", "tsv")
	ocr.Env = []string{"PATH=/usr/bin:/bin", "OMP_THREAD_LIMIT=1"}
	ocr.Stdin = bytes.NewReader(raw)
	out, err := ocr.Output()
	if err != nil {
		return nil, fmt.Errorf("tesseract: %w", err)
	}
	var lines [][]word
	for row := range strings.Lines(string(out)) {
		// level page block paragraph line word left top width height confidence text
		f := strings.Split(strings.TrimRight(row, "\r\n"), "\t")
		if len(f) != 12 || strings.TrimSpace(f[11]) == "" {
			continue
		}
		var n [4]int
		for i := range n {
			if n[i], err = strconv.Atoi(f[6+i]); err != nil {
				break
			}
		}
		if err != nil {
			err = nil
			continue // the head
		}
		box := image.Rect(n[0]/enlarge, n[1]/enlarge, (n[0]+n[2])/enlarge, (n[1]+n[3])/enlarge).Add(part.Min)
		lines = put(lines, word{f[11], box})
	}
	return lines, nil
}

// clean is what lies on the desktop within a part of the screen: the bare desktop, whose colour is that of the screen's
// first pixel, is cut off or made white.
func clean(img image.Image, part image.Rectangle) (image.Image, image.Rectangle) {
	bare := color.NRGBAModel.Convert(img.At(0, 0))
	white := color.NRGBA{0xff, 0xff, 0xff, 0xff}
	out := image.NewNRGBA(part.Inset(-margin))
	draw.Draw(out, out.Bounds(), image.White, image.Point{}, draw.Src)
	var used image.Rectangle
	for y := part.Min.Y; y < part.Max.Y; y++ {
		for x := part.Min.X; x < part.Max.X; x++ {
			c := color.NRGBAModel.Convert(img.At(x, y))
			if c == bare {
				c = white
			} else {
				used = used.Union(image.Rect(x, y, x+1, y+1))
			}
			out.Set(x, y, c)
		}
	}
	if used.Empty() {
		return out, used
	}
	used = used.Inset(-margin)
	return out.SubImage(used), used
}

// put adds w to the line that it stands on.
func put(lines [][]word, w word) [][]word {
	mid := (w.box.Min.Y + w.box.Max.Y) / 2
	for i, l := range lines {
		if last := l[len(l)-1].box; last.Min.Y <= mid && mid < last.Max.Y && last.Max.X <= w.box.Min.X {
			lines[i] = append(l, w)
			return lines
		}
	}
	return append(lines, []word{w})
}

// alike makes texts equal that look so: letters that are read for each other, and blanks.
func alike(s string) string {
	return strings.NewReplacer(" ", "", "l", "i", "1", "i", "|", "i", "!", "i", "0", "o", "4", "a", "5", "s", "8", "b", ",", "", ".", "", "-", "", "—", "", "'", "", "’", "").Replace(strings.ToLower(s))
}

// distance is how many letters must be put in, left out or changed to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0] // of the line above, one to the left
		row[0] = i + 1
		for j := range len(b) {
			cost := before
			if a[i] != b[j] {
				cost++
			}
			before = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// after is what follows on some words in a text that was read, both as alike makes them.
func after(said, words string) (rest string, ok bool) {
	_, rest, ok = strings.Cut(alike(strings.ReplaceAll(said, "\n", "")), alike(words))
	return rest, ok
}

// beginsLike reports whether a text that was read begins with a code: some letters may be read wrongly, or as one or two,
// while another code has hardly any of them in its place.
func beginsLike(said, code string) bool {
	for n := len(code) - 2; n <= min(len(code)+2, len(said)); n++ {
		if distance(said[:n], code) <= 3 {
			return true
		}
	}
	return false
}

// text is what lines say.
func text(lines [][]word) string {
	var b strings.Builder
	for _, l := range lines {
		for i, w := range l {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(w.text)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// where is the middle of the words of one line that make up the text wanted.
func where(lines [][]word, wanted string) (image.Point, bool) {
	for _, l := range lines {
		for i := range l {
			var said string
			var box image.Rectangle
			for _, w := range l[i:] {
				said += w.text
				box = box.Union(w.box)
				if alike(said) == alike(wanted) {
					return image.Pt((box.Min.X+box.Max.X)/2, (box.Min.Y+box.Max.Y)/2), true
				}
			}
		}
	}
	return image.Point{}, false
}
