package sync

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// drawn is a workflow out of lines "From > To, To"; a status without a line was not looked at.
func drawn(offeredAt string, lines ...string) Workflow {
	seen := make(map[string][]Status)
	for _, line := range lines {
		from, to, _ := strings.Cut(line, " > ")
		seen[from] = []Status{}
		for name := range strings.SplitSeq(to, ", ") {
			if name != "" {
				seen[from] = append(seen[from], Status{Name: name})
			}
		}
	}
	return Workflow{
		Offered: seen[offeredAt],
		Seen: func(s Status) ([]Status, bool) {
			to, known := seen[s.Name]
			return to, known
		},
	}
}

func named(names string) (all []Status) {
	for name := range strings.SplitSeq(names, ", ") {
		all = append(all, Status{Name: name})
	}
	return all
}

var wayStatuses = Statuses{
	OutcomePending: {"Pending", "Waiting"}, OutcomeApproved: {"Granted", "Approved"}, OutcomeDenied: {"Denied"},
	OutcomeExpired: {"Expired"}, OutcomePromoted: {"Granted", "Approved"},
}

func TestWayNext(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		to      Outcome
		pending bool
		at      string
		visited string
		has     string
		flow    []string
		want    string // "" for none
	}{
		"one transition away": {
			to: OutcomeDenied, at: "Approved",
			flow: []string{"Approved > Pending, Denied"}, want: "Denied",
		},
		"two away, by way of Pending, not looked at": {
			to: OutcomeDenied, at: "Approved",
			flow: []string{"Approved > Review, Pending"}, want: "Pending",
		},
		"two away, as seen": {
			to: OutcomeDenied, at: "Approved",
			flow: []string{"Approved > Pending, Review", "Review > Denied"}, want: "Review",
		},
		"the shortest way seen": {
			to: OutcomeDenied, at: "A",
			flow: []string{"A > B, C", "B > D", "D > Denied", "C > Denied"}, want: "C",
		},
		"through what stands for nothing": {
			to: OutcomePending, pending: true, at: "Backlog",
			flow: []string{"Backlog > Approved, Expired, To Do"}, want: "To Do",
		},
		"not through a decision while it is pending": {
			to: OutcomePending, pending: true, at: "Backlog",
			flow: []string{"Backlog > Approved", "Approved > Pending"},
		},
		"nor on a later step": {
			to: OutcomePending, pending: true, at: "B",
			flow: []string{"B > C", "C > Denied", "Denied > Pending"},
		},
		"through Expired while pending, if seen": {
			to: OutcomePending, pending: true, at: "B",
			flow: []string{"B > Expired", "Expired > Pending"}, want: "Expired",
		},
		"not through Expired to see": {
			to: OutcomePending, pending: true, at: "B",
			flow: []string{"B > Expired"},
		},
		"through a decision that was overruled": {
			to: OutcomeDenied, at: "Expired",
			flow: []string{"Expired > Approved", "Approved > Denied"}, want: "Approved",
		},
		"rather not through another outcome": {
			to: OutcomeDenied, at: "E",
			flow: []string{"E > Approved, X", "Approved > Denied", "X > Y", "Y > Denied"}, want: "X",
		},
		"first configured, though two away": {
			to: OutcomeApproved, at: "Pending",
			flow: []string{"Pending > Approved, Review", "Review > Granted"}, want: "Review",
		},
		"first configured, where it is not seen yet": {
			to: OutcomeApproved, at: "Pending",
			flow: []string{"Pending > Approved, Review"}, want: "Review",
		},
		"second, where the workflow lacks the first": {
			to: OutcomeApproved, at: "Pending", has: "Pending, Approved, Review",
			flow: []string{"Pending > Approved, Review"}, want: "Approved",
		},
		"second, where all was looked at": {
			to: OutcomeApproved, at: "Pending",
			flow: []string{"Pending > Approved, Review", "Review > Pending"}, want: "Approved",
		},
		"nothing in a workflow without any": {
			to: OutcomeDenied, at: "Pending", has: "Pending, Review",
			flow: []string{"Pending > Review"},
		},
		"unexplored first": {
			to: OutcomeDenied, at: "A",
			flow: []string{"A > B, C", "B > A"}, want: "C",
		},
		"on to what is unexplored": {
			to: OutcomeDenied, at: "A",
			flow: []string{"A > B, C", "B > A", "C > D"}, want: "C",
		},
		"Pending further on rather than others": {
			to: OutcomeDenied, at: "A",
			flow: []string{"A > B, C", "C > Waiting"}, want: "C",
		},
		"never where it was": {
			to: OutcomeDenied, at: "B", visited: "A, B",
			flow: []string{"B > A"},
		},
		"nor by way of where it was": {
			to: OutcomeDenied, at: "B", visited: "A, B",
			flow: []string{"B > A", "A > Denied"},
		},
		"not to itself": {
			to: OutcomeDenied, at: "A",
			flow: []string{"A > A"},
		},
		"a dead end": {
			to: OutcomeDenied, at: "A",
			flow: []string{"A > "},
		},
		"six steps": {
			to: OutcomeDenied, at: "0",
			flow: []string{"0 > 1", "1 > 2", "2 > 3", "3 > 4", "4 > 5", "5 > Denied"}, want: "1",
		},
		"not seven": {
			to: OutcomeDenied, at: "0",
			flow: []string{"0 > 1", "1 > 2", "2 > 3", "3 > 4", "4 > 5", "5 > 6", "6 > Denied"},
		},
		"not seven with those done": {
			to: OutcomeDenied, at: "2", visited: "0, 1, 2",
			flow: []string{"2 > 3", "3 > 4", "4 > 5", "5 > 6", "6 > Denied"},
		},
		"six with those done": {
			to: OutcomeDenied, at: "2", visited: "0, 1, 2",
			flow: []string{"2 > 3", "3 > 4", "4 > 5", "5 > Denied"}, want: "3",
		},
		"not to look where no step would be left": {
			to: OutcomeDenied, at: "5", visited: "0, 1, 2, 3, 4, 5",
			flow: []string{"5 > 6"},
		},
		"the last step": {
			to: OutcomeDenied, at: "5", visited: "0, 1, 2, 3, 4, 5",
			flow: []string{"5 > Denied"}, want: "Denied",
		},
		"an approval that shares its statuses counts": {
			to: OutcomePromoted, at: "Pending",
			flow: []string{"Pending > Granted"}, want: "Granted",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			way, flow := Policy{Statuses: wayStatuses}.Way(tt.to, tt.pending), drawn(tt.at, tt.flow...)
			if tt.visited != "" {
				way.Visited = named(tt.visited)
			}
			if tt.has != "" {
				flow.Statuses = named(tt.has)
			}
			next, ok := way.Next(Status{Name: tt.at}, flow)
			require.Equal(t, tt.want != "", ok)
			require.Equal(t, tt.want, next.Name)
		})
	}
}

func TestWayComparesStatusesByID(t *testing.T) {
	t.Parallel()
	way := Way{To: []string{"9"}, Visited: []Status{{ID: "1", Name: "Pending"}}}
	flow := Workflow{
		Offered: []Status{{ID: "1", Name: "Ausstehend"}, {ID: "2", Name: "Prüfung"}},
		Seen: func(s Status) ([]Status, bool) {
			return map[string][]Status{"1": {{ID: "9"}}, "2": {{ID: "9"}}}[s.ID], true
		},
	}
	next, ok := way.Next(Status{ID: "3"}, flow)
	require.True(t, ok)
	require.Equal(t, "2", next.ID, "the issue was in 1 already, whatever it is called now")
}
