package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gravitational/teleport/api/types"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// former is a system in which Teleport's own Jira plugin was at work, with its configuration file.
// What it writes where, and in which order, is in
// https://github.com/gravitational/teleport/blob/master/integrations/access/jira/app.go and
// client.go.
type former struct {
	*system
	config string
}

func newFormer(t *testing.T, d jirasim.Deployment) *former {
	t.Helper()
	f := &former{system: newSystem(t, on{deployment: d})}
	f.config = filepath.Join(t.TempDir(), "teleport-jira.toml")
	require.NoError(t, os.WriteFile(f.config, fmt.Appendf(nil, `
[teleport]
addr = %q
identity = %q
refresh_identity = true

[jira]
url = %q
username = %q
api_token = %q
project = "OPS"
issue_type = "Task"

[http]
public_addr = "jira-plugin.example.com"
listen_addr = ":8081"
https_key_file = "/var/lib/teleport/plugins/jira/server.key"
https_cert_file = "/var/lib/teleport/plugins/jira/server.crt"

[log]
output = "stderr"
severity = "DEBUG"
`, f.teleport.Addr(), f.identity, f.jiraURL, jirasim.AgentUsername, jirasim.AgentToken), 0o600))
	for name := range f.env {
		if strings.HasPrefix(name, "TELEPORT_") || strings.HasPrefix(name, "JIRA_") && name != "JIRA_MAX_RPS" ||
			strings.HasPrefix(name, "LOG_") {
			delete(f.env, name)
		}
	}
	return f
}

// starts the agent on the plugin's file, and waits until it leads.
func (f *former) starts(changes ...string) *replica.Replica {
	f.t.Helper()
	r, err := replica.Run("agent", binary, f.environ(changes...), nil, "start", "--config", f.config)
	require.NoError(f.t, err)
	f.t.Cleanup(func() {
		r.Kill()
		if f.t.Failed() {
			f.t.Logf("---- log\n%s", tail(r.Log(), 200))
		}
		require.NotContains(f.t, r.Log(), "DATA RACE")
		require.NotContains(f.t, r.Log(), jirasim.AgentToken)
	})
	f.leads(r)
	return r
}

// claims is the plugin's first write for a request.
func (f *former) claims(id string) {
	f.t.Helper()
	require.NoError(f.t, f.teleport.SetPluginData(id, "jira", map[string]string{
		"user":           "alice@example.com",
		"roles":          "db-admin",
		"created":        fmt.Sprint(time.Now().Unix()),
		"request_reason": "on call this week",
	}))
}

// makes the issue of a request, under Pending.
func (f *former) makes(id string) (key string) {
	f.t.Helper()
	f.claims(id)
	issue, err := f.jira.CreateIssue("agent", map[string]any{
		"summary": "alice@example.com requested db-admin",
		"description": "User *alice@example.com* requested an access on *25 Nov 26 09:00 UTC* with the following " +
			"roles:\n\n* db-admin\n\n\nReason: *on call this week*\n\nRequest ID: *" + id + "*\n",
	}, map[string]any{"teleportAccessRequestId": id})
	require.NoError(f.t, err)
	require.NoError(f.t, f.jira.Move(issue.Key, "agent", "Pending"))
	return issue.Key
}

// links writes down which issue it is.
func (f *former) links(id, key string) {
	f.t.Helper()
	issue, ok := f.jira.Issue(key)
	require.True(f.t, ok)
	require.NoError(f.t, f.teleport.SetPluginData(id, "jira", map[string]string{"issue_id": issue.ID, "issue_key": key}))
}

// resolves writes down how a request ended, which it does before it tells Jira.
func (f *former) resolves(id, resolution string) {
	f.t.Helper()
	require.NoError(f.t, f.teleport.SetPluginData(id, "jira", map[string]string{"resolution": resolution}))
}

func (f *former) says(key, body string) {
	f.t.Helper()
	_, err := f.jira.Comment(key, "agent", body)
	require.NoError(f.t, err)
}

// own is the one issue whose property names a request, whether or not its field does.
func (f *former) own(id string) jirasim.Issue {
	f.t.Helper()
	all := slices.DeleteFunc(slices.Clone(f.jira.Issues()), func(i jirasim.Issue) bool {
		return string(i.Properties["teleportAccessRequestId"]) != fmt.Sprintf("%q", id)
	})
	require.Len(f.t, all, 1)
	return all[0]
}

// leftBehind is what the plugin leaves of requests, by what became of each.
type leftBehind struct {
	unknown, unmade, unlinked, open, approvedInJira, untold, unmoved, done, reviewed, expired string
}

func (f *former) leaves() (l leftBehind) {
	f.t.Helper()
	l.unknown = f.request()
	l.unmade = f.request(func(r *teleportsim.Request) { r.Age = time.Hour })
	f.claims(l.unmade)
	l.unlinked = f.request()
	f.makes(l.unlinked)
	l.open = f.request()
	f.links(l.open, f.makes(l.open))

	l.approvedInJira = f.request() // while the plugin was down
	key := f.makes(l.approvedInJira)
	f.links(l.approvedInJira, key)
	require.NoError(f.t, f.jira.Move(key, "bob", "Approved"))

	for _, state := range []struct {
		id          *string
		told, moved bool
	}{{&l.untold, false, false}, {&l.unmoved, true, false}, {&l.done, true, true}} {
		id := f.request()
		*state.id = id
		key := f.makes(id)
		f.links(id, key)
		require.NoError(f.t, f.teleport.Approve(id, "admin", "go ahead"))
		f.resolves(id, "approved")
		if state.told {
			f.says(key, "Access request has been approved\nReason: go ahead")
		}
		if state.moved {
			require.NoError(f.t, f.jira.Move(key, "agent", "Approved"))
		}
	}

	l.reviewed = f.request(func(r *teleportsim.Request) { r.Approvals = 3 })
	key = f.makes(l.reviewed)
	f.links(l.reviewed, key)
	require.NoError(f.t, f.teleport.Review(l.reviewed, "eva", true, ""))
	f.says(key, "*eva* reviewed the request at *25 Nov 26 09:01 UTC*.\nResolution: *APPROVED*.\n")
	require.NoError(f.t, f.teleport.Review(l.reviewed, "robert", true, ""))

	l.expired = f.request()
	f.links(l.expired, f.makes(l.expired))
	require.NoError(f.t, f.teleport.Expire(l.expired))
	return l
}

func TestTheAgentTakesOverFromTeleportsOwnPlugin(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		f := newFormer(t, d)
		l := f.leaves()
		before := len(f.jira.Issues())
		r := f.starts()

		// A lost request, and one whose issue was never made, get theirs; what there is stays and
		// gets the field.
		for _, id := range []string{l.unknown, l.unmade, l.unlinked, l.open, l.reviewed} {
			f.issueIn(id, "Pending")
		}
		f.issueIn(l.expired, "Expired")
		f.settled(l.expired, "expired")
		for _, id := range []string{l.approvedInJira, l.untold, l.unmoved, l.done} {
			f.issueIn(id, "Approved")
			f.settled(id, "approved")
		}
		f.stateIs(l.approvedInJira, types.RequestState_APPROVED)
		require.Equal(t, "jira:bob@example.com", f.updates(l.approvedInJira)[0].Delegator)
		f.issueWith(l.reviewed, 2)
		f.issueWith(l.untold, 1)
		f.linkedTo(l.unlinked, f.own(l.unlinked))

		require.NoError(t, f.jira.Move(f.own(l.open).Key, "bob", "Denied"))
		f.stateIs(l.open, types.RequestState_DENIED)
		f.issueWith(l.open, 1)
		f.polls(d, 3)

		require.Len(t, f.jira.Issues(), before+2) // those of the first two requests
		for id, comments := range map[string][]string{
			l.unmoved:  {"Access request has been approved\nReason: go ahead"},
			l.done:     {"Access request has been approved\nReason: go ahead"},
			l.reviewed: {"*eva* reviewed the request at *25 Nov 26 09:01 UTC*.\nResolution: *APPROVED*.\n", agentComments(f.own(l.reviewed))[1]},
		} {
			require.Equal(t, comments, agentComments(f.own(id)))
		}
		require.Contains(t, agentComments(f.own(l.reviewed))[1], "robert")
		for _, id := range []string{l.untold, l.unmoved, l.done} {
			require.Empty(t, f.updates(id))
		}

		// The way back: plugin data is as the plugin knows it.
		data := f.teleport.PluginData(l.open)["jira"]
		require.Equal(t, f.own(l.open).ID, data["issue_id"])
		require.Equal(t, "denied", data["resolution"])
		require.Contains(t, r.Log(), "[http] in "+f.config+" is ignored")
	})
}

// linkedTo waits until plugin data names an issue.
func (f *former) linkedTo(id string, issue jirasim.Issue) {
	f.t.Helper()
	err := f.teleport.Wait(
		f.ctx,
		func(t *teleportsim.Server) bool { return t.PluginData(id)["jira"]["issue_id"] == issue.ID },
	)
	require.NoError(f.t, err)
}

func TestADryRunBesideTeleportsOwnPluginWritesNothing(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		f := newFormer(t, d)
		l := f.leaves()
		issues, rpcs, calls := f.jira.Issues(), f.teleport.Calls(), len(f.jira.Calls())
		r := f.starts("SYNC_DRY_RUN=true")

		would := func(id, words string) {
			t.Helper()
			_, err := r.WaitLog(f.ctx, "dry run, not done", "request_id", id, "would", words)
			require.NoError(t, err)
		}
		would(l.unknown, "claim request "+l.unknown+", and create its issue")
		would(l.open, "write "+l.open+" into the field of issue "+f.own(l.open).ID)
		would(
			l.approvedInJira,
			fmt.Sprintf("set request %s to approved, delegator jira:bob@example.com, reason \"\"", l.approvedInJira),
		)
		would(l.unmoved, "move issue "+f.own(l.unmoved).Key+" from Pending to Approved")
		would(l.expired, "move issue "+f.own(l.expired).Key+" from Pending to Expired")

		// The plugin goes on meanwhile.
		next := f.request()
		would(next, "claim request "+next+", and create its issue")
		require.Equal(t, issues, f.jira.Issues())
		for _, call := range f.jira.Calls()[calls:] {
			require.False(t, writes(call.Route()), call.Route())
		}
		for _, rpc := range []string{"UpdatePluginData", "SetAccessRequestState", "SubmitAccessReview"} {
			require.Equal(t, rpcs[rpc], f.teleport.Calls()[rpc], rpc)
		}
		key := f.makes(next)
		f.links(next, key)
		_, err := r.Stop(f.ctx)
		require.NoError(t, err)

		// Then it goes, and the agent does what it said, on the same database.
		f.starts()
		f.issueIn(next, "Pending")
		f.stateIs(l.approvedInJira, types.RequestState_APPROVED)
		f.issueIn(l.expired, "Expired")
		f.issueIn(l.unknown, "Pending")
		require.Len(t, f.issuesOf(next), 1)
		require.Equal(t, key, f.issuesOf(next)[0].Key)
	})
}

// writes reports whether a call of Jira changes something.
func writes(route string) bool {
	method, path, _ := strings.Cut(route, " ")
	return method != "GET" && !strings.HasPrefix(path, "search") && path != "issue/bulkfetch"
}
