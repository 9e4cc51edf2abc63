package jira

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"teleport-jira-agent/sync"
)

// Create makes an issue. Jira offers no key against doing it twice: after an uncertain error, look with Find before another try.
func (c *Client) Create(ctx context.Context, d sync.Draft, commit func(context.Context) error) (sync.Issue, error) {
	r := request{op: "create the issue of request " + d.RequestID, method: http.MethodPost, endpoint: "issue"}
	var made struct {
		ID  string `json:"id"`
		Key string `json:"key"`
	}
	err := c.sendText(ctx, "description", d.Description, func(text string) error {
		d.Description = text
		r.body = map[string]any{
			"fields":     c.creationFields(d),
			"properties": []propertyJSON{{Key: propertyKey, Value: d.RequestID}},
		}
		return c.write(ctx, r, commit, &made)
	})
	if err != nil {
		return sync.Issue{}, c.explainField(err, "create")
	}
	if made.ID == "" || made.Key == "" {
		e := failure(r, errors.New("Jira's answer names no issue"))
		e.Uncertain = true
		return sync.Issue{}, e
	}
	issue := sync.Issue{
		ID: made.ID, Key: made.Key, Project: c.cfg.Project,
		RequestID: d.RequestID, Property: d.RequestID, ByAgent: true,
	}
	c.workflow.begin(&issue, time.Now())
	return issue, nil
}

var number = regexp.MustCompile(`^[0-9]+$`)

// creationFields are the configured fields and, over them, the agent's own.
func (c *Client) creationFields(d sync.Draft) map[string]any {
	kind := map[string]string{"name": c.cfg.IssueType}
	if number.MatchString(c.cfg.IssueType) {
		kind = map[string]string{"id": c.cfg.IssueType}
	}
	fields := make(map[string]any, len(c.cfg.Fields)+5)
	maps.Copy(fields, c.cfg.Fields)
	maps.Copy(fields, map[string]any{
		"project":     map[string]string{"key": c.cfg.Project},
		"issuetype":   kind,
		"summary":     d.Summary,
		"description": d.Description,
		c.field.id:    d.RequestID,
	})
	return fields
}

// explainField adds the remedy where Jira refuses the custom field by its number. screen is the one
// that the call asks.
func (c *Client) explainField(err error, screen string) error {
	var e *sync.Error
	var answer *answerError
	if errors.As(err, &e) && errors.As(err, &answer) && slices.Contains(answer.fields, c.field.id) {
		e.Err = fmt.Errorf("%w; put the field %q on the %s screen of project %s", e.Err, c.field.name, screen, c.cfg.Project)
	}
	return err
}

// Drive brings an issue to one of the statuses in to: by a transition that Jira offered lately to another issue where this one was seen, in one call; where
// none is remembered, or Jira refuses it, from a fresh read.
func (c *Client) Drive(ctx context.Context, seen sync.Issue, way sync.Way, commit func(context.Context, sync.Status) error) (sync.Issue, error) {
	to := way.To
	if chosen, ok := choose(c.workflow.offers(seen), to); ok && !isOneOf(seen.Status, to) {
		err := c.transition(ctx, moving(seen.ID, to), seen.ID, chosen, commit)
		switch codeOf(err) {
		case http.StatusBadRequest, http.StatusConflict, http.StatusNotFound: // not here, or not now
		default:
			var e *sync.Error
			if err == nil || errors.As(err, &e) && e.Uncertain { // it may have been moved
				c.workflow.noteMoved(seen.ID, err == nil)
			}
			if err == nil {
				seen.Status, seen.Assumed = chosen.To.status(), time.Now()
			}
			return seen, err
		}
	}
	c.workflow.noteMoved(seen.ID, false)
	return c.Move(ctx, seen.ID, sync.Status{}, way, commit)
}

// Move brings an issue to one of the statuses in to by one transition, from a fresh read. An empty from means any.
func (c *Client) Move(ctx context.Context, id string, from sync.Status, way sync.Way, commit func(context.Context, sync.Status) error) (sync.Issue, error) {
	to := way.To
	op := moving(id, to)
	issue, err := c.getIssue(ctx, c.issueRequest(op, id, c.searchFields()...), &issueJSON{})
	if err != nil {
		return sync.Issue{}, err
	}
	if isOneOf(issue.Status, to) {
		return issue, nil
	}
	if from != (sync.Status{}) && !sameStatus(issue.Status, from) {
		return issue, failure(request{op: op},
			fmt.Errorf("%w: it is in %q, no longer in %q", sync.ErrChanged, issue.Status.Name, from.Name))
	}
	offered, err := c.transitions(ctx, op, id)
	if err != nil {
		return issue, err
	}
	c.workflow.note(issue, offered)
	chosen, ok := choose(offered, to)
	if !ok {
		e := failure(request{op: op}, noTransition(issue.Status, offered))
		e.Permanent = true
		return issue, e
	}
	if err := c.transition(ctx, op, id, chosen, commit); err != nil {
		return c.afterRefusal(ctx, issue, to, err)
	}
	issue.Status = chosen.To.status()
	return issue, nil
}

// moving is what errors name as tried.
func moving(id string, to []string) string {
	return fmt.Sprintf("move issue %s to %s", id, strings.Join(to, " or "))
}

// transition sends one.
func (c *Client) transition(ctx context.Context, op, id string, t transitionJSON, commit func(context.Context, sync.Status) error) error {
	r := request{
		op: op, method: http.MethodPost, endpoint: "issue/{id}/transitions", issue: id,
		body: map[string]any{"transition": map[string]string{"id": t.ID}},
	}
	return c.write(ctx, r, func(ctx context.Context) error { return commit(ctx, t.To.status()) }, nil)
}

// afterRefusal looks again after Jira refused a transition: somebody may have moved the issue meanwhile, be it to where it belongs.
func (c *Client) afterRefusal(ctx context.Context, before sync.Issue, to []string, refused error) (sync.Issue, error) {
	if code := codeOf(refused); code != http.StatusBadRequest && code != http.StatusConflict {
		return before, refused
	}
	now, err := c.readIssue(ctx, before.ID)
	switch {
	case err != nil:
		return before, refused
	case isOneOf(now.Status, to):
		return now, nil
	case !sameStatus(now.Status, before.Status):
		var e *sync.Error
		if errors.As(refused, &e) {
			e.Permanent = false
			e.Err = fmt.Errorf("%w: it went to %q: %w", sync.ErrChanged, now.Status.Name, e.Err)
		}
	}
	return now, refused
}

func isOneOf(s sync.Status, names []string) bool { return slices.ContainsFunc(names, s.Is) }

type transitionJSON struct {
	ID          string     `json:"id"`
	Name        string     `json:"name"`
	To          statusJSON `json:"to"`
	HasScreen   bool       `json:"hasScreen"`
	IsAvailable *bool      `json:"isAvailable"` // Cloud only
	IsGlobal    bool       `json:"isGlobal"`    // Cloud only: it is offered in every status
	Fields      map[string]struct {
		Name       string `json:"name"`
		Required   bool   `json:"required"`
		HasDefault bool   `json:"hasDefaultValue"`
	} `json:"fields"`
}

func (c *Client) transitions(ctx context.Context, op, id string) ([]transitionJSON, error) {
	var answer struct {
		Transitions []transitionJSON `json:"transitions"`
	}
	_, err := c.do(ctx, request{
		op: op, method: http.MethodGet, endpoint: "issue/{id}/transitions", issue: id,
		query: url.Values{"expand": {"transitions.fields"}},
	}, &answer)
	return answer.Transitions, err
}

// choose finds the transition to the first status that is reachable; among several the one that asks for the least.
func choose(offered []transitionJSON, to []string) (transitionJSON, bool) {
	for _, name := range to {
		var leading []transitionJSON
		for _, t := range offered {
			if t.To.status().Is(name) && (t.IsAvailable == nil || *t.IsAvailable) {
				leading = append(leading, t)
			}
		}
		if len(leading) > 0 {
			return slices.MinFunc(leading, func(a, b transitionJSON) int { return cmp.Compare(a.demands(), b.demands()) }), true
		}
	}
	return transitionJSON{}, false
}

// demands weighs what a transition asks for: required fields, which the agent does not fill, above a screen.
func (t transitionJSON) demands() int {
	n := 2 * len(t.asksFor())
	if t.HasScreen {
		n++
	}
	return n
}

// asksFor are the names of the fields that somebody has to fill in.
func (t transitionJSON) asksFor() []string {
	var names []string
	for id, f := range t.Fields {
		if f.Required && !f.HasDefault {
			names = append(names, cmp.Or(f.Name, id))
		}
	}
	slices.Sort(names)
	return names
}

func noTransition(from sync.Status, offered []transitionJSON) error {
	if len(offered) == 0 {
		return fmt.Errorf("%w: from %q the workflow offers this account none; does it have the permission Transition issues?",
			sync.ErrNoTransition, from.Name)
	}
	var names []string
	for _, t := range offered {
		names = append(names, t.To.Name)
	}
	return fmt.Errorf("%w: from %q the workflow leads to %s only", sync.ErrNoTransition, from.Name, bounded(strings.Join(names, ", "), maxMessage))
}

// SetRequestID writes the custom field. An issue that has the value already is left alone.
func (c *Client) SetRequestID(ctx context.Context, id, requestID string, commit func(context.Context) error) error {
	op := fmt.Sprintf("put request %s into the field of issue %s", requestID, id)
	issue, err := c.getIssue(ctx, c.issueRequest(op, id, c.searchFields()...), &issueJSON{})
	if err != nil || issue.RequestID == requestID {
		return err
	}
	r := request{
		op: op, method: http.MethodPut, endpoint: "issue/{id}", issue: id,
		body: map[string]any{"fields": map[string]string{c.field.id: requestID}},
	}
	return c.explainField(c.write(ctx, r, commit, nil), "edit")
}

// internalProperty keeps a comment from the customers of a service-desk project: without it a comment is public there, shown in the portal and
// sent by mail. It goes with every comment, whatever the project is at the start: an issue can be moved to a service-desk project, and a project can become
// one. Elsewhere it means nothing.
const internalProperty = "sd.public.comment"

// Comment adds a comment with the agent's mark, which customers of a service desk do not see.
func (c *Client) Comment(ctx context.Context, id, key, body string, commit func(context.Context) error) error {
	r := request{
		op: fmt.Sprintf("add comment %q to issue %s", key, id), method: http.MethodPost, endpoint: "issue/{id}/comment", issue: id,
	}
	return c.sendText(ctx, "comment", body, func(text string) error {
		r.body = map[string]any{
			"body": text,
			"properties": []propertyJSON{
				{Key: commentProperty, Value: map[string]string{"key": key}},
				{Key: internalProperty, Value: map[string]bool{"internal": true}},
			},
		}
		return c.write(ctx, r, commit, &struct{}{})
	})
}
