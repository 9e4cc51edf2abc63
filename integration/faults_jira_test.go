package integration

import (
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// Jira in trouble while the agent works: it sets limits, its index lags, it refuses one issue, and
// issues vanish or change.

// leading is running, and returns the replica as well.
func leading(t *testing.T, o on, changes ...string) (*system, *replica.Replica) {
	t.Helper()
	s := newSystem(t, o)
	return s, s.start("agent", append([]string{"SYNC_IDLE_SCHEDULE=@every 1s"}, changes...)...)
}

// refused waits for the call that met a fault, and for the agent to have heard of it.
func (s *system) refused(r *replica.Replica) jirasim.Call {
	s.t.Helper()
	_, err := r.WaitLog(s.ctx, "jira asks to slow down")
	require.NoError(s.t, err)
	calls := s.jira.Calls()
	at := slices.IndexFunc(calls, func(c jirasim.Call) bool { return c.Fault != "" })
	require.GreaterOrEqual(s.t, at, 0)
	return calls[at]
}

// onItsWay is how long after a call began another may begin that does not know its answer yet.
const onItsWay = 100 * time.Millisecond

// next is the first call after another, and not on its way together with that, that matches; it
// must have come.
func (s *system) next(after jirasim.Call, match func(jirasim.Call) bool) jirasim.Call {
	s.t.Helper()
	var later []jirasim.Call
	for _, c := range s.jira.Calls() {
		if c.Began.After(after.Began.Add(onItsWay)) && match(c) {
			later = append(later, c)
		}
	}
	require.NotEmpty(s.t, later)
	return slices.MinFunc(later, func(a, b jirasim.Call) int { return a.Began.Compare(b.Began) })
}

// limited is Jira's answer to what is too much.
func limited(seconds int, reason string) jirasim.Effect {
	return jirasim.Respond(429, "", "Retry-After", strconv.Itoa(seconds), "RateLimit-Reason", reason)
}

func TestALimitForAllHoldsBackEveryCall(t *testing.T) {
	t.Parallel()
	for _, reason := range []string{"", "jira-quota-tenant-based", "a reason of tomorrow"} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			const window = 5
			s, r := leading(t, on{deployment: jirasim.Cloud}, often)
			waits := s.request()
			key := s.issueIn(waits, "Pending").Key
			s.polls(jirasim.Cloud, 2)
			s.strike(jiraCall{route: searchRoute(jirasim.Cloud)}, limited(window, reason))
			last := s.refused(r)
			require.NoError(t, s.jira.Move(key, "bob", "Approved"))
			id := s.lives(nil)
			s.settled(waits, "approved")
			s.polls(jirasim.Cloud, 2)
			first := s.next(last, func(jirasim.Call) bool { return true })
			require.GreaterOrEqual(t, first.Began.Sub(last.Began), window*time.Second, "%s was called too early", first.Route())
			require.Equal(t, wholeLife(), s.story(id))
			require.Len(t, s.jira.Issues(), 2)
		})
	}
}

func TestABurstLimitHoldsBackOneEndpoint(t *testing.T) {
	t.Parallel()
	const window = 20
	s, r := leading(t, on{deployment: jirasim.Cloud})
	neighbour := s.request(twice)
	key := s.issueIn(neighbour, "Pending").Key
	s.strike(jiraCall{route: "POST issue"}, limited(window, "jira-burst-based"))
	id := s.request()
	last := s.refused(r)
	s.review(neighbour)
	s.issueWith(neighbour, 1)
	require.NoError(t, s.jira.Move(key, "bob", "Approved"))
	s.settled(neighbour, "approved")
	require.Empty(t, s.issuesOf(id), "the others did not wait for it")
	s.issueIn(id, "Pending")
	s.polls(jirasim.Cloud, 2)
	again := s.next(last, func(c jirasim.Call) bool { return c.Route() == "POST issue" })
	require.GreaterOrEqual(t, again.Began.Sub(last.Began), window*time.Second)
	require.Equal(t, wholeLife(), s.story(neighbour))
	require.Equal(t, waiting(), s.story(id))
	require.Len(t, s.jira.Issues(), 2)
}

func TestALimitOnOneIssueHoldsBackItsWrites(t *testing.T) {
	t.Parallel()
	const window = 20
	s, r := leading(t, on{deployment: jirasim.Cloud}, often)
	ids := []string{s.request(twice), s.request(twice)}
	issues := []jirasim.Issue{s.issueIn(ids[0], "Pending"), s.issueIn(ids[1], "Pending")}
	s.strike(jiraCall{route: "POST issue/{issue}/comment"}, limited(window, "jira-per-issue-on-write"))
	s.review(ids[0])
	last := s.refused(r)
	s.review(ids[1])
	s.approveInJira(ids)
	s.settled(ids[1], "approved")
	s.issueWith(ids[1], 2)
	require.Empty(t, agentComments(s.issueOf(ids[0])), "the neighbour did not wait for it")
	s.issueWith(ids[0], 2)
	s.settled(ids[0], "approved")
	s.polls(jirasim.Cloud, 2)
	again := s.next(last, func(c jirasim.Call) bool {
		return c.Method != http.MethodGet && strings.Contains(c.Path, "/issue/"+issues[0].ID+"/")
	})
	require.GreaterOrEqual(t, again.Began.Sub(last.Began), window*time.Second, again.Route())
	for _, id := range ids {
		require.Equal(t, wholeLife(), s.story(id))
	}
	require.Len(t, s.jira.Issues(), 2)
}

// dice is a seeded source of chance for calls that come from many goroutines.
type dice struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func (d *dice) below(n int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.Int64N(n)
}

func TestManyLivesAgreeWhileTheIndexLagsAndAnswersAreLost(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		const lives, lag = 40, 5 * time.Second
		seed := uint64(time.Now().UnixNano())
		t.Logf("seed %d", seed)
		chance := &dice{rng: rand.New(rand.NewPCG(seed, 0))}
		s := running(t, on{deployment: d, jira: unlimited}, "JIRA_MAX_RPS=1000", often)
		s.jira.SetIndexLag(func() time.Duration { return time.Duration(chance.below(int64(lag))) })
		for _, endpoint := range []string{"issue", "issue/{issue}/transitions", "issue/{issue}/comment"} {
			s.jira.Inject(jirasim.Fault{
				Method: http.MethodPost, Endpoint: endpoint, Times: 4, Effect: jirasim.LoseAnswer(),
				When: func(*http.Request) bool { return chance.below(5) == 0 },
			})
		}
		for _, rpc := range []string{"UpdatePluginData", "SetAccessRequestState"} {
			s.teleport.Inject(teleportsim.Fault{
				RPC: rpc, Times: 2, Kind: teleportsim.FaultLoseAnswer, Match: func(any) bool { return chance.below(8) == 0 },
			})
		}
		var ids []string
		for range lives {
			ids = append(ids, s.request(twice))
		}
		for _, id := range ids {
			s.review(id)
		}
		s.approveInJira(ids)
		for _, id := range ids {
			s.settled(id, "approved")
			s.becomes(id, wholeLife())
		}
		s.polls(d, int(lag/time.Second)+2) // until the index has shown everything
		for _, id := range ids {
			got, want := s.story(id), wholeLife()
			slices.Sort(got.Marks) // a review may be commented after the verdict in Jira
			slices.Sort(want.Marks)
			require.Equal(t, want, got)
		}
		require.Len(t, s.jira.Issues(), lives)
		lost := count(s.jira.Calls(), func(c jirasim.Call) bool { return c.Fault != "" })
		require.Positive(t, lost)
		t.Logf("%d answers of Jira were lost", lost)
	})
}

var since = regexp.MustCompile(`updated (?:>|\\u003e)= ([0-9]+)`)

// searchedSince is the bound of the last poll; the first polls have none.
func (s *system) searchedSince(d jirasim.Deployment) int {
	s.t.Helper()
	for {
		for _, c := range slices.Backward(s.jira.Calls()) {
			if found := since.FindSubmatch(c.Body); found != nil {
				n, err := strconv.Atoi(string(found[1]))
				require.NoError(s.t, err)
				return n
			}
		}
		s.polls(d, 1)
	}
}

func TestAnIssueThatJiraRefusesHoldsUpNobody(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		for _, endpoint := range []string{"comment", "transitions"} {
			t.Run(endpoint, func(t *testing.T) {
				t.Parallel()
				// All polls reach equally far back, so that their bound is the cursor's.
				s, r := leading(t, on{deployment: d}, often, "SYNC_LOOKBACK=30s", "SYNC_CONCURRENCY=1")
				poisoned := s.request(twice)
				issue := s.issueIn(poisoned, "Pending")
				cure := s.jira.Inject(jirasim.Fault{
					Method:   http.MethodPost,
					Endpoint: "issue/{issue}/" + endpoint,
					Effect:   jirasim.Respond(400, `{"errorMessages":["No."]}`),
					When:     func(r *http.Request) bool { return strings.Contains(r.URL.Path, "/issue/"+issue.ID+"/") },
				})
				s.review(poisoned)
				require.NoError(t, s.teleport.Deny(poisoned, "dave@example.com", ""))
				_, err := r.WaitLog(s.ctx, "parked: repeating cannot help until something changes", "request_id", poisoned)
				require.NoError(t, err)
				s.settled(poisoned, "denied") // what can be done is done

				before := s.searchedSince(d)
				neighbours := []string{s.lives(nil), s.lives(nil)}
				s.polls(d, 3)
				require.Greater(t, s.searchedSince(d), before, "the cursor goes on")
				for _, id := range neighbours {
					require.Equal(t, wholeLife(), s.story(id))
				}
				attempts := s.jira.CallCount("POST issue/{issue}/" + endpoint)
				s.polls(d, 3)
				require.Equal(t, attempts, s.jira.CallCount("POST issue/{issue}/"+endpoint), "it is parked")

				cure()
				require.NoError(t, s.jira.SetField(issue.Key, "bob", "summary", "looked at"))
				want := story{
					State: types.RequestState_DENIED, Moves: []string{placed, "agent: Pending → Denied"},
					Marks: []string{"review:carol@example.com", "resolution:denied"},
				}
				s.becomes(poisoned, want)
				s.polls(d, 2)
				require.Equal(t, want, s.story(poisoned))
				require.Len(t, s.jira.Issues(), 3)
			})
		}
	})
}

func TestADeletedIssueIsNotMadeAgain(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s, r := leading(t, on{deployment: d}, often)
		id := s.request(twice)
		require.NoError(t, s.jira.DeleteIssue(s.issueIn(id, "Pending").Key, "bob"))
		line, err := r.WaitLog(s.ctx, "parked: repeating cannot help until something changes", "request_id", id)
		require.NoError(t, err)
		require.Contains(t, line.Fields["error"], "decide the request in Teleport")

		neighbour := s.lives(nil)
		s.review(id) // a new fact: it is looked at again
		s.polls(d, 2)
		require.Equal(t, types.RequestState_PENDING, s.teleport.State(id))
		require.NoError(t, s.teleport.Approve(id, "dave@example.com", ""))
		_, err = r.WaitLog(s.ctx, "done", "request_id", id, "action", "settle")
		require.NoError(t, err)
		s.polls(d, 2)
		require.Equal(t, wholeLife(), s.story(neighbour))
		require.Len(t, s.jira.Issues(), 1)
		require.Equal(t, 2, s.jira.CallCount("POST issue"))
		require.Empty(t, s.verdicts(id))
	})
}

func TestAnIssueInAnotherProjectDecidesNothing(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s, _ := leading(t, on{deployment: d}, often)
		id := s.request()
		issue := s.issueIn(id, "Pending")
		require.NoError(t, s.jira.MoveToProject(issue.ID, "bob", "OLD"))
		require.NoError(t, s.jira.Move(issue.ID, "bob", "Approved"))
		require.Contains(t, agentComments(s.issueWith(id, 1))[0], "moved out of the project OPS")
		s.issueIn(id, "Pending")
		require.Equal(t, types.RequestState_PENDING, s.teleport.State(id))
		require.Empty(t, s.verdicts(id))

		require.NoError(t, s.jira.MoveToProject(issue.ID, "bob", "OPS"))
		require.NoError(t, s.jira.Move(issue.ID, "bob", "Denied"))
		s.settled(id, "denied")
		s.polls(d, 2)
		require.Equal(t, story{
			State: types.RequestState_DENIED, Verdicts: byBob(types.RequestState_DENIED),
			Moves: []string{placed, "bob: Pending → Approved", "agent: Approved → Pending", "bob: Pending → Denied"},
			Marks: []string{"refused", "resolution:denied"},
		}, s.story(id))
		require.Len(t, s.jira.Issues(), 1)
	})
}

func TestAFieldThatWasEmptiedOrSwappedIsPutBackAndConfusesNobody(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s, _ := leading(t, on{deployment: d}, often)
		approved, denied, emptied := s.request(), s.request(), s.request()
		a, b, c := s.issueIn(approved, "Pending"), s.issueIn(denied, "Pending"), s.issueIn(emptied, "Pending")
		require.NoError(t, s.jira.SetField(c.Key, "mallory", field, nil))
		require.NoError(t, s.jira.SetField(a.Key, "mallory", field, denied))
		require.NoError(t, s.jira.SetField(b.Key, "mallory", field, approved))
		require.NoError(t, s.jira.Move(a.Key, "bob", "Approved"))
		require.NoError(t, s.jira.Move(b.Key, "bob", "Denied"))
		for id, issue := range map[string]jirasim.Issue{approved: a, denied: b, emptied: c} {
			_, err := s.jira.WaitIssue(s.ctx, func(i jirasim.Issue) bool { return i.ID == issue.ID && i.Text(field) == id })
			require.NoError(t, err)
		}
		require.NoError(t, s.jira.Move(c.Key, "bob", "Approved"))
		for id, outcome := range map[string]string{approved: "approved", denied: "denied", emptied: "approved"} {
			s.settled(id, outcome)
		}
		s.polls(d, 2)
		for id, status := range map[string]string{approved: "Approved", denied: "Denied", emptied: "Approved"} {
			got := s.story(id)
			// Whether the agent met the one issue while it held the other's ID, and said so there,
			// is a matter of chance.
			got.Marks = slices.DeleteFunc(got.Marks, func(mark string) bool { return strings.HasPrefix(mark, "stray:") })
			require.Equal(t, story{
				State: state(status), Verdicts: byBob(state(status)),
				Moves: []string{placed, "bob: Pending → " + status}, Marks: []string{"resolution:" + strings.ToLower(status)},
			}, got)
		}
		require.Len(t, s.jira.Issues(), 3)
	})
}
