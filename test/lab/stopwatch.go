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
	began time.Time
	cpu   time.Duration // what was waited for before: a processor,
	rest  time.Duration // a disk, memory or the host

	stop chan struct{}
	done chan struct{}

	mu   sync.Mutex
	late time.Duration // guarded by mu: by how much sleeps were longer than asked for
}

// StartWatch starts one.
func StartWatch() *Stopwatch {
	w := &Stopwatch{stop: make(chan struct{}), done: make(chan struct{})}
	w.cpu, w.rest = pressure("cpu"), pressure("io", "memory")+stolen()
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

// held is for how long of most programs were held up.
func (w *Stopwatch) held(most time.Duration) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return excuse(most, pressure("cpu")-w.cpu, pressure("io", "memory")+stolen()-w.rest, w.late)
}

// excuse is how much of the time most counts as held up: by programs that waited for a processor, by those that waited for
// the rest, and by how late this one was. Pressure is the whole machine's: it says that some program waited, not which. So a
// machine that is busy excuses half of the time and never more than three quarters, and only one that stood still all.
func excuse(most, cpu, rest, late time.Duration) time.Duration {
	return min(most, max(min(min(cpu, most/2)+rest, most*3/4), late))
}

// Stop ends the watch.
func (w *Stopwatch) Stop() {
	close(w.stop)
	<-w.done
}

// pressure is for how long some program of this machine has waited for each of what is named (cpu, io, memory), since it was
// started (the kernel's Documentation/accounting/psi.rst). A kernel that does not tell says 0.
func pressure(names ...string) (all time.Duration) {
	for _, what := range names {
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
