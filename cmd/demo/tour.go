package main

import (
	"context"
	"fmt"
	"time"

	"github.com/gravitational/teleport/api/types"

	"teleport-jira-agent/integration/jirasim"
	"teleport-jira-agent/integration/teleportsim"
)

// shortLife is how long the request lives that nobody decides: long enough for its issue to be seen
// under Pending.
const shortLife = 5 * time.Second

// visit is one request's life: what people do in it, and how it must end.
type visit struct {
	title   string
	request teleportsim.Request
	// act is what a person does once the issue is pending.
	act func(w *world, requestID, issueKey string) error
	// status is where the issue ends, and state where the request does: one that expired stays
	// pending until Teleport deletes it.
	status string
	state  types.RequestState
}

// visits are the ways that a request can end.
func visits() []visit {
	return []visit{
		{
			title:   "1. A person approves in Jira",
			request: teleportsim.Request{User: "alice@example.com", Roles: []string{"db-admin"}, Reason: "on call this week"},
			act: func(w *world, _, issueKey string) error {
				if _, err := w.jira.Comment(issueKey, approver, "Reason: covers the night shift"); err != nil {
					return err
				}
				return w.jira.Move(issueKey, approver, "Approved")
			},
			status: "Approved", state: types.RequestState_APPROVED,
		},
		{
			title:   "2. A reviewer denies in Teleport",
			request: teleportsim.Request{User: "carol@example.com", Roles: []string{"prod-root"}, Reason: "want to look around"},
			act: func(w *world, requestID, _ string) error {
				return w.teleport.Review(requestID, "dave@example.com", false, "the read-only role is enough for that")
			},
			status: "Denied", state: types.RequestState_DENIED,
		},
		{
			title: fmt.Sprintf("3. Nobody decides, and the request expires after %v", shortLife),
			request: teleportsim.Request{
				User:   "erin@example.com",
				Roles:  []string{"backup-reader"},
				Reason: "restore drill",
				TTL:    shortLife,
			},
			status: "Expired",
			state:  types.RequestState_NONE,
		},
	}
}

// takeTour shows all visits and checks that both sides agree in the end.
func takeTour(ctx context.Context, w *world, pace time.Duration) error {
	for _, v := range visits() {
		w.story.title(v.title)
		if err := v.take(ctx, w, pace); err != nil {
			return fmt.Errorf("%s: %w", v.title, err)
		}
	}
	w.screen.say("demo", "all three requests have ended, and both sides agree about each")
	return nil
}

// take lives through one visit.
func (v visit) take(ctx context.Context, w *world, pace time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	id, issue, err := ask(ctx, w, v.request)
	if err != nil {
		return err
	}
	if v.act != nil {
		hesitate(ctx, pace)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := v.act(w, id, issue.Key); err != nil {
			return err
		}
	}
	if err := w.waitLog(ctx, "done", "action", "settle", "request_id", id); err != nil {
		return fmt.Errorf("the agent does not come to an end: %w", err)
	}
	w.teleport.ExpireDue() // which Teleport's expiry service does within a second
	issue, _ = w.jira.Issue(issue.Key)
	state := w.teleport.State(id)
	if issue.Status.Name != v.status || state != v.state {
		return fmt.Errorf(
			"%s is %s and the request %s, where %s and %s belong",
			issue.Key,
			issue.Status.Name,
			state,
			v.status,
			v.state,
		)
	}
	w.story.catchUp()
	return nil
}

// ask files a request and waits until it has its issue under Pending and Teleport knows which.
func ask(ctx context.Context, w *world, r teleportsim.Request) (id string, issue jirasim.Issue, err error) {
	if id, err = w.teleport.CreateRequest(r); err != nil {
		return "", issue, err
	}
	issue, err = w.jira.WaitIssue(
		ctx,
		func(i jirasim.Issue) bool { return i.Text(field) == id && i.Status.Name == "Pending" },
	)
	if err != nil {
		return "", issue, fmt.Errorf("no issue under Pending for the request of %s: %w", r.User, err)
	}
	if err := w.waitLog(ctx, "done", "action", "link", "request_id", id); err != nil {
		return "", issue, fmt.Errorf("%s is not noted in Teleport: %w", issue.Key, err)
	}
	return id, issue, nil
}

// hesitate gives whoever reads along a moment.
func hesitate(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
