// Package systray has the declarations of fyne.io/systray that the tray uses, and does nothing. With it in place of
// the library, whose macOS part wants Apple's compiler, `make cross` checks the tray's code for macOS elsewhere.
package systray

type MenuItem struct{ ClickedCh chan struct{} }

func Run(onReady, onExit func())               {}
func Quit()                                    {}
func SetTitle(t string)                        {}
func SetTooltip(t string)                      {}
func SetTemplateIcon(template, regular []byte) {}
func AddSeparator()                            {}
func AddMenuItem(title, tooltip string) *MenuItem { return nil }

func AddMenuItemCheckbox(title, tooltip string, checked bool) *MenuItem { return nil }
func (*MenuItem) AddSeparator()                                         {}
func (*MenuItem) AddSubMenuItem(title, tooltip string) *MenuItem { return nil }

func (*MenuItem) AddSubMenuItemCheckbox(title, tooltip string, checked bool) *MenuItem { return nil }
func (*MenuItem) SetTitle(t string)                                                    {}
func (*MenuItem) Enable()                                                              {}
func (*MenuItem) Disable()                                                             {}
func (*MenuItem) Check()                                                               {}
func (*MenuItem) Uncheck()                                                             {}
func (*MenuItem) Show()                                                                {}
func (*MenuItem) Hide()                                                                {}
