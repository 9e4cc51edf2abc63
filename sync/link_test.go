package sync

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMergeRequest(t *testing.T) {
	t.Parallel()
	pending := pendingLink().Request
	with := func(edits ...func(*Link)) Request { return edit(pendingLink(), edits...).Request }
	tests := map[string]struct {
		old, seen Request
		want      Request
		changed   bool
	}{
		"nothing new":        {pending, pending, pending, false},
		"approved":           {pending, with(state(StateApproved)), with(state(StateApproved)), true},
		"an old pending one": {with(state(StateApproved)), pending, with(state(StateApproved)), false},
		"a denial overwrites an approval": {
			with(state(StateApproved)),
			with(state(StateDenied)),
			with(state(StateDenied)),
			true,
		},
		"nothing overwrites a denial": {
			with(state(StateDenied)),
			with(state(StateApproved)),
			with(state(StateDenied)),
			false,
		},
		"a review":                              {pending, with(reviewed("bob")), with(reviewed("bob")), true},
		"an older one with fewer reviews":       {with(reviewed("bob")), pending, with(reviewed("bob")), false},
		"the same in another zone is not a new": {pending, inZone(pending), pending, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, changed := MergeRequest(test.old, test.seen)
			require.Equal(t, test.changed, changed)
			require.True(t, equalRequests(test.want, got), "%+v", got)
		})
	}
}

// inZone is the same request as it comes back from another decoder: same instants, empty lists
// instead of none.
func inZone(r Request) Request {
	r.Resources = []string{}
	return r
}

func TestMergeIssue(t *testing.T) {
	t.Parallel()
	old := pendingLink().Issue
	old.Property, old.ByAgent = "req-1", true
	at := func(s Status, d time.Duration) Issue {
		i := pendingLink().Issue
		i.Status, i.Updated = s, old.Updated.Add(d)
		return i
	}
	tests := map[string]struct {
		seen    Issue
		status  Status
		changed bool
	}{
		"nothing new":                    {at(pendingStatus, 0), pendingStatus, false},
		"moved":                          {at(approvedStatus, time.Second), approvedStatus, true},
		"an older version":               {at(approvedStatus, -time.Millisecond), pendingStatus, false},
		"moved within the clock's grain": {at(approvedStatus, 0), approvedStatus, true},
		"something else changed":         {at(pendingStatus, time.Second), pendingStatus, true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, changed := MergeIssue(old, test.seen)
			require.Equal(t, test.changed, changed)
			require.Equal(t, test.status, got.Status)
			require.Equal(t, "req-1", got.Property, "what only a full read tells is kept")
			require.True(t, got.ByAgent)
		})
	}
}

func TestDescribeIssueSaysWhatPeopleChanged(t *testing.T) {
	t.Parallel()
	old := pendingLink().Issue
	old.Type = "Task"
	now := old
	now.Key, now.Project, now.Type, now.RequestID, now.Status = "PLAY-7", "PLAY", "Bug", "", deniedStatus
	require.Equal(
		t,
		`key "PLAY-7", was "ACCESS-1"; project "PLAY", was "ACCESS"; type "Bug", was "Task"; request ID "", was "req-1"; `+
			`status "Denied", was "Pending"`,
		DescribeIssue(old, now),
	)
	require.Empty(t, DescribeIssue(old, old))
}
