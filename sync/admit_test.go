package sync

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// admitted is the verdict on a move of pendingLink's issue by a person.
func admitted(t *testing.T, p Policy, l Link, d Detail, k Known) Verdict {
	t.Helper()
	v, err := p.Judge(l, d)
	require.NoError(t, err)
	return p.Admit(l, v, k)
}

// facet is one value of one thing that a verdict depends on, and the reason for which it alone is
// refused.
type facet[T any] struct {
	name   string
	edit   func(*T)
	refuse string
}

// judged is a move with all that is known about it.
type judged struct {
	policy Policy
	link   Link
	detail Detail
	known  Known
}

func (j judged) by(edit func(*Person)) judged {
	edit(&j.detail.Moves[0].Author)
	return j
}

// TestAVerdictIsRefusedForTheFirstOfItsObjections tries every combination of what the history says,
// then of what is known about the person. Each combination is refused for the first facet that
// objects, in the order of the lists, and admitted when none does.
func TestAVerdictIsRefusedForTheFirstOfItsObjections(t *testing.T) {
	t.Parallel()
	type f = facet[judged]
	person := func(edit func(*Person)) func(*judged) { return func(j *judged) { *j = j.by(edit) } }
	moved := func(to Status) func(*judged) {
		return func(j *judged) { j.detail.Issue.Status, j.detail.Moves[0].To = to, to }
	}
	none := func(*judged) {}
	history := [][]f{
		{
			{"pending", none, ""},
			{"denied", func(j *judged) { j.link.Request.State = StateDenied }, "resolved"},
			{"gone", func(j *judged) { j.link.Gone = true }, "resolved"},
		},
		{
			{"state", none, ""},
			{"review", func(j *judged) { j.policy.Mode = ModeReview }, ""},
			{"notify", func(j *judged) { j.policy.Mode = ModeNotify }, "notify"},
		},
		{{"to Approved", none, ""}, {"to Denied", moved(deniedStatus), ""}, {"to Expired", moved(expiredStatus), "status"}},
		{{"project", none, ""}, {"other project", func(j *judged) { j.detail.Issue.Project = "PLAY" }, "project"}},
		{
			{"a person", none, ""},
			{"nobody", person(func(p *Person) { *p = Person{Active: true} }), "unattributed"},
			{"unknown", person(func(p *Person) { p.AccountID = "unknown" }), "unattributed"},
			{"the agent", person(func(p *Person) { p.Agent = true }), "agent"},
			{"an app", person(func(p *Person) { p.App = true }), "app"},
			{"inactive", person(func(p *Person) { p.Active = false }), "inactive"},
		},
		{{"same name", none, ""}, {"renamed", func(j *judged) { j.detail.Moves[0].To.Name = "In review" }, "renamed"}},
	}
	policy := func(edit func(*Policy)) func(*judged) { return func(j *judged) { edit(&j.policy) } }
	approvers := func(who ...string) func(*judged) { return policy(func(p *Policy) { p.Approvers = who }) }
	groups := func(of []string, hidden bool) func(*judged) {
		return func(j *judged) {
			j.policy.ApproverGroups, j.known.Groups, j.known.GroupsHidden = []string{"oncall"}, of, hidden
		}
	}
	users := func(names ...string) func(*judged) {
		return func(j *judged) {
			for _, n := range names {
				j.known.Users = append(j.known.Users, User{Name: n})
			}
		}
	}
	about := [][]f{
		{
			{"anybody", none, ""},
			{"by account id", approvers("x", "acc-bob"), ""},
			{"by e-mail", approvers("BOB@example.com"), ""},
			{"another", approvers("acc-eve"), "approver"},
			{"likeness of an id", approvers("acc-bo", "bob"), "approver"},
			{"group", groups([]string{"all", "OnCall"}, false), ""},
			{"not in group", groups([]string{"all"}, false), "approver"},
			{"hidden groups", groups(nil, true), "unchecked"},
			{"by id beside hidden groups", func(j *judged) { groups(nil, true)(j); approvers("acc-bob")(j) }, ""},
		},
		{
			{"another", none, ""},
			{"same address", func(j *judged) { j.link.Request.User = "Bob@Example.com" }, "self"},
			{"same by trait", func(j *judged) { j.known.Requester.JiraIDs = []string{"x", "acc-bob"} }, "self"},
			{"likeness", func(j *judged) { j.link.Request.User = "bob" }, "self"},
			{"likeness, but another by trait", func(j *judged) {
				j.link.Request.User, j.known.Requester.JiraIDs = "bob", []string{"acc-other"}
			}, ""},
			{"allowed", func(j *judged) { j.link.Request.User, j.policy.SelfApproval = "bob@example.com", SelfAllow }, ""},
		},
		{
			{"plain request", none, ""},
			{"long-term", func(j *judged) { j.link.Request.OnlyInTeleport = "it asks for long-term access" }, "teleport"},
		},
		{
			{"state", none, ""},
			{"one user", func(j *judged) { j.policy.Mode = ModeReview; users("robert")(j) }, ""},
			{"no user", policy(func(p *Policy) { p.Mode = ModeReview }), "unmapped"},
			{"two users", func(j *judged) { j.policy.Mode = ModeReview; users("robert", "bobby")(j) }, "unmapped"},
			{"hidden users", func(j *judged) { j.policy.Mode, j.known.UsersHidden = ModeReview, true }, "unmapped"},
		},
	}
	base := func() judged { return judged{testPolicy, pendingLink(), movedBy(bob, approvedStatus), Known{}} }
	tried := 0
	each(history, func(chosen []f) {
		j := base()
		j.known.Users = []User{{Name: "robert"}}
		tried++
		expectFirst(t, j, chosen)
	})
	each(about, func(chosen []f) {
		j := base()
		tried++
		if chosen[1].name == "likeness" && chosen[3].name == "one user" {
			chosen = append([]f(nil), chosen...)
			chosen[1].refuse = "" // Teleport knows bob as robert, who is not the requester
		}
		expectFirst(t, j, chosen)
	})
	require.Equal(t, 3*3*3*2*6*2+9*6*2*5, tried)
}

// each calls try for every choice of one facet out of each list.
func each[T any](lists [][]facet[T], try func([]facet[T]), chosen ...facet[T]) {
	if len(lists) == len(chosen) {
		try(chosen)
		return
	}
	for _, f := range lists[len(chosen)] {
		each(lists, try, append(chosen[:len(chosen):len(chosen)], f)...)
	}
}

func expectFirst(t *testing.T, j judged, chosen []facet[judged]) {
	t.Helper()
	var names []string
	reason := ""
	for _, f := range chosen {
		f.edit(&j)
		names = append(names, f.name)
		if reason == "" {
			reason = f.refuse
		}
	}
	v := admitted(t, j.policy, j.link, j.detail, j.known)
	require.Equal(t, reason, v.Reason, "%v: %s", names, v.Refusal)
	require.Equal(t, reason == "", v.Decision != nil, "%v", names)
	require.Equal(t, reason != "", v.Refusal != "", "%v", names)
	if v.Decision != nil && j.policy.Mode == ModeReview {
		require.Equal(t, "robert", v.Decision.Author, "%v", names)
	}
}

func TestADenialOfWhatOnlyTeleportCanApproveCounts(t *testing.T) {
	t.Parallel()
	l := edit(pendingLink(), func(l *Link) { l.Request.OnlyInTeleport = "it asks for long-term access" })
	require.NotNil(t, admitted(t, testPolicy, l, movedBy(bob, deniedStatus), Known{}).Decision)
	require.Nil(t, admitted(t, testPolicy, l, movedBy(bob, approvedStatus), Known{}).Decision)
}

func TestSelfApproval(t *testing.T) {
	t.Parallel()
	onCloud := Person{AccountID: "x", Active: true}
	withTrait := func(ids ...string) Known { return Known{Requester: User{Name: "alice", JiraIDs: ids}} }
	tests := map[string]struct {
		user   string
		person Person
		known  Known
		// refused under each rule
		deny, strict bool
	}{
		"same e-mail address":                   {"bob@example.com", bob, Known{}, true, true},
		"other e-mail address":                  {"alice@example.com", bob, Known{}, false, false},
		"user name is the local part":           {"bob", bob, Known{}, true, true},
		"user name is another":                  {"alice", bob, Known{}, false, true},
		"hidden e-mail, nothing alike":          {"alice@example.com", onCloud, Known{}, false, true},
		"hidden e-mail, own account by trait":   {"alice@example.com", onCloud, withTrait("x"), true, true},
		"hidden e-mail, another by trait":       {"alice@example.com", onCloud, withTrait("y"), false, false},
		"same e-mail address, another by trait": {"bob@example.com", bob, withTrait("y"), true, true},
		"other e-mail address, own by trait":    {"alice@example.com", bob, withTrait("acc-bob"), true, true},
		"reviewing as another user":             {"alice", onCloud, Known{Users: []User{{Name: "xaver"}}}, false, false},
		"reviewing as the requester":            {"alice", onCloud, Known{Users: []User{{Name: "alice"}}}, true, true},
		"Data Center: same name, hidden e-mail": {
			"alice@example.com",
			Person{Key: "JIRAUSER1", Name: "alice", Active: true},
			Known{},
			true,
			true,
		},
		"Data Center: same name": {
			"Alice",
			Person{Key: "JIRAUSER1", Name: "alice", Email: "a.smith@example.com", Active: true},
			Known{},
			true,
			true,
		},
		"Data Center: other name, hidden e-mail": {
			"alice@example.com",
			Person{Key: "JIRAUSER2", Name: "bob", Active: true},
			Known{},
			false,
			true,
		},
		"Data Center: name is the e-mail address": {
			"alice@example.com",
			Person{Key: "JIRAUSER1", Name: "alice@example.com", Active: true},
			Known{},
			true,
			true,
		},
		"Data Center: own key by trait": {
			"alice",
			Person{Key: "JIRAUSER2", Name: "bob", Active: true},
			withTrait("JIRAUSER2"),
			true,
			true,
		},
		"Data Center: own name by trait": {
			"alice",
			Person{Key: "JIRAUSER2", Name: "bob", Active: true},
			withTrait("BOB"),
			true,
			true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := edit(pendingLink(), func(l *Link) { l.Request.User = test.user })
			for rule, refused := range map[SelfApproval]bool{SelfDeny: test.deny, SelfStrict: test.strict, SelfAllow: false} {
				p := testPolicy
				p.SelfApproval = rule
				v := admitted(t, p, l, movedBy(test.person, approvedStatus), test.known)
				require.Equal(t, refused, v.Decision == nil, "%s: %s", rule, v.Refusal)
			}
		})
	}
}

func TestApproversOnDataCenterAreNamedByKeyNameOrAddress(t *testing.T) {
	t.Parallel()
	carol := Person{Key: "JIRAUSER7", Name: "carol", Email: "c@example.com", Active: true}
	for who, admits := range map[string]bool{
		"JIRAUSER7": true, "carol": true, "Carol": true, "C@example.com": true,
		"JIRAUSER77": false, "jirauser7": false, "c": false, "unknown": false, "carol@example.com": false,
	} {
		p := testPolicy
		p.Approvers = []string{who}
		require.Equal(t, admits, admitted(t, p, pendingLink(), movedBy(carol, approvedStatus), Known{}).Decision != nil, who)
	}
}

func TestARefusalSaysWhoWasRefusedAndWhatToDo(t *testing.T) {
	t.Parallel()
	hidden := Person{AccountID: "acc-x", DisplayName: "X *bold*", Active: true}
	p := testPolicy
	p.Approvers = []string{"boss@example.com"}
	v := admitted(t, p, pendingLink(), movedBy(hidden, approvedStatus), Known{})
	for _, part := range []string{"X " + plain("*bold*"), "does not show this account's e-mail address", "Somebody else"} {
		require.Contains(t, v.Refusal, part)
	}
	require.False(t, formsMarkup(v.Refusal), v.Refusal)
}
