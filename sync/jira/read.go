package jira

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"teleport-jira-agent/sync"
)

// commentProperty names the property of a comment that holds the agent's own mark, as {"key": …}.
const commentProperty = "teleportJiraAgent"

// Read reads an issue with its status history and comments: one call, and others only where Jira's
// answer is cut short.
func (c *Client) Read(ctx context.Context, id string) (sync.Detail, error) {
	r := c.issueRequest("read issue "+id, id, append(c.searchFields(), "comment")...)
	r.query.Set("expand", "changelog")
	var in issueJSON
	issue, err := c.getIssue(ctx, r, &in)
	if err != nil {
		return sync.Detail{}, err
	}
	detail := sync.Detail{Issue: issue}
	if detail.Moves, err = c.history(ctx, in, issue); err != nil {
		return sync.Detail{}, err
	}
	if issue.ByAgent && issue.Project == c.cfg.Project && len(detail.Moves) == 0 {
		c.workflow.began(issue, time.Now())
	}
	if detail.Comments, err = c.commentsOf(ctx, r, in); err != nil {
		return sync.Detail{}, err
	}
	return detail, nil
}

// readIssue reads an issue without its history and comments.
func (c *Client) readIssue(ctx context.Context, id string) (sync.Issue, error) {
	var in issueJSON
	return c.getIssue(ctx, c.issueRequest("read issue "+id, id, c.searchFields()...), &in)
}

func (c *Client) issueRequest(op, id string, fields ...string) request {
	return request{
		op: op, method: http.MethodGet, endpoint: "issue/{id}", issue: id,
		query: url.Values{"fields": {strings.Join(fields, ",")}, "properties": {propertyKey}},
	}
}

func (c *Client) getIssue(ctx context.Context, r request, in *issueJSON) (sync.Issue, error) {
	header, err := c.do(ctx, r, in)
	if err != nil {
		return sync.Issue{}, err
	}
	issue, err := c.issue(*in)
	if err != nil {
		return sync.Issue{}, failure(r, err)
	}
	issue.AsOf = asOf(header)
	return issue, nil
}

// history is the status changes of an issue, oldest first. Cloud cuts the history within an issue
// short, as a rule at the old end; then the whole is read unless what came certainly ends with the
// move to the present status.
func (c *Client) history(ctx context.Context, in issueJSON, issue sync.Issue) ([]sync.Move, error) {
	log := cmp.Or(in.Changelog, &changelogJSON{})
	moves := c.moves(log.Histories)
	if c.deployment != Cloud || log.complete() || log.newestFirst() && leadsTo(moves, issue.Status) {
		return moves, nil
	}
	all, err := c.changelog(ctx, issue.ID)
	switch {
	case errors.Is(err, sync.ErrNotFound), errors.Is(err, sync.ErrForbidden):
		return moves, nil // the issue was there a moment ago: this Jira, or this token, is not offered the call
	case err != nil:
		return nil, err
	}
	return c.moves(all), nil
}

func (l *changelogJSON) complete() bool {
	return l.Total != nil && l.StartAt == 0 && len(l.Histories) >= *l.Total
}

func (l *changelogJSON) newestFirst() bool {
	n := len(l.Histories)
	return n > 1 && l.StartAt == 0 && l.Histories[0].Created.After(l.Histories[n-1].Created.Time)
}

func leadsTo(moves []sync.Move, s sync.Status) bool {
	return len(moves) > 0 && sameStatus(moves[len(moves)-1].To, s)
}

// sameStatus compares by id where both have one, since names may be translated.
func sameStatus(a, b sync.Status) bool {
	if a.ID != "" && b.ID != "" {
		return a.ID == b.ID
	}
	return a.Name != "" && strings.EqualFold(a.Name, b.Name)
}

// changelog reads the whole history of an issue on Cloud, oldest first.
func (c *Client) changelog(ctx context.Context, id string) ([]historyJSON, error) {
	r := request{
		op:       "read the history of issue " + id,
		method:   http.MethodGet,
		endpoint: "issue/{id}/changelog",
		issue:    id,
	}
	var all []historyJSON
	for range maxPages {
		r.query = url.Values{"startAt": {strconv.Itoa(len(all))}, "maxResults": {strconv.Itoa(pageSize)}}
		var page struct {
			Values []historyJSON `json:"values"`
			Total  int           `json:"total"`
			IsLast bool          `json:"isLast"`
		}
		if _, err := c.do(ctx, r, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Values...)
		if page.IsLast || len(page.Values) == 0 || len(all) >= page.Total {
			return all, nil
		}
	}
	return nil, failure(r, fmt.Errorf("the history has not ended after %d pages", maxPages))
}

// moves are the status changes among history entries, whose order in Jira's answers cannot be
// relied on.
func (c *Client) moves(histories []historyJSON) []sync.Move {
	var moves []sync.Move
	for _, h := range histories {
		for _, item := range h.Items {
			if !item.isStatus() {
				continue
			}
			moves = append(moves, sync.Move{
				ID: h.ID, Author: c.person(h.Author), At: h.Created.Time,
				From: sync.Status{ID: item.From, Name: item.FromString},
				To:   sync.Status{ID: item.To, Name: item.ToString},

				Beside: h.beside(), Generator: h.Metadata.generator(),
			})
		}
	}
	slices.SortStableFunc(moves, func(a, b sync.Move) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(numeric(a.ID), numeric(b.ID)))
	})
	return moves
}

// commentsOf takes the comments that came with an issue if they are all there. Their properties do
// not come with an issue, so that they are read again for the keys of the agent's own and, on a
// service desk of Data Center, which has no jsdPublic, for those that are internal.
func (c *Client) commentsOf(ctx context.Context, r request, in issueJSON) ([]sync.Comment, error) {
	var came *commentsJSON
	if err := field(in, "comment", &came); err != nil {
		return nil, failure(r, err)
	}
	if came == nil || came.Total > len(came.Comments) {
		return c.Comments(ctx, in.ID)
	}
	var project struct {
		TypeKey string `json:"projectTypeKey"`
	}
	if err := field(in, "project", &project); err != nil {
		return nil, failure(r, err)
	}
	mayBeInternal := c.deployment == DataCenter && (project.TypeKey == serviceDesk || project.TypeKey == "")
	for _, comment := range came.Comments {
		if comment.Properties == nil && (mayBeInternal || c.person(comment.Author).Agent) {
			return c.Comments(ctx, in.ID)
		}
	}
	return c.comments(came.Comments), nil
}

// Comments reads all comments of an issue, newest first.
func (c *Client) Comments(ctx context.Context, id string) ([]sync.Comment, error) {
	r := request{op: "read the comments of issue " + id, method: http.MethodGet, endpoint: "issue/{id}/comment", issue: id}
	var all []commentJSON
	for range maxPages {
		r.query = url.Values{
			"startAt": {strconv.Itoa(len(all))}, "maxResults": {strconv.Itoa(pageSize)},
			"orderBy": {"-created"}, "expand": {"properties"},
		}
		var page commentsJSON
		if _, err := c.do(ctx, r, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Comments...)
		if len(page.Comments) == 0 || len(all) >= page.Total {
			return c.comments(all), nil
		}
	}
	return nil, failure(r, fmt.Errorf("the comments have not ended after %d pages", maxPages))
}

// comments sorts comments, newest first, and drops those that came twice because another was added
// between two pages.
func (c *Client) comments(in []commentJSON) []sync.Comment {
	out := make([]sync.Comment, 0, len(in))
	for _, comment := range in {
		author := c.person(comment.Author)
		out = append(out, sync.Comment{
			ID:         comment.ID,
			Author:     author,
			Body:       comment.Body,
			Created:    comment.Created.Time,
			Key:        ownKey(author, comment.Properties),
			Edited:     c.edited(comment, author),
			Restricted: comment.restricted(),
		})
	}
	slices.SortStableFunc(out, func(a, b sync.Comment) int {
		return cmp.Or(b.Created.Compare(a.Created), cmp.Compare(numeric(b.ID), numeric(a.ID)))
	})
	return slices.CompactFunc(out, func(a, b sync.Comment) bool { return a.ID == b.ID })
}

// edited reports whether somebody else than the author wrote what a comment says now. Where Jira
// does not say who changed it, that it was changed suffices.
func (c *Client) edited(comment commentJSON, author sync.Person) bool {
	if comment.UpdateAuthor == nil {
		return comment.Updated.After(comment.Created.Time)
	}
	return c.person(comment.UpdateAuthor).ID() != author.ID()
}

// restricted reports whether the comment is for a group, a role, or a service desk's own people
// alone. Where neither jsdPublic nor the properties came, an internal one cannot be told.
func (c commentJSON) restricted() bool {
	if len(c.Visibility) > 0 || c.JSDPublic != nil && !*c.JSDPublic {
		return true
	}
	for _, p := range c.Properties {
		if value, ok := p.Value.(map[string]any); ok && p.Key == internalProperty {
			internal, _ := value["internal"].(bool)
			return internal
		}
	}
	return false
}

// ownKey is the agent's mark on a comment. Anybody can put such a property on a comment of their
// own; there it means nothing.
func ownKey(author sync.Person, properties []propertyJSON) string {
	if !author.Agent {
		return ""
	}
	for _, p := range properties {
		if value, ok := p.Value.(map[string]any); ok && p.Key == commentProperty {
			key, _ := value["key"].(string)
			return key
		}
	}
	return ""
}
