package sync

import (
	"testing"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/require"
)

func TestARequestIsConcludedToHaveEndedFromTwoAnswersOnly(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		word requestWord
		want conclusion
	}{
		"found and listed":                           {requestWord{found: true, listed: true}, concludeHeld},
		"found and listed, past two clocks":          {requestWord{found: true, listed: true, overdue: true}, concludeHeld},
		"found and listed, told to be deleted":       {requestWord{found: true, listed: true, deleted: true}, concludeHeld},
		"not found, told to be deleted":              {requestWord{deleted: true}, concludeEnded},
		"not found, with the right":                  {requestWord{right: ListRightGranted}, concludeEnded},
		"not found, without the right":               {requestWord{right: ListRightLacking}, concludeUnproven},
		"not found, without the right, past clocks":  {requestWord{right: ListRightLacking, overdue: true}, concludeUnproven},
		"not found, the right unknown":               {requestWord{}, concludeUnproven},
		"not found, past two clocks":                 {requestWord{overdue: true}, concludeEnded},
		"found, not listed, with the right":          {requestWord{found: true, right: ListRightGranted}, concludeEnded},
		"found, not listed, without the right":       {requestWord{found: true, right: ListRightLacking}, concludeUnproven},
		"found, not listed, told to be deleted once": {requestWord{found: true, deleted: true}, concludeUnproven},
	} {
		got, why := test.word.conclude()
		require.Equal(t, test.want, got, name)
		require.Equal(t, got == concludeUnproven, why != "", name)
	}
}

func TestAnIssueIsConcludedToBeGoneFromTwoAnswersOnly(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		word issueWord
		want conclusion
	}{
		"not shown, in a project that is":         {issueWord{project: true}, concludeEnded},
		"shown among others":                      {issueWord{shown: true, project: true}, concludeUnproven},
		"not shown, nor any other of the project": {issueWord{}, concludeUnproven},
	} {
		got, why := test.word.conclude()
		require.Equal(t, test.want, got, name)
		require.Equal(t, got == concludeUnproven, why != "", name)
	}
}

func TestALostRightToListClosesNothing(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		w.cluster.lie(func(c *memCluster) { c.right = ListRightLacking })
		w.after(15 * time.Minute) // a sweep
		require.Contains(t, w.problems(), "may not list access requests")
		id := w.issue("req-1").Issue.ID
		w.tracker.person(id, bob, approvedStatus)
		w.after(time.Minute)
		require.Equal(t, approvedStatus, w.issue("req-1").Issue.Status, "the move waits")
		require.Empty(t, keysOf(w.issue("req-1")))
		require.Empty(t, w.cluster.decided)

		w.cluster.lie(func(c *memCluster) { c.right = ListRightGranted })
		w.after(15 * time.Minute)
		require.Empty(t, w.problems())
		require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
		require.Equal(t, []string{"resolution:approved"}, keysOf(w.issue("req-1")))
	})
}

func TestARequestThatEndedUnseenIsConfirmedByTheRightToList(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		w.cluster.forget("req-1")
		w.after(11 * time.Minute)
		require.Equal(t, expiredStatus, w.issue("req-1").Issue.Status)
		require.Equal(t, []string{"resolution:expired"}, keysOf(w.issue("req-1")))
	})
}

func TestWhereNobodySaysWhetherListsCountTwoClocksDo(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1") // for an hour
		w.after(time.Second)
		w.cluster.lie(func(c *memCluster) { c.right = ListRightUnknown })
		w.cluster.forget("req-1")
		w.after(20 * time.Minute)
		require.Equal(t, pendingStatus, w.issue("req-1").Issue.Status)
		require.Contains(t, w.problems(), "does not tell whether this identity may list")
		w.after(time.Hour)
		require.Equal(t, expiredStatus, w.issue("req-1").Issue.Status)
		require.Empty(t, w.problems())
	})
}

func TestARequestWronglyTakenForGoneIsOpenedAgain(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		w.cluster.lie(func(c *memCluster) { c.blind = true })
		w.after(11 * time.Minute)
		require.Equal(t, expiredStatus, w.issue("req-1").Issue.Status, "all answers agree")

		w.cluster.lie(func(c *memCluster) { c.blind = false })
		w.after(11 * time.Minute)
		issue := w.issue("req-1")
		require.Equal(t, pendingStatus, issue.Issue.Status)
		require.Equal(t, []string{"resolution:expired", "retracted:1"}, keysOf(issue))
		require.Equal(t, OutcomePending, OutcomeOf(w.store.row("req-1")))

		w.cluster.remove("req-1") // now it has ended
		w.after(time.Minute)
		require.Equal(t, expiredStatus, w.issue("req-1").Issue.Status)
		require.Equal(t, []string{"resolution:expired", "retracted:1", "resolution:expired:2"}, keysOf(w.issue("req-1")))
	})
}

func TestARequestThatWasOpenedAgainIsDecidedByAMove(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		w.cluster.lie(func(c *memCluster) { c.blind = true })
		w.after(11 * time.Minute)
		w.cluster.lie(func(c *memCluster) { c.blind = false })
		w.after(11 * time.Minute)
		w.tracker.person(w.issue("req-1").Issue.ID, bob, deniedStatus)
		w.after(time.Minute)
		require.Equal(t, []string{"req-1 denied jira:bob@example.com"}, w.cluster.decided)
		require.Equal(t, []string{"resolution:expired", "retracted:1", "resolution:denied"}, keysOf(w.issue("req-1")))
	})
}

func TestTheClockOfTeleportSaysWhenARequestEnds(t *testing.T) {
	t.Parallel()
	for name, offset := range map[string]time.Duration{
		"behind by 3 h": -3 * time.Hour, "ahead by 3 h": 3 * time.Hour, "behind by a minute": -time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorldWith(t, func(w *world) { w.cluster.offset = offset }, func(t *testing.T, w *world) {
				there := time.Now().Add(offset).UTC()
				for _, id := range []string{"req-1", "req-2"} {
					w.cluster.add(
						Request{
							ID:      id,
							State:   StatePending,
							User:    "alice@example.com",
							Created: there,
							Expires: there.Add(63 * time.Minute),
						},
					)
				}
				w.after(40 * time.Minute)
				w.tracker.person(w.issue("req-1").Issue.ID, bob, approvedStatus)
				w.after(time.Minute)
				require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
				require.Equal(t, pendingStatus, w.issue("req-2").Issue.Status)

				w.after(22*time.Minute + time.Second) // just past the expiry there, and between two sweeps
				w.tracker.person(w.issue("req-2").Issue.ID, bob, approvedStatus)
				w.after(time.Hour)
				require.Len(t, w.cluster.decided, 1, "what is past its expiry is not decided")
				if offset <= 0 {
					w.after(4 * time.Hour) // this machine looks when its own clock says so, or Teleport tells of the deletion
				}
				require.Equal(t, expiredStatus, w.issue("req-2").Issue.Status)
			})
		})
	}
}

func TestOneNotFoundOfAnIssueEndsNothing(t *testing.T) {
	t.Parallel()
	for _, op := range []string{"read", "comment", "move", "drive", "issues"} {
		t.Run(op, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w *world) {
				w.request("req-1")
				w.after(time.Second)
				w.tracker.set(once(op, &Error{Side: "jira", Op: op, Err: ErrNotFound}), nil)
				w.cluster.change("req-1", func(r *Request) { r.State = StateDenied })
				w.after(11 * time.Minute)
				require.Equal(t, deniedStatus, w.issue("req-1").Issue.Status)
				require.Equal(t, []string{"resolution:denied"}, keysOf(w.issue("req-1")))
				require.Empty(t, w.problems())
			})
		})
	}
}

func TestAnIssueThatComesBackShowsWhatItMissed(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		issue := w.tracker.hide(w.issue("req-1").Issue.ID)
		w.cluster.change("req-1", func(r *Request) { r.State = StateApproved })
		w.after(20 * time.Minute)
		require.True(t, w.store.row("req-1").IssueGone)
		require.False(t, w.store.row("req-1").SettledAt.IsZero(), "nothing can be shown on it")
		w.tracker.show(issue)
		w.after(11 * time.Minute)
		require.Equal(t, approvedStatus, w.issue("req-1").Issue.Status)
		require.Equal(t, []string{"resolution:approved"}, keysOf(w.issue("req-1")))
	})
}

// problems is what readiness would say, in one text.
func (w *world) problems() string {
	text := ""
	for _, p := range w.health.Problems() {
		text += p + "\n"
	}
	return text
}

func TestASearchIndexThatStandsStillIsToldAndHoldsUpNoDecision(t *testing.T) {
	t.Parallel()
	inWorldWith(t, func(w *world) { w.tracker.dataCenter = true }, func(t *testing.T, w *world) {
		w.request("req-1")
		w.request("req-2")
		w.after(11 * time.Minute) // a sweep has asked the index
		w.tracker.pull(func(t *memTracker) { t.frozen = time.Now() })
		w.tracker.person(w.issue("req-1").Issue.ID, bob, approvedStatus)
		w.after(2 * time.Minute)
		require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
		w.after(10 * time.Minute)
		w.tracker.person(w.issue("req-2").Issue.ID, bob, pendingStatus)
		w.tracker.pull(func(t *memTracker) { t.ahead = time.Hour }) // that was an hour ago
		w.after(2 * time.Minute)
		require.Contains(t, w.problems(), "jira search index: it is behind by 1h")
		w.tracker.pull(func(t *memTracker) { t.frozen = time.Time{} })
		w.after(11 * time.Minute)
		require.Empty(t, w.problems())
	})
}

func TestManyIssuesThatAreNotShownAtOnceAreTheProjects(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		for _, id := range []string{"req-1", "req-2", "req-3"} {
			w.request(id)
		}
		w.after(time.Second)
		w.tracker.pull(func(t *memTracker) {
			t.absent, t.has = func(string, string) bool { return true }, nil // the account lost its right to browse
		})
		w.after(11 * time.Minute)
		require.Contains(t, w.problems(), "does not see the project")
		for _, id := range []string{"req-1", "req-2", "req-3"} {
			require.False(t, w.store.row(id).IssueGone)
			require.False(t, w.store.row(id).SuspectIssue, "no single issue is looked into")
		}
		w.tracker.pull(func(t *memTracker) { t.absent, t.has = nil, allStatuses })
		w.after(11 * time.Minute)
		require.Empty(t, w.problems())
	})
}

func TestALockOnAnIdleAgentIsTold(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.after(time.Minute)
		denied := &Error{Side: "teleport", Op: "any", Scope: ScopeSide, Err: ErrForbidden}
		w.cluster.set(func(string) error { return denied }, nil)
		w.after(2 * time.Minute)
		require.Contains(t, w.problems(), "teleport rights")
		w.cluster.set(nil, nil)
		w.after(10 * time.Second)
		require.Empty(t, w.problems())
	})
}

func TestASweepComparesPastAnIndexThatStandsStill(t *testing.T) {
	t.Parallel()
	prepare := func(w *world) {
		w.tracker.dataCenter = true
		w.settings = func(s *Settings) { s.Poll, s.Idle = cron.Every(10*time.Hour), cron.Every(10*time.Hour) }
	}
	inWorldWith(t, prepare, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		w.tracker.pull(func(t *memTracker) { t.frozen = time.Now().Add(time.Minute) })
		w.after(2 * time.Minute)
		w.tracker.person(w.issue("req-1").Issue.ID, bob, deniedStatus)
		w.after(11 * time.Minute)
		require.Equal(t, []string{"req-1 denied jira:bob@example.com"}, w.cluster.decided)
	})
}

func TestAnIssueInAProjectThatIsNotServedIsLeftToItsAgent(t *testing.T) {
	t.Parallel()
	for name, seen := range map[string]bool{"the account sees it": true, "the account does not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inWorld(t, func(t *testing.T, w *world) {
				w.tracker.mu.Lock()
				theirs := w.tracker.made("req-1")
				theirs.Issue.Project, theirs.Issue.Key = "OPS", "OPS-29"
				w.tracker.absent = func(string, string) bool { return !seen }
				w.tracker.mu.Unlock()
				id := theirs.Issue.ID
				w.cluster.plugin["req-1"] = map[string]string{"issue_id": id, "issue_key": "OPS-29", "claim": "theirs"}
				w.request("req-1")
				w.after(5 * time.Minute)
				require.False(t, w.store.row("req-1").Parked)
				w.cluster.change("req-1", func(r *Request) { r.State = StateApproved })
				w.after(20 * time.Minute)
				issue := w.issue("req-1")
				require.Equal(t, id, issue.Issue.ID, "no other is made")
				require.Empty(t, issue.Comments)
				require.Empty(t, issue.Moves)
				require.False(t, w.store.row("req-1").SettledAt.IsZero())
				require.Empty(t, w.cluster.plugin["req-1"]["resolution"], "that is the other's to write")
			})
		})
	}
}

func TestAnIssueThatJiraShowsAmongOthersIsNotGone(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		w.tracker.pull(func(t *memTracker) { t.absent = func(op, _ string) bool { return op == "read" } })
		w.hint(w.issue("req-1").Issue.ID, time.Time{})
		w.after(5 * time.Minute)
		require.False(t, w.store.row("req-1").IssueGone)
		require.Contains(t, w.problems(), "Jira shows it among others, and not by itself")
		w.tracker.pull(func(t *memTracker) { t.absent = nil })
		w.tracker.person(w.issue("req-1").Issue.ID, bob, approvedStatus)
		w.after(time.Minute)
		require.Len(t, w.cluster.decided, 1)
		require.Empty(t, w.problems())
	})
}
