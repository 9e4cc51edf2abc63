package jira

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"teleport-jira-agent/sync"
)

const (
	// pageSize is what Jira is asked for at once; it may give less. Also the most that bulkfetch
	// takes.
	pageSize = 100
	// maxPages ends a search that does not end by itself. With 100 issues each it is far above what
	// changes within a look-back.
	maxPages = 10_000
	// maxReconcile is how many ids Cloud takes as reconcileIssues.
	// https://developer.atlassian.com/cloud/jira/platform/search-and-reconcile
	maxReconcile = 50
)

// search is one search through all its pages.
type search struct {
	op         string
	where      string
	reconcile  []int64 // Cloud only
	properties bool    // with the issue property; Cloud only
	byUpdated  bool    // in order of change, where pages cannot slip; else of creation
	idsOnly    bool    // nothing but the ids; Cloud only
	size       int     // of a page; pageSize if zero
}

// Search finds the issues that changed since a time. The bound is a number, which JQL reads as
// milliseconds since 1970; a quoted date would be read in the account's own time zone, to the
// minute. https://support.atlassian.com/jira-service-management-cloud/docs/jql-fields/
func (c *Client) Search(ctx context.Context, q sync.Query, page func([]sync.Issue) error) error {
	since := max(q.Since.UnixMilli(), 0)
	s := search{
		op: "search changed issues of project " + c.cfg.Project,
		where: fmt.Sprintf(
			`project = %s AND cf[%s] is not EMPTY AND updated >= %d`,
			quoted(c.cfg.Project),
			c.field.number,
			since,
		),
		byUpdated: true,
	}
	for _, id := range q.Reconcile {
		if n := numeric(id); n > 0 && len(s.reconcile) < maxReconcile {
			s.reconcile = append(s.reconcile, n)
		}
	}
	return c.search(ctx, s, func(l issuePage) error {
		var issues []sync.Issue
		for _, in := range c.readable(l) {
			issues = append(issues, asFound(in.Issue))
		}
		return page(issues)
	})
}

// Find searches for a request's issues. The match in JQL is one of words, so that the value is
// compared again here. Property and ByAgent come with the search on Cloud; on Data Center each hit
// is read.
func (c *Client) Find(ctx context.Context, requestID string) ([]sync.Issue, error) {
	phrase := quoted(quoted(requestID)) // a phrase is quoted within the string
	s := search{
		op:         "find the issue of request " + requestID,
		where:      fmt.Sprintf(`project = %s AND cf[%s] ~ %s`, quoted(c.cfg.Project), c.field.number, phrase),
		properties: true,
	}
	var found []sync.Issue
	err := c.search(ctx, s, func(l issuePage) error {
		hits := c.readable(l)
		if len(hits) < len(l.issues) {
			return unreadable(s)
		}
		for _, hit := range hits {
			if hit.RequestID != requestID {
				continue
			}
			issue, err := c.withProperty(ctx, hit)
			if err != nil {
				return err
			}
			if issue.RequestID == requestID {
				found = append(found, issue)
			}
		}
		return nil
	})
	return inOrder(found), err
}

// inOrder sorts issues by age, and leaves out what pages have shown twice.
func inOrder(found []sync.Issue) []sync.Issue {
	slices.SortFunc(found, func(a, b sync.Issue) int { return cmp.Compare(numeric(a.ID), numeric(b.ID)) })
	return slices.CompactFunc(found, func(a, b sync.Issue) bool { return a.ID == b.ID })
}

// Inherited searches for issues that Teleport's own plugin made. It writes the request's ID into
// the description and into the issue property, and has no field:
// https://github.com/gravitational/teleport/blob/master/integrations/access/jira/client.go
//
// Where Jira refuses the search, as it does when descriptions are hidden, none is found: the
// requests that have their issue named in plugin data do not need it.
func (c *Client) Inherited(ctx context.Context, requestID string, statuses []string) ([]sync.Issue, error) {
	s := search{
		op: "search issues of Teleport's own plugin in project " + c.cfg.Project,
		where: fmt.Sprintf(
			`project = %s AND cf[%s] is EMPTY AND creator = currentUser()`,
			quoted(c.cfg.Project),
			c.field.number,
		),
		properties: true,
	}
	if requestID != "" {
		s.where += ` AND description ~ ` + quoted(quoted(requestID))
	}
	var found []sync.Issue
	err := c.search(ctx, s, func(l issuePage) error {
		hits := c.readable(l)
		if requestID != "" && len(hits) < len(l.issues) {
			return unreadable(s)
		}
		for _, hit := range hits {
			if requestID == "" && !isOneOf(hit.Status, statuses) {
				continue
			}
			issue, err := c.withProperty(ctx, hit)
			if err != nil {
				return err
			}
			if issue.Property != "" && issue.RequestID == "" && issue.ByAgent &&
				(requestID == "" || issue.Property == requestID) {
				found = append(found, issue)
			}
		}
		return nil
	})
	if codeOf(err) == http.StatusBadRequest {
		c.log.Warn(
			"issues that Teleport's own plugin made, and that no plugin data names, cannot be searched for",
			zap.Error(err),
		)
		return nil, nil
	}
	return inOrder(found), err
}

// unreadable: the one left out may be the one looked for, and saying nothing would have it made
// again.
func unreadable(s search) error {
	return &sync.Error{Side: "jira", Op: s.op, Err: errors.New("an issue that may be it cannot be read; the log names it")}
}

// withProperty is a hit with its property, read by id if the search did not bring it. One that a
// search shows and a read does not is asked for once more by its key: to take it for gone would
// have it made again. It is the zero Issue when it is gone.
func (c *Client) withProperty(ctx context.Context, h hit) (sync.Issue, error) {
	if h.withProperties {
		return h.Issue, nil
	}
	issue, err := c.readIssue(ctx, h.ID)
	if errors.Is(err, sync.ErrNotFound) {
		issue, err = c.readIssue(ctx, h.Key)
	}
	if errors.Is(err, sync.ErrNotFound) {
		return sync.Issue{}, nil
	}
	return issue, err
}

// quoted is a JQL string.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// issuePage is a list of issues as Jira gave it.
type issuePage struct {
	issues    []json.RawMessage
	asOf      time.Time
	fromIndex bool
}

// hit is an issue out of a list of issues.
type hit struct {
	sync.Issue
	withProperties bool
}

// readable decodes the issues of a page. One that cannot be decoded must not hide its neighbours;
// it is left out, and logged each time it is met.
func (c *Client) readable(l issuePage) []hit {
	hits := make([]hit, 0, len(l.issues))
	for _, r := range l.issues {
		var in issueJSON
		err := json.Unmarshal(r, &in)
		var issue sync.Issue
		if err == nil {
			issue, err = c.issue(in)
		}
		if err != nil {
			var name struct{ ID, Key any }
			_ = json.Unmarshal(r, &name)
			c.log.Warn("an issue cannot be read and is left out of the search result",
				zap.Any("issue_id", name.ID), zap.Any("issue_key", name.Key), zap.Error(err))
			continue
		}
		issue.AsOf, issue.FromIndex = l.asOf, l.fromIndex
		hits = append(hits, hit{issue, in.Properties != nil})
	}
	return hits
}

// search calls page for each page that is not empty.
func (c *Client) search(ctx context.Context, s search, page func(issuePage) error) error {
	if c.deployment == Cloud {
		return c.searchCloud(ctx, s, page)
	}
	return c.searchDataCenter(ctx, s, page)
}

// searchCloud pages by token. Pages may be short or empty and still be followed by others.
func (c *Client) searchCloud(ctx context.Context, s search, page func(issuePage) error) error {
	body := map[string]any{"fields": c.searchFields(), "maxResults": cmp.Or(s.size, pageSize)}
	if s.idsOnly {
		body["fields"] = []string{"id"}
	}
	body["jql"] = s.where + " ORDER BY created ASC"
	if s.byUpdated {
		body["jql"] = s.where + " ORDER BY updated ASC, key ASC"
	}
	if len(s.reconcile) > 0 {
		body["reconcileIssues"] = s.reconcile // the same for all pages, as Jira asks
	}
	if s.properties {
		body["properties"] = []string{propertyKey}
	}
	r := request{op: s.op, method: http.MethodPost, endpoint: "search/jql", body: body, scope: sync.ScopeSide}
	seen := make(map[string]bool)
	for range maxPages {
		var answer struct {
			Issues        []json.RawMessage `json:"issues"`
			IsLast        bool              `json:"isLast"`
			NextPageToken string            `json:"nextPageToken"`
		}
		header, err := c.do(ctx, r, &answer)
		if err != nil {
			return err
		}
		if len(answer.Issues) > 0 {
			if err := page(issuePage{answer.Issues, asOf(header), true}); err != nil {
				return err
			}
		}
		if answer.IsLast || answer.NextPageToken == "" {
			return nil
		}
		if seen[answer.NextPageToken] {
			return failure(r, errors.New("Jira gave the same page token twice; the search may be incomplete"))
		}
		seen[answer.NextPageToken] = true
		body["nextPageToken"] = answer.NextPageToken
	}
	return failure(r, fmt.Errorf("the search has not ended after %d pages", maxPages))
}

// searchDataCenter pages by offset. In order of creation a row that changes meanwhile keeps its
// place; one that is added is met at the end. In order of change it would leave a gap that the next
// page jumps over. https://jira.atlassian.com/browse/JRASERVER-69860
func (c *Client) searchDataCenter(ctx context.Context, s search, page func(issuePage) error) error {
	body := map[string]any{"jql": s.where + " ORDER BY created ASC, key ASC", "fields": c.searchFields()}
	body["maxResults"] = cmp.Or(s.size, pageSize)
	r := request{op: s.op, method: http.MethodPost, endpoint: "search", body: body, scope: sync.ScopeSide}
	start := 0
	for range maxPages {
		body["startAt"] = start
		var answer struct {
			Issues []json.RawMessage `json:"issues"`
			Total  int               `json:"total"`
		}
		header, err := c.do(ctx, r, &answer)
		if err != nil {
			return err
		}
		if len(answer.Issues) == 0 {
			return nil
		}
		if err := page(issuePage{answer.Issues, asOf(header), true}); err != nil {
			return err
		}
		// The total may change from page to page, and a page may be shorter than was asked for.
		if start += len(answer.Issues); start >= answer.Total {
			return nil
		}
	}
	return failure(r, fmt.Errorf("the search has not ended after %d pages", maxPages))
}
