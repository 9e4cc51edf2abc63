package jira

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"teleport-jira-agent/sync"
)

// sight is what a look at Jira has found.
type sight struct {
	project projectJSON
	kind    statusJSON // the issue type; zero: the project has none of that name
	admin   bool       // the account has the global permission Administer Jira
	// fields are those that JIRA_REQUEST_ID_FIELD can mean. More than one, or one that holds no
	// text, is for a person to sort out.
	fields []fieldJSON
	// hidden: the one field shows to administrators alone, so that no project that the account may
	// browse has it.
	hidden bool
	// offered is whether the create screen shows the field. It does so only if all is well with
	// context and screen.
	offered answerOf
	// edited is whether the edit screen shows the field, where it was not seen among the screens.
	edited answerOf
	// described is whether the create screen shows the description, which the agent fills in with
	// the field.
	described answerOf
	context   contextSight
	scheme    schemeSight
	// screens are those that should show the field, as far as the account may see screens.
	screens []screenSight
	flow    workflowSight
}

// answerOf is an answer that Jira may not give.
type answerOf string

const (
	unknown answerOf = ""
	yes     answerOf = "yes"
	no      answerOf = "no"
)

// contextSight is whether the field is in the project, for the issue type.
type contextSight struct {
	covers answerOf
	// limited is the id of the project's own context, if it leaves the issue type out.
	limited string
}

// screenSight is a screen that should show the field.
type screenSight struct {
	id, tab int64
	name    string
	has     bool
	create  bool // it is certain that issues are created on it
	edit    bool // it is certain that issues are edited on it
}

// one is the field, if there is exactly one that can be used.
func (s *sight) one() (fieldJSON, bool) {
	if len(s.fields) == 1 && s.fields[0].misfit() == "" {
		return s.fields[0], true
	}
	return fieldJSON{}, false
}

// misfit says what is wrong with the field's type; empty: nothing.
func (f fieldJSON) misfit() string {
	switch {
	case f.Schema == nil:
		return ""
	case f.Schema.Type != "" && f.Schema.Type != "string":
		return f.Schema.Type
	case strings.HasSuffix(f.Schema.Custom, ":url"):
		return "a URL" // which JQL compares, and does not search for words
	}
	return ""
}

// look reads all anew.
func (s *Setup) look(ctx context.Context) error {
	var seen sight
	var err error
	if seen.project, err = s.c.findProject(ctx); err != nil {
		return err
	}
	workflows, err := s.c.workflows(ctx)
	switch {
	case notTold(err):
		seen.flow.untold = err.Error()
	case err != nil:
		return err
	}
	if len(seen.project.IssueTypes) == 0 { // not every Jira lists them with the project
		for _, w := range workflows {
			seen.project.IssueTypes = append(seen.project.IssueTypes, w.statusJSON)
		}
	}
	if at := slices.IndexFunc(
		seen.project.IssueTypes,
		func(t statusJSON) bool { return t.status().Is(s.c.cfg.IssueType) },
	); at >= 0 {
		seen.kind = seen.project.IssueTypes[at]
	}
	if seen.admin, err = s.c.administers(ctx); err != nil {
		return err
	}
	if err := s.lookAtField(ctx, &seen); err != nil {
		return err
	}
	if err := s.lookAtWorkflow(ctx, &seen, workflows); err != nil {
		return err
	}
	s.seen = seen
	return nil
}

// lookAgain reads the field and its surroundings anew, which is all that steps change. The workflow
// stays as it was seen: asking for it takes most calls.
func (s *Setup) lookAgain(ctx context.Context) error {
	seen := sight{project: s.seen.project, kind: s.seen.kind, admin: s.seen.admin, flow: s.seen.flow}
	if err := s.lookAtField(ctx, &seen); err != nil {
		return err
	}
	s.seen = seen
	return nil
}

// administers reports whether the account may administer Jira. A Jira that does not say so is taken
// to say no.
func (c *Client) administers(ctx context.Context) (bool, error) {
	var answer struct {
		Permissions map[string]struct {
			Have bool `json:"havePermission"`
		} `json:"permissions"`
	}
	_, err := c.do(ctx, request{
		op:       "read whether the account may administer Jira",
		method:   http.MethodGet,
		endpoint: "mypermissions",
		scope:    sync.ScopeSide,
		query:    url.Values{"permissions": {"ADMINISTER"}},
	}, &answer)
	if code := codeOf(err); code == http.StatusNotFound || code == http.StatusBadRequest {
		return false, nil
	}
	return answer.Permissions["ADMINISTER"].Have, err
}

// lookAtField finds the field and where it is. What lies behind its not being offered can be told
// to administrators alone.
func (s *Setup) lookAtField(ctx context.Context, seen *sight) error {
	var err error
	seen.fields, seen.hidden, err = s.c.namedFields(ctx, *seen)
	if seen.refused(err) {
		seen.fields, seen.hidden, err = s.c.namedFields(ctx, *seen)
	}
	if err != nil {
		return err
	}
	field, found := seen.one()
	if seen.offered, seen.described, err = s.c.offers(ctx, field.ID); err != nil {
		return err
	}
	if !found {
		seen.offered = unknown
	}
	if seen.offered == yes && !seen.admin && seen.kind.ID != "" {
		if seen.edited, err = s.c.editOffers(ctx, field.ID, seen.kind.ID); err != nil {
			return err
		}
	}
	if !seen.admin || seen.project.Simplified || seen.kind.ID == "" || len(seen.fields) > 0 && !found {
		return nil
	}
	if err := s.lookBehind(ctx, seen, field); !seen.refused(err) && !notTold(err) {
		return err
	}
	seen.context, seen.scheme, seen.screens = contextSight{}, schemeSight{}, nil
	return nil
}

// refused reports whether err says that the token may not administer Jira after all, and takes note
// of it: a token can have fewer rights than its account.
func (s *sight) refused(err error) bool {
	code := codeOf(err)
	if !s.admin || code != http.StatusForbidden && code != http.StatusUnauthorized {
		return false
	}
	s.admin = false
	return true
}

// lookBehind finds out where the field applies and which screens show it. field is empty where
// there is none yet.
func (s *Setup) lookBehind(ctx context.Context, seen *sight, field fieldJSON) error {
	var err error
	if seen.offered != yes && field.ID != "" {
		if seen.context, err = s.c.contextOf(ctx, field.ID, *seen); err != nil {
			return err
		}
		if s.c.deployment == Cloud {
			if seen.scheme, err = s.c.schemeOf(ctx, field.ID, *seen); err != nil {
				return err
			}
		}
		if seen.hidden && seen.context.covers == unknown {
			seen.context.covers = no
		}
	}
	// That the field is offered on creation says nothing about the edit screen, which edits ask.
	seen.screens, err = s.c.screensFor(ctx, field.ID, *seen)
	return err
}

// namedFields are the custom fields that JIRA_REQUEST_ID_FIELD can mean in the project.
// Administrators look also among those that no project shows.
func (c *Client) namedFields(ctx context.Context, seen sight) (found []fieldJSON, hidden bool, err error) {
	const op = "find the custom field for the request ID"
	var all []fieldJSON
	if _, err := c.do(
		ctx,
		request{op: op, method: http.MethodGet, endpoint: "field", scope: sync.ScopeSide},
		&all,
	); err != nil {
		return nil, false, err
	}
	wanted := c.cfg.RequestIDField
	var own []fieldJSON
	for _, f := range all {
		switch {
		case !customFieldID.MatchString(f.ID) || f.ID != wanted && f.Name != wanted:
		case f.Scope == nil:
			found = append(found, f)
		case f.Scope.Project.ID == seen.project.ID:
			own = append(own, f)
		}
	}
	if len(own) > 0 {
		return own, false, nil
	}
	if len(found) > 0 || !seen.admin || seen.project.Simplified {
		return found, false, nil
	}
	found, err = c.hiddenFields(ctx, op)
	return found, len(found) > 0, err
}

// hiddenFields are the custom fields of that name or id in the lists for administrators. A Jira
// without such a list has none.
func (c *Client) hiddenFields(ctx context.Context, op string) ([]fieldJSON, error) {
	r := request{
		op:       op,
		method:   http.MethodGet,
		endpoint: "field/search",
		scope:    sync.ScopeSide,
		query:    url.Values{"type": {"custom"}},
	}
	search := "query"
	if c.deployment == DataCenter {
		r.endpoint, r.query, search = "customFields", url.Values{}, "search"
	}
	if !customFieldID.MatchString(c.cfg.RequestIDField) {
		r.query.Set(search, c.cfg.RequestIDField)
	}
	all, err := readPages[fieldJSON](ctx, c, r)
	if codeOf(err) == http.StatusNotFound {
		return nil, nil
	}
	return slices.DeleteFunc(
		all,
		func(f fieldJSON) bool { return f.ID != c.cfg.RequestIDField && f.Name != c.cfg.RequestIDField },
	), err
}

// offers reports whether the create screen shows the field and the description to the account.
func (c *Client) offers(ctx context.Context, fieldID string) (field, description answerOf, err error) {
	fields, err := c.createFields(ctx)
	var e *sync.Error
	switch {
	case notTold(err), errors.As(err, &e) && e.Permanent:
		// The account may not create issues of this type: what permissions say is not setup's affair.
		return unknown, unknown, nil
	case err != nil:
		return unknown, unknown, err
	case fields == nil:
		return unknown, unknown, nil
	}
	shows := func(id string) answerOf {
		if slices.ContainsFunc(fields, func(f createField) bool { return f.ID == id }) {
			return yes
		}
		return no
	}
	return shows(fieldID), shows("description"), nil
}

// contextOf finds out whether the field has a context for the project and the issue type. Data
// Center says no more than whether it has one for all.
func (c *Client) contextOf(ctx context.Context, fieldID string, seen sight) (contextSight, error) {
	op := fmt.Sprintf("read where the custom field %s applies", fieldID)
	if c.deployment == DataCenter {
		fields, err := readPages[struct {
			ID          string `json:"id"`
			AllProjects bool   `json:"isAllProjects"`
		}](ctx, c, request{
			op: op, method: http.MethodGet, endpoint: "customFields",
			query: url.Values{"search": {seen.fields[0].Name}}, scope: sync.ScopeSide,
		})
		if codeOf(err) == http.StatusNotFound {
			return contextSight{}, nil
		}
		for _, f := range fields {
			if f.ID == fieldID && f.AllProjects {
				return contextSight{covers: yes}, nil
			}
		}
		return contextSight{}, err
	}
	read := func(endpoint string) ([]contextEntry, error) {
		return readPages[contextEntry](ctx, c, request{
			op: op, method: http.MethodGet, endpoint: endpoint, vars: map[string]string{"field": fieldID}, scope: sync.ScopeSide,
		})
	}
	projects, err := read("field/{field}/context/projectmapping")
	if err != nil {
		return contextSight{}, err
	}
	types, err := read("field/{field}/context/issuetypemapping")
	if err != nil {
		return contextSight{}, err
	}
	return covers(projects, types, seen.project.ID, seen.kind.ID), nil
}

// contextEntry ties a context to a project or to an issue type.
type contextEntry struct {
	ContextID string `json:"contextId"`
	Global    bool   `json:"isGlobalContext"`
	ProjectID string `json:"projectId"`
	AnyType   bool   `json:"isAnyIssueType"`
	TypeID    string `json:"issueTypeId"`
}

// covers reads the mappings: a context that names the project counts for it, whatever the global
// one says.
func covers(projects, types []contextEntry, projectID, typeID string) contextSight {
	var own, global string
	for _, p := range projects {
		switch {
		case p.ProjectID == projectID:
			own = p.ContextID
		case p.Global:
			global = p.ContextID
		}
	}
	for _, t := range types {
		if t.ContextID == cmp.Or(own, global) && t.ContextID != "" && (t.AnyType || t.TypeID == typeID) {
			return contextSight{covers: yes}
		}
	}
	return contextSight{covers: no, limited: own} // issue types cannot be added to the global context
}
