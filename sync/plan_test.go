package sync

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stretchr/testify/require"
)

var (
	noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

	pendingStatus  = Status{ID: "1", Name: "Pending"}
	approvedStatus = Status{ID: "2", Name: "Approved"}
	deniedStatus   = Status{ID: "3", Name: "Denied"}
	expiredStatus  = Status{ID: "4", Name: "Expired"}
	todoStatus     = Status{ID: "9", Name: "To Do"}

	testPolicy = Policy{
		Mode:    ModeState,
		Project: "ACCESS",
		Statuses: Statuses{
			OutcomePending:  {"Pending"},
			OutcomeApproved: {"Approved", "Granted"},
			OutcomeDenied:   {"Denied"},
			OutcomeExpired:  {"Expired"},
			OutcomePromoted: {"Approved", "Granted"},
		},
		SelfApproval: SelfDeny,
	}
)

// pendingLink is a row at rest: pending in Teleport, under Pending in Jira, linked on both sides.
func pendingLink() Link {
	return Link{
		RequestID: "req-1",
		Request: Request{
			ID: "req-1", State: StatePending, User: "alice@example.com", Roles: []string{"db-admin"},
			Created: noon.Add(-time.Hour), Expires: noon.Add(time.Hour),
		},
		Issue: Issue{
			ID:        "10001",
			Key:       "ACCESS-1",
			Project:   "ACCESS",
			Status:    pendingStatus,
			RequestID: "req-1",
			Updated:   noon.Add(-time.Minute),
		},
		Work: Work{Bound: IssueRef{ID: "10001", Key: "ACCESS-1"}, Linked: true, Placed: true},
	}
}

// settledLink is a row at rest after its request was approved.
func settledLink() Link {
	l := pendingLink()
	l.Request.State = StateApproved
	l.Issue.Status = approvedStatus
	l.Commented = []string{"resolution:approved"}
	l.Resolved = OutcomeApproved
	l.SettledAt = noon
	return l
}

func TestPlan(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		link Link
		want []string // kinds, with the comment's key or the target
	}{
		"at rest while pending":  {pendingLink(), nil},
		"at rest when settled":   {settledLink(), nil},
		"a new request":          {edit(pendingLink(), noIssue), []string{"create"}},
		"an unfinished create":   {edit(pendingLink(), noIssue, begun(EffectCreate)), []string{"find"}},
		"resolved without issue": {edit(pendingLink(), noIssue, state(StateDenied)), []string{"settle denied"}},
		"resolved while a create is unfinished": {
			edit(pendingLink(), noIssue, begun(EffectCreate), state(StateDenied)), []string{"find"},
		},
		"resolved without issue and settled": {edit(settledLink(), noIssue), nil},
		"status not known yet":               {edit(pendingLink(), inStatus(Status{})), []string{"read"}},
		"issue may be gone": {
			edit(pendingLink(), func(l *Link) { l.SuspectIssue = true }),
			[]string{"read"},
		},
		"issue is gone while pending": {edit(pendingLink(), func(l *Link) { l.IssueGone = true }), []string{"read"}},
		"issue is gone and the request resolved": {
			edit(pendingLink(), state(StateDenied), func(l *Link) { l.IssueGone = true }), []string{"settle denied"},
		},
		"issue is gone after it was settled": {edit(settledLink(), func(l *Link) { l.IssueGone = true }), nil},
		"the field was emptied":              {edit(pendingLink(), holds("")), []string{"restore"}},
		"the field names another request":    {edit(pendingLink(), holds("req-2")), []string{"restore"}},
		"the field of a settled issue":       {edit(settledLink(), holds("")), nil},
		"the field was changed, then the issue moved": {
			edit(pendingLink(), holds("req-2"), inStatus(approvedStatus)), []string{"restore", "judge"},
		},
		"another issue holds the ID": {edit(pendingLink(), strays("666")), []string{"answer 666"}},
		"another issue was answered": {
			edit(pendingLink(), strays("666"), func(l *Link) { l.Answered = []string{"666"} }), nil,
		},
		"the issue itself was a stray before it was adopted": {edit(pendingLink(), strays("10001")), nil},
		"request may be gone": {
			edit(pendingLink(), func(l *Link) { l.SuspectRequest = true }),
			[]string{"check"},
		},
		"request is past its expiry": {
			edit(pendingLink(), func(l *Link) { l.Request.Expires = noon }),
			[]string{"check"},
		},
		"a request without expiry": {
			edit(pendingLink(), func(l *Link) { l.Request.Expires = time.Time{} }), nil,
		},
		"plugin data does not name the issue": {edit(pendingLink(), func(l *Link) { l.Linked = false }), []string{"link"}},
		"the workflow starts elsewhere": {
			edit(pendingLink(), inStatus(todoStatus), func(l *Link) { l.Placed = false }), []string{"move pending"},
		},
		"a person moved it to a status that means nothing here": {edit(pendingLink(), inStatus(todoStatus)), nil},
		"a person moved it to Approved": {
			edit(pendingLink(), inStatus(approvedStatus)),
			[]string{"judge"},
		},
		"a person moved it to another Approved status": {
			edit(pendingLink(), inStatus(Status{ID: "7", Name: "granted"})), []string{"judge"},
		},
		"a person moved it to Denied":  {edit(pendingLink(), inStatus(deniedStatus)), []string{"judge"}},
		"a person moved it to Expired": {edit(pendingLink(), inStatus(expiredStatus)), []string{"judge"}},
		"it was moved to Approved before it was placed": {
			edit(pendingLink(), inStatus(approvedStatus), func(l *Link) { l.Placed = false }),
			[]string{"judge"},
		},
		"a review": {
			edit(pendingLink(), reviewed("bob")),
			[]string{"comment review:bob"},
		},
		"a review that the issue shows": {
			edit(pendingLink(), reviewed("bob"), commented("review:bob")),
			nil,
		},
		"two reviews, one new": {
			edit(pendingLink(), reviewed("bob", "carol"), commented("review:bob")),
			[]string{"comment review:carol"},
		},
		"approved in Teleport": {
			edit(pendingLink(), state(StateApproved)),
			[]string{"comment resolution:approved", "move approved", "resolve approved"},
		},
		"approved by review in Teleport": {
			edit(pendingLink(), state(StateApproved), reviewed("bob")),
			[]string{"comment review:bob", "comment resolution:approved", "move approved", "resolve approved"},
		},
		"approved by a move in Jira": {
			edit(pendingLink(), state(StateApproved), inStatus(approvedStatus)),
			[]string{"comment resolution:approved", "resolve approved"},
		},
		"denied in Teleport, approved in Jira": {
			edit(pendingLink(), state(StateDenied), inStatus(approvedStatus)),
			[]string{"comment resolution:denied", "move denied", "resolve denied"},
		},
		"denied in Teleport, in a status without meaning": {
			edit(pendingLink(), state(StateDenied), inStatus(todoStatus)),
			[]string{"comment resolution:denied", "move denied", "resolve denied"},
		},
		"promoted": {
			edit(pendingLink(), state(StatePromoted)),
			[]string{"comment resolution:promoted", "move promoted", "resolve promoted"},
		},
		"gone while pending": {
			edit(pendingLink(), gone), []string{"comment resolution:expired", "move expired", "resolve expired"},
		},
		"all done but not settled": {
			edit(settledLink(), func(l *Link) { l.SettledAt = time.Time{} }), []string{"settle approved"},
		},
		"all done, and taken for being there": {
			edit(settledLink(), func(l *Link) { l.SettledAt, l.Issue.Assumed = time.Time{}, noon }), nil,
		},
		"all done, and not shown to be there for long": {
			edit(settledLink(), func(l *Link) { l.SettledAt, l.Issue.Assumed = time.Time{}, noon.Add(-assumedFor) }),
			[]string{"read"},
		},
		"taken for being under Pending": {
			edit(pendingLink(), func(l *Link) { l.Issue.Assumed = noon.Add(-time.Hour) }),
			nil,
		},
		"gone after it was approved":                   {edit(settledLink(), gone), nil},
		"moved to Denied after it was settled":         {edit(settledLink(), inStatus(deniedStatus)), []string{"judge"}},
		"moved to Pending after it was settled":        {edit(settledLink(), inStatus(pendingStatus)), []string{"judge"}},
		"moved to a status without meaning afterwards": {edit(settledLink(), inStatus(todoStatus)), nil},
		"denied in Teleport after it was approved": {
			edit(settledLink(), state(StateDenied)),
			[]string{"comment resolution:denied", "move denied", "resolve denied"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, a := range Plan(test.link, testPolicy, noon) {
				word := string(a.Kind)
				switch {
				case a.Key != "":
					word += " " + a.Key
				case a.To != "":
					word += " " + string(a.To)
				}
				if a.Cause == "" {
					t.Errorf("%s: no cause", word)
				}
				if a.Kind == ActComment && a.Body == "" {
					t.Errorf("%s: no text", word)
				}
				got = append(got, word)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("plan (-want +got):\n%s", diff)
			}
		})
	}
}

func edit(l Link, edits ...func(*Link)) Link {
	for _, e := range edits {
		e(&l)
	}
	return l
}

func noIssue(l *Link) { l.Bound, l.Issue, l.Linked, l.Placed = IssueRef{}, Issue{}, false, false }

func gone(l *Link) { l.Gone = true }

func begun(effect string) func(*Link) { return func(l *Link) { l.Begun = effect } }

func state(s RequestState) func(*Link) { return func(l *Link) { l.Request.State = s } }

func inStatus(s Status) func(*Link) { return func(l *Link) { l.Issue.Status = s } }

func holds(requestID string) func(*Link) { return func(l *Link) { l.Issue.RequestID = requestID } }

func strays(ids ...string) func(*Link) { return func(l *Link) { l.Strays = ids } }

func commented(keys ...string) func(*Link) { return func(l *Link) { l.Commented = keys } }

func reviewed(authors ...string) func(*Link) {
	return func(l *Link) {
		for _, a := range authors {
			l.Request.Reviews = append(l.Request.Reviews, Review{Author: a, Verdict: StateApproved, Created: noon})
		}
	}
}

func TestARowIsDueWhenItsRequestExpiresIfThatIsThenAskedFor(t *testing.T) {
	t.Parallel()
	expires := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for state, due := range map[RequestState]time.Time{StatePending: expires.Add(expiryGrace), "": {}} {
		l := pendingLink()
		l.Request.State, l.Request.Expires = state, expires
		require.Equal(t, !due.IsZero(), len(Plan(l, testPolicy, expires)) > 0)
		require.Equal(
			t,
			due,
			nextLook(l, expires.Add(-time.Hour)),
			"a row that is due and has no plan would be due again at once",
		)
	}
}
