package agent

import (
	"context"
	"time"

	"go.uber.org/zap"
)

const (
	// identityInterval is how often, at least, the end of the Teleport identity is looked at. Its
	// credentials are reloaded by themselves: a new certificate is noticed here that much later.
	identityInterval = time.Minute
	// identityNotice is the part of its time at the end of which an identity is said to be near its
	// end: the last tenth of what was left when this process first saw it. With tbot, whose
	// certificates last an hour and are renewed every 20 minutes, that is when two renewals are
	// overdue; a year from tctl auth sign leaves five weeks.
	identityNotice = 10
)

// identityWatch says in the log, once for each certificate, that the Teleport identity nears its
// end, and that it has ended. It only tells: the former changes nothing, and the latter is, while
// it lasts, a reason of readiness (see readiness).
type identityWatch struct {
	expiry func() time.Time // of the certificate in use; a reload changes it
	log    *zap.Logger
	look   chan struct{} // the credentials were reloaded

	end           time.Time // of the certificate that was last looked at; another end is another certificate
	notice        time.Time // when its last tenth begins
	warned, ended bool
}

func newIdentityWatch(expiry func() time.Time, log *zap.Logger) *identityWatch {
	return &identityWatch{expiry: expiry, log: log, look: make(chan struct{}, 1)}
}

// run looks when there is something to say, and otherwise at intervals, until ctx ends.
func (w *identityWatch) run(ctx context.Context) {
	for {
		timer := time.NewTimer(w.tell(time.Now()))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-w.look:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// reloaded makes run look now.
func (w *identityWatch) reloaded() {
	select {
	case w.look <- struct{}{}:
	default: // it is about to
	}
}

// tell logs what is new, and returns how long there is nothing to say.
func (w *identityWatch) tell(now time.Time) time.Duration {
	if end := w.expiry(); !end.Equal(w.end) {
		w.end, w.notice = end, end.Add(-end.Sub(now)/identityNotice)
		w.warned, w.ended = false, false
	}
	switch {
	case !now.Before(w.end):
		if !w.ended {
			w.ended = true
			w.log.Error("the Teleport identity expired; this replica is not ready until it is renewed (tbot, or tctl auth sign)",
				zap.Time("identity_expires", w.end))
		}
		return identityInterval
	case !now.Before(w.notice):
		if !w.warned {
			w.warned = true
			w.log.Warn("the Teleport identity nears its end; renew it (is tbot running?)",
				zap.Time("identity_expires", w.end), zap.Duration("left", w.end.Sub(now)))
		}
		return min(identityInterval, w.end.Sub(now))
	}
	return min(identityInterval, w.notice.Sub(now))
}

// identityProblem is the reason why a replica with an identity of that end is not ready; empty
// while it has not ended.
func identityProblem(end, now time.Time) string {
	if now.Before(end) {
		return ""
	}
	return "teleport: the identity expired at " + end.UTC().Format(time.RFC3339) + ", renew it (tbot, or tctl auth sign)"
}
