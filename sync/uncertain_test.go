package sync

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// soon is by when after Jira answers again a request has its issue.
const soon = time.Minute

// lostCreate is a create whose answer is lost.
var lostCreate = &Error{Side: "jira", Op: "create", Scope: ScopeSide, Uncertain: true, Err: errLost}

func TestAnIssueIsThereSoonAfterAnUncertainCreate(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*memTracker){
		"it never happened":             func(t *memTracker) { t.set(once("create", lostCreate), nil) },
		"it happened":                   func(t *memTracker) { t.set(nil, once("create", errLost)) },
		"it is finished 30 s late":      func(t *memTracker) { t.finish = firstTime(30 * time.Second) },
		"others make issues":            func(t *memTracker) { t.set(nil, once("create", errLost)); t.lastID += 300 },
		"the index stands still":        func(t *memTracker) { t.set(nil, once("create", errLost)); t.frozen = time.Now() },
		"the index lags for an hour":    func(t *memTracker) { t.finish, t.lag = firstTime(20*time.Second), time.Hour },
		"Jira's clock is hours ahead":   func(t *memTracker) { t.finish, t.ahead = firstTime(20*time.Second), 5*time.Hour },
		"Jira's clock is hours behind":  func(t *memTracker) { t.finish, t.ahead = firstTime(20*time.Second), -5*time.Hour },
		"Data Center, an index at rest": func(t *memTracker) { t.dataCenter, t.finish, t.frozen = true, firstTime(9*time.Second), time.Now() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w *world) {
				w.tracker.pull(prepare)
				w.request("req-1")
				w.after(soon)
				w.issue("req-1")
				require.Equal(t, pendingStatus, w.issue("req-1").Issue.Status)
				w.after(time.Hour)
				w.issue("req-1")
			})
		})
	}
}

// firstTime is how late creates are finished: the first one so late, all others at once.
func firstTime(late time.Duration) func() time.Duration {
	first := true
	return func() time.Duration {
		if !first {
			return 0
		}
		first = false
		return late
	}
}

func TestAnIssueIsThereSoonAfterJiraAnswersAgain(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]bool{"the create was carried out late": true, "it was not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w *world) {
				down := &Error{Side: "jira", Op: "any", Scope: ScopeSide, Uncertain: true, Err: errLost}
				w.tracker.set(func(op string) error {
					if op == "create" && happens {
						return nil
					}
					return down
				}, func(string) error { return errLost })
				if happens {
					w.tracker.pull(func(t *memTracker) { t.finish = firstTime(10*time.Minute + 20*time.Second) })
				}
				w.request("req-1")
				w.after(10 * time.Minute) // Jira is down
				w.tracker.set(nil, nil)
				w.after(soon + maxSideBackoff) // it is asked again within the pause of a side that is down
				w.issue("req-1")
				w.after(time.Hour)
				w.issue("req-1")
			})
		})
	}
}

func TestAProcessThatGoesOnFromAnUncertainCreateWaitsNoLonger(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.tracker.pull(func(t *memTracker) { t.finish = firstTime(25 * time.Second) })
		w.request("req-1")
		w.after(time.Second)
		w.stop()
		w.after(10 * time.Second)
		w.start()
		w.after(40 * time.Second)
		w.issue("req-1")
		w.after(time.Hour)
		w.issue("req-1")
	})
}

func TestAnIssueThatIsOlderThanTheClaimIsNotTakenForTheRequests(t *testing.T) {
	t.Parallel()
	data := PluginData{Claimed: true, Mark: "m", After: "ACCESS-7"}
	for key, older := range map[string]bool{"ACCESS-6": true, "ACCESS-7": true, "ACCESS-8": false} {
		d := movedBy(bob, approvedStatus)
		d.Issue.Key = key
		require.Equal(t, older, olderThan(pendingLink().Request, d, data), key)
	}
	d := movedBy(bob, approvedStatus)
	d.Moves[0].At = pendingLink().Request.Created.Add(-time.Hour)
	require.True(t, olderThan(pendingLink().Request, d, PluginData{}), "where no key is known the clocks tell")
	require.Equal(t, 41, numberOf("OPS-"+strconv.Itoa(41)))
}
