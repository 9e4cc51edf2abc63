package jira

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"time"

	"teleport-jira-agent/sync"
)

const (
	// groupsAge is how long a person's groups are believed. It keeps a person who decides many
	// requests in a row to one call, and lets one who was just taken out of a group decide for a
	// minute at most.
	groupsAge = time.Minute
	// maxGroupsKept bounds how many people's groups are kept: all who decide within groupsAge, at
	// about 100 groups of 50 bytes each.
	maxGroupsKept = 1000
)

// Groups reads which groups a person is in, nested ones included: the name of each and, on Cloud,
// its id. The answer may be as old as groupsAge. A person whom Jira does not know, or did not name,
// is in none. sync.ErrForbidden means that the agent's account may not look. An answer that may
// lack a group is an error.
func (c *Client) Groups(ctx context.Context, p sync.Person) ([]string, error) {
	r, ok := c.groupsRequest(p)
	if !ok {
		return nil, nil
	}
	who, now := r.query.Encode(), time.Now()
	if groups, ok := c.groups.Get(who, now); ok {
		return slices.Clone(groups), nil
	}
	groups, err := c.readGroups(ctx, r)
	if err != nil {
		return nil, err
	}
	c.groups.Put(who, groups, now)
	return slices.Clone(groups), nil
}

// groupsRequest names the person as the deployment does: by account id, or by key, which outlives a
// change of the user name.
// https://mrrefactoring.github.io/jira.js/api/functions/cloud.getUserGroups.html
// https://docs.atlassian.com/software/jira/docs/api/11.3.0/com/atlassian/jira/rest/v2/issue/UserResource.html
func (c *Client) groupsRequest(p sync.Person) (r request, ok bool) {
	if p.ID() == "" {
		return request{}, false
	}
	r = request{op: "read the groups of " + bounded(p.ID(), 100), method: http.MethodGet}
	switch {
	case c.deployment == Cloud:
		r.endpoint, r.query = "user/groups", url.Values{"accountId": {p.AccountID}}
		return r, p.AccountID == p.ID()
	case p.Key != "":
		r.query = url.Values{"key": {p.Key}}
	default:
		r.query = url.Values{"username": {p.Name}}
	}
	r.endpoint = "user"
	r.query.Set("expand", "groups")
	return r, p.Key != "" || p.Name != ""
}

type groupJSON struct {
	Name string `json:"name"`
	ID   string `json:"groupId"` // Cloud only
}

// groupID is the form of a group's id on Cloud.
var groupID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func (c *Client) readGroups(ctx context.Context, r request) ([]string, error) {
	var found []groupJSON
	var err error
	if c.deployment == Cloud {
		found, err = c.cloudGroups(ctx, r)
	} else {
		found, err = c.dataCenterGroups(ctx, r)
	}
	var answer *answerError
	switch {
	case errors.As(err, &answer) && answer.code == http.StatusNotFound && answer.fromJira:
		return nil, nil // no such user
	case err != nil:
		return nil, mayNotLook(err)
	}
	var groups []string
	for _, g := range found {
		for _, nameOrID := range []string{g.Name, g.ID} {
			if nameOrID != "" {
				groups = append(groups, nameOrID)
			}
		}
	}
	return groups, nil
}

// cloudGroups reads the list, which comes whole.
func (c *Client) cloudGroups(ctx context.Context, r request) ([]groupJSON, error) {
	var groups *[]groupJSON
	if _, err := c.do(ctx, r, &groups); err != nil {
		return nil, err
	}
	if groups == nil {
		return nil, failure(r, errors.New("Jira's answer holds no list of groups"))
	}
	return *groups, nil
}

// dataCenterGroups reads the groups out of the user. Their number comes with them: Jira names it
// also where it leaves the groups themselves out.
func (c *Client) dataCenterGroups(ctx context.Context, r request) ([]groupJSON, error) {
	var user struct {
		Groups *struct {
			Size  *int        `json:"size"`
			Items []groupJSON `json:"items"`
		} `json:"groups"`
	}
	if _, err := c.do(ctx, r, &user); err != nil {
		return nil, err
	}
	g := user.Groups
	if g == nil || g.Size == nil {
		return nil, failure(r, errors.New("Jira's answer does not say in how many groups the user is"))
	}
	if len(g.Items) < *g.Size {
		e := failure(r, fmt.Errorf("Jira shows %d of the user's %d groups", len(g.Items), *g.Size))
		e.Permanent = true
		return nil, e
	}
	return g.Items, nil
}

// mayNotLook marks the refusal of a right that this call alone needs; all other calls may work.
func mayNotLook(err error) error {
	var e *sync.Error
	if codeOf(err) != http.StatusForbidden || errors.Is(err, sync.ErrForbidden) || !errors.As(err, &e) {
		return err
	}
	e.Scope, e.Permanent = sync.ScopeRequest, true
	e.Err = fmt.Errorf(`%w: %w; grant the agent's account the global permission "Browse users and groups"`,
		sync.ErrForbidden, e.Err)
	return e
}
