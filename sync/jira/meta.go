package jira

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"teleport-jira-agent/sync"
)

// This file reads what `check` and `setup` need to know and the sync itself does not: the fields of
// the create screen, when the token ends, and what Jira's rate limit leaves.

// notTold reports whether Jira's answer is that it does not offer a call, or not to this token.
// What the call would have told stays unknown then; that it was tried is no failure.
func notTold(err error) bool {
	switch codeOf(err) {
	case http.StatusBadRequest,
		http.StatusForbidden,
		http.StatusNotFound,
		http.StatusMethodNotAllowed,
		http.StatusGone,
		http.StatusNotImplemented:
		return true
	}
	return false
}

// maxListPages bounds the pages of one list, of 50 items or more each.
const maxListPages = 200

// pageJSON is a page of a list. The lists of create metadata go by other names on Cloud.
type pageJSON[T any] struct {
	Total      *int  `json:"total"`
	IsLast     *bool `json:"isLast"`
	Values     []T   `json:"values"`
	IssueTypes []T   `json:"issueTypes"`
	Fields     []T   `json:"fields"`
}

// readPages reads a whole list that Jira gives by offset.
func readPages[T any](ctx context.Context, c *Client, r request) ([]T, error) {
	all := []T{}
	query := r.query
	for range maxListPages {
		r.query = url.Values{}
		for name, values := range query {
			r.query[name] = values
		}
		r.query.Set("startAt", strconv.Itoa(len(all)))
		var page pageJSON[T]
		if _, err := c.do(ctx, r, &page); err != nil {
			return nil, err
		}
		items := slices.Concat(page.Values, page.IssueTypes, page.Fields)
		all = append(all, items...)
		last := page.IsLast != nil && *page.IsLast || page.IsLast == nil && page.Total != nil && len(all) >= *page.Total
		if last || len(items) == 0 {
			return all, nil
		}
	}
	return nil, failure(r, fmt.Errorf("the list has no end after %d pages", maxListPages))
}

// createField is a field that a person fills in to create an issue.
type createField struct {
	ID   string `json:"fieldId"`
	Name string `json:"name"`
}

// createFields are the fields on the create screen of the configured project and issue type, for
// the agent's account. They are nil where Jira does not tell, as before Data Center 8.4.
func (c *Client) createFields(ctx context.Context) ([]createField, error) {
	typeID, err := c.issueTypeID(ctx)
	if err != nil || typeID == "" {
		return nil, err
	}
	return readPages[createField](ctx, c, request{
		op:       fmt.Sprintf("read the create screen of issue type %s in project %s", c.cfg.IssueType, c.cfg.Project),
		method:   http.MethodGet,
		endpoint: "issue/createmeta/{project}/issuetypes/{type}",
		project:  c.cfg.Project,
		vars:     map[string]string{"type": typeID},
		scope:    sync.ScopeSide,
	})
}

// issueTypeID is the id of the configured issue type, by the types that the agent's account may
// create in the project; empty where Jira does not tell those.
func (c *Client) issueTypeID(ctx context.Context) (string, error) {
	op := "read the issue types of project " + c.cfg.Project
	types, err := readPages[statusJSON](ctx, c, request{
		op:       op,
		method:   http.MethodGet,
		endpoint: "issue/createmeta/{project}/issuetypes",
		project:  c.cfg.Project,
		scope:    sync.ScopeSide,
	})
	if codeOf(err) == http.StatusNotFound {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(types, func(t statusJSON) bool { return t.status().Is(c.cfg.IssueType) })
	if at < 0 {
		return "", misconfigured(op, fmt.Errorf("none that the agent's account may create is called %q; set "+
			"JIRA_ISSUE_TYPE to one that is, or add it to "+
			"the project's issue type scheme", c.cfg.IssueType))
	}
	return types[at].ID, nil
}

// tokenExpiry is when the agent's personal access token ends (Data Center). known is false where
// nothing tells, and where the token does not end. Jira does not say which of the account's tokens
// a call was made with, so that of several it is the first end to come.
// https://confluence.atlassian.com/enterprise/using-personal-access-tokens-1026032365.html
func (c *Client) tokenExpiry(ctx context.Context) (ends time.Time, known bool, err error) {
	if c.deployment == Cloud || c.cfg.Username != "" {
		return time.Time{}, false, nil
	}
	var tokens []struct {
		ExpiringAt jiraTime `json:"expiringAt"`
	}
	_, err = c.do(ctx, request{
		op:       "read when the personal access token ends",
		method:   http.MethodGet,
		endpoint: "/rest/pat/latest/tokens",
		scope:    sync.ScopeSide,
	}, &tokens)
	switch codeOf(err) {
	case http.StatusForbidden,
		http.StatusNotFound,
		http.StatusMethodNotAllowed: // another kind of bearer token, or a Jira before 8.14
		return time.Time{}, false, nil
	}
	if err != nil {
		return time.Time{}, false, err
	}
	now := time.Now()
	for _, t := range tokens {
		if t.ExpiringAt.After(now) && (!known || t.ExpiringAt.Before(ends)) {
			ends, known = t.ExpiringAt.Time, true
		}
	}
	return ends, known, nil
}

// rateLimit is what Jira's headers tell of its limit.
type rateLimit struct {
	// Limit is how many calls may come at once, Remaining how many of those are left. Cloud counts
	// each endpoint by itself, for all who use the site; Data Center counts all calls of the
	// account together.
	Limit, Remaining int
	// FillRate is how many calls come to be allowed again in each Interval (Data Center); zero
	// where Jira does not say.
	FillRate float64
	Interval time.Duration
	// NearLimit: less than a fifth is left (Cloud).
	NearLimit bool
}

// rateLimits are those that the last answer with such headers told; ok is false while none did.
// https://developer.atlassian.com/cloud/jira/platform/rate-limiting/
// https://confluence.atlassian.com/adminjiraserver/adjusting-your-code-for-rate-limiting-987143384.html
func (c *Client) rateLimits() (limit rateLimit, ok bool) {
	if told := c.transport.limits.Load(); told != nil {
		return *told, true
	}
	return rateLimit{}, false
}

func rateLimitOf(h http.Header) (limit rateLimit, told bool) {
	number := func(name string) float64 {
		n, err := strconv.ParseFloat(h.Get(name), 64)
		if err != nil || n < 0 {
			return 0
		}
		return n
	}
	limit = rateLimit{
		Limit:     int(number("X-RateLimit-Limit")),
		Remaining: int(number("X-RateLimit-Remaining")),
		FillRate:  number("X-RateLimit-FillRate"),
		Interval:  time.Duration(number("X-RateLimit-Interval-Seconds") * float64(time.Second)),
		NearLimit: h.Get("X-RateLimit-NearLimit") == "true",
	}
	if h.Get("X-RateLimit-Remaining") == "" {
		limit.Remaining = limit.Limit // what is not told is no sign of anything
	}
	return limit, limit.Limit > 0
}

// near: less than a fifth is left, which is where Cloud says so. Of a limit below 5 nothing
// follows: a single call may take it all.
func (l rateLimit) near() bool { return l.NearLimit || l.Remaining < l.Limit/5 }
