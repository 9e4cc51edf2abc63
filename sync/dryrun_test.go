package sync

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// readFirst would change something, and look whether it is so already:
// TestADryRunCountsWhatIsAlreadySo calls them.
var readFirst = []string{"Claim", "Link", "Resolve", "Move", "Drive"}

// reads are the calls that change nothing.
var reads = []string{
	"Watch", "Requests", "Request", "Listed", "ListRight", "Users", "Linked",
	"Now", "LastKey", "Trace", "Statuses", "Search", "Issues", "Latest", "Read", "Find", "Inherited", "Groups", "Comments",
}

// TestADryRunReachesNoWrite holds for methods that are added later, too: one that is no read has to
// have its own in the wrapper.
func TestADryRunReachesNoWrite(t *testing.T) {
	t.Parallel()
	for side, wrapper := range map[reflect.Type]reflect.Type{
		reflect.TypeFor[Cluster](): reflect.TypeFor[dryCluster](), reflect.TypeFor[Tracker](): reflect.TypeFor[dryTracker](),
	} {
		for method := range side.Methods() {
			if slices.Contains(slices.Concat(reads, readFirst), method.Name) {
				continue
			}
			t.Run(method.Name, func(t *testing.T) {
				t.Parallel()
				// A wrapper that passes the call on does so through the embedded interface, which a
				// nil one shows.
				m := reflect.New(wrapper).Elem().MethodByName(method.Name)
				args := make([]reflect.Value, m.Type().NumIn())
				for n := range args {
					args[n] = reflect.Zero(m.Type().In(n))
				}
				results := m.Call(args)
				require.ErrorIs(t, results[len(results)-1].Interface().(error), ErrDryRun)
			})
		}
	}
}

// written counts the calls of both sides that change something.
func written(c *memCluster, t *memTracker) (n int) {
	for _, op := range []string{"create", "move", "drive", "comment", "set field"} {
		n += t.count(op)
	}
	for _, op := range []string{"claim", "reclaim", "link", "resolve", "decide", "review"} {
		n += c.count(op)
	}
	return n
}

func (w *world) written() int { return written(w.cluster, w.tracker) }

// foretold are the lines of a request's activity that say what would have been done.
func (w *world) foretold(id string) (lines []string) {
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	for _, a := range w.store.activity[id] {
		if a.Action == "dry run" {
			lines = append(lines, a.Cause)
		}
	}
	return lines
}

// goLive ends the dry run.
func (w *world) goLive() {
	w.stop()
	w.settings = nil
	w.start()
	w.after(time.Second)
}

func inDryRun(t *testing.T, prepare func(w *world), test func(t *testing.T, w *world)) {
	t.Helper()
	inWorldWith(t, func(w *world) {
		w.settings = func(s *Settings) { s.DryRun = true }
		prepare(w)
	}, test)
}

func TestADryRunTellsOnceWhatItWouldDoAndDoesItWhenItIsOver(t *testing.T) {
	t.Parallel()
	inDryRun(t, func(*world) {}, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(30 * time.Minute)
		require.Zero(t, w.written())
		require.Equal(t, []string{"claim request req-1, and create its issue"}, w.foretold("req-1"))

		w.goLive()
		require.Equal(t, pendingStatus, w.issue("req-1").Issue.Status)
		require.Len(t, w.foretold("req-1"), 1)
	})
}

// TestADryRunShadowsTeleportsOwnPlugin lets the plugin do the work, and takes over after it.
func TestADryRunShadowsTeleportsOwnPlugin(t *testing.T) {
	t.Parallel()
	inDryRun(t, func(*world) {}, func(t *testing.T, w *world) {
		o := official{w}
		o.asks(nil)
		id := o.makes(agentAccount, true)
		w.after(2 * time.Minute)
		w.tracker.person(id, bob, approvedStatus)
		w.after(2 * time.Minute)
		require.Zero(t, w.written())
		require.Equal(t, []string{
			"write req-1 into the field of issue 10001",
			"write req-1 into the field of issue 10001",
			`set request req-1 to approved, delegator jira:bob@example.com, reason ""`,
		}, w.foretold("req-1"))

		w.cluster.change("req-1", func(r *Request) { r.State = StateApproved })
		o.resolves("approved")
		o.says(id, "Access request has been approved\n")
		w.after(2 * time.Minute)
		w.goLive()
		require.Equal(t, []string{""}, keysOf(w.issue("req-1")))
		require.Equal(t, approvedStatus, w.issue("req-1").Issue.Status)
		require.Empty(t, w.cluster.decided)
	})
}

func TestWhatIsSaidAfterADryRunHasLookedIsNotSaidAgain(t *testing.T) {
	t.Parallel()
	inDryRun(t, func(*world) {}, func(t *testing.T, w *world) {
		o := official{w}
		o.asks(nil)
		id := o.makes(agentAccount, true)
		w.after(time.Minute)
		w.cluster.change("req-1", func(r *Request) { r.State = StateApproved })
		w.after(5 * time.Minute)
		o.says(id, "Access request has been approved\n")
		w.goLive()
		require.Equal(t, []string{""}, keysOf(w.issue("req-1")))
		require.Equal(t, approvedStatus, w.issue("req-1").Issue.Status)
	})
}

func TestADryRunTellsWhatItWouldDecideAndRefuse(t *testing.T) {
	t.Parallel()
	inDryRun(t, func(w *world) {
		w.policy.Approvers = []string{"bob@example.com"}
	}, func(t *testing.T, w *world) {
		o := official{w}
		o.asks(nil)
		id := o.makes(agentAccount, true)
		w.tracker.edit(id, func(i *memIssue) { i.Issue.RequestID = officialID })
		w.tracker.person(id, Person{AccountID: "acc-eve", Email: "eve@example.com", Active: true}, approvedStatus)
		w.after(2 * time.Minute)
		require.Len(t, w.foretold("req-1"), 1)
		require.Contains(t, w.foretold("req-1")[0], "comment on issue 10001: ")
		require.Contains(t, w.foretold("req-1")[0], "not one of those who may decide")
		require.Zero(t, w.written())
		require.Equal(t, approvedStatus, w.issue("req-1").Issue.Status)
	})
}

func TestADryRunCountsWhatIsAlreadySo(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	cluster, tracker := newMemCluster(), newMemTracker()
	cluster.requests["req-1"] = &Request{ID: "req-1"}
	cluster.plugin["req-1"] = map[string]string{"issue_id": "10001", "resolution": "approved"}
	issue := tracker.made("req-1").Issue
	teleport, jira := dryCluster{cluster}, dryTracker{tracker}

	require.NoError(t, teleport.Link(ctx, "req-1", IssueRef{ID: "10001"}))
	require.ErrorIs(t, teleport.Link(ctx, "req-1", IssueRef{ID: "10002"}), ErrChanged)
	require.ErrorIs(t, teleport.Link(ctx, "req-2", IssueRef{ID: "10002"}), ErrDryRun)
	require.NoError(t, teleport.Resolve(ctx, "req-1", IssueRef{ID: "10001"}, "approved", "", 0))
	require.ErrorIs(t, teleport.Resolve(ctx, "req-1", IssueRef{ID: "10001"}, "denied", "", 0), ErrDryRun)
	require.NoError(
		t,
		teleport.Resolve(ctx, "req-2", IssueRef{ID: "10001"}, "denied", "", 0),
	) // no plugin data: nothing would be written
	_, mine, err := teleport.Claim(ctx, Request{ID: "req-2"}, "mark", "")
	require.ErrorIs(t, err, ErrDryRun)
	require.False(t, mine)
	ref, mine, err := teleport.Claim(ctx, Request{ID: "req-1"}, "mark", "")
	require.NoError(t, err)
	require.Equal(t, IssueRef{ID: "10001"}, ref)
	require.False(t, mine)

	_, err = jira.Drive(ctx, issue, Way{To: []string{pendingStatus.Name}}, nil)
	require.ErrorIs(t, err, ErrDryRun)
	_, err = jira.Drive(ctx, issue, Way{To: []string{todoStatus.Name}}, nil)
	require.NoError(t, err)
	_, err = jira.Move(ctx, issue.ID, Status{}, Way{To: []string{todoStatus.Name}}, nil)
	require.NoError(t, err)
	_, err = jira.Move(ctx, issue.ID, approvedStatus, Way{To: []string{pendingStatus.Name}}, nil)
	require.ErrorIs(t, err, ErrChanged)
	_, err = jira.Move(ctx, issue.ID, todoStatus, Way{To: []string{pendingStatus.Name}}, nil)
	require.ErrorIs(t, err, ErrDryRun)
	_, err = jira.Move(ctx, "1", Status{}, Way{To: []string{pendingStatus.Name}}, nil)
	require.ErrorIs(t, err, ErrNotFound)
	require.Zero(t, written(cluster, tracker))
}

func TestAnIssueThatIsMadeAfterADryRunHasLookedIsTakenOverThoughTheRequestIsResolved(t *testing.T) {
	t.Parallel()
	inDryRun(t, func(*world) {}, func(t *testing.T, w *world) {
		o := official{w}
		o.asks(nil)
		w.after(time.Second)
		o.makes(agentAccount, true)
		w.cluster.change(officialID, func(r *Request) { r.State = StateApproved })
		w.after(10 * time.Minute)
		w.goLive()
		w.after(time.Minute)
		require.Equal(t, approvedStatus, w.issue(officialID).Issue.Status)
	})
}

func TestWhatTeleportsOwnPluginDidSinceADryRunIsTakenOver(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(w *world){
		"approved": func(w *world) { w.cluster.change(officialID, func(r *Request) { r.State = StateApproved }) },
		"gone":     func(w *world) { w.cluster.remove(officialID) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inDryRun(t, func(*world) {}, func(t *testing.T, w *world) {
				w.after(10 * time.Minute)
				w.stop()
				o := official{w}
				o.asks(nil)
				o.makes(agentAccount, true)
				end(w)
				time.Sleep(time.Minute)
				w.settings = nil
				w.start()
				w.after(time.Minute)
				require.NotEmpty(t, w.tracker.of(officialID))
				require.NotEqual(t, pendingStatus, w.issue(officialID).Issue.Status)
			})
		})
	}
}

func TestARowThatIsParkedInADryRunGoesOnAtOnceAfterIt(t *testing.T) {
	t.Parallel()
	inDryRun(t, func(*world) {}, func(t *testing.T, w *world) {
		o := official{w}
		o.asks(func(r *Request) { r.State = StateApproved })
		id := o.makes(agentAccount, true)
		w.tracker.archive(id, true)
		w.after(30 * time.Minute)
		w.goLive()
		require.Equal(t, "approved", w.cluster.plugin[officialID]["resolution"])
	})
}

func TestWhatIsSaidAfterADryRunHasFailedHalfWayIsNotSaidAgain(t *testing.T) {
	t.Parallel()
	inDryRun(t, func(*world) {}, func(t *testing.T, w *world) {
		o := official{w}
		o.asks(nil)
		id := o.makes(agentAccount, true)
		w.tracker.edit(id, func(i *memIssue) { i.Issue.RequestID = officialID })
		w.after(time.Minute)
		w.tracker.set(func(op string) error {
			if op == "latest" { // before a move
				return &Error{Side: "jira", Op: op, Scope: ScopeSide, Err: errLost}
			}
			return nil
		}, nil)
		w.cluster.change(officialID, func(r *Request) { r.State = StateApproved })
		w.after(time.Minute)
		w.stop()
		w.tracker.set(nil, nil)
		o.says(id, "Access request has been approved\n")
		w.settings = nil
		w.start()
		w.after(time.Minute)
		require.Equal(t, []string{""}, keysOf(w.issue(officialID)))
		require.Equal(t, approvedStatus, w.issue(officialID).Issue.Status)
	})
}

func TestADryRunTellsAgainWhatHappensAgain(t *testing.T) {
	t.Parallel()
	inDryRun(t, func(w *world) { w.policy.Approvers = []string{"bob@example.com"} }, func(t *testing.T, w *world) {
		o := official{w}
		o.asks(nil)
		id := o.makes(agentAccount, true)
		w.tracker.edit(id, func(i *memIssue) { i.Issue.RequestID = officialID })
		eve := Person{AccountID: "acc-eve", Email: "eve@example.com", Active: true}
		w.tracker.person(id, eve, approvedStatus)
		w.after(2 * time.Minute)
		w.tracker.person(id, bob, pendingStatus)
		w.after(2 * time.Minute)
		w.tracker.person(id, eve, approvedStatus)
		w.after(2 * time.Minute)
		require.Len(t, w.foretold(officialID), 2)
	})
}

func TestADryRunTellsOnceThoughItIsStartedTwice(t *testing.T) {
	t.Parallel()
	inDryRun(t, func(*world) {}, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(5 * time.Minute)
		w.stop()
		w.start()
		w.after(5 * time.Minute)
		require.Len(t, w.foretold("req-1"), 1)
	})
}
