// Package sessionbus connects to the D-Bus session bus of the person's desktop, where there is one.
//
// Every connection is private to its caller. The library's shared one must stay the system tray library's own: it
// stops to register the icon after the first signal on that connection that it does not expect.
package sessionbus
