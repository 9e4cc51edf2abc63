package integration

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"teleport-jira-agent/integration/heldport"
	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/replica"
	"teleport-jira-agent/integration/teleportsim"
)

// Secrets: none gets out, and those that are replaced are taken up.

// Both hold characters that are written differently in a URL, and none that JSON escapes.
const (
	distinctToken    = "token/of+the=agent:ATATT3x?"
	distinctPassword = "pass/word+of=the@agent:4711?"
)

// secrets are texts that must not get out, by what they are.
type secrets map[string]string

// stayOutOf fails if one of them is in what the agent let out.
func (c secrets) stayOutOf(t *testing.T, out string) {
	t.Helper()
	require.NotEmpty(t, out)
	for what, secret := range c {
		require.NotContains(t, out, secret, what)
	}
}

// distinct gives the agent credentials that can be recognised, and returns every form in which they
// are written or sent.
func (s *system) distinct() secrets {
	s.t.Helper()
	s.jira.SetCredentials(
		jirasim.Credential{User: "agent", Username: jirasim.AgentUsername, Token: distinctToken},
		jirasim.Credential{User: "agent", Token: distinctToken},
	)
	s.env["JIRA_API_TOKEN"] = distinctToken
	s.ownPostgres()
	s.setPassword(distinctPassword)
	database, err := url.Parse(s.env["DATABASE_URL"])
	require.NoError(s.t, err)
	database.User = url.UserPassword("postgres", distinctPassword)
	s.env["DATABASE_URL"] = database.String()

	identity, err := os.ReadFile(s.identity)
	require.NoError(s.t, err)
	basic := base64.StdEncoding.EncodeToString([]byte(jirasim.AgentUsername + ":" + distinctToken))
	return secrets{
		"token":                      distinctToken,
		"token in a query":           url.QueryEscape(distinctToken),
		"token in a path":            url.PathEscape(distinctToken),
		"authorization":              strings.TrimRight(basic, "="),
		"start of the authorization": basic[:20],
		"password":                   distinctPassword,
		"password in a query":        url.QueryEscape(distinctPassword),
		"password in a URL":          strings.TrimPrefix(url.UserPassword("", distinctPassword).String(), ":"),
		"private key":                secondLineOfKey(s.t, identity)[:40],
	}
}

// secondLineOfKey is a line of the private key in an identity file. The first one begins alike in
// all keys.
func secondLineOfKey(t *testing.T, identity []byte) string {
	t.Helper()
	lines := strings.Split(string(identity), "\n")
	begin := slices.Index(lines, "-----BEGIN PRIVATE KEY-----")
	require.GreaterOrEqual(t, begin, 0)
	require.Len(t, lines[begin+2], 64)
	return lines[begin+2]
}

// setPassword changes the password of the database's user.
func (s *system) setPassword(password string) {
	s.t.Helper()
	conn, err := pgx.Connect(s.ctx, s.env["DATABASE_URL"])
	require.NoError(s.t, err)
	defer conn.Close(s.ctx)
	_, err = conn.Exec(s.ctx, "ALTER ROLE postgres PASSWORD '"+password+"'")
	require.NoError(s.t, err)
}

func TestNoSecretIsLoggedShownOrStored(t *testing.T) {
	eachDeployment(t, func(t *testing.T, d jirasim.Deployment) {
		s := newSystem(t, on{deployment: d})
		hidden := s.distinct()
		var changes []string
		if d == jirasim.DataCenter {
			changes = []string{"JIRA_USERNAME"} // the token is sent as a bearer token
		}
		h := s.webhook()
		hidden["webhook secret"] = h.secret
		changes = append(changes, "SYNC_POLL_SCHEDULE=@every 1s", "SYNC_IDLE_SCHEDULE=@every 1s")
		a := s.start("a", changes...)
		h.posts(a, []byte("{}"), "sha256=00")
		h.posts(a, []byte("{}"), h.sign([]byte("{}")))
		ids := s.requests(2)
		issue := s.issueIn(ids[1], "Pending")
		s.approveInJira(ids[:1])
		s.settled(ids[0], "approved")
		require.NoError(t, s.teleport.Deny(ids[1], "carol@example.com", "no"))
		s.settled(ids[1], "denied")
		require.NoError(t, s.jira.Move(issue.Key, "bob", "Approved"))
		s.issueWith(ids[1], 2)

		for _, answer := range []jirasim.Effect{
			jirasim.Respond(http.StatusUnauthorized, "", "WWW-Authenticate", `Basic realm="jira"`),
			jirasim.Respond(http.StatusForbidden, "<html>Forbidden</html>", "Content-Type", "text/html"),
			jirasim.Respond(http.StatusFound, "", "Location", "https://login.example.com/?next="+s.jiraURL),
			jirasim.Respond(http.StatusInternalServerError, `{"errorMessages":["Internal server error"]}`),
			jirasim.Respond(http.StatusOK, "<html>Log in</html>", "Content-Type", "text/html"),
			jirasim.DropBefore(),
		} {
			before := len(a.Lines())
			remove := s.jira.Inject(jirasim.Fault{Effect: answer})
			s.logs(a, before, "failing; trying again until it works", "loop", "jira poll")
			remove()
			s.logs(a, before, "working", "loop", "jira poll")
		}
		for _, page := range []string{"/healthz", "/readyz", "/metrics"} {
			_, body, err := a.Get(s.ctx, page)
			require.NoError(t, err)
			hidden.stayOutOf(t, body)
		}
		hidden.stayOutOf(t, s.stored())
		_, err := a.Stop(s.ctx)
		require.NoError(t, err)
		hidden.stayOutOf(t, a.Log())
	})
}

// stored is all that is in the agent's tables.
func (s *system) stored() string {
	s.t.Helper()
	conn, err := pgx.Connect(s.ctx, s.env["DATABASE_URL"])
	require.NoError(s.t, err)
	defer conn.Close(s.ctx)
	var all strings.Builder
	for _, table := range []string{"links", "activity", "cursors", "leadership"} {
		rows, err := conn.Query(s.ctx, "SELECT t::text FROM "+table+" t")
		require.NoError(s.t, err)
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(s.t, err)
		require.NotEmpty(s.t, lines, table)
		all.WriteString(strings.Join(lines, "\n"))
	}
	return all.String()
}

func TestNoSecretIsInTheLogOfAStartThatFails(t *testing.T) {
	t.Parallel()
	waits := func(side string) func(*system, *replica.Replica) string {
		return func(s *system, r *replica.Replica) string {
			_, err := r.WaitLog(s.ctx, "waiting; this replica is not ready", "for", side)
			require.NoError(s.t, err)
			_, body, err := r.Get(s.ctx, "/readyz")
			require.NoError(s.t, err)
			r.Kill()
			return body
		}
	}
	ends := func(want int) func(*system, *replica.Replica) string {
		return func(s *system, r *replica.Replica) string {
			code, err := r.Wait(s.ctx)
			require.NoError(s.t, err)
			require.Equal(s.t, want, code)
			return ""
		}
	}
	identity := func(spoil func(content, line string) string) func(*system) {
		return func(s *system) {
			content, err := os.ReadFile(s.identity)
			require.NoError(s.t, err)
			require.NoError(s.t, os.WriteFile(s.identity, []byte(spoil(string(content), secondLineOfKey(s.t, content))), 0o600))
		}
	}
	set := func(name, old, value string) func(*system) {
		return func(s *system) {
			require.Contains(s.t, s.env[name], old)
			s.env[name] = strings.Replace(s.env[name], old, value, 1)
		}
	}
	elsewhere := func(s *system) {
		port, err := heldport.Any() // nobody listens there
		require.NoError(s.t, err)
		s.t.Cleanup(func() { require.NoError(s.t, port.Release()) })
		u, err := url.Parse(s.env["DATABASE_URL"])
		require.NoError(s.t, err)
		u.Host = port.Addr()
		s.env["DATABASE_URL"] = u.String()
	}
	for name, c := range map[string]struct {
		spoil func(*system)
		then  func(*system, *replica.Replica) (more string)
	}{
		"the token is refused":        {func(s *system) { s.jira.SetCredentials() }, ends(1)},
		"the password is refused":     {func(s *system) { s.setPassword("another") }, ends(1)},
		"there is no such database":   {set("DATABASE_URL", "/postgres?", "/nowhere?"), ends(1)},
		"Jira cannot be reached":      {func(s *system) { s.stopJira() }, waits("jira")},
		"Teleport cannot be reached":  {func(s *system) { s.teleport.Stop() }, waits("teleport")},
		"PostgreSQL is elsewhere":     {elsewhere, waits("postgresql")},
		"the identity file is torn":   {identity(func(all, _ string) string { return all[:len(all)/2] }), waits("teleport")},
		"the key in it is garbled":    {identity(func(all, line string) string { return strings.Replace(all, line, line[:63]+"!", 1) }), waits("teleport")},
		"the key in it ends early":    {identity(func(all, line string) string { return strings.Replace(all, line, line[:60], 1) }), waits("teleport")},
		"the database URL is wrong":   {set("DATABASE_URL", "@127.0.0.1:", "@127.0.0.1:port"), ends(2)},
		"the database URL has a typo": {set("DATABASE_URL", "sslmode=disable", "sslmode=off"), ends(2)},
		"Jira's URL has the token":    {set("JIRA_URL", "http://", "https://agent:"+distinctToken+"@"), ends(2)},
		"the token has a line break":  {set("JIRA_API_TOKEN", "token", "\ntoken"), ends(2)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSystem(t, on{deployment: jirasim.Cloud})
			hidden := s.distinct()
			c.spoil(s)
			a := s.launch("a")
			more := c.then(s, a)
			hidden.stayOutOf(t, a.Log()+more)
		})
	}
}

// expiry is when the identity in use ends, by the replica's metrics.
func (s *system) expiry(r *replica.Replica) time.Time {
	s.t.Helper()
	return time.Unix(int64(s.metrics(r)["teleport_jira_agent_teleport_identity_expiry_timestamp_seconds"]), 0)
}

func TestSIGHUPReloadsTheIdentityWithoutDroppingWork(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	a := s.start("a", "TELEPORT_REFRESH_IDENTITY=false")
	s.issueIn(s.request(), "Pending")
	require.WithinDuration(t, time.Now().Add(time.Hour), s.expiry(a), 10*time.Minute)

	require.NoError(t, os.WriteFile(s.identity, []byte("not yet"), 0o600))
	require.NoError(t, a.Signal(syscall.SIGHUP))
	line, err := a.WaitLog(s.ctx, "reload failed; the old Teleport credentials stay in use")
	require.NoError(t, err)
	require.Contains(t, line.Fields["error"], s.identity)

	require.NoError(t, s.teleport.RotateUserCA())
	require.NoError(t, s.teleport.WriteIdentity(s.identity, teleportsim.IdentityOptions{Lifetime: 3 * time.Hour}))
	require.NoError(t, a.Signal(syscall.SIGHUP))
	_, err = a.WaitLog(s.ctx, "reloaded")
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(3*time.Hour), s.expiry(a), 10*time.Minute)
	s.issueIn(s.request(), "Pending")
	require.Equal(t, 1, s.teleport.Calls()["WatchEvents"], "the watch went on")

	s.teleport.DropConnections() // from now on only the new identity is let in
	s.issueIn(s.request(), "Pending")
}

func TestAnIdentityThatIsReplacedAfterARotationIsPickedUp(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	s.env["LEADER_LEASE"] = "10s"
	a := s.start("a")
	before := len(a.Lines())
	require.NoError(t, s.teleport.RotateUserCA())
	s.teleport.DropConnections()
	s.logs(a, before, "failing; trying again until it works", "loop", "teleport watch")
	require.Equal(t, 503, s.ready(a).Code)
	id := s.request()

	before = len(a.Lines())
	require.NoError(t, s.teleport.WriteIdentity(s.identity, teleportsim.IdentityOptions{Lifetime: 3 * time.Hour}))
	s.logs(a, before, "Teleport credentials reloaded")
	s.logs(a, before, "working", "loop", "teleport watch")
	s.approveInJira([]string{id})
	s.settled(id, "approved")
	require.Equal(t, readyz{Code: 200, Role: "leader", Ready: true, Epoch: 1}, s.ready(a))
}

func TestAnExpiredIdentityAtTheStartIsToldAndWaitedFor(t *testing.T) {
	t.Parallel()
	s := newSystem(t, on{deployment: jirasim.Cloud})
	require.NoError(t, s.teleport.WriteIdentity(s.identity, teleportsim.IdentityOptions{Lifetime: -time.Minute}))
	a := s.launch("a")
	line, err := a.WaitLog(s.ctx, "waiting; this replica is not ready", "for", "teleport")
	require.NoError(t, err)
	require.Regexp(
		t,
		`the certificate in identity file `+s.identity+` expired at \d{4}-\S+Z: renew it`,
		line.Fields["error"],
	)
	_, err = a.WaitLog(s.ctx, "connected", "to", "postgresql")
	require.NoError(t, err)
	_, err = a.WaitLog(s.ctx, "connected", "to", "jira")
	require.NoError(t, err)
	answer := s.ready(a)
	require.Equal(t, 503, answer.Code)
	require.Len(t, answer.Reasons, 1)
	require.Regexp(t, `^teleport: .* expired at `, answer.Reasons[0])
	require.Zero(t, s.teleport.Calls()["Ping"], "an expired certificate is not even tried")

	require.NoError(t, s.teleport.WriteIdentity(s.identity, teleportsim.IdentityOptions{}))
	s.leads(a)
	s.issueIn(s.request(), "Pending")
	require.Equal(t, 200, s.ready(a).Code)
}
