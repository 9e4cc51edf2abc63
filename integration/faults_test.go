package integration

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/teleportsim"
)

// Faults of single calls: whichever call goes wrong, and however, a request lives its whole life
// once.

// often lets sweeps take part in what a test lasts.
const often = "SYNC_SWEEP_SCHEDULE=@every 2s"

// wholeLife is what becomes of a request that carol reviews and bob approves in Jira.
func wholeLife() story {
	return story{
		State: types.RequestState_APPROVED, Verdicts: byBob(types.RequestState_APPROVED),
		Moves: []string{placed, "bob: Pending → Approved"},
		Marks: []string{"review:carol@example.com", "resolution:approved"},
	}
}

// waiting is what has become of a request that nobody has touched.
func waiting() story { return story{State: types.RequestState_PENDING, Moves: []string{placed}} }

// review lets carol approve the first of two times that it takes.
func (s *system) review(id string) {
	s.t.Helper()
	require.NoError(s.t, s.teleport.Review(id, "carol@example.com", true, ""))
}

func twice(r *teleportsim.Request) { r.Approvals = 2 }

// lives takes a new request through a whole life. happened, if not nil, is waited for before
// anybody decides.
func (s *system) lives(happened <-chan struct{}) (id string) {
	s.t.Helper()
	id = s.request(twice)
	key := s.issueIn(id, "Pending").Key
	s.review(id)
	s.issueWith(id, 1)
	s.await(happened)
	require.NoError(s.t, s.jira.Move(key, "bob", "Approved"))
	s.settled(id, "approved")
	return id
}

// await waits for a channel to be closed; not at all for a nil one.
func (s *system) await(happened <-chan struct{}) {
	s.t.Helper()
	if happened == nil {
		return
	}
	select {
	case <-happened:
	case <-s.ctx.Done():
		s.t.Fatal("it has not happened")
	}
}

// strike lets the next call of a kind go wrong; struck is closed when it has come in.
func (s *system) strike(c jiraCall, effect jirasim.Effect) (struck <-chan struct{}) {
	came := make(chan struct{})
	come := sync.OnceFunc(func() { close(came) })
	method, endpoint, _ := strings.Cut(c.route, " ")
	s.jira.Inject(
		jirasim.Fault{Method: method, Endpoint: endpoint, Times: 1, Effect: effect, When: func(r *http.Request) bool {
			if c.when != nil && !c.when(r) {
				return false
			}
			come()
			return true
		}},
	)
	return came
}

// jiraCall is one kind of call to Jira.
type jiraCall struct {
	route string
	when  func(*http.Request) bool
	// early: the agent calls so while a request is pending, whatever people do; else in the course
	// of the whole life.
	early bool
	// create: without an answer it takes longer than a test until the agent may do it again.
	create bool
}

func jiraCalls(d jirasim.Deployment) map[string]jiraCall {
	history := func(r *http.Request) bool { return r.URL.Query().Get("expand") == "changelog" }
	calls := map[string]jiraCall{
		"create an issue": {route: "POST issue", create: true, early: true},
		"read an issue": {
			route: "GET issue/{issue}",
			when:  func(r *http.Request) bool { return !history(r) },
			early: true,
		},
		"read who moved":     {route: "GET issue/{issue}", when: history},
		"ask for the ways":   {route: "GET issue/{issue}/transitions", early: true},
		"move an issue":      {route: "POST issue/{issue}/transitions", early: true},
		"comment":            {route: "POST issue/{issue}/comment", early: true},
		"search":             {route: searchRoute(d), early: true},
		"read many by id":    {route: "POST issue/bulkfetch", early: true},
		"read back comments": {route: "GET issue/{issue}/comment"},
	}
	if d == jirasim.DataCenter { // which differs in what follows; the rest is shown on Cloud
		for _, name := range []string{"read many by id", "ask for the ways", "move an issue", "read an issue", "read back comments"} {
			delete(calls, name)
		}
	}
	return calls
}

// jiraFault is a way in which one call to Jira goes wrong.
type jiraFault struct {
	name   string
	effect jirasim.Effect
	// uncertain: nothing has happened, but the agent cannot know.
	uncertain bool
}

func jiraFaults() []jiraFault {
	return []jiraFault{
		{"an error", jirasim.Respond(500, `{"errorMessages":["Internal server error"]}`), true},
		{"a web page as an error", jirasim.Respond(502, "<html>Bad gateway</html>", "Content-Type", "text/html"), true},
		{"overload", jirasim.Respond(503, "<html>Back soon</html>", "Content-Type", "text/html", "Retry-After", "1"), false},
		{"a limit", jirasim.Respond(429, "", "Retry-After", "1"), false},
		{"no connection", jirasim.DropBefore(), true},
		{"a lost answer", jirasim.LoseAnswer(), false},
	}
}

func TestACallToJiraThatGoesWrongIsMadeUpForOnce(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		for name, call := range jiraCalls(d) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := running(t, on{deployment: d, jira: unlimited}, often)
				neighbour := s.request()
				s.issueIn(neighbour, "Pending")
				lives := make(map[string]string)
				for _, fault := range jiraFaults() {
					if call.create && fault.uncertain {
						continue // see TestACreateThatMayHaveHappenedIsLookedForAndNotRepeated
					}
					struck := s.strike(call, fault.effect)
					early := struck
					if !call.early {
						early = nil
					}
					if name == "read back comments" { // a comment's answer is lost: only then
						s.strike(jiraCall{route: "POST issue/{issue}/comment"}, jirasim.LoseAnswer())
					}
					lives[fault.name] = s.lives(early)
					s.await(struck)
				}
				s.polls(d, 2)
				for fault, id := range lives {
					require.Equal(t, wholeLife(), s.story(id), fault)
				}
				require.Equal(t, waiting(), s.story(neighbour))
				require.Len(t, s.jira.Issues(), len(lives)+1)
			})
		}
	})
}

func TestACallToJiraThatHangsIsMadeUpForOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		effect jirasim.Effect
	}{
		{"create an issue", jirasim.HangAnswer()},
		{"move an issue", jirasim.HangAnswer()},
		{"comment", jirasim.HangAnswer()},
		{"search", jirasim.Hang()},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := running(t, on{deployment: jirasim.Cloud}, often)
			neighbour := s.request()
			s.issueIn(neighbour, "Pending")
			struck := s.strike(jiraCalls(jirasim.Cloud)[c.name], c.effect)
			id := s.lives(nil)
			s.await(struck)
			s.polls(jirasim.Cloud, 2)
			require.Equal(t, wholeLife(), s.story(id))
			require.Equal(t, waiting(), s.story(neighbour))
			require.Len(t, s.jira.Issues(), 2)
		})
	}
}

func TestACreateThatMayHaveHappenedIsLookedForAndNotRepeated(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		for _, fault := range jiraFaults() {
			if !fault.uncertain {
				continue
			}
			t.Run(fault.name, func(t *testing.T) {
				t.Parallel()
				s := newSystem(t, on{deployment: d})
				r := s.start("agent")
				s.strike(jiraCall{route: "POST issue"}, fault.effect)
				id := s.request()
				_, err := r.WaitLog(s.ctx, "not done", "request_id", id, "action", "create")
				require.NoError(t, err)
				for range 2 {
					s.logs(r, len(r.Lines()), "not done", "request_id", id, "action", "find")
				}
				require.Equal(t, 1, s.jira.CallCount("POST issue"), "it is not made again before the index had its time")
				require.Empty(t, s.jira.Issues())

				other := s.request()
				s.issueIn(other, "Pending")
				s.polls(d, 2)
				require.Equal(t, waiting(), s.story(other))
				require.Empty(t, s.issuesOf(id))
			})
		}
	})
}
