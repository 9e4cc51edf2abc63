package integration

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/pgtest"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// Crashes at any moment, a lost database, and rows that are no longer kept.

// write is a call by a replica that changes something in Jira or Teleport, at its arrival there.
type write struct {
	by   string
	at   time.Time
	call string
}

// scribe notes who writes what. Each replica reaches Jira at an address of its own, and Teleport as
// a user of its own.
type scribe struct {
	mu     sync.Mutex
	writes []write
	onNext func(write)       // told of each write; it must not block
	hosts  map[string]string // by replica: the host under which it reaches Jira
}

// isBy reports whether a call to Jira is the replica's.
func (n *scribe) isBy(name string, r *http.Request) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hosts[name] == r.Host
}

func (n *scribe) note(by, call string, at time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	w := write{by: by, at: at, call: call}
	n.writes = append(n.writes, w)
	if n.onNext != nil {
		n.onNext(w)
	}
}

// all are the writes so far, in the order of their arrival at either side.
func (n *scribe) all() []write {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.writes[:len(n.writes):len(n.writes)]
}

// tell sets who is told of each write from now on; nil for nobody.
func (n *scribe) tell(onNext func(write)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.onNext = onNext
}

// newScribe is a system whose writes are noted, for replicas that are started with the environment
// of asReplica.
func newScribe(t *testing.T, d jirasim.Deployment) (*system, *scribe) {
	t.Helper()
	n := &scribe{hosts: make(map[string]string)}
	s := newSystem(t, on{deployment: d, jira: unlimited, teleport: teleportsim.Config{OnCall: func(c teleportsim.Call) {
		if c.RPC == "UpdatePluginData" || c.RPC == "SetAccessRequestState" {
			n.note(strings.TrimPrefix(c.User, "jira-agent-"), c.RPC, c.Began)
		}
	}}})
	s.env["JIRA_MAX_RPS"] = "1000"
	return s, n
}

// asReplica is the environment in which the replica's calls are known by its name.
func (n *scribe) asReplica(s *system, name string) []string {
	s.t.Helper()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		read := r.Method == http.MethodGet || strings.Contains(r.URL.Path, "/search") ||
			strings.Contains(r.URL.Path, "/bulkfetch")
		if !read {
			n.note(name, r.Method+" "+r.URL.Path, time.Now())
		}
		s.jira.ServeHTTP(w, r)
	}))
	s.t.Cleanup(func() {
		s.jira.ClearFaults()
		front.Close()
	})
	n.mu.Lock()
	n.hosts[name] = front.Listener.Addr().String()
	n.mu.Unlock()
	user := "jira-agent-" + name
	s.teleport.SetRole(user, teleportsim.PluginRole())
	identity := s.identity + "-" + name
	require.NoError(s.t, s.teleport.WriteIdentity(identity, teleportsim.IdentityOptions{User: user}))
	return []string{"JIRA_URL=" + front.URL, "TELEPORT_IDENTITY_FILE=" + identity}
}

// number asks a replica's database for one number.
func (s *system) number(databaseURL, query string, args ...any) (n int) {
	s.t.Helper()
	conn, err := pgx.Connect(s.ctx, databaseURL)
	require.NoError(s.t, err)
	defer conn.Close(s.ctx)
	require.NoError(s.t, conn.QueryRow(s.ctx, query, args...).Scan(&n))
	return n
}

// waitingToMake counts requests that were about to get their issue when their replica ended, before
// a moment, and whose next leader cannot find one. It makes another when the search index has
// surely had its time, which is longer than a test.
func (s *system) waitingToMake(ids []string, before time.Time) int {
	s.t.Helper()
	var without []string
	for _, id := range ids {
		if len(s.issuesOf(id)) == 0 {
			without = append(without, id)
		}
	}
	return s.number(
		s.env["DATABASE_URL"],
		"SELECT count(*) FROM links WHERE request_id = ANY($1) AND begun = 'create' AND begun_at < $2 AND issue_id IS NULL",
		without,
		before,
	)
}

// eachGetsItsIssue waits until each request has one issue under Pending that Teleport knows of, and
// tells how many wait to be made.
func (s *system) eachGetsItsIssue(d jirasim.Deployment, ids []string, faultsEnded time.Time) (waiting int) {
	s.t.Helper()
	complete := func(id string) bool {
		issues := s.issuesOf(id)
		require.LessOrEqual(s.t, len(issues), 1, "request %s", id)
		return len(issues) == 1 && issues[0].Status.Name == "Pending" &&
			s.teleport.PluginData(id)["jira"]["issue_id"] == issues[0].ID
	}
	for {
		done := count(ids, complete)
		if done == len(ids) {
			return 0
		}
		if waiting = s.waitingToMake(ids, faultsEnded); waiting == len(ids)-done {
			return waiting
		}
		s.polls(d, 1)
	}
}

func TestReplicasKilledAtRandomMomentsMakeOneIssueForEachRequest(t *testing.T) {
	const kills, each, last = 5, 36, 20 // 200 requests
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		random := rand.New(rand.NewPCG(seed, 0))
		s, notes := newScribe(t, d)
		alive := make(map[string]*replica.Replica)
		add := func(name string) { alive[name] = s.launch(name, notes.asReplica(s, name)...) }
		add("0")
		add("1")
		var ids []string
		for n := range kills {
			// The leader is killed around the arrival of one of its writes: before it takes effect,
			// amid that, or when the answer is on its way.
			struck, left := make(chan string, 1), 1+random.IntN(3*each)
			notes.tell(func(w write) {
				if left--; left == 0 {
					struck <- w.by
				}
			})
			ids = append(ids, s.requests(each)...)
			delay := time.Duration(random.IntN(3000)) * time.Microsecond
			select {
			case name := <-struck:
				<-time.After(delay) // the random moment itself, not a wait for something
				alive[name].Kill()
				delete(alive, name)
			case <-s.ctx.Done():
				t.Fatal("nobody works")
			}
			add(fmt.Sprint(n + 2))
		}
		notes.tell(nil)
		ended := time.Now()
		ids = append(ids, s.requests(last)...)
		waiting := s.eachGetsItsIssue(d, ids, ended)
		t.Logf("%d issues made, %d requests wait until it is certain that they have none", len(s.jira.Issues()), waiting)
		require.LessOrEqual(t, waiting, kills*16, "no more than were worked on at once")
		s.polls(d, 2)
		require.Len(t, s.jira.Issues(), len(ids)-waiting)
		for _, issue := range s.jira.Issues() {
			require.Equal(t, []string{placed}, moves(issue))
			require.Empty(t, marks(t, issue))
		}
	})
}

func TestALostDatabaseIsRebuiltAndNothingIsDoneTwice(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := newSystem(t, on{deployment: d, jira: unlimited})
		a := s.start("a", promptly)
		cases, ids := whileDown(), make(map[string]string)
		unlinked := cases["approved in Jira"]
		approve := unlinked.happen
		unlinked.happen = func(s *system, id, issue string) error {
			if err := s.teleport.SetPluginData(id, "jira", map[string]string{"issue_id": "", "issue_key": ""}); err != nil {
				return err
			}
			return approve(s, id, issue)
		}
		cases["approved in Jira, its issue missing from the plugin data"] = unlinked
		for name, c := range cases {
			if !c.new {
				ids[name] = s.requestWith(c.edit)
				s.issueIn(ids[name], "Pending")
			}
		}
		// What was told and settled before is neither told nor settled again.
		settled, told := s.request(), s.requestWith(func(r *teleportsim.Request) { r.Approvals = 2 })
		s.approveInJira([]string{settled})
		s.settled(settled, "approved")
		s.issueIn(told, "Pending")
		require.NoError(t, s.teleport.Review(told, "carol@example.com", true, ""))
		s.issueWith(told, 1)
		before := []story{s.story(settled), s.story(told)}
		forgotten := s.requestsThatAreForgotten()
		s.stops(a, syscall.SIGTERM)
		forged := s.forgets(forgotten)

		for name, c := range cases {
			issue := ""
			if c.new {
				ids[name] = s.requestWith(c.edit)
			} else {
				issue = s.issueOf(ids[name]).Key
			}
			require.NoError(t, c.happen(s, ids[name], issue), name)
		}
		s.start("b", "DATABASE_URL="+pgtest.URL(t))
		issues := 2 + len(forgotten) + 1
		for name, c := range cases {
			if c.want != nil {
				s.becomes(ids[name], *c.want)
				issues++
				require.Equal(t, c.want.State, s.teleport.State(ids[name]), name)
			}
		}
		s.polls(d, 2)
		for name, c := range cases {
			if c.want != nil {
				require.Equal(t, *c.want, s.story(ids[name]), name)
			}
		}
		require.Equal(t, []story{s.story(settled), s.story(told)}, before)
		for name, id := range forgotten {
			want := whatIsLeft()[name].want
			s.becomes(id, want)
			require.Equal(t, want, s.story(id), name)
		}
		after, found := s.jira.Issue(forged.ID)
		require.True(t, found)
		require.Equal(t, forged, after, "the agent did not make it")
		require.Len(t, s.jira.Issues(), issues)

		// All that are still open can be decided.
		open := []string{
			told,
			ids["nothing"],
			ids["reviewed"],
			ids["approved in Jira and taken back"],
			ids["made"],
			ids["approved in Jira by its requester"],
		}
		s.approveInJira(open)
		for _, id := range open {
			s.settled(id, "approved")
			require.Len(t, s.verdicts(id), 1)
		}
		require.Len(t, s.jira.Issues(), issues)
	})
}

// leftover is a request that was settled, and that Teleport has forgotten when the database is
// lost. Only its issue tells how it ended.
type leftover struct {
	status string // to which bob moved the issue while the agent ran
	then   string // and to which while it was down, if anywhere
	want   story
}

func whatIsLeft() map[string]leftover {
	settled := func(status string, then ...string) story {
		return story{
			Verdicts: byBob(state(status)), // and Teleport no longer has the request
			Moves: append(
				[]string{placed, "bob: Pending → " + status},
				then...),
			Marks: []string{"resolution:" + strings.ToLower(status)},
		}
	}
	putBack := func(s story) story {
		s.Marks = append(s.Marks, "refused")
		return s
	}
	return map[string]leftover{
		"approved": {status: "Approved", want: settled("Approved")},
		"denied":   {status: "Denied", want: settled("Denied")},
		"approved, and moved to Denied": {
			status: "Approved",
			then:   "Denied",
			want:   putBack(settled("Approved", "bob: Approved → Denied", "agent: Denied → Approved")),
		},
		"denied, and moved to Approved": {
			status: "Denied",
			then:   "Approved",
			want:   putBack(settled("Denied", "bob: Denied → Approved", "agent: Approved → Denied")),
		},
	}
}

// requestsThatAreForgotten makes and settles those of whatIsLeft, by name.
func (s *system) requestsThatAreForgotten() map[string]string {
	s.t.Helper()
	ids := make(map[string]string)
	for name, c := range whatIsLeft() {
		ids[name] = s.request()
		require.NoError(s.t, s.jira.Move(s.issueIn(ids[name], "Pending").Key, "bob", c.status))
	}
	for name, c := range whatIsLeft() {
		s.settled(ids[name], strings.ToLower(c.status))
	}
	return ids
}

// forgets lets Teleport forget requests, while people go on. It returns an issue that mallory made
// by hand and moved.
func (s *system) forgets(ids map[string]string) jirasim.Issue {
	s.t.Helper()
	for name, c := range whatIsLeft() {
		require.NoError(s.t, s.teleport.Delete(ids[name]))
		s.teleport.OutlivePluginData(ids[name])
		if c.then != "" {
			require.NoError(s.t, s.jira.Move(s.issueOf(ids[name]).Key, "bob", c.then))
		}
	}
	lost := "0193a0c5-0000-7000-8000-00000000dead"
	forged, err := s.jira.CreateIssue("mallory",
		map[string]any{"summary": "mine", field: lost}, map[string]any{"teleportAccessRequestId": lost})
	require.NoError(s.t, err)
	require.NoError(s.t, s.jira.Move(forged.Key, "mallory", "Approved"))
	forged, _ = s.jira.Issue(forged.ID)
	return forged
}

func TestSettledRowsAreDeletedAfterTheirRetention(t *testing.T) {
	t.Parallel()
	s := running(t, on{deployment: jirasim.Cloud}, "SYNC_RETENTION=1s", "SYNC_SWEEP_SCHEDULE=@every 1s")
	open := s.request()
	s.issueIn(open, "Pending")
	closed := s.requests(3)
	s.approveInJira(closed)
	for _, id := range closed {
		s.settled(id, "approved")
	}
	kept := func(table string, ids ...string) int {
		return s.number(s.database, "SELECT count(DISTINCT request_id) FROM "+table+" WHERE request_id = ANY($1)", ids)
	}
	sweep := func() { s.calls("POST issue/bulkfetch", 1) } // each compares the open issue
	for kept("links", closed...) > 0 {
		sweep()
	}
	require.Zero(t, kept("activity", closed...))
	require.Equal(t, []int{1, 1}, []int{kept("links", open), kept("activity", open)})

	// Both sides still show what was forgotten. Nothing comes of it.
	audit := s.teleport.Audit("")
	issues := s.jira.Issues()
	s.teleport.BreakWatches() // so that all requests are listed anew
	sweep()
	sweep()
	s.polls(jirasim.Cloud, 2)
	require.Zero(t, kept("links", closed...))
	require.Equal(t, issues, s.jira.Issues())
	require.Equal(t, audit, s.teleport.Audit(""))
	s.approveInJira([]string{open})
	s.settled(open, "approved")
}
