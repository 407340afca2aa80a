//go:build !linux

package logind

// Manager would be systemd-logind.
type Manager struct{}

// Open reports that there is none.
func Open() *Manager { return &Manager{} }

// Runs reports whether a login manager runs here.
func (m *Manager) Runs() bool { return false }

// Create makes no session.
func (m *Manager) Create(Request) (*Session, error) { return nil, ErrNone }

// Close does nothing.
func (m *Manager) Close() error { return nil }
