package main

import (
	"context"
	"sync"
	"time"

	"fyne.io/systray"

	"lanyard/tray/menu"
)

// settled is how long a row must have meant the same before a click on it counts: who clicks sooner saw the row before.
const settled = 300 * time.Millisecond

// bar draws menus. Rows are never removed, only hidden and reused: the systray library closes a removed row's channel
// while a click may be on its way into it, and that ends the program.
type bar struct {
	clicked func(menu.Action)
	shown   *rows

	mu    sync.Mutex // guards what follows
	icon  menu.Icon
	tip   string
	slots []*slot
}

// slot is the place of a row.
type slot struct {
	item  *item     // nil: a separator
	shown menu.Row  // without Rows
	since time.Time // shown has the action that it has
	slots []*slot
}

func newBar(clicked func(menu.Action)) *bar { return &bar{clicked: clicked, shown: newRows()} }

// draw makes the panel show m. It changes only what differs.
func (b *bar) draw(m menu.Menu) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.icon != m.Icon {
		b.icon = m.Icon
		setIcon(m.Icon)
	}
	if b.tip != m.Tooltip {
		b.tip = m.Tooltip
		systray.SetTooltip(m.Tooltip)
	}
	b.slots = b.rows(nil, b.slots, m.Rows)
	b.shown.tell()
}

// insist sets icon and tooltip again for a while. On a bus, the systray library loses what is set in the moment between
// making its properties and knowing them, and tells nobody when it has started.
func (b *bar) insist(ctx context.Context) {
	for _, wait := range []time.Duration{time.Second / 4, time.Second, 4 * time.Second, 15 * time.Second} {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		b.mu.Lock()
		setIcon(b.icon)
		systray.SetTooltip(b.tip)
		b.mu.Unlock()
	}
}

func (b *bar) rows(parent *item, have []*slot, want []menu.Row) []*slot {
	for i, r := range want {
		if i == len(have) {
			have = append(have, b.add(parent, r))
		} else {
			have[i].show(r)
		}
		if r.Submenu && (submenusFirst || !r.Hidden) {
			rows := r.Rows
			if len(rows) == 0 && len(have[i].slots) == 0 {
				rows = []menu.Row{{Hidden: true}} // that makes it one
			}
			have[i].slots = b.rows(have[i].item, have[i].slots, rows)
		}
	}
	for _, s := range have[len(want):] {
		s.show(menu.Row{Hidden: true})
	}
	return have
}

func (b *bar) add(parent *item, r menu.Row) *slot {
	s := &slot{since: time.Now()}
	if r.Separator {
		b.shown.line(parent)
		return s
	}
	s.item = b.shown.add(parent, label(r.Title), r.Checkbox, r.Checked)
	s.shown = menu.Row{Title: r.Title, Action: r.Action, Checkbox: r.Checkbox, Checked: r.Checked}
	s.show(r)
	go b.listen(s) // as long as the program: rows are never removed
	return s
}

// show changes a slot's row. A hidden row is left as it is: on Windows any other change would show it again.
func (s *slot) show(r menu.Row) {
	if s.item == nil {
		return
	}
	r.Rows = nil
	if r.Hidden {
		if !s.shown.Hidden {
			s.item.Hide()
			s.shown.Hidden = true
		}
		return
	}
	appeared := s.shown.Hidden
	if s.shown.Action != r.Action || appeared {
		s.since = time.Now()
	}
	if s.shown.Disabled != r.Disabled {
		if r.Disabled {
			s.item.Disable()
		} else {
			s.item.Enable()
		}
	}
	if s.shown.Checked != r.Checked {
		if r.Checked {
			s.item.Check()
		} else {
			s.item.Uncheck()
		}
	}
	if s.shown.Title != r.Title || appeared {
		s.item.SetTitle(label(r.Title))
	}
	if appeared {
		s.item.Show()
	}
	s.shown = r
}

func (b *bar) listen(s *slot) {
	for range s.item.ClickedCh {
		if a, ok := b.meant(s); ok {
			b.clicked(a)
		}
	}
}

// meant is what a click on s asks for, if anything: the click of a disabled row arrives too.
func (b *bar) meant(s *slot) (menu.Action, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := s.shown
	return r.Action, !r.Disabled && !r.Hidden && r.Action.Verb != menu.None && time.Since(s.since) >= settled
}
