package agent

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	// minLease leaves room for a few heartbeats within a lease over a network.
	minLease = time.Second
	// maxLease bounds the time without a leader after the machine of one is gone, which is 2.6
	// leases; above it a typing error is likelier than a wish. PostgreSQL's own bound on 1.5 leases
	// is 24 days.
	maxLease = time.Hour
	// maxConcurrency is far more than Jira's rate limits let through; above it a typing error is
	// likelier than a wish.
	maxConcurrency = 1000
	// lookbackPolls is how many polls the look-back must cover at least, so that one lost poll
	// leaves no gap.
	lookbackPolls = 2
)

// check validates what was decoded: each value by itself, then how they go together. The functions
// below return what is wrong, or nothing; nothing also for a value that is not set.
func (l *loader) check() {
	l.checkTeleport()
	l.checkJira()
	l.checkStatuses()
	l.checkDatabase()
	l.checkSync()
	l.oneOf("POLICY_SELF_APPROVAL", &l.cfg.Policy.SelfApproval, "deny", "strict", "allow")
	l.complain("LEADER_LEASE", atLeast(l.cfg.Leader.Lease, minLease))
	l.complain("LEADER_LEASE", atMost(l.cfg.Leader.Lease, maxLease))
	if addr := l.cfg.Admin.ListenAddr; addr != "" {
		l.complain("ADMIN_LISTEN_ADDR", listenAddr(addr))
	}
	l.checkWebhook()
	l.complainOfFile("LOG_OUTPUT", l.cfg.Log.Output, logOutput)
	l.oneOf("LOG_SEVERITY", &l.cfg.Log.Severity, "debug", "info", "warn", "error")
	l.oneOf("LOG_FORMAT", &l.cfg.Log.Format, "json", "console")
}

// fillIn sets what defaults to another variable, and the one form of values that have several.
func (l *loader) fillIn() {
	jira := &l.cfg.Jira
	jira.URL = strings.TrimRight(jira.URL, "/")
	if jira.BrowseURL == "" {
		jira.BrowseURL = jira.URL
	}
	jira.BrowseURL = strings.TrimRight(jira.BrowseURL, "/")
	if len(jira.StatusPromoted) == 0 {
		jira.StatusPromoted = slices.Clone(jira.StatusApproved)
	}
}

func (l *loader) checkTeleport() {
	t := &l.cfg.Teleport
	if t.Addr != "" {
		l.complain("TELEPORT_ADDR", hostPort(t.Addr))
	}
	l.complainOfFile("TELEPORT_IDENTITY_FILE", t.IdentityFile, readable)
	l.complainOfFile("TELEPORT_CLIENT_KEY", t.ClientKey, readable)
	l.complainOfFile("TELEPORT_CLIENT_CRT", t.ClientCrt, readable)
	l.complainOfFile("TELEPORT_ROOT_CAS", t.RootCAs, certificates)
	l.oneOf("TELEPORT_DECISION_MODE", &t.DecisionMode, "state", "review", "notify")
	l.complain("TELEPORT_USER_TRAIT", printable(t.UserTrait))

	triple := []struct{ name, value string }{
		{"TELEPORT_CLIENT_KEY", t.ClientKey},
		{"TELEPORT_CLIENT_CRT", t.ClientCrt},
		{"TELEPORT_ROOT_CAS", t.RootCAs},
	}
	var set, unset []string
	for _, part := range triple {
		if part.value != "" {
			set = append(set, part.name)
		} else {
			unset = append(unset, part.name)
		}
	}
	switch {
	case t.IdentityFile != "" && len(set) > 0:
		l.complain("TELEPORT_IDENTITY_FILE", "is set, and so is "+strings.Join(set, ", ")+": set the one or the others")
	case t.IdentityFile == "" && len(set) == 0:
		l.complainMissing(
			"TELEPORT_IDENTITY_FILE",
			"is missing, and so are "+strings.Join(unset, ", ")+l.unknownNeighbours(l.setting("TELEPORT_IDENTITY_FILE")),
		)
	case t.IdentityFile == "" && len(unset) > 0:
		for _, name := range unset {
			l.complainMissing(name, "is missing beside "+strings.Join(set, ", "))
		}
	case t.IdentityFile == "" && !l.elsewhere &&
		!l.hasProblem("TELEPORT_CLIENT_KEY") && !l.hasProblem("TELEPORT_CLIENT_CRT"):
		if _, err := tls.LoadX509KeyPair(t.ClientCrt, t.ClientKey); err != nil {
			l.complain("TELEPORT_CLIENT_CRT", "is no certificate for the key in TELEPORT_CLIENT_KEY: "+err.Error())
		}
	}
}

// projectKey is what Jira takes as a key by default; Data Center administrators may allow longer
// ones:
// https://confluence.atlassian.com/adminjiraserver/changing-the-project-key-format-938847081.html
var projectKey = regexp.MustCompile(`^[A-Z][A-Z0-9_]{1,254}$`)

var customField = regexp.MustCompile(`^customfield_\d+$`)

func (l *loader) checkJira() {
	j := &l.cfg.Jira
	l.complain("JIRA_URL", secureURL(j.URL))
	if strings.Contains(j.Username, ":") {
		l.complain("JIRA_USERNAME", "must not contain a colon, which ends the user name in basic authentication")
	}
	l.complain("JIRA_USERNAME", printable(j.Username))
	l.complain("JIRA_API_TOKEN", printable(j.APIToken.Value()))
	l.complain("JIRA_BROWSE_URL", secureURL(j.BrowseURL))
	l.complainOfFile("JIRA_CA_FILE", j.CAFile, certificates)
	if j.Project != "" && !projectKey.MatchString(j.Project) {
		l.complain("JIRA_PROJECT", "must be a project key (capital letters, digits and _, beginning with a letter, at "+
			"least two), is "+quote(j.Project))
	}
	l.oneOf("JIRA_DEPLOYMENT", &j.Deployment, "auto", "cloud", "datacenter")
	if strings.HasPrefix(j.RequestIDField, "customfield_") && !customField.MatchString(j.RequestIDField) {
		l.complain(
			"JIRA_REQUEST_ID_FIELD",
			"must be a field's name or customfield_ and its number, is "+quote(j.RequestIDField),
		)
	}
	for _, field := range []string{"project", "issuetype", "summary", "description", j.RequestIDField} {
		if _, taken := j.Fields[field]; taken {
			l.complain("JIRA_FIELDS", "must not set "+field+", which the agent sets itself")
		}
	}
	if !(j.MaxRPS > 0) || math.IsInf(j.MaxRPS, 0) { // NaN is not greater than anything
		l.complain("JIRA_MAX_RPS", fmt.Sprintf("must be greater than 0, is %v", j.MaxRPS))
	}
}

// checkStatuses sees to it that a status means one thing. Promoted may share those of Approved, and
// does so by default, and of Expired: none of these is taken back once Teleport says so. In Pending
// or Denied it would look like another outcome.
func (l *loader) checkStatuses() {
	j := &l.cfg.Jira
	sets := []struct {
		name     string
		statuses List
	}{
		{"JIRA_STATUS_PENDING", j.StatusPending},
		{"JIRA_STATUS_APPROVED", j.StatusApproved},
		{"JIRA_STATUS_DENIED", j.StatusDenied},
		{"JIRA_STATUS_EXPIRED", j.StatusExpired},
		{"JIRA_STATUS_PROMOTED", j.StatusPromoted},
	}
	for i, set := range sets {
		for _, other := range sets[:i] {
			if set.name == "JIRA_STATUS_PROMOTED" &&
				(other.name == "JIRA_STATUS_APPROVED" || other.name == "JIRA_STATUS_EXPIRED") {
				continue
			}
			for _, status := range set.statuses {
				if slices.ContainsFunc(other.statuses, func(s string) bool { return strings.EqualFold(s, status) }) {
					problem := "has " + quote(status) + ", and so has " + other.name + ": a status can mean one of them only"
					l.complainWith(set.name, problem, l.unlike(set.name, status))
				}
			}
		}
	}
}

func (l *loader) checkDatabase() {
	if text := l.cfg.Database.URL.Value(); text != "" {
		l.complain("DATABASE_URL", postgresURL(text))
	}
}

func (l *loader) checkSync() {
	s := &l.cfg.Sync
	l.complain("SYNC_LOOKBACK", moreThanNothing(s.Lookback))
	if poll, ok := s.PollSchedule.Interval(); ok && s.Lookback < lookbackPolls*poll {
		problem := fmt.Sprintf("must be at least %d times the interval of SYNC_POLL_SCHEDULE (%v), is %v",
			lookbackPolls, poll, s.Lookback)
		l.complainWith("SYNC_LOOKBACK", problem, (lookbackPolls * poll).String())
	}
	if s.Concurrency < 1 || s.Concurrency > maxConcurrency {
		l.complain("SYNC_CONCURRENCY", fmt.Sprintf("must be from 1 to %d, is %d", maxConcurrency, s.Concurrency))
	}
	l.complain("SYNC_RETENTION", moreThanNothing(s.Retention))
}

// oneOf takes a word in any case and leaves it in lower case.
func (l *loader) oneOf(variable string, word *string, words ...string) {
	given := *word
	*word = strings.ToLower(given)
	if !slices.Contains(words, *word) {
		l.complain(variable, "must be one of "+strings.Join(words, ", ")+", is "+quote(given))
	}
}

func moreThanNothing(d time.Duration) string {
	if d <= 0 {
		return fmt.Sprintf("must be greater than 0, is %v", d)
	}
	return ""
}

func atLeast(d, least time.Duration) string {
	if d < least {
		return fmt.Sprintf("must be at least %v, is %v", least, d)
	}
	return ""
}

func atMost(d, most time.Duration) string {
	if d > most {
		return fmt.Sprintf("must be at most %v, is %v", most, d)
	}
	return ""
}

func hostPort(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || host == "" || !isPort(port, 1) || strings.ContainsAny(host, "/@ ") {
		return "must be host:port without a scheme, is " + quote(addr)
	}
	return ""
}

// listenAddr checks an address to listen on: the host may be empty (all addresses), the port 0 (any
// free one).
func listenAddr(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || !isPort(port, 0) || strings.ContainsAny(host, "/@ ") {
		return "must be host:port or :port, is " + quote(addr)
	}
	return ""
}

func isPort(text string, least int) bool {
	port, err := strconv.Atoi(text)
	return err == nil && port >= least && port <= math.MaxUint16
}

// secureURL checks the base URL of Jira. A URL with credentials in it is not shown.
func secureURL(text string) string {
	if text == "" {
		return ""
	}
	if strings.Contains(text, "@") {
		return "must not hold a user name or password"
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || u.RawQuery != "" || u.Fragment != "":
		return "must be a URL of scheme, host and perhaps a path, is " + quote(text)
	case u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname()):
		return ""
	}
	return "must begin with https:// (http:// is for a loopback address), is " + quote(text)
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// postgresURL never shows the URL, which holds a password. What pgx says of a URL in good form
// names single parameters, and is shown if the password is not in it.
func postgresURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "must be a URL (special characters in the password must be percent-encoded)"
	}
	if u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return "must begin with postgres://"
	}
	_, err = pgxpool.ParseConfig(text)
	if err == nil {
		return ""
	}
	_, encoded, _ := strings.Cut(u.User.String(), ":")
	password, _ := u.User.Password()
	secrets := []string{encoded, password, u.Query().Get("password"), u.Query().Get("sslpassword")}
	reason := err.Error()
	if _, after, ok := strings.Cut(reason, "`: "); ok { // it begins with the URL
		reason = after
	}
	if slices.ContainsFunc(secrets, func(s string) bool { return s != "" && strings.Contains(reason, s) }) {
		return "must be a PostgreSQL URL"
	}
	return "must be a PostgreSQL URL: " + reason
}

// logOutput tries what NewLogger will do, so that it is found out together with all other problems.
func logOutput(output string) string {
	file, err := openLog(output)
	if err != nil {
		return "cannot be written: " + err.Error()
	}
	if file != os.Stderr && file != os.Stdout {
		_ = file.Close() // nothing was written
	}
	return ""
}

func readable(path string) string {
	if path == "" {
		return ""
	}
	content, err := os.ReadFile(path)
	switch {
	case err != nil:
		return "cannot be read: " + err.Error()
	case len(content) == 0:
		return "is an empty file: " + path
	}
	return ""
}

func certificates(path string) string {
	if problem := readable(path); path == "" || problem != "" {
		return problem
	}
	content, err := os.ReadFile(path)
	if err != nil || !x509.NewCertPool().AppendCertsFromPEM(content) {
		return "holds no certificate in PEM form: " + path
	}
	return ""
}

// printable refuses what cannot stand in an HTTP header, such as the line break of a carelessly
// copied token. The value may be a secret, and is not shown.
func printable(value string) string {
	if strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return "must not contain spaces, line breaks or control characters"
	}
	return ""
}
