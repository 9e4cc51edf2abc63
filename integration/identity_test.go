package integration

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// The Teleport identity: renewed on disk while the agent works, no longer accepted, and at its end.

// reloadedLine is what the agent logs when it has put another identity in use.
const reloadedLine = "Teleport credentials reloaded"

// renew writes another identity to a path, in place of what is there: a new file, renamed.
func (s *system) renew(path string, lifetime time.Duration) {
	s.t.Helper()
	require.NoError(s.t, s.teleport.WriteIdentity(path, teleportsim.IdentityOptions{Lifetime: lifetime}))
}

// renewBySymlink writes another identity to a file of its own and lets the agent's path lead there,
// as Kubernetes does.
func (s *system) renewBySymlink() {
	s.t.Helper()
	dir := s.t.TempDir()
	s.renew(filepath.Join(dir, "target"), time.Hour)
	require.NoError(s.t, os.Symlink(filepath.Join(dir, "target"), filepath.Join(dir, "link")))
	require.NoError(s.t, os.Rename(filepath.Join(dir, "link"), s.identity))
}

// tear leaves the first half of the identity file, as a reader may find it while it is written in
// place.
func (s *system) tear() {
	s.t.Helper()
	whole, err := os.ReadFile(s.identity)
	require.NoError(s.t, err)
	require.NoError(s.t, os.WriteFile(s.identity, whole[:len(whole)/2], 0o600))
}

// hangUp asks a replica to read its files again, and waits for what it logs then.
func (s *system) hangUp(r *replica.Replica, message string) {
	s.t.Helper()
	before := len(r.Lines())
	require.NoError(s.t, r.Signal(syscall.SIGHUP))
	s.logs(r, before, message)
}

// approved is what becomes of a request that bob approves in Jira.
func approved() story {
	return story{
		State: types.RequestState_APPROVED, Verdicts: byBob(types.RequestState_APPROVED),
		Moves: []string{placed, "bob: Pending → Approved"}, Marks: []string{"resolution:approved"},
	}
}

// areApprovedOnce waits until requests that bob has approved are settled, and checks that each
// thing was done once, and nothing else in all of Jira and Teleport.
func (s *system) areApprovedOnce(ids []string) {
	s.t.Helper()
	for _, id := range ids {
		s.settled(id, "approved")
	}
	s.polls(jirasim.Cloud, 2)
	for _, id := range ids {
		require.Equal(s.t, approved(), s.story(id))
	}
	require.Len(s.t, s.jira.Issues(), len(ids))
	require.Equal(s.t, len(ids), s.jira.CallCount("POST issue"))
	require.Equal(s.t, len(ids), s.jira.CallCount("POST issue/{issue}/comment"))
}

func TestAnIdentityIsRenewedOnDiskWhileWorkGoesOn(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud, jira: unlimited})
	a := s.start("a")
	first := s.metrics(a)[identityExpiry]
	quiet := len(a.Lines())

	// Requests are made before each change of the file, and decided after it.
	var ids []string
	amid := func(change func()) {
		t.Helper()
		batch := s.requests(6)
		change()
		s.approveInJira(batch)
		ids = append(ids, batch...)
	}
	amid(func() { s.renew(s.identity, 2*time.Hour) })
	for !strings.Contains(a.Log(), reloadedLine) { // nobody tells the agent: it looks every 15 s
		require.NoError(t, s.ctx.Err(), "not reloaded")
		amid(func() { s.polls(jirasim.Cloud, 1) })
	}
	require.InDelta(t, first+3600, s.metrics(a)[identityExpiry], 120, "an hour more")

	amid(func() {
		s.tear()
		s.hangUp(a, "reload failed; the old Teleport credentials stay in use")
	})
	require.InDelta(t, first+3600, s.metrics(a)[identityExpiry], 120, "the torn file changed nothing")
	for range 2 { // from a file to a link, and from there to another
		amid(func() {
			s.renewBySymlink()
			s.hangUp(a, "reloaded")
		})
	}
	s.areApprovedOnce(ids)
	require.Equal(t, 1, s.teleport.Calls()["WatchEvents"], "the first watch goes on")
	for _, line := range a.Lines()[quiet:] {
		require.False(t, line.Is("failing; trying again until it works"), line.Text)
	}

	// The last one is in use: the next connection begins with it, and with no other.
	require.NoError(t, s.teleport.RotateUserCA())
	s.renewBySymlink()
	s.hangUp(a, "reloaded")
	last := s.requests(6)
	s.teleport.DropConnections()
	s.approveInJira(last)
	s.areApprovedOnce(append(ids, last...))
	require.Equal(t, 4, strings.Count(a.Log(), reloadedLine), "each whole identity once")
}

func TestWhenTheIdentityIsNoLongerAcceptedWorkGoesOnWithTheNextOne(t *testing.T) {
	t.Parallel()
	s := running(t, on{deployment: jirasim.Cloud, jira: unlimited})
	// When it happens, the first have been decided, the second wait for a person, the third for
	// their issues.
	ids := s.requests(6)
	s.approveInJira(ids)
	second := s.requests(6)
	for _, id := range second {
		s.issueIn(id, "Pending")
	}
	third := s.requests(6)
	require.NoError(t, s.teleport.RotateUserCA())
	s.teleport.DropConnections()
	for _, id := range second {
		require.NoError(t, s.jira.Move(s.issueOf(id).Key, "bob", "Approved"))
	}
	third = append(third, s.requests(6)...)
	s.polls(jirasim.Cloud, 3) // Jira goes on being asked
	for _, id := range third[6:] {
		require.Empty(t, s.issuesOf(id), "nothing can be known of it yet")
	}

	s.renew(s.identity, time.Hour) // nobody tells the agent
	s.approveInJira(third)
	s.areApprovedOnce(append(append(ids, second...), third...))
}

// identityExpiry is the metric.
const identityExpiry = "teleport_jira_agent_teleport_identity_expiry_timestamp_seconds"

func TestTheEndOfTheIdentityIsToldInAdvanceAndWhileItLasts(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	s.env["LEADER_LEASE"] = "10s" // a slow machine is no reason for another leader
	replicas := map[string]*replica.Replica{"leader": s.start("a"), "standby": s.standsBy("b")}
	fine := map[string]readyz{
		"leader":  {Code: http.StatusOK, Role: "leader", Ready: true, Epoch: 1},
		"standby": {Code: http.StatusOK, Role: "standby", Ready: true},
	}
	const lifetime = 20 * time.Second // for both to read it before it ends, else they refuse it
	s.renew(s.identity, lifetime)
	for _, r := range replicas {
		s.hangUp(r, "reloaded")
		require.InDelta(t, float64(time.Now().Add(lifetime).Unix()), s.metrics(r)[identityExpiry], lifetime.Seconds())
	}
	for role, r := range replicas {
		_, err := r.WaitLog(s.ctx, "the Teleport identity nears its end; renew it (is tbot running?)", "level", "warn")
		require.NoError(t, err, role)
		_, err = r.WaitLog(
			s.ctx,
			"the Teleport identity expired; this replica is not ready until it is renewed (tbot, or tctl auth sign)",
			"level",
			"error",
		)
		require.NoError(t, err)
		end := time.Unix(int64(s.metrics(r)[identityExpiry]), 0).UTC().Format(time.RFC3339)
		want := fine[role]
		want.Code, want.Ready = http.StatusServiceUnavailable, false
		want.Reasons = []string{"teleport: the identity expired at " + end + ", renew it (tbot, or tctl auth sign)"}
		require.Equal(t, want, s.ready(r))
	}
	s.renew(s.identity, time.Hour)
	for role, r := range replicas {
		s.hangUp(r, "reloaded")
		require.Equal(t, fine[role], s.ready(r))
		require.Equal(t, 1, strings.Count(r.Log(), "the Teleport identity nears its end"))
		require.Equal(t, 1, strings.Count(r.Log(), "the Teleport identity expired;"))
	}
	s.decideOne()
}
