package integration

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// Two replicas, whatever ends the leadership of the first: never two act, the other goes on, and
// nothing is done twice.

// direction of traffic between a replica and PostgreSQL.
type direction int

const (
	toServer direction = iota
	toReplica
)

// gate is the network between one replica and PostgreSQL. What is cut gets stuck, the ends of
// connections included.
type gate struct {
	listener net.Listener

	mu     sync.Mutex
	server string
	stuck  [2]chan struct{} // by direction; not nil: nothing passes until it is closed
	// electionOnly cuts only the connection of the election, so that all else goes on.
	electionOnly bool
	conns        []net.Conn
}

// newGate returns a gate, and the URL of the database behind it.
func newGate(t *testing.T, databaseURL string) (*gate, string) {
	t.Helper()
	parsed, err := url.Parse(databaseURL)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &gate{listener: listener, server: parsed.Host}
	go g.accept()
	t.Cleanup(g.close)
	parsed.Host = listener.Addr().String()
	return g, parsed.String()
}

func (g *gate) accept() {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.mu.Lock()
		address := g.server
		g.mu.Unlock()
		server, err := net.Dial("tcp", address)
		if err != nil {
			client.Close() // the replica sees it
			continue
		}
		g.mu.Lock()
		g.conns = append(g.conns, client, server)
		g.mu.Unlock()
		election := &atomic.Bool{}
		go g.pass(toServer, server, client, election)
		go g.pass(toReplica, client, server, election)
	}
}

// pass passes on what from says.
func (g *gate) pass(d direction, to, from net.Conn, election *atomic.Bool) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if bytes.Contains(buffer[:n], []byte("LISTEN leadership_")) {
			election.Store(true)
		}
		g.mu.Lock()
		stuck := g.stuck[d]
		if g.electionOnly && !election.Load() {
			stuck = nil
		}
		g.mu.Unlock()
		if stuck != nil {
			<-stuck
		}
		if err != nil {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// leadTo lets new connections reach another server. Those that are open stay where they are.
func (g *gate) leadTo(t *testing.T, databaseURL string) {
	t.Helper()
	parsed, err := url.Parse(databaseURL)
	require.NoError(t, err)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.server = parsed.Host
}

// cutElection cuts the connection of the election alone, both ways.
func (g *gate) cutElection() (heal func()) {
	g.mu.Lock()
	g.electionOnly = true
	g.mu.Unlock()
	return g.cut(toServer, toReplica)
}

// cut lets nothing pass in these directions until heal is called.
func (g *gate) cut(directions ...direction) (heal func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, d := range directions {
		g.stuck[d] = make(chan struct{})
	}
	return g.heal
}

func (g *gate) heal() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for d, stuck := range g.stuck {
		if stuck != nil {
			close(stuck)
			g.stuck[d] = nil
		}
	}
}

func (g *gate) close() {
	g.listener.Close()
	g.heal()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, conn := range g.conns {
		conn.Close()
	}
}

// contest is a system with two replicas: a leads and reaches PostgreSQL through a gate, b stands
// by.
type contest struct {
	*system
	*scribe
	a, b     *replica.Replica
	gate     *gate
	postgres *pgtest.Server // nil: the one that all tests share
}

func newContest(t *testing.T, lease time.Duration, ownPostgres bool) *contest {
	t.Helper()
	c := &contest{}
	c.system, c.scribe = newScribe(t, jirasim.Cloud)
	c.env["LEADER_LEASE"] = lease.String()
	if ownPostgres {
		c.postgres = c.ownPostgres()
	}
	var throughGate string
	c.gate, throughGate = newGate(t, c.env["DATABASE_URL"])
	c.a = c.start("a", append(c.asReplica(c.system, "a"), "DATABASE_URL="+throughGate, promptly)...)
	c.b = c.standsBy("b", c.asReplica(c.system, "b")...)
	return c
}

// terminate ends the session that holds the leader's lock, as an administrator may.
func (c *contest) terminate() {
	c.t.Helper()
	require.Equal(c.t, 1, c.number(c.env["DATABASE_URL"], `
		SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND objsubid = 2
			AND granted
		AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`, 0x746a61))
}

// loggedAt is the time of a line of a replica's log, which has milliseconds.
func loggedAt(t *testing.T, line replica.Line) time.Time {
	t.Helper()
	at, err := time.Parse("2006-01-02T15:04:05.000Z0700", fmt.Sprint(line.Fields["ts"]))
	require.NoError(t, err)
	return at
}

// reign is a time for which a replica led, to the beginning of the next one.
type reign struct {
	by    string
	began time.Time
}

// reigns of both replicas so far, in order.
func (c *contest) reigns() (all []reign) {
	c.t.Helper()
	for _, r := range []*replica.Replica{c.a, c.b} {
		for _, line := range r.Lines() {
			if line.Is("leading") {
				all = append(all, reign{by: r.Name, began: loggedAt(c.t, line)})
			}
		}
	}
	slices.SortFunc(all, func(x, y reign) int { return x.began.Compare(y.began) })
	return all
}

// requireOneActedAtATime holds each write against the reigns: from the moment at which another
// replica leads, a former leader writes nothing.
func (c *contest) requireOneActedAtATime() {
	c.t.Helper()
	reigns := c.reigns()
	for _, w := range c.all() {
		next := slices.IndexFunc(reigns, func(r reign) bool { return r.began.After(w.at) })
		if next < 0 {
			next = len(reigns)
		}
		require.Positive(c.t, next, "%+v before anybody led", w)
		require.Equal(c.t, reigns[next-1].by, w.by, "%+v while another led: %+v", w, reigns)
	}
}

// nextLeader waits until a replica leads that has begun to after the first lines of a's log.
func (c *contest) nextLeader(seen int) (next *replica.Replica, line replica.Line) {
	c.t.Helper()
	type won struct {
		by   *replica.Replica
		line replica.Line
	}
	leads := make(chan won, 2)
	wait := func(r *replica.Replica, skip int) {
		n := 0
		if line, err := r.WaitLine(c.ctx, func(l replica.Line) bool { n++; return n > skip && l.Is("leading") }); err == nil {
			leads <- won{r, line}
		}
	}
	go wait(c.a, seen)
	go wait(c.b, 0)
	select {
	case w := <-leads:
		return w.by, w.line
	case <-c.ctx.Done():
		c.t.Fatal("nobody leads")
		return nil, replica.Line{}
	}
}

// requireDoneOnce waits for the end of requests that bob approved in Jira, and for that of all
// work, and looks what came of each.
func (c *contest) requireDoneOnce(ids []string) {
	c.t.Helper()
	for _, id := range ids {
		c.settled(id, "approved")
	}
	c.polls(jirasim.Cloud, 2)
	for _, id := range ids {
		issue := c.issueOf(id)
		require.Equal(c.t, []string{placed, "bob: Pending → Approved"}, moves(issue))
		require.Equal(c.t, []string{"resolution:approved"}, marks(c.t, issue))
		require.Equal(
			c.t,
			1,
			count(c.teleport.Audit(id), func(e teleportsim.AuditEvent) bool { return e.Type == teleportsim.AuditUpdate }),
		)
		require.Equal(c.t, types.RequestState_APPROVED, c.teleport.State(id))
	}
	c.requireOneActedAtATime()
}

// The protocol's times at a lease of two seconds, which the bounds below add up. See package db.
const (
	testLease = 2 * time.Second
	lockTime  = testLease * 3 / 2   // until PostgreSQL frees the lock of a silent session
	heartbeat = testLease * 3 / 10  // from one to the next
	standby   = testLease * 3 / 10  // the longest between two questions for the lock
	settling  = testLease * 11 / 10 // until the winner works
	// slack is for a machine with more to do than it can. It tells a hand-over that is late from
	// one that never comes.
	slack = 12 * time.Second
)

// endOfReign is a way in which a leader's time ends.
type endOfReign struct {
	begin func(*contest) (heal func())
	// bound is the longest time without a leader from begin's return on.
	bound       time.Duration
	ownPostgres bool
	handsOver   bool // the leader says that it has stopped, so that the next one need not wait for the end of a lease
	gone        bool // the process ends
}

func endsOfReigns() map[string]endOfReign {
	nothing := func() {}
	cut := func(directions ...direction) func(*contest) func() {
		return func(c *contest) func() { return c.gate.cut(directions...) }
	}
	restart := func(mode pgtest.Mode) func(*contest) func() {
		return func(c *contest) func() {
			require.NoError(c.t, c.postgres.Restart(c.ctx, mode))
			return nothing
		}
	}
	return map[string]endOfReign{
		"SIGTERM": {
			handsOver: true,
			gone:      true,
			begin:     func(c *contest) func() { c.stops(c.a, syscall.SIGTERM); return nothing },
		},
		"SIGKILL": {bound: standby + settling, gone: true, begin: func(c *contest) func() { c.a.Kill(); return nothing }},
		"frozen": {bound: lockTime + standby + settling, begin: func(c *contest) func() {
			require.NoError(c.t, c.a.Signal(syscall.SIGSTOP))
			return func() { require.NoError(c.t, c.a.Signal(syscall.SIGCONT)) }
		}},
		"cut off from PostgreSQL": {bound: lockTime + heartbeat + standby + settling, begin: cut(toServer, toReplica)},
		"cut off, one way":        {bound: lockTime + heartbeat + standby + settling, begin: cut(toServer)},
		"cut off, the other way":  {bound: lockTime + heartbeat + standby + settling, begin: cut(toReplica)},
		"session terminated": {
			bound: standby + settling,
			begin: func(c *contest) func() { c.terminate(); return nothing },
		},
		// The next term waits for the open transactions of this one, which PostgreSQL ends as it
		// does silent sessions.
		"cut off, then its session terminated": {
			bound: lockTime + heartbeat + standby + settling,
			begin: func(c *contest) func() {
				heal := c.gate.cut(toServer, toReplica)
				c.terminate()
				return heal
			},
		},
		"PostgreSQL restarted": {bound: standby + settling, ownPostgres: true, begin: restart(pgtest.Fast)},
		"PostgreSQL crashed":   {bound: standby + settling, ownPostgres: true, begin: restart(pgtest.Immediate)},
		"PostgreSQL frozen": {bound: standby + settling, ownPostgres: true, begin: func(c *contest) func() {
			before := len(c.a.Lines())
			require.NoError(c.t, c.postgres.Pause(c.ctx))
			c.logs(c.a, before, "no longer leading")
			require.NoError(c.t, c.postgres.Resume())
			return nothing
		}},
	}
}

func TestWhateverEndsALeadershipAnotherFollowsAndTheyNeverActTogether(t *testing.T) {
	t.Parallel()
	for name, end := range endsOfReigns() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContest(t, testLease, end.ownPostgres)
			ids := c.requests(3)
			c.eachGetsItsIssue(jirasim.Cloud, ids, time.Now())

			seen, began := len(c.a.Lines()), time.Now()
			heal := end.begin(c)
			took := time.Since(began)
			c.approveInJira(ids)
			next, line := c.nextLeader(seen)
			without := loggedAt(t, line).Sub(began)
			t.Logf("%-37s %5.2f s until the next leader, %4.2f s of it the fault's own; bound %4.2f s beside that; it is %s",
				name, without.Seconds(), took.Seconds(), end.bound.Seconds(), next.Name)
			require.Less(t, without, took+end.bound+slack)
			if end.handsOver {
				require.NotContains(t, next.Log(), "lock won; waiting", "the leader before has said that it stopped")
			} else {
				require.Greater(t, without, testLease, "the leader before may have believed for a whole lease that it led")
			}

			// The new leader works while the old one is still away, and goes on when that is back
			// and stands by.
			more := c.requests(2)
			c.approveInJira(more)
			c.settled(more[0], "approved")
			heal()
			if !end.gone && next != c.a {
				c.logs(c.a, seen, "no longer leading")
				c.logs(c.a, seen, "standing by")
			}
			last := c.requests(2)
			c.approveInJira(last)
			c.requireDoneOnce(slices.Concat(ids, more, last))
		})
	}
}

// takesPart waits until a replica is in the election again, after its first so many lines. On a
// busy machine the other may have lost the lead meanwhile, and then this one does not stand by
// first.
func (c *contest) takesPart(r *replica.Replica, after int) {
	c.t.Helper()
	seen := 0
	_, err := r.WaitLine(c.ctx, func(l replica.Line) bool {
		seen++
		return seen > after &&
			(l.Is("standing by") || l.Is("leading") || l.Is("lock won; waiting until the lease of the leader before has ended"))
	})
	require.NoError(c.t, err, tail(r.Log(), 50))
}

func TestALeaderThatLostOnlyItsLockStopsBeforeTheNextOneActs(t *testing.T) {
	t.Parallel()
	c := newContest(t, 2*testLease, false)
	seen := len(c.a.Lines())
	// It learns nothing of the end of its session, and can do everything else until its lease has
	// ended.
	heal := c.gate.cutElection()
	c.terminate()
	ids := c.requests(60)
	c.approveInJira(ids[:1])
	next, _ := c.nextLeader(seen)
	ended := time.Now()
	require.Equal(t, c.b, next)
	waiting := c.eachGetsItsIssue(jirasim.Cloud, ids[1:], ended)
	t.Logf("%d requests wait until it is certain that they have no issue", waiting)
	heal()
	c.takesPart(c.a, seen)
	more := c.requests(3)
	c.approveInJira(more)
	c.requireDoneOnce(append(more, ids[0]))
	require.Len(t, c.jira.Issues(), len(ids)+len(more)-waiting)
}

func TestALeaderFrozenAmidACallDoesNothingMoreWhenItWakes(t *testing.T) {
	t.Parallel()
	for name, step := range map[string]struct {
		endpoint string
		effect   jirasim.Effect
	}{
		"a create that arrives late":          {"issue", jirasim.Hang()},
		"a create whose answer arrives late":  {"issue", jirasim.HangAnswer()},
		"a move whose answer arrives late":    {"issue/{issue}/transitions", jirasim.HangAnswer()},
		"a comment whose answer arrives late": {"issue/{issue}/comment", jirasim.HangAnswer()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newContest(t, testLease, false)
			arrived := make(chan struct{})
			tell := sync.OnceFunc(func() { close(arrived) })
			c.jira.Inject(jirasim.Fault{
				Method: http.MethodPost, Endpoint: step.endpoint, Times: 1, Effect: step.effect,
				When: func(*http.Request) bool { tell(); return true },
			})
			id := c.request()
			if step.endpoint == "issue/{issue}/comment" {
				c.approveInJira([]string{id})
			}
			select {
			case <-arrived:
			case <-c.ctx.Done():
				t.Fatal("no such call")
			}
			seen := len(c.a.Lines())
			require.NoError(t, c.a.Signal(syscall.SIGSTOP))
			next, _ := c.nextLeader(seen)
			require.Equal(t, c.b, next)
			c.jira.ClearFaults() // what was held up goes on: the effect, or the answer
			if step.endpoint != "issue/{issue}/comment" {
				c.approveInJira([]string{id})
			}
			c.settled(id, "approved")
			woken := len(c.all())
			require.NoError(t, c.a.Signal(syscall.SIGCONT))
			c.logs(c.a, seen, "no longer leading")
			c.logs(c.a, seen, "standing by")
			c.requireDoneOnce([]string{id})
			for _, w := range c.all()[woken:] {
				require.Equal(t, "b", w.by, "%+v", w)
			}
			require.Len(t, c.jira.Issues(), 1)
		})
	}
}

// TestALeaderFrozenBeforeItsWritesMakesNoneWhenItWakes freezes a leader while it waits for the
// answers after which it would write. They are there when it wakes, before anything has told it
// that another leads: only its own clock tells.
func TestALeaderFrozenBeforeItsWritesMakesNoneWhenItWakes(t *testing.T) {
	t.Parallel()
	const atOnce = 16 // as many requests as it works on
	c := newContest(t, testLease, false)
	ids := c.requests(atOnce)
	c.eachGetsItsIssue(jirasim.Cloud, ids, time.Now())
	waits := make(chan struct{}, atOnce)
	c.jira.Inject(jirasim.Fault{
		Method: http.MethodGet, Endpoint: "issue/{issue}/transitions", Effect: jirasim.HangAnswer(),
		When: func(r *http.Request) bool {
			byA := c.isBy("a", r)
			if byA {
				waits <- struct{}{}
			}
			return byA
		},
	})
	for _, id := range ids {
		require.NoError(t, c.teleport.Deny(id, "dave@example.com", ""))
	}
	for range ids {
		select {
		case <-waits:
		case <-c.ctx.Done():
			t.Fatal("not all wait")
		}
	}
	seen := len(c.a.Lines())
	require.NoError(t, c.a.Signal(syscall.SIGSTOP))
	next, _ := c.nextLeader(seen)
	require.Equal(t, c.b, next)
	for _, id := range ids {
		c.settled(id, "denied")
	}
	woken := len(c.all())
	c.jira.ClearFaults() // the answers are on their way
	require.NoError(t, c.a.Signal(syscall.SIGCONT))
	c.logs(c.a, seen, "no longer leading")
	c.logs(c.a, seen, "standing by")
	c.polls(jirasim.Cloud, 2)
	for _, w := range c.all()[woken:] {
		require.Equal(t, "b", w.by, "%+v", w)
	}
	c.requireOneActedAtATime()
	for _, id := range ids {
		require.Equal(t, story{
			State: types.RequestState_DENIED,
			Moves: []string{placed, "agent: Pending → Denied"},
			Marks: []string{"resolution:denied"},
		}, c.story(id))
	}
}

func TestALeaderThatIsToldToStopHandsOverOnlyWhenItsLastCallHasEnded(t *testing.T) {
	t.Parallel()
	c := newContest(t, testLease, false)
	id := c.request()
	c.eachGetsItsIssue(jirasim.Cloud, []string{id}, time.Now())
	arrived := c.strike(jiraCall{route: "POST issue/{issue}/transitions"}, jirasim.Delay(time.Second))
	require.NoError(t, c.teleport.Deny(id, "dave@example.com", ""))
	c.await(arrived)
	seen := len(c.a.Lines())
	c.stops(c.a, syscall.SIGTERM)
	next, line := c.nextLeader(seen)
	require.Equal(t, c.b, next)
	c.settled(id, "denied")
	c.polls(jirasim.Cloud, 2)
	slow := slices.IndexFunc(c.jira.Calls(), func(call jirasim.Call) bool { return call.Fault != "" })
	require.GreaterOrEqual(t, slow, 0)
	call := c.jira.Calls()[slow]
	// The log has milliseconds.
	require.False(
		t,
		loggedAt(t, line).Before(call.Began.Add(call.Took).Truncate(time.Millisecond)),
		"it may still have had its effect then",
	)
	c.requireOneActedAtATime()
	require.Equal(t, story{
		State: types.RequestState_DENIED,
		Moves: []string{placed, "agent: Pending → Denied"},
		Marks: []string{"resolution:denied"},
	}, c.story(id))
}

func TestALeaderThatTheDatabaseTellsOfAnotherTermStandsForElectionAgain(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	s.env["LEADER_LEASE"] = "30s" // its next heartbeat, which would tell it too, is further off than the next poll
	a := s.start("a")
	seen := len(a.Lines())
	statement(`UPDATE leadership SET epoch = epoch + 1`)(t, s)
	_, err := a.WaitLine(s.ctx, after(seen, func(l replica.Line) bool { return l.Is("no longer leading") }))
	require.NoError(t, err)
	_, err = a.WaitLine(s.ctx, after(seen, func(l replica.Line) bool { return l.Is("leading") }))
	require.NoError(t, err, tail(a.Log(), 20))
	s.issueIn(s.request(), "Pending")
}

// after matches only lines behind the first n.
func after(n int, match func(replica.Line) bool) func(replica.Line) bool {
	seen := 0
	return func(l replica.Line) bool {
		seen++
		return seen > n && match(l)
	}
}
