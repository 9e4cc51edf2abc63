package jira

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"golang.org/x/net/http/httpproxy"

	"teleport-jira-agent/sync"
)

// The checks beside those of setup, in their order.
const (
	checkProxy       = "jira.proxy"
	checkCA          = "jira.ca"
	checkURL         = "jira.url"
	checkAccount     = "jira.account"
	checkToken       = "jira.token"
	checkProject     = "jira.project"
	checkServiceDesk = "jira.service_desk"
	checkPermission  = "jira.permissions"
	checkJQL         = "jira.field.jql"
	checkCreate      = "jira.create"
	checkGroups      = "jira.groups"
	checkClock       = "jira.clock"
	checkRate        = "jira.rate_limit"
)

// What needs the account, and of that what needs the project.
var (
	ofAccount = []string{checkToken, checkProject}
	ofProject = []string{
		checkField,
		checkSearchable,
		checkContext,
		checkScreen,
		checkStatuses,
		checkTransitions,
		checkJQL,
		checkPermission,
		checkCreate,
		checkRate,
	}
)

const (
	// tokenNotice is how little may be left of a token: enough for a person to make another one.
	tokenNotice = 14 * 24 * time.Hour
	// clockSlack is by how much Jira's clock may differ: polls go by Jira's clock alone, the expiry
	// of requests by this machine's.
	clockSlack = 30 * time.Second
)

// CheckFor says what the agent is to do in Jira.
type CheckFor struct {
	Statuses       sync.Statuses
	ApproverGroups []string
}

// Check finds out what the agent needs of Jira. It changes nothing; whether issues can be created
// is tried with one whose summary Jira must refuse.
func Check(ctx context.Context, cfg Config, want CheckFor, log *zap.Logger) []sync.Finding {
	network := &sync.Findings{Group: sync.GroupNetwork}
	f := &sync.Findings{Group: sync.GroupJira}
	checkNetwork(cfg, network)
	c, err := newClient(cfg, log)
	if err != nil {
		network.Fails(checkURL, "correct it", "%s", err)
		return network.All
	}
	defer c.Close()
	if err := c.findDeployment(ctx); err != nil {
		network.Fails(checkURL, reachRemedy(cfg, err), "%s", err)
		f.Skipped("Jira cannot be reached", slices.Concat([]string{checkClock, checkAccount}, ofAccount, ofProject)...)
		return append(network.All, f.All...)
	}
	k := checking{Client: c, Findings: f, want: want}
	k.findURL(ctx, network)
	k.all(ctx)
	return append(network.All, f.All...)
}

func checkNetwork(cfg Config, f *sync.Findings) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return // newClient says so
	}
	// As net/http does it, which leaves out an address that it cannot read without a word.
	env := httpproxy.FromEnvironment()
	proxy, _ := env.ProxyFunc()(u)
	env.NoProxy = ""
	meant, _ := env.ProxyFunc()(u)
	local := u.Hostname() == "localhost" || net.ParseIP(u.Hostname()).IsLoopback()
	switch {
	case proxy != nil:
		f.Holds(checkProxy, "calls to %s go through the proxy %s (HTTPS_PROXY, HTTP_PROXY)", u.Hostname(), proxy.Host)
	case meant == nil && !local && (u.Scheme == "https" && env.HTTPSProxy != "" ||
		u.Scheme == "http" && env.HTTPProxy != ""):
		f.Fails(
			checkProxy,
			"correct HTTPS_PROXY: http://proxy.example.com:3128",
			"the proxy's address in the environment is none",
		) // it may hold a password
	case meant != nil:
		f.Holds(checkProxy, "calls to %s go without a proxy, as NO_PROXY says", u.Hostname())
	default:
		f.Holds(checkProxy, "calls to %s go without a proxy", u.Hostname())
	}
	if cfg.CAFile == "" {
		return
	}
	if _, err := newHTTPTransport(cfg); err != nil {
		f.Fails(checkCA, "name a file with the certificate of your certificate authority in PEM form, which begins with "+
			"-----BEGIN CERTIFICATE-----", "%s", err)
		return
	}
	f.Holds(checkCA, "%s is trusted, beside the system's certificate authorities", cfg.CAFile)
}

// reachRemedy is what to do where Jira does not answer, or something else does.
func reachRemedy(cfg Config, err error) string {
	text := err.Error()
	var dns *net.DNSError
	var answer *answerError
	switch {
	case strings.Contains(text, "certificate signed by unknown authority"),
		strings.Contains(text, "certificate is not trusted"):
		return "set JIRA_CA_FILE to a PEM file with the certificate of the authority that signed Jira's, or of the proxy " +
			"that opens TLS on the way"
	case strings.Contains(text, "x509: certificate"), strings.Contains(text, "failed to verify certificate"):
		return "Jira's certificate is not for this name, or not valid any more: correct the name in JIRA_URL, or have the " +
			"certificate renewed"
	case errors.As(err, &dns) && !strings.Contains(cfg.URL, dns.Name):
		return "correct the name of the proxy in HTTPS_PROXY, or the DNS of this machine: getent hosts " + dns.Name
	case errors.As(err, &dns):
		return "correct the name in JIRA_URL, or the DNS of this machine: getent hosts " + dns.Name
	case errors.As(err, &answer) && answer.code == http.StatusNotFound:
		return "set JIRA_URL to Jira's base URL, with its context path if it has one, as in https://example.com/jira; " +
			"scoped tokens of Cloud need https://api.atlassian.com/ex/jira/<cloud id>"
	case errors.As(err, &answer):
		return "see what answers: curl -i " + strings.TrimRight(cfg.URL, "/") + "/rest/api/2/serverInfo"
	}
	return "see whether this machine reaches Jira: curl -i " + strings.TrimRight(cfg.URL, "/") +
		"/rest/api/2/serverInfo; a proxy on the way is set by HTTPS_PROXY"
}

// checking is one look at a Jira that answers.
type checking struct {
	*Client
	*sync.Findings
	want CheckFor
}

// findURL tells what answers, and compares its clock.
func (k *checking) findURL(ctx context.Context, network *sync.Findings) {
	began := time.Now()
	info, _, err := k.serverInfo(ctx)
	said := DataCenter
	if strings.EqualFold(info.DeploymentType, "Cloud") {
		said = Cloud
	}
	switch {
	case err != nil:
		network.Fails(checkURL, reachRemedy(k.cfg, err), "%s", err)
	case said != k.deployment:
		network.Fails(
			checkURL,
			"set JIRA_DEPLOYMENT=auto",
			"this is Jira %s %s, and JIRA_DEPLOYMENT says %s",
			said,
			info.Version,
			k.deployment,
		)
	default:
		network.Holds(checkURL, "Jira %s %s answers at %s", info.DeploymentType, info.Version, k.cfg.URL)
	}
	if info.ServerTime.IsZero() {
		return
	}
	skew := info.ServerTime.Sub(began.Add(time.Since(began) / 2)).Round(time.Second)
	if skew > clockSlack || skew < -clockSlack {
		k.Doubt(
			checkClock,
			"set this machine's clock by NTP: chronyc tracking, or timedatectl set-ntp true",
			"Jira's clock differs from this machine's by %s: "+
				"requests would be taken for expired that much too early or late",
			skew,
		)
		return
	}
	k.Holds(checkClock, "Jira's clock agrees")
}

// all goes through what needs the account.
func (k *checking) all(ctx context.Context) {
	if err := k.findSelf(ctx); err != nil {
		k.Fails(checkAccount, remedyFor(err, accountRemedy(k.cfg)), "%s", err)
		k.Skipped("Jira does not know the account", slices.Concat(ofAccount, ofProject)...)
		return
	}
	k.Holds(checkAccount, "%s (%s)", k.self.ID(), strings.Join(strings.Fields(k.self.DisplayName+" "+k.self.Email), " "))
	k.token(ctx)
	project, err := k.findProject(ctx)
	if err != nil {
		remedy := "set JIRA_PROJECT to the key before the number of its issues, and let the account " + k.self.ID() +
			" browse it: Project settings → People, or Permissions"
		k.Fails(checkProject, remedyFor(err, remedy), "%s", err)
		k.Skipped("there is no project to look at", ofProject...)
		return
	}
	k.project(project)
	setup, err := k.planSetup(ctx, k.want.Statuses)
	if err != nil {
		k.Fails(checkField, "see whether the account may read the project's setup", "%s", err)
		k.Skipped("the project's setup could not be read", ofProject[1:]...)
		return
	}
	k.All = append(k.All, setup.Findings()...)
	if field, found := setup.seen.one(); found {
		k.field = field.requestID()
		if field.Searchable != nil && !*field.Searchable {
			k.Skipped("the field cannot be searched for", checkJQL)
		} else {
			k.jql(ctx)
		}
	}
	k.permissions(ctx)
	k.create(ctx, setup)
	k.groupsReadable(ctx)
	k.rate()
}

func accountRemedy(cfg Config) string {
	if cfg.Username != "" {
		return "Cloud: JIRA_USERNAME is the account's e-mail address and JIRA_API_TOKEN an API token of it " +
			"(https://id.atlassian.com/manage-profile/security/api-tokens); " +
			"a scoped token or a service account's: JIRA_URL=https://api.atlassian.com/ex/jira/<cloud id>. Data Center: user " +
			"name and password, or an empty JIRA_USERNAME and a personal access token"
	}
	return "Data Center: make a personal access token (profile picture → Profile → Personal Access Tokens) and put it " +
		"into JIRA_API_TOKEN. Cloud: set JIRA_USERNAME to the account's e-mail address"
}

func (k *checking) token(ctx context.Context) {
	ends, known, err := k.tokenExpiry(ctx)
	switch {
	case err != nil:
		k.Doubt(checkToken, "see Profile → Personal Access Tokens", "it cannot be told when the token ends: %s", err)
	case !known && k.deployment == Cloud:
		k.Holds(checkToken, "the token is good; Jira Cloud does not tell until when, which is at most a year from its making")
	case !known:
		k.Holds(checkToken, "the token is good, and Jira names no end")
	case time.Until(ends) < tokenNotice:
		k.Doubt(checkToken, "make a new one (profile picture → Profile → Personal Access Tokens) and put it into the file "+
			"of JIRA_API_TOKEN_FILE, which is read again when it changes",
			"a token of this account ends at %s", ends.UTC().Format(time.RFC3339))
	default:
		k.Holds(checkToken, "no token of this account ends before %s", ends.UTC().Format(time.RFC3339))
	}
}

// serviceDesk is the projectTypeKey of projects whose issues have customers.
const serviceDesk = "service_desk"

func (k *checking) project(p projectJSON) {
	style := "company-managed"
	switch {
	case p.Simplified:
		style = "team-managed"
	case k.deployment == DataCenter:
		style = "of type " + p.TypeKey
	}
	k.Holds(checkProject, "project %s, %s", p.Key, style)
	if p.TypeKey == serviceDesk {
		k.Holds(checkServiceDesk, "a service-desk project: the agent's comments are internal, so that customers do not "+
			"see them")
	}
}

func (k *checking) permissions(ctx context.Context) {
	missing, err := k.missingPermissions(ctx, append(slices.Clone(needed), editIssues)...)
	switch {
	case err != nil:
		k.Doubt(
			checkPermission,
			"see that the account may browse the project, create, edit and move issues and comment",
			"%s",
			err,
		)
	case len(missing) > 0 && !slices.Equal(missing, []string{editIssues}):
		k.Fails(
			checkPermission,
			permissionRemedy(k.self.ID(), missing),
			"the account lacks %s in the project",
			strings.Join(missing, ", "),
		)
	case len(missing) > 0:
		k.Doubt(checkPermission, permissionRemedy(k.self.ID(), missing), "without EDIT_ISSUES a request ID that somebody "+
			"takes out of its issue cannot be put back, "+
			"and issues of Teleport's own plugin cannot be taken over")
	default:
		k.Holds(checkPermission, "browse the project, create, edit and move issues, and comment")
	}
}

func permissionRemedy(account string, missing []string) string {
	return "grant " + strings.Join(missing, ", ") + " to " + account +
		": Project settings → Permissions → Actions → Edit permissions (team-managed: Project settings → Access)"
}

func (k *checking) jql(ctx context.Context) {
	r := request{
		op: "search by the request ID's field", method: http.MethodPost, endpoint: "search", scope: sync.ScopeSide,
		body: map[string]any{
			"jql": fmt.Sprintf(
				`project = %s AND cf[%s] is not EMPTY AND updated >= 0`,
				quoted(k.cfg.Project),
				k.field.number,
			),
			"fields":     []string{"status"},
			"maxResults": 1,
		},
	}
	if k.deployment == Cloud {
		r.endpoint = "search/jql"
	}
	if _, err := k.do(ctx, r, nil); err != nil {
		k.Fails(
			checkJQL,
			"give the field a searcher (`teleport-jira-agent setup`), and on Data Center re-index: Administration → System → "+
				"Indexing",
			"%s",
			err,
		)
		return
	}
	k.Holds(checkJQL, "issues are found by cf[%s]", k.field.number)
}

// refusedSummary is one that Jira refuses twice over: for its length and for its two lines.
var refusedSummary = "teleport-jira-agent check: not to be stored\n" + strings.Repeat("x", 300)

// create tries to create an issue that Jira does not take, for its summary. What else Jira objects
// to would keep the agent from creating issues.
func (k *checking) create(ctx context.Context, setup *Setup) {
	if setup.seen.kind.ID == "" {
		k.Skipped("there is no issue type to create one of", checkCreate)
		return
	}
	fields := k.creationFields(sync.Draft{RequestID: "check", Summary: refusedSummary, Description: "not to be stored"})
	delete(fields, "") // the request ID's field, where there is none
	r := request{
		op:       "try to create an issue",
		method:   http.MethodPost,
		endpoint: "issue",
		scope:    sync.ScopeSide,
		body:     map[string]any{"fields": fields},
	}
	_, err := k.do(ctx, r, nil)
	var answer *answerError
	switch {
	case err == nil:
		k.Doubt(checkCreate, "delete the issue that was just made in project "+k.cfg.Project, "Jira took an issue with a "+
			"summary of two lines and %d characters", len(refusedSummary))
		return
	case !errors.As(err, &answer) || len(answer.fields) == 0:
		k.Fails(checkCreate, remedyFor(err, "see what Jira objects to; JIRA_FIELDS sets further fields"), "%s", err)
		return
	}
	// The field of the agent is a finding of its own.
	expected := func(field string) bool { return field == "summary" || field == k.field.id }
	objections := slices.DeleteFunc(slices.Clone(answer.words), func(word string) bool {
		field, _, _ := strings.Cut(word, ":")
		return expected(field)
	})
	switch {
	case len(objections) > 0:
		wrong := slices.DeleteFunc(slices.Clone(answer.fields), expected)
		k.Fails(
			checkCreate,
			k.createRemedy(wrong, setup.clicks()),
			"Jira would refuse to create issues: %s",
			strings.Join(objections, "; "),
		)
	case !slices.Contains(answer.fields, "summary"): // Jira looks at values only when all fields are on the screen
		k.Fails(
			checkCreate,
			"teleport-jira-agent setup",
			"Jira would refuse to create issues: %s",
			strings.Join(answer.words, "; "),
		)
	default:
		k.Holds(checkCreate, "Jira would take issues of type %q with the fields of JIRA_FIELDS (tried with one that it "+
			"does not store)", k.cfg.IssueType)
	}
}

// createRemedy is what to do about the fields that Jira objects to: those that JIRA_FIELDS sets,
// those that the agent sets, those that nobody sets.
func (k *checking) createRemedy(wrong []string, by clicks) string {
	field := "customfield_10050" // an example, where Jira names none
	if len(wrong) > 0 {
		field = wrong[0]
	}
	if _, set := k.cfg.Fields[field]; set {
		return "correct " + field + " in JIRA_FIELDS, or take it out; if it is right, " + by.putOnScreen(field)
	}
	if field == "description" {
		return by.putOnScreen("Description")
	}
	return fmt.Sprintf(
		`set it in JIRA_FIELDS, as in JIRA_FIELDS={"%s": "…"} (a choice: {"value": "…"}), or make it optional: %s`,
		field,
		by.makeOptional(field),
	)
}

func (k *checking) groupsReadable(ctx context.Context) {
	if len(k.want.ApproverGroups) == 0 {
		return
	}
	if _, err := k.Groups(ctx, k.self); err != nil {
		remedy := `grant the account the global permission "Browse users and groups": ` +
			"Jira settings → System → Global permissions"
		k.Fails(checkGroups, remedyFor(err, remedy), "who is in the groups of POLICY_APPROVER_GROUPS cannot be read, so "+
			"that nobody can decide by them: %s", err)
		return
	}
	var absent []string
	for _, group := range k.want.ApproverGroups {
		there, err := k.groupExists(ctx, group)
		if err != nil {
			k.Doubt(checkGroups, "see that each group of POLICY_APPROVER_GROUPS exists", "%s", err)
			return
		}
		if !there {
			absent = append(absent, fmt.Sprintf("%q", group))
		}
	}
	if len(absent) > 0 {
		k.Fails(
			checkGroups,
			"correct POLICY_APPROVER_GROUPS: names, or on Cloud ids, as Jira's user management shows them",
			"Jira has no group %s",
			strings.Join(absent, ", "),
		)
		return
	}
	k.Holds(checkGroups, "the groups of POLICY_APPROVER_GROUPS exist, and their members can be read")
}

// groupExists looks a group up by its name or, on Cloud, its id.
func (k *checking) groupExists(ctx context.Context, nameOrID string) (bool, error) {
	r := request{op: "look up group " + nameOrID, method: http.MethodGet, endpoint: "groups/picker", scope: sync.ScopeSide}
	r.query = url.Values{"query": {nameOrID}, "maxResults": {"50"}, "caseInsensitive": {"true"}}
	if k.deployment == Cloud && groupID.MatchString(nameOrID) {
		var page struct {
			Values []groupJSON `json:"values"`
		}
		r.endpoint, r.query = "group/bulk", url.Values{"groupId": {nameOrID}}
		_, err := k.do(ctx, r, &page)
		return len(page.Values) > 0, err
	}
	var found struct {
		Groups []groupJSON `json:"groups"`
		Total  int         `json:"total"`
	}
	if _, err := k.do(ctx, r, &found); err != nil {
		return false, err
	}
	there := slices.ContainsFunc(found.Groups, func(g groupJSON) bool { return strings.EqualFold(g.Name, nameOrID) })
	if shown := len(found.Groups); !there && shown < found.Total {
		return false, failure(r, fmt.Errorf("Jira shows %d of the %d groups with this in their names, and it is not among "+
			"them",
			shown, found.Total))
	}
	return there, nil
}

func (k *checking) rate() {
	limit, told := k.rateLimits()
	switch {
	case !told:
		k.Holds(checkRate, "Jira names no limit; JIRA_MAX_RPS is %g", k.cfg.MaxRPS)
	case limit.NearLimit:
		k.Doubt(
			checkRate,
			"see what else uses this Jira's API with this account or site, and lower JIRA_MAX_RPS",
			"less than a fifth is left of the %d calls that Jira allows at once",
			limit.Limit,
		)
	case limit.FillRate > 0 && limit.Interval > 0 && k.cfg.MaxRPS > limit.FillRate/limit.Interval.Seconds():
		k.Doubt(checkRate, fmt.Sprintf("set JIRA_MAX_RPS to %.3g or less, or have this account exempted: Administration → "+
			"System → Rate limiting", limit.FillRate/limit.Interval.Seconds()),
			"Jira allows %g calls in %s, and JIRA_MAX_RPS is %g a second", limit.FillRate, limit.Interval, k.cfg.MaxRPS)
	default:
		k.Holds(checkRate, "%d of %d calls are left; JIRA_MAX_RPS is %g", limit.Remaining, limit.Limit, k.cfg.MaxRPS)
	}
}
