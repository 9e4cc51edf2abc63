package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// An operator's commands, as an operator runs them: the built binary beside the replicas, with
// their environment.

// ran is how a command ended.
type ran struct {
	code        int
	out, errors string
}

// command runs one command to its end.
func (s *system) command(args ...string) ran {
	s.t.Helper()
	return s.commandWith(nil, args...)
}

// commandWith is command with changes of the environment, as for environ.
func (s *system) commandWith(changes []string, args ...string) ran {
	s.t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(s.ctx, binary, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = s.environ(changes...), &out, &errs
	var exit *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &exit) {
		require.NoError(s.t, err)
	}
	r := ran{code: cmd.ProcessState.ExitCode(), out: out.String(), errors: errs.String()}
	for _, secret := range []string{jirasim.AgentToken, "hunter2", "DATA RACE", "panic:", "\x1b"} {
		require.NotContains(s.t, r.out+r.errors, secret)
	}
	return r
}

// succeeds is the answer of a command that has to succeed without a word on standard error.
func (s *system) succeeds(args ...string) string {
	s.t.Helper()
	r := s.command(args...)
	require.Zero(s.t, r.code, "%v: %s%s", args, r.out, r.errors)
	require.Empty(s.t, r.errors)
	return r.out
}

// answers decodes the JSON answer of a command that has to succeed.
func (s *system) answers(args ...string) map[string]any {
	s.t.Helper()
	text := s.succeeds(append(args, "--json")...)
	var answer map[string]any
	require.NoError(s.t, json.Unmarshal([]byte(text), &answer), text)
	return answer
}

// parkedBy makes Jira refuse to create issues for good, and returns a request that is parked by
// that and how to mend it.
func (s *system) parkedBy(r *replica.Replica, message string) (id string, mend func()) {
	s.t.Helper()
	refusal, err := json.Marshal(
		map[string]any{"errorMessages": []string{}, "errors": map[string]string{"customfield_10077": message}},
	)
	require.NoError(s.t, err)
	mend = s.jira.Inject(
		jirasim.Fault{
			Method:   http.MethodPost,
			Endpoint: "issue",
			Effect:   jirasim.Respond(http.StatusBadRequest, string(refusal), "Content-Type", "application/json"),
		},
	)
	id = s.request()
	_, err = r.WaitLog(s.ctx, "parked: repeating cannot help until something changes", "request_id", id)
	require.NoError(s.t, err)
	return id, mend
}

func TestAStuckRequestIsFoundUnderstoodAndReleased(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := newSystem(t, on{deployment: d})
		leader := s.start("leader")
		id, mend := s.parkedBy(leader, "Cost centre is required.")

		text := s.succeeds("status")
		require.Regexp(t, `leader +\S+/\d+, epoch 1, for \d+ s`, text)
		require.Regexp(t, `requests +1 open: 1 pending, 0 due now, 0 delayed, 1 parked`, text)
		require.Regexp(t, id+` +parked +1 +in \d+ \w+ +.*Cost centre is required`, text)
		status := s.answers("status")
		require.Equal(t, "OPS", status["project"])
		require.Equal(t, "example.teleport.sh", status["cluster"])
		require.EqualValues(t, 1, status["requests"].(map[string]any)["parked"])
		require.Contains(t, fmt.Sprint(status["errors"]), "Cost centre is required")
		require.Zero(t, status["cursor"].(map[string]any)["lag_seconds"])
		require.NotNil(t, status["cursor"].(map[string]any)["position"])
		require.NotNil(t, status["leader"])

		text = s.succeeds("explain", id)
		for _, told := range []string{
			`alice@example.com asks for db-admin, reason "on call this week"`, "no issue yet", "parked after 1 " +
				"attempts", "Cost centre is required",
			"queue retry " + id, "create: the request is pending and has no issue", "create failed", "sees in teleport: new, " +
				"pending",
		} {
			require.Contains(t, text, told)
		}
		require.Contains(t, s.succeeds("queue", "list"), id)

		mend()
		require.Equal(t, "Request "+id+" is tried now.\n", s.succeeds("queue", "retry", id))
		key := s.issueIn(id, "Pending").Key
		s.polls(d, 2)
		require.Equal(t, "No request is parked or delayed.\n", s.succeeds("queue", "list"))
		require.NotContains(t, s.succeeds("status"), "Stuck")
		require.Contains(t, s.succeeds("explain", key), "retry, since an operator asked for it")
	})
}

func TestASettledRequestWhoseIssueCannotBePutBackIsStuckToo(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	leader := s.start("leader")
	id := s.request()
	key := s.issueIn(id, "Pending").Key
	require.NoError(t, s.teleport.Approve(id, "carol@example.com", "go"))
	_, err := leader.WaitLog(s.ctx, "done", "action", "settle", "request_id", id)
	require.NoError(t, err)
	mend := s.jira.Inject(jirasim.Fault{
		Method:   http.MethodPost,
		Endpoint: "issue/{issue}/transitions",
		Effect: jirasim.Respond(
			http.StatusBadRequest,
			`{"errorMessages":["A field is required."],"errors":{}}`,
			"Content-Type",
			"application/json",
		),
	})
	require.NoError(t, s.jira.Move(key, "bob", "Denied"))
	_, err = leader.WaitLog(s.ctx, "parked: repeating cannot help until something changes", "request_id", id)
	require.NoError(t, err)
	require.Eventually(
		t,
		func() bool { return strings.Contains(s.succeeds("status"), "1 parked") },
		20*time.Second,
		100*time.Millisecond,
	)
	require.Contains(t, s.succeeds("status"), "A field is required.")
	require.Contains(t, s.succeeds("queue", "list"), key)
	require.Contains(t, s.succeeds("explain", id), "parked after 1 attempts")
	mend()
	require.Equal(t, key+" (request "+id+") is tried now.\n", s.succeeds("queue", "retry"))
	s.issueIn(id, "Approved")
}

func TestExplainMergesBothTimelinesAndSaysWhatThePolicyMakesOfIt(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := newSystem(t, on{deployment: d})
		s.start("leader", "POLICY_APPROVERS=bob@example.com,\x1b[31mcarol@example.com")
		id := s.request(func(r *teleportsim.Request) { r.Approvals = 2; r.Reason = "on \x1b[31mcall" })
		issue := s.issueIn(id, "Pending")
		s.polls(d, 2)
		env := []string{"POLICY_APPROVERS=bob@example.com"}

		r := s.commandWith(env, "explain", issue.Key)
		require.Contains(t, r.out, "Nobody has decided yet. Those who decide: bob@example.com, but not the requester.")
		require.Contains(t, r.out, "It waits for a decision")

		require.NoError(t, s.teleport.Review(id, "dave@example.com", true, "fine with me"))
		s.issueWith(id, 1)
		require.NoError(t, s.jira.Move(issue.Key, "mallory", "Approved"))
		s.issueWith(id, 2)
		s.issueIn(id, "Pending")
		_, err := s.jira.Comment(issue.Key, "bob", "Reason: covers the night shift")
		require.NoError(t, err)
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
		s.settled(id, "approved")
		s.polls(d, 2)

		r = s.commandWith(env, "explain", strings.ToLower(issue.Key))
		require.Zero(t, r.code, r.errors)
		at := 0
		for _, told := range []string{
			"alice@example.com asks for db-admin", "moves " + issue.Key + " from To Do to Pending", "dave@example.com " +
				"reviews: approved", "mallory@example.com moves " + issue.Key,
			"refuse (approver): moved to Approved by mallory@example.com", "the agent moves " + issue.Key + " from Approved " +
				"to Pending",
			"bob@example.com moves " + issue.Key, "decide (approved): moved to Approved by bob@example.com",
		} {
			i := strings.Index(r.out[at:], told)
			require.GreaterOrEqual(t, i, 0, "%q is not told, or too early, in:\n%s", told, r.out)
			at += i
		}
		require.Contains(t, r.out, "bob@example.com comments: Reason: covers the night shift")
		require.Contains(t, r.out, "Nothing is left to do: both sides agreed")
		require.Contains(t, r.out, "The issue shows what Teleport says: approved.")

		var e struct {
			RequestID string `json:"request_id"`
			Teleport  struct{ State string }
			Jira      struct{ Key, Status, URL string }
			Mapping   struct{ State string }
			Timeline  []struct{ Source, What string }
			Next      struct{ What string }
		}
		require.NoError(t, json.Unmarshal([]byte(s.commandWith(env, "explain", id, "--json").out), &e))
		require.Equal(t, id, e.RequestID)
		require.Equal(t, "approved", e.Teleport.State)
		require.Equal(t, "Approved", e.Jira.Status)
		require.Equal(t, s.jiraURL+"/browse/"+issue.Key, e.Jira.URL)
		require.Equal(t, "settled", e.Mapping.State)
	})
}

func TestExplainTellsWhatIsRecordedOfASideThatIsAway(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	s.start("leader")
	id := s.request()
	key := s.issueIn(id, "Pending").Key
	s.polls(jirasim.Cloud, 2)
	s.jira.SetDown(true)
	text := s.succeeds("explain", key)
	require.Contains(t, text, "As last recorded, since it cannot be asked now: jira: ")
	require.Contains(t, text, key+" in Pending")
}

func TestWhatIsUnknownIsExit1WithOneLine(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})

	r := s.command("status")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.errors, "the database has no tables of the agent; `teleport-jira-agent start` makes them")
	leader := s.start("leader")
	for _, args := range [][]string{{"explain", "OPS-99"}, {"queue", "retry", "OPS-99"}, {"queue", "drop", "OPS-99"}, {"queue", "list", "OPS-99"}} {
		r := s.command(args...)
		require.Equal(t, 1, r.code, args)
		require.Equal(t, 1, strings.Count(r.errors, "\n"), r.errors)
		require.Contains(t, r.errors, `unknown: no request of project OPS has "OPS-99"`)
		require.Empty(t, r.out)
	}
	_, err := leader.Stop(s.ctx)
	require.NoError(t, err)
	id := s.request()
	r = s.command("explain", id)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.errors, "Teleport has it (pending, made ")
	require.Contains(t, s.succeeds("status"), "nobody; the last was ")

	r = s.commandWith([]string{"DATABASE_URL=postgres://nobody@127.0.0.1:1/none"}, "queue", "list")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.errors, "DATABASE_URL: ")
	r = s.commandWith([]string{"JIRA_PROJECT"}, "queue", "list")
	require.Equal(t, 2, r.code)
	require.Contains(t, r.errors, "JIRA_PROJECT: is missing")
}

func TestADroppedRequestIsLeftAloneUntilItIsTakenUpAgain(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	leader := s.start("leader")
	id, mend := s.parkedBy(leader, "Cost centre is required.")
	mend()

	require.Contains(t, s.succeeds("queue", "drop", id), "Request "+id+" is given up")
	_, err := leader.WaitLog(s.ctx, "done", "action", "settle", "request_id", id)
	require.NoError(t, err)
	require.NoError(t, s.teleport.Review(id, "dave@example.com", false, "no")) // a fact changes, and nothing is done
	other := s.request()
	s.issueIn(other, "Pending")
	s.polls(jirasim.Cloud, 2)
	require.Empty(t, s.issuesOf(id))
	require.Contains(t, s.succeeds("explain", id), "an operator gave up on the request")
	r := s.command("queue", "drop", other)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.errors, "neither parked nor delayed")

	again := s.request()
	_, err = leader.WaitLog(s.ctx, "done", "action", "create", "request_id", again)
	require.NoError(t, err)
	s.succeeds("queue", "retry", id)
	_, err = leader.WaitLine(s.ctx, func(l replica.Line) bool {
		return l.Is("done", "action", "settle", "request_id", id) &&
			l.Fields["cause"] == "the request ended before it had an issue"
	})
	require.NoError(t, err)
}

func TestReconcileListsWhatDisagreesAndHasTheLeaderMendIt(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := newSystem(t, on{deployment: d})
		leader := s.start("leader")
		decided, moved := s.request(), s.request()
		one, two := s.issueIn(decided, "Pending"), s.issueIn(moved, "Pending")
		s.polls(d, 2)
		require.Contains(
			t,
			s.succeeds("reconcile", "--dry-run"),
			"Both sides agree: 2 requests in Teleport, 2 rows compared.",
		)

		_, err := leader.Stop(s.ctx)
		require.NoError(t, err)
		require.NoError(t, s.teleport.Approve(decided, "carol@example.com", "go"))
		require.NoError(t, s.jira.Move(two.Key, "bob", "Denied"))
		made := s.request()
		text := s.succeeds("reconcile", "--dry-run")
		require.Regexp(t, decided+` +`+one.Key+` +approved +Pending +comment: the request is approved`, text)
		require.Regexp(t, moved+` +`+two.Key+` +pending +Denied +judge: the issue is in status Denied`, text)
		require.Contains(t, text, "Admitted, moved to Denied by bob@example.com: Teleport is told denied")
		require.Regexp(t, made+` +pending +no issue +create: `, text)
		require.Contains(t, text, "Nothing was done (--dry-run)")
		healHistory := s.jira.Inject(jirasim.Fault{
			Method:   http.MethodGet,
			Endpoint: "issue/{issue}/changelog",
			Effect:   jirasim.Respond(http.StatusForbidden, `{"errorMessages":["No."]}`, "Content-Type", "application/json"),
		})
		healIssue := s.jira.Inject(jirasim.Fault{
			Method:   http.MethodGet,
			Endpoint: "issue/{issue}",
			Effect:   jirasim.Respond(http.StatusForbidden, `{"errorMessages":["No."]}`, "Content-Type", "application/json"),
		})
		text = s.succeeds("reconcile", "--dry-run")
		require.Contains(t, text, "It could not be told: jira: ")
		require.Contains(t, text, made, "one issue that cannot be read does not hide the others")
		healHistory()
		healIssue()
		require.Contains(t, s.succeeds("reconcile"), "Note: nobody leads at the moment")

		// A leader to whom nothing is told by itself for an hour.
		slow := []string{
			"SYNC_POLL_SCHEDULE=@every 1h",
			"SYNC_IDLE_SCHEDULE=@every 1h",
			"SYNC_SWEEP_SCHEDULE=@every 1h",
			"SYNC_LOOKBACK=3h",
		}
		s.start("slow", slow...)
		s.issueIn(decided, "Approved")
		s.stateIs(moved, types.RequestState_DENIED)
		last := s.issueIn(made, "Pending")
		s.settled(moved, "denied")
		require.NoError(t, s.jira.Move(last.Key, "bob", "Approved"))
		text = s.succeeds("reconcile")
		require.Contains(t, text, "1 of 3 disagree")
		require.Contains(t, text, "Handed to the leader, ")
		s.stateIs(made, types.RequestState_APPROVED)
		require.Equal(t, "jira:bob@example.com", s.updates(made)[0].Delegator)
	})
}

func TestStatusTellsForHowLongJiraHasNotBeenRead(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	leader := s.start("leader")
	require.Contains(t, s.succeeds("status"), "Jira is read up to now")
	s.jira.SetDown(true)
	_, err := leader.WaitLog(s.ctx, "failing; trying again until it works", "loop", "jira poll")
	require.NoError(t, err)
	// What is told is in the database a moment later than in the log.
	require.Eventually(
		t,
		func() bool { return strings.Contains(s.succeeds("status"), "Jira has not been read for ") },
		20*time.Second,
		100*time.Millisecond,
	)
	status := s.answers("status")
	require.Positive(t, status["cursor"].(map[string]any)["lag_seconds"])
	require.Contains(t, fmt.Sprint(status["errors"]), "jira poll")
	s.jira.SetDown(false)
	require.Eventually(
		t,
		func() bool { return strings.Contains(s.succeeds("status"), "Jira is read up to now") },
		20*time.Second,
		100*time.Millisecond,
	)
}

func TestReconcileInADryRunPromisesNothing(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	s.env["SYNC_DRY_RUN"] = "true"
	s.start("leader")
	id := s.request()
	s.polls(jirasim.Cloud, 2)
	text := s.succeeds("reconcile")
	require.Contains(t, text, id)
	require.Contains(t, text, "which writes nothing while SYNC_DRY_RUN is set")
	require.Empty(t, s.issuesOf(id))
}

func TestEachClusterOfAProjectIsToldOfAlone(t *testing.T) {
	t.Parallel()
	first := newSystem(t, on{deployment: jirasim.Cloud})
	first.start("leader")
	theirs := first.request()
	first.issueIn(theirs, "Pending")
	second := newSystem(t, on{deployment: jirasim.Cloud, teleport: teleportsim.Config{ClusterName: "second.teleport.sh"}})
	second.env["DATABASE_URL"], second.env["JIRA_URL"] = first.env["DATABASE_URL"], first.env["JIRA_URL"]
	ours := second.request()

	text := second.succeeds("status")
	require.Contains(t, text, "Teleport cluster second.teleport.sh")
	require.Contains(t, text, "nobody yet")
	require.Contains(t, text, "0 open")
	text = second.succeeds("reconcile", "--dry-run")
	require.Contains(t, text, ours)
	require.NotContains(t, text, theirs)
	require.Equal(t, 1, second.command("queue", "retry", theirs).code)

	// Where the credentials cannot be read, nothing else can be meant while one cluster alone has
	// an agent.
	r := second.commandWith([]string{"TELEPORT_IDENTITY_FILE=/etc/passwd"}, "status")
	require.Zero(t, r.code, r.errors)
	require.Contains(t, r.out, "Teleport cluster example.teleport.sh")
	second.start("leader of the second")
	require.Contains(t, second.succeeds("status"), "1 open")
	r = second.commandWith([]string{"TELEPORT_IDENTITY_FILE=/etc/passwd"}, "status")
	require.Equal(t, 1, r.code)
	require.Contains(
		t,
		r.errors,
		"project OPS is used with the Teleport clusters example.teleport.sh, second.teleport.sh, and which is meant is "+
			"not known",
	)
}
