package db

import "time"

// The agent's own times (due, begun, settled, activity, conditions, hints) are kept by the server's clock, which is one for all replicas. The engine knows
// only the clock of its own process. So no such time passes the boundary of this package as it is, but as what lies between it and the present: a process
// whose clock is hours off neither delays nor hastens anything. Times of Jira and Teleport are theirs, and pass unchanged.

// fromNow is what SQL adds to now() for a time by this process's clock, of which now is the present; nil, which is NULL, for a zero time.
func fromNow(t, now time.Time) *time.Duration {
	if t.IsZero() {
		return nil
	}
	d := t.Sub(now)
	return &d
}

// reading turns the server's times in an answer into those that its reader is told. serverNow is the now() of that answer.
type reading func(t *time.Time, serverNow time.Time) time.Time

// byProcess is the reading of the engine: by this process's clock, of which now is the present when the question is asked. What now has of a monotonic clock
// is kept, so that not even a clock that is set while the row is worked on matters.
func byProcess(now time.Time) reading {
	return func(t *time.Time, serverNow time.Time) time.Time {
		if t == nil {
			return time.Time{}
		}
		return now.Add(t.Sub(serverNow))
	}
}

// byServer is the reading of people, who compare what several replicas did: as it is kept.
func byServer(t *time.Time, _ time.Time) time.Time { return fromNull(t) }

// setBackBy is how far the server's clock must have been set back before it is put right what was set by it. Less than that, rows are late by.
const setBackBy = time.Minute

// clockWatch notices that the server's clock was set back: by hand, or since another server, whose clock lags, has taken its place.
type clockWatch struct {
	local, server time.Time // the two clocks when they were last compared; zero: never
	unrighted     bool      // what was set before may wait too long
}

// compare takes another look at the two clocks. Before the first one nothing is known of what was set.
func (w *clockWatch) compare(local, server time.Time) {
	if w.local.IsZero() || server.Before(w.server.Add(local.Sub(w.local)-setBackBy)) {
		w.unrighted = true
	}
	w.local, w.server = local, server
}
