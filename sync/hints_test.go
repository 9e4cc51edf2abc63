package sync

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/require"
)

func TestAHintIsLookedAtUntilJiraShowsWhatItClaims(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		claimed, updated time.Time
		want             []time.Duration // the pauses before the further looks
	}{
		"Jira shows it at once":      {noon, noon, nil},
		"Jira shows something later": {noon, noon.Add(time.Second), nil},
		"Jira shows what was before": {noon, noon.Add(-time.Millisecond), lookAgain},
		"no time is claimed":         {time.Time{}, noon, lookAgain},
		"a time that is yet to come": {noon, noon.Add(time.Hour), lookAgain},
		"a time that never comes":    {noon.AddDate(1000, 0, 0), noon, lookAgain},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []time.Duration
			h := Hint{Claimed: c.claimed}
			now := noon.Add(time.Minute)
			for again := h.again(c.updated, now); again > 0; again = h.again(c.updated, now) {
				got = append(got, again)
				h.Looks++
			}
			require.Empty(t, cmp.Diff(c.want, got))
		})
	}
}

// rarely is for polls and sweeps that no test waits for.
func rarely(s *Settings) {
	s.Poll, s.Idle, s.Sweep = cron.Every(time.Hour), cron.Every(time.Hour), cron.Every(time.Hour)
}

// hint lets a webhook arrive that claims a change, and tells the leader.
func (w *world) hint(issueID string, claimed time.Time) {
	w.t.Helper()
	require.True(w.t, w.store.hint(issueID, claimed), "no row names issue %s", issueID)
	notify(w.store.hinted)
}

// withRarePolls is inWorld with a request whose issue is pending, and no poll for an hour.
func withRarePolls(t *testing.T, test func(t *testing.T, w *world, issueID string)) {
	t.Helper()
	inWorld(t, func(t *testing.T, w *world) {
		w.stop()
		w.settings = rarely
		w.start()
		w.request("req-1")
		w.after(2 * time.Second)
		test(t, w, w.issue("req-1").Issue.ID)
	})
}

func TestAHintMakesAMoveDecideAtOnce(t *testing.T) {
	t.Parallel()
	withRarePolls(t, func(t *testing.T, w *world, id string) {
		searches, reads := w.tracker.count("search"), w.tracker.count("read")
		w.tracker.person(id, bob, approvedStatus)
		w.hint(id, w.issue("req-1").Issue.Updated)
		w.after(900 * time.Millisecond)
		require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
		w.after(time.Minute)
		require.Equal(t, searches, w.tracker.count("search"))
		require.Equal(t, reads+1, w.tracker.count("read"), "one read is for the hint and for the decision")
		require.Zero(t, w.tracker.count("latest"))
		require.Empty(t, w.store.hints)
	})
}

func TestAHintThatIsEarlierThanJirasOwnAnswerIsLookedAtAgain(t *testing.T) {
	t.Parallel()
	withRarePolls(t, func(t *testing.T, w *world, id string) {
		w.tracker.late = 3 * time.Second
		reads := w.tracker.count("read")
		w.tracker.person(id, bob, approvedStatus)
		w.hint(id, w.issue("req-1").Issue.Updated)
		w.after(4 * time.Second)
		require.Empty(t, w.cluster.decided)
		require.Equal(t, reads+2, w.tracker.count("read"))
		w.after(2 * time.Second)
		require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
		w.after(30 * time.Second)
		require.Equal(t, reads+3, w.tracker.count("read"), "then it is answered")
		require.Empty(t, w.store.hints)
	})
}

func TestAHintSentAgainCostsNothing(t *testing.T) {
	t.Parallel()
	withRarePolls(t, func(t *testing.T, w *world, id string) {
		w.tracker.person(id, bob, approvedStatus)
		moved := w.issue("req-1").Issue.Updated
		w.hint(id, moved)
		w.after(10 * time.Second)
		settled := w.store.row("req-1")
		require.False(t, settled.SettledAt.IsZero())
		w.hint(id, time.Time{}) // the row learns of the agent's own closing comment
		w.after(time.Minute)

		before, reads := w.store.row("req-1"), w.reads()
		for range 100 {
			w.hint(id, moved)
			w.after(100 * time.Millisecond)
		}
		require.Empty(t, cmp.Diff(before, w.store.row("req-1")))
		require.Equal(t, reads, w.reads())
		require.Len(t, w.cluster.decided, 1)
		require.Empty(t, w.store.hints)
	})
}

func TestAHintThatClaimsWhatNeverHappenedDecidesNothing(t *testing.T) {
	t.Parallel()
	withRarePolls(t, func(t *testing.T, w *world, id string) {
		before, reads := w.store.row("req-1"), w.reads()
		w.hint(id, time.Now().Add(1000*time.Hour))
		w.after(time.Minute)
		require.Empty(t, w.cluster.decided)
		require.Equal(t, before.Request, w.store.row("req-1").Request)
		require.Equal(t, reads+5, w.reads())
		require.Empty(t, w.store.hints)
	})
}

// reads is how often issues were read by id.
func (w *world) reads() int { return w.tracker.count("latest") + w.tracker.count("read") }

func TestAFloodOfHintsTakesAtMostHalfOfTheCallsToJira(t *testing.T) {
	t.Parallel()
	for _, issues := range []int{1, hintFew, hintFew + 1} {
		withRarePolls(t, func(t *testing.T, w *world, id string) {
			ids := append(w.pending(2, issues), id)
			for _, took := range []time.Duration{0, time.Second} {
				w.tracker.faults.mu.Lock()
				w.tracker.delay = func() time.Duration { return took }
				w.tracker.faults.mu.Unlock()
				bulk, single := w.tracker.count("latest"), w.tracker.count("read")
				for range 600 {
					for _, id := range ids {
						w.hint(id, time.Now().Add(time.Hour))
					}
					w.after(100 * time.Millisecond)
				}
				require.LessOrEqual(t, w.tracker.count("latest")-bulk, int(time.Minute/max(hintRest, 2*took))+hintFew)
				require.LessOrEqual(t, w.tracker.count("read")-single, int(time.Minute/hintRest)+hintFew)
			}
		})
	}
}

func TestHintsOfATermBeforeAreHeededAtTheStart(t *testing.T) {
	t.Parallel()
	withRarePolls(t, func(t *testing.T, w *world, id string) {
		w.cluster.change("req-1", func(r *Request) { r.State = StateDenied })
		w.after(2 * time.Second)
		w.stop()
		w.cluster.breakWatches()
		w.tracker.lag = time.Hour // and the sweep at the start looks at open rows only
		w.tracker.person(id, bob, approvedStatus)
		require.True(t, w.store.hint(id, w.issue("req-1").Issue.Updated))
		w.start()
		w.after(2 * time.Second)
		require.Equal(t, deniedStatus, w.issue("req-1").Issue.Status)
	})
}

func TestHintsThatNobodyToldAreFoundAllTheSame(t *testing.T) {
	t.Parallel()
	withRarePolls(t, func(t *testing.T, w *world, id string) {
		w.tracker.person(id, bob, approvedStatus)
		require.True(t, w.store.hint(id, w.issue("req-1").Issue.Updated))
		w.after(hintsAnyway + 2*time.Second)
		require.Len(t, w.cluster.decided, 1)
	})
}

func TestAHintOfTheSameMomentAsWhatIsKnownIsLookedAt(t *testing.T) {
	t.Parallel()
	now := noon.Add(time.Minute)
	require.False(
		t,
		Hint{Claimed: noon, Recorded: noon}.answered(now),
		"where Jira keeps seconds, two changes may have one time",
	)
	require.True(t, Hint{Claimed: noon, Recorded: noon.Add(time.Second)}.answered(now))
	require.False(t, Hint{Recorded: noon}.answered(now))
	require.False(t, Hint{Claimed: noon, Recorded: noon.Add(time.Hour)}.answered(now), "Jira's clock ran ahead")
}

func TestAHintAboutASettledIssueThatWasMovedAwayPutsItBack(t *testing.T) {
	t.Parallel()
	withRarePolls(t, func(t *testing.T, w *world, id string) {
		w.cluster.change("req-1", func(r *Request) { r.State = StateDenied })
		w.after(2 * time.Second)
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
		w.tracker.person(id, bob, approvedStatus)
		w.hint(id, w.issue("req-1").Issue.Updated)
		w.after(2 * time.Second)
		require.Equal(t, deniedStatus, w.issue("req-1").Issue.Status)
		require.Equal(t, StateDenied, w.cluster.get("req-1").State)
		require.Empty(t, w.cluster.decided)
	})
}

func TestAHintAboutADeletedIssueIsFoundOut(t *testing.T) {
	t.Parallel()
	withRarePolls(t, func(t *testing.T, w *world, id string) {
		w.tracker.remove(id)
		w.hint(id, time.Time{})
		w.after(2 * time.Second)
		require.False(t, w.store.row("req-1").IssueDoubt.IsZero())
		require.False(t, w.store.row("req-1").IssueGone, "one word is not believed")
		w.after(time.Minute)
		row := w.store.row("req-1")
		require.True(t, row.IssueGone)
		require.True(t, row.Parked)
		require.Empty(t, w.store.hints)
	})
}

func TestManyHintsAreReadPageByPage(t *testing.T) {
	t.Parallel()
	withRarePolls(t, func(t *testing.T, w *world, _ string) {
		const moved = hintPage + hintFew + 1
		for _, issue := range w.pending(2, moved+1) {
			w.tracker.person(issue, bob, approvedStatus)
			require.True(t, w.store.hint(issue, time.Now()))
		}
		notify(w.store.hinted)
		w.after(2 * time.Second)
		require.Len(t, w.cluster.decided, moved)
		require.Equal(t, 2, w.tracker.count("latest"))
	})
}

// pending makes the requests with these numbers, and returns the ids of their issues.
func (w *world) pending(from, to int) (issues []string) {
	for n := from; n <= to; n++ {
		w.request(fmt.Sprintf("req-%d", n))
	}
	w.after(5 * time.Second)
	for n := from; n <= to; n++ {
		issues = append(issues, w.issue(fmt.Sprintf("req-%d", n)).Issue.ID)
	}
	return issues
}

func TestAHintAboutAnIssueThatCannotBeReadHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	withRarePolls(t, func(t *testing.T, w *world, id string) {
		issues := append(w.pending(2, hintFew+1), id)
		w.tracker.set(func(op string) error {
			if op == "latest" {
				return &Error{Side: "jira", Op: op, Permanent: true, Err: ErrForbidden}
			}
			return nil
		}, nil)
		for _, issue := range issues {
			w.tracker.person(issue, bob, approvedStatus)
			require.True(t, w.store.hint(issue, time.Time{}))
		}
		notify(w.store.hinted)
		w.after(2 * time.Second)
		require.Equal(t, 1, w.tracker.count("latest"))
		require.Len(t, w.cluster.decided, len(issues))
		require.Empty(t, w.store.hints)
	})
}

func TestHintsWaitWhileJiraIsPausedForAnotherReason(t *testing.T) {
	t.Parallel()
	withRarePolls(t, func(t *testing.T, w *world, id string) {
		w.tracker.set(
			once("comment", &Error{Side: "jira", Op: "comment", Scope: ScopeSide, RetryAfter: 20 * time.Second, Err: errLost}),
			nil,
		)
		w.cluster.change("req-1", func(r *Request) { r.Reviews = []Review{{Author: "carol", Verdict: StateDenied}} })
		w.after(time.Second)
		w.tracker.person(id, bob, approvedStatus)
		w.hint(id, w.issue("req-1").Issue.Updated)
		w.after(17 * time.Second)
		require.Zero(t, w.tracker.count("latest"))
		w.after(5 * time.Second)
		require.Len(t, w.cluster.decided, 1)
	})
}

func TestWhileJiraIsInTroubleHintsWaitAndNoneIsLost(t *testing.T) {
	t.Parallel()
	withRarePolls(t, func(t *testing.T, w *world, id string) {
		trouble := &Error{Side: "jira", Op: "latest", Scope: ScopeSide, RetryAfter: 20 * time.Second, Err: errLost}
		w.tracker.set(once("latest", trouble), nil)
		w.tracker.person(id, bob, approvedStatus)
		for range 10 {
			w.hint(id, w.issue("req-1").Issue.Updated)
			w.after(time.Second)
		}
		require.Equal(t, 1, w.tracker.count("latest"), "no call before Retry-After is over")
		w.after(15 * time.Second)
		require.True(t, slices.Contains(w.cluster.decided, "req-1 approved jira:bob@example.com"))
	})
}
