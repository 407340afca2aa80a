//go:build windows || darwin

package main

import "fyne.io/systray"

// rows is the systray library's menu.
type rows struct{}

// item is a row of it.
type item = systray.MenuItem

func newRows() *rows { return &rows{} }

// add adds a row at the end of the top level, or of parent's submenu.
func (*rows) add(parent *item, title string, checkbox, checked bool) *item {
	switch {
	case checkbox && parent == nil:
		return systray.AddMenuItemCheckbox(title, "", checked)
	case checkbox:
		return parent.AddSubMenuItemCheckbox(title, "", checked)
	case parent == nil:
		return systray.AddMenuItem(title, "")
	}
	return parent.AddSubMenuItem(title, "")
}

// line adds a separator.
func (*rows) line(parent *item) {
	if parent == nil {
		systray.AddSeparator()
	} else {
		parent.AddSeparator()
	}
}

// tell would tell panels what has changed; here they see it.
func (*rows) tell() {}
