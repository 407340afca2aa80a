//go:build unix && !darwin

package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// The menu's protocol, and where the systray library tells panels that the menu is.
const (
	menuName = "com.canonical.dbusmenu"
	menuPath = itemPath + "/menu"
)

// rows is the menu as panels get it, in place of the systray library's.
//
// A panel of libdbusmenu-gtk (Xfce, MATE, Cinnamon) learns of a row by GetLayout and asks for its properties after, of
// many rows at once. A row whose properties come before those of the row that it belongs to is lost, and its submenu
// stays empty until the panel ends. The library shows its first caller the top level alone, for 150 ms at least: a busy
// machine takes longer, and a panel that starts again is not the first. Here every panel gets the rows of a submenu only
// once it has asked for the properties of the submenu itself.
type rows struct {
	mu       sync.Mutex // guards what follows, and the items
	conn     *dbus.Conn // nil: no panel can ask yet
	top      *item
	all      map[int32]*item
	revision uint32
	changed  map[int32]bool // told nobody yet
	viewers  map[dbus.Sender]*viewer
	calls    uint64
}

// viewer is a panel, or another program that asks for the menu.
type viewer struct {
	knows map[int32]bool // submenus whose properties it asked for
	plain bool           // it asks for no properties: those of the layout do for it
	last  uint64         // call
}

// Limits.
const (
	maxViewers = 64
	plainTime  = 5 * time.Second       // for a panel to ask for properties
	answerTime = 20 * time.Millisecond // for their answer to be on its way, before the panel is shown more
)

// item is a row.
type item struct {
	ClickedCh chan struct{}

	of    *rows
	id    int32
	props map[string]dbus.Variant
	kids  []*item
}

func newRows() *rows {
	r := &rows{all: map[int32]*item{}, changed: map[int32]bool{}, viewers: map[dbus.Sender]*viewer{}, revision: 1}
	r.top = r.make()
	r.top.props["children-display"] = dbus.MakeVariant("submenu")
	return r
}

// make makes a row that belongs nowhere. The lock is held, or nobody else knows r.
func (r *rows) make() *item {
	i := &item{of: r, id: int32(len(r.all)), ClickedCh: make(chan struct{}, 1), props: map[string]dbus.Variant{}}
	r.all[i.id] = i
	return i
}

func (r *rows) append(parent *item, props map[string]dbus.Variant) *item {
	r.mu.Lock()
	defer r.mu.Unlock()
	if parent == nil {
		parent = r.top
	}
	i := r.make()
	maps.Copy(i.props, props)
	if _, is := parent.props["children-display"]; !is {
		parent.props["children-display"] = dbus.MakeVariant("submenu")
		r.changed[parent.id] = true
	}
	parent.kids = append(parent.kids, i)
	r.changed[i.id] = true
	return i
}

// add adds a row at the end of the top level, or of parent's submenu.
func (r *rows) add(parent *item, title string, checkbox, checked bool) *item {
	props := map[string]dbus.Variant{"label": dbus.MakeVariant(title), "enabled": dbus.MakeVariant(true)}
	if checkbox {
		props["toggle-type"], props["toggle-state"] = dbus.MakeVariant("checkmark"), toggle(checked)
	}
	return r.append(parent, props)
}

// line adds a separator.
func (r *rows) line(parent *item) {
	r.append(parent, map[string]dbus.Variant{"type": dbus.MakeVariant("separator")})
}

func toggle(on bool) dbus.Variant {
	if on {
		return dbus.MakeVariant(int32(1))
	}
	return dbus.MakeVariant(int32(0))
}

func (i *item) set(name string, v dbus.Variant) {
	i.of.mu.Lock()
	defer i.of.mu.Unlock()
	i.props[name] = v
	i.of.changed[i.id] = true
}

// What bar does with rows, as with the systray library's.
func (i *item) SetTitle(title string) { i.set("label", dbus.MakeVariant(title)) }
func (i *item) Enable()               { i.set("enabled", dbus.MakeVariant(true)) }
func (i *item) Disable()              { i.set("enabled", dbus.MakeVariant(false)) }
func (i *item) Check()                { i.set("toggle-state", toggle(true)) }
func (i *item) Uncheck()              { i.set("toggle-state", toggle(false)) }
func (i *item) Show()                 { i.set("visible", dbus.MakeVariant(true)) }
func (i *item) Hide()                 { i.set("visible", dbus.MakeVariant(false)) }

// show puts the menu on the bus where the library has put its own, empty one.
func (r *rows) show(conn *dbus.Conn) error {
	if err := conn.Export(menuCalls{r}, menuPath, menuName); err != nil {
		return err
	}
	r.mu.Lock()
	r.conn = conn
	r.changed[r.top.id] = true
	r.mu.Unlock()
	r.tell()
	return nil
}

// wireProps are a row's properties on the bus.
type wireProps struct {
	ID    int32
	Props map[string]dbus.Variant
}

// wireGone are properties that a row has no more; there are none.
type wireGone struct {
	ID    int32
	Names []string
}

// tell tells panels what has changed.
func (r *rows) tell() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.conn == nil || len(r.changed) == 0 {
		return
	}
	var props []wireProps
	for _, id := range slices.Sorted(maps.Keys(r.changed)) {
		props = append(props, wireProps{id, maps.Clone(r.all[id].props)})
	}
	clear(r.changed)
	err := r.conn.Emit(menuPath, menuName+".ItemsPropertiesUpdated", props, []wireGone{})
	if err == nil {
		err = r.again()
	}
	if err != nil {
		slog.Warn("the panel was not told of the menu", "err", err)
	}
}

// again has panels ask for the layout. The lock is held.
func (r *rows) again() error {
	r.revision++
	return r.conn.Emit(menuPath, menuName+".LayoutUpdated", r.revision, int32(0))
}

// viewer is what is known of a caller. The lock is held.
func (r *rows) viewer(s dbus.Sender) *viewer {
	p := r.viewers[s]
	if p == nil {
		if len(r.viewers) >= maxViewers {
			delete(r.viewers, slices.MinFunc(slices.Collect(maps.Keys(r.viewers)), func(a, b dbus.Sender) int {
				return cmp.Compare(r.viewers[a].last, r.viewers[b].last)
			}))
		}
		p = &viewer{knows: map[int32]bool{}}
		r.viewers[s] = p
	}
	r.calls++
	p.last = r.calls
	return p
}

// wireRow is a row on the bus, with those of its submenu.
type wireRow struct {
	ID    int32
	Props map[string]dbus.Variant
	Kids  []dbus.Variant // wireRow
}

// layout is i with depth levels below it; withheld: rows of submenus that p does not know are not in it.
func (i *item) layout(p *viewer, depth int32) (w wireRow, withheld bool) {
	w = wireRow{i.id, maps.Clone(i.props), []dbus.Variant{}}
	if depth == 0 {
		return w, false
	}
	for _, k := range i.kids {
		down := depth - 1
		if depth > 1 || depth < 0 {
			if len(k.kids) > 0 && !p.plain && !p.knows[k.id] {
				down, withheld = 0, true
			}
		}
		kid, more := k.layout(p, down)
		withheld = withheld || more
		w.Kids = append(w.Kids, dbus.MakeVariant(kid))
	}
	return w, withheld
}

// menuCalls are the calls of panels.
type menuCalls struct{ r *rows }

func unknown(id int32) *dbus.Error {
	return dbus.MakeFailedError(fmt.Errorf("there is no row %d", id))
}

// GetLayout is of the protocol. All properties are given, whichever are named.
func (c menuCalls) GetLayout(from dbus.Sender, parent, depth int32, _ []string) (uint32, wireRow, *dbus.Error) {
	r := c.r
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.all[parent]
	if i == nil {
		return 0, wireRow{}, unknown(parent)
	}
	p := r.viewer(from)
	w, withheld := i.layout(p, depth)
	if withheld {
		time.AfterFunc(plainTime, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			if len(p.knows) == 0 && !p.plain {
				p.plain = true
				_ = r.again() // the bus is gone, and the program with it
			}
		})
	}
	return r.revision, w, nil
}

// GetGroupProperties is of the protocol.
func (c menuCalls) GetGroupProperties(from dbus.Sender, ids []int32, _ []string) ([]wireProps, *dbus.Error) {
	r := c.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(ids) == 0 {
		ids = slices.Sorted(maps.Keys(r.all))
	}
	p := r.viewer(from)
	out, met := []wireProps{}, []int32{}
	for _, id := range ids {
		i := r.all[id]
		if i == nil {
			continue
		}
		out = append(out, wireProps{id, maps.Clone(i.props)})
		if i != r.top && len(i.kids) > 0 && !p.knows[id] {
			met = append(met, id)
		}
	}
	if len(met) > 0 {
		time.AfterFunc(answerTime, func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			for _, id := range met {
				p.knows[id] = true
			}
			_ = r.again()
		})
	}
	return out, nil
}

// GetProperty is of the protocol.
func (c menuCalls) GetProperty(id int32, name string) (dbus.Variant, *dbus.Error) {
	c.r.mu.Lock()
	defer c.r.mu.Unlock()
	i := c.r.all[id]
	if i == nil {
		return dbus.MakeVariant(""), unknown(id)
	}
	v, ok := i.props[name]
	if !ok {
		return dbus.MakeVariant(""), dbus.MakeFailedError(fmt.Errorf("the row %d has no %q", id, name))
	}
	return v, nil
}

// Event is of the protocol.
func (c menuCalls) Event(id int32, what string, _ dbus.Variant, _ uint32) *dbus.Error {
	c.r.mu.Lock()
	i := c.r.all[id]
	c.r.mu.Unlock()
	if i == nil {
		return unknown(id)
	}
	if what == "clicked" {
		select {
		case i.ClickedCh <- struct{}{}:
		default: // the click before is not done
		}
	}
	return nil
}

// wireEvent is a call of Event among several.
type wireEvent struct {
	ID   int32
	What string
	Data dbus.Variant
	At   uint32
}

// EventGroup is of the protocol.
func (c menuCalls) EventGroup(events []wireEvent) ([]int32, *dbus.Error) {
	wrong := []int32{}
	for _, e := range events {
		if c.Event(e.ID, e.What, e.Data, e.At) != nil {
			wrong = append(wrong, e.ID)
		}
	}
	return wrong, nil
}

// AboutToShow is of the protocol: whether the panel must ask again first. It was told of every change.
func (c menuCalls) AboutToShow(int32) (bool, *dbus.Error) { return false, nil }

// AboutToShowGroup is of the protocol.
func (c menuCalls) AboutToShowGroup([]int32) (updates, wrong []int32, _ *dbus.Error) {
	return []int32{}, []int32{}, nil
}
