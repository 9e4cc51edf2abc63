package integration

import (
	"testing"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/teleportsim"
)

// Teleport in trouble while the agent works: its calls fail, hang and lose their answers, and its
// watch tells nothing or breaks.

// teleportCalls are all calls that the agent makes of Teleport.
func teleportCalls() []string {
	return []string{"UpdatePluginData", "GetPluginData", "SetAccessRequestState", "ListAccessRequests", "WatchEvents"}
}

// befall lets the next call of a kind go wrong, and awaits it when a request has lived its life.
func (s *system) befall(rpc string, kind teleportsim.FaultKind) {
	s.t.Helper()
	fault := s.teleport.Inject(teleportsim.Fault{RPC: rpc, Times: 1, Kind: kind})
	if rpc == "WatchEvents" { // one is open: only the next meets the fault
		s.teleport.BreakWatches()
		if kind == teleportsim.FaultLoseAnswer ||
			kind == teleportsim.FaultHangAnswer { // which strikes when the next one ends
			require.NoError(
				s.t,
				s.teleport.Wait(s.ctx, func(t *teleportsim.Server) bool { return fault.Struck() == 1 && t.Watches() == 1 }),
			)
			s.teleport.BreakWatches()
		}
	}
	id := s.lives(nil)
	require.NoError(s.t, s.teleport.Wait(s.ctx, func(*teleportsim.Server) bool { return fault.Struck() == 1 }))
	s.polls(jirasim.Cloud, 2)
	require.Equal(s.t, wholeLife(), s.story(id), "%s, fault %d", rpc, kind)
}

func TestACallToTeleportThatGoesWrongIsMadeUpForOnce(t *testing.T) {
	t.Parallel()
	for _, rpc := range teleportCalls() {
		t.Run(rpc, func(t *testing.T) {
			t.Parallel()
			s := running(t, on{deployment: jirasim.Cloud, jira: unlimited}, often)
			faults := []teleportsim.FaultKind{teleportsim.FaultError, teleportsim.FaultDropBefore, teleportsim.FaultLoseAnswer}
			for _, kind := range faults {
				s.befall(rpc, kind)
			}
			require.Len(t, s.jira.Issues(), len(faults))
			require.Equal(t, len(faults), s.jira.CallCount("POST issue"))
		})
	}
}

func TestACallToTeleportThatHangsIsMadeUpForOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		rpc  string
		kind teleportsim.FaultKind
	}{
		"write plugin data, after effect": {"UpdatePluginData", teleportsim.FaultHangAnswer},
		"decide, after effect":            {"SetAccessRequestState", teleportsim.FaultHangAnswer},
		"list":                            {"ListAccessRequests", teleportsim.FaultHang},
		"watch":                           {"WatchEvents", teleportsim.FaultHang},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := running(t, on{deployment: jirasim.Cloud}, often)
			s.befall(c.rpc, c.kind)
			require.Len(t, s.jira.Issues(), 1)
		})
	}
}

func TestWhatAWatchDoesNotTellIsFoundByTheNextList(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		begin func(*system) (end func())
		sweep string
	}{
		"it is silent, and a sweep lists": {sweep: often, begin: func(s *system) func() {
			s.teleport.MuteWatches(true)
			return func() {}
		}},
		"it is broken, and a new one begins with a list": {begin: func(s *system) func() {
			fault := s.teleport.Inject(teleportsim.Fault{RPC: "WatchEvents", Kind: teleportsim.FaultError})
			s.teleport.BreakWatches()
			return fault.Remove
		}},
		"all connections are cut, and a new watch begins with a list": {begin: func(s *system) func() {
			fault := s.teleport.Inject(teleportsim.Fault{RPC: "WatchEvents", Kind: teleportsim.FaultDropBefore})
			s.teleport.DropConnections()
			return fault.Remove
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := running(t, on{deployment: jirasim.Cloud}, "SYNC_SWEEP_SCHEDULE=@every 10m", c.sweep)
			reviewed, denied, deleted, passed := s.request(twice), s.request(), s.request(), s.request()
			for _, id := range []string{reviewed, denied, deleted, passed} {
				s.issueIn(id, "Pending")
			}
			s.polls(jirasim.Cloud, 1)

			end := c.begin(s)
			s.review(reviewed)
			require.NoError(t, s.teleport.Deny(denied, "carol@example.com", ""))
			require.NoError(t, s.teleport.Delete(deleted))
			require.NoError(t, s.teleport.PastExpiry(passed))
			made, unseen := s.request(), s.request()
			require.NoError(t, s.teleport.Delete(unseen))
			end()

			s.issueWith(reviewed, 1)
			s.issueIn(made, "Pending")
			s.settled(denied, "denied")
			s.issueIn(deleted, "Expired")
			s.settled(passed, "expired")
			s.approveInJira([]string{made})
			s.settled(made, "approved")
			s.polls(jirasim.Cloud, 2)

			expired := []string{placed, "agent: Pending → Expired"}
			for id, want := range map[string]story{
				reviewed: {State: types.RequestState_PENDING, Moves: []string{placed}, Marks: []string{"review:carol@example.com"}},
				denied:   {State: types.RequestState_DENIED, Moves: []string{placed, "agent: Pending → Denied"}, Marks: []string{"resolution:denied"}},
				deleted:  {Moves: expired, Marks: []string{"resolution:expired"}},
				passed:   {State: types.RequestState_PENDING, Moves: expired, Marks: []string{"resolution:expired"}},
				made: {
					State: types.RequestState_APPROVED, Verdicts: byBob(types.RequestState_APPROVED),
					Moves: []string{placed, "bob: Pending → Approved"}, Marks: []string{"resolution:approved"},
				},
			} {
				require.Equal(t, want, s.story(id))
			}
			require.Len(t, s.jira.Issues(), 5)
		})
	}
}
