//go:build linux

package lab

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Stopwatch times what the product promises to do within some time, and for how long this machine itself held programs
// up meanwhile: because its processors, disks or memory were busy with others', because its host gave it no processor, or
// because it stood still. Stop ends it.
type Stopwatch struct {
	began    time.Time
	pressure time.Duration
	stolen   time.Duration

	stop chan struct{}
	done chan struct{}

	mu   sync.Mutex
	late time.Duration // guarded by mu: by how much sleeps were longer than asked for
}

// StartWatch starts one.
func StartWatch() *Stopwatch {
	w := &Stopwatch{stop: make(chan struct{}), done: make(chan struct{})}
	w.pressure, w.stolen = pressure(), stolen()
	w.began = time.Now()
	go w.sleep()
	return w
}

// sleep is what a program that has nothing to do notices of a machine that stands still.
func (w *Stopwatch) sleep() {
	defer close(w.done)
	const nap = 10 * time.Millisecond
	t := time.NewTicker(nap)
	defer t.Stop()
	for last := w.began; ; {
		select {
		case <-w.stop:
			return
		case now := <-t.C:
			w.mu.Lock()
			w.late += max(0, now.Sub(last)-2*nap)
			w.mu.Unlock()
			last = now
		}
	}
}

// Began is when it was started.
func (w *Stopwatch) Began() time.Time { return w.began }

// Took is the time since the start without that for which programs were held up, which is never more than all of it.
func (w *Stopwatch) Took() time.Duration {
	all := time.Since(w.began)
	return all - w.held(all)
}

// Less is a duration that began with the watch, without the time for which programs were held up until now.
func (w *Stopwatch) Less(d time.Duration) time.Duration { return d - w.held(d) }

func (w *Stopwatch) held(most time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return min(most, max(pressure()-w.pressure+stolen()-w.stolen, w.late))
}

// Stop ends the watch.
func (w *Stopwatch) Stop() {
	close(w.stop)
	<-w.done
}

// pressure is for how long some program of this machine has waited for a processor, a disk or memory, since it was
// started (the kernel's Documentation/accounting/psi.rst). A kernel that does not tell says 0.
func pressure() (all time.Duration) {
	for _, what := range []string{"cpu", "io", "memory"} {
		b, err := os.ReadFile("/proc/pressure/" + what)
		if err != nil {
			continue
		}
		line, _, _ := strings.Cut(string(b), "\n")
		var us int64
		if _, total, ok := strings.Cut(line, "total="); ok && strings.HasPrefix(line, "some ") {
			if _, err := fmt.Sscan(total, &us); err == nil {
				all += time.Duration(us) * time.Microsecond
			}
		}
	}
	return all
}

// stolen is for how long the host gave this machine's processors to others (proc_stat(5)), in hundredths of a second.
func stolen() time.Duration {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	f := bytes.Fields(line)
	var ticks int64
	if len(f) > 8 {
		_, _ = fmt.Sscan(string(f[8]), &ticks)
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
