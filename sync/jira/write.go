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

// Create makes an issue. Jira offers no key against doing it twice: after an uncertain error, look
// with Find before another try.
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
	c.noteKey(made.Key)
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

// Drive brings an issue on along the way: by a transition to its end that Jira offered lately to
// another issue where this one was seen, in one call; where none is remembered, or Jira refuses it,
// from a fresh read.
func (c *Client) Drive(
	ctx context.Context, seen sync.Issue, way sync.Way, commit func(context.Context, sync.Status) error,
) (sync.Issue, error) {
	remembered := c.workflow.offers(seen)
	next, ok := way.Next(seen.Status, c.workflow.known(seen, remembered, way))
	if chosen, is := choose(remembered, next); ok && is && way.Arrived(next) && !way.Arrived(seen.Status) {
		err := c.transition(ctx, moving(seen.ID, way.To), seen.ID, chosen, commit)
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

// Move brings an issue one transition on along the way, from a fresh read. An empty from means any.
func (c *Client) Move(
	ctx context.Context, id string, from sync.Status, way sync.Way, commit func(context.Context, sync.Status) error,
) (sync.Issue, error) {
	op := moving(id, way.To)
	issue, err := c.getIssue(ctx, c.issueRequest(op, id, c.searchFields()...), &issueJSON{})
	if err != nil {
		return sync.Issue{}, err
	}
	if way.Arrived(issue.Status) {
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
	next, err := c.nextStep(ctx, op, issue, way, offered)
	if err != nil {
		return issue, err
	}
	chosen, _ := choose(offered, next)
	if err := c.transition(ctx, op, id, chosen, commit); err != nil {
		return c.afterRefusal(ctx, issue, way.To, err)
	}
	issue.Status = next
	return issue, nil
}

// nextStep is where an issue goes next along the way. What statuses its workflow has is asked about
// only where the first of way.To is not a step away.
func (c *Client) nextStep(
	ctx context.Context, op string, issue sync.Issue, way sync.Way, offered []transitionJSON,
) (sync.Status, error) {
	to := leading(offered, way)
	first := func(s sync.Status) bool { return len(way.To) > 0 && s.Is(way.To[0]) }
	if at := slices.IndexFunc(to, first); at >= 0 {
		return to[at], nil
	}
	if err := c.learnStatuses(ctx, issue); err != nil {
		return sync.Status{}, err
	}
	flow := c.workflow.known(issue, offered, way)
	if next, ok := way.Next(issue.Status, flow); ok {
		return next, nil
	}
	e := failure(request{op: op}, noWay(issue, way, offered, flow))
	way.Visited = nil // with all steps before it again, there may be something left to try
	_, more := way.Next(issue.Status, flow)
	e.Permanent = !more
	return sync.Status{}, e
}

// moving is what errors name as tried.
func moving(id string, to []string) string {
	return fmt.Sprintf("move issue %s to %s", id, strings.Join(to, " or "))
}

// transition sends one.
func (c *Client) transition(
	ctx context.Context,
	op, id string,
	t transitionJSON,
	commit func(context.Context, sync.Status) error,
) error {
	r := request{
		op: op, method: http.MethodPost, endpoint: "issue/{id}/transitions", issue: id,
		body: map[string]any{"transition": map[string]string{"id": t.ID}},
	}
	return c.write(ctx, r, func(ctx context.Context) error { return commit(ctx, t.To.status()) }, nil)
}

// afterRefusal looks again after Jira refused a transition: somebody may have moved the issue
// meanwhile, be it to where it belongs.
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

// choose finds the transition to a status; among several the one that asks for the least.
func choose(offered []transitionJSON, to sync.Status) (transitionJSON, bool) {
	var leading []transitionJSON
	for _, t := range offered {
		if sameStatus(t.To.status(), to) && (t.IsAvailable == nil || *t.IsAvailable) {
			leading = append(leading, t)
		}
	}
	if len(leading) == 0 {
		return transitionJSON{}, false
	}
	return slices.MinFunc(leading, func(a, b transitionJSON) int { return cmp.Compare(a.demands(), b.demands()) }), true
}

// demands weighs what a transition asks for: required fields, which the agent does not fill, above
// a screen.
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

// noWay says why an issue goes no further: what it is offered, and how far was looked.
func noWay(issue sync.Issue, way sync.Way, offered []transitionJSON, flow sync.Workflow) error {
	if len(offered) == 0 {
		return fmt.Errorf("%w: from %q the workflow offers this account none; does it have the permission Transition issues?",
			sync.ErrNoTransition, issue.Status.Name)
	}
	var names []string
	for _, t := range offered {
		names = append(names, t.To.Name)
	}
	leads := fmt.Sprintf(
		"from %q the workflow leads to %s only",
		issue.Status.Name,
		bounded(strings.Join(names, ", "), maxMessage),
	)
	wanted := strings.Join(way.To, " or ")
	has := func(s sync.Status) bool { return isOneOf(s, way.To) }
	switch {
	case flow.Statuses != nil && !slices.ContainsFunc(flow.Statuses, has):
		return fmt.Errorf("%w: %s, and the workflow of issue type %q has no status %s; add it",
			sync.ErrNoTransition, leads, issue.Type, wanted)
	case len(way.Visited) > 1:
		return fmt.Errorf("%w: %s; the issue came %d steps on its way, and none was left to %s; add a transition",
			sync.ErrNoTransition, leads, len(way.Visited)-1, wanted)
	}
	return fmt.Errorf("%w: %s, and from there no way to %s was seen that goes through no decision; add a transition",
		sync.ErrNoTransition, leads, wanted)
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

// internalProperty keeps a comment from the customers of a service-desk project: without it a
// comment is public there, shown in the portal and sent by mail. It goes with every comment,
// whatever the project is at the start: an issue can be moved to a service-desk project, and a
// project can become one. Elsewhere it means nothing.
const internalProperty = "sd.public.comment"

// Comment adds a comment with the agent's mark, which customers of a service desk do not see.
func (c *Client) Comment(ctx context.Context, id, key, body string, commit func(context.Context) error) error {
	r := request{
		op:       fmt.Sprintf("add comment %q to issue %s", key, id),
		method:   http.MethodPost,
		endpoint: "issue/{id}/comment",
		issue:    id,
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
