package sync

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func archived(l *Link) { l.Issue.Archived = Archived }

func TestPlanForAnArchivedIssue(t *testing.T) {
	t.Parallel()
	unlinked := func(l *Link) { l.Linked = false }
	for name, c := range map[string]struct {
		link Link
		want []Kind
	}{
		"pending":                        {edit(pendingLink(), archived), []Kind{ActRead}},
		"pending, with a review to tell": {edit(pendingLink(), archived, reviewed("carol")), []Kind{ActRead}},
		"pending, its field emptied":     {edit(pendingLink(), archived, holds("")), []Kind{ActRead}},
		"pending and not linked yet":     {edit(pendingLink(), archived, unlinked), []Kind{ActLink, ActRead}},
		"moved before it was archived":   {edit(pendingLink(), archived, inStatus(approvedStatus)), []Kind{ActJudge, ActRead}},
		"moved to a status without meaning before": {
			edit(pendingLink(), archived, inStatus(todoStatus)), []Kind{ActRead},
		},
		"past its expiry":                 {edit(pendingLink(), archived, func(l *Link) { l.Request.Expires = noon }), []Kind{ActCheck}},
		"denied":                          {edit(pendingLink(), archived, state(StateDenied)), []Kind{ActRead, ActResolve}},
		"denied and told so to Teleport":  {edit(pendingLink(), archived, state(StateDenied), func(l *Link) { l.Resolved = OutcomeDenied }), []Kind{ActRead}},
		"settled":                         {edit(settledLink(), archived), nil},
		"settled, in a status of its own": {edit(settledLink(), archived, inStatus(todoStatus)), nil},
		"settled and moved before":        {edit(settledLink(), archived, inStatus(deniedStatus)), []Kind{ActRead}},
		"settled, then denied":            {edit(settledLink(), archived, state(StateDenied)), []Kind{ActRead, ActResolve}},
		"deleted after that":              {edit(pendingLink(), archived, state(StateDenied), func(l *Link) { l.IssueGone = true }), []Kind{ActSettle}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []Kind
			for _, a := range Plan(c.link, testPolicy, noon) {
				got = append(got, a.Kind)
				require.NotEmpty(t, a.Cause)
			}
			require.Equal(t, c.want, got)
		})
	}
}

func TestMergeIssueKeepsWhatIsKnownOfTheArchive(t *testing.T) {
	t.Parallel()
	with := func(a Archival) Issue { return edit(pendingLink(), func(l *Link) { l.Issue.Archived = a }).Issue }
	for name, c := range map[string]struct {
		old, seen, want Archival
		changed         bool
		says            string
	}{
		"archived":            {NotArchived, Archived, Archived, true, "archived"},
		"restored":            {Archived, NotArchived, NotArchived, true, "no longer archived"},
		"not told":            {Archived, ArchivalUnknown, Archived, false, ""},
		"told what was taken": {ArchivalUnknown, NotArchived, NotArchived, false, ""},
		"told for the first":  {ArchivalUnknown, Archived, Archived, true, "archived"},
	} {
		merged, changed := MergeIssue(with(c.old), with(c.seen))
		require.Equal(t, c.want, merged.Archived, name)
		require.Equal(t, c.changed, changed, name)
		require.Equal(t, c.says, DescribeIssue(with(c.old), merged), name)
	}
}

// parkedFor requires that the row is parked for a reason, and that it was said once in its
// activity.
func (w *world) parkedFor(id, reason string) {
	w.t.Helper()
	row := w.store.row(id)
	require.True(w.t, row.Parked, "%+v", row.Work)
	require.Contains(w.t, row.LastError, reason)
	w.store.mu.Lock()
	defer w.store.mu.Unlock()
	said := slices.DeleteFunc(
		slices.Clone(w.store.activity[id]),
		func(a Activity) bool { return a.Outcome != row.LastError },
	)
	require.Len(w.t, said, 1)
}

func TestAnArchivedIssueOfAPendingRequestIsToldAndWaitedFor(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		id := w.issue("req-1").Issue.ID
		w.tracker.archive(id, true)
		w.after(11 * time.Minute) // a sweep sees it
		w.parkedFor(
			"req-1",
			"the issue is archived: nobody can move it; no other is made: restore it, or decide the request in Teleport",
		)
		w.after(11 * time.Minute)
		w.parkedFor("req-1", "the issue is archived")

		w.tracker.archive(id, false)
		w.after(11 * time.Minute)
		require.False(t, w.store.row("req-1").Parked)
		w.tracker.person(id, bob, approvedStatus)
		w.after(time.Minute)
		require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
		require.Equal(t, []string{"resolution:approved"}, keysOf(w.issue("req-1")))
		require.Equal(t, 1, w.tracker.count("create"))
	})
}

func TestARequestWhoseIssueIsArchivedIsDecidedInTeleportAndShownWhenItIsRestored(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		id := w.issue("req-1").Issue.ID
		w.tracker.archive(id, true)
		w.cluster.change("req-1", func(r *Request) { r.Reviews = []Review{{Author: "carol", Verdict: StateApproved}} })
		w.after(time.Second) // Jira refuses the comment
		w.parkedFor("req-1", "decide the request in Teleport")
		refused := w.tracker.count("comment")
		w.cluster.change("req-1", func(r *Request) { r.State = StateDenied })
		w.after(time.Minute)
		w.parkedFor("req-1", "it cannot show that the request is denied; restore it if it should")
		require.Equal(t, "denied", w.cluster.plugin["req-1"]["resolution"])
		require.Equal(t, refused, w.tracker.count("comment"), "what cannot be done is not tried")
		require.Empty(t, w.issue("req-1").Comments)

		w.tracker.archive(id, false)
		w.after(11 * time.Minute)
		require.Equal(t, deniedStatus, w.issue("req-1").Issue.Status)
		require.Equal(t, []string{"review:carol", "resolution:denied"}, keysOf(w.issue("req-1")))
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
	})
}

func TestAVerdictGivenBeforeTheIssueWasArchivedCounts(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		id := w.issue("req-1").Issue.ID
		w.stop()
		w.tracker.person(id, bob, approvedStatus)
		w.tracker.archive(id, true)
		w.start()
		w.after(time.Minute)
		require.Equal(t, []string{"req-1 approved jira:bob@example.com"}, w.cluster.decided)
		w.parkedFor("req-1", "it cannot show that the request is approved")
	})
}

func TestAnArchivedIssueOfASettledRequestIsLeftAloneUntilTheOutcomeChanges(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		id := w.issue("req-1").Issue.ID
		w.cluster.change("req-1", func(r *Request) { r.State = StateApproved })
		w.after(time.Minute)
		w.tracker.archive(id, true)
		w.after(15 * time.Minute)
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
		require.False(t, w.store.row("req-1").Parked)

		w.cluster.change("req-1", func(r *Request) { r.State = StateDenied })
		w.after(time.Minute)
		w.parkedFor("req-1", "it cannot show that the request is denied")
		w.request("req-2") // from now on polls do not reach back to the issue
		w.after(time.Minute)
		w.tracker.archive(id, false)
		w.after(11 * time.Minute)
		require.Equal(t, deniedStatus, w.issue("req-1").Issue.Status)
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
	})
}

func TestARefusedChangeIsTriedAgainUntilItIsKnownWhetherTheIssueIsArchived(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		w.tracker.archive(w.issue("req-1").Issue.ID, true)
		w.tracker.set(once("issues", &Error{Side: "jira", Op: "issues", Scope: ScopeSide, Err: errLost}), nil)
		w.cluster.change("req-1", func(r *Request) { r.State = StateDenied })
		w.after(time.Second / 10)
		require.False(t, w.store.row("req-1").Parked)
		w.after(time.Minute)
		w.parkedFor("req-1", "the issue is archived")
	})
}

func TestAnotherIssueThatHoldsTheIDAndIsArchivedKeepsNothingOpen(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		forged := w.tracker.forge("req-1", eve, approvedStatus)
		w.tracker.set(func(op string) error {
			if op == "read" {
				w.tracker.archive(forged, true) // after a search has shown it
			}
			return nil
		}, nil)
		w.cluster.change("req-1", func(r *Request) { r.State = StateDenied })
		w.after(2 * time.Minute)
		require.Equal(t, []string{forged}, w.store.row("req-1").Answered)
		require.False(t, w.store.row("req-1").SettledAt.IsZero())
	})
}

func TestAnIssueThatIsShownAgainIsGoneOnWith(t *testing.T) {
	t.Parallel()
	inWorld(t, func(t *testing.T, w *world) {
		w.request("req-1")
		w.after(time.Second)
		id := w.issue("req-1").Issue.ID
		w.tracker.mu.Lock()
		hidden := w.tracker.issues[id]
		delete(w.tracker.issues, id)
		w.tracker.mu.Unlock()
		w.after(11 * time.Minute)
		require.True(t, w.store.row("req-1").Parked)
		reads := w.tracker.count("read")
		w.after(30 * time.Minute)
		require.Equal(t, reads, w.tracker.count("read"), "sweeps look, and read it by itself no more")

		w.tracker.mu.Lock()
		w.tracker.issues[id] = hidden
		w.tracker.mu.Unlock()
		w.after(11 * time.Minute)
		require.False(t, w.store.row("req-1").Parked)
		require.False(t, w.store.row("req-1").IssueGone)
		w.tracker.person(id, bob, deniedStatus)
		w.after(time.Minute)
		require.Equal(t, []string{"req-1 denied jira:bob@example.com"}, w.cluster.decided)
	})
}
