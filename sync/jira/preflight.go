package jira

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	stdsync "sync"
	"time"

	"go.uber.org/zap"

	"teleport-jira-agent/sync"
)

// needed are the permissions of the project without which the agent cannot do its part.
var needed = []string{"BROWSE_PROJECTS", "CREATE_ISSUES", "TRANSITION_ISSUES", "ADD_COMMENTS"}

// editIssues is the permission to put back a request ID that somebody took out of its issue.
const editIssues = "EDIT_ISSUES"

// requestIDField is the custom field that holds the request ID.
type requestIDField struct {
	id     string // customfield_10042
	number string // 10042, as JQL names it: cf[10042]
	name   string
}

// preflight learns what the adapter has to know of this Jira and checks what it rests on.
func (c *Client) preflight(ctx context.Context) error {
	if err := c.findDeployment(ctx); err != nil {
		return lasting(err)
	}
	if err := c.findSelf(ctx); err != nil {
		return lasting(err)
	}
	project, err := c.findProject(ctx)
	if err != nil {
		return lasting(err)
	}
	if err := c.findField(ctx, project.ID); err != nil {
		return lasting(err)
	}
	if err := c.checkPermissions(ctx); err != nil {
		return lasting(err)
	}
	c.checkStatuses(ctx)
	c.log.Info(
		"connected to jira",
		zap.String("deployment", string(c.deployment)),
		zap.String("account", c.self.ID()),
		zap.String("project", c.cfg.Project),
		zap.String("field", c.field.id),
	)
	return nil
}

// lasting marks as permanent, at the start, what waiting does not mend: refused credentials,
// missing rights, a project or field that is not there, a login page before Jira. A redirect or a
// foreign 404 may come from a server that is starting.
func lasting(err error) error {
	var e *sync.Error
	var answer *answerError
	if errors.As(err, &e) && errors.As(err, &answer) {
		e.Permanent = e.Permanent || answer.noLogin || answer.code == http.StatusUnauthorized ||
			answer.code < 300 && answer.web
	}
	return err
}

type serverInfoJSON struct {
	DeploymentType string   `json:"deploymentType"`
	Version        string   `json:"version"`
	ServerTime     jiraTime `json:"serverTime"`
}

func (c *Client) serverInfo(ctx context.Context) (serverInfoJSON, http.Header, error) {
	var info serverInfoJSON
	header, err := c.do(ctx, request{
		op: "read Jira's server information", method: http.MethodGet, endpoint: "serverInfo", scope: sync.ScopeSide,
	}, &info)
	return info, header, err
}

// Now is Jira's clock: as its latest answer said, if that was given lately, or as it says when
// asked.
func (c *Client) Now(ctx context.Context) (time.Time, error) {
	if at, ok := c.clock.read(time.Now()); ok {
		return at, nil
	}
	info, header, err := c.serverInfo(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if !info.ServerTime.IsZero() {
		return info.ServerTime.Time, nil
	}
	at, err := http.ParseTime(header.Get("Date"))
	if err != nil {
		return time.Time{}, &sync.Error{
			Side: "jira", Op: "read Jira's clock", Scope: sync.ScopeSide,
			Err: errors.New("neither serverTime nor a Date header came"),
		}
	}
	return at.UTC(), nil
}

// clockAge is for how long Jira's clock is carried on by this process's own.
const clockAge = 5 * time.Minute

// clock is what the latest answer said of Jira's clock. The zero value is ready.
type clock struct {
	mu         stdsync.Mutex
	said, when time.Time
}

// note takes the clock from an answer that came at now.
func (c *clock) note(h http.Header, now time.Time) {
	if said := asOf(h); !said.IsZero() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.said, c.when = said, now
	}
}

// read is Jira's clock at now; ok is false where no answer has told it lately.
func (c *clock) read(now time.Time) (at time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	since := now.Sub(c.when)
	return c.said.Add(since), !c.said.IsZero() && since >= 0 && since < clockAge
}

// findDeployment asks Jira what it is, unless the configuration says so. The call is made all the
// same: what it answers to is the first thing to know.
func (c *Client) findDeployment(ctx context.Context) error {
	info, _, err := c.serverInfo(ctx)
	if err != nil {
		return err
	}
	said := DataCenter
	if strings.EqualFold(info.DeploymentType, "Cloud") {
		said = Cloud
	}
	switch c.cfg.Deployment {
	case Cloud, DataCenter:
		c.deployment = c.cfg.Deployment
		if said != c.deployment {
			c.log.Warn("JIRA_DEPLOYMENT differs from what Jira says of itself",
				zap.String("configured", string(c.deployment)), zap.String("jira", info.DeploymentType))
		}
	case Auto, "":
		c.deployment = said
	default:
		return misconfigured(
			"choose the deployment",
			fmt.Errorf("JIRA_DEPLOYMENT: %q is none of auto, cloud, datacenter", c.cfg.Deployment),
		)
	}
	return nil
}

// findSelf learns which account the agent uses. An anonymous caller would see empty results in
// place of refusals.
func (c *Client) findSelf(ctx context.Context) error {
	const op = "read the agent's own account"
	var me personJSON
	_, err := c.do(ctx, request{op: op, method: http.MethodGet, endpoint: "myself", scope: sync.ScopeSide}, &me)
	if err != nil {
		return hinted(err, http.StatusUnauthorized,
			"check JIRA_USERNAME (the e-mail address on Cloud; empty for a bearer token) and JIRA_API_TOKEN, which may have "+
				"expired")
	}
	c.self = c.person(&me)
	if c.self.ID() == "" {
		return misconfigured(op, errors.New("Jira answered as to an anonymous caller; check JIRA_USERNAME and "+
			"JIRA_API_TOKEN"))
	}
	c.self.Agent = true
	return nil
}

type projectJSON struct {
	ID         string       `json:"id"`
	Key        string       `json:"key"`
	IssueTypes []statusJSON `json:"issueTypes"`
	TypeKey    string       `json:"projectTypeKey"`
	// Simplified is true of a team-managed project (Cloud).
	Simplified bool `json:"simplified"`
}

func (c *Client) findProject(ctx context.Context) (projectJSON, error) {
	op := "read project " + c.cfg.Project
	var p projectJSON
	_, err := c.do(ctx, request{
		op: op, method: http.MethodGet, endpoint: "project/{project}", project: c.cfg.Project, scope: sync.ScopeSide,
	}, &p)
	switch {
	case err != nil:
		return p, hinted(err, http.StatusNotFound, "check JIRA_PROJECT, and that the agent's account may browse the project")
	case p.Key != c.cfg.Project:
		return p, misconfigured(op, fmt.Errorf("Jira calls this project %q; set JIRA_PROJECT to that", p.Key))
	}
	known := slices.ContainsFunc(p.IssueTypes, func(t statusJSON) bool { return t.status().Is(c.cfg.IssueType) })
	if len(p.IssueTypes) > 0 && !known {
		c.log.Warn("the project does not list the issue type of JIRA_ISSUE_TYPE; creating issues may fail",
			zap.String("issue_type", c.cfg.IssueType), zap.String("project", c.cfg.Project))
	}
	return p, nil
}

type fieldJSON struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Custom     bool   `json:"custom"`
	Searchable *bool  `json:"searchable"`
	Schema     *struct {
		Type     string `json:"type"`
		Custom   string `json:"custom"` // com.atlassian.jira.plugin.system.customfieldtypes:textfield
		CustomID int64  `json:"customId"`
	} `json:"schema"`
	// Scope is set on a field that belongs to one team-managed project.
	Scope *struct {
		Project struct {
			ID string `json:"id"`
		} `json:"project"`
	} `json:"scope"`
}

func (c *Client) findField(ctx context.Context, projectID string) error {
	const op = "find the custom field for the request ID"
	var all []fieldJSON
	_, err := c.do(ctx, request{op: op, method: http.MethodGet, endpoint: "field", scope: sync.ScopeSide}, &all)
	if err != nil {
		return err
	}
	c.field, err = chooseField(all, c.cfg.RequestIDField, projectID)
	if err != nil {
		return misconfigured(op, fmt.Errorf("JIRA_REQUEST_ID_FIELD: %w", err))
	}
	return nil
}

var customFieldID = regexp.MustCompile(`^customfield_([0-9]+)$`)

// chooseField finds the one custom field with this name or id that the project can have. Names are
// neither unique nor stable.
func chooseField(all []fieldJSON, nameOrID, projectID string) (requestIDField, error) {
	var found []fieldJSON
	for _, f := range all {
		elsewhere := f.Scope != nil && f.Scope.Project.ID != "" && f.Scope.Project.ID != projectID
		if customFieldID.MatchString(f.ID) && (f.ID == nameOrID || f.Name == nameOrID && !elsewhere) {
			found = append(found, f)
		}
	}
	// A team-managed project has fields of its own beside those of the site.
	if own := slices.DeleteFunc(slices.Clone(found), func(f fieldJSON) bool { return f.Scope == nil }); len(own) > 0 {
		found = own
	}
	switch len(found) {
	case 0:
		return requestIDField{}, fmt.Errorf("no custom field %q is visible to the agent's account; "+
			"it may exist on no screen, where only Jira's administrators see it: put it on the project's screens, "+
			"or if there is none, create a text field (single line) of this name", nameOrID)
	case 1:
	default:
		var ids []string
		for _, f := range found {
			ids = append(ids, f.ID)
		}
		slices.Sort(ids)
		return requestIDField{}, fmt.Errorf("%d custom fields are named %q: %s; set it to the id of the right one",
			len(ids), nameOrID, strings.Join(ids, ", "))
	}
	f := found[0]
	switch {
	case f.Schema != nil && f.Schema.Type != "" && f.Schema.Type != "string":
		return requestIDField{}, fmt.Errorf(
			"%s (%q) holds %s, not text; name a text field (single line)",
			f.ID,
			f.Name,
			f.Schema.Type,
		)
	case f.Searchable != nil && !*f.Searchable:
		return requestIDField{}, fmt.Errorf("%s (%q) has no searcher, so that issues cannot be found by it; give it the "+
			"free text searcher",
			f.ID, f.Name)
	}
	return f.requestID(), nil
}

// requestID is the field as the one that holds the request ID.
func (f fieldJSON) requestID() requestIDField {
	number := customFieldID.FindStringSubmatch(f.ID)[1]
	if f.Schema != nil && f.Schema.CustomID > 0 {
		number = strconv.FormatInt(f.Schema.CustomID, 10)
	}
	return requestIDField{id: f.ID, number: number, name: f.Name}
}

func (c *Client) checkPermissions(ctx context.Context) error {
	op := "check the agent's permissions in project " + c.cfg.Project
	missing, err := c.missingPermissions(ctx, needed...)
	if codeOf(err) == http.StatusNotFound || errors.Is(err, sync.ErrForbidden) {
		c.log.Warn("permissions not checked", zap.Error(err))
		return nil
	}
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return misconfigured(
			op,
			fmt.Errorf("%s is missing; grant it to the account %s", strings.Join(missing, ", "), c.self.ID()),
		)
	}
	return nil
}

// missingPermissions are those of the project that the account does not have.
func (c *Client) missingPermissions(ctx context.Context, wanted ...string) (missing []string, err error) {
	var answer struct {
		Permissions map[string]struct {
			Have bool `json:"havePermission"`
		} `json:"permissions"`
	}
	_, err = c.do(ctx, request{
		op:       "read the agent's permissions in project " + c.cfg.Project,
		method:   http.MethodGet,
		endpoint: "mypermissions",
		scope:    sync.ScopeSide,
		query:    url.Values{"projectKey": {c.cfg.Project}, "permissions": {strings.Join(wanted, ",")}},
	}, &answer)
	for _, p := range wanted {
		if !answer.Permissions[p].Have {
			missing = append(missing, p)
		}
	}
	return missing, err
}

// checkStatuses warns of configured statuses that the project does not have. A workflow can be
// changed at any time, so this is no reason not to start.
func (c *Client) checkStatuses(ctx context.Context) {
	types, err := c.workflows(ctx)
	if err != nil {
		c.log.Warn("statuses not checked", zap.Error(err))
		return
	}
	var ours, all []statusJSON
	for _, t := range types {
		all = append(all, t.Statuses...)
		if t.status().Is(c.cfg.IssueType) {
			ours = append(ours, t.Statuses...)
		}
	}
	if len(ours) == 0 {
		ours = all
	}
	for _, wanted := range c.cfg.Statuses {
		if !slices.ContainsFunc(ours, func(s statusJSON) bool { return s.status().Is(wanted) }) {
			c.log.Warn("a configured status is not in the project's workflow",
				zap.String("status", wanted), zap.String("project", c.cfg.Project), zap.String("issue_type", c.cfg.IssueType))
		}
	}
}

// hinted adds what to do to an error with this HTTP status.
func hinted(err error, code int, remedy string) error {
	var e *sync.Error
	if codeOf(err) == code && errors.As(err, &e) {
		e.Err = fmt.Errorf("%w; %s", e.Err, remedy)
	}
	return err
}
