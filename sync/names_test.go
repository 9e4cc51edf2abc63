package sync

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// german is the status of id 2 as an account sees it whose language is another.
var german = Status{ID: "2", Name: "Genehmigt"}

func calledSince(s Status, since time.Duration) StatusName {
	return StatusName{ID: s.ID, Name: s.Name, First: noon.Add(-since), Last: noon.Add(time.Minute - since)}
}

func TestAStatusIsTheSameUnderAnotherName(t *testing.T) {
	t.Parallel()
	configured := func(name string) Policy {
		p := testPolicy
		p.Statuses = Statuses{
			OutcomePending:  {"Pending"},
			OutcomeApproved: {name},
			OutcomeDenied:   {"Denied"},
			OutcomeExpired:  {"Expired"},
		}
		return p
	}
	for name, test := range map[string]struct {
		policy  Policy
		names   StatusNames
		history string // what it was called when it was moved
		decides bool
		reason  string // why it is refused
		err     error
	}{
		"the history is in another language": {
			policy: configured("Genehmigt"), names: StatusNames{calledSince(german, time.Hour)}, history: "Approved",
			decides: true,
		},
		"the status got the configured name after the move": {
			policy: configured("Genehmigt"), names: StatusNames{
				calledSince(Status{ID: "2", Name: "Done"}, time.Hour),
				calledSince(german, -time.Minute),
			},
			history: "Done", reason: refusedRenamed,
		},
		"the issue is shown in another language, and its history is not": {
			policy: configured("Approved"), names: StatusNames{calledSince(approvedStatus, time.Hour), calledSince(german,
				time.Minute)},
			history: "Approved", decides: true,
		},
		"no name is the configured one any more": {
			policy: configured("Approved"), names: StatusNames{calledSince(approvedStatus, time.Hour), calledSince(german,
				time.Minute)},
			history: "Genehmigt", err: ErrUnconfirmed,
		},
		"the history names the status of another outcome": {
			policy: configured("Genehmigt"), names: StatusNames{calledSince(german, time.Hour)}, history: "Denied",
			reason: refusedRenamed,
		},
		"the id is configured": {policy: configured("2"), history: "Approved", decides: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := movedBy(bob, german)
			d.Moves[0].To.Name = test.history
			test.policy.Names = test.names
			l := pendingLink()
			l.Issue.Status = german
			require.Equal(t, ActJudge, Plan(l, test.policy, noon)[0].Kind, "it is looked into")
			v, err := test.policy.Judge(l, d)
			require.ErrorIs(t, err, test.err)
			require.Equal(t, test.reason, v.Reason)
			require.Equal(t, test.decides, v.Decision != nil)
		})
	}
}

func TestAnIssueIsBroughtToAStatusThatHasAnotherNameNow(t *testing.T) {
	t.Parallel()
	p := testPolicy
	p.Names = StatusNames{
		calledSince(deniedStatus, time.Hour),
		calledSince(Status{ID: "3", Name: "Abgelehnt"}, time.Minute),
	}
	require.Equal(t, []string{"Denied", "3"}, p.Way(OutcomeDenied, false).To)
	require.True(t, p.Shows(Status{ID: "3", Name: "Abgelehnt"}, OutcomeDenied))
	require.False(t, p.Shows(Status{ID: "3", Name: "Abgelehnt"}, OutcomeApproved))

	swapped := StatusNames{
		calledSince(deniedStatus, time.Hour),
		calledSince(Status{ID: "3", Name: "Approved"}, time.Minute),
	}
	p.Names = swapped
	require.Equal(t, []string{"Denied"}, p.Way(OutcomeDenied, false).To, "it has the name of another outcome now")
}

func TestAConfiguredStatusThatIsNoLongerThereIsNamed(t *testing.T) {
	t.Parallel()
	p := testPolicy
	p.Names = StatusNames{
		calledSince(pendingStatus, time.Hour),
		calledSince(approvedStatus, time.Hour),
		calledSince(deniedStatus, time.Hour),
		calledSince(german, time.Minute),
	}
	present := []Status{pendingStatus, german}
	require.Equal(t, []string{
		`the approved status "Approved" is no longer in project ACCESS: it is called "Genehmigt" now; configure that name, or its id 2`,
		`the denied status "Denied" is no longer in project ACCESS`,
	}, p.Missing(present)[:2])
	require.Empty(
		t,
		p.Missing([]Status{pendingStatus, approvedStatus, deniedStatus}),
		"what never was there is for check to tell",
	)
}

func TestAStatusChangeThatNobodyDecidedIsNoVerdict(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		edit func(*Move)
		want string
	}{
		"a workflow was changed":          {func(m *Move) { m.Beside = []string{"Workflow"} }, refusedBulk},
		"the issue type was changed":      {func(m *Move) { m.Beside = []string{"issuetype"} }, refusedBulk},
		"the issue went to a project":     {func(m *Move) { m.Beside = []string{"project", "Key"} }, refusedBulk},
		"a rule made the change":          {func(m *Move) { m.Generator = "Approve after a day" }, refusedApp},
		"the resolution was set with it":  {func(m *Move) { m.Beside = []string{"resolution", "assignee"} }, ""},
		"a field called Projects changed": {func(m *Move) { m.Beside = []string{"customfield_10042"} }, ""},
	} {
		d := movedBy(bob, approvedStatus)
		test.edit(&d.Moves[0])
		v, err := testPolicy.Judge(pendingLink(), d)
		require.NoError(t, err, name)
		require.Equal(t, test.want, v.Reason, name)
		require.Equal(t, test.want == "", v.Decision != nil, name)
	}
}

func TestAMoveIsTheLastThoughJirasClockWasSetBackBeforeIt(t *testing.T) {
	t.Parallel()
	d := movedBy(eve, approvedStatus)
	d.Moves = []Move{ // by time: bob's is of the time when the clock ran ahead
		{ID: "506", Author: agentAccount, At: noon, From: approvedStatus, To: pendingStatus},
		{ID: "507", Author: eve, At: noon.Add(time.Minute), From: pendingStatus, To: approvedStatus},
		{ID: "505", Author: bob, At: noon.Add(time.Hour), From: pendingStatus, To: approvedStatus},
	}
	v, err := testPolicy.Judge(pendingLink(), d)
	require.NoError(t, err)
	require.Equal(t, "jira:eve@example.com", v.Decision.Delegator)

	d.Moves[0].ID, d.Moves[2].ID = "508", "509" // numbers of several nodes tell nothing: no order fits
	v, err = testPolicy.Judge(pendingLink(), d)
	require.NoError(t, err)
	require.Equal(t, bob, v.Move.Author, "times tell the order")
}

func TestATimeThatJirasClockHasNotReachedBlocksNoObservation(t *testing.T) {
	t.Parallel()
	old := pendingLink().Issue
	old.Updated = noon.Add(time.Hour) // the clock ran ahead
	seen := old
	seen.Status, seen.Updated, seen.AsOf = approvedStatus, noon.Add(time.Second), noon.Add(2*time.Second)
	merged, changed := MergeIssue(old, seen)
	require.True(t, changed)
	require.Equal(t, approvedStatus, merged.Status)
	require.Equal(t, noon.Add(time.Second), merged.Updated)
	require.Zero(t, merged.AsOf, "it belongs to one answer")

	// Later the recorded time is past. A read of the issue itself still says that it was never so;
	// an index may lag.
	seen.AsOf = old.Updated.Add(time.Second)
	_, changed = MergeIssue(old, seen)
	require.True(t, changed)
	seen.FromIndex = true
	_, changed = MergeIssue(old, seen)
	require.False(t, changed, "an older version")
	seen.FromIndex, seen.Updated = false, old.Updated.Add(-time.Minute)
	_, changed = MergeIssue(old, seen)
	require.False(t, changed, "an older version of a node that lags")
}
