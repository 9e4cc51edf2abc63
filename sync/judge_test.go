package sync

import (
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	bob = Person{AccountID: "acc-bob", Email: "bob@example.com", DisplayName: "Bob", Active: true}
	eve = Person{AccountID: "acc-eve", Email: "eve@example.com", DisplayName: "Eve", Active: true}
)

// movedBy is a fresh read of the issue of pendingLink after a person moved it.
func movedBy(p Person, to Status) Detail {
	l := pendingLink()
	l.Issue.Status = to
	return Detail{Issue: l.Issue, Moves: []Move{{ID: "501", Author: p, At: noon, From: pendingStatus, To: to}}}
}

func TestJudgeTakesTheVerdictOfThePersonWhoMovedTheIssue(t *testing.T) {
	t.Parallel()
	for status, want := range map[Status]RequestState{
		approvedStatus:             StateApproved,
		{ID: "7", Name: "GRANTED"}: StateApproved,
		deniedStatus:               StateDenied,
	} {
		v, err := testPolicy.Judge(pendingLink(), movedBy(bob, status))
		require.NoError(t, err)
		require.Equal(t, &Decision{State: want, Delegator: "jira:bob@example.com"}, v.Decision)
	}
}

func TestJudgeCountsTheLastMoveOnly(t *testing.T) {
	t.Parallel()
	d := movedBy(eve, deniedStatus)
	d.Moves = append(d.Moves,
		Move{ID: "502", Author: eve, From: deniedStatus, To: pendingStatus},
		Move{ID: "503", Author: bob, From: pendingStatus, To: approvedStatus})
	d.Issue.Status = approvedStatus
	v, err := testPolicy.Judge(pendingLink(), d)
	require.NoError(t, err)
	require.Equal(t, "jira:bob@example.com", v.Decision.Delegator)
}

func TestJudgeNamesTheAccountWhereTheEmailIsHidden(t *testing.T) {
	t.Parallel()
	hidden := bob
	hidden.Email = ""
	v, err := testPolicy.Judge(pendingLink(), movedBy(hidden, approvedStatus))
	require.NoError(t, err)
	require.Equal(t, "jira:acc-bob", v.Decision.Delegator)
}

func TestJudgeConcludesNothingWhileTheHistoryLags(t *testing.T) {
	t.Parallel()
	d := movedBy(bob, deniedStatus)
	d.Issue.Status = approvedStatus
	_, err := testPolicy.Judge(pendingLink(), d)
	require.ErrorIs(t, err, ErrUndecided)
}

func TestJudgeRefuses(t *testing.T) {
	t.Parallel()
	with := func(edit func(*Person)) Detail {
		p := bob
		edit(&p)
		return movedBy(p, approvedStatus)
	}
	resolved := edit(pendingLink(), state(StateDenied))
	otherProject := movedBy(bob, approvedStatus)
	otherProject.Issue.Project = "PLAY"
	noHistory := movedBy(bob, approvedStatus)
	noHistory.Moves = nil
	renamed := movedBy(bob, approvedStatus)
	renamed.Moves[0].To.Name = "In review"
	swapped := movedBy(bob, approvedStatus)
	swapped.Moves[0].To.Name = deniedStatus.Name

	tests := map[string]struct {
		link   Link
		detail Detail
		reason string
	}{
		"a request that Teleport settled": {resolved, movedBy(bob, approvedStatus), "resolved"},
		"a move to Expired":               {pendingLink(), movedBy(bob, expiredStatus), "status"},
		"an issue of another project":     {pendingLink(), otherProject, "project"},
		"a move without author":           {pendingLink(), movedBy(Person{Active: true}, approvedStatus), "unattributed"},
		"an unknown account":              {pendingLink(), with(func(p *Person) { p.AccountID = "unknown" }), "unattributed"},
		"an issue that was never moved":   {pendingLink(), noHistory, "unattributed"},
		"the agent itself":                {pendingLink(), with(func(p *Person) { p.Agent = true }), "agent"},
		"an app":                          {pendingLink(), with(func(p *Person) { p.App = true }), "app"},
		"a status renamed afterwards":     {pendingLink(), renamed, "renamed"},
		"two statuses' names swapped":     {pendingLink(), swapped, "renamed"},
		"an inactive account":             {pendingLink(), with(func(p *Person) { p.Active = false }), "inactive"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := testPolicy.Judge(test.link, test.detail)
			require.NoError(t, err)
			require.Nil(t, v.Decision)
			require.Equal(t, test.reason, v.Reason)
			require.NotEmpty(t, v.Refusal)
			require.NotEmpty(t, v.MoveID)
		})
	}
}

func TestReasonIsTheMoversOwnNewest(t *testing.T) {
	t.Parallel()
	comment := func(p Person, body string) Comment { return Comment{Author: p, Body: body} }
	tests := map[string]struct {
		newestFirst []Comment
		want        string
	}{
		"none":        {nil, ""},
		"in the line": {[]Comment{comment(bob, "Reason: on call")}, "on call"},
		"Resolution, any case, spaces": {
			[]Comment{comment(bob, "ok\r\n  rEsOlution :  fine by me \r\nbye")},
			"fine by me",
		},
		"below the line":                 {[]Comment{comment(bob, "Reason:\r\n\r\nfirst\r\nsecond\r\n")}, "first\nsecond"},
		"somebody else's does not count": {[]Comment{comment(eve, "Reason: because I say so")}, ""},
		"own older one beside another's": {
			[]Comment{comment(eve, "Reason: no"), comment(bob, "hello"), comment(bob, "Reason: yes")},
			"yes",
		},
		"the newest of two":           {[]Comment{comment(bob, "Reason: new"), comment(bob, "Reason: old")}, "new"},
		"an empty one does not count": {[]Comment{comment(bob, "Reason:  \n"), comment(bob, "Reason: old")}, "old"},
		"a word within a line":        {[]Comment{comment(bob, "The reason: none")}, ""},
		"one that somebody else edited": {
			[]Comment{{Author: bob, Edited: true, Body: "Reason: forged"}, comment(bob, "Reason: mine")},
			"mine",
		},
		"one that not all may see": {
			[]Comment{{Author: bob, Restricted: true, Body: "Reason: secret"}, comment(bob, "Reason: open")},
			"open",
		},
		"the agent's comment":             {[]Comment{{Author: bob, Key: "resolution:approved", Body: "Reason: x"}}, ""},
		"nobody's comment, nobody's move": {[]Comment{comment(Person{}, "Reason: x")}, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, reasonFrom(test.newestFirst, bob))
		})
	}
}

func TestInNotifyModeJudgeRefusesEveryVerdict(t *testing.T) {
	t.Parallel()
	p := testPolicy
	p.Mode = ModeNotify
	l := edit(pendingLink(), func(l *Link) { l.Request.URL = "https://teleport.example.com/web/requests/req-1" })
	for _, status := range []Status{approvedStatus, deniedStatus, expiredStatus} {
		v, err := p.Judge(l, movedBy(bob, status))
		require.NoError(t, err)
		require.Nil(t, v.Decision)
		require.Equal(t, "notify", v.Reason)
		require.Contains(t, v.Refusal, l.Request.URL)
	}
}

func TestJudgeTakesAStatusThatIsConfiguredByItsIDWhateverItsName(t *testing.T) {
	t.Parallel()
	p := testPolicy
	p.Statuses = Statuses{
		OutcomePending:  {"Pending"},
		OutcomeApproved: {approvedStatus.ID},
		OutcomeDenied:   {deniedStatus.ID},
	}
	d := movedBy(bob, approvedStatus)
	d.Moves[0].To.Name = "Genehmigt"
	v, err := p.Judge(pendingLink(), d)
	require.NoError(t, err)
	require.Equal(t, StateApproved, v.Decision.State)
}

func TestRefusedMovesHaveTheirOwnComments(t *testing.T) {
	t.Parallel()
	first, err := testPolicy.Judge(pendingLink(), movedBy(bob, expiredStatus))
	require.NoError(t, err)
	again := movedBy(bob, expiredStatus)
	again.Moves[0].ID = "777"
	second, err := testPolicy.Judge(pendingLink(), again)
	require.NoError(t, err)
	require.NotEqual(t, first.refusalKey(), second.refusalKey())
}
