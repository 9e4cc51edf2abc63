package integration

import (
	"context"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// Several replicas: one acts, the others stand by, and whoever takes over goes on from what is
// recorded.

// story is what became of a request, on both sides: each thing as often as it was done.
type story struct {
	State    types.RequestState // NONE when Teleport no longer has the request
	Verdicts []verdict          // state changes by the agent
	Moves    []string
	Marks    []string
}

// story of a request, which must have exactly one issue.
func (s *system) story(id string) story {
	s.t.Helper()
	issue := s.issueOf(id)
	return story{State: s.teleport.State(id), Verdicts: s.verdicts(id), Moves: moves(issue), Marks: marks(s.t, issue)}
}

// byBob is a verdict of bob in Jira.
func byBob(state types.RequestState) []verdict {
	return []verdict{{State: state, Delegator: "jira:bob@example.com"}}
}

// requests makes n requests by alice.
func (s *system) requests(n int) (ids []string) {
	s.t.Helper()
	for range n {
		ids = append(ids, s.request())
	}
	return ids
}

func TestOfTwoReplicasOneActs(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := newSystem(t, on{deployment: d, jira: unlimited})
		s.env["LEADER_LEASE"] = "10s" // a slow machine is no reason for another leader
		a := s.start("a")
		b := s.standsBy("b")
		ids := s.requests(24)
		for i, id := range ids {
			issue := s.issueIn(id, "Pending")
			switch i % 4 {
			case 0:
				require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
			case 1:
				require.NoError(t, s.jira.Move(issue.Key, "bob", "Denied"))
			case 2:
				require.NoError(t, s.teleport.Approve(id, "carol@example.com", ""))
			}
		}
		for i, id := range ids {
			want := []story{
				{types.RequestState_APPROVED, byBob(types.RequestState_APPROVED), []string{placed, "bob: Pending → " +
					"Approved"}, []string{"resolution:approved"}},
				{types.RequestState_DENIED, byBob(types.RequestState_DENIED), []string{placed, "bob: Pending → " +
					"Denied"}, []string{"resolution:denied"}},
				{types.RequestState_APPROVED, nil, []string{placed, "agent: Pending → Approved"}, []string{"resolution:approved"}},
				{types.RequestState_PENDING, nil, []string{placed}, nil},
			}[i%4]
			if want.State != types.RequestState_PENDING {
				s.settled(id, strings.ToLower(want.State.String()))
			}
			require.Equal(t, want, s.story(id))
		}
		s.polls(d, 2)
		require.Len(t, s.jira.Issues(), 24)
		require.Equal(t, 24, s.jira.CallCount("POST issue"))
		require.Equal(t, 24+6, s.jira.CallCount("POST issue/{issue}/transitions"))
		require.Equal(t, 18, s.jira.CallCount("POST issue/{issue}/comment"))
		require.Equal(t, 12, s.teleport.Calls()["SetAccessRequestState"])
		require.Equal(t, readyz{Code: 200, Role: "leader", Ready: true, Epoch: 1}, s.ready(a))
		require.Equal(t, readyz{Code: 200, Role: "standby", Ready: true}, s.ready(b))
		require.NotContains(t, b.Log(), `"msg":"done"`)
	})
}

// crash is a moment at which a leader is killed: answers are held back until it works on as many
// requests as it can, and every one of them has had the same effect that the leader never hears of.
type crash struct {
	decided bool // people have moved the issues by then
	// hold holds back the answers to one kind of call from now on, and held waits until so many
	// have had their effect.
	hold func(*system)
	held func(s *system, ids []string, effects int) error
}

func crashes() map[string]crash {
	jira := func(endpoint string) func(*system) {
		return func(s *system) {
			s.jira.Inject(jirasim.Fault{Method: http.MethodPost, Endpoint: endpoint, Effect: jirasim.HangAnswer()})
		}
	}
	teleport := func(rpc string) func(*system) {
		return func(s *system) { s.teleport.Inject(teleportsim.Fault{RPC: rpc, Kind: teleportsim.FaultHangAnswer}) }
	}
	issues := func(has func(jirasim.Issue) bool) func(*system, []string, int) error {
		return func(s *system, _ []string, effects int) error {
			return s.jira.Wait(s.ctx, func(all []jirasim.Issue) bool { return count(all, has) == effects })
		}
	}
	requests := func(has func(*teleportsim.Server, string) bool) func(*system, []string, int) error {
		return func(s *system, ids []string, effects int) error {
			return s.teleport.Wait(s.ctx, func(t *teleportsim.Server) bool {
				return count(ids, func(id string) bool { return has(t, id) }) == effects
			})
		}
	}
	return map[string]crash{
		"claiming the request": {
			hold: teleport("UpdatePluginData"),
			held: requests(func(t *teleportsim.Server, id string) bool { return t.PluginData(id) != nil }),
		},
		"creating the issue": {
			hold: jira("issue"),
			held: issues(func(jirasim.Issue) bool { return true }),
		},
		"moving the issue to Pending": {
			hold: jira("issue/{issue}/transitions"),
			held: issues(func(i jirasim.Issue) bool { return i.Status.Name == "Pending" }),
		},
		"deciding in Teleport": {
			decided: true,
			hold:    teleport("SetAccessRequestState"),
			held:    requests(func(t *teleportsim.Server, id string) bool { return t.State(id) == types.RequestState_APPROVED }),
		},
		"writing the closing comment": {
			decided: true,
			hold:    jira("issue/{issue}/comment"),
			held:    issues(func(i jirasim.Issue) bool { return len(agentComments(i)) > 0 }),
		},
	}
}

func count[T any](all []T, has func(T) bool) (n int) {
	for _, one := range all {
		if has(one) {
			n++
		}
	}
	return n
}

func TestWhenTheLeaderIsKilledTheStandbyGoesOnAndNothingIsDoneTwice(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		for name, c := range crashes() {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := newSystem(t, on{deployment: d, jira: unlimited})
				s.env["LEADER_LEASE"] = "5s" // longer than a slow machine holds up a leader
				a := s.start("a", "SYNC_CONCURRENCY=8")
				b := s.standsBy("b")
				var ids []string
				if c.decided {
					ids = s.requests(12)
					for _, id := range ids {
						s.issueIn(id, "Pending")
					}
					c.hold(s)
					s.approveInJira(ids)
				} else {
					c.hold(s)
					ids = s.requests(12)
				}
				require.NoError(t, c.held(s, ids, 8))
				a.Kill()
				s.jira.ClearFaults()
				s.teleport.ClearFaults()

				_, err := b.WaitLog(s.ctx, "lock won; waiting until the lease of the leader before has ended")
				require.NoError(t, err)
				s.leads(b)
				if !c.decided {
					s.approveInJira(ids)
				}
				for _, id := range ids {
					s.settled(id, "approved")
				}
				s.polls(d, 2)
				for _, id := range ids {
					require.Equal(t, story{
						State:    types.RequestState_APPROVED,
						Verdicts: byBob(types.RequestState_APPROVED),
						Moves:    []string{placed, "bob: Pending → Approved"},
						Marks:    []string{"resolution:approved"},
					}, s.story(id))
				}
				require.Len(t, s.jira.Issues(), len(ids))
			})
		}
	})
}

// approveInJira lets bob approve requests as soon as their issues are pending.
func (s *system) approveInJira(ids []string) {
	s.t.Helper()
	for _, id := range ids {
		require.NoError(s.t, s.jira.Move(s.issueIn(id, "Pending").Key, "bob", "Approved"))
	}
}

// stopTime is how long a replica may take to end after SIGTERM.
const stopTime = 5 * time.Second

// stops sends the signal and waits for the end, which must be a clean one within stopTime.
func (s *system) stops(r *replica.Replica, signal os.Signal) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, stopTime)
	defer cancel()
	require.NoError(s.t, r.Signal(signal))
	code, err := r.Wait(ctx)
	require.NoError(s.t, err)
	require.Zero(s.t, code)
}

// promptly is for a replica's environment: the race detector otherwise waits for a second at each
// end, for races that are only then seen.
const promptly = "GORACE=atexit_sleep_ms=0"

func TestOnASignalTheLeaderStopsCleanlyAndHandsOver(t *testing.T) {
	t.Parallel()
	// hang makes calls hang, and calls arrived when the first one does.
	type hang func(s *system, arrived func())
	jira := func(method, endpoint string) hang {
		return func(s *system, arrived func()) {
			s.jira.Inject(jirasim.Fault{
				Method:   method,
				Endpoint: endpoint,
				Effect:   jirasim.Hang(),
				When:     func(*http.Request) bool { arrived(); return true },
			})
		}
	}
	teleport := func(rpc string) hang {
		return func(s *system, arrived func()) {
			s.teleport.Inject(
				teleportsim.Fault{RPC: rpc, Kind: teleportsim.FaultHang, Match: func(any) bool { arrived(); return true }},
			)
		}
	}
	for name, c := range map[string]struct {
		signal os.Signal
		hang   hang
	}{
		"SIGTERM while nothing goes on":            {syscall.SIGTERM, func(_ *system, arrived func()) { arrived() }},
		"SIGINT while nothing goes on":             {syscall.SIGINT, func(_ *system, arrived func()) { arrived() }},
		"SIGTERM while a poll of Jira hangs":       {syscall.SIGTERM, jira(http.MethodPost, "search/jql")},
		"SIGTERM while a read of an issue hangs":   {syscall.SIGTERM, jira(http.MethodGet, "issue/{issue}")},
		"SIGTERM while a comment hangs":            {syscall.SIGTERM, jira(http.MethodPost, "issue/{issue}/comment")},
		"SIGTERM while a decision hangs":           {syscall.SIGTERM, teleport("SetAccessRequestState")},
		"SIGTERM while all calls to Teleport hang": {syscall.SIGTERM, teleport("")},
		"SIGTERM while all calls to both sides hang": {syscall.SIGTERM, func(s *system, arrived func()) {
			jira("", "")(s, arrived)
			teleport("")(s, arrived)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, on{deployment: jirasim.Cloud})
			s.env["LEADER_LEASE"] = "10s" // without a word from the old leader the new one would wait for 11 s
			a := s.start("a", promptly)
			b := s.standsBy("b")
			id := s.request()
			issue := s.issueIn(id, "Pending")

			arrived := make(chan struct{})
			c.hang(s, sync.OnceFunc(func() { close(arrived) }))
			require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
			select {
			case <-arrived:
			case <-s.ctx.Done():
				t.Fatal("no call hangs")
			}
			s.stops(a, c.signal)

			ctx, cancel := context.WithTimeout(s.ctx, stopTime)
			defer cancel()
			_, err := b.WaitLog(ctx, "leading")
			require.NoError(t, err)
			_, err = a.WaitLog(ctx, "no longer leading", "handed_over", "true")
			require.NoError(t, err)
			require.NotContains(t, b.Log(), "lock won; waiting")
			s.jira.ClearFaults()
			s.teleport.ClearFaults()
			s.settled(id, "approved")
			s.polls(jirasim.Cloud, 2)
			require.Equal(t, story{
				State:    types.RequestState_APPROVED,
				Verdicts: byBob(types.RequestState_APPROVED),
				Moves:    []string{placed, "bob: Pending → Approved"},
				Marks:    []string{"resolution:approved"},
			}, s.story(id))
		})
	}
}

func TestAStandbyStopsCleanlyAndDisturbsNobody(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	s.env["LEADER_LEASE"] = "10s"
	a := s.start("a")
	b := s.standsBy("b", promptly)
	s.stops(b, syscall.SIGTERM)
	s.issueIn(s.request(), "Pending")
	require.Equal(t, readyz{Code: 200, Role: "leader", Ready: true, Epoch: 1}, s.ready(a))
}
